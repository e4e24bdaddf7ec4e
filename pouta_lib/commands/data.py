"""What gets datasets, checks them and draws them."""

import argparse
from pathlib import Path

from pouta_lib.commands.arguments import Commands


def add(commands: Commands) -> None:
    """Adds them to the command line."""
    data = commands.add_parser("data", help="get or check a dataset")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    get = actions.add_parser("get", help="download, verify and unpack a dataset")
    get.add_argument("name")
    get.add_argument("--data-root")
    get.add_argument("--from", dest="source_file", type=Path, help="an archive you already have")
    get.add_argument(
        "--any-digest", action="store_true", help="it is a part, a mirror's or packed again"
    )
    get.set_defaults(command=_get, resumed="goes on with the download")
    check = actions.add_parser(
        "check", help="count a dataset's images against the published counts"
    )
    check.add_argument("name")
    check.add_argument("--data-root")
    check.set_defaults(command=_check)
    mini = actions.add_parser("mini", help="draw the embedded datasets")
    mini.add_argument("--data-root")
    mini.set_defaults(command=_mini)


def _get(options: argparse.Namespace) -> None:
    from pouta_lib.data.download import get_dataset

    folder = get_dataset(
        options.name,
        options.data_root,
        source_file=options.source_file,
        any_digest=options.any_digest,
    )
    print(f"{options.name} is ready in {folder}")


def _check(options: argparse.Namespace) -> int:
    from pouta_lib.data.check import check_dataset

    report = check_dataset(options.name, options.data_root)
    print(report)
    return 1 if report.problems else 0


def _mini(options: argparse.Namespace) -> None:
    from pouta_lib.data.mini import ensure_mini
    from pouta_lib.ground.paths import data_root

    root = data_root(options.data_root)
    ensure_mini(root)
    print(f"mini-mvtec, mini-visa and mini-dagm are ready in {root}")
