"""The app without its page: what is handed over, jobs, and what a moved threshold changes."""

import io
import itertools
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest

from pouta_lib import cli
from pouta_lib.deliver import desk as desks
from pouta_lib.deliver.desk import Desk, Tray, safe_name
from pouta_lib.detector.saved import Fitted
from pouta_lib.ground.errors import PoutaError


@pytest.fixture
def tray(tmp_path):
    return Tray(tmp_path / "tray")


def zipped(*names, content=b"x"):
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name in names:
            archive.writestr(name, content)
    return whole.getvalue()


NAMES = ["../../a.png", "/etc/a.png", "..\\..\\a.png", "a.png", "A.PNG", ".", "x" * 400 + ".jpeg"]
NAMES += ["nul\0\n.png", "caf\udce9.png", "ä.png"]


def test_no_name_climbs_out_and_none_is_lost(tray, tmp_path):
    for k, name in enumerate(NAMES):
        tray.put(name, bytes([k]))
    files = sorted(path for path in tmp_path.rglob("*") if path.is_file())
    assert {path.parent for path in files} == {tray.files}
    assert sorted(path.read_bytes()[0] for path in files) == list(range(len(NAMES)))
    assert len({path.name.casefold() for path in files}) == len(NAMES)
    assert max(len(path.name.encode()) for path in files) <= 210
    tray.put("a.png", b"again")
    tray.keep_only(["a.png"])
    (path,) = tray.files.iterdir()
    assert path.read_bytes() == b"again" and tray.photographs() == tray.files
    assert safe_name("part 7.tar.gz") == "part 7.tar.gz"


def test_a_zip_is_unpacked_and_one_that_climbs_is_refused(tray):
    with pytest.raises(PoutaError, match="found 0 files and 0 zips"):
        tray.photographs()
    tray.put("photos.zip", zipped("photos/good/1.png", "photos/good/2.png", "__MACOSX/x"))
    folder = tray.photographs()
    assert sorted(path.name for path in folder.iterdir()) == ["1.png", "2.png"]
    tray.put("photos.zip", zipped("../../1.png"))
    with pytest.raises(PoutaError, match="files inside"):
        tray.photographs()
    tray.put("1.png", b"x")
    with pytest.raises(PoutaError, match="found 1 files and 1 zips"):
        tray.photographs()
    tray.put("l.csv", "file,label\n1.png,good\n")
    tray.keep_only(["1.png", "l.csv"])
    assert tray.photographs() == tray.files and tray.labels.read_text().startswith("file")
    tray.forget_labels()
    assert tray.labels is None and list(tray.names) == ["1.png"]


class _Toy:
    """A detector as far as the desk looks into it."""

    threshold, method, how = 0.5, "pouta", "as it was"
    fitted = Fitted(
        method="toy", num_photos=4, num_held_out=4, false_alarm_rate=0.25, tried=[], why="",
        found={"cut": (2, 2)}, changed_alarms=(1, 2),
        good=[0.1, 0.2, 0.3, 0.6], damaged={"cut": [0.7, 0.9]}, changed=[0.2, 0.8],
    )  # fmt: skip


@pytest.fixture
def desk(tmp_path, monkeypatch):
    monkeypatch.setattr(desks, "load_detector", lambda folder: _Toy())
    desk = Desk()
    yield desk
    desk.close()
    assert not desk.folder.exists()


def job(desk, title, code, monkeypatch):
    """A job whose command is a line of Python."""
    monkeypatch.setattr(desks, "COMMAND", (sys.executable, "-c", code))
    desk._begin(title, [title])
    return desk.job


def test_a_job_says_why_it_ended_and_what_it_left_out(desk, monkeypatch):
    said = "note: another shape\\nleft out: a.heic\\n  where: x\\n"
    fine = job(desk, "predict", f"print('{said}3 images'); raise SystemExit(1)", monkeypatch)
    fine.wait()
    assert fine.error() == "" and fine.left_out() == ["a.heic\n  where: x"]
    assert fine.notes() == ["note: another shape"]
    four = (
        "left out: b\\npouta: expected photographs, found none\\n  where: here\\n  to do: add some"
    )
    bad = job(desk, "fit", f"print('{four}'); raise SystemExit(1)", monkeypatch)
    with pytest.raises(PoutaError, match="one job at a time"):
        desk._begin("fit", ["fit"])
    bad.wait()
    assert bad.error() == "expected photographs, found none\n  where: here\n  to do: add some"
    desk.take_in()
    assert desk.detector is None
    slow = job(desk, "fit", "import time; time.sleep(600)", monkeypatch)
    desk.stop()
    slow.wait()
    assert slow.stopped and slow.error() == "" and slow.seconds < 60


def test_a_moved_threshold_is_carried_into_counts_and_files(desk, monkeypatch):
    job(desk, "fit", "pass", monkeypatch).wait()
    desk.take_in()
    assert desk.threshold == 0.5 and not desk.answered
    desk.answer.mkdir()
    table = pd.DataFrame({"file": ["a", "b", "NA"], "score": [0.65, np.nan, 0.4]})
    table["threshold"], table["verdict"] = 0.5, ["defective", "not read", "good"]
    table["overlay"], table["reason"] = "", ["", "broken", ""]
    table.to_csv(desk.answer / "scores.csv", index=False)
    job(desk, "inspect", "pass", monkeypatch).wait()
    desk.take_in()
    counts = desk.counts(0.65).set_index(desk.counts(0.65).columns[0])["above it"]
    assert counts.tolist() == [0, 1, 2, 0], "good, changed, cuts, inspected"
    stops = desk.stops()
    for low, high in zip([0.1, 0.4, 0.65], [0.2, 0.6, 0.7], strict=True):
        assert any(low < stop < high for stop in stops)
    assert 0.5 in stops and min(stops) > 0 and stops == sorted(stops)
    moved = pd.read_csv(io.BytesIO(desk.csv(0.3)), keep_default_na=False)
    assert moved["verdict"].tolist() == ["defective", "not read", "defective"]
    assert moved["file"].tolist() == ["a", "b", "NA"]
    assert '"threshold": 0.3' in desk.report(0.3)
    assert desk.plain(f"no {desk.folder}/good/files/x") == "no good/files/x"


@pytest.mark.parametrize("scores", [[0.0, 0.65], [0.65, 1.0], [0.0, 0.0, 1.0]])
def test_no_threshold_is_offered_that_no_detector_may_have(desk, monkeypatch, scores):
    """It would pass nothing, or everything: the detector could not be downloaded."""
    job(desk, "fit", "pass", monkeypatch).wait()
    desk.take_in()
    desk.scores = scores
    stops = desk.stops()
    assert 0 < stops[0] and stops[-1] < 1
    each = sorted({*scores, 0.1, 0.9})
    for low, high in itertools.pairwise(each):
        assert any(low < stop < high for stop in stops)


@pytest.mark.parametrize("how", ["raise SystemExit(2)", "import time; time.sleep(600)"])
def test_what_is_shown_stays_until_others_were_inspected(desk, tmp_path, monkeypatch, how):
    """A folder that cannot be read, or is not wanted after all, changes nothing."""
    job(desk, "fit", "pass", monkeypatch).wait()
    desk.take_in()
    desk.answer.mkdir()
    (desk.answer / "scores.csv").write_text("file,score,threshold\na,0.7,0.5\n", "utf-8")
    (tmp_path / "a").touch()
    for code, folder in (("pass", tmp_path), (how, tmp_path / "none")):
        monkeypatch.setattr(desks, "COMMAND", (sys.executable, "-c", code))
        desk.inspect(str(folder))
        if "sleep" in code:
            desk.stop()
        desk.job.wait()
        desk.take_in()
    assert (desk.inspected, desk.scores) == (tmp_path, [0.7])
    assert '"threshold": 0.5' in desk.report(0.5)


@pytest.mark.parametrize("how", ["raise SystemExit(2)", "import time; time.sleep(600)"])
@pytest.mark.parametrize("name", ["a.png", "photos.zip"])
def test_what_is_dropped_later_is_not_shown_with_the_scores_of_others(desk, monkeypatch, how, name):
    """A camera counts from 000 again; and of the others' labels none is lost."""

    def drop(content, labels):
        inside = content if name == "a.png" else zipped("a.png", content=content)
        desk.images.keep_only([])
        desk.images.put(name, inside)
        desk.images.put("labels.csv", labels)

    job(desk, "fit", "pass", monkeypatch).wait()
    desk.take_in()
    desk.answer.mkdir()
    table = "file,score,threshold\na.png,0.7,0.5\nc.png,0.4,0.5\n"
    (desk.answer / "scores.csv").write_text(table, "utf-8")
    drop(b"first", "file,label\na.png,hole\nc.png,good\n")
    monkeypatch.setattr(desks, "COMMAND", (sys.executable, "-c", "pass"))
    desk.inspect("")
    desk.images.put(name, b"dropped while it runs")
    desk.job.wait()
    desk.take_in()
    drop(b"second", "file,label\nb.png,good\n")
    monkeypatch.setattr(desks, "COMMAND", (sys.executable, "-c", how))
    for _ in range(2):
        desk.inspect("")
        begun = desk.job
        if "sleep" in how:
            with pytest.raises(PoutaError, match="one job at a time"):
                desk.inspect("")
            desk.stop()
        begun.wait()
        desk.take_in()
        assert (desk.inspected / "a.png").read_bytes() == b"first" and desk.scores == [0.7, 0.4]
        assert "hole" in desk.report(0.5)
    assert "b.png" in desk.images.labels.read_text()
    monkeypatch.setattr(desks, "COMMAND", (sys.executable, "-c", "pass"))
    desk.inspect("")
    desk.job.wait()
    desk.inspect("")  # before the page looked: it is taken in all the same
    assert (desk.inspected / "a.png").read_bytes() == b"second"
    with pytest.raises(PoutaError, match="label"):
        desk.report(0.5)
    desk.shown.forget_labels()
    assert '"threshold": 0.5' in desk.report(0.5)


def test_an_answer_without_a_score_is_none(desk, monkeypatch):
    job(desk, "fit", "pass", monkeypatch).wait()
    desk.take_in()
    desk.answer.mkdir()
    said = "file,score,threshold,verdict\na,,0.5,not read\n"
    (desk.answer / "scores.csv").write_text(said, "utf-8")
    job(desk, "inspect", "pass", monkeypatch).wait()
    desk.take_in()
    assert not desk.answered and desk.stops() and len(desk.counts(0.5)) == 3


def test_without_panel_the_command_says_how_to_get_it(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "panel", None)
    monkeypatch.delitem(sys.modules, "pouta_lib.deliver.app", raising=False)
    assert cli.main(["app"]) == 2
    assert "pouta-lib[app]" in capsys.readouterr().err


def test_the_commands_are_those_of_the_command_line(desk, monkeypatch):
    """What the desk begins is understood by `pouta`."""
    begun = []
    monkeypatch.setattr(desks, "Job", lambda title, words, log: begun.append(words))
    desk.fit("~/x", "patchcore", 2.5, 0.1)
    desk.inspect("/y")
    for words in begun:
        options = cli._parser().parse_args(words)
        assert callable(options.command)
    assert begun[0][1].endswith("x") and not begun[0][1].startswith("~")
