"""Tables from run records: published, measured and difference, every cell traceable.

A published number is subtracted only from one that was measured on the same dataset and category.
"""

import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, NamedTuple

import pandas as pd

from pouta_lib.data.together import SUFFIX
from pouta_lib.ground.errors import problem
from pouta_lib.ground.methods import ABLATED, BACKBONE_TITLES, COMPARED, METHODS
from pouta_lib.report.published import read_published
from pouta_lib.report.reading import AVERAGE
from pouta_lib.study.records import Metric, Record

CLS: Metric = "image_auroc"
LOC: tuple[Metric, ...] = ("pixel_auroc", "pixel_ap")
# number: the paper's dataset, its stand-in, the metrics
TABLES: dict[int, tuple[str, str, tuple[Metric, ...]]] = {
    1: ("mvtec", "mini-mvtec", (CLS, *LOC)),
    2: ("visa", "mini-visa", (CLS,)),
    3: ("dagm", "mini-dagm", (CLS,)),
}
FEW_SHOT, ABLATION = 4, 5
# Settings that say how a run is computed, and nothing of what: a resumed run and a compiled one
# stand beside the others in a table.
WITHOUT_MEANING = ("checkpoint_steps", "compile")
COLUMNS = ["table", "dataset", "category", "method", "shots", "metric", "unit", "published"]
COLUMNS += ["measured", "std", "n", "difference", "protocol", "published_protocol"]


class Cell(NamedTuple):
    """A measured number, and the runs that it comes from."""

    mean: float | None
    std: float | None  # None: of one seed
    n: int  # seeds
    records: list[Record]


def protocol(records: Sequence[Record]) -> str:
    """How these records, all of one profile, were measured, in a few words."""
    p = records[0].profile
    steps = sorted({r.steps for r in records})
    words = [f"{p.label}: resized to {p.size_px} px"]
    backbones = sorted({r.backbone for r in records if r.backbone})
    if backbones:
        words += [f"{BACKBONE_TITLES[name]} features, pretrained on ImageNet" for name in backbones]
    else:
        words += [f"width {p.width}"]
        words += [f"{'-'.join(dict.fromkeys(map(str, (steps[0], steps[-1]))))} steps"]
        words += [f"{p.textures} textures"]
    words += ["/".join(sorted({r.precision for r in records}))]
    limits = {"train": p.max_train, "test": p.max_test}
    words += [f"at most {most} {kind} images" for kind, most in limits.items() if most]
    return ", ".join(words)


def home_of(number: int | None) -> str:
    """The dataset of the paper's table; IV and V are on MVTec AD."""
    return TABLES.get(number or 1, TABLES[1])[0]


def number_of(dataset: str) -> int | None:
    """The table a dataset belongs to; None for one that the paper does not have."""
    return next((k for k, (real, mini, _) in TABLES.items() if dataset in (real, mini)), None)


def benchmark_table(records: Sequence[Record], dataset: str) -> pd.DataFrame:
    """Table I, II or III of one dataset: runs on all training images, method by method.

    In long form, as all tables: one row per category, method, number of shots and metric.
    ``measured`` is the mean over seeds, ``std`` their sample deviation (empty for one seed), ``n``
    their number, ``difference`` measured - published where both were measured on the same data.
    The average is over categories, its ``std`` that of the seeds' averages; a published average is
    set beside it only when the categories are the paper's. The column ``records`` names the runs.

    *Units*: percent (``published``, ``measured``, ``std``) and percentage points (``difference``).
    *Raises* :class:`PoutaError` for records that differ in settings or data.
    """
    runs = [r for r in _of(records, dataset) if r.run.shots is None]
    runs = [r for r in runs if r.run.variant in COMPARED]
    number = number_of(dataset)
    return _long_form(runs, number, dataset, TABLES[number][2] if number else (CLS, *LOC))


def few_shot_table(records: Sequence[Record], dataset: str) -> pd.DataFrame:
    """Table IV of one dataset: POUTA by number of shots, on the categories with few-shot runs.

    The runs on all training images stand beside them where their seeds are the same. Form, units
    and errors as :func:`benchmark_table`.
    """
    runs = [r for r in _of(records, dataset) if r.run.variant == "pouta"]
    few = {(r.run.category, r.run.seed) for r in runs if r.run.shots is not None}
    runs = [r for r in runs if (r.run.category, r.run.seed) in few]
    return _long_form(runs, FEW_SHOT, dataset, (CLS,))


def ablation_table(records: Sequence[Record], dataset: str) -> pd.DataFrame:
    """Table V of one dataset: module by module, where a category and seed has every row.

    Form, units and errors as :func:`benchmark_table`.
    """
    runs = [r for r in _of(records, dataset) if r.run.shots is None]
    there: dict[tuple[str, int], set[str]] = {}
    for r in runs:
        there.setdefault((r.run.category, r.run.seed), set()).add(r.run.variant)
    whole = {key for key, methods in there.items() if methods >= set(ABLATED)}
    runs = [r for r in runs if (r.run.category, r.run.seed) in whole]
    runs = [r for r in runs if r.run.variant in ABLATED]
    return _long_form(runs, ABLATION, dataset, (CLS, *LOC))


def run_frame(records: Sequence[Record], metrics: Sequence[Metric] = (CLS, *LOC)) -> pd.DataFrame:
    """One row per run and metric, before any averaging: what strip plots and spreads are made of.

    Columns: dataset, category, method (its id), title, shots, seed, metric, percent.
    """
    rows = [
        asdict(record.run)
        | {"title": METHODS[record.run.variant].title, "metric": metric}
        | {"percent": 100 * value}
        for record in records
        for metric in metrics
        if (value := record.metrics[metric]) is not None
    ]
    return pd.DataFrame(rows).rename(columns={"variant": "method"})


def of_several(records: Sequence[Record]) -> list[Record]:
    """The models of several categories (D46), and those of one that can stand beside them.

    These have the same method, number of shots, seed and settings, and another dataset's name.
    """
    whole = [r for r in records if r.by_category]
    alike = {replace(r.key, dataset=r.run.dataset.removesuffix(SUFFIX), category="") for r in whole}
    return [*whole, *(r for r in records if replace(r.key, category="") in alike)]


def together_frame(
    records: Sequence[Record], metrics: Sequence[Metric] = (CLS, *LOC)
) -> pd.DataFrame:
    """:func:`run_frame` of what :func:`of_several` gives, category by category.

    The column `model` says ``one for all`` or ``one each``, and the title of a model for all says
    so too.
    """
    split = [
        replace(r, run=replace(r.run, category=name), metrics=found)
        for r in records
        for name, found in (r.by_category or {}).items()
    ]
    joint = run_frame(split, metrics).assign(model="one for all")
    joint["title"] = [f"{title}, one for all" for title in joint.get("title", [])]
    single = run_frame([r for r in records if not r.by_category], metrics)
    return pd.concat([single.assign(model="one each"), joint])


def _of(records: Sequence[Record], dataset: str) -> list[Record]:
    return [r for r in records if r.run.dataset == dataset]


def _long_form(
    runs: list[Record], number: int | None, dataset: str, metrics: Sequence[Metric]
) -> pd.DataFrame:
    _require_one_protocol(runs)
    published = _published_values(number) if number and dataset == home_of(number) else {}
    known = published_categories(own) if (own := number_of(dataset)) else []
    order = list(ABLATED if number == ABLATION else METHODS)
    methods = {(r.run.variant, r.run.shots) for r in runs}
    rows = []
    for method, shots in sorted(methods, key=lambda m: (order.index(m[0]), m[1] or 10**9)):
        by_category: dict[str, list[Record]] = {}
        for record in runs:
            if (record.run.variant, record.run.shots) == (method, shots):
                by_category.setdefault(record.run.category, []).append(record)
        whole = set(known) == set(by_category)
        for metric in metrics:
            names = _in_order(set(by_category), known)
            cells = {name: _cell(by_category[name], metric) for name in names}
            cells[AVERAGE] = _average([by_category[name] for name in names], metric)
            for name, cell in cells.items():
                value = published.get((name, method, shots, metric))
                value = None if name == AVERAGE and not whole else value
                difference = None if value is None or cell.mean is None else cell.mean - value
                row = [number, dataset, name, method, shots, metric, "%", value, *cell[:3]]
                row += [difference, protocol(cell.records)]
                row += [None if value is None else f"paper: {METHODS[method].published}"]
                rows.append([*row, [source_of(r) for r in cell.records]])
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "records"])
    frame = frame.astype({"shots": "Int64"})
    return frame.astype(dict.fromkeys(("published", "measured", "std", "difference"), float))


def published_categories(number: int) -> list[str]:
    """The categories of the paper's table, without its average."""
    names = read_published(number)["category"].unique()
    return [name for name in names if name != AVERAGE]


def _published_values(number: int) -> dict[tuple[str, str, int | None, str], float]:
    frame = read_published(number).dropna(subset="value")
    names = {method.title: method.id for method in METHODS.values()}
    frame = frame[frame["method"].isin(names)]
    return {
        (r.category, names[r.method], _published_shots(r.note), r.metric): r.value
        for r in frame.itertuples()
    }


def _published_shots(note: str) -> int | None:
    return int(note.removesuffix("-shot")) if note.endswith("-shot") else None


def _in_order(names: set[str], known: list[str]) -> list[str]:
    """The known names first, as they are listed; then the others, Class2 before Class10."""

    def place(name: str) -> tuple[int, list[tuple[int, str]]]:
        digits = [(int(w), "") if w.isdigit() else (-1, w) for w in re.split(r"(\d+)", name)]
        return known.index(name) if name in known else len(known), digits

    return sorted(names, key=place)


def _require_one_protocol(records: Sequence[Record]) -> None:
    """Numbers that stand in one table were made with the same settings, from the same data."""
    first: dict[Any, tuple[Record, Any]] = {}
    for record in records:
        run = record.run
        for what, key, value in (
            ("settings", run.dataset, _settings_that_count(record)),
            ("data", (run.dataset, run.category), record.data.manifest_hash),
        ):
            other, wanted = first.setdefault((what, key), (record, value))
            if value != wanted:
                wanted = f"runs with the same {what} in one table"
                found = f"{source_of(other)} and {source_of(record)} made with different {what}"
                todo = f"delete the older of the two and make it again: {record.key.command()}"
                raise problem(wanted, found, record.path, todo)


def _settings_that_count(record: Record) -> dict[str, Any]:
    settings = record.profile.to_dict()
    return {name: value for name, value in settings.items() if name not in WITHOUT_MEANING}


def _cell(records: list[Record], metric: Metric) -> Cell:
    values = pd.Series([r.metrics[metric] for r in records], dtype=float).dropna() * 100
    if values.empty:
        return Cell(None, None, 0, records)
    std = values.std() if len(values) > 1 else None
    return Cell(values.mean(), std, len(values), records)


def _average(by_category: list[list[Record]], metric: Metric) -> Cell:
    """The mean over categories; its spread where each category has the same seeds."""
    records = [r for part in by_category for r in part]
    cells = [_cell(part, metric) for part in by_category]
    means = [cell.mean for cell in cells if cell.mean is not None]
    if len(means) < len(cells):
        return Cell(None, None, 0, records)
    mean, fewest = sum(means) / len(means), min(cell.n for cell in cells)
    measured = [[r for r in part if r.metrics[metric] is not None] for part in by_category]
    seeds = [sorted(r.run.seed for r in part) for part in measured]
    if fewest < 2 or any(s != seeds[0] for s in seeds):
        return Cell(mean, None, fewest, records)
    flat = [r for part in measured for r in part]
    by_seed = pd.Series([r.metrics[metric] for r in flat], dtype=float) * 100
    by_seed = by_seed.groupby([r.run.seed for r in flat]).mean()
    return Cell(mean, by_seed.std(), fewest, records)


def source_of(record: Record) -> str:
    """A record's folder, relative to the results."""
    return record.key.place
