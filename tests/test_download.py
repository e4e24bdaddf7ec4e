"""Getting datasets: from a local server, cut off and resumed, damaged, and hostile archives."""

import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from trees import dagm_tree, mvtec_tree

from pouta_lib import cli
from pouta_lib.data import check
from pouta_lib.data.download import ARCHIVES, Archive, get_dataset
from pouta_lib.errors import PoutaError


@pytest.fixture
def archive(tmp_path):
    """MVTec AD in small, packed as its owners pack it."""
    mvtec_tree(tmp_path / "source")
    path = tmp_path / "mvtec_anomaly_detection.tar.xz"
    with tarfile.open(path, "w:xz") as out:
        out.add(tmp_path / "source" / "mvtec", arcname=".")
    return path


@pytest.fixture
def server(archive, monkeypatch):
    """Serves the archive; `cut` bytes at most an answer, and it keeps what it was asked."""
    content = archive.read_bytes()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked = self.headers.get("Range")
            asked_for.append(asked)
            start = int(asked[6:-1]) if asked else 0
            if start >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if asked else 200)
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start:][: state["cut"]])

        def log_message(self, *_):
            pass

    asked_for, state = [], {"cut": None}
    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{serving.server_port}/mvtec_anomaly_detection.tar.xz"
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    monkeypatch.setitem(ARCHIVES, "mvtec", Archive(url, digest, "ask its owners"))
    yield state, asked_for
    serving.shutdown()
    serving.server_close()


def test_download_verify_unpack(server, tmp_path):
    folder = get_dataset("mvtec", tmp_path / "data")
    assert (folder / "bolt" / "train" / "good" / "000.png").is_file()
    assert [p.name for p in (tmp_path / "data").iterdir()] == ["mvtec"]
    assert get_dataset("mvtec", tmp_path / "data") == folder
    assert len(server[1]) == 1  # what is there is not fetched again


def test_a_cut_off_download_resumes(server, tmp_path):
    state, asked_for = server
    state["cut"] = 700
    with pytest.raises(PoutaError, match=r"resumes"):
        get_dataset("mvtec", tmp_path / "data")
    part = tmp_path / "data" / ".mvtec_anomaly_detection.tar.xz.part"
    assert part.stat().st_size == 700
    state["cut"] = None
    folder = get_dataset("mvtec", tmp_path / "data")
    assert asked_for == [None, "bytes=700-"]
    assert (folder / "bolt").is_dir()


def test_a_wrong_digest_is_refused(server, tmp_path, monkeypatch):
    wrong = Archive(ARCHIVES["mvtec"].url, "sha256:" + "0" * 64, "ask its owners")
    monkeypatch.setitem(ARCHIVES, "mvtec", wrong)
    with pytest.raises(PoutaError, match=r"expected sha256 0000"):
        get_dataset("mvtec", tmp_path / "data")
    assert not (tmp_path / "data" / "mvtec").exists()


def test_an_unreachable_server_names_the_way_by_hand(tmp_path, monkeypatch):
    gone = Archive("http://127.0.0.1:9/a.tar", None, "fill in the form")
    monkeypatch.setitem(ARCHIVES, "mvtec", gone)
    with pytest.raises(PoutaError, match=r"fill in the form, then 'pouta data get"):
        get_dataset("mvtec", tmp_path / "data")


def test_from_a_file_and_by_the_command_line(archive, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(ARCHIVES, "mvtec", Archive(None, None, ""))
    words = ["data", "get", "mvtec", "--data-root", str(tmp_path / "d"), "--from", str(archive)]
    assert cli.main(words) == 0
    assert archive.is_file()
    assert cli.main(["data", "check", "mvtec", "--data-root", str(tmp_path / "d")]) == 1
    told = capsys.readouterr().out
    assert "mvtec: 8 images of 5354 published" in told
    assert "problem: no category bottle" in told


def test_without_a_link_the_way_by_hand_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(ARCHIVES, "dagm", Archive(None, None, "ask hci.iwr.uni-heidelberg.de"))
    with pytest.raises(PoutaError, match=r"hci.iwr.uni-heidelberg.de.*--from FILE"):
        get_dataset("dagm", tmp_path)
    with pytest.raises(PoutaError, match=r"expected a dataset out of \['mvtec'"):
        get_dataset("cifar", tmp_path)


def test_a_zip_with_a_folder_around(tmp_path):
    dagm_tree(tmp_path / "source")
    path = tmp_path / "dagm.zip"
    with zipfile.ZipFile(path, "w") as out:
        for file in (tmp_path / "source" / "dagm").rglob("*"):
            out.write(file, "DAGM2007/" + file.relative_to(tmp_path / "source/dagm").as_posix())
    folder = get_dataset("dagm", tmp_path / "data", source_file=path)
    assert (folder / "Class1" / "Train" / "Label" / "Labels.txt").is_file()


@pytest.mark.parametrize("name", ["../outside.txt", "/tmp/outside.txt"])
def test_an_archive_that_reaches_outside_is_refused(tmp_path, name):
    path = tmp_path / "bad.tar"
    with tarfile.open(path, "w") as out:
        member = tarfile.TarInfo("../outside.txt")
        member.size = 1
        out.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(PoutaError, match="files inside the dataset's folder only"):
        get_dataset("dagm", tmp_path / "data", source_file=path)
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as out:
        out.writestr(name, "x")
    with pytest.raises(PoutaError, match="files inside the dataset's folder only"):
        get_dataset("dagm", tmp_path / "data", source_file=tmp_path / "bad.zip")
    assert not (tmp_path / "outside.txt").exists()
    assert not list((tmp_path / "data").iterdir())


def test_other_archives_are_named(tmp_path):
    empty = tmp_path / "empty.tar"
    with tarfile.open(empty, "w"):
        pass
    with pytest.raises(PoutaError, match=r"expected a folder with Class\*/Train in it, found none"):
        get_dataset("dagm", tmp_path / "data", source_file=empty)
    empty.write_bytes(b"<html>sign in</html>" * 50)
    with pytest.raises(PoutaError, match=r"expected a whole tar or zip archive"):
        get_dataset("dagm", tmp_path / "data", source_file=empty)
    with pytest.raises(PoutaError, match=r"correct the path after --from"):
        get_dataset("dagm", tmp_path / "data", source_file=tmp_path / "nothing.tar")


def test_check_names_what_is_damaged(tmp_path):
    base = mvtec_tree(tmp_path, "surface", "tile")
    mvtec_tree(tmp_path, "surface", "plate")
    assert check.check_dataset("surface", tmp_path).problems == []
    (base / "train" / "good" / "001.png").write_bytes(b"")
    report = check.check_dataset("surface", tmp_path)
    assert len(report.problems) == 1
    assert "tile: expected an image, found an empty file" in report.problems[0]
