"""Wrong inputs, each with what is told of it: docs/ERRORS.md is made from them.

A module ``tests/wrong_<part>.py`` draws those of a part: a function of an empty folder that does
what a user would do. It ends in a :class:`PoutaError`, or returns the sentence that is told where
the work goes on, or :data:`AGAIN`, where it goes on without a word. ``make errors`` writes the
page; tests/house/test_errors_page.py runs them all and holds the page to it.
"""

import importlib
import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pouta_lib.ground.errors import PoutaError

HEAD = """# What each wrong input gets

Every error says what was expected, what was found, where, and what to do. The command then ends
with status 2. The place is a path, and is left out here.

Some rows are no errors. *told* stands before a message with which the work goes on: it leaves out
what the message names, or reads it as the message says. *made again* means that the work goes on
without a message.

`make errors` makes this page from the inputs in `tests/wrong_*.py`, and a test compares the two. Do
not edit it by hand.
"""
AGAIN = "*made again*"
TABLE = ("| what is wrong | what is said | what to do |", "|---|---|---|")
FOUR_PARTS = re.compile(r"(expected .+, found .+)\n  where: .+\n  to do: (.+)", re.S)
# what other libraries say in an error differs from version to version
OTHERS_WORDS = re.compile(
    r"(cannot be (?:decoded|unpacked)|an? (?:damaged|unreadable) file|shapes that do not)"
    r" \((?!no known|HEIF).*\)"
)
# what differs from machine to machine, from day to day, or with each new setting
PASSING = re.compile(
    r"(?<=\()[0-9a-f]{12}(?=\))|(?<=in place of )[0-9a-f]{16}|(?<=process )\d+ on .* \d{4}"
    r"|(?<=such as )[\d.]+(?= of noise)|(?<=out of \[)'auto'[^]]*|(?<=\[)(?:'[\w+]+', ){9,}'[\w+]+'"
)


@dataclass(frozen=True)
class Wrong:
    """One wrong input."""

    part: str
    words: str
    act: Callable[[Path], str | None]


INPUTS: list[Wrong] = []


def wrong(part: str, words: str) -> Callable[[Callable[[Path], str | None]], None]:
    """Enters a function as what draws an input of `part`, and reads it; `words` say what it is."""
    return lambda act: INPUTS.append(Wrong(part, words, act))


def inputs() -> list[Wrong]:
    """Those of all parts, in the order of their modules."""
    for path in sorted(Path(__file__).parent.glob("wrong_*.py")):
        importlib.import_module(path.stem)
    return INPUTS


def outcome(one: Wrong, folder: Path) -> tuple[str, str]:
    """What is said of an input, and what to do.

    *Raises* AssertionError where it is neither refused nor told.
    """
    try:
        told = one.act(folder) or ""
    except PoutaError as error:
        told = str(error)
    if parts := FOUR_PARTS.search(told):
        return _plain(parts[1], folder), _plain(parts[2], folder)
    if not told or told.startswith("expected "):
        raise AssertionError(f"{one.words}: neither told nor in four parts: {told!r}")
    return told if told == AGAIN else f"*told*: {_plain(told, folder)}", ""


def found_or_refused(read: Callable[[], Any]) -> Any:
    """What is read; None where it is refused in four parts, as nothing else may be."""
    try:
        return read()
    except PoutaError as error:
        told = str(error)
    assert FOUR_PARTS.fullmatch(told), told
    return None


def _plain(text: str, folder: Path) -> str:
    """The text without what differs from machine to machine, fit for a table's cell."""
    text = text.replace(f"{folder}/", "").replace(str(folder), "the folder")
    text = re.sub(r"[0-9a-f]{64}", "…", re.sub(r"127.0.0.1:\d+", "server", text))
    text = re.sub(r"(found) [\d.]+( GB)|(from) \d+( bytes)", r"\1\3 …\2\4", text)
    text = PASSING.sub("…", text)
    text = OTHERS_WORDS.sub(r"\1 (…)", text)
    return re.sub(r"\s+", " ", text).replace("|", "\\|").replace("<", "&lt;")


def outcomes() -> Iterator[tuple[Wrong, str, str]]:
    """Each input with its :func:`outcome`, in a folder of its own."""
    for one in inputs():
        with tempfile.TemporaryDirectory() as folder:
            yield one, *outcome(one, Path(folder).resolve())


def page() -> str:
    """docs/ERRORS.md."""
    lines, part = [HEAD.rstrip()], ""
    for one, said, todo in outcomes():
        if one.part != part:
            part = one.part
            lines += ["", f"## {part}", "", *TABLE]
        lines.append(f"| {one.words} | {said} | {todo} |")
    return "\n".join(lines) + "\n"


def counts() -> dict[str, tuple[int, int]]:
    """By part: how many are refused in four parts, and at how many the work goes on."""
    found: dict[str, list[bool]] = {}
    for one, said, _ in outcomes():
        found.setdefault(one.part, []).append(said.startswith("*"))
    return {part: (told.count(False), told.count(True)) for part, told in found.items()}
