"""Anomaly textures: DTD where it is there, else photographs and patterns that need no download."""

from pathlib import Path

import numpy as np
import scipy  # its parts are imported when they are first asked for

from pouta_lib.data.cache import read_through_cache
from pouta_lib.data.category import Item, Listing
from pouta_lib.data.files import image_files
from pouta_lib.data.images import read_photo, resize_image
from pouta_lib.ground.errors import problem
from pouta_lib.ground.paths import data_root
from pouta_lib.ground.spread import spread

PHOTOGRAPHS = (  # shipped inside scikit-image's wheel
    "brick.png",
    "grass.png",
    "gravel.png",
    "ihc.png",
    "coffee.png",
    "chelsea.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
)
CROPS = 6  # of each photograph
PATTERNS = 6  # of each procedural kind


def load_textures(
    source: str,
    size_px: int,
    *,
    root: str | Path | None = None,
    max_images: int | None = None,
    seed: int = 0,
) -> np.ndarray:
    """Textures to draw anomalies from.

    ``"dtd"``: every image of ``<root>/dtd/images/<class>``, resized. ``"builtin"``: random crops
    of the photographs that scikit-image ships, and procedural patterns; the same for a seed.

    *Shape*: ``(K, 3, size_px, size_px)`` uint8.
    *Raises* :class:`PoutaError` when DTD is not there.
    *Source*: paper, III-A, takes textures from [14], DTD; "builtin" is our choice for work
    without it (D11).
    """
    if source == "dtd":
        return _dtd(root, size_px, max_images)
    if source != "builtin":
        raise problem("textures 'dtd' or 'builtin'", repr(source), "textures", "choose one")
    textures = np.stack([*_photographs(size_px, seed), *patterns(size_px, seed)])
    return textures[spread(len(textures), max_images)]


def dtd_files(root: str | Path | None = None) -> list[Path]:
    """The images of DTD, sorted by class and name, in either folder where it is unpacked.

    *Raises* :class:`PoutaError` when there are none.
    """
    base = data_root(root) / "dtd"
    for folder in (base / "images", base / "dtd" / "images"):
        classes = sorted(path for path in folder.glob("*") if path.is_dir())
        paths = [path for one in classes for path in image_files(one)]
        if paths:
            return paths
    todo = "'pouta data get dtd', or set textures=builtin"
    raise problem("the texture images of DTD", "none", base / "images", todo)


def _dtd(root: str | Path | None, size_px: int, max_images: int | None) -> np.ndarray:
    paths = dtd_files(root)
    chosen = [Item(paths[i]) for i in spread(len(paths), max_images)]
    listing = Listing(chosen, [], mask_kind="none")
    return read_through_cache(listing, data_root(root) / "dtd", size_px, root)[0]["train"]


def _photographs(size_px: int, seed: int) -> list[np.ndarray]:
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    crops = []
    for k, name in enumerate(PHOTOGRAPHS):
        rng = np.random.default_rng([seed, 10, k])
        image = read_photo(folder / name)
        shorter = min(image.size)
        for _ in range(CROPS):
            side = int(shorter * rng.uniform(0.2, 0.8))
            left, top = (int(rng.integers(0, extent - side + 1)) for extent in image.size)
            crop = image.crop((left, top, left + side, top + side))
            crops.append(resize_image(crop, size_px))
    return crops


def patterns(size_px: int, seed: int) -> list[np.ndarray]:
    """Procedural patterns of eight kinds, six of each: ``(3, size_px, size_px)`` uint8."""
    kinds = (_stripes, _checks, _dots, _cells, _marble, _cloud, _weave, _scales)
    return [
        _colour(kind(size_px, rng), rng)
        for k, kind in enumerate(kinds)
        for n in range(PATTERNS)
        for rng in [np.random.default_rng([seed, 11, k, n])]
    ]


def _colour(field: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A field ``(S, S)`` between two or three colours, gray to vivid, with a little grain."""
    field = (field - field.min()) / max(np.ptp(field), 1e-6)
    stops = np.linspace(0, 1, rng.integers(2, 4))
    gray = rng.uniform(0, 255, (len(stops), 1))
    colours = gray + rng.uniform(0, 80) * rng.standard_normal((len(stops), 3))
    channels = [np.interp(field, stops, colours[:, c]) for c in range(3)]
    image = np.stack(channels) + rng.normal(0, rng.uniform(0, 8), (3, *field.shape))
    return image.clip(0, 255).round().astype(np.uint8)


def _turned(size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in image widths, turned by a random angle."""
    y, x = (np.mgrid[:size, :size] + 0.5) / size
    angle = rng.uniform(0, np.pi)
    return y * np.cos(angle) + x * np.sin(angle), x * np.cos(angle) - y * np.sin(angle)


def _stripes(size: int, rng: np.random.Generator) -> np.ndarray:
    y, x = _turned(size, rng)
    bent = y + rng.uniform(0, 0.05) * np.sin(2 * np.pi * x * rng.uniform(1, 4))
    return np.sin(2 * np.pi * bent * rng.uniform(4, 20)) ** rng.choice([1, 3])


def _checks(size: int, rng: np.random.Generator) -> np.ndarray:
    y, x = _turned(size, rng)
    cells = rng.uniform(3, 12)
    return (np.floor(y * cells) + np.floor(x * cells)) % 2 + 0.1 * np.sin(40 * x)


def _dots(size: int, rng: np.random.Generator) -> np.ndarray:
    y, x = _turned(size, rng)
    cells = rng.uniform(4, 14)
    distance = np.hypot(y * cells % 1 - 0.5, x * cells % 1 - 0.5)
    return np.clip((rng.uniform(0.2, 0.45) - distance) * 10, 0, 1)


def _cells(size: int, rng: np.random.Generator) -> np.ndarray:
    points = rng.uniform(-0.1, 1.1, (int(rng.integers(20, 160)), 2))
    pixels = np.moveaxis((np.mgrid[:size, :size] + 0.5) / size, 0, -1)
    distance, nearest = scipy.spatial.cKDTree(points).query(pixels, k=2)
    edges = np.clip((distance[..., 1] - distance[..., 0]) * size / 3, 0, 1)
    return edges * rng.uniform(0.3, 1, len(points))[nearest[..., 0]]


def _cloud(size: int, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls with frequency to a random power."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    frequency[0, 0] = 1
    spectrum = np.fft.rfft2(rng.standard_normal((size, size))) / frequency ** rng.uniform(0.5, 2)
    spectrum[0, 0] = 0
    return np.fft.irfft2(spectrum, s=(size, size))


def _marble(size: int, rng: np.random.Generator) -> np.ndarray:
    y, _ = _turned(size, rng)
    cloud = scipy.ndimage.gaussian_filter(rng.standard_normal((size, size)), size / 16, mode="wrap")
    return np.sin(2 * np.pi * (y * rng.uniform(2, 8) + cloud / cloud.std() * rng.uniform(0.2, 1)))


def _weave(size: int, rng: np.random.Generator) -> np.ndarray:
    y, x = _turned(size, rng)
    threads = rng.uniform(6, 20)
    over = (np.floor(y * threads) + np.floor(x * threads)) % 2
    return np.where(
        over == 0, np.abs(np.sin(np.pi * y * threads)), np.abs(np.sin(np.pi * x * threads))
    )


def _scales(size: int, rng: np.random.Generator) -> np.ndarray:
    y, x = _turned(size, rng)
    cells = rng.uniform(4, 12)
    row = np.floor(y * cells)
    return np.hypot(y * cells - row, (x * cells + 0.5 * (row % 2)) % 1 - 0.5)
