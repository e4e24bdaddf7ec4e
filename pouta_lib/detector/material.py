"""The photographs of a fit: read, dealt into folds, held out, and where half-done work is kept."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median_low
from typing import Any, TypeVar, cast

import numpy as np
import torch

from pouta_lib.data.blank import contrast_of, nearly_highest, told_of_blank, told_of_dim
from pouta_lib.data.images import digests, num_bits, peaks_of, told_of_depth
from pouta_lib.detector.folds import deal, hardly_differ, parts_of
from pouta_lib.detector.photos import good_photos, least_peak, read_files, told_of_shape
from pouta_lib.ground.errors import PoutaError, in_short, problem, shown
from pouta_lib.ground.paths import sources_digest
from pouta_lib.ground.profiles import Profile
from pouta_lib.ground.spread import spread
from pouta_lib.ground.validation import checked, read_json, write_json
from pouta_lib.study.judge import SIZE_PX, HeldOut, hold_out

FEWEST, MOST = 8, 1000  # photographs that are taken
MOST_DAMAGED = 24  # of the held-out photographs

Tell = Callable[[str], None]
Kept = TypeVar("Kept")


@dataclass
class Work:
    """The photographs, how they are dealt out, and where half-done work is kept."""

    images: dict[int, np.ndarray]  # by size: (N, 3, S, S) uint8
    bits: int  # this and the next two: see Detector
    darkest: int
    shapes: tuple[float, float]
    parts: np.ndarray  # (N,) which part a photograph shows
    folds: np.ndarray  # (N,)
    held: HeldOut
    seed: int
    folder: Path | None
    tell: Tell

    @classmethod
    def of(
        cls,
        photos: str | Path,
        asked: Sequence[tuple[str, Profile]],
        minutes: float,
        seed: int,
        partial: str | Path | None,
        tell: Tell,
    ) -> "Work":
        """The photographs at the sizes of what is `asked`: methods and their settings.

        *Raises* :class:`PoutaError` for fewer than eight photographs.
        """
        sizes = {p.size_px for _, p in asked} | {SIZE_PX}
        images, bits, darkest, shapes = _read(photos, sizes, tell)
        parts = parts_of(images[SIZE_PX])
        if (several := parts.max() + 1) < len(parts):
            tell(f"they show {several} parts, as far as that can be told; one part, one fold")
        if hardly_differ(images[SIZE_PX]):
            tell(
                "note: these photographs hardly differ: is it one part, taken again and again? "
                "Then a threshold from them holds for no other: photograph different parts"
            )
        folds = deal(parts)
        out = np.flatnonzero(folds == 0)
        held = hold_out(images[SIZE_PX][out[spread(len(out), MOST_DAMAGED)]])
        folder = None
        if partial is not None:
            identity = json.dumps(
                [
                    [[method, profile.to_dict()] for method, profile in asked],
                    [minutes, seed, sources_digest(Path(__file__).parents[1])],
                    str(torch.__version__),
                ]
            )
            pictures = np.ascontiguousarray(images[SIZE_PX]).data
            digest = hashlib.sha256(identity.encode() + hashlib.sha256(pictures).digest())
            folder = Path(partial).expanduser() / digest.hexdigest()[:16]
            try:
                folder.mkdir(parents=True, exist_ok=True)
                if any(folder.iterdir()):
                    tell(f"this fit goes on from what an earlier one left in {shown(folder)}")
            except OSError as error:  # only the detector's own folder may be writable
                tell(f"stopped, this fit will not go on: {folder.parent}: {error.strerror}")
                folder = None
        return cls(images, bits, darkest, shapes, parts, folds, held, seed, folder, tell)

    def clear(self) -> None:
        """Removes the half-done work, of which nothing is of use any more; tells of others'."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)
            above = self.folder.parent
            with contextlib.suppress(OSError):
                above.rmdir()
            if above.exists():
                todo = "remove it, unless that fit is to go on"
                self.tell(f"what another fit began stays in {shown(above)}: {todo}")

    def keep(
        self,
        kind: str,
        name: str,
        shape: type[Kept],
        make: Callable[[], Kept],
        *,
        anew: bool = False,
    ) -> Kept:
        """What `make` gives, a dataclass `shape`; from an earlier attempt where that came so far.

        What is damaged, another fit's or not as it was written is told of and made anew.
        """
        if self.folder is None:
            return make()
        path = self.folder / kind / f"{name}.json"
        if not anew and path.exists():
            try:
                return self._kept(path, shape)
            except PoutaError as error:
                self.tell(f"made anew: {shown(path)}: {str(error).splitlines()[0]}")
        made = make()
        values = asdict(cast(Any, made))
        write_json(path, {"digest": _digest(path, values), "made": values})
        return made

    def _kept(self, path: Path, shape: type[Kept]) -> Kept:
        what, todo = "half-done work", "remove it"
        note = read_json(path, what, todo, todo)
        values = note.get("made") if isinstance(note, dict) else None
        if values is None or note.get("digest") != _digest(path, values):
            raise problem(f"{what} as this fit wrote it, by its digest", "other", path, todo)
        return checked(shape, values, path, todo)


def _digest(path: Path, values: Any) -> str:
    """Of half-done work: whose it is, as its place tells, and what it says."""
    whole = [*path.parts[-3:], values]
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def _read(
    photos: str | Path, sizes: set[int], tell: Tell
) -> tuple[dict[int, np.ndarray], int, int, tuple[float, float]]:
    """The good ones at each size, their bits, how dark the darkest is, and between which shapes."""
    folder = Path(photos).expanduser()
    goods, files, left_out = good_photos(folder)
    chosen = [files[i] for i in spread(len(files), MOST)]
    peaks = peaks_of(chosen)
    bits = num_bits(peaks.values())
    read, images, shapes, unreadable = read_files(chosen, sizes, bits)
    for line in [*left_out, *map(str, unreadable)]:
        tell(f"left out: {line}")
    contrasts = dict(zip(read, map(contrast_of, images[SIZE_PX]), strict=True))
    deep = {p: nearly_highest(i) for p, i in zip(read, images[SIZE_PX], strict=True) if p in peaks}
    told = told_of_depth(peaks, len(chosen)) + told_of_dim(deep) + told_of_blank(contrasts)
    told += told_of_shape(shapes, (median_low(shapes),) * 2, "others") if shapes else []
    for line in told:
        tell(f"note: {line}")
    once: dict[bytes, int] = {}
    for k, digest in enumerate(digests(images[SIZE_PX])):
        once.setdefault(digest, k)
    kept = list(once.values())
    copies = [read[k] for k in sorted(set(range(len(read))).difference(kept))]
    if len(kept) < FEWEST:
        todo = "photograph more good parts; 20 are few, 100 are good"
        found = f"{len(read)}" + (f", {len(kept)} different ones" if copies else "")
        raise problem(f"at least {FEWEST} photographs of good parts", found, folder, todo)
    if copies:  # held out beside what they are copies of, they would make a threshold too low
        tell(f"left out: {len(copies)} copies of other photographs, first {in_short(copies[0])}")
    tell(f"{len(kept)} of {len(files)} photographs: {', '.join(shown(good) for good in goods)}")
    least = least_peak(bits, None)
    darkest = min((peak for peak in peaks.values() if peak >= least), default=0)
    kept_images = {size: of[kept] for size, of in images.items()}
    return kept_images, bits, darkest, (min(shapes), max(shapes))
