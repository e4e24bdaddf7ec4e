"""Writes docs/ERRORS.md from the wrong inputs of tests/wrong_*.py: `make errors`."""

import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY / "tests"))


def main() -> None:
    """Runs every one of them, and writes what was said."""
    from wrong import page

    (REPOSITORY / "docs" / "ERRORS.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
