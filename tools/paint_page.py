"""The book's page "Paint a defect": the trained networks of a study, run by the reader's browser.

Its sources are in ``book/``. onnxruntime-web comes by npm, in the version and with the digests of
``book/package-lock.json``, and is copied beside them: the page asks no other server.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from pouta_lib.deliver.painting import SHOWN_FIRST, gather
from pouta_lib.deliver.traced import TOLERANCE
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.study.records import Record, find_records

SOURCES = Path(__file__).resolve().parent.parent / "book"
RUNTIME = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
DATASET, SEED = "mini-mvtec", 0
FRAGMENT = """\
<link rel="stylesheet" href="{base}paint.css">
<div id="paint"><img src="{base}{picture}" width="900" alt="A part, the same part with a painted
scratch, and the map in which POUTA finds it">
<p>This is a picture of it. It can be painted on where JavaScript runs and the book comes from a web
server:
<code>python -m http.server --directory build/book/site</code></p></div>
<script type="module" src="{base}start.js"></script>"""
WELCOME = """\
**[Paint a defect](paint.md)**: scratch a part yourself, and trained networks say where.

"""
CONTENTS = "```{toctree}\n:hidden:\n:caption: To touch\n\npaint\n```\n\n"


def add_page(source: Path, results: Path, npm: Path) -> list[str]:
    """Adds the page to what Sphinx reads in `source`, or says why not.

    `results` is a profile's folder with the weights of its runs; in `npm` packages are kept.
    """
    folder = source / "_static" / "paint"
    try:
        build(folder, with_weights(results), npm)
    except PoutaError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return [f"without the page 'Paint a defect': {error}"]
    data = json.loads((folder / "data.json").read_text("utf-8"))
    models = [model for part in data["parts"] for model in part["models"]]
    differs = [value for m in models for n, value in m["differs_by"].items() if "F_C" not in n]
    size = sum((folder / model["file"]).stat().st_size for model in models)
    words = {
        "painting": FRAGMENT.format(base="_static/paint/", picture=picture_of(data)),
        "networks": f"{len(models)} for {len(data['parts'])} parts",
        "megabytes": f"{size / 1e6:.0f}",
        "differs": f"{max(differs):.1g}",
        "tolerance": f"{TOLERANCE:g}",
    }
    write_filled("paint.md", source / "paint.md", words)
    index = source / "index.md"
    text = index.read_text(encoding="utf-8")
    text = text.replace("## Two commands", f"{WELCOME}## Two commands", 1)
    text = text.replace("```{toctree}", f"{CONTENTS}```{{toctree}}", 1)
    index.write_text(text, encoding="utf-8")
    return []


def build(folder: Path, records: list[Record], npm: Path) -> None:
    """The page alone: networks, data, sources and the runtime, in `folder`.

    *Raises* :class:`PoutaError` where weights, npm, or the extra ``export`` are missing.
    """
    folder.mkdir(parents=True)
    fetch_runtime(npm, folder)
    data = gather(records, folder)
    (folder / "data.json").write_text(json.dumps(data), encoding="utf-8")
    for path in [*SOURCES.glob("*.js"), *SOURCES.glob("*.css")]:
        shutil.copyfile(path, folder / path.name)
    painting = FRAGMENT.format(base="", picture=picture_of(data))
    write_filled("alone.html", folder / "index.html", {"painting": painting})


def with_weights(results: Path) -> list[Record]:
    """The runs of the page's dataset and seed whose weights lie beside their records."""
    found = find_records(results.name, results.parent, dataset=DATASET, seed=SEED)
    return [record for record in found if (record.path / "model.safetensors").is_file()]


def picture_of(data: dict[str, Any]) -> str:
    """The static picture of the part that is shown first."""
    return f"{data['parts'][0]['name']}-{SHOWN_FIRST}.png"


def fetch_runtime(npm: Path, folder: Path) -> None:
    """Copies onnxruntime-web's files into `folder`; fetched once for a lock.

    *Raises* :class:`PoutaError` without npm, or where it fails.
    """
    lock = SOURCES / "package-lock.json"
    there = npm / "node_modules" / "onnxruntime-web" / "dist"
    kept = npm / "package-lock.json"
    if not there.is_dir() or not kept.is_file() or kept.read_bytes() != lock.read_bytes():
        program = shutil.which("npm")
        if not program:
            raise problem("npm", "none", "PATH", "install Node.js, which brings it")
        npm.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", lock.name):
            shutil.copyfile(SOURCES / name, npm / name)
        words = [program, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(words, cwd=npm, capture_output=True, text=True, check=False)
        if done.returncode:
            shutil.rmtree(npm)
            told = done.stderr.strip().splitlines() or ["nothing"]
            raise problem("npm ci to work", told[-1], SOURCES, "see what it says there")
    for name in RUNTIME:
        shutil.copyfile(there / name, folder / name)


def write_filled(name: str, path: Path, words: dict[str, str]) -> None:
    """A source of ``book/`` with its ``{{words}}`` filled in."""
    text = (SOURCES / name).read_text(encoding="utf-8")
    for word, value in words.items():
        text = text.replace("{{" + word + "}}", value)
    path.write_text(text, encoding="utf-8")
