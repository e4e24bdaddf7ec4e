"""Tables from run records: published, measured and difference, every cell traceable.

A published number is subtracted only from one that was measured on the same dataset and category.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pouta_lib.errors import problem
from pouta_lib.paths import atomic_path, results_root
from pouta_lib.published import AVERAGE, read_published
from pouta_lib.records import RunKey, find_records, key_of

CLS, LOC = "image_auroc", ("pixel_auroc", "pixel_ap")
METRIC_NAMES = {
    "image_auroc": "CLS: image AUROC",
    "pixel_auroc": "LOC: pixel AUROC",
    "pixel_ap": "LOC: pixel AP",
}
TABLES = {  # number: the paper's dataset, its stand-in, the metrics
    1: ("mvtec", "mini-mvtec", (CLS, *LOC)),
    2: ("visa", "mini-visa", (CLS,)),
    3: ("dagm", "mini-dagm", (CLS,)),
}
METHODS = {"pouta": "POUTA", "vanilla": "Vanilla"}  # run variant: the paper's name in Table I
COLUMNS = [
    "table",
    "dataset",
    "category",
    "method",
    "metric",
    "published",
    "measured",
    "std",
    "n",
    "difference",
    "protocol",
]


def protocol(record: dict[str, Any]) -> str:
    """How a record was measured, in a few words."""
    p = record["profile"]
    name = "~".join([p["name"], *p["overrides"]])
    size = f"{p['size_px']} px, width {p['width']}"
    return f"{name}: {size}, {record['steps']} steps, {p['textures']} textures"


def number_of(dataset: str) -> int | None:
    """The table a dataset belongs to; None for one that the paper does not have."""
    return next((k for k, (real, mini, _) in TABLES.items() if dataset in (real, mini)), None)


def benchmark_table(records: Sequence[dict[str, Any]], dataset: str) -> pd.DataFrame:
    """Table I, II or III of one dataset, in long form: one row a category, method and metric.

    ``measured`` is the mean over seeds in percent, ``std`` their deviation (empty for one seed),
    ``n`` their number, ``difference`` measured - published where both were measured on the same
    data. Only runs on all training images count here. The column ``records`` names the runs.
    """
    number = number_of(dataset)
    metrics = TABLES[number][2] if number else (CLS, *LOC)
    published = _published_values(number) if number and dataset == TABLES[number][0] else {}
    runs = [r for r in records if r["run"]["dataset"] == dataset and r["run"]["shots"] is None]
    rows = []
    for variant in dict.fromkeys(r["run"]["variant"] for r in runs):
        of_variant = [r for r in runs if r["run"]["variant"] == variant]
        categories = list(dict.fromkeys(r["run"]["category"] for r in of_variant))
        for metric in metrics:
            cells = {}
            for category in categories:
                chosen = [r for r in of_variant if r["run"]["category"] == category]
                cells[category] = _cell(chosen, metric)
            cells[AVERAGE] = _average(cells, of_variant)
            whole = set(published_categories(number)) <= set(categories) if published else False
            for category, (measured, std, n, sources) in cells.items():
                known = published.get((category, variant, metric))
                if category == AVERAGE and not whole:
                    known = None
                difference = None if known is None or measured is None else measured - known
                row = [number, dataset, category, variant, metric, known, measured, std, n]
                rows.append([*row, difference, protocol(of_variant[0]), sources])
    return pd.DataFrame(rows, columns=[*COLUMNS, "records"])


def published_categories(number: int) -> list[str]:
    """The categories of the paper's table, without its average."""
    names = read_published(number)["category"].unique()
    return [name for name in names if name != AVERAGE]


def _published_values(number: int) -> dict[tuple[str, str, str], float]:
    frame = read_published(number).dropna(subset="value")
    names = {name: variant for variant, name in METHODS.items()}
    frame = frame[frame["method"].isin(names)]
    return {(row.category, names[row.method], row.metric): row.value for row in frame.itertuples()}


def _cell(records: list[dict[str, Any]], metric: str):
    values = pd.Series([r["metrics"][metric] for r in records], dtype=float).dropna() * 100
    sources = [source_of(r) for r in records]
    if values.empty:
        return None, None, 0, sources
    return values.mean(), values.std() if len(values) > 1 else None, len(values), sources


def _average(cells: dict[str, tuple], records: list[dict[str, Any]]):
    """The mean over categories; its spread is that of the per-seed means, where seeds are whole."""
    means = pd.Series([cell[0] for cell in cells.values()], dtype=float)
    sources = [source for cell in cells.values() for source in cell[3]]
    if means.isna().any():
        return None, None, 0, sources
    return means.mean(), None, min(cell[2] for cell in cells.values()), sources


def source_of(record: dict[str, Any]) -> str:
    """A record's folder, relative to the results."""
    return key_of(record).folder("/").relative_to("/").as_posix()


def require(records: Sequence[dict[str, Any]], expected: Sequence[RunKey]) -> None:
    """*Raises* :class:`PoutaError` for an expected run without a record, naming its command."""
    there = {key_of(r) for r in records}
    missing = [key for key in expected if key not in there]
    if missing:
        found = f"{len(missing)} of {len(expected)} missing"
        raise problem("a record for each run", found, missing[0].folder(), missing[0].command())


def write_tables(
    label: str, expected: Sequence[RunKey] = (), results: str | Path | None = None
) -> list[Path]:
    """Writes ``results/<label>/tables/table_<n>_<dataset>.{csv,md,provenance.json}``.

    The same records give the same bytes. Returns the CSV files' paths.
    """
    records = find_records(label, results)
    require(records, expected)
    folder = results_root(results) / label / "tables"
    paths = []
    for dataset in sorted({r["run"]["dataset"] for r in records}):
        frame = benchmark_table(records, dataset)
        if frame.empty:
            continue
        name = f"table_{number_of(dataset) or 'other'}_{dataset}"
        plain = frame.drop(columns="records").round(2)
        texts = {
            f"{name}.csv": plain.to_csv(index=False, lineterminator="\n"),
            f"{name}.md": markdown(frame, dataset),
            f"{name}.provenance.json": _provenance(frame),
        }
        for file, text in texts.items():
            with atomic_path(folder / file) as temporary:
                temporary.write_text(text, encoding="utf-8")
        paths.append(folder / f"{name}.csv")
    return paths


def _provenance(frame: pd.DataFrame) -> str:
    cells = {f"{r.category}|{r.method}|{r.metric}": r.records for r in frame.itertuples()}
    return json.dumps(cells, indent=1) + "\n"


def markdown(frame: pd.DataFrame, dataset: str) -> str:
    """A table for readers: categories down, metrics across, with its caption."""
    number = number_of(dataset)
    real = bool(number) and dataset == TABLES[number][0]
    title = f"Table {'I' * number} ({dataset})" if number else dataset
    parts = [f"# {title}\n", _caption(frame, real)]
    for method, part in frame.groupby("method", sort=False):
        parts.append(f"## {METHODS.get(method, method)}, measured\n\n{_wide(part, real)}\n")
    if number and not real:
        where = TABLES[number][0]
        parts.append(
            f"## The paper's own table on {where}, for orientation only\n\n"
            "Published numbers, on other data and at another protocol: not to be compared cell by "
            f"cell.\n\n{_published_wide(number)}\n"
        )
    return "\n".join(parts)


def _caption(frame: pd.DataFrame, real: bool) -> str:
    lines = "; ".join(frame["protocol"].unique())
    text = f"In percent; a coin reaches 50 in AUROC. *Measured* here at `{lines}`, last step."
    if real:
        text += " *Published*: the paper's numbers. *Difference*: measured - published."
    return text + "\n"


def _wide(part: pd.DataFrame, real: bool) -> str:
    rows = {}
    for r in part.itertuples():
        name = METRIC_NAMES[r.metric]
        spread = "" if pd.isna(r.std) else f" ± {r.std:.1f}"
        row = rows.setdefault(r.category, {"runs": r.n})
        row[name] = "no exact masks" if pd.isna(r.measured) else f"{r.measured:.1f}{spread}"
        if real:
            row[f"{name}, published"] = "" if pd.isna(r.published) else f"{r.published:.1f}"
            row[f"{name}, difference"] = "" if pd.isna(r.difference) else f"{r.difference:+.1f}"
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("category").reset_index()
    frame = frame[[c for c in frame.columns if c != "runs"] + ["runs"]]
    return frame.to_markdown(index=False, disable_numparse=True)


def _published_wide(number: int) -> str:
    frame = read_published(number)
    frame = frame[frame["method"].isin(["DRAEM", "PatchCore", "POUTA"])]
    frame = frame.assign(
        name=frame["method"] + " " + frame["metric"].map(METRIC_NAMES).str.split(": ").str[1],
        text=frame["value"].map(lambda v: "–" if pd.isna(v) else f"{v:.1f}"),
    )
    order = [frame["category"].unique(), frame["name"].unique()]
    wide = frame.pivot(index="category", columns="name", values="text")
    wide = wide.reindex(index=order[0], columns=order[1]).reset_index()
    return wide.to_markdown(index=False, disable_numparse=True)
