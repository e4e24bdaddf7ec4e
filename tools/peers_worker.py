"""Trains one of anomalib's methods and writes what it says of the test images.

    build/peers/bin/python tools/peers_worker.py FOLDER

Run by `pouta peers` in the environment of `tools/peers_env.py`; nothing here imports pouta_lib.
FOLDER holds ``task.json`` (method, width, steps, batch_size, seed), ``images.npz`` (train and test,
uint8) and ``textures/``; it gets ``maps.npz``.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from anomalib.data import ImageBatch
from anomalib.models import Draem, Patchcore, ReverseDistillation
from anomalib.models.image.draem.torch_model import (
    DiscriminativeSubNetwork,
    ReconstructiveSubNetwork,
)
from torch import Tensor
from torch.nn import functional as F

PRETRAINED_PX = 256  # anomalib's own size; the networks are pretrained on images about as large
BATCH = 16  # where nothing is trained
Task = dict[str, Any]


def make(task: Task, size: int, textures: Path) -> Any:
    """The method with anomalib's own settings; DRAEM at the study's width and size."""
    if task["method"] == "draem":
        own = Draem.configure_pre_processor((size, size))
        module, width = Draem(dtd_dir=textures, pre_processor=own), task["width"]
        rebuild, segment = ReconstructiveSubNetwork, DiscriminativeSubNetwork
        module.model.reconstructive_subnetwork = rebuild(base_width=2 * width)
        module.model.discriminative_subnetwork = segment(6, 2, base_width=width)
        return module
    kind = {"rd": ReverseDistillation, "patchcore": Patchcore}[task["method"]]
    return kind(pre_processor=kind.configure_pre_processor((PRETRAINED_PX, PRETRAINED_PX)))


def main() -> None:
    folder = Path(sys.argv[1])
    task = json.loads((folder / "task.json").read_text(encoding="utf-8"))
    with np.load(folder / "images.npz") as arrays:
        train, test = (torch.from_numpy(arrays[name]) for name in ("train", "test"))
    torch.manual_seed(task["seed"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    module = make(task, train.shape[-1], folder / "textures").to(device)
    prepare = module.pre_processor.transform
    started = time.perf_counter()
    module.train()
    if task["method"] == "patchcore":
        for part in train.split(BATCH):
            module.training_step(ImageBatch(image=prepare(part.to(device).float() / 255)))
        module.fit()
    else:
        fit_in_steps(module, prepare, train, task, device)
    seconds = time.perf_counter() - started
    module.eval()
    maps, scores = [], []
    with torch.no_grad():
        for part in test.split(BATCH):
            found = module.model(prepare(part.to(device).float() / 255))
            shaped = found.anomaly_map.reshape(len(part), 1, *found.anomaly_map.shape[-2:])
            shaped = F.interpolate(shaped, test.shape[-2:], mode="bilinear", align_corners=False)
            maps.append(shaped.squeeze(1).float().cpu().numpy())
            scores.append(found.pred_score.reshape(len(part)).float().cpu().numpy())
    whole, all_scores = np.concatenate(maps), np.concatenate(scores)
    np.savez_compressed(folder / "maps.npz", maps=whole, scores=all_scores, seconds=seconds)


def fit_in_steps(
    module: Any, prepare: Callable[[Tensor], Tensor], train: Tensor, task: Task, device: str
) -> None:
    """As many steps as it is told, over shuffled passes, at anomalib's own rate."""
    optimizer = module.configure_optimizers()
    if isinstance(optimizer, tuple):  # DRAEM's drops are by epochs that fixed steps do not have
        optimizer = optimizer[0][0]
    row = torch.empty(0, dtype=torch.long)
    for step in range(task["steps"]):
        while len(row) < task["batch_size"]:
            row = torch.cat([row, torch.randperm(len(train))])
        chosen, row = row[: task["batch_size"]], row[task["batch_size"] :]
        batch = ImageBatch(image=prepare(train[chosen].to(device).float() / 255))
        optimizer.zero_grad(set_to_none=True)
        loss = module.training_step(batch)["loss"]
        loss.backward()
        optimizer.step()
        if (step + 1) % 50 == 0:
            print(f"step {step + 1} of {task['steps']}: loss {loss.item():.4f}", flush=True)


if __name__ == "__main__":
    main()
