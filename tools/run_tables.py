"""What the tools that ask finished runs have in common: their command line and their CSV file."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.paths import atomic_path, results_root
from pouta_lib.study.records import Record, read_record

INTEGERS = ("seed", "steps")  # which a row may lack


def told_of(record: Record) -> dict[str, Any]:
    """The columns that say which run a row is of, but for its category."""
    run = record.run
    own = {"method": run.variant, "seed": run.seed, "steps": record.steps}
    return own | {"label": record.profile.label}


def write_table(
    name: str,
    description: str,
    rows_of: Callable[[Record], list[dict[str, Any]]],
    columns: Sequence[str],
    arguments: list[str] | None = None,
) -> int:
    """Asks each run that the command line names, and writes one table, whole or not at all."""
    parser = argparse.ArgumentParser(prog=name, description=description)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs")
    parser.add_argument("--out", type=Path, default=results_root() / f"{name}.csv")
    options = parser.parse_args(arguments)
    try:
        rows = [row for run in options.runs for row in rows_of(read_record(run))]
    except PoutaError as error:
        parser.exit(1, f"{name}: {error}\n")
    table = pd.DataFrame(rows)[list(columns)].drop_duplicates()
    table[list(INTEGERS)] = table[list(INTEGERS)].astype("Int64")
    with atomic_path(options.out) as path:
        table.to_csv(path, index=False, float_format="%.6f")
    print(table.to_string(index=False))
    return 0
