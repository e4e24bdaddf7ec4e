"""Output folders: only what was written by this program, and is as it was written, makes way."""

import errno
import json
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pouta_lib.ground import outputs
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.outputs import MANIFEST, own_files, refuse_overlap, replaceable


def write(folder, **files):
    with own_files(folder, "answer", "last.txt") as temporary:
        for name, text in ({"last": "whole"} | files).items():
            (temporary / f"{name}.txt").write_text(text)


def texts(folder):
    return {path.stem: path.read_text() for path in folder.glob("*.txt")}


def test_a_result_replaces_its_like_and_leaves_the_rest(tmp_path):
    write(tmp_path / "a" / "b", one="1", two="2")
    folder = tmp_path / "a" / "b"
    (folder / "theirs.txt").write_text("3")
    write(folder, one="4")
    assert texts(folder) == {"one": "4", "theirs": "3", "last": "whole"}
    assert {path.name for path in folder.iterdir()} == {
        "one.txt", "theirs.txt", "last.txt", MANIFEST
    }  # fmt: skip


def test_what_fails_leaves_all_as_it_was(tmp_path):
    write(tmp_path / "old", one="1")
    for name in ("old", "new"):
        with pytest.raises(TypeError):
            write(tmp_path / name, one="2", two=2)
    assert texts(tmp_path / "old") == {"one": "1", "last": "whole"}
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_an_interrupted_change_can_be_made_again(tmp_path):
    """Files that the manifest names and that are not there were never anybody else's."""
    write(tmp_path, one="1")
    (tmp_path / "last.txt").unlink()
    write(tmp_path, one="2")
    assert texts(tmp_path) == {"one": "2", "last": "whole"}


def test_what_a_killed_process_had_begun_is_removed(tmp_path):
    """Of one that is at work, and of the user's own hidden folders, nothing is."""
    code = "import sys, os, signal; from pouta_lib.ground.outputs import own_files\n"
    code += "with own_files(sys.argv[1], 'answer', 'last.txt') as folder:\n"
    code += "    (folder / 'one.txt').touch(); os.kill(os.getpid(), signal.SIGKILL)"
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a")])
        assert done.returncode == -signal.SIGKILL
        assert len(list((tmp_path / "a").iterdir())) == 1
    (tmp_path / "a" / ".mine.tmp").mkdir()
    with own_files(tmp_path / "a", "answer", "last.txt") as at_work:
        write(tmp_path / "a", one="1")
        assert at_work.is_dir()
        (at_work / "last.txt").write_text("whole")
    assert {path.name for path in (tmp_path / "a").iterdir()} == {".mine.tmp", "last.txt", MANIFEST}


def test_two_results_that_are_ready_at_once_do_not_mix(tmp_path, monkeypatch):
    """The second waits until the first has moved in, whole, and then makes it way."""
    moved = []

    def slowly(temporary, folder, kind, last):
        moved.append("in")
        time.sleep(0.3)
        move_in(temporary, folder, kind, last)
        moved.append("out")

    move_in = outputs._move_in
    monkeypatch.setattr(outputs, "_move_in", slowly)
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(write, tmp_path / "a", **{name: "1"}) for name in ("one", "two")]:
            done.result()
    assert moved == ["in", "out"] * 2
    assert len(texts(tmp_path / "a")) == 2


def test_other_peoples_files_are_in_nobodys_way(tmp_path):
    write(tmp_path / "a", one="1")
    (tmp_path / "a" / "two.txt").write_text("theirs")
    with pytest.raises(PoutaError, match="no other file called 'two.txt'"):
        write(tmp_path / "a", two="2")
    (tmp_path / "a" / "one.txt").write_text("edited")
    with pytest.raises(PoutaError, match=r"1 of its files changed since, first 'one.txt'"):
        write(tmp_path / "a")
    assert texts(tmp_path / "a") == {"one": "edited", "two": "theirs", "last": "whole"}


@pytest.mark.parametrize("manifest", ["", "{}", "[]", '{"kind": "answer", "files": 3}'])
def test_a_strange_manifest_allows_nothing(tmp_path, manifest):
    (tmp_path / MANIFEST).write_text(manifest)
    (tmp_path / "photo.txt").write_text("theirs")
    with pytest.raises(PoutaError, match="other files"):
        write(tmp_path)
    assert texts(tmp_path) == {"photo": "theirs"}


def test_a_manifest_reaches_no_further_than_its_folder(tmp_path):
    (tmp_path / "photo.txt").write_text("theirs")
    write(tmp_path / "a")
    kept = json.loads((tmp_path / "a" / MANIFEST).read_text())
    kept["files"]["../photo.txt"] = "0" * 64
    (tmp_path / "a" / MANIFEST).write_text(json.dumps(kept))
    with pytest.raises(PoutaError, match="other files"):
        write(tmp_path / "a")
    assert texts(tmp_path) == {"photo": "theirs"}


def test_where_results_may_go(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / ".DS_Store").touch()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    assert replaceable(tmp_path / "link", "answer") == (tmp_path / "empty").resolve()
    (tmp_path / "file").touch()
    with pytest.raises(PoutaError, match="found a file"):
        replaceable(tmp_path / "file", "answer")
    with pytest.raises(PoutaError, match="a folder that can be written to"):
        write(tmp_path / "file" / "in")
    write(tmp_path / "a")
    with pytest.raises(PoutaError, match="a new folder, or an earlier detector, found other files"):
        replaceable(tmp_path / "a", "detector")
    with pytest.raises(PoutaError, match="a new folder, found an earlier answer"):
        replaceable(tmp_path / "a", "answer", replace=False)


def test_on_windows_no_result_goes_to_a_device(tmp_path, monkeypatch):
    for name in ("aux", "answer."):
        assert replaceable(tmp_path / name, "answer") == tmp_path / name
    monkeypatch.setattr(outputs, "WINDOWS", True)
    for name in ("aux", "NUL.txt", "answer."):
        with pytest.raises(PoutaError, match=f"a folder's name, found '{name}'"):
            replaceable(tmp_path / name, "answer")
    assert replaceable(tmp_path / "answer", "answer") == tmp_path / "answer"


def test_what_may_not_be_written_to_is_noticed_before_the_work(tmp_path, monkeypatch):
    make = tempfile.mkdtemp

    def refused(suffix, prefix, folder):
        if folder == tmp_path:
            raise OSError(errno.EROFS, "Read-only file system", str(folder))
        return make(suffix, prefix, folder)

    monkeypatch.setattr(tempfile, "mkdtemp", refused)
    for name in ("new", "new/deeper", "."):
        with pytest.raises(PoutaError, match=r"one that may not be \(Read-only") as error:
            replaceable(tmp_path / name, "answer")
        assert f"where: {tmp_path}\n" in str(error.value)
    (tmp_path / "mine").mkdir()
    assert replaceable(tmp_path / "mine", "answer") == tmp_path / "mine"
    assert list((tmp_path / "mine").iterdir()) == [], "nothing is left of the attempt"
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(PoutaError, match=r"written to, found one that may not be \(Not a dir"):
        replaceable(tmp_path / "mine" / "file" / "in", "answer")


def test_a_link_to_itself_is_no_place(tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to("loop")
    with pytest.raises(PoutaError, match="found a link to itself"):
        replaceable(loop, "toy")
    refuse_overlap(loop, {"the photographs": tmp_path / "photos"})


def test_overlaps_by_any_name(tmp_path):
    (tmp_path / "photos" / "in").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "photos" / "in")
    (tmp_path / "photos2").mkdir()
    refuse_overlap(tmp_path / "photos2", {"the images": tmp_path / "photos"})
    for name in ("photos", "photos/new", "photos2/../photos", "link", "link/new", "."):
        with pytest.raises(PoutaError, match="apart from the images"):
            refuse_overlap(tmp_path / name, {"the images": tmp_path / "photos"})
