"""The one error type that a user of this library can cause and mend."""


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
