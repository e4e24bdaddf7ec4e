"""How good a detector is that was made without any defect: scored on test images it never saw.

    pouta fit $POUTA_DATA/mvtec/transistor --output out/mvtec/transistor --minutes 10
    python benchmarks/photographs.py out mvtec/transistor ...

One row per category: the method that was chosen, its image AUROC on the test images, how many good
and how many defective ones it refuses, and what was expected from good photographs alone.
"""

import argparse
from pathlib import Path

from pouta_lib.data import load_category
from pouta_lib.detector import load_detector
from pouta_lib.score.metrics import image_metrics


def row(out: Path, name: str) -> str:
    """A Markdown row on one ``dataset/category``, whose detector is in ``out/dataset/category``."""
    dataset, category = name.split("/")
    detector = load_detector(out / name)
    data = load_category(dataset, category, detector.profile.size_px, max_train=1, cache=False)
    _, scores = detector.look_at(data.test)
    auroc = image_metrics(data.labels, scores)["image_auroc"]
    told_apart = "–" if auroc is None else f"{100 * auroc:.1f}"  # none: images of one kind alone
    refused, bad = scores > detector.threshold, data.labels
    cells = [name, detector.method, f"{detector.profile.size_px} px", told_apart]
    cells += [f"{refused[~bad].sum()} of {(~bad).sum()}", f"{refused[bad].sum()} of {bad.sum()}"]
    if detector.fitted is not None:
        k, n = map(sum, zip(*detector.fitted.found.values()))
        cells += [
            f"{k} of {n}",
            "; ".join(f"{t.method} {t.told_apart}" for t in detector.fitted.tried),
        ]
    return f"| {' | '.join([*cells, detector.how])} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="+", metavar="DATASET/CATEGORY")
    options = parser.parse_args()
    for name in options.names:
        print(row(options.out, name), flush=True)
