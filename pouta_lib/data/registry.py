"""The datasets that have a name here: where they live, what reads them, what they should hold."""

from dataclasses import dataclass, field
from pathlib import Path

from pouta_lib.data import dagm, folder, mvtec, visa
from pouta_lib.data.files import folders_in
from pouta_lib.data.names import composed
from pouta_lib.data.together import SUFFIX, Reader, Together
from pouta_lib.ground.errors import did_you_mean, problem
from pouta_lib.ground.paths import data_root

Counts = dict[str, int]

TEXTURES = {"carpet", "grid", "leather", "tile", "wood"}
MVTEC_COUNTS = {  # category: train good, test good, test defective (Bergmann et al., CVPR 2019)
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
VISA_COUNTS = {  # the same, by the official split_csv/1cls.csv (Zou et al., ECCV 2022)
    "candle": (900, 100, 100),
    "capsules": (542, 60, 100),
    "cashew": (450, 50, 100),
    "chewinggum": (453, 50, 100),
    "fryum": (450, 50, 100),
    "macaroni1": (900, 100, 100),
    "macaroni2": (900, 100, 100),
    "pcb1": (904, 100, 100),
    "pcb2": (901, 100, 100),
    "pcb3": (905, 101, 100),
    "pcb4": (904, 101, 100),
    "pipe_fryum": (450, 50, 100),
}


def _three(counts: dict[str, tuple[int, int, int]]) -> dict[str, Counts]:
    names = ("train", "test good", "test defective")
    return {category: dict(zip(names, three, strict=True)) for category, three in counts.items()}


def _dagm_counts() -> dict[str, Counts]:
    """Published are only the sums: 575 images a split for classes 1-6, 1150 for 7-10."""
    counts = {}
    for k in range(1, 11):
        half, defective = (575, 150) if k <= 6 else (1150, 300)
        counts[f"Class{k}"] = {"images": 2 * half, "all train": half, "all defective": defective}
    return counts


@dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before it is there."""

    name: str
    title: str
    reader: Reader
    num_images: int | None = None  # as published
    published: dict[str, Counts] = field(default_factory=dict)  # by category; see data/check.py
    embedded: bool = False  # drawn by pouta_lib.data.mini

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories as published; none where the dataset has no fixed ones."""
        return tuple(self.published)


DATASETS = {
    info.name: info
    for info in (
        DatasetInfo("mvtec", "MVTec AD", mvtec, 5354, _three(MVTEC_COUNTS)),
        DatasetInfo("visa", "VisA", visa, 10821, _three(VISA_COUNTS)),
        DatasetInfo("dagm", "DAGM 2007", dagm, 16100, _dagm_counts()),
        DatasetInfo("mini-mvtec", "mini, drawn after MVTec AD", mvtec, embedded=True),
        DatasetInfo("mini-visa", "mini, drawn after VisA", visa, embedded=True),
        DatasetInfo("mini-dagm", "mini, drawn after DAGM 2007", dagm, embedded=True),
        DatasetInfo("folder", "your own photographs", folder),
    )
}


def locate(dataset: str, root: str | Path | None = None) -> tuple[Path, Reader]:
    """The folder of a dataset and its reader; a missing mini dataset is drawn first.

    ``<root>/<dataset>``, however the letters of that are written. A name that is not in
    :data:`DATASETS` but is a folder there is read by MVTec AD's layout. For ``folder`` the root
    itself serves where it has no folder ``folder``. With ``-together`` behind its name a dataset's
    categories are read as one (D46).

    *Raises* :class:`PoutaError` when there is no such folder, with the way to get it.
    """
    if dataset.endswith(SUFFIX):
        path, reader = locate(dataset.removesuffix(SUFFIX), root)
        if isinstance(reader, Together):
            todo = f"name it {dataset.removesuffix(SUFFIX)}"
            raise problem(f"a dataset with one {SUFFIX}", dataset, path, todo)
        return path, Together(reader)
    base = data_root(root)
    info = DATASETS.get(dataset)
    if info is not None and info.embedded:
        from pouta_lib.data.mini import ensure_mini

        ensure_mini(base)
    plain = Path(dataset).name == dataset and dataset not in ("", "..")
    path = base / dataset if plain else base
    if plain and not path.is_dir():
        alike = (one for one in folders_in(base) if composed(one.name) == composed(dataset))
        path = next(alike, base if dataset == "folder" else path)
    if plain and path.is_dir():
        return path, mvtec if info is None else info.reader
    if info is not None:
        todo = f"'pouta data get {dataset}', or point --data-root to the folder that holds it"
        if dataset == "folder":
            todo = "point --data-root to the folder that holds your folders of images"
        raise problem(f"the dataset {info.title}", "no folder", path, todo)
    known = f"a dataset out of {list(DATASETS)}, or a folder in the MVTec layout"
    hint = did_you_mean(dataset, DATASETS, "correct the name or the data root")
    if not plain and Path(dataset).expanduser().is_dir():
        hint = "name the folder above it by --data-root, and here folder, or its own name"
    raise problem(known, repr(dataset), base, hint)


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
