"""An environment of its own for anomalib, beside the project's: 6 GB in build/peers.

    .venv/bin/python tools/peers_env.py

anomalib is no dependency of the library. With this environment `tests/method/test_draem.py` holds
DRAEM to anomalib's, and `pouta peers` runs methods that anomalib keeps. `make clean` leaves it.
"""

import subprocess
import sys

from pouta_lib.ground.paths import project_root

ANOMALIB = "anomalib==2.7.0"


def main() -> None:
    folder = project_root() / "build" / "peers"
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "--clear", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([*uv, "pip", "install", "--python", str(folder), ANOMALIB], check=True)


if __name__ == "__main__":
    main()
