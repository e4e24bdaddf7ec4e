"""Getting datasets: downloads that break off or change, archives fetched by hand, hostile ones."""

import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest
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
        get_dataset("mvtec", tmp_path / "d", source_file=by_hand(tmp_path, category))
    assert sorted(p.name for p in (tmp_path / "d" / "mvtec").iterdir()) == ["bottle", "cable"]
    told = capsys.readouterr().out
    assert "bottle.tar.xz: sha256:" in told
    assert "not a digest that is known here" in told
    assert "problem: cable: 3 train images, 224 published" in told


def test_by_the_command_line(tmp_path, capsys):
    root = ["--data-root", str(tmp_path / "d")]
    path = by_hand(tmp_path, "bolt")
    assert cli.main(["data", "get", "mvtec", "--from", str(path), *root]) == 0
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
    get_dataset("mvtec", tmp_path / "d", source_file=by_hand(tmp_path, "bottle"))
    assert [p.name for p in target.iterdir()] == ["bottle"]
    (target / "readme.txt").write_text("mine")
    path = by_hand(tmp_path, "cable")
    (tmp_path / "cable" / "mvtec" / "readme.txt").write_text("theirs")
    path.write_bytes(packed(tmp_path / "cable" / "mvtec", "xz"))
    get_dataset("mvtec", tmp_path / "d", source_file=path)
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
        get_dataset("mvtec", tmp_path / "d", source_file=path)
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
    get_dataset("dtd", tmp_path / "d", source_file=tmp_path / "dtd.zip")
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
