"""What comes from a file or a person, checked against the type it is read into.

pydantic is imported where something is checked: a bare GPU machine (tools/gpu_jobs.py), which has
none, makes the same objects unchecked.
"""

import dataclasses
import json
import reprlib
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pouta_lib.ground.errors import PoutaError, did_you_mean, in_a_line, problem
from pouta_lib.ground.paths import atomic_path

T = TypeVar("T")
UNKNOWN = "unexpected_keyword_argument"  # as pydantic calls a name that is none of the fields
STRICT = {"strict": True, "extra": "forbid", "allow_inf_nan": False}  # as __pydantic_config__


@dataclass(frozen=True)
class Rule:
    """What a value has to be beyond its type: ``Annotated[float, Rule("above 0", ...)]``."""

    words: str
    holds: Callable[[Any], bool]

    def __get_pydantic_core_schema__(self, source: Any, handler: Callable[[Any], Any]) -> Any:
        """The type's own check, and this one after it."""
        from pydantic_core import core_schema

        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def _check(self, value: Any) -> Any:
        if not self.holds(value):
            raise ValueError(self.words)
        return value


def above(low: float) -> Rule:
    """A number above `low`."""
    return Rule(f"above {low}", lambda value: value > low)


def within(low: float, high: float) -> Rule:
    """A number from `low` to `high`."""
    return Rule(f"in [{low}, {high}]", lambda value: low <= value <= high)


Seed = Annotated[int, within(0, 2**64 - 1)]  # what torch takes


def _names_or_all(value: Any) -> bool:
    return value == "all" or (isinstance(value, list) and all(isinstance(v, str) for v in value))


NamesOrAll = Annotated[Any, Rule('a list of names, or "all"', _names_or_all)]


def read_yaml(text: str, where: object) -> Any:
    """What a YAML text says, in plain values.

    *Raises* :class:`PoutaError` for a text that is none, that asks for objects of a program, or
    that repeats parts of itself by name: a few such lines can stand for gigabytes.
    """
    import yaml

    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise problem("YAML without aliases", "one (*name)", where, "write the part out")
        return yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, PoutaError):
            raise
        mark = getattr(error, "problem_mark", None)
        found = getattr(error, "problem", None) or in_a_line(error)
        found += f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        raise problem("YAML of plain values", found, where, "correct it") from error


def read_yaml_file(path: Path) -> Any:
    """What a YAML file says, as :func:`read_yaml`. *Raises* :class:`PoutaError` for no UTF-8."""
    try:
        text = path.read_text(encoding="utf-8")
    except ValueError as error:
        raise problem("YAML in UTF-8", str(error), path, "save it as UTF-8") from error
    return read_yaml(text, path)


def checked(kind: type[T], values: Any, where: object, todo: str = "correct the value") -> T:
    """`values`, of the kinds that JSON and YAML know or made of dataclasses, as a `kind`.

    *Raises* :class:`PoutaError` for the first value that is missing, unknown, of the wrong type
    or against its rule.
    """
    from pydantic import ValidationError

    shape: Any = kind
    try:
        text = json.dumps(values, default=_plain)
    except TypeError as error:  # YAML knows dates, and takes them for names as well
        raise problem("names that are words", str(error), where, todo) from error
    try:
        found: T = _adapter(shape).validate_json(text)
        return found
    except ValidationError as error:
        faults = error.errors()
    # a misspelt name is unknown and missing at once: it is told as what it is
    faults.sort(key=lambda fault: fault["type"] != UNKNOWN)
    raise _told(kind, faults[0], where, todo)


def read_json(path: Path, what: str, missing: str, broken: str) -> Any:
    """What stands in a JSON file, not yet checked; an editor may have put a mark before it.

    *Raises* :class:`PoutaError` for a file that is not there, with `missing` as what to do, and
    for one that is no JSON, with `broken`.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise problem(what, f"none ({error.strerror})", path, missing) from error
    except (ValueError, RecursionError) as error:
        raise problem(f"{what} in JSON", f"{error}", path, broken) from error


def write_json(path: Path, value: Any) -> None:
    """Writes a JSON file that a person can read, whole or not at all.

    *Raises* ValueError for NaN in it.
    """
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    return dataclasses.asdict(value) if dataclasses.is_dataclass(type(value)) else str(value)


@cache
def _adapter(kind: Any) -> Any:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _told(kind: Any, fault: Any, where: object, todo: str) -> PoutaError:
    """An error of pydantic's in this library's words."""
    *place, name = fault["loc"] or ("the whole",)
    dotted = ".".join(map(str, [*place, name]))
    if fault["type"] == UNKNOWN:
        known = [field.name for field in dataclasses.fields(_without_null(_at(kind, place)))]
        inside = f" in {'.'.join(map(str, place))}" if place else ""
        return problem(
            f"a name out of {known}{inside}", repr(name), where, did_you_mean(name, known, todo)
        )
    if fault["type"] == "missing":
        return problem(dotted, "none", where, f"add it, or {todo}")
    wanted = fault["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if type(None) in typing.get_args(_at(kind, fault["loc"])):
        wanted += ", or null"
    value = fault["input"]
    found = str(list(value)) if isinstance(value, dict) else reprlib.repr(value)
    found += "" if fault["type"] == "value_error" else f" ({type(value).__name__})"
    return problem(f"{dotted} to be {wanted}", found, where, todo)


def _at(kind: Any, place: typing.Sequence[str | int]) -> Any:
    """The type of what stands at `place` in a `kind`."""
    for part in place:
        kind = _without_null(kind)
        if dataclasses.is_dataclass(kind):
            kind = typing.get_type_hints(kind).get(str(part))
        else:
            kind = (typing.get_args(kind) or (None,))[-1]
    return kind


def _without_null(kind: Any) -> Any:
    """The one type of a ``kind | None``; any other as it is."""
    rest = [option for option in typing.get_args(kind) if option is not type(None)]
    return rest[0] if len(rest) < len(typing.get_args(kind)) else kind
