"""How far a run is: lines for a log, a bar for a person, nothing where neither can be shown."""

import subprocess
import sys

import pytest

from pouta_lib.ground import progress
from pouta_lib.ground.progress import TrainingProgress


@pytest.fixture
def clock(monkeypatch):
    """The time, as the test sets it."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_lines_come_every_few_seconds_and_at_the_end(clock, monkeypatch, capsys):
    monkeypatch.setenv("POUTA_PROGRESS", "lines")
    tell = TrainingProgress("demo/nut")
    for step, seconds in ((1, 4), (2, 16), (3, 20), (4, 21)):
        clock[0] = 100 + seconds
        tell(step, 4, {"total": 1 / step})
    assert capsys.readouterr().err.splitlines() == [
        "demo/nut: step 2/4, loss 0.500, 16 s",
        "demo/nut: step 4/4, loss 0.250, 21 s",
    ]


def test_a_bar_stands_where_the_run_is(monkeypatch, capsys):
    monkeypatch.delenv("POUTA_PROGRESS", raising=False)
    tell = TrainingProgress("demo/nut")
    tell(3, 8, {"total": 0.1236})
    assert (tell.bar.n, tell.bar.total, tell.bar.disable) == (3, 8, False)
    assert "total=0.124" in str(tell.bar)
    tell(8, 8, {"total": 0.1})
    assert (tell.bar.n, tell.bar.disable) == (8, True), "closed"


def test_without_tqdm_all_is_passed_through_in_silence():
    program = """
import sys
sys.modules["tqdm"] = sys.modules["tqdm.auto"] = None
from pouta_lib.ground.progress import TrainingProgress, tqdm
print(list(tqdm(range(3), desc="x")), list(tqdm()))
bar = tqdm(total=3)
bar.update(2)
bar.close()
TrainingProgress("demo/nut")(3, 3, {"total": 0.5})
with tqdm(total=3) as bar:
    bar.update(3 - bar.n)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[0, 1, 2] []\n"
    assert done.stderr == ""
