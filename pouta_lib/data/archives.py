"""The datasets' archives: where each lies, how it is known, and how a person gets it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """One dataset's archive, or one for each of its `parts`."""

    url: str | None  # with {part} where there are parts
    digest: str | None  # "algorithm:hex"; nothing where it is not known for certain
    by_hand: str  # how a person gets it
    parts: tuple[str, ...] = ()  # the folder that each archive holds


# The digests are those that the data's users publish: anomalib for MVTec AD, VisA and DTD, which
# agree with what others found; torchvision has DTD's MD5, fff73e5086ae6bdbea199a49dfb8a4c1.
ARCHIVES = {
    "mvtec": Archive(
        "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/"
        "420938113-1629952094/mvtec_anomaly_detection.tar.xz",
        "sha256:cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        "fill in the form at https://www.mvtec.com/company/research/datasets/mvtec-ad",
    ),
    "visa": Archive(
        "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
        "sha256:2eb8690c803ab37de0324772964100169ec8ba1fa3f7e94291c9ca673f40f362",
        "follow the link in https://github.com/amazon-science/spot-diff",
    ),
    "dagm": Archive(
        "https://zenodo.org/records/8086136/files/{part}.zip",
        None,
        "get its zip files from https://zenodo.org/records/8086136 or from "
        "https://hci.iwr.uni-heidelberg.de/content/"
        "weakly-supervised-learning-industrial-optical-inspection",
        tuple(f"Class{k}" for k in range(1, 11)),
    ),
    "dtd": Archive(
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        "sha256:e42855a52a4950a3b59612834602aa253914755c95b0cff9ead6d07395f8e205",
        "follow the link in https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    ),
}
MARKS = {  # paths that say which folder of an archive is the dataset's own
    "mvtec": ("*/train/good",),
    "visa": ("split_csv/1cls.csv", "*/Data/Images", "*/train/good"),
    "dagm": ("Class*/Train",),
    "dtd": ("images/*/*.jpg",),
}


def dataset_folder(unpacked: Path, name: str) -> Path | None:
    """The folder inside an unpacked archive that is laid out as `name`: itself, or one below.

    >>> dataset_folder(Path("no_such_folder"), "dtd") is None
    True
    """
    for candidate in (unpacked, *sorted(unpacked.glob("*")), *sorted(unpacked.glob("*/*"))):
        for mark in MARKS[name]:
            if candidate.is_dir() and next(candidate.glob(mark), None) is not None:
                return candidate
    return None
