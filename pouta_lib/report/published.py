"""The paper's own numbers."""

import pandas as pd

from pouta_lib.ground.errors import problem
from pouta_lib.ground.paths import project_root

COLUMNS = ["table", "dataset", "category", "method", "metric", "value", "note"]


def read_published(table: int) -> pd.DataFrame:
    """Table I to VI (1 to 6) of the paper, one value per row; missing where the paper has a dash.

    Categories are called as in the datasets' folders ("metal nut" is ``metal_nut``), the printed
    averages ``average``. ``note``: in Table III whether the method is supervised, in Table IV the
    number of shots (``2-shot``), in Table V the method's id in this library.

    *Units*: percent; giga multiply-adds, millions and milliseconds in Table VI.
    *Raises* :class:`PoutaError` for another number and for a file that is not as it was.
    """
    path = project_root() / "published" / f"table_{table}.csv"
    if not path.is_file():
        raise problem("a table from 1 to 6", str(table), path.parent, "choose one of them")
    frame = pd.read_csv(path, keep_default_na=False, na_values={"value": [""]})
    if list(frame.columns) != COLUMNS:
        raise problem(f"columns {COLUMNS}", f"{list(frame.columns)}", path, "restore the file")
    return frame
