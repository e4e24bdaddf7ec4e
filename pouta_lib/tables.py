"""Tables from run records: published, measured and difference, every cell traceable.

A published number is subtracted only from one that was measured on the same dataset and category.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from pouta_lib.errors import problem
from pouta_lib.paths import atomic_path, results_root
from pouta_lib.published import AVERAGE, PROTOCOL, read_published
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
METHODS = {  # run variant: the paper's name, in the order of the rows
    "pouta": "POUTA",
    "vanilla": "Vanilla",
    "base": "POUTA-base",
    "base+hsg": "POUTA-base+HSG",
    "base+mss": "POUTA-base+MSS",
}
COLUMNS = ["table", "dataset", "category", "method", "metric", "unit", "published", "measured"]
COLUMNS += ["std", "n", "difference", "protocol", "published_protocol"]


def protocol(records: Sequence[dict[str, Any]]) -> str:
    """How these records, all of one profile, were measured, in a few words."""
    p = records[0]["profile"]
    steps = sorted({r["steps"] for r in records})
    label = "~".join([p["name"], *p["overrides"]])
    words = [f"{label}: resized to {p['size_px']} px", f"width {p['width']}"]
    words += [f"{'-'.join(dict.fromkeys(map(str, (steps[0], steps[-1]))))} steps"]
    words += [f"{p['textures']} textures", "/".join(sorted({r["precision"] for r in records}))]
    words += [f"at most {p[k]} {k[4:]} images" for k in ("max_train", "max_test") if p.get(k)]
    return ", ".join(words)


def number_of(dataset: str) -> int | None:
    """The table a dataset belongs to; None for one that the paper does not have."""
    return next((k for k, (real, mini, _) in TABLES.items() if dataset in (real, mini)), None)


def benchmark_table(records: Sequence[dict[str, Any]], dataset: str) -> pd.DataFrame:
    """Table I, II or III of one dataset, in long form: one row a category, method and metric.

    ``measured`` is the mean over seeds, ``std`` their sample deviation (empty for one seed), ``n``
    their number, ``difference`` measured - published where both were measured on the same data.
    The average is over categories, its ``std`` that of the seeds' averages; a published average is
    set beside it only when the categories are the paper's. Only runs on all training images
    count here. The column ``records`` names the runs.

    *Units*: percent (``published``, ``measured``, ``std``) and percentage points (``difference``).
    *Raises* :class:`PoutaError` for records that differ in settings or data.
    """
    number = number_of(dataset)
    metrics = TABLES[number][2] if number else (CLS, *LOC)
    published = _published_values(number) if number and dataset == TABLES[number][0] else {}
    runs = [r for r in records if r["run"]["dataset"] == dataset and r["run"]["shots"] is None]
    _require_one_protocol(runs)
    rows = []
    for variant in _in_order({r["run"]["variant"] for r in runs}, list(METHODS)):
        by_category: dict[str, list[dict[str, Any]]] = {}
        for record in (r for r in runs if r["run"]["variant"] == variant):
            by_category.setdefault(record["run"]["category"], []).append(record)
        known = published_categories(number) if number else []
        whole = set(known) == set(by_category)
        for metric in metrics:
            names = _in_order(set(by_category), known)
            cells = {name: _cell(by_category[name], metric) for name in names}
            cells[AVERAGE] = _average([by_category[name] for name in names], metric)
            for name, (measured, std, n, chosen) in cells.items():
                value = published.get((name, variant, metric))
                value = None if name == AVERAGE and not whole else value
                difference = None if value is None or measured is None else measured - value
                row = [number, dataset, name, variant, metric, "%", value, measured, std, n]
                row += [difference, protocol(chosen), None if value is None else PROTOCOL]
                rows.append([*row, [source_of(r) for r in chosen]])
    frame = pd.DataFrame(rows, columns=[*COLUMNS, "records"])
    return frame.astype(dict.fromkeys(("published", "measured", "std", "difference"), float))


def published_categories(number: int) -> list[str]:
    """The categories of the paper's table, without its average."""
    names = read_published(number)["category"].unique()
    return [name for name in names if name != AVERAGE]


def _published_values(number: int) -> dict[tuple[str, str, str], float]:
    frame = read_published(number).dropna(subset="value")
    names = {name: variant for variant, name in METHODS.items()}
    frame = frame[frame["method"].isin(names)]
    return {(row.category, names[row.method], row.metric): row.value for row in frame.itertuples()}


def _in_order(names: set[str], known: list[str]) -> list[str]:
    """The known names first, as they are listed; then the others, Class2 before Class10."""

    def place(name: str):
        digits = [(int(w), "") if w.isdigit() else (-1, w) for w in re.split(r"(\d+)", name)]
        return known.index(name) if name in known else len(known), digits

    return sorted(names, key=place)


def _require_one_protocol(records: Sequence[dict[str, Any]]) -> None:
    """Numbers that stand in one table were made with the same settings, from the same data."""
    first: dict[Any, dict[str, Any]] = {}
    for record in records:
        run = record["run"]
        for what, key, value in (
            ("settings", run["dataset"], record["profile"]),
            ("data", (run["dataset"], run["category"]), record["data"]["manifest_hash"]),
        ):
            other, wanted = first.setdefault((what, key), (record, value))
            if value != wanted:
                wanted = f"runs with the same {what} in one table"
                found = f"{source_of(other)} and {source_of(record)} made with different {what}"
                todo = f"delete the older of the two and make it again: {key_of(record).command()}"
                raise problem(wanted, found, record["path"], todo)


def _cell(records: list[dict[str, Any]], metric: str):
    values = pd.Series([r["metrics"][metric] for r in records], dtype=float).dropna() * 100
    if values.empty:
        return None, None, 0, records
    return values.mean(), values.std() if len(values) > 1 else None, len(values), records


def _average(by_category: list[list[dict[str, Any]]], metric: str):
    """The mean over categories; its spread where each category has the same seeds."""
    records = [r for part in by_category for r in part]
    cells = [_cell(part, metric) for part in by_category]
    if any(cell[0] is None for cell in cells):
        return None, None, 0, records
    mean, fewest = sum(cell[0] for cell in cells) / len(cells), min(cell[2] for cell in cells)
    measured = [[r for r in part if r["metrics"][metric] is not None] for part in by_category]
    seeds = [sorted(r["run"]["seed"] for r in part) for part in measured]
    if fewest < 2 or any(s != seeds[0] for s in seeds):
        return mean, None, fewest, records
    flat = [r for part in measured for r in part]
    by_seed = pd.Series([r["metrics"][metric] * 100 for r in flat], dtype=float)
    by_seed = by_seed.groupby([r["run"]["seed"] for r in flat]).mean()
    return mean, by_seed.std(), fewest, records


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

    *Raises* :class:`PoutaError` for an expected run without a record, and where there is none.
    """
    records = find_records(label, results)
    require(records, expected)
    folder = results_root(results) / label / "tables"
    if not records:
        name, *overrides = label.split("~")
        words = [f"pouta study --profile {name}", *(f"--set {word}" for word in overrides)]
        raise problem("run records", "none", folder.parent, " ".join(words))
    paths = []
    for dataset in sorted({r["run"]["dataset"] for r in records}):
        frame = benchmark_table(records, dataset)
        if frame.empty:
            continue
        name = f"table_{number_of(dataset) or 'other'}_{dataset}"
        texts = {
            f"{name}.csv": _csv(frame),
            f"{name}.md": markdown(frame, records),
            f"{name}.provenance.json": _provenance(frame),
        }
        for file, text in texts.items():
            with atomic_path(folder / file) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
        paths.append(folder / f"{name}.csv")
    return paths


def _csv(frame: pd.DataFrame) -> str:
    plain = frame.drop(columns="records").round(2)
    numbers = plain.select_dtypes("float").columns
    plain[numbers] += 0.0  # no -0.00
    return plain.to_csv(index=False, lineterminator="\n", float_format="%.2f")


def _provenance(frame: pd.DataFrame) -> str:
    cells = {f"{r.category}|{r.method}|{r.metric}": r.records for r in frame.itertuples()}
    return json.dumps(cells, indent=1) + "\n"


def markdown(frame: pd.DataFrame, records: Sequence[dict[str, Any]]) -> str:
    """A table for readers: categories down, metrics across, with its caption."""
    dataset = frame["dataset"].iloc[0]
    number = number_of(dataset)
    real = bool(number) and dataset == TABLES[number][0]
    title = f"Table {'I' * number} ({dataset})" if number else dataset
    parts = [f"# {title}\n", _caption(frame, records, real)]
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


def _caption(frame: pd.DataFrame, records: Sequence[dict[str, Any]], real: bool) -> str:
    chance = "Chance is 50 in AUROC"
    if "pixel_ap" in set(frame["metric"]):
        chance += ", and in AP the share of defective pixels, which differs by category"
    averages = frame[frame["category"] == AVERAGE]
    lines = "; ".join(averages["protocol"].unique())
    used = {source for sources in averages["records"] for source in sources}
    commits = ", ".join(sorted({_commit(r) for r in records if source_of(r) in used}))
    text = f"In percent. {chance}. *Measured* by this repository at `{lines}`, weights of the last "
    text += f"step, commit {commits}; the mean over seeds, ± their deviation where there are two "
    text += "or more."
    if real:
        text += f" *Published* at `{PROTOCOL}`. *Difference*: measured - published, in points."
    return text + "\n"


def _commit(record: dict[str, Any]) -> str:
    changed = " with changes" if record["dirty"] else ""
    return f"{(record['commit'] or 'unknown')[:10]}{changed}"


def _wide(part: pd.DataFrame, real: bool) -> str:
    rows = {}
    for r in part.itertuples():
        name = METRIC_NAMES[r.metric]
        spread = "" if pd.isna(r.std) else f" ± {r.std:.1f}"
        row = rows.setdefault(r.category, {"seeds": r.n})
        undefined = "no exact masks" if r.metric in LOC else "one kind only"
        row[name] = undefined if pd.isna(r.measured) else f"{r.measured:.1f}{spread}"
        if real:
            row[f"{name}, published"] = "" if pd.isna(r.published) else f"{r.published:.1f}"
            points = "" if pd.isna(r.difference) else f"{round(r.difference, 1) + 0.0:+.1f}"
            row[f"{name}, difference"] = points
    frame = pd.DataFrame.from_dict(rows, orient="index").rename_axis("category").reset_index()
    frame = frame[[c for c in frame.columns if c != "seeds"] + ["seeds"]]
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
