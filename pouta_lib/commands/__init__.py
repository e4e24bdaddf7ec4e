"""The commands of ``pouta``, a family to a module: their words, and what they do."""
