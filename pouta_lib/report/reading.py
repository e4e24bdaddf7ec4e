"""Sentences about measured numbers, made from the numbers: when these turn, so do they."""

from collections.abc import Iterable, Mapping
from itertools import pairwise

import pandas as pd
from scipy import stats

from pouta_lib.ground.methods import METHODS

AVERAGE = "average"  # the row of a table that no category has
METRIC_NAMES = {
    "image_auroc": "CLS: image AUROC",
    "pixel_auroc": "LOC: pixel AUROC",
    "pixel_ap": "LOC: pixel AP",
}
PAPERS_ORDER = [
    ["vanilla"],
    ["base"],
    ["base+hsg", "base+mss"],
    ["pouta"],
]  # of Table V, lowest first
METRIC_WORDS = {metric: name.split(": ")[1] for metric, name in METRIC_NAMES.items()}


def say(*sentences: str) -> None:
    """Shows sentences as one paragraph below a notebook's cell."""
    from IPython.display import Markdown, display

    display(Markdown(" ".join(["**In this run we see:**", *filter(None, sentences)])))


def listed(names: Iterable[str]) -> str:
    """Names as words.

    >>> listed([]), listed(["nut"]), listed(["cap", "chip", "nut"])
    ('none', 'nut', 'cap, chip and nut')
    """
    *first, last = list(names) or ["none"]
    return f"{', '.join(first)} and {last}" if first else last


def ahead(frame: pd.DataFrame, metric: str, one: str, other: str) -> str:
    """In which categories the method with title `one` is above `other`, and how far apart they are.

    `frame` is long, as :func:`pouta_lib.report.tables.run_frame` makes it; seeds are averaged.
    An empty text where no category has both.
    """
    of = frame[frame["metric"] == metric]
    wide = of.pivot_table("percent", "category", "title").reindex(columns=[one, other]).dropna()
    if wide.empty:
        return ""
    gap = (wide[one] - wide[other]).sort_values()
    above = [str(name) for name in gap.index[gap > 0][::-1]]
    many = {len(gap): f"all {len(gap)}", 0: f"none of {len(gap)}"}
    told = f"By {METRIC_WORDS[metric]}, {one} is above {other} in"
    told += f" {many.get(len(above), f'{len(above)} of {len(gap)}')} categories"
    told += f" ({listed(above)})" if 0 < len(above) < len(gap) else ""
    ends = [
        f"{gap[k]:+.1f} on {k} ({wide.loc[k, one]:.1f} against {wide.loc[k, other]:.1f})"
        for k in dict.fromkeys([gap.index[-1], gap.index[0]])
    ]
    return f"{told}: {f'from {ends[0]} to {ends[1]}' if len(ends) > 1 else ends[0]}."


def paired(frame: pd.DataFrame, metric: str, one: str, other: str) -> str:
    """What `one` has more than `other` where category and seed are the same, and whether it shows.

    `frame` as of :func:`ahead`; its `metric` may be another quantity, under its own name. Seeds of
    one category are no independent witnesses, so a category's gap is the mean over its seeds. The
    interval is Student's for the mean over categories, 95 %; *shown* is a difference whose interval
    leaves out 0. Fewer than three categories are told one by one, without.
    """
    of = frame[frame["metric"] == metric]
    wide = of.pivot_table("percent", ["category", "seed"], "title")
    runs = (wide.reindex(columns=[one, other]) @ [1, -1]).dropna()
    gap = runs.groupby("category").mean()
    head = f"*{one}* less *{other}*, {METRIC_WORDS.get(metric, metric)}:"
    if len(gap) < 3:
        each = listed(f"{value:+.1f} on {category}" for category, value in gap.items())
        above = f", above 0 in {(runs > 0).sum()} of {len(runs)} runs" if len(runs) else ""
        return f"{head} {each}{above}: too few categories to tell."
    mean = gap.mean()
    half = stats.t.ppf(0.975, len(gap) - 1) * gap.sem()
    verdict = "shown" if abs(mean) > half else "not shown"
    told = f"{head} {mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f}),"
    return f"{told} above 0 in {(gap > 0).sum()} of {len(gap)} categories: {verdict}."


def ladder(values: Mapping[str, float]) -> str:
    """Values from rung to rung, and on which of them they fall.

    >>> ladder({"2-shot": 60.0, "4-shot": 58.25, "8-shot": 71.0})
    '60.0 at 2-shot, 58.2 at 4-shot, 71.0 at 8-shot; it falls from 2-shot to 4-shot'
    >>> ladder({"2-shot": 60.0, "4-shot": 64.0})
    '60.0 at 2-shot, 64.0 at 4-shot; it falls nowhere'
    """
    rungs = ", ".join(f"{value:.1f} at {name}" for name, value in values.items())
    falls = [f"from {a} to {b}" for a, b in pairwise(values) if values[b] < values[a]]
    return f"{rungs}; it falls {listed(falls) if falls else 'nowhere'}"


def order_holds(means: Mapping[str, float], order: Iterable[Iterable[str]], spread: float) -> str:
    """Which steps of an expected order the means take, and how many exceed the spread over seeds.

    `order` has groups, lowest first; within a group nothing is expected, and a group's mean
    counts. A `spread` that is not known, from one seed, is NaN.

    >>> order_holds({"a": 1.0, "b": 2.0, "c": 1.5}, [["a"], ["b"], ["c"]], spread=0.8)
    'a to b +1.0; b to c -0.5. Of 2 steps 1 goes up by more than seeds lie apart (0.8), 0 down.'
    >>> order_holds({"a": 1.0, "b": 2.0}, [["a"], ["b"]], spread=float("nan"))
    'a to b +1.0. From one seed it cannot be said which steps to believe.'
    """
    groups = [list(group) for group in order]
    heights = [sum(means[name] for name in group) / len(group) for group in groups]
    steps = [b - a for a, b in pairwise(heights)]
    names = pairwise("/".join(group) for group in groups)
    told = "; ".join(f"{a} to {b} {step:+z.1f}" for (a, b), step in zip(names, steps, strict=True))
    if pd.isna(spread):
        return f"{told}. From one seed it cannot be said which steps to believe."
    up, down = (sum(sign * step > spread for step in steps) for sign in (1, -1))
    goes = "goes" if up == 1 else "go"
    apart = f"by more than seeds lie apart ({spread:.1f})"
    return f"{told}. Of {len(steps)} steps {up} {goes} up {apart}, {down} down."


def modules_order(table: pd.DataFrame, metric: str) -> str:
    """:func:`order_holds` of a Table V as it is written, for the paper's order of its rows.

    The spread is that of the seeds' averages over categories, in the mean over rows.
    """
    of = table[(table["category"] == AVERAGE) & (table["metric"] == metric)]
    of = of.set_index(of["method"].map({method.id: method.title for method in METHODS.values()}))
    order = [[METHODS[name].title for name in group] for group in PAPERS_ORDER]
    return order_holds(of["measured"], order, of["std"].mean())
