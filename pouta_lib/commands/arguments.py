"""What several commands can be told."""

import argparse
from pathlib import Path
from typing import TypeAlias

RESUMED = "goes on from the checkpoints"  # when the same is asked for again
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_common(parser: argparse.ArgumentParser) -> None:
    """The settings of a study, and its folders."""
    parser.add_argument("--profile", default="", help="default: $POUTA_PROFILE, else demo")
    add_override(parser)
    parser.add_argument("--data-root", help="the folder of datasets; default: $POUTA_DATA, data/")
    parser.add_argument("--results", help="default: $POUTA_RESULTS, results/")
    parser.add_argument("--figures", help="default: $POUTA_FIGURES, figures/")


def add_override(parser: argparse.ArgumentParser) -> None:
    """Any field of the profile."""
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override a profile setting; a run's results get a folder of their own",
    )


def add_categories(parser: argparse.ArgumentParser) -> None:
    """What a study is of."""
    parser.add_argument(
        "--categories",
        nargs="+",
        default=[],
        metavar="DATASET[/CATEGORY]",
        help="POUTA runs on these, in place of the profile's own list",
    )


def add_one_category(parser: argparse.ArgumentParser) -> None:
    """What one run is of."""
    parser.add_argument("--dataset", default="mini-mvtec")
    parser.add_argument("--category", default="", help="default: the dataset's first")
    parser.add_argument("--variant", "--method", default="pouta", help="the method's id")
    parser.add_argument("--seed", type=int, default=0)


def path_of(word: str) -> Path:
    """A path; the shell leaves the ~ of ``--output=~/x`` alone."""
    return Path(word).expanduser()
