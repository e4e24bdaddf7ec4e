"""One notebook executed by papermill, and one run by its method's notebook."""

import base64
import io
import os
import shutil
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.locks import only_one
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.paths import project_root, sweep, temporary_beside
from pouta_lib.study.records import (
    in_percent,
    is_whole,
    lock_path,
    partial_folder,
    read_record,
    remove_partial,
)
from pouta_lib.study.run import Run, prepare_run
from pouta_lib.study.sources import sources_of

LARGE_PICTURE = 40_000  # characters of base64
# Of the kernel: pictures are not packed well before they are made small; no warnings of its own,
# about its sockets (a cell's still appear).
PICTURES = {"bbox_inches": "tight", "pil_kwargs": {"compress_level": 1}}
KERNEL = [f"--InlineBackend.print_figure_kwargs={PICTURES}", "--log-level=40"]


def execute_notebook(source: Path, target: Path, parameters: dict[str, Any]) -> None:
    """Executes a notebook with papermill; the executed copy appears at `target` when it is whole.

    Where a cell fails, the copy up to that cell is kept as ``<target>.failed.ipynb``.

    *Raises* :class:`PoutaError` for a file that is no notebook, and with the failing cell's error.
    """
    # jsonschema would build a grammar of web addresses, a second's work that nobody here asks for
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # None: not to be found
    import nbformat
    import papermill
    from nbclient.exceptions import DeadKernelError

    try:
        nbformat.read(source, as_version=4)
    except Exception as error:  # of many kinds: it reads what it is given as if it were one
        todo = "name a notebook, such as notebooks/10_benchmarks.ipynb"
        raise problem("a notebook", f"none ({type(error).__name__})", source, todo) from error
    os.environ.setdefault("POUTA_PROGRESS", "lines")
    failed = target.with_suffix(".failed.ipynb")
    folder = temporary_beside(target)
    partial = folder / target.name
    try:
        folder.mkdir(parents=True)
        papermill.execute_notebook(
            _no_template(source),
            _no_template(partial),
            parameters,
            cwd=source.parent,
            kernel_name="python3",
            language="python",  # where the notebook does not say so
            progress_bar=False,
            request_save_on_cell_execute=False,  # the copy counts when it is whole
            stderr_file=sys.stderr,
            extra_arguments=KERNEL,
            iopub_timeout=60,  # seconds for a picture to arrive on a machine that is busy
            # the executed copy is complete by then: a farewell would take two seconds
            shutdown_kernel="immediate",
        )
        _tidy(partial)
        partial.replace(target)
        failed.unlink(missing_ok=True)
    except papermill.PapermillExecutionError as error:
        with suppress(FileNotFoundError):
            partial.replace(failed)
        raise PoutaError(
            f"{source.name} failed in cell {error.exec_count}: {error.ename}: {error.evalue}\n"
            f"  where: {failed}\n  to do: open this copy; the failing cell is marked"
        ) from error
    except DeadKernelError as error:
        raise problem(
            f"the kernel of {source.name} to live until the end",
            "it was stopped, or ended by the system, which does so where memory runs out",
            target,
            "give the command again: it goes on from the checkpoint",
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _no_template(path: Path) -> str:
    """A path as papermill takes it, which fills in what stands in braces."""
    return str(path).replace("{", "{{").replace("}", "}}")


def _tidy(path: Path) -> None:
    """Takes out what lives in a kernel or on this machine alone, and makes pictures small.

    Of a widget the picture beside it is left; a bar has none. Photographs as PNG are what makes an
    executed notebook large; as JPEG they take a tenth. Lines stay as they are, since JPEG gains
    little there.
    """
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("widgets", None)  # what they showed; they live in a kernel alone
    for name in ("input_path", "output_path"):
        notebook.metadata.papermill.pop(name, None)
    for cell in notebook.cells:
        if "outputs" in cell:
            cell.outputs = [output for output in cell.outputs if _is_still(output)]
        for output in cell.get("outputs", []):
            if output.output_type == "stream":  # a warning names the file it comes from
                for folder in (sys.prefix, str(project_root()), tempfile.gettempdir()):
                    output.text = output.text.replace(folder + os.sep, "")
            picture = output.get("data", {}).get("image/png", "")
            if len(picture) > LARGE_PICTURE and len(jpeg := _as_jpeg(picture)) < len(picture) / 2:
                output.data.pop("image/png")
                output.data["image/jpeg"] = jpeg
    nbformat.write(notebook, path)


def _is_still(output: Any) -> bool:
    """Whether anything is left of an output without its widget."""
    data = output.get("data", {})
    widget = data.pop("application/vnd.jupyter.widget-view+json", None)
    return not widget or "image/png" in data or "image/jpeg" in data


def _as_jpeg(png: str) -> str:
    from PIL import Image

    jpeg = io.BytesIO()
    Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").save(jpeg, "JPEG", quality=75)
    return base64.b64encode(jpeg.getvalue()).decode()


def execute_run(**parameters: Any) -> Path:
    """One run by its method's notebook; its folder, with the executed copy in it.

    Where another process makes the same run, this one waits, and takes what that has made if it
    is what it would have made itself.
    """
    run = prepare_run(**parameters)
    key = run.key
    source = project_root() / "notebooks" / f"{find_method(key.variant).notebook}.ipynb"
    with only_one(lock_path(key), f"run {key.name}", wait=True) as lock:
        if lock.waited_since is None or not _made_since(lock.waited_since, run, source):
            sweep(key.folder().parent)
            copy = partial_folder(key) / "train.ipynb"
            execute_notebook(source, copy, parameters)
            copy.replace(key.folder() / "train.ipynb")
            remove_partial(key)
    found = in_percent(read_record(key.folder()).metrics)
    print(f"{key.dataset}/{key.category} {key.variant}: {found}", flush=True)
    return key.folder()


def _made_since(began: float, run: Run, notebook: Path) -> bool:
    """Whether a run has been made by a process that began then, with today's settings and code."""
    sources = [notebook, *sources_of(notebook, project_root())]
    return (
        is_whole(run.key)
        and (run.key.folder() / "train.ipynb").stat().st_mtime >= began
        and max(path.stat().st_mtime for path in sources) < began
        and read_record(run.key.folder()).profile == run.profile
    )
