"""Which orders of a study's tables another kind of processor keeps: its own study beside the first.

    python tools/orders.py demo demo~precision=fp32

Of both studies, named by their labels, the runs count that the other has as well. An order holds
for each two rows of a table whose means lie the same way round in both; a difference that turns
with the processor is none.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pandas as pd

from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.methods import METHODS
from pouta_lib.report.reading import AVERAGE, METRIC_NAMES
from pouta_lib.report.table_files import ROMAN
from pouta_lib.report.tables import (
    FEW_SHOT,
    ablation_table,
    benchmark_table,
    few_shot_table,
    run_frame,
)
from pouta_lib.study.records import Record, find_records

Study = list[Record]
MADE: tuple[Callable[[Study, str], pd.DataFrame], ...] = (
    benchmark_table,
    few_shot_table,
    ablation_table,
)
RUN = ["dataset", "category", "method", "shots", "seed"]


def shared(one: Study, other: Study) -> tuple[Study, Study]:
    """The runs of each that the other has too.

    *Raises* :class:`PoutaError` where there are none.
    """
    names = [{replace(record.key, label="") for record in study} for study in (one, other)]
    both = names[0] & names[1]
    if not both:
        labels = " and ".join(study[0].key.label if study else "none" for study in (one, other))
        found = f"no such runs among {len(one)} and {len(other)}"
        todo = "name two labels that have records of the same runs (--results, --other-results)"
        raise problem("two studies of the same runs", found, labels, todo)
    return tuple([r for r in s if replace(r.key, label="") in both] for s in (one, other))  # type: ignore[return-value]  # two


def means(study: Study) -> dict[int, pd.DataFrame]:
    """By table, I to V, its averages over categories, in percent, with the metrics beside.

    The rows are in the table's order, which is the paper's; those that lack a category of the
    others are left out.
    """
    found = {}
    for make, dataset in product(MADE, dict.fromkeys(record.run.dataset for record in study)):
        frame = make(study, dataset)
        if frame.empty or pd.isna(frame["table"].iloc[0]):  # nothing, or of no dataset of theirs
            continue
        number = int(frame["table"].iloc[0])
        shots = frame["shots"].map(lambda k: "all images" if pd.isna(k) else f"{k}-shot")
        titles = frame["method"].map(lambda name: METHODS[name].title)
        frame["row"] = shots if number == FEW_SHOT else titles
        categories = frame.groupby("row", sort=False)["category"].nunique()
        whole = categories.index[categories == categories.max()]
        averages = frame[frame["category"] == AVERAGE]
        found[number] = averages.pivot(index="row", columns="metric", values="measured").loc[whole]
    return dict(sorted(found.items()))


def turned(one: pd.Series, other: pd.Series) -> list[float]:
    """How far apart, in the first, those two rows are that the second has the other way round.

    >>> turned(pd.Series([1.0, 2.0, 4.0]), pd.Series([3.0, 2.5, 4.0]))
    [1.0]
    """
    pairs = combinations(one.index, 2)
    return [
        abs(one[a] - one[b]) for a, b in pairs if (one[a] - one[b]) * (other[a] - other[b]) <= 0
    ]


def rising(values: pd.Series) -> str:
    """The rows from the lowest to the highest."""
    return ", ".join(f"{name} {value:.1f}" for name, value in values.sort_values().items())


def trained(study: Study) -> Study:
    """Its runs of methods that are trained: the others come out alike everywhere."""
    return [record for record in study if METHODS[record.run.variant].trained]


def moved(one: Study, other: Study) -> list[str]:
    """A table's rows: what another processor moves a number by, and another seed, in points."""
    if not {0, 1} <= (found := {record.run.seed for record in trained(one)}):
        todo = "name one that has them first, or make them"
        wanted = "trained networks of the seeds 0 and 1"
        raise problem(wanted, f"the seeds {sorted(found)}", one[0].key.label, todo)
    frames = [run_frame(trained(s)).set_index([*RUN, "metric"])["percent"] for s in (one, other)]
    seeds = frames[0].unstack("seed")
    by_seed = (seeds[1] - seeds[0]).abs().dropna().groupby("metric")
    one, other = shared(one, other)
    by_machine = (frames[1] - frames[0]).abs().dropna().groupby("metric")
    runs = len(trained(one))
    rows = {
        f"a number of one of {runs} trained networks, in the median": by_machine.median(),
        "the same, at most": by_machine.max(),
        "the same by another seed in place of another processor, in the median": by_seed.median(),
        "the same by another seed, at most": by_seed.max(),
    }
    for number, first in means(one).items():
        of = (means(other)[number] - first).abs().max()
        rows[f"a mean of Table {ROMAN[number]}, at most"] = of
    cells = {
        words: [f"{of[m]:.1f}" if m in of else "–" for m in METRIC_NAMES]
        for words, of in rows.items()
    }
    return [f"| {words} | {' | '.join(values)} |" for words, values in cells.items()]


def report(one: Study, other: Study) -> str:
    """The tables, in Markdown."""
    whole = one, other
    one, other = shared(*whole)
    labels = f"{one[0].key.label}, lowest first | {other[0].key.label}"
    lines = [f"| table | metric | {labels} | pairs that keep their order |"]
    lines += ["|---|---|---|---|---|"]
    for number, first in means(one).items():
        second = means(other)[number]
        for metric, words in METRIC_NAMES.items():
            if metric not in first:
                continue
            lost = turned(first[metric], second[metric])
            count = len(first) * (len(first) - 1) // 2
            kept = f"{count - len(lost)} of {count}"
            if lost:
                most = f"up to {max(lost):.1f}" if max(lost) >= 0.05 else "less than 0.05"
                kept += f"; the others are {most} apart"
            orders = f"{rising(first[metric])} | {rising(second[metric])}"
            lines.append(f"| {ROMAN[number]} | {words} | {orders} | {kept} |")
    lines += [
        "",
        f"| moved by, in points | {' | '.join(METRIC_NAMES.values())} |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *moved(*whole)]) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("one", help="a label, such as demo")
    parser.add_argument("other", help="another, such as demo~precision=fp32")
    parser.add_argument("--results", type=Path, default=Path("results"))
    parser.add_argument("--other-results", type=Path, help="where the other lies; default: there")
    options = parser.parse_args(arguments)
    there = options.other_results or options.results
    try:
        one = find_records(options.one, options.results)
        other = find_records(options.other, there)
        print(report(one, other), end="")
    except PoutaError as error:
        parser.exit(1, f"orders: {error}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
