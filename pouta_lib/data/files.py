"""What lies in a folder: photographs, the masks beside them, and what is passed over, and why."""

import filecmp
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from importlib.util import find_spec
from itertools import chain
from pathlib import Path

from pouta_lib.data.names import composed, means_good, named_mask, stem_of
from pouta_lib.ground.errors import PoutaError, in_short, problem

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
HEIC = (".heic", ".heif")
OF_SYSTEMS = frozenset(  # folders that systems put beside photographs, with thumbnails in some
    ("__macosx", "@eadir", "$recycle.bin", "system volume information")
    + ("#recycle", "@recycle", "#snapshot", "found.000")
)
_OTHERS = (
    "3fr arw avif bay cr2 cr3 dcm dib dng emf eps erf exr fff gif hdr hif ico iiq insp j2c j2k "
    "jfif jif jp2 jpe jpf jpx jxl jxr kdc mef mos mpo mrw nef nrw orf pbm pcx pef pfm pgm pnm ppm "
    "psd qoi raf raw rw2 rwl sgi sr2 srw svg tga wdp wmf x3f xcf "
    # of microscopes and scientific cameras
    "btf czi dm3 dm4 fit fits flex fts ims lif lsm mrc mrxs nd2 ndpi oib oif oir qptiff scn spe "
    "stk svs tf8 vsi zvi"
)
PICTURES = frozenset((*SUFFIXES, *HEIC, *(f".{suffix}" for suffix in _OTHERS.split())))
BEGINNINGS = (  # of pictures
    *(b"\xff\xd8\xff", b"\x89PNG", b"II*\0", b"MM\0*", b"GIF8"),
    *(b"II+\0", b"MM\0+", b"\0\0\0\x0cjP"),  # TIFFs of more than 4 GB, and JPEG 2000
)
CLOUD = ".icloud"  # behind a name: what a Mac keeps of a file that is elsewhere, hidden
LAYOUT = (
    "in MVTec AD's layout and your own, read are good, test/good, test/<defect>, "
    "ground_truth/<defect>: see docs/DATASETS.md"
)


class Reason(Enum):
    """Why a file was passed over: what is said of it, what to do, may it be a photograph?"""

    FORMAT = "of a picture format that is not read", "convert to PNG or JPEG", True
    DANGLING = "linking to nothing", "mount or copy what is pointed to", True
    DEEPER = "in deeper folders", "move up into the folder that is read", True
    BESIDE = "in folders that are not read", LAYOUT, True
    UNNAMED = (
        "of a picture by content, not by name",
        "give them the suffix of their format",
        True,
    )
    FOLDER = "named as a picture (an empty folder)", "put the picture in its place", True
    LOCKED = "that may not be read (a folder)", "check the permissions", True
    UNLISTED = "that the dataset's list does not name", "add them to the list, or remove them", True
    LOOSE = "in no folder of a kind", "move to good, or to the name of the defect", True
    MASK = "named as the mask of an image beside it", "", False
    PART = "named as one of several masks of an image", "merge them into one, a_mask.png", True
    SECOND = "named as the mask of an image that has another", "keep the right one", True
    ORPHAN = "named as the mask of an image that is not there", "find the image", True
    OF_GOOD = "named as the mask of a good image, which needs none", "", False
    HIDDEN = "hidden", "", False
    NO_FILE = "of the system (pipes, sockets, devices)", "", False
    OTHER = "not named as a picture", "", False

    def __init__(self, words: str, todo: str, lost: bool) -> None:
        self.words, self.todo, self.lost = words, todo, lost


@dataclass(frozen=True)
class PassedOver:
    """Files that were seen and not read, by reason. True where photographs may be among them.

    >>> some = PassedOver({Reason.FORMAT: [Path("to_check/a.HEIC"), Path("to_check/b.HEIC")]})
    >>> bool(some), bool(PassedOver({Reason.OTHER: [Path("scores.csv")]}))
    (True, False)
    >>> print(*some.lines())
    2 files (.heic) of a picture format that is not read, first to_check/a.HEIC: convert to PNG \
or JPEG, or pip install 'pouta-lib[heic]'
    """

    files: dict[Reason, list[Path]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(reason.lost and paths for reason, paths in self.files.items())

    def __add__(self, other: "PassedOver") -> "PassedOver":
        pairs = [*self.files.items(), *other.files.items()]
        return PassedOver.of((reason, path) for reason, paths in pairs for path in paths)

    @staticmethod
    def of(pairs: Iterable[tuple[Reason, Path]]) -> "PassedOver":
        """From a reason and a file each."""
        files: dict[Reason, list[Path]] = {}
        for reason, path in pairs:
            files.setdefault(reason, []).append(path)
        return PassedOver(files)

    def lines(self, *, lost: bool = True) -> list[str]:
        """One sentence per reason: what may be photographs, or (`lost` False) what is none."""
        return [
            _sentence(reason, self.files[reason])
            for reason in Reason
            if reason.lost == lost and self.files.get(reason)
        ]


def _sentence(reason: Reason, paths: list[Path]) -> str:
    kinds, todo = "", reason.todo
    if reason is Reason.FORMAT:
        suffixes = Counter(path.suffix.lower() for path in paths)
        kinds = f" ({', '.join(sorted(suffixes))})"
        todo += ", or pip install 'pouta-lib[heic]'" if suffixes.keys() & set(HEIC) else ""
    if reason is Reason.BESIDE:
        kinds = f" ({', '.join(sorted({in_short(path.parent) for path in paths}))})"
    number = f"{len(paths)} file{'s' if len(paths) > 1 else ''}"
    told = f"{number}{kinds} {reason.words}, first {in_short(paths[0])}"
    return f"{told}: {todo}" if todo else told


@dataclass(frozen=True)
class Contents:
    """What lies in a folder: photographs sorted by name, and their masks by the photograph."""

    folder: Path
    files: list[Path]
    masks: dict[Path, Path]
    passed_over: PassedOver

    @property
    def paths(self) -> list[Path]:
        """The files and the masks."""
        return [*self.files, *self.masks.values()]


def look_into(folder: Path, *, below: bool = True) -> Contents:
    """The photographs that lie directly in `folder`, and why the rest is passed over.

    A file that is named like another one and "mask", "gt" or "label" is that one's mask. What lies
    in folders `below` is counted, not read.

    *Raises* :class:`PoutaError` for a folder that cannot be read.
    """
    files: list[Path] = []
    passed: list[tuple[Reason, Path]] = []
    with _readable(folder):
        for path in sorted(folder.iterdir()):
            if _is_hidden(path):
                absent = path.suffix == CLOUD and Path(path.stem).suffix.lower() in PICTURES
                passed.append((Reason.DANGLING if absent else Reason.HIDDEN, path))
            elif path.is_dir():
                inside = list(pictures_below(path, Reason.DEEPER)) if below else []
                named = below and path.suffix.lower() in PICTURES
                passed += inside or ([(Reason.FOLDER, path)] if named else [])
            elif path.is_file() and path.suffix.lower() in readable_suffixes():
                files.append(path)
            else:
                passed.append((_why_not(path), path))
    by_stem = {stem_of(path): path for path in files}
    masks: dict[Path, Path] = {}
    for path in files:
        stems, numbered = named_mask(path)
        if (photo := next(filter(None, map(by_stem.get, stems)), None)) is None:
            continue
        if numbered:
            passed.append((Reason.PART, path))
            continue
        if photo in masks:
            passed.append((Reason.SECOND, masks[photo]))
        masks[photo] = path
    passed += [(Reason.MASK, path) for path in masks.values()]
    no_photos = (Reason.MASK, Reason.PART, Reason.SECOND)
    kept = set(files) - {path for reason, path in passed if reason in no_photos}
    return Contents(folder, sorted(kept), masks, PassedOver.of(passed))


@contextmanager
def _readable(folder: Path) -> Iterator[None]:
    """*Raises* :class:`PoutaError` where a folder, or what lies in it, cannot be looked at."""
    try:
        yield
    except OSError as error:
        found = error.strerror or str(error)
        raise problem("a readable folder", found, folder, "check its permissions") from error


def _why_not(path: Path) -> Reason:
    """Why something that is neither a folder nor named as a picture to be read is passed over."""
    suffix = path.suffix.lower()
    if not path.exists():
        return Reason.DANGLING if suffix in PICTURES or not suffix else Reason.OTHER
    if not path.is_file():  # opening it may never end
        return Reason.NO_FILE
    if suffix in PICTURES:
        return Reason.FORMAT
    with suppress(OSError), path.open("rb") as file:
        head = file.read(12)
        bitmap = head.startswith(b"BM") and head[6:10] == bytes(4)
        tagged = head[8:] in (b"WEBP", b"heic", b"heix", b"hevc", b"mif1", b"avif")
        if bitmap or tagged or head.startswith(BEGINNINGS):
            return Reason.UNNAMED
    return Reason.OTHER


def image_files(folder: Path) -> list[Path]:
    """The photographs that lie directly in `folder`, sorted by name: see :func:`look_into`."""
    return look_into(folder).files


def read_list(path: Path, todo: str) -> str:
    """The text of a dataset's own list of its files.

    *Raises* :class:`PoutaError` for a file that is no text in UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except ValueError as error:
        raise problem("text in UTF-8", str(error), path, todo) from error


@cache
def readable_suffixes() -> tuple[str, ...]:
    """What is read: HEIC where pillow-heif is installed."""
    return (*SUFFIXES, *HEIC) if find_spec("pillow_heif") else SUFFIXES


def pictures_below(folder: Path, reason: Reason) -> Iterator[tuple[Reason, Path]]:
    """Whatever may be a photograph in a folder and the folders in it; hidden ones are left out.

    Links to folders in it are not followed, and neither is `folder` where it is one that leads
    back: to the folder that it lies in, or to one that holds that.
    """
    place = Path(os.path.realpath(folder.parent))
    if Path(os.path.realpath(folder)) in (place, *place.parents):
        return
    waiting = [folder]
    while waiting:
        path = waiting.pop()
        try:
            if path == folder or (path.is_dir() and not path.is_symlink()):
                inside = sorted(path.iterdir(), reverse=True)
                waiting += [one for one in inside if not _is_hidden(one)]
            elif path.suffix.lower() in PICTURES:
                yield reason, path
            elif path.is_symlink() and not path.suffix and not path.exists():
                yield Reason.DANGLING, path  # it was a folder
        except OSError:
            yield Reason.LOCKED, path


def beside(folder: Path, read: Iterable[Path]) -> PassedOver:
    """What lies in `folder` outside of those of its folders that are `read`."""
    here = look_into(folder, below=False)
    unread = [path for path in folders_in(folder) if path not in set(read)]
    passed = [(Reason.LOOSE, path) for path in here.files]
    passed += [found for path in unread for found in pictures_below(path, Reason.BESIDE)]
    return here.passed_over + PassedOver.of(passed)


def masks_in(folder: Path) -> dict[str, Path]:
    """The masks in a folder of nothing else, by the stems of their photographs.

    ``<stem>_mask`` goes before ``<stem>``, and that before ``<stem>_gt`` and the like; PNG before
    other formats.
    """
    ranked: dict[str, tuple[int, int, Path]] = {}
    for path in look_into(folder, below=False).paths if folder.is_dir() else ():
        suffix = path.suffix.lower()
        stems, numbered = named_mask(path)
        ranks = {} if numbered else {s: 2 if stem_of(path) == f"{s}_mask" else 0 for s in stems}
        for stem, rank in (ranks | {stem_of(path): 1}).items():
            entry = (rank, -readable_suffixes().index(suffix), path)
            if stem not in ranked or entry[:2] > ranked[stem][:2]:
                ranked[stem] = entry
    return {stem: path for stem, (*_, path) in ranked.items()}


def several_masks(folder: Path, photos: Iterable[Path]) -> PassedOver:
    """What a folder of masks has beside the one of each photograph that is read."""
    if not folder.is_dir():
        return PassedOver()
    look, named = look_into(folder, below=False), {stem_of(photo): photo for photo in photos}
    more = (look.passed_over.files.get(reason, []) for reason in (Reason.PART, Reason.SECOND))
    masks, passed = masks_in(folder), []
    read = {masks[stem] for stem in named if stem in masks}
    for path in sorted([*look.paths, *chain.from_iterable(more)]):
        stems, numbered = named_mask(path)
        if numbered and not named.keys().isdisjoint(stems):
            passed.append((Reason.PART, path))
        elif (
            path not in read
            and not named.keys().isdisjoint([stem_of(path), *stems])
            and not is_copy(path, named.get(stem_of(path), folder))  # of the photograph
        ):
            passed.append((Reason.SECOND, path))
    return PassedOver.of(passed)


def is_copy(path: Path, other: Path) -> bool:
    """Are two files the same, byte for byte? What cannot be read is a copy of nothing."""
    with suppress(OSError):
        return other.is_file() and filecmp.cmp(path, other, shallow=False)
    return False


def masks_of_none(folder: Path, photos: Iterable[Path]) -> PassedOver:
    """The masks in a folder whose photographs are not among these: they may have been lost."""
    named = {stem_of(photo) for photo in photos}
    paths = look_into(folder, below=False).files if folder.is_dir() else []
    lost = [path for path in paths if named.isdisjoint([stem_of(path), *named_mask(path)[0]])]
    return PassedOver.of((Reason.ORPHAN, path) for path in lost)


def not_read_in(truth: Path) -> PassedOver:
    """What lies in a folder of folders of masks, and is no mask that could be read."""
    if not truth.is_dir():
        return PassedOver()
    kinds = folders_in(truth)
    passed, no_masks = beside(truth, kinds), {Reason.PART, Reason.SECOND}
    for kind in kinds:
        found = look_into(kind).passed_over.files.items()
        passed += PassedOver(
            {why: paths for why, paths in found if why.lost and why not in no_masks}
        )
    return passed


def good_folders(parent: Path) -> list[Path]:
    """The folders in `parent` that are called good, in whatever spelling; ``good`` first."""
    found = [path for path in folders_in(parent) if means_good(path.name)]
    return sorted(found, key=lambda path: (path.name != "good", path.name))


def child(folder: Path, name: str) -> Path:
    """`name` in `folder`, in whatever case and spelling of its letters it is there."""
    with _readable(folder):
        if (folder / name).exists() or not folder.is_dir():
            return folder / name
        wanted = composed(name).lower()
        alike = (path for path in folder.iterdir() if composed(path.name).lower() == wanted)
        return next(alike, folder / name)


def categories_in(folder: Path, is_one: Callable[[Path], object]) -> list[str]:
    """The names of the folders in `folder` that are categories, as far as they may be read.

    What may not be is for :func:`beside` and the like to tell.
    """
    names = []
    for path in folders_in(folder):
        with suppress(PoutaError, OSError):
            names += [path.name] if is_one(path) else []
    return names


def folders_in(folder: Path) -> list[Path]:
    """The folders directly in `folder`, sorted by name; hidden ones are left out."""
    with _readable(folder):
        if not folder.is_dir():
            return []
        return sorted(path for path in folder.iterdir() if path.is_dir() and not _is_hidden(path))


def _is_hidden(path: Path) -> bool:
    """Such as .DS_Store, ._000.png, .ipynb_checkpoints, and what is in OF_SYSTEMS."""
    return path.name.startswith(".") or path.name.casefold() in OF_SYSTEMS
