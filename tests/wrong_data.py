"""Wrong images, masks, folders, lists and archives."""

import contextlib
import io
import os
import shutil
import struct
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from trees import dagm_tree, mask, mvtec_tree, photo, save, visa_tree
from wrong import AGAIN, wrong

from pouta_lib.data import list_categories, load_category, load_textures
from pouta_lib.data.check import check_dataset
from pouta_lib.data.download import download, get_dataset
from pouta_lib.data.images import read_photo
from pouta_lib.data.unpack import unpack

IMAGES, MASKS = "Images", "Masks"
FOLDERS, LISTS = "Folders", "Datasets and their lists"
ARCHIVES, SERVERS = "Archives", "Servers"


def png(array: np.ndarray, fmt: str = "PNG", **options) -> bytes:
    out = io.BytesIO()
    Image.fromarray(array).save(out, fmt, **options)
    return out.getvalue()


def image(words: str, content: Callable[[], bytes], **options) -> None:
    """An image file of this content, read."""

    @wrong(IMAGES, words)
    def _(root: Path) -> None:
        (root / "a.png").write_bytes(content())
        read_photo(root / "a.png", **options)


def claim() -> bytes:
    content = bytearray(png(photo(1)))
    content[16:24] = struct.pack(">II", 30_000, 30_000)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    return bytes(content)


def pages() -> bytes:
    second = Image.fromarray(photo(2))
    return png(photo(1), "TIFF", save_all=True, append_images=[second])


def half_copied() -> bytes:
    content = png(photo(1, 64, 64), "JPEG")
    return content[: len(content) // 2] + bytes(len(content) // 2)


def with_a_hole() -> bytes:
    content = png(photo(1, 99, 99), "JPEG")
    return content[:3000] + bytes(512) + content[3512:]


def white_is_zero() -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, np.full((9, 9), 9000, np.uint16), photometric="miniswhite")
    return out.getvalue()


def wordy() -> bytes:
    info = PngInfo()
    info.add_text("workflow", "x" * (2 << 20), zip=True)
    return png(photo(1), pnginfo=info)


image("an empty file", lambda: b"")
image("a text or a web page under a picture's name", lambda: b"<html>sign in</html>")
image("a file that was cut off", lambda: png(photo(1))[:-40])
image("a GIF, or another format, under a picture's name", lambda: png(photo(1), "GIF"))
image("a phone's HEIC under another name", lambda: b"\0\0\0\x18ftypheic" + bytes(100))
image("a header that claims 30,000 x 30,000 pixels", claim)
image("a TIFF of several pages, or an animation", pages)
image("zeros in place of the end (an interrupted copy)", half_copied)
image("zeros in the middle of a JPEG (a bad disk or card)", with_a_hole)
image("a 16-bit TIFF with white as 0, or stored one colour after the other", white_is_zero)
image("a PNG with a text that is longer than Pillow reads", wordy)
image("float values", lambda: png(np.ones((9, 9), np.float32), "TIFF"))
image("negative values", lambda: png(np.full((9, 9), -1, np.int32), "TIFF"))
image(
    "a 16-bit image among 12-bit ones",
    lambda: png(np.full((9, 9), 5000, np.uint16)),
    bits=12,
)


@wrong(IMAGES, "a film, or another file of gigabytes, under a picture's name")
def _(root: Path) -> None:
    with (root / "a.png").open("wb") as file:
        file.truncate(20 << 30)
    read_photo(root / "a.png")


@wrong(IMAGES, "a file that is not there, or may not be read")
def _(root: Path) -> None:
    read_photo(root / "a.png")


def told_of(root: Path, dataset: str) -> str:
    """What `data check` says, in one line."""
    report = check_dataset(dataset, root)
    return "; ".join([*report.problems, *report.notes])


@wrong(IMAGES, "12-bit gray in files of 16")
def _(root: Path) -> str:
    base = mvtec_tree(root, "parts")
    for path in base.glob("t*/*/*.png"):
        Image.fromarray(np.asarray(Image.open(path))[..., 0] * np.uint16(16)).save(path)
    return told_of(root, "parts")


@wrong(IMAGES, "12-bit gray with a scale bar burnt in at 65535")
def _(root: Path) -> str:
    base = mvtec_tree(root, "parts")
    for path in base.glob("t*/*/*.png"):
        values = np.asarray(Image.open(path))[..., 0] * np.uint16(16)
        values[17, 12:18] = 65535
        Image.fromarray(values).save(path)
    return told_of(root, "parts")


def masked(words: str, write: Callable[[Path], None]) -> None:
    """A category in whose folder `write` spoils a mask; it is loaded."""

    @wrong(MASKS, words)
    def _(root: Path) -> None:
        path = mvtec_tree(root, "parts") / "ground_truth" / "cut" / "000_mask.png"
        write(path)
        load_category("parts", "bolt", 20, root=root)


def jpeg(array: np.ndarray) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.unlink()
        Image.fromarray(array).save(path.with_suffix(".jpg"))

    return write


def turned(path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(photo(1)).save(path.parents[2] / "test" / "cut" / "000.png", exif=exif)


def twin_of(path: Path) -> Path:
    return path.parents[2] / "test" / "cut" / "000.jpg"


def corner() -> np.ndarray:
    """All but one corner seen."""
    alpha = np.full_like(mask(), 255)
    alpha[0, 0] = 0
    return alpha


def loco(path: Path) -> None:
    path.unlink()
    save(path.with_name("000") / "000.png", mask())


masked("a defective image without a mask", lambda path: path.unlink())
masked("a mask of another size than its image", lambda path: save(path, mask(24, 24)))
masked("a mask that marks nothing", lambda path: save(path, mask() * 0))
masked(
    "a mask with a few transparent pixels",
    lambda path: Image.merge("LA", list(map(Image.fromarray, (mask(), corner())))).save(path),
)
masked("a mask that marks everything, or is inverted", lambda path: save(path, 255 - mask(value=9)))
masked("a photograph in place of a mask", lambda path: save(path, photo(1) // 4 + 150))
masked("a gray photograph in place of a mask", lambda p: save(p, photo(1)[..., 0] // 3 + 60))
masked("class numbers in a JPEG", jpeg(mask(value=3)))
masked(
    "a mask of a photograph that EXIF turns, when nothing tells whether the mask is turned", turned
)
masked("a folder of masks (MVTec LOCO AD)", loco)
masked(
    "one mask for two images whose names differ in the suffix alone",
    lambda p: save(twin_of(p), photo(1)),
)
masked("a mask file that was cut off", lambda path: path.write_bytes(path.read_bytes()[:40]))


@wrong(MASKS, "masks beside their images, named `a_gt.png` and the like")
def _(root: Path) -> str:
    base = mvtec_tree(root, "folder")
    for path in sorted((base / "test" / "cut").glob("*.png")):
        save(path.with_name(f"{path.stem}_gt.png"), mask())
    return told_of(root, "folder")


def folder(words: str, spoil: Callable[[Path], object], dataset: str = "folder") -> None:
    """A category whose folder is changed; `data check` says so."""

    @wrong(FOLDERS, words)
    def _(root: Path) -> str:
        base = root / dataset / "washer"
        shutil.move(mvtec_tree(root, dataset), base)
        spoil(base)
        return told_of(root, dataset)


def raw(base: Path) -> None:
    (base / "train" / "good" / "a.raw").write_bytes(b"x")


def png_file(path: Path) -> None:
    path.write_bytes(png(photo(1)))


def dangling(base: Path) -> None:
    (base / "train" / "good" / "a.png").symlink_to(base / "unmounted" / "a.png")


def not_utf8(base: Path) -> None:
    """A name in Latin-1: the file is read; where it is damaged, its name can be printed."""
    with open(os.fsencode(base / "train" / "good") + b"/stra\xdfe.png", "wb") as out:
        out.write(b"")


def good_alone(base: Path) -> None:
    for kind in ("bent", "cut"):
        shutil.rmtree(base / "test" / kind)


folder("pictures in a format that is not read", raw)
folder("links to nothing", dangling)
folder(
    "pictures whose names do not say that they are",
    lambda b: png_file(b / "train" / "good" / "IMG_1"),
)
folder("images in deeper folders", lambda b: save(b / "train/good/tuesday/a.png", photo(1)))
folder("folders beside the ones that are read", lambda b: save(b / "spot" / "a.png", photo(1)))
folder("several masks of one image", lambda b: save(b / "test/cut/000_mask_2.png", mask()))
folder("a second mask of one image", lambda b: save(b / "ground_truth/cut/000_gt.png", mask()))
folder(
    "images outside the folders of good and defective ones", lambda b: save(b / "a.png", photo(1))
)
folder("hidden files and folders", lambda b: (b / "test" / ".ipynb_checkpoints").mkdir(), "parts")
folder("other files among the images", lambda b: (b / "train/good/Thumbs.db").write_bytes(b"x"))
folder("good parts under another common name", lambda b: (b / "test/good").rename(b / "test/OK"))
folder(
    "good parts under a name that is not known",
    lambda b: (b / "test/good").rename(b / "test/A-Ware"),
    "parts",
)
folder(
    "good images alone in test/", lambda b: [shutil.rmtree(b / "test" / k) for k in ("bent", "cut")]
)
folder("defective images alone in test/", lambda b: shutil.rmtree(b / "test" / "good"))
folder("images directly in test/", lambda b: save(b / "test" / "a.png", photo(1)))
folder("a damaged file whose name is not UTF-8", not_utf8)
folder("a folder that is missing", lambda b: shutil.rmtree(b / "ground_truth"), "parts")
folder(
    "a folder of masks under another name",
    lambda b: (b / "ground_truth").rename(b / "masks"),
    "parts",
)
folder("an empty folder named as a picture", lambda b: (b / "train/good/a.png").mkdir())


@wrong(FOLDERS, "nothing but pictures in a format that is not read")
def _(root: Path) -> None:
    (root / "p" / "good").mkdir(parents=True)
    (root / "p" / "good" / "a.raw").write_bytes(b"x")
    load_category("folder", "p", 20, root=root)


@wrong(FOLDERS, "the data root is a category itself")
def _(root: Path) -> None:
    save(root / "good" / "a.png", photo(1))
    list_categories("folder", root)


@wrong(FOLDERS, "the dataset lies one folder too deep")
def _(root: Path) -> None:
    mvtec_tree(root / "mvtec", "mvtec_anomaly_detection")
    list_categories("mvtec", root)


@wrong(FOLDERS, "a folder without any images")
def _(root: Path) -> None:
    (root / "folder" / "x").mkdir(parents=True)
    list_categories("folder", root)


@wrong(LISTS, "a dataset that is not there")
def _(root: Path) -> None:
    list_categories("mvtec", root)


@wrong(LISTS, "a misspelt dataset")
def _(root: Path) -> None:
    list_categories("mvtek", root)


@wrong(LISTS, "a misspelt category")
def _(root: Path) -> None:
    mvtec_tree(root)
    load_category("mvtec", "bold", 20, root=root)


@wrong(LISTS, "textures that are not there")
def _(root: Path) -> None:
    load_textures("dtd", 20, root=root)


def listed(words: str, spoil: Callable[[Path], object], tree: Callable = visa_tree) -> None:
    @wrong(LISTS, words)
    def _(root: Path) -> None:
        spoil(tree(root))
        if tree is visa_tree:
            load_category("visa", "candle", 20, root=root)
        else:
            load_category("dagm", "Class1", 20, root=root)


def replaced(old: str, new: str) -> Callable[[Path], None]:
    def spoil(base: Path) -> None:
        path = base / "split_csv" / "1cls.csv"
        path.write_text(path.read_text().replace(old, new))

    return spoil


LINE = "candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n"


@wrong(LISTS, "an image that VisA's list does not name")
def _(root: Path) -> str:
    save(visa_tree(root) / "candle/Data/Images/Normal/0099.JPG", photo(1))
    return told_of(root, "visa").rpartition("; ")[2]


listed("VisA without its list", lambda base: shutil.rmtree(base / "split_csv"))
listed("VisA's list with other columns", replaced("object,split", "object;split"))
listed("VisA's list with another split", replaced("train,", "trial,"))
listed("a line of VisA's list that is cut short", replaced(",normal,", ",normal\ncut,"))
listed("VisA's list with a quote that is never closed", replaced("candle,", 'candle,"'))
listed(
    "VisA's list in another encoding",
    lambda base: (base / "split_csv" / "1cls.csv").write_bytes(b"object,\xff\n"),
)
listed("VisA's list with anomalies in train", replaced("test,anomaly", "train,anomaly"))
listed(
    "VisA's list with a file that is not there",
    lambda base: (base / "candle/Data/Images/Anomaly/001.JPG").unlink(),
)
listed("VisA's list with a line twice", replaced("mask\n", "mask\n" + LINE * 2))
listed(
    "VisA's list with one mask for two images", replaced("Masks/Anomaly/001", "Masks/Anomaly/000")
)
listed(
    "VisA's list with a file outside the dataset", replaced("candle/Data/Images/N", "../candle/N")
)
listed(
    "DAGM's list with a line twice",
    lambda base: (base / "Train/Label/Labels.txt").write_text("1\n" + "1\t0\t0001.PNG\t0\t0\n" * 2),
    dagm_tree,
)
listed(
    "DAGM's list with one label for two images",
    lambda base: (base / "Test/Label/Labels.txt").write_text(
        "1\n" + "".join(f"{k}\t1\t{k:04}.PNG\t0\t0003_label.PNG\n" for k in (1, 2))
    ),
    dagm_tree,
)
listed(
    "DAGM's list in another encoding",
    lambda base: (base / "Train/Label/Labels.txt").write_bytes(b"1\n\xff\n"),
    dagm_tree,
)


@wrong(LISTS, "DAGM's classes under other names")
def _(root: Path) -> None:
    dagm_tree(root, "Class 1")
    list_categories("dagm", root)


listed("DAGM without a split", lambda base: shutil.rmtree(base / "Train"), dagm_tree)
listed(
    "DAGM's list with lines of another form",
    lambda base: (base / "Train/Label/Labels.txt").write_text("1\n1 x 0001.PNG\n"),
    dagm_tree,
)
listed(
    "an image that DAGM's list does not name",
    lambda base: save(base / "Test/0009.PNG", photo(1)[..., 0]),
    dagm_tree,
)


@wrong(LISTS, "empty files in the cache of decoded images")
def _(root: Path) -> str:
    mvtec_tree(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("POUTA_CACHE", raising=False)
        patch.setattr("pouta_lib.data.cache.WORTH_BYTES", 0)
        whole = load_category("mvtec", "bolt", 32, root=root)
        entry = [path for path in (root / ".cache").rglob("*") if path.is_file()]
        for path in entry:
            path.unlink()
            path.touch()
        read = load_category("mvtec", "bolt", 32, root=root)
    same = (read.test == whole.test).all() and read.manifest_hash == whole.manifest_hash
    return AGAIN if same and all(path.stat().st_size for path in entry) else ""


def archive(words: str, content: Callable[[], bytes]) -> None:
    @wrong(ARCHIVES, words)
    def _(root: Path) -> None:
        (root / "a.tar").write_bytes(content())
        unpack(root / "a.tar", root / "out")


def tar(name: str = "a", content: bytes = b"x", suffix: str = "", **claims) -> bytes:
    out = io.BytesIO()
    member = tarfile.TarInfo(name)
    member.size = len(content)
    for key, value in claims.items():
        setattr(member, key, value)
    with tarfile.open(fileobj=out, mode=f"w:{suffix}") as whole:
        whole.fileobj.write(member.tobuf() + content + bytes(-len(content) % 512))
    return out.getvalue()


def flipped() -> bytes:
    """The first byte of a gzip's checksum."""
    content = bytearray(tar(suffix="gz"))
    content[-8] ^= 1
    return bytes(content)


def zipped(name: str, content: bytes = b"x") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as whole:
        whole.writestr(name, content)
    return out.getvalue()


archive("a file that is no archive", lambda: b"<html>sign in</html>" * 50)
archive("an archive that was cut off", lambda: tar(content=b"x" * 5000)[:2000])
archive("an archive with one bit changed", flipped)
archive("a name that climbs out of the folder", lambda: tar("../../x"))
archive("an absolute name", lambda: zipped("/etc/x"))
archive("a name with NUL", lambda: tar(pax_headers={"path": "a\0b"}))
archive("a name of 5,000 bytes", lambda: tar("n" * 5000))
archive("a link", lambda: tar(content=b"", type=tarfile.SYMTYPE, linkname="../x"))
archive("a device", lambda: tar(content=b"", type=tarfile.CHRTYPE))
archive("a file with holes", lambda: tar(content=b"", type=tarfile.GNUTYPE_SPARSE))
archive("a header of 100 MB", lambda: tar(content=b"", type=b"L", size=10**8))
archive("a file that claims 1 TB", lambda: tar(content=b"", size=10**12))
archive("a bomb of zeros", lambda: zipped("a", bytes(120_000_000)))


@wrong(ARCHIVES, "60,000 files")
def _(root: Path) -> None:
    with zipfile.ZipFile(root / "a.zip", "w") as whole:
        for k in range(60_000):
            whole.writestr(zipfile.ZipInfo(str(k)), b"")
    unpack(root / "a.zip", root / "out")


@wrong(ARCHIVES, "another digest than the published one")
def _(root: Path) -> None:
    (root / "a.tar").write_bytes(tar())
    get_dataset("mvtec", root, source_file=root / "a.tar")


@wrong(ARCHIVES, "an archive without the dataset")
def _(root: Path) -> None:
    (root / "a.tar").write_bytes(tar())
    with contextlib.redirect_stdout(io.StringIO()):
        get_dataset("mvtec", root, source_file=root / "a.tar", any_digest=True)


@wrong(ARCHIVES, "no archive at the path")
def _(root: Path) -> None:
    get_dataset("mvtec", root, source_file=root / "a.tar")


@wrong(ARCHIVES, "a misspelt name after `pouta data get`")
def _(root: Path) -> None:
    get_dataset("mvtek", root)


def server(words: str, *headers: tuple[str, str], status: int = 200) -> None:
    @wrong(SERVERS, words)
    def _(root: Path) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"abc")

            def log_message(self, *_: object) -> None:
                pass

        with HTTPServer(("127.0.0.1", 0), Handler) as serving:
            threading.Thread(target=serving.handle_request, daemon=True).start()
            url = f"http://127.0.0.1:{serving.server_port}/a.zip"
            download(url, root / "a.zip", "ask its owners")


server("a file that the server does not have", status=404)
server("a length that is not a number", ("Content-Length", "many"))
server("a length that is more than any disk has", ("Content-Length", str(10**14)))
server("fewer bytes than were announced", ("Content-Length", "10"))
server("another part of the file than was asked for", ("Content-Range", "bytes 5-9/10"), status=206)
