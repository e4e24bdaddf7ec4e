"""Getting datasets: downloads that break off or change, archives fetched by hand, hostile ones."""

import contextlib
import gzip
import hashlib
import io
import shutil
import socket
import socketserver
import stat
import struct
import tarfile
import threading
import tracemalloc
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from uuid import uuid4

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import dagm_tree, mvtec_tree, save

from pouta_lib import cli
from pouta_lib.data import download as downloads
from pouta_lib.data import registry, unpack
from pouta_lib.data.archives import ARCHIVES, Archive
from pouta_lib.data.download import download, get_dataset
from pouta_lib.ground.errors import PoutaError


@pytest.fixture
def server():
    """Serves ``state.files`` with ETags and ranges; cuts each answer after ``state.cut`` bytes."""
    state = SimpleNamespace(files={}, cut=None, tags=True, asked=[])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            content = state.files.get(self.path[1:])
            if content is None:
                self.send_error(404)
                return
            tag = f'"{hashlib.md5(content).hexdigest()}"'
            asked = self.headers.get("Range")
            state.asked.append((self.path[1:], asked))
            same = self.headers.get("If-Range", tag) == tag
            start = int(asked[6:-1]) if asked and same else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(content) - start))
            if state.tags:
                self.send_header("ETag", tag)
            self.end_headers()
            self.wfile.write(content[start:][: state.cut])

        def log_message(self, *_):
            pass

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{serving.server_port}"
    yield state
    serving.shutdown()
    serving.server_close()


def packed(folder, suffix=".zip"):
    """The bytes of an archive of everything in `folder`."""
    out = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(out, "w") as archive:
            for path in sorted(folder.rglob("*")):
                archive.write(path, path.relative_to(folder).as_posix())
    else:
        with tarfile.open(fileobj=out, mode=f"w:{suffix}") as archive:
            archive.add(folder, arcname=".")
    return out.getvalue()


@pytest.fixture
def two_classes(server, tmp_path, monkeypatch):
    """DAGM in two tiny classes, an archive each, with their true counts as the published ones."""
    parts = ("Class1", "Class2")
    for name in parts:
        dagm_tree(tmp_path / name, name)
        server.files[f"{name}.zip"] = packed(tmp_path / name / "dagm")
        counts = {"images": 8, "all train": 4, "all defective": 2}
        monkeypatch.setitem(registry.DATASETS["dagm"].published, name, counts)
    archive = Archive(server.url + "/{part}.zip", None, "ask its owners", parts)
    monkeypatch.setitem(ARCHIVES, "dagm", archive)
    return tmp_path / "data"


def test_each_part_is_fetched_once(server, two_classes, capsys):
    second = server.files.pop("Class2.zip")
    with pytest.raises(PoutaError, match=r"404.*\n.*Class2.zip\n.*ask its owners"):
        get_dataset("dagm", two_classes)
    assert [p.name for p in (two_classes / "dagm").iterdir()] == ["Class1"]
    server.files["Class2.zip"] = second
    folder = get_dataset("dagm", two_classes)
    assert sorted(p.name for p in folder.iterdir()) == ["Class1", "Class2"]
    assert [name for name, _ in server.asked] == ["Class1.zip", "Class2.zip"]
    assert [p.name for p in two_classes.iterdir()] == ["dagm"]
    digest = hashlib.sha256(second).hexdigest()
    assert f"sha256:{digest}, checked by the number of its images" in capsys.readouterr().out


def test_without_a_digest_other_counts_are_refused(server, two_classes, monkeypatch):
    counts = {"images": 1150, "all train": 575, "all defective": 150}
    monkeypatch.setitem(registry.DATASETS["dagm"].published, "Class1", counts)
    with pytest.raises(PoutaError, match=r"Class1: 8 images, 1150 published"):
        get_dataset("dagm", two_classes)
    assert list(two_classes.iterdir()) == []


def test_a_file_that_changed_on_the_server_is_fetched_from_its_start(server, tmp_path):
    server.files["a.zip"], server.cut = b"old" * 100, 50
    with pytest.raises(PoutaError, match=r"expected 300 bytes, found 50 bytes(.|\n)*it resumes"):
        download(f"{server.url}/a.zip", tmp_path / "a.zip", "by hand", resumable=False)
    server.files["a.zip"], server.cut = b"new" * 90, None
    download(f"{server.url}/a.zip", tmp_path / "a.zip", "by hand", resumable=False)
    assert (tmp_path / "a.zip").read_bytes() == b"new" * 90
    assert [asked for _, asked in server.asked] == [None, "bytes=50-"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]


@pytest.mark.parametrize("resumable", [True, False])
def test_without_a_tag_only_a_digest_allows_to_resume(server, tmp_path, resumable):
    server.files["a.zip"], server.cut, server.tags = b"abc" * 100, 50, False
    for _ in range(2):
        with pytest.raises(PoutaError, match="it resumes"):
            download(f"{server.url}/a.zip", tmp_path / "a.zip", "by hand", resumable=resumable)
    assert [asked for _, asked in server.asked] == [None, "bytes=50-" if resumable else None]
    server.cut = None
    download(f"{server.url}/a.zip", tmp_path / "a.zip", "by hand", resumable=resumable)
    assert (tmp_path / "a.zip").read_bytes() == b"abc" * 100


def test_a_part_that_is_whole_is_only_renamed(server, tmp_path):
    server.files["a.zip"] = b"abc"
    (tmp_path / "a.zip.part").write_bytes(b"abc")
    download(f"{server.url}/a.zip", tmp_path / "a.zip", "by hand")
    assert (tmp_path / "a.zip").read_bytes() == b"abc"


@pytest.fixture
def one_archive(server, tmp_path, monkeypatch):
    """MVTec AD in small, packed as its owners pack it, with its digest known."""
    mvtec_tree(tmp_path / "source")
    content = server.files["a.tar.xz"] = packed(tmp_path / "source" / "mvtec", "xz")
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    archive = Archive(f"{server.url}/a.tar.xz", digest, "ask its owners")
    monkeypatch.setitem(ARCHIVES, "mvtec", archive)
    return tmp_path / "data"


def test_a_dataset_that_broke_off_resumes_and_is_fetched_once(server, one_archive):
    server.cut = 700
    with pytest.raises(PoutaError, match="resumes"):
        get_dataset("mvtec", one_archive)
    assert (one_archive / ".a.tar.xz.part").stat().st_size == 700
    server.cut = None
    for _ in range(2):
        assert (get_dataset("mvtec", one_archive) / "bolt/train/good/000.png").is_file()
    assert [asked for _, asked in server.asked] == [None, "bytes=700-"]
    assert [p.name for p in one_archive.iterdir()] == ["mvtec"]


def test_a_damaged_download_is_not_kept(server, one_archive):
    content = server.files["a.tar.xz"]
    server.files["a.tar.xz"] = content[:-1] + b"?"
    told = f"expected sha256 {hashlib.sha256(content).hexdigest()}"
    told += r"(.|\n)*get it again; it is damaged or another version"
    with pytest.raises(PoutaError, match=told):
        get_dataset("mvtec", one_archive)
    assert list(one_archive.iterdir()) == []
    server.files["a.tar.xz"] = content
    assert (get_dataset("mvtec", one_archive) / "bolt").is_dir()


def test_an_unreachable_server_names_the_way_by_hand(tmp_path, monkeypatch):
    gone = Archive("http://127.0.0.1:9/a.tar", None, "fill in the form")
    monkeypatch.setitem(ARCHIVES, "mvtec", gone)
    with pytest.raises(PoutaError, match="fill in the form, then 'pouta data get"):
        get_dataset("mvtec", tmp_path / "data")


def test_a_full_disk_is_told_before_and_while_unpacking(server, tmp_path, monkeypatch):
    server.files["a.zip"] = b"abc"
    nothing_free = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=2))
    monkeypatch.setattr(downloads, "shutil", nothing_free)
    with pytest.raises(PoutaError, match=r"GB of room, found 0.0 GB(.|\n)*--data-root"):
        download(f"{server.url}/a.zip", tmp_path / "a.zip", "by hand")
    monkeypatch.setattr(unpack, "shutil", nothing_free)
    for suffix in ("zip", "tar"):
        mvtec_tree(tmp_path / suffix)
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(packed(tmp_path / suffix, ".zip" if suffix == "zip" else ""))
        with pytest.raises(PoutaError, match=r"more than the disk has room for(.|\n)*make room"):
            unpack.unpack(path, tmp_path / f"{suffix}.out")


def by_hand(tmp_path, category):
    """The archive of one MVTec category, as its page offers them."""
    mvtec_tree(tmp_path / category, category=category)
    path = tmp_path / f"{category}.tar.xz"
    path.write_bytes(packed(tmp_path / category / "mvtec", "xz"))
    return path


def test_by_hand_category_after_category(tmp_path, capsys):
    for category in ("bottle", "cable"):
        get_dataset(
            "mvtec", tmp_path / "d", source_file=by_hand(tmp_path, category), any_digest=True
        )
    assert sorted(p.name for p in (tmp_path / "d" / "mvtec").iterdir()) == ["bottle", "cable"]
    told = capsys.readouterr().out
    assert "bottle.tar.xz: sha256:" in told
    assert "not a digest that is known here" in told
    assert "problem: cable: 3 train images, 224 published" in told


def test_by_the_command_line(tmp_path, capsys):
    root = ["--data-root", str(tmp_path / "d")]
    path = by_hand(tmp_path, "bolt")
    asked = ["data", "get", "mvtec", "--from", str(path), "--any-digest", *root]
    assert cli.main(asked) == 0
    assert path.is_file()
    assert cli.main(["data", "check", "mvtec", *root]) == 1
    told = capsys.readouterr().out
    assert "mvtec: 8 images of 5354 published" in told
    assert "problem: no category bottle" in told


def test_a_file_that_is_there_is_not_asked_for(server, tmp_path):
    server.files["a.zip"] = b"new"
    (tmp_path / "a.zip").write_bytes(b"old")
    download(f"{server.url}/a.zip", tmp_path / "a.zip", "by hand")
    assert (tmp_path / "a.zip").read_bytes() == b"old"
    assert server.asked == []


def test_what_lies_beside_the_categories_stays(tmp_path):
    """An empty folder makes room; a file of the same name is the user's own."""
    target = tmp_path / "d" / "mvtec"
    target.mkdir(parents=True)
    get_dataset("mvtec", tmp_path / "d", source_file=by_hand(tmp_path, "bottle"), any_digest=True)
    assert [p.name for p in target.iterdir()] == ["bottle"]
    (target / "readme.txt").write_text("mine")
    path = by_hand(tmp_path, "cable")
    (tmp_path / "cable" / "mvtec" / "readme.txt").write_text("theirs")
    path.write_bytes(packed(tmp_path / "cable" / "mvtec", "xz"))
    get_dataset("mvtec", tmp_path / "d", source_file=path, any_digest=True)
    assert sorted(p.name for p in target.iterdir()) == ["bottle", "cable", "readme.txt"]
    assert (target / "readme.txt").read_text() == "mine"


def test_an_archive_with_a_damaged_list_is_installed_and_told(tmp_path, capsys):
    base = dagm_tree(tmp_path / "source")
    (base / "Test" / "0002.PNG").unlink()
    (tmp_path / "dagm.zip").write_bytes(packed(tmp_path / "source" / "dagm"))
    folder = get_dataset("dagm", tmp_path / "data", source_file=tmp_path / "dagm.zip")
    assert (folder / "Class1" / "Train").is_dir()
    assert "problem: Class1: expected the image 0002.png" in capsys.readouterr().out


def test_a_zip_with_a_folder_around(tmp_path):
    dagm_tree(tmp_path / "source")
    (tmp_path / "source" / "dagm").rename(tmp_path / "source" / "DAGM2007")
    (tmp_path / "dagm.zip").write_bytes(packed(tmp_path / "source"))
    folder = get_dataset("dagm", tmp_path / "data", source_file=tmp_path / "dagm.zip")
    assert (folder / "Class1" / "Train" / "Label" / "Labels.txt").is_file()


def test_other_files_are_named(tmp_path):
    path = tmp_path / "empty.tar"
    with tarfile.open(path, "w"):
        pass
    with pytest.raises(PoutaError, match=r"expected a folder with Class\*/Train in it, found none"):
        get_dataset("dagm", tmp_path / "data", source_file=path)
    path.write_bytes(b"<html>sign in</html>" * 50)
    with pytest.raises(PoutaError, match="expected a whole tar or zip archive"):
        get_dataset("dagm", tmp_path / "data", source_file=path)
    with pytest.raises(PoutaError, match="correct the path after --from"):
        get_dataset("dagm", tmp_path / "data", source_file=tmp_path / "nothing.tar")


def test_what_is_there_is_never_overwritten(tmp_path, capsys):
    path = by_hand(tmp_path, "bottle")
    target = tmp_path / "d" / "mvtec" / "bottle"
    target.mkdir(parents=True)
    with pytest.raises(PoutaError, match="expected no bottle yet, found folders of that name"):
        get_dataset("mvtec", tmp_path / "d", source_file=path, any_digest=True)
    assert list(target.iterdir()) == []
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["mvtec"]
    get_dataset("mvtec", tmp_path / "d")
    assert "is there already; 'pouta data check mvtec'" in capsys.readouterr().out


def test_dtd_lies_where_the_textures_are_looked_for(tmp_path):
    from pouta_lib.data import load_textures
    from pouta_lib.data.check import check_dataset

    with zipfile.ZipFile(tmp_path / "dtd.zip", "w") as out:
        save(tmp_path / "one.jpg", load_textures("builtin", 32)[0].transpose(1, 2, 0))
        out.write(tmp_path / "one.jpg", "dtd/images/banded/banded_0002.jpg")
        out.writestr("dtd/labels/train1.txt", "banded/banded_0002.jpg\n")
    get_dataset("dtd", tmp_path / "d", source_file=tmp_path / "dtd.zip", any_digest=True)
    assert load_textures("dtd", 16, root=tmp_path / "d").shape == (1, 3, 16, 16)
    report = check_dataset("dtd", tmp_path / "d")
    assert report.problems == ["not 120 images: banded (1)", "1 classes, 47 published"]


def test_names(tmp_path, monkeypatch):
    with pytest.raises(PoutaError, match=r"'mvtek'(.|\n)*did you mean 'mvtec'"):
        get_dataset("mvtek", tmp_path)
    with pytest.raises(PoutaError, match=r"expected a dataset out of \['mvtec'"):
        get_dataset("cifar", tmp_path)
    monkeypatch.setitem(ARCHIVES, "dagm", Archive(None, None, "ask hci.iwr.uni-heidelberg.de"))
    with pytest.raises(PoutaError, match=r"hci.iwr.uni-heidelberg.de.*--from FILE"):
        get_dataset("dagm", tmp_path)
    from pouta_lib.data import mini

    drawn = []
    monkeypatch.setattr(mini, "ensure_mini", drawn.append)
    assert get_dataset("mini-visa", tmp_path) == tmp_path / "mini-visa"
    assert drawn == [tmp_path]


HOSTILE = "files inside the dataset's folder only"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "bad.tar", "w") as out:
        member = tarfile.TarInfo("inside")
        member.type, member.linkname = kind, "../../outside"
        out.addfile(member)
    with pytest.raises(PoutaError, match=HOSTILE):
        unpack.unpack(tmp_path / "bad.tar", tmp_path / "out")


def test_an_archive_that_reaches_outside_leaves_nothing(tmp_path):
    with tarfile.open(tmp_path / "bad.tar", "w") as out:
        member = tarfile.TarInfo("../outside.txt")
        member.size = 1
        out.addfile(member, io.BytesIO(b"x"))
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as out:
        out.writestr("../outside.txt", "x")
    for name in ("bad.tar", "bad.zip"):
        with pytest.raises(PoutaError, match=HOSTILE):
            get_dataset("dagm", tmp_path / "data", source_file=tmp_path / name)
        assert not list((tmp_path / "data").iterdir())
    assert not (tmp_path / "outside.txt").exists()


PATHS = ["../b", "/tmp/b", "a/../../b", "\\\\server\\b", "C:\\b", "..\\b"]


@pytest.mark.parametrize("name", PATHS)
def test_a_path_that_leads_outside_of_a_zip_is_refused(tmp_path, name):
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as out:
        out.writestr(name, "x")
    with pytest.raises(PoutaError, match=HOSTILE):
        unpack.unpack(tmp_path / "bad.zip", tmp_path / "out")
    assert not (tmp_path / "b").exists()


def test_a_link_in_a_zip_is_refused(tmp_path):
    member = zipfile.ZipInfo("link")
    member.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as out:
        out.writestr(member, "/etc/passwd")
    with pytest.raises(PoutaError, match="found a link, link"):
        unpack.unpack(tmp_path / "bad.zip", tmp_path / "out")


@pytest.mark.parametrize("suffix", ["xz", "gz", "bz2", "", ".zip"])
def test_an_archive_that_was_cut_off_is_refused(tmp_path, suffix):
    mvtec_tree(tmp_path / "source")
    content = packed(tmp_path / "source", suffix)
    for share in (0.3, 0.6, 0.9):
        path = tmp_path / f"cut{share}"
        path.write_bytes(content[: int(len(content) * share) // 512 * 512 + 100])
        with pytest.raises(PoutaError, match="expected a whole tar or zip archive"):
            unpack.unpack(path, tmp_path / f"out{share}")


# -- archives that lie ------------------------------------------------------------------------


def tar_of(*members, suffix=""):
    """A tar of (name, content) or of (TarInfo, content); what a TarInfo claims is kept."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{suffix}") as archive:
        for name, content in members:
            member = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            if member is not name:
                member.size = len(content)
            archive.fileobj.write(member.tobuf() + content + bytes(-len(content) % 512))
    return out.getvalue()


def refused(tmp_path, content, match, name="a.tar"):
    (tmp_path / name).write_bytes(content)
    out = tmp_path / f"{uuid4().hex}.out"
    with pytest.raises(PoutaError, match=match) as error:
        unpack.unpack(tmp_path / name, out)
    assert len(str(error.value)) < 3000
    assert "\n  to do: " in str(error.value)
    return out


WHOLE = "expected a whole tar or zip archive"


@pytest.mark.parametrize("suffix", ["gz", "bz2", "xz", ".zip"])
def test_a_flipped_bit_is_noticed(tmp_path, suffix):
    """Whatever bit it is: the contents are those that were packed, or the archive is refused."""
    mvtec_tree(tmp_path / "source")
    content = packed(tmp_path / "source", suffix)
    wanted = {
        path.relative_to(tmp_path / "source").as_posix(): path.read_bytes()
        for path in sorted((tmp_path / "source").rglob("*.png"))
    }
    flips = np.random.default_rng(0).integers(0, 8 * len(content), 60)
    caught = 0
    for k, bit in enumerate(flips):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        (tmp_path / "a").write_bytes(damaged)
        out = tmp_path / f"out{k}"
        try:
            unpack.unpack(tmp_path / "a", out)
        except PoutaError:
            caught += 1
            continue
        # what no checksum covers: names and times in a zip's list, a gzip's header
        found = sorted(path.read_bytes() for path in out.rglob("*") if path.is_file())
        assert found == sorted(wanted.values())
    assert caught > 40


def test_a_tar_with_a_damaged_header_is_not_taken_for_its_beginning(tmp_path):
    content = bytearray(tar_of(("a", b"1" * 600), ("b", b"2" * 600), ("c", b"3")))
    content[3 * 512 + 20] ^= 1
    refused(tmp_path, content, r"damaged header")
    content[3 * 512 : 4 * 512] = bytes(512)
    refused(tmp_path, content, r"something behind its end")


def test_bombs_of_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MOST_FILES", 50)
    many = [(f"f{k}", b"") for k in range(51)]
    refused(tmp_path, tar_of(*many, suffix="gz"), "found more than 50 files")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as out:
        for name, content in many:
            out.writestr(name, content)
    refused(tmp_path, (tmp_path / "b.zip").read_bytes(), "found more than 50 files")


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2", ".zip"])
def test_bombs_of_bytes_are_refused(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr(unpack, "FREE_BYTES", 1000)
    zeros = bytes(10_000_000)
    if suffix == ".zip":
        with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("zeros", zeros)
        content = (tmp_path / "b.zip").read_bytes()
    else:
        content = tar_of(("zeros", zeros), suffix=suffix)
    out = refused(tmp_path, content, r"found more than \d+.\d GB, from \d+ bytes")
    assert sum(path.stat().st_size for path in out.iterdir()) == 0


def test_zeros_behind_the_end_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "FREE_BYTES", 1000)
    monkeypatch.setattr(unpack, "MOST_FILES", 10)
    content = gzip.compress(tar_of(("a", b"1")) + bytes(50_000_000))
    refused(tmp_path, content, "more bytes than pictures are packed into")


def test_claims_of_size_are_refused_before_they_are_written(tmp_path):
    huge = tarfile.TarInfo("huge")
    huge.size = 10**12
    out = refused(tmp_path, tar_of((huge, b"")), "found more than 0.1 GB")
    assert list(out.iterdir()) == []
    sparse = tarfile.TarInfo("holes")
    sparse.type = tarfile.GNUTYPE_SPARSE
    refused(tmp_path, tar_of((sparse, b"")), "a file with holes")


@pytest.mark.parametrize("suffix", ["", "gz"])
def test_long_headers_take_neither_memory_nor_lines(tmp_path, suffix):
    """A name of 100 MB in 100 KB."""
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 100_000_000
    content = tar_of((header, b""))[:512] + bytes(1000)
    tracemalloc.start()
    refused(tmp_path, gzip.compress(content) if suffix else content, "a header of 100000000 bytes")
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("length", [256, 5000, 60_000])
def test_long_names_are_refused_and_shortened(tmp_path, length):
    refused(tmp_path, tar_of(("n" * length, b"x")), f"a name of {length} bytes, 'nnn")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as out:
        out.writestr("n" * length, "x")
    refused(tmp_path, (tmp_path / "b.zip").read_bytes(), f"a name of {length} bytes, 'nnn")


@pytest.mark.parametrize("name", [*PATHS, "a\0b", "/", "a/./../../b", "x" * 200 + "/../../b"])
def test_names_that_lead_outside_of_a_tar_are_refused(tmp_path, name):
    member = tarfile.TarInfo("a")
    member.pax_headers = {"path": name}
    member.size = 1
    if name == "/":
        member.pax_headers = {"path": "//b"}
    refused(tmp_path, tar_of((member, b"x")), HOSTILE)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("mtime", ["1e30", "-1e30", "nan", "inf", "x"])
def test_impossible_times_are_no_matter(tmp_path, mtime):
    member = tarfile.TarInfo("a")
    member.size, member.pax_headers = 1, {"mtime": mtime}
    (tmp_path / "a.tar").write_bytes(tar_of((member, b"x")))
    unpack.unpack(tmp_path / "a.tar", tmp_path / "out")
    assert (tmp_path / "out" / "a").read_bytes() == b"x"
    assert (tmp_path / "out" / "a").stat().st_mode & 0o7111 == 0, "no mode is taken over either"


@pytest.mark.parametrize("size", ["-1", "1e3", "x", "99999999999999999999999"])
def test_impossible_sizes_are_refused(tmp_path, size):
    member = tarfile.TarInfo("a")
    member.size, member.pax_headers = 1, {"size": size}
    refused(tmp_path, tar_of((member, b"x")), "expected (a whole tar|files inside)")


def test_headers_about_headers_end(tmp_path):
    one = tarfile.TarInfo("././@PaxHeader")
    one.type, one.size = tarfile.XHDTYPE, 12
    block = tar_of((one, b"12 comment=\n"))[:1024]
    refused(tmp_path, block * 3000 + bytes(1024), WHOLE)


def test_one_name_twice_is_refused(tmp_path):
    refused(tmp_path, tar_of(("a", b"1"), ("./a", b"2")), r"found ./a twice")
    refused(tmp_path, tar_of(("a", b"1"), ("a/b", b"2")), WHOLE)


def test_a_zip_that_claims_less_than_it_holds_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a", b"x" * 1000)
    content = (tmp_path / "b.zip").read_bytes()
    at = content.index(b"PK\1\2") + 24
    refused(tmp_path, content[:at] + struct.pack("<I", 10) + content[at + 4 :], WHOLE)


def test_a_list_of_members_beyond_all_bounds_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(unpack, "MOST_LIST", 1000)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as out:
        for k in range(30):
            out.writestr(f"f{k}", b"")
    refused(tmp_path, (tmp_path / "b.zip").read_bytes(), r"a list of members of \d+ bytes")


@settings(max_examples=100, deadline=None, database=None, derandomize=True)
@given(st.data())
def test_damaged_archives_are_read_right_or_refused(tmp_path_factory, data):
    """Any bytes changed in a tar or zip: never another error, never a file outside."""
    folder = tmp_path_factory.mktemp("archive")
    suffix = data.draw(st.sampled_from(["", "gz", "zip"]))
    if suffix == "zip":
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
            out.writestr("d/a", b"1" * 100)
            out.writestr("d/b", b"2" * 700)
        content = bytearray(buffer.getvalue())
    else:
        content = bytearray(tar_of(("d/a", b"1" * 100), ("d/b", b"2" * 700)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = folder / "in" / "a"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(content) if suffix == "gz" else content)
    with contextlib.suppress(PoutaError):
        unpack.unpack(path, folder / "in" / "out")
    assert sorted(p.name for p in folder.iterdir()) == ["in"]
    assert sorted(p.name for p in path.parent.iterdir()) in (["a"], ["a", "out"])
    shutil.rmtree(folder)


# -- by hand, and what a killed process left -----------------------------------------------------


def test_another_digest_by_hand_is_refused_unless_it_is_said(one_archive, tmp_path, capsys):
    path = by_hand(tmp_path, "bottle")
    told = r"expected sha256 \w{64}, found sha256 \w{64}(.|\n)*say so with --any-digest"
    with pytest.raises(PoutaError, match=told):
        get_dataset("mvtec", one_archive, source_file=path)
    assert not one_archive.exists() or list(one_archive.iterdir()) == []
    root = ["--data-root", str(one_archive), "--any-digest"]
    assert cli.main(["data", "get", "mvtec", "--from", str(path), *root]) == 0
    assert "not a digest that is known here" in capsys.readouterr().out


def test_the_published_archive_by_hand(server, one_archive, tmp_path, capsys):
    (tmp_path / "mine.tar.xz").write_bytes(server.files["a.tar.xz"])
    get_dataset("mvtec", one_archive, source_file=tmp_path / "mine.tar.xz")
    assert ", as published" in capsys.readouterr().out


def test_what_a_killed_unpacking_left_is_removed(server, one_archive, monkeypatch):
    from pouta_lib.ground import paths

    monkeypatch.setattr(paths.os, "getpid", lambda: 2**22 + 7)  # a process that is not there
    left = paths.temporary_beside(one_archive / "mvtec")
    monkeypatch.undo()
    (left / "half").mkdir(parents=True)
    (one_archive / ".mine").mkdir()
    with pytest.raises(PoutaError):
        get_dataset("mvtec", one_archive, source_file=one_archive / "no.tar")
    assert [path.name for path in one_archive.iterdir()] == [".mine"]


# -- servers that lie ----------------------------------------------------------------------------


@pytest.fixture
def liar(monkeypatch):
    """Answers every request with ``state.answer``, raw."""
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 5)
    state = SimpleNamespace(answer=b"", asked=[])

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            state.asked.append(self.request.recv(65536))
            with contextlib.suppress(OSError):
                self.request.sendall(state.answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as serving:
        serving.daemon_threads = True
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        state.url = f"http://127.0.0.1:{serving.server_address[1]}/a.zip"
        yield state
        serving.shutdown()


def answer(*headers, status="200 OK", body=b"abc"):
    lines = [f"HTTP/1.1 {status}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


LIES = {
    "a length in words": answer("Content-Length: many"),
    "a negative length": answer("Content-Length: -5"),
    "a length with a sign": answer("Content-Length: +3"),
    "two lengths": answer("Content-Length: 3, 4"),
    "a length beyond all disks": answer(f"Content-Length: {10**14}"),
    "a length of a thousand digits": answer("Content-Length: " + "9" * 1000),
    "too long a length": answer("Content-Length: 10"),
    "no status": b"hello\r\n\r\n",
    "a status in words": b"HTTP/1.1 fine OK\r\n\r\n",
    "a status of 999": answer(status="999 What"),
    "nothing": b"",
    "chunks that are none": answer("Transfer-Encoding: chunked", body=b"zz\r\nabc"),
    "a header without end": b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000,
    "ten thousand headers": answer(*(f"X-{k}: 1" for k in range(10_000))),
    "a way to a file": answer("Location: file:///etc/passwd", status="302 Found"),
    "a way round in circles": answer("Location: /a.zip", status="302 Found"),
}


@pytest.mark.parametrize("content", LIES.values(), ids=LIES.keys())
def test_what_no_server_should_say_is_told_in_four_parts(liar, tmp_path, content):
    liar.answer = content
    with pytest.raises(PoutaError) as error:
        download(liar.url, tmp_path / "a.zip", "ask its owners")
    assert "\n  to do: " in str(error.value)
    assert not (tmp_path / "a.zip").exists()


@pytest.mark.parametrize("tag", ["a\r\n b", '"\xff\xfe"', '"' + "x" * 5000 + '"', "\x00"])
def test_a_tag_that_cannot_be_sent_back_is_not_kept(liar, tmp_path, tag):
    liar.answer = answer(f"ETag: {tag}", "Content-Length: 10")
    for _ in range(2):
        with pytest.raises(PoutaError, match="expected 10 bytes, found 3 bytes"):
            download(liar.url, tmp_path / "a.zip", "ask its owners", resumable=False)
    assert b"Range" not in liar.asked[1]


def test_another_part_than_was_asked_for_is_refused(liar, tmp_path):
    (tmp_path / "a.zip.part").write_bytes(b"abc")
    ranged = ("Content-Range: bytes 0-2/6", "Content-Length: 3")
    liar.answer = answer(*ranged, status="206 Partial Content")
    with pytest.raises(PoutaError, match=r"Content-Range 'bytes 0-2/6', asked for from byte 3"):
        download(liar.url, tmp_path / "a.zip", "ask its owners")
    assert (tmp_path / "a.zip.part").read_bytes() == b"abc"


def test_an_answer_without_end_stops_where_the_disk_does(liar, tmp_path, monkeypatch):
    liar.answer = answer(body=bytes(5_000_000))
    free = iter([10**9, 10**9, 10**9, 0, 0, 0])
    usage = SimpleNamespace(disk_usage=lambda _: SimpleNamespace(free=next(free)))
    monkeypatch.setattr(downloads, "shutil", usage)
    with pytest.raises(PoutaError, match="GB of room"):
        download(liar.url, tmp_path / "a.zip", "ask its owners")


def test_a_server_that_stalls_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "TIMEOUT_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/a.zip"
        with pytest.raises(PoutaError, match="timed out"):
            download(url, tmp_path / "a.zip", "ask its owners")
