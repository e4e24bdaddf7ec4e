"""Damaged pictures of each format through the decoder: `make fuzz`, ARGS="--minutes 5 --seed 1".

Whatever the bytes, :func:`decode` and :func:`to_rgb` give a picture or a :class:`PoutaError`, in
seconds and in bounded memory. Each file goes through a worker process, so that a crash is one
find and not the end. Finds are kept in build/fuzz, by their kind; each becomes a test.
"""

import argparse
import io
import multiprocessing
import os
import resource
import struct
import sys
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pouta_lib.data.images import Picture, decode, to_rgb
from pouta_lib.data.masks import read_mask
from pouta_lib.ground.errors import PoutaError

FINDS = Path(__file__).resolve().parents[1] / "build" / "fuzz"
MOST_SECONDS = 60  # on a machine that others use as well
MOST_BYTES = 6 << 30  # of a worker's address space


def seeds() -> dict[str, bytes]:
    """One small file of each format and mode, with EXIF data where it may have some."""
    rng = np.random.default_rng(0)
    colour = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    deep = rng.integers(0, 4096, (20, 30), dtype=np.uint16)
    rgb, gray = Image.fromarray(colour), Image.fromarray(colour[..., 0])
    exif = Image.Exif()
    exif[0x0112], exif[0x010F], exif[0x011A] = 6, "maker", 72.0
    exif.get_ifd(0x8769)[0x9204] = -1.5
    exif.get_ifd(0x8825)[2] = (1.0, 2.0, 3.0)
    made: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "rgb.png": (rgb, {"exif": exif}),
        "palette.png": (rgb.quantize(16), {"transparency": 0}),
        "gray_alpha.png": (gray.convert("LA"), {}),
        "deep.png": (Image.fromarray(deep), {}),
        "one.png": (gray.convert("1"), {}),
        "rgb.jpg": (rgb, {"exif": exif}),
        "progressive.jpg": (rgb, {"progressive": True, "exif": exif}),
        "cmyk.jpg": (rgb.convert("CMYK"), {}),
        "gray.jpg": (gray, {}),
        "rgb.bmp": (rgb, {}),
        "palette.bmp": (rgb.quantize(16), {}),
        "rgb.tif": (rgb, {"exif": exif}),
        "deflate.tif": (rgb, {"compression": "tiff_deflate", "exif": exif}),
        "jpeg.tif": (rgb, {"compression": "jpeg"}),
        "lzw.tif": (gray, {"compression": "tiff_lzw"}),
        "fax.tif": (gray.convert("1"), {"compression": "group4"}),
        "deep.tif": (Image.fromarray(deep), {}),
        "float.tif": (gray.convert("F"), {}),
        "lab.tif": (Image.fromarray(colour, "LAB"), {}),
        "rgb.webp": (rgb, {"exif": exif}),
        "lossless.webp": (rgb.convert("RGBA"), {"lossless": True}),
    }
    files = {}
    for name, (image, options) in made.items():
        out = io.BytesIO()
        fmt = {"jpg": "JPEG", "tif": "TIFF"}.get(name[-3:], name.rpartition(".")[2].upper())
        image.save(out, fmt, **options)
        files[name] = out.getvalue()
    return files


def damaged(content: bytes, rng: np.random.Generator, others: list[bytes]) -> bytes:
    """`content` with a few bytes flipped, set, cut out, doubled, or taken from another file."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(data))) if rng.random() < 0.5 else int(rng.integers(80))
        at = min(at, len(data) - 1)
        size = int(rng.integers(1, 33))
        match int(rng.integers(7)):
            case 0:
                data[at] ^= 1 << int(rng.integers(8))
            case 1:
                data[at] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF, int(rng.integers(256))]))
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size]
            case 4:
                odd = int(rng.choice([0, 1, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
                data[at : at + 4] = struct.pack(str(rng.choice(["<I", ">I"])), odd)
            case 5:
                other = others[int(rng.integers(len(others)))]
                start = int(rng.integers(len(other)))
                data[at : at + size] = other[start : start + size]
            case _:
                data = data[: max(1, int(rng.integers(len(data))))]
        data = data or bytearray(1)
    return bytes(data)


def read(content: bytes) -> str:
    """What came of a file: "read", "refused", or the kind of the error that nobody expected."""
    path = Path("fuzzed")
    try:
        for near_px in (None, 16):
            picture = decode(content, path, near_px)
            to_rgb(picture, path)
        with suppress(PoutaError):  # as a mask, a photograph is refused
            read_mask(picture, path, Picture(picture.image, picture.size), 16)
    except PoutaError:
        return "refused"
    except BaseException as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} in {Path(last.filename).name}:{last.name}"
    return "read"


def work(asked: Connection) -> None:
    """A worker: reads files until there are no more."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    warnings.simplefilter("ignore")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff tells of each damage
    while content := asked.recv():
        asked.send(read(content))


def started() -> tuple[multiprocessing.Process, Connection]:
    """A worker, and where it is asked."""
    mine, theirs = multiprocessing.Pipe()
    worker = multiprocessing.Process(target=work, args=(theirs,), daemon=True)
    worker.start()
    theirs.close()
    return worker, mine


def fuzz(minutes: float, seed: int) -> Counter[str]:
    """How often which outcome; finds are written to build/fuzz."""
    rng = np.random.default_rng(seed)
    files = seeds()
    outcomes: Counter[str] = Counter()
    worker, mine = started()
    stop = time.monotonic() + 60 * minutes
    while time.monotonic() < stop:
        name = list(files)[int(rng.integers(len(files)))]
        content = damaged(files[name], rng, list(files.values()))
        mine.send(content)
        try:
            found = mine.recv() if mine.poll(MOST_SECONDS) else "too slow"
        except EOFError:
            worker.join()
            found = f"crash {worker.exitcode}"
        if found.startswith(("too slow", "crash")):
            worker.kill()
            worker, mine = started()
        outcomes[found] += 1
        outcomes["files"] += 1
        if found not in ("read", "refused"):
            FINDS.mkdir(parents=True, exist_ok=True)
            kind = "".join(sign if sign.isalnum() else "_" for sign in found)
            (FINDS / f"{kind}_{name}").write_bytes(content)
    mine.send(b"")
    return outcomes


def main() -> int:
    """Status 1 where anything but a picture or a PoutaError came out."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    outcomes = fuzz(options.minutes, options.seed)
    for outcome, count in outcomes.most_common():
        print(f"{count:8} {outcome}")
    finds = set(outcomes) - {"files", "read", "refused"}
    print(f"finds: {len(finds)}" + (f", in {FINDS}" if finds else ""))
    return 1 if finds else 0


if __name__ == "__main__":
    sys.exit(main())
