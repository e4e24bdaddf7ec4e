"""What names of photographs, masks and folders mean: whose mask one is, and what is called good."""

import re
import unicodedata
from collections.abc import Container, Iterable
from pathlib import Path

from pouta_lib.ground.errors import did_you_mean, problem, shown

GOOD_WORDS = frozenset(
    ("good", "ok", "okay", "normal", "pass", "passed", "accepted", "intact", "healthy", "undamaged")
    + ("flawless", "defectfree", "nodefect", "nodefects", "nondefective", "anomalyfree")
    + ("clean", "correct", "perfect", "faultless", "conforming", "nominal", "noanomaly")
    + ("gut", "io", "inordnung", "fehlerfrei", "bon", "conforme", "bueno", "buono")
    + ("良品", "合格", "正常", "양품", "정상")
)
NEUTRAL = frozenset(
    ("parts", "samples", "images", "photos", "pictures", "part", "sample", "image", "photo")
    + ("front", "back", "side", "test", "train", "val", "set", "teile", "bilder")
)
_MASK = "maske?s?|gt|labels?|segm?|segmentation|annot?s?|annotations?|ground[ _-]?truth|truth"
MASK_NAME = re.compile(rf"(?i)(?:(.+?)(?:{_MASK})([\W_]*\d+)?\W*|(?:{_MASK})(.+))")
AND_WORDS = re.compile(r"(.+?)(?:[\W_]+[^\W\d_]+)+\W*")  # a name, and words behind it


def composed(name: str) -> str:
    """A name with a sign for each letter: Macs write an umlaut as two, other systems as one.

    >>> composed("pru\u0308f") == "pr\u00fcf"
    True
    """
    return unicodedata.normalize("NFC", name)


def one_of(names: list[str], called: str, where: object) -> str:
    """The category among `names` that is `called` so, however its letters are written.

    *Raises* :class:`PoutaError` where there is none.
    """
    spelt = {composed(name): name for name in names} | {name: name for name in names}
    found = spelt.get(called, spelt.get(composed(called)))
    if found is None:
        wanted = f"a category out of {names}"
        raise problem(wanted, repr(called), where, did_you_mean(called, names))
    return found


def stem_of(path: Path) -> str:
    """By what a photograph and its mask are compared: the name without its suffix, composed."""
    return composed(path.stem)


def named_mask(mask: Path) -> tuple[list[str], bool]:
    """What the photograph may be called if this is its mask, and whether the mask has a number.

    The signs between its name and "mask" may belong to either, as in ``part (1)_mask``.

    >>> [named_mask(Path(name))[0] for name in ("a-GT.png", "label_7.png", "bolt.png")]
    [['a-', 'a'], ['_7', '7'], []]
    >>> named_mask(Path("a (1)_mask_2.png"))
    (['a (1)_', 'a (1)', 'a (1'], True)
    """
    match = MASK_NAME.fullmatch(stem_of(mask))
    if match is None:
        return [], False
    before, numbered, after = match.groups()
    name = before or after
    least = len(re.sub(r"[\W_]+\Z" if before else r"\A[\W_]+", "", name)) or 1
    lengths = range(len(name), least - 1, -1)
    return [name[:length] if before else name[-length:] for length in lengths], bool(numbered)


def named_as_another(photos: Iterable[Path]) -> list[tuple[Path, Path]]:
    """Photographs named as another one, or as that and words: one of each two may be a mask.

    >>> found = named_as_another(map(Path, ("a.jpg", "a.png", "a 1.png", "a_roi left.png")))
    >>> [f"{one} {other}" for one, other in found]
    ['a.jpg a.png', 'a.jpg a_roi left.png']
    """
    photos = list(photos)
    first = {stem_of(photo): photo for photo in reversed(photos)}
    pairs = [(one, photo) for photo in photos if (one := first[stem_of(photo)]) != photo]
    for photo in photos:
        match = AND_WORDS.fullmatch(stem_of(photo))
        if match is not None and match[1] in first:
            pairs.append((first[match[1]], photo))
    return pairs


def named_as_masks(folder: str, others: Container[str]) -> bool:
    """Is a folder named as one of masks, or of the masks of one of the others?

    >>> [named_as_masks(name, ("cut", "NG")) for name in ("NG_mask", "Labels", "cut_2", "bent_gt")]
    [True, True, False, False]
    """
    alone = re.fullmatch(rf"(?i)(?:{_MASK})", folder)
    return bool(alone) or any(name in others for name in named_mask(Path(folder))[0])


def refuse_alike(photos: Iterable[Path], masks: Container[str]) -> None:
    """*Raises* :class:`PoutaError` for photographs that share a mask, as ``a.jpg``, ``a.png`` do.

    `masks` are by the stems of their photographs.
    """
    by_stem: dict[str, Path] = {}
    for photo in photos:
        stem = stem_of(photo)
        if stem in masks and (first := by_stem.setdefault(stem, photo)) != photo:
            names = f"{shown(first.name)} and {shown(photo.name)}"
            todo = "rename one, and its mask; or remove it, where it is a copy, or the mask itself"
            raise problem("a mask for each image", f"one for {names}", photo.parent, todo)


def refuse_shared(masks: Iterable[Path], listed: Path, todo: str) -> None:
    """*Raises* :class:`PoutaError` where a list names one mask for several images."""
    seen: set[Path] = set()
    for mask in masks:
        if mask in seen:
            found = f"{shown(mask.name)} for several"
            raise problem("a mask for each defective image", found, listed, todo)
        seen.add(mask)


def means_good(name: str) -> bool:
    """Is a folder of this name one of good parts, in whatever spelling?

    >>> [means_good(name) for name in ("good", "OK_2", "defect-free", "test_ok", "i.O.", "n.i.O.")]
    [True, True, True, True, True, False]
    """
    words = re.findall(r"[^\W\d_]+", composed(name).casefold())
    kept = [word for word in words if word not in NEUTRAL]
    return "".join(kept) in GOOD_WORDS
