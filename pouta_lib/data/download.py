"""Getting the real datasets: download with resume, verify, unpack safely, put in place at once."""

import hashlib
import http.client
import re
import shutil
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath

from pouta_lib.data.archives import ARCHIVES, MARKS, Archive, dataset_folder
from pouta_lib.data.check import count_problems
from pouta_lib.data.registry import DATASETS
from pouta_lib.data.unpack import unpack
from pouta_lib.ground.errors import PoutaError, did_you_mean, problem, shown
from pouta_lib.ground.paths import data_root, sweep, temporary_beside
from pouta_lib.ground.progress import Bar, tqdm

CHUNK = 1 << 20
TIMEOUT_SECONDS = 60


def get_dataset(
    name: str,
    root: str | Path | None = None,
    *,
    source_file: str | Path | None = None,
    any_digest: bool = False,
) -> Path:
    """The folder of a dataset, downloaded and unpacked where it is not there yet.

    `source_file` takes an archive that the user fetched by hand, in place of the download; with
    `any_digest` also a part of the dataset, which is added to the parts that are there, a mirror's
    or one packed again. A download that was cut off goes on where it stopped, and what an unpacking
    that was killed has left is removed. The mini datasets are drawn.

    *Raises* :class:`PoutaError` for an unknown name, a server that does not answer, an archive
    of another digest, and an archive that would write outside its folder. Until an archive has
    been verified and unpacked, nothing of it lies in the dataset's folder.
    """
    target = data_root(root) / name
    if name in DATASETS and DATASETS[name].embedded:
        from pouta_lib.data.mini import ensure_mini

        ensure_mini(root)
        return target
    if name not in ARCHIVES:
        hint = did_you_mean(name, ARCHIVES)
        raise problem(f"a dataset out of {list(ARCHIVES)}", repr(name), "data get", hint)
    archive = ARCHIVES[name]
    sweep(target.parent, deep=False)
    if source_file is not None:
        path = Path(source_file).expanduser()
        _install_by_hand(name, archive, path, target, any_digest=any_digest)
    elif archive.url is None:
        todo = f"{archive.by_hand}, then 'pouta data get {name} --from FILE'"
        raise problem("a link to download from", "none that is public", name, todo)
    elif archive.parts:
        for part in archive.parts:
            if not (target / part).is_dir():
                _install_download(name, archive, archive.url.format(part=part), target)
    elif not target.is_dir():
        _install_download(name, archive, archive.url, target)
    else:
        print(f"{target} is there already; 'pouta data check {name}' says whether it is whole")
    return target


def _install_download(name: str, archive: Archive, url: str, target: Path) -> None:
    path = target.with_name(f".{PurePosixPath(url).name}")
    by_hand = f"{archive.by_hand}, then 'pouta data get {name} --from FILE'"
    download(url, path, by_hand, resumable=archive.digest is not None)
    try:
        verify(path, archive.digest)
        if archive.digest is None:
            print(f"{url}: {_digest(path, 'sha256')}, checked by the number of its images")
            _install(name, path, target, strict=True)
    except PoutaError:  # a damaged file would only be met again
        path.unlink()
        raise
    if archive.digest is not None:
        _install(name, path, target, strict=False)
    path.unlink()


def _install_by_hand(
    name: str, archive: Archive, path: Path, target: Path, *, any_digest: bool
) -> None:
    if not path.is_file():
        raise problem("an archive", "no file", path, "correct the path after --from")
    found = _digest(path, archive.digest.partition(":")[0] if archive.digest else "sha256")
    if archive.digest not in (None, found) and not any_digest:
        todo = "get it again; if it is a part, a mirror's or packed again, say so with --any-digest"
        raise problem(_spelt(archive.digest), _spelt(found), path, todo)
    known = "as published" if found == archive.digest else "not a digest that is known here"
    print(f"{shown(path.name)}: {found}, {known}")
    _install(name, path, target, strict=False)


def _install(name: str, path: Path, target: Path, *, strict: bool) -> None:
    """Unpacks beside `target` and moves it there; `strict` refuses other than published counts."""
    target.parent.mkdir(parents=True, exist_ok=True)
    unpacked = temporary_beside(target)
    try:
        unpack(path, unpacked)
        folder = dataset_folder(unpacked, name)
        if folder is None:
            todo = "see docs/DATASETS.md for the layout that is expected"
            raise problem(f"a folder with {' or '.join(MARKS[name])} in it", "none", path, todo)
        info = DATASETS.get(name)
        differences = count_problems(info, info.reader, folder) if info else []
        if strict and differences:
            todo = "get it again, or use another archive of it with --from FILE"
            raise problem("the published images", "; ".join(differences), path, todo)
        for text in differences:
            print(f"problem: {text}")
        _move_in(folder, target)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)


def _move_in(folder: Path, target: Path) -> None:
    """Renames `folder` to `target`, or adds what is in it to a `target` that is there."""
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
    if not target.exists():
        folder.rename(target)
        return
    there = [path.name for path in sorted(folder.iterdir()) if (target / path.name).is_dir()]
    if there:
        todo = f"move them out of {target}, or use what is there"
        raise problem(f"no {', '.join(there)} yet", "folders of that name", target, todo)
    for path in sorted(folder.iterdir()):
        if not (target / path.name).exists():
            path.rename(target / path.name)


def download(url: str, path: Path, by_hand: str, *, resumable: bool = True) -> None:
    """Fetches `url` into `path`, by way of ``<path>.part``, which a later call goes on with.

    It goes on only where the server says that the file is still the same (If-Range), or, without
    such a word, where a digest will tell (`resumable`); else it starts again.

    *Raises* :class:`PoutaError` where it cannot be had; `by_hand` says what to do then.
    """
    if path.is_file():
        return
    part, tag_file = (path.with_name(path.name + suffix) for suffix in (".part", ".tag"))
    part.parent.mkdir(parents=True, exist_ok=True)
    tag = tag_file.read_text(encoding="latin-1") if tag_file.is_file() else ""
    start = part.stat().st_size if part.is_file() and (tag or resumable) else 0
    headers = {"Range": f"bytes={start}-"} if start else {}
    if start and tag:
        headers["If-Range"] = tag
    total: int | None = start
    try:
        request = urllib.request.Request(url, headers=headers)
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            if answer.status == 206:
                _check_range(answer.headers, start)
            else:
                start = 0
                tag_file.write_text(_tag(answer.headers), encoding="latin-1")
            length = _length(answer.headers)
            total = None if length is None else start + length
            _need_room(part.parent, length or 0)
            with part.open("ab" if start else "wb") as out, _bar(path, start, total) as bar:
                while chunk := answer.read(CHUNK):
                    _need_room(part.parent, len(chunk))
                    out.write(chunk)
                    bar.update(len(chunk))
    except PoutaError:
        raise
    except urllib.error.HTTPError as error:
        if error.code != 416:  # 416: nothing is left to send
            raise _unreachable(url, error, by_hand) from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _unreachable(url, error, by_hand) from error
    if total is not None and part.stat().st_size != total:
        found = f"{part.stat().st_size} bytes"
        raise problem(f"{total} bytes", found, part, "run the same command again: it resumes")
    part.rename(path)
    tag_file.unlink(missing_ok=True)


def _length(headers: http.client.HTTPMessage) -> int | None:
    """How much the server says will come. *Raises* ValueError where that is no number."""
    told = headers.get("Content-Length")
    if told is None:
        return None
    if not re.fullmatch(r"\d{1,15}", told):
        raise ValueError(f"Content-Length {shown(told[:40])!r}")
    return int(told)


def _check_range(headers: http.client.HTTPMessage, start: int) -> None:
    """*Raises* ValueError where the server sends another part than was asked for."""
    told = headers.get("Content-Range", f"bytes {start}-")
    if not told.startswith(f"bytes {start}-"):
        raise ValueError(f"Content-Range {shown(told[:40])!r}, asked for from byte {start}")


def _tag(headers: http.client.HTTPMessage) -> str:
    """What If-Range wants: a strong ETag, else the time of the last change."""
    tag = headers.get("ETag", "")
    tag = tag if tag and not tag.startswith("W/") else headers.get("Last-Modified", "")
    return tag if re.fullmatch(r"[ -~]{1,200}", tag) else ""


def _need_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        todo = "make room, or choose another folder with --data-root"
        raise problem(f"{size / 1e9:.1f} GB of room", f"{free / 1e9:.1f} GB", folder, todo)


def _bar(path: Path, start: int, total: int | None) -> Bar:
    name = path.name.lstrip(".")
    return tqdm(total=total, initial=start, unit="B", unit_scale=True, desc=name)


def _unreachable(url: str, error: Exception, by_hand: str) -> PoutaError:
    todo = f"try again (it resumes), or {by_hand}"
    return problem("an answer from the server", str(error), url, todo)


def verify(path: Path, digest: str | None) -> None:
    """*Raises* :class:`PoutaError` when the file is another one than it should be."""
    if digest is None:
        return
    found = _digest(path, digest.partition(":")[0])
    if found != digest:
        todo = "get it again; it is damaged or another version"
        raise problem(_spelt(digest), _spelt(found), path, todo)


def _spelt(digest: str | None) -> str:
    return (digest or "").replace(":", " ")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as content:
        return f"{algorithm}:{hashlib.file_digest(content, algorithm).hexdigest()}"
