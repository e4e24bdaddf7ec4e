"""The paper's own numbers, and whether they agree with one another."""

import pandas as pd

from pouta_lib.errors import problem
from pouta_lib.paths import project_root

COLUMNS = ["table", "dataset", "category", "method", "metric", "value", "note"]
AVERAGE = "average"
PRINTED_DECIMALS = 1


def read_published(table: int) -> pd.DataFrame:
    """Table I to VI (1 to 6) of the paper, one value a row; missing where the paper has a dash.

    *Units*: percent; giga multiply-adds, millions and milliseconds in Table VI.
    """
    path = project_root() / "published" / f"table_{table}.csv"
    if not path.is_file():
        raise problem("a table from 1 to 6", str(table), path.parent, "choose one of them")
    frame = pd.read_csv(path, keep_default_na=False, na_values={"value": [""]})
    if list(frame.columns) != COLUMNS:
        raise problem(f"columns {COLUMNS}", f"{list(frame.columns)}", path, "restore the file")
    return frame


def average_report() -> pd.DataFrame:
    """Each average that Tables I to III print, beside the mean of the rows it belongs to.

    ``agrees``: the printed value is the mean, rounded up or down to one decimal. Rows in tenths
    can themselves be off by half a tenth, and so can their mean; an average outside that is a
    disagreement within the paper. Averages whose rows the paper does not print are left out.
    """
    rows = []
    for table in (1, 2, 3):
        frame = read_published(table)
        for (method, metric), part in frame.groupby(["method", "metric"], sort=False):
            single = part[part["category"] != AVERAGE]["value"]
            printed = part[part["category"] == AVERAGE]["value"].squeeze()
            if single.isna().any() or pd.isna(printed):
                continue
            mean = single.mean()
            agrees = abs(mean - printed) < 10**-PRINTED_DECIMALS
            rows.append([table, method, metric, printed, round(mean, 3), agrees])
    return pd.DataFrame(rows, columns=["table", "method", "metric", "printed", "mean", "agrees"])
