"""Tiny datasets in the true layouts, for the readers' tests."""

import zlib
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 20


def save(path: Path, array: np.ndarray, **options) -> Path:
    """Writes an array as an image, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def photo(seed: int, width: int = SIDE, height: int = SIDE) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def claiming(width: int, height: int) -> bytes:
    """The header of a PNG of so many pixels, and nothing behind it."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        code = zlib.crc32(kind + content).to_bytes(4, "big")
        return len(content).to_bytes(4, "big") + kind + content + code

    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    header = chunk(b"IHDR", size + bytes((8, 2, 0, 0, 0)))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def mask(width: int = SIDE, height: int = SIDE, value: int = 255) -> np.ndarray:
    array = np.zeros((height, width), np.uint8)
    array[5:10, 4:12] = value
    return array


def mvtec_tree(root: Path, dataset: str = "mvtec", category: str = "bolt") -> Path:
    """Three good training images, two good test images, one bent and two cut ones."""
    base = root / dataset / category
    for k in range(3):
        save(base / "train" / "good" / f"{k:03}.png", photo(k))
    for k in range(2):
        save(base / "test" / "good" / f"{k:03}.png", photo(10 + k))
    for defect, count in (("bent", 1), ("cut", 2)):
        for k in range(count):
            save(base / "test" / defect / f"{k:03}.png", photo(20 + k))
            save(base / "ground_truth" / defect / f"{k:03}_mask.png", mask())
    return base


def visa_tree(root: Path, category: str = "candle") -> Path:
    """The raw layout: masks hold class numbers, the split stands in a list."""
    base = root / "visa"
    rows = ["object,split,label,image,mask"]
    for k in range(5):
        image = f"{category}/Data/Images/Normal/{k:04}.JPG"
        save(base / image, photo(k), quality=95)
        rows.append(f"{category},{'train' if k < 3 else 'test'},normal,{image},")
    for k in range(2):
        image = f"{category}/Data/Images/Anomaly/{k:03}.JPG"
        truth = f"{category}/Data/Masks/Anomaly/{k:03}.png"
        save(base / image, photo(30 + k), quality=95)
        save(base / truth, mask(value=k + 1))
        rows.append(f"{category},test,anomaly,{image},{truth}")
    (base / "split_csv").mkdir(exist_ok=True)
    (base / "split_csv" / "1cls.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return base


def dagm_tree(root: Path, name: str = "Class1") -> Path:
    """Each split: images 1 to 4, of which the third is defective."""
    base = root / "dagm" / name
    for split in ("Train", "Test"):
        lines = ["1"]
        for k in range(1, 5):
            save(base / split / f"{k:04}.PNG", photo(k)[..., 0])
            bad = k == 3
            label = f"{k:04}_label.PNG" if bad else "0"
            lines.append(f"{k}\t{int(bad)}\t{k:04}.PNG\t0\t{label}")
            if bad:
                save(base / split / "Label" / label, mask())
        text = "\n".join(lines) + "\n"
        (base / split / "Label" / "Labels.txt").write_text(text, encoding="ascii")
    return base
