"""``pouta``: the study, single runs, data and tables from the command line."""

import argparse
import errno
import io
import os
import sys
from pathlib import Path

import pouta_lib
from pouta_lib.commands import data, detector, results, study
from pouta_lib.ground.errors import PoutaError, in_a_line, lacks_memory, problem
from pouta_lib.ground.locks import stoppable
from pouta_lib.ground.threads import wait_passively

FAILED = 2  # as argparse has it; 1: what was asked for is done, and something in it is amiss
OF_A_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # in writing to an open file

# What says where things are, and the option that does so as well; notebooks run in another folder.
FOLDERS = {
    "POUTA_DATA": "data_root",
    "POUTA_RESULTS": "results",
    "POUTA_FIGURES": "figures",
    "POUTA_CACHE": "",
    "POUTA_HOME": "",
}


def main(arguments: list[str] | None = None) -> int:
    """Runs one command: its status, or :data:`FAILED` with a message when the user can mend it."""
    wait_passively(os.environ)  # first of all: commands import torch
    if isinstance(sys.stdout, io.TextIOWrapper):  # a name that its encoding has not is told as well
        sys.stdout.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    for variable, option in FOLDERS.items():
        if value := getattr(options, option, None) or os.environ.get(variable):
            os.environ[variable] = str(Path(value).expanduser().resolve())
    try:
        with stoppable():
            status = options.command(options) or 0
        if sys.stdout:  # none, where it was closed from the start
            sys.stdout.flush()  # a closed pipe is noticed here, not at the interpreter's end
        return status
    except PoutaError as error:
        print(f"pouta: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        resumed = getattr(options, "resumed", "begins again")
        print(f"pouta: stopped; the same command {resumed}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `pouta why ... | head`: what was not read needs no traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (MemoryError, RuntimeError, OSError) as error:
        if (told := _of_the_system(error)) is None:
            raise
        print(f"pouta: {told}", file=sys.stderr)
        return FAILED


def _of_the_system(error: Exception) -> PoutaError | None:
    """What the system refused, in this library's words; None where it was no such thing.

    Memory; or a full disk, one that may not be written to, a folder in the way.
    """
    if lacks_memory(error):
        found = f"too little of it ({in_a_line(error) or type(error).__name__})"
        todo = "end other programs, or lower what a fit or a run takes: --set batch_size, size_px"
        return problem("memory for this", found, "the machine's memory", todo)
    if not isinstance(error, OSError) or (error.filename is None and error.errno not in OF_A_DISK):
        return None
    todo = "name another folder (--results, --figures, --data-root), or mend this one"
    if error.errno == errno.ENOSPC:
        todo = "free some space, or name another folder (--results, --figures, --data-root)"
    where = error.filename2 or error.filename or "not told by the system"
    return problem("a disk to read and write", error.strerror or str(error), where, todo)


class _Version(argparse.Action):
    """Prints the version, which is looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(pouta_lib.__version__)
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pouta", description=__doc__.partition(": ")[2])
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for family in (study, results, detector, data):
        family.add(commands)
    return parser


if __name__ == "__main__":
    sys.exit(main())
