"""Methods that anomalib keeps, measured on a category by the study's own metrics.

anomalib is no dependency: it runs in an environment of its own, which ``tools/peers_env.py`` makes,
and hands back maps and scores. What is trained there is anomalib's reading of a method, at its
rate; the images, the number of steps, DRAEM's width and the metrics are the study's.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pouta_lib.ground.errors import problem
from pouta_lib.ground.labels import folder_name
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.paths import atomic_path, project_root, results_root
from pouta_lib.ground.validation import write_json
from pouta_lib.study.run import load_run_data, prepare_run


@dataclass(frozen=True)
class Peer:
    """A method that anomalib keeps."""

    title: str  # of its row
    downloads: bool = True  # its pretrained weights
    scored_by_map: bool = False  # as ours are, by the pooled maximum; else by anomalib's own score
    as_long_as: str = "pouta"  # the method of ours that takes as many steps


PEERS = {
    "draem": Peer("DRAEM (anomalib)", downloads=False, scored_by_map=True, as_long_as="draem"),
    "rd": Peer("RD (anomalib, WideResNet50)"),
    "patchcore": Peer("PatchCore (anomalib, WideResNet50)"),
}


def peers_python() -> Path | None:
    """The interpreter of the environment that ``tools/peers_env.py`` makes; None without it."""
    folder = project_root() / "build" / "peers"
    for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe"):
        if path.is_file():
            return path
    return None


def measure_peer(
    peer: str,
    profile: str = "",
    dataset: str = "mini-mvtec",
    category: str = "",
    seed: int = 0,
    overrides: dict[str, Any] | None = None,
) -> tuple[Path, dict[str, float | None]]:
    """Trains `peer` on a category; the folder with its ``metrics.json`` and maps, and the metrics.

    DRAEM's image score is the study's own, the pooled maximum; the others have anomalib's.

    *Raises* :class:`PoutaError` for an unknown name, without the environment, and where anomalib
    fails, which it does where pretrained weights can neither be found nor downloaded.
    """
    from pouta_lib.score.evaluation import all_metrics, image_scores

    if peer not in PEERS:
        raise problem(f"a method out of {list(PEERS)}", repr(peer), "pouta peers", "choose one")
    about = PEERS[peer]
    python = peers_python()
    if python is None:
        todo = "run: .venv/bin/python tools/peers_env.py (6 GB)"
        raise problem("an environment with anomalib", "none", "build/peers", todo)
    run = prepare_run(profile, dataset, category, seed=seed, overrides=overrides)
    data, support, textures = load_run_data(run)
    task = {
        "method": peer,
        "width": run.profile.width,
        "steps": find_method(about.as_long_as).num_steps(run.profile, len(support)),
        "batch_size": run.profile.batch_size,
        "seed": seed,
    }
    found = _work(python, task, {"train": data.train[support], "test": data.test}, textures)
    maps, scores = found["maps"], found["scores"]
    if about.scored_by_map:
        scores = image_scores(maps, run.profile.score_window_px)
    metrics = all_metrics(data, maps, scores)
    key = run.key
    told: dict[str, Any] = {"method": peer, "title": about.title}
    told |= {"dataset": key.dataset, "category": key.category} | run.code
    told |= {"task": task, "profile": run.profile.to_dict()}
    told |= {"seconds": round(float(found["seconds"]), 2)}
    told |= {"manifest_hash": data.manifest_hash, "metrics": metrics}
    place = results_root() / folder_name(key.label) / "peers" / key.dataset / key.category / peer
    with atomic_path(place / f"seed{seed}") as temporary:
        temporary.mkdir(parents=True)
        write_json(temporary / "metrics.json", told)
        np.savez_compressed(temporary / "maps.npz", maps=maps.astype(np.float16), scores=scores)
    return place / f"seed{seed}", metrics


def _work(
    python: Path, task: dict[str, Any], images: dict[str, np.ndarray], textures: np.ndarray
) -> dict[str, np.ndarray]:
    """What tools/peers_worker.py hands back: ``maps``, ``scores`` and ``seconds``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        np.savez(folder / "images.npz", **images)  # type: ignore[arg-type]  # none is called allow_pickle
        (folder / "textures").mkdir()
        for i, texture in enumerate(textures):
            Image.fromarray(texture.transpose(1, 2, 0)).save(folder / "textures" / f"{i:05d}.png")
        _wait_for(python, folder, task["method"])
        with np.load(folder / "maps.npz") as arrays:
            return dict(arrays)


def _wait_for(python: Path, folder: Path, peer: str) -> None:
    worker = project_root() / "tools" / "peers_worker.py"
    log = folder / "log.txt"
    with log.open("w", encoding="utf-8") as stream:
        done = subprocess.run(
            [python, "-W", "ignore", worker, folder], stdout=stream, stderr=subprocess.STDOUT
        )
    if done.returncode:
        last = log.read_text(encoding="utf-8").strip().splitlines()[-1:] or ["no message"]
        todo = "fix what it says, or make the environment again: tools/peers_env.py"
        if PEERS[peer].downloads:
            todo = "let it download its pretrained weights once, where there is a network"
        raise problem(f"maps of {peer}", last[0], f"anomalib in {python.parent.parent}", todo)
