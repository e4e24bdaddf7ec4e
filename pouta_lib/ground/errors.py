"""The one error type that a user of this library can cause and fix."""

import difflib
import errno
import re
from collections.abc import Iterable
from pathlib import PurePath

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "not enough memory")  # in torch's words


class PoutaError(ValueError):
    """Something in the user's data or settings that this library cannot go on with.

    The message says what was expected, what was found, where, and what to do about it.
    *Source*: our choice: one type, so that the command line can print it without a traceback.
    """


class TooLittleMemory(PoutaError):
    """Less memory than was asked for; another time there may be enough."""


def problem(expected: str, found: str, where: object, todo: str) -> PoutaError:
    """A :class:`PoutaError` whose text has the four parts in a fixed order.

    >>> print(problem("a PNG image", "an empty file", "good/000.png", "copy it again"))
    expected a PNG image, found an empty file
      where: good/000.png
      to do: copy it again
    """
    told = f"expected {_short(expected)}, found {_short(found)}"
    return PoutaError(f"{told}\n  where: {shown(where)}\n  to do: {_short(todo)}")


def shown(name: object) -> str:
    """A path or a name as it can be printed anywhere, on one line and not endless.

    >>> shown("stra\\udcdfe\\n.png")
    'stra\\\\xdfe\\\\n.png'
    """
    signs = _short(str(name))
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in signs)


def in_short(path: PurePath) -> str:
    """A file's name and its folder's, as they can be printed.

    >>> in_short(PurePath("data/mvtec/bolt/good/000.png"))
    'good/000.png'
    """
    return shown("/".join(path.parts[-2:]))


def _short(text: str, most: int = 2000) -> str:
    """`text` in UTF-8, without its middle where it is longer than anyone reads.

    >>> _short("a" * 50 + "b" * 50, 20)
    'aaaaaaaaaa ... bbbbbbbbbb'
    """
    if len(text) > most:
        text = f"{text[: most // 2]} ... {text[-(most // 2) :]}"
    plain = text.encode("utf-8", "backslashreplace").decode()
    return re.sub(r"\\udc([89a-f].)", r"\\x\1", plain)  # a byte of a name that is not UTF-8


def in_a_line(error: Exception) -> str:
    """What an error of another library says, on one line and not endless."""
    return " ".join(str(error).split())[:300]


def lacks_memory(error: BaseException) -> bool:
    """Is it what Python, NumPy, torch or the system raise where there is not enough memory?"""
    known = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    return known or any(sign in str(error) for sign in OUT_OF_MEMORY)


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "choose one of these") -> str:
    """What to do about an unknown name: take the known one that is nearly the same, if any.

    >>> did_you_mean("stepz", ["lr", "steps"])
    "did you mean 'steps'?"
    >>> did_you_mean("colour", ["lr", "steps"])
    'choose one of these'
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
