"""The tables' files: CSV for programs, Markdown for readers, and where each cell comes from."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, cast

import pandas as pd

from pouta_lib.ground.errors import problem
from pouta_lib.ground.labels import command_of, folder_name, setting_words
from pouta_lib.ground.methods import COMPARED, METHODS, Modules
from pouta_lib.ground.paths import atomic_path, results_root
from pouta_lib.ground.validation import Rule, checked, read_json
from pouta_lib.report.published import read_published
from pouta_lib.report.reading import AVERAGE, METRIC_NAMES, METRIC_WORDS
from pouta_lib.report.tables import (
    ABLATION,
    CLS,
    FEW_SHOT,
    LOC,
    TABLES,
    ablation_table,
    benchmark_table,
    few_shot_table,
    home_of,
    source_of,
)
from pouta_lib.study.records import (
    METRICS,
    Metric,
    Record,
    RunKey,
    find_records,
    read_record,
    require,
    selection_of,
)

Cells = Annotated[  # of a table, each with its runs
    dict[str, list[str]],
    Rule(
        "cells that end in a metric, each with its runs",
        lambda cells: all(runs and name.split("|")[-1] in METRICS for name, runs in cells.items()),
    ),
]
ROMAN = {1: "I", 2: "II", 3: "III", 4: "IV", 5: "V", 6: "VI"}
KINDS = {"benchmark": benchmark_table, "few_shot": few_shot_table, "ablation": ablation_table}


def write_tables(
    label: str,
    expected: Sequence[RunKey] | None = None,
    results: str | Path | None = None,
    kinds: Sequence[str] = ("benchmark",),
) -> list[Path]:
    """Writes ``results/<label>/tables/table_<n>_<dataset>.{csv,md,provenance.json}``.

    `kinds`: ``benchmark`` (Tables I to III), ``few_shot`` (IV), ``ablation`` (V). Of the
    `expected` runs and no others, so that the same plan gives the same tables; of all that there
    are where nothing is expected. The same records give the same bytes. Returns the CSV files'
    paths, Table I first.

    *Raises* :class:`PoutaError` for an expected run without a record, and where there is none.
    """
    records = find_records(label, results)
    if expected is not None:
        require({record.key for record in records}, expected)
        records = [record for record in records if record.key in set(expected)]
    folder = results_root(results) / folder_name(label) / "tables"
    if not records:
        raise problem("run records", "none", folder.parent, command_of("study", label))
    paths = []
    for kind in kinds:
        for dataset in sorted({r.run.dataset for r in records}):
            frame = KINDS[kind](records, dataset)
            if frame.empty:
                continue
            name = f"table_{frame['table'].iloc[0] or 'other'}_{dataset}"
            texts = {
                f"{name}.csv": _csv(frame),
                f"{name}.md": markdown(frame, records),
                f"{name}.provenance.json": _provenance(frame),
            }
            for file, text in texts.items():
                with atomic_path(folder / file) as temporary:
                    temporary.write_text(text, encoding="utf-8", newline="\n")
            paths.append(folder / f"{name}.csv")
    return sorted(paths)


def _csv(frame: pd.DataFrame) -> str:
    plain = frame.drop(columns="records", errors="ignore").round(4)
    numbers = plain.select_dtypes("float").columns
    plain[numbers] += 0.0  # no -0.0
    return plain.to_csv(index=False, lineterminator="\n")


def _provenance(frame: pd.DataFrame) -> str:
    cells = {cell_name(r.category, r.method, r.shots, r.metric): r.records for r in rows_of(frame)}
    return json.dumps(cells, indent=1) + "\n"


def rows_of(frame: pd.DataFrame) -> Iterator[Any]:
    """The rows as named tuples, with None where there is no number of shots."""
    for row in frame.itertuples():
        yield row._replace(shots=None if pd.isna(row.shots) else int(row.shots))


def cell_name(category: str, method: str, shots: int | None, metric: str) -> str:
    """What a measured cell is called in ``*.provenance.json``: ``chip|pouta|all|pixel_ap``."""
    return "|".join([category, method, "all" if shots is None else f"{shots}-shot", metric])


def markdown(frame: pd.DataFrame, records: Sequence[Record]) -> str:
    """A table for readers: categories or methods down, metrics or shots across, with a caption."""
    dataset, number = frame["dataset"].iloc[0], frame["table"].iloc[0]
    number = None if pd.isna(number) else int(number)
    home = home_of(number)
    real = bool(number) and dataset == home
    title = f"Table {ROMAN[number]} ({dataset})" if number else dataset
    sections = [f"# {title}\n", _caption(frame, records)]
    if number == FEW_SHOT:
        sections.append(f"## POUTA by number of shots, {METRIC_NAMES[CLS]}\n\n{_by_shots(frame)}\n")
    elif number == ABLATION:
        sections += [f"{_by_module(frame, AVERAGE)}\n", "## Category by category\n"]
        for name in [c for c in frame["category"].unique() if c != AVERAGE]:
            sections.append(f"### {name}\n\n{_by_module(frame, name)}\n")
    else:
        for method, part in frame.groupby("method", sort=False):
            sections.append(f"## {_title(part, method)}, measured\n\n{_wide(part, real)}\n")
    if number and not real:
        sections.append(
            f"## The paper's own table on {home}, for orientation only\n\n"
            "Published numbers, on other data and at another protocol: not to be compared cell by "
            f"cell.\n\n{_published_wide(number)}\n"
        )
    return "\n".join(sections)


def _title(part: pd.DataFrame, method: str) -> str:
    features = ", ".join(part["protocol"].iloc[0].split(", ")[1:3])
    chosen = METHODS[method]
    return f"{chosen.title} ({features})" if chosen.backbone else chosen.title


def _by_shots(frame: pd.DataFrame) -> str:
    cells: dict[str, dict[str, str]] = {}
    for r in rows_of(frame):
        name = "all images" if r.shots is None else f"{r.shots}-shot"
        cells.setdefault(r.category, {})[name] = _number(r.measured, r.std)
        if not pd.isna(r.published):
            cells[r.category][f"{name}, published"] = f"{r.published:.1f}"
    wide = pd.DataFrame.from_dict(cells, orient="index").rename_axis("category").reset_index()
    wide["seeds"] = [frame[frame["category"] == c]["n"].min() for c in wide["category"]]
    return wide.fillna("").to_markdown(index=False, disable_numparse=True)


def _by_module(frame: pd.DataFrame, category: str) -> str:
    rows = []
    for method, part in frame[frame["category"] == category].groupby("method", sort=False):
        row = {"method": METHODS[method].title}
        ticks = METHODS[method].modules or Modules()
        row |= {name.upper(): "✓" if on else "" for name, on in ticks._asdict().items()}
        for r in part.itertuples():
            row[METRIC_NAMES[r.metric]] = _number(r.measured, r.std)
            if not pd.isna(r.published):
                row[f"{METRIC_NAMES[r.metric]}, published"] = f"{r.published:.1f}"
        rows.append(row | {"seeds": part["n"].min()})
    return pd.DataFrame(rows).to_markdown(index=False, disable_numparse=True)


def _number(measured: float | None, std: float | None) -> str:
    if pd.isna(measured):
        return "–"
    return f"{measured:.1f}" + ("" if pd.isna(std) else f" ± {std:.1f}")


def _caption(frame: pd.DataFrame, records: Sequence[Record]) -> str:
    chance = "Chance is 50 in AUROC"
    if "pixel_ap" in set(frame["metric"]):
        chance += ", and in AP the share of defective pixels, which differs by category"
    averages = frame[frame["category"] == AVERAGE]
    lines = "; ".join(averages["protocol"].unique())
    used = {source for sources in averages["records"] for source in sources}
    ours = [r for r in records if source_of(r) in used]
    commits = ", ".join(sorted({_commit(r) for r in ours}))
    weights = " and ".join(sorted({selection_of(r.profile, r.steps) for r in ours if r.steps}))
    text = f"In percent. {chance}. *Measured* by this repository at `{lines}`"
    text += f", weights: {weights}" if weights else ""
    text += f", commit {commits}; the mean over seeds, ± their deviation where there are two "
    text += "or more."
    if theirs := "; ".join(frame["published_protocol"].dropna().unique()):
        text += f" *Published* at `{theirs}`. *Difference*: measured - published, in points."
    return text + "\n"


def _commit(record: Record) -> str:
    changed = " with changes" if record.dirty else ""
    return f"{(record.commit or 'unknown')[:10]}{changed}"


def _wide(part: pd.DataFrame, real: bool) -> str:
    rows: dict[str, dict[str, Any]] = {}
    for r in part.itertuples():
        name = METRIC_NAMES[r.metric]
        row = rows.setdefault(r.category, {"seeds": r.n})
        undefined = "no exact masks" if r.metric in LOC else "one kind only"
        row[name] = undefined if pd.isna(r.measured) else _number(r.measured, r.std)
        if real:
            row[f"{name}, published"] = "" if pd.isna(r.published) else f"{r.published:.1f}"
            points = "" if pd.isna(r.difference) else f"{r.difference:+z.1f}"
            row[f"{name}, difference"] = points
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("category").reset_index()
    frame = frame[[c for c in frame.columns if c != "seeds"] + ["seeds"]]
    return frame.to_markdown(index=False, disable_numparse=True)


def _published_wide(number: int) -> str:
    frame = read_published(number)
    if number in TABLES:
        frame = frame[frame["method"].isin([METHODS[m].title for m in COMPARED])]
        columns = frame["method"] + " " + frame["metric"].map(METRIC_WORDS)
        rows = "category"
    else:
        columns, rows = frame["metric"].map(METRIC_NAMES), "method"
        if number == FEW_SHOT:
            columns = frame["note"] + " " + columns
    frame = frame.assign(
        name=columns, text=frame["value"].map(lambda v: "–" if pd.isna(v) else f"{v:.1f}")
    )
    order = [frame[rows].unique(), frame["name"].unique()]
    wide = frame.pivot(index=rows, columns="name", values="text")
    wide = wide.reindex(index=order[0], columns=order[1]).reset_index()
    return wide.to_markdown(index=False, disable_numparse=True)


def write_cost_table(label: str, counts: dict[str, dict[str, float]]) -> Path:
    """Writes Table VI: ``counts`` by method ("POUTA") and metric (``parameters_m``), and published.

    Counts only, which are the same on every machine; times are written apart from the tables.
    """
    published = read_published(6).set_index(["method", "metric"])["value"]
    rows = []
    for method, cells in counts.items():
        for metric, measured in cells.items():
            value = published.get((method, metric))
            value = None if pd.isna(value) else value
            difference = None if value is None else measured - value
            rows.append([6, method, metric, value, measured, difference])
    columns = ["table", "method", "metric", "published", "measured", "difference"]
    frame = pd.DataFrame(rows, columns=columns)
    path = results_root() / folder_name(label) / "tables" / "table_6.csv"
    with atomic_path(path) as temporary:
        temporary.write_text(_csv(frame), encoding="utf-8", newline="\n")
    return path


def explain_cell(table: Path, row: str, column: str) -> str:
    """Where a measured cell of a table comes from: its runs, their commands, commits and seeds.

    `row` and `column` hold words of the cell's name, in any order: category, method, ``all`` or
    ``4-shot``, metric. The average is meant where the words fit several categories and it is
    among them.

    *Raises* :class:`PoutaError` for words that fit no cell, or several, and for a table whose
    provenance is missing or damaged.
    """
    name = Path(table).name.removesuffix(".provenance.json")
    name = name.removesuffix(".csv").removesuffix(".md")
    path = Path(table).absolute().parent / f"{name}.provenance.json"
    if not path.is_file():
        raise problem("a table written by the study", "no provenance", path, "make study")
    todo = "pouta tables makes it again"
    found = read_json(path, "a table's provenance", todo, todo)
    cells = checked(Cells, found, path, todo)
    asked = {word.lower() for word in f"{row} {column}".replace("|", " ").split()}
    whole = [name for name in cells if asked <= set(name.lower().split("|"))]
    in_part = [name for name in cells if asked <= set(name.lower().replace("|", " ").split())]
    fitting = whole or in_part
    averages = [name for name in fitting if name.startswith(f"{AVERAGE}|")]
    fitting = averages if len(averages) == 1 else fitting
    if len(fitting) != 1:
        known = [sorted(set(words)) for words in zip(*(name.split("|") for name in cells))]
        found = f"{len(fitting)} cells for {sorted(asked)}"
        todo = f"choose one of each: {'; '.join(', '.join(words) for words in known)}"
        raise problem("the words of one cell", found, path, todo)
    (name,) = fitting
    metric, lines = cast(Metric, name.split("|")[-1]), []
    root = path.parent.parent.parent
    for source in cells[name]:
        record = read_record(root / source)
        value = record.metrics[metric]
        shown = "none" if value is None else f"{100 * value:.2f} %"
        lines += [f"{shown:>9}  {source}"]
        lines += [f"           made by   {record.key.command()}"]
        lines += [f"           commit    {_commit(record)}, seed {record.run.seed}"]
        lines += [f"           on        {record.device}, {record.precision}"]
        changed = ", ".join(setting_words(record.profile.overrides)) or "none"
        lines += [f"           profile   {record.profile.name}, overrides: {changed}"]
    return "\n".join([f"{name}: the mean of", *lines])
