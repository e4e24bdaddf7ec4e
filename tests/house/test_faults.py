"""What results/reliability.md says of the faults that were injected."""

import platform

import faults
import torch
import wrong
from wrong import Wrong

from pouta_lib.ground.errors import problem


def test_the_report_says_what_was_tried_on_what(monkeypatch):
    rows = [("a kill", 3, 2, "9 s lost"), ("a full disk", 1, 1, "told")]
    tried = {"Images": (4, 1), "Servers": (2, 0)}
    made = {"commit": "0123456789abcdef", "dirty": True, "versions": {"python": "3", "torch": "2"}}
    monkeypatch.setattr(faults, "made_by", lambda: made)
    where = faults.made_on()
    assert where.startswith("commit 0123456789 with changes, ")
    assert where.endswith(f"{platform.system()}, Python 3, torch 2")
    text = faults.report(rows, ["mini-mvtec/nut"], "`the command`", tried, where)
    assert f"Made by `the command`, on the smoke study\nof mini-mvtec/nut, with {where}." in text
    assert "| a kill | 3 | 2 | 9 s lost |\n| a full disk | 1 | 1 | told |\n" in text
    assert "| Images | 5 | 4 | 1 |\n| Servers | 2 | 2 | 0 |\n| **all** | 7 | 6 | 1 |\n" in text
    assert "](../docs/ERRORS.md)" in text


def test_todays_code_is_what_the_report_names():
    assert f"Python {platform.python_version()}, torch {torch.__version__.partition('+')[0]}" in (
        faults.made_on()
    )


def test_wrong_inputs_are_counted_by_kind(monkeypatch):
    def refused(_):
        raise problem("one", "another", "here", "this")

    inputs = [Wrong("A", "x", refused), Wrong("B", "y", refused), Wrong("A", "z", lambda _: "it")]
    monkeypatch.setattr(wrong, "inputs", lambda: inputs)
    assert wrong.counts() == {"A": (1, 1), "B": (1, 0)}
