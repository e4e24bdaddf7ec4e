"""What reads records: study notebooks, tables, where a cell comes from."""

import argparse
from pathlib import Path

from pouta_lib.commands.arguments import Commands, add_categories, add_common
from pouta_lib.ground.errors import problem


def add(commands: Commands) -> None:
    """Adds them to the command line."""
    notebook = commands.add_parser("notebook", help="execute a study notebook over run records")
    add_common(notebook)
    notebook.add_argument("source", type=Path)
    notebook.add_argument("target", type=Path)
    notebook.add_argument("--categories", nargs="*", default=[])
    notebook.set_defaults(command=_notebook)

    tables = commands.add_parser("tables", help="write the tables of a profile's planned runs")
    add_common(tables)
    add_categories(tables)
    tables.add_argument(
        "--as-is", action="store_true", help="of the records there are, whatever was planned"
    )
    tables.set_defaults(command=_tables)

    why = commands.add_parser("why", help="say which runs a cell of a table comes from")
    why.add_argument("table", type=Path, help="results/<profile>/tables/table_....csv")
    why.add_argument("--row", required=True, help="the category, or in Table V the method")
    why.add_argument("--column", required=True, help='for example "pouta pixel_ap"')
    why.set_defaults(command=_why)


def _notebook(options: argparse.Namespace) -> None:
    from pouta_lib.ground.profiles import parse_overrides
    from pouta_lib.study.execution import execute_notebook

    if options.target.suffix != ".ipynb" or options.target.resolve() == options.source.resolve():
        found = "the source itself" if options.target.suffix == ".ipynb" else "another name"
        todo = "name a new file, or an earlier copy"
        raise problem("a target named .ipynb, apart from the source", found, options.target, todo)
    parameters = {"profile": options.profile, "categories": options.categories}
    parameters["overrides"] = parse_overrides(options.overrides)
    execute_notebook(options.source, options.target, parameters)


def _tables(options: argparse.Namespace) -> None:
    from pouta_lib.ground.profiles import load_profile, parse_overrides
    from pouta_lib.report.table_files import KINDS, write_tables
    from pouta_lib.study.plan import planned_runs

    overrides = parse_overrides(options.overrides)
    settings = load_profile(options.profile, **overrides)
    planned = None
    if not options.as_is:
        planned = planned_runs(settings.name, options.categories, **overrides)
    for path in write_tables(settings.label, planned, kinds=tuple(KINDS)):
        print(path)


def _why(options: argparse.Namespace) -> None:
    from pouta_lib.report.table_files import explain_cell

    print(explain_cell(options.table, options.row, options.column))
