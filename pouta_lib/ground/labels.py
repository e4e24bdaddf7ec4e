"""What a profile with changed settings is called, in words that can be read back."""

import hashlib
import json
import os
import re
import shlex
import unicodedata
from collections.abc import Sequence
from typing import Any

from pouta_lib.ground.errors import problem

SAFE = re.compile(r"[A-Za-z0-9._+=~-]{1,80}")  # on every file system
PLAIN = re.compile(r"[\w.:/\\=+-]+")  # to cmd.exe, and to PowerShell
WINDOWS = os.name == "nt"
# names of devices on Windows, with any ending, and names that lose theirs there
OF_WINDOWS = re.compile(
    r"(?is)(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³]) *(?:[.:].*)?|.*[ .]"
)
WHY_NOT = "Windows takes it for a device, or drops what it ends in"


def setting_words(overrides: dict[str, Any]) -> list[str]:
    """Changed settings as ``--set`` takes them, sorted: a text as it is, all else as JSON.

    >>> setting_words({"max_train": None, "lr_milestones": [0.5, 0.9], "textures": "dtd"})
    ['lr_milestones=[0.5,0.9]', 'max_train=null', 'textures=dtd']
    """
    return [f"{field}={_written(overrides[field])}" for field in sorted(overrides)]


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def set_options(words: list[str]) -> list[str]:
    """The options of a command that changes these settings.

    >>> set_options(["max_train=null", "textures=dtd"])
    ['--set', 'max_train=null', '--set', 'textures=dtd']
    """
    return [part for word in words for part in ("--set", word)]


def command_line(words: Sequence[str]) -> str:
    """A command as a shell of this system takes it: on Windows cmd.exe, which Snakemake asks there.

    >>> command_line(["pouta", "data", "get", "mvtec"])
    'pouta data get mvtec'
    """
    if not WINDOWS:
        return shlex.join(words)
    return " ".join(word if PLAIN.fullmatch(word) else f'"{word}"' for word in words)


def make_label(name: str, overrides: dict[str, Any]) -> str:
    """A profile's name and what differs from its file; :func:`parse_label` reads it back.

    >>> make_label("demo", {"steps": 50, "lr": 0.001})
    'demo~lr=0.001~steps=50'
    """
    return "~".join([name, *setting_words(overrides)])


def parse_label(label: str) -> tuple[str, dict[str, Any]]:
    """The profile's name and the changed settings of a label.

    >>> parse_label("demo~lr_milestones=[0.5,0.9]~textures=dtd")
    ('demo', {'lr_milestones': [0.5, 0.9], 'textures': 'dtd'})
    """
    name, *words = label.split("~")
    pairs = [word.partition("=")[::2] for word in words]
    return name, {field: _read(text) for field, text in pairs}


def command_of(verb: str, label: str, *words: str) -> str:
    """A command of ``pouta`` with the profile and the changed settings of a label.

    >>> command_of("study", "demo~steps=50", "--cores", "2")
    'pouta study --profile demo --cores 2 --set steps=50'
    """
    name, overrides = parse_label(label)
    changed = set_options(setting_words(overrides))
    return command_line(["pouta", verb, "--profile", name, *words, *changed])


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def folder_name(label: str) -> str:
    """The folder of a label's results: the label itself, where any file system takes it.

    Else the signs that none takes are left out, and a digest keeps it apart from others.

    >>> folder_name("demo~lr=0.001")
    'demo~lr=0.001'
    >>> folder_name("demo~lr_milestones=[0.5,0.9]")
    'demo~lr_milestones=0.5-0.9~c388fb37'
    """
    name, changed, words = label.partition("~")
    if not changed or SAFE.fullmatch(words):
        return label
    plain = re.sub(r"[^A-Za-z0-9._+=~-]+", "-", re.sub(r"[\[\]]", "", words))[:60]
    return f"{name}~{plain}~{hashlib.sha256(words.encode()).hexdigest()[:8]}"


def check_name(name: str, what: str) -> str:
    """`name`, which can be a folder's and a word of a command.

    *Raises* :class:`PoutaError` where it would lead elsewhere, be taken for an option, end a line,
    or be something else on Windows, to which results may be copied.
    """
    unprintable = any(unicodedata.category(sign) in ("Cc", "Cs") for sign in name)
    apart = "/\\:" if WINDOWS else "/\\"  # C:x is elsewhere, and x:y a part of x that is not seen
    if unprintable or set(name) & set(apart) or name in ("", ".", "..") or name[0] == "-":
        wanted = f"{what} named as a folder is: no / or \\, no line break or other control "
        wanted += "character, no - at its beginning"
        raise problem(wanted, ascii(name), what, "rename its folder, and name it so")
    if OF_WINDOWS.fullmatch(name):
        wanted = f"{what} named as a folder can be on every system"
        raise problem(wanted, ascii(name), what, f"rename its folder: {WHY_NOT}")
    return name
