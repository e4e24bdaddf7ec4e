"""The one error type that a user of this library can cause and mend."""

import difflib
from collections.abc import Iterable


class PoutaError(ValueError):
    """Something in the user's data or settings that this library cannot go on with.

    The message says what was expected, what was found, where, and what to do about it.
    Source: our choice: one type, so that the command line can print it without a traceback.
    """


def problem(expected: str, found: str, where: object, todo: str) -> PoutaError:
    """A :class:`PoutaError` whose text has the four parts in a fixed order.

    >>> print(problem("a PNG image", "an empty file", "good/000.png", "copy it again"))
    expected a PNG image, found an empty file
      where: good/000.png
      to do: copy it again
    """
    return PoutaError(f"expected {expected}, found {found}\n  where: {where}\n  to do: {todo}")


def did_you_mean(name: str, known: Iterable[str], otherwise: str = "choose one of these") -> str:
    """What to do about an unknown name: take the known one that is nearly the same, if any.

    >>> did_you_mean("stepz", ["lr", "steps"])
    "did you mean 'steps'?"
    >>> did_you_mean("colour", ["lr", "steps"])
    'choose one of these'
    """
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else otherwise
