"""The embedded datasets: small, drawn, and laid out on disk as MVTec AD, VisA and DAGM are.

The defects are structural: scratches, cracks, holes, missing parts. None is drawn the way the
training's synthetic anomalies are, else the study would test itself. The masks are exact: each
defective picture is drawn twice, with and without its defect, before the camera's light and grain.
"""

import shutil
from pathlib import Path

from pouta_lib.data.mini.plan import MINI_KINDS, SCENES
from pouta_lib.data.mini.write import DATASETS, VERSION, write_mini
from pouta_lib.ground.paths import data_root, sweep, temporary_beside

__all__ = ["MINI_KINDS", "SCENES", "ensure_mini", "generate_mini"]

MARKER = "VERSION"


def ensure_mini(root: str | Path | None = None) -> None:
    """Draws the three datasets into `root` where they are missing or of an older version.

    Datasets of this version stay, with whatever seed and share they were drawn.
    """
    root = data_root(root)
    if not all((_mark(root / name) or "").startswith(f"version {VERSION},") for name in DATASETS):
        generate_mini(root)


def generate_mini(root: str | Path, seed: int = 0, *, share: float = 1.0, workers: int = 2) -> None:
    """Draws mini-mvtec, mini-visa and mini-dagm into `root`, each put in place in one move.

    `share` below 1 draws fewer images of each kind. The files are the same for a seed, whatever
    `workers` is. Where two processes draw at once, the one that is later keeps what it finds.
    """
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    sweep(root, deep=False)
    temporary = temporary_beside(root / "mini")  # of this process alone
    try:
        temporary.mkdir()
        write_mini(temporary, seed, share, workers)
        for name in DATASETS:
            (temporary / name / MARKER).write_text(_marking(seed, share) + "\n", encoding="ascii")
            _move_in(temporary / name, root / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _marking(seed: int, share: float) -> str:
    """What a dataset's marker says: another version, seed or share is another dataset."""
    return f"version {VERSION}, seed {seed}, share {share}"


def _mark(folder: Path) -> str | None:
    path = folder / MARKER
    return path.read_text(encoding="ascii").strip() if path.is_file() else None


def _move_in(source: Path, target: Path) -> None:
    """Renames `source` to `target`; another version makes room, an equal one stays."""
    mark = _mark(source)
    if _mark(target) == mark:
        return
    aside = source.with_name(f"{source.name}-old")  # goes with the temporary folder
    try:
        if target.exists():
            target.rename(aside)
            if _mark(aside) == mark:  # another process was just there: keep what it made
                source = aside
        source.rename(target)
    except OSError:  # another process is at the same place, and as far
        if _mark(target) != mark:
            raise
