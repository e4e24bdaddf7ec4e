"""Getting the real datasets: download with resume, verify, unpack safely, put in place at once."""

import hashlib
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tqdm.auto import tqdm

from pouta_lib.errors import PoutaError, problem
from pouta_lib.paths import atomic_path, data_root

CHUNK = 1 << 20


@dataclass(frozen=True)
class Archive:
    """Where an archive is, and how to know it: ``algorithm:hex`` as its users publish it."""

    url: str | None
    digest: str | None
    by_hand: str  # how a person gets it


ARCHIVES = {
    "mvtec": Archive(
        "https://www.mydrive.ch/shares/38536/3830184030e49fe74747669442f0f282/download/"
        "420938113-1629952094/mvtec_anomaly_detection.tar.xz",
        "sha256:cf4313b13603bec67abb49ca959488f7eedce2a9f7795ec54446c649ac98cd3d",
        "fill in the form at https://www.mvtec.com/company/research/datasets/mvtec-ad",
    ),
    "visa": Archive(
        "https://amazon-visual-anomaly.s3.us-west-2.amazonaws.com/VisA_20220922.tar",
        "md5:ef908989b6dc701fc218f643c127a4de",
        "follow the link in https://github.com/amazon-science/spot-diff",
    ),
    "dtd": Archive(
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/download/dtd-r1.0.1.tar.gz",
        "md5:fff73e5086ae6bdbea199a49dfb8a4c1",
        "https://www.robots.ox.ac.uk/~vgg/data/dtd/",
    ),
    "dagm": Archive(
        None,
        None,
        "ask for it at https://hci.iwr.uni-heidelberg.de/content/"
        "weakly-supervised-learning-industrial-optical-inspection",
    ),
}
MARKS = {  # a path that says which folder of an archive is the dataset's own
    "mvtec": "*/train/good",
    "visa": "split_csv/1cls.csv",
    "dtd": "images/*",
    "dagm": "Class1/Train",
}


def get_dataset(
    name: str, root: str | Path | None = None, *, source_file: str | Path | None = None
) -> Path:
    """The folder of a dataset, downloaded and unpacked where it is not there yet.

    `source_file` takes an archive that the user fetched by hand, in place of the download. A
    download that was cut off goes on where it stopped.

    *Raises* :class:`PoutaError` for an unknown name, a server that does not answer, an archive
    of another digest, and an archive that would write outside its folder.
    """
    if name not in ARCHIVES:
        raise problem(f"a dataset out of {list(ARCHIVES)}", repr(name), "data get", "choose one")
    target = data_root(root) / name
    if target.is_dir():
        return target
    archive = ARCHIVES[name]
    if source_file is not None:
        path = Path(source_file)
        if not path.is_file():
            raise problem("an archive", "no file", path, "correct the path after --from")
    elif archive.url is None:
        todo = f"{archive.by_hand}, then 'pouta data get {name} --from FILE'"
        raise problem("a link to download from", "none that is public", name, todo)
    else:
        file_name = PurePosixPath(archive.url).name
        path = download(archive.url, target.with_name(f".{file_name}"), archive.by_hand)
    verify(path, archive.digest)
    with atomic_path(target) as temporary:
        unpacked = temporary.with_name(temporary.name + ".unpacked.tmp")
        try:
            unpack(path, unpacked)
            _dataset_folder(unpacked, MARKS[name], path).rename(temporary)
        finally:
            shutil.rmtree(unpacked, ignore_errors=True)
    if source_file is None:
        path.unlink()
    return target


def download(url: str, path: Path, by_hand: str) -> Path:
    """The file behind `url`, kept in ``<path>.part`` until it is whole; it resumes from there."""
    if path.is_file():
        return path
    part = path.with_name(path.name + ".part")
    part.parent.mkdir(parents=True, exist_ok=True)
    start = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            resumed = answer.status == 206
            rest = int(answer.headers.get("Content-Length") or 0)
            total = rest + (start if resumed else 0)
            with (
                part.open("ab" if resumed else "wb") as out,
                tqdm(total=total or None, initial=start if resumed else 0, unit="B",
                     unit_scale=True, desc=path.name.lstrip(".")) as bar,
            ):  # fmt: skip
                while chunk := answer.read(CHUNK):
                    out.write(chunk)
                    bar.update(len(chunk))
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: the part is already whole
            raise _unreachable(url, error, by_hand) from error
        total = start
    except OSError as error:
        raise _unreachable(url, error, by_hand) from error
    if total and part.stat().st_size != total:
        found = f"{part.stat().st_size} bytes"
        raise problem(f"{total} bytes", found, part, "run the same command again: it resumes")
    part.rename(path)
    return path


def _unreachable(url: str, error: Exception, by_hand: str) -> PoutaError:
    todo = f"try again (it resumes), or {by_hand}, then 'pouta data get NAME --from FILE'"
    return problem("an answer from the server", str(error), url, todo)


def verify(path: Path, digest: str | None) -> None:
    """*Raises* :class:`PoutaError` when the file is another one than it should be."""
    if digest is None:
        return
    algorithm, _, expected = digest.partition(":")
    with path.open("rb") as content:
        found = hashlib.file_digest(content, algorithm).hexdigest()
    if found != expected:
        todo = "remove the file and get it again; it is damaged or another version"
        raise problem(f"{algorithm} {expected}", found, path, todo)


def unpack(path: Path, folder: Path) -> None:
    """Unpacks a tar (plain, gz, bz2, xz) or zip; nothing may lie outside `folder`."""
    folder.mkdir(parents=True)
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if not (folder / name).resolve().is_relative_to(folder.resolve()):
                        raise tarfile.OutsideDestinationError(tarfile.TarInfo(name), name)
                archive.extractall(folder)
        else:
            with tarfile.open(path) as archive:
                archive.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        todo = "do not use this archive; get the official one"
        raise problem("files inside the dataset's folder only", str(error), path, todo) from error
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise problem("a whole tar or zip archive", str(error), path, "get it again") from error


def _dataset_folder(unpacked: Path, mark: str, path: Path) -> Path:
    """The folder inside an archive that looks like the dataset: itself, or up to two below."""
    for candidate in (unpacked, *sorted(unpacked.glob("*")), *sorted(unpacked.glob("*/*"))):
        if candidate.is_dir() and next(candidate.glob(mark), None) is not None:
            return candidate
    todo = "see docs/DATASETS.md for the layout that is expected"
    raise problem(f"a folder with {mark} in it", "none", path, todo)
