"""The datasets that have a name here: where they live, who reads them, what they should hold."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from pouta_lib.data import dagm, folder, mvtec, visa
from pouta_lib.errors import problem
from pouta_lib.paths import data_root

TEXTURES = {"carpet", "grid", "leather", "tile", "wood"}
MVTEC_COUNTS = {  # category: train good, test good, test defective
    "bottle": (209, 20, 63),
    "cable": (224, 58, 92),
    "capsule": (219, 23, 109),
    "carpet": (280, 28, 89),
    "grid": (264, 21, 57),
    "hazelnut": (391, 40, 70),
    "leather": (245, 32, 92),
    "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141),
    "screw": (320, 41, 119),
    "tile": (230, 33, 84),
    "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40),
    "wood": (247, 19, 60),
    "zipper": (240, 32, 119),
}
VISA_CATEGORIES = (
    "candle",
    "capsules",
    "cashew",
    "chewinggum",
    "fryum",
    "macaroni1",
    "macaroni2",
    "pcb1",
    "pcb2",
    "pcb3",
    "pcb4",
    "pipe_fryum",
)


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is there."""

    name: str
    title: str
    reader: ModuleType
    licence: str
    homepage: str
    num_images: int | None = None  # as published
    categories: tuple[str, ...] = ()
    embedded: bool = False  # drawn by pouta_lib.data.mini


DATASETS = {
    info.name: info
    for info in (
        DatasetInfo(
            "mvtec",
            "MVTec AD",
            mvtec,
            "CC BY-NC-SA 4.0",
            "https://www.mvtec.com/company/research/datasets/mvtec-ad",
            5354,
            tuple(MVTEC_COUNTS),
        ),
        DatasetInfo(
            "visa",
            "VisA",
            visa,
            "CC BY 4.0",
            "https://github.com/amazon-science/spot-diff",
            10821,
            VISA_CATEGORIES,
        ),
        DatasetInfo(
            "dagm",
            "DAGM 2007",
            dagm,
            "see its homepage",
            "https://hci.iwr.uni-heidelberg.de/content/weakly-supervised-learning-industrial-optical-inspection",
            16100,
            tuple(f"Class{k}" for k in range(1, 11)),
        ),
        DatasetInfo("mini-mvtec", "mini, drawn after MVTec AD", mvtec, "MIT", "", embedded=True),
        DatasetInfo("mini-visa", "mini, drawn after VisA", visa, "MIT", "", embedded=True),
        DatasetInfo("mini-dagm", "mini, drawn after DAGM 2007", dagm, "MIT", "", embedded=True),
        DatasetInfo("folder", "your own photographs", folder, "yours", ""),
    )
}


def locate(dataset: str, root: str | Path | None = None) -> tuple[Path, ModuleType]:
    """The folder of a dataset and its reader; a missing mini dataset is drawn first.

    ``<root>/<dataset>``. A name that is not in :data:`DATASETS` but is a folder there is read by
    MVTec AD's layout. For ``folder`` the root itself serves where it has no folder ``folder``.

    *Raises* :class:`PoutaError` when there is no such folder, with the way to get it.
    """
    base = data_root(root)
    info = DATASETS.get(dataset)
    if info is not None and info.embedded:
        from pouta_lib.data.mini import ensure_mini

        ensure_mini(base)
    path = base / dataset
    if dataset == "folder" and not path.is_dir():
        path = base
    if path.is_dir():
        return path, mvtec if info is None else info.reader
    if info is not None:
        todo = f"'pouta data get {dataset}', or point --data-root to the folder that holds it"
        raise problem(f"the dataset {info.title}", "no folder", path, todo)
    known = f"a dataset out of {list(DATASETS)}, or a folder in the MVTec layout"
    raise problem(known, repr(dataset), base, "correct the name or the data root")


def kind_of(dataset: str, category: str) -> str:
    """``texture``, ``object`` or ``unknown``."""
    if dataset == "mvtec" and category in MVTEC_COUNTS:
        return "texture" if category in TEXTURES else "object"
    if dataset.endswith("dagm"):
        return "texture"
    if dataset.endswith("visa"):
        return "object"
    if dataset == "mini-mvtec":
        from pouta_lib.data.mini import MINI_KINDS

        return MINI_KINDS.get(category, "unknown")
    return "unknown"
