"""Methods that anomalib keeps, in an environment of its own: anomalib is no dependency."""

from pathlib import Path

from pouta_lib.ground.paths import project_root


def peers_python() -> Path | None:
    """The interpreter of the environment that ``tools/peers_env.py`` makes; None without it."""
    folder = project_root() / "build" / "peers"
    for path in (folder / "bin" / "python", folder / "Scripts" / "python.exe"):
        if path.is_file():
            return path
    return None
