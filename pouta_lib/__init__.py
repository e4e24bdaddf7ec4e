"""POUTA, *Produce Once, Utilize Twice for Anomaly Detection*: the method and its study.

The names that a newcomer needs are here, each taken from its module when it is asked for:

>>> from pouta_lib import load_profile
>>> load_profile("demo").size_px
96

So ``import pouta_lib`` imports nothing else, and changes nothing. What stands where, and what may
import what, is in README.md, "The house".
"""

from importlib import import_module
from typing import Any

PUBLIC = {  # name: the module it comes from, in the order of a run
    "PoutaError": "ground.errors",
    "load_profile": "ground.profiles",
    "Category": "data",
    "list_categories": "data",
    "load_category": "data",
    "load_textures": "data",
    "synthesize": "method.synthesis",
    "build_model": "method.models",
    "total_loss": "method.losses",
    "choose_compute": "method.device",
    "fit": "detector.fitting",
    "train": "method.training",
    "predict": "score.evaluation",
    "detect": "score.evaluation",
    "evaluate": "score.evaluation",
    "image_metrics": "score.metrics",
    "pixel_metrics": "score.metrics",
    "prepare_run": "study.run",
    "load_run_data": "study.run",
    "save_run": "study.run",
    "open_run": "study.run",
    "find_records": "study.records",
    "read_record": "study.records",
    "write_tables": "report.table_files",
    "read_published": "report.published",
    "choose_threshold": "detector",
    "choose_scale": "detector",
    "save_detector": "detector",
    "load_detector": "detector",
}
__all__ = list(PUBLIC)


def __getattr__(name: str) -> Any:
    """A public name, or ``__version__``: that of the installed package, from pyproject.toml."""
    if name == "__version__":
        return import_module("importlib.metadata").version("pouta-lib")
    if name in PUBLIC:
        return getattr(import_module(f"{__name__}.{PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
