"""Datasets in their owners' layouts, read into one in-memory form."""

from pouta_lib.data.category import Category
from pouta_lib.data.loading import list_categories, load_category
from pouta_lib.data.registry import DATASETS
from pouta_lib.data.textures import load_textures

__all__ = [
    "DATASETS",
    "Category",
    "list_categories",
    "load_category",
    "load_textures",
]
