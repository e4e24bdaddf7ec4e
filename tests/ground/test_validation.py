"""What is wrong with a value is told in four parts, by its place and by what it should be."""

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import pytest

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.validation import STRICT, above, checked, within


@dataclass(frozen=True)
class Part:
    share: Annotated[float, within(0, 1)] | None


@dataclass(frozen=True)
class Whole:
    __pydantic_config__: ClassVar[dict[str, Any]] = STRICT

    count: Annotated[int, above(0)]
    parts: list[Part]
    more: list[Part] | None = None
    last: Part | None = None


def test_what_is_right_is_made_of_its_types():
    assert checked(Whole, {"count": 2, "parts": [{"share": 1}]}, "here") == Whole(2, [Part(1.0)])
    assert checked(Whole, Whole(2, [Part(1.0)]), "here") == Whole(2, [Part(1.0)])
    assert checked(list[Part], [{"share": None}], "here") == [Part(None)]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0, "parts": []}, "expected count to be above 0, found 0"),
        ({"count": True, "parts": []}, "count to be a valid integer, found True (bool)"),
        ({"count": 2.0, "parts": []}, "count to be a valid integer, found 2.0 (float)"),
        ({"count": 1, "parts": [{"share": 2}]}, "parts.0.share to be in [0, 1], or null, found 2"),
        ({"count": 1, "parts": [{"share": "1"}]}, "parts.0.share to be a valid number, or null"),
        ({"count": 1, "parts": [{"share": float("nan")}]}, "share to be a finite number, or null"),
        ({"count": 1, "parts": [{"shore": 1}]}, "out of ['share'] in parts.0, found 'shore'"),
        ({"count": 1, "parts": [{"shore": 1}]}, "to do: did you mean 'share'?"),
        ({"count": 1, "parts": [], "more": [{"shore": 1}]}, "out of ['share'] in more.0, found"),
        ({"count": 1, "parts": [], "last": {"shore": 1}}, "out of ['share'] in last, found"),
        ({"count": 1, "parts": [], "last": {"share": 2}}, "last.share to be in [0, 1], or null"),
        ({"count": 1}, "expected parts, found none"),
        (["count"], "expected the whole to be an object, found ['count'] (list)"),
    ],
)
def test_what_is_wrong_is_told(values, message):
    with pytest.raises(PoutaError) as error:
        checked(Whole, values, "the file")
    assert message in str(error.value)
    assert "\n  where: the file\n  to do: " in str(error.value)
