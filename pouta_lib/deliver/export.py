"""A detector as an ONNX or OpenVINO file, which is used without this library and without torch."""

import copy
import io
import json
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pouta_lib.data.blank import least_contrast
from pouta_lib.detector import Detector
from pouta_lib.detector.photos import least_peak
from pouta_lib.ground.errors import in_a_line, problem
from pouta_lib.ground.methods import find_method, resolve
from pouta_lib.ground.outputs import own_files, replaceable
from pouta_lib.ground.validation import write_json
from pouta_lib.method.device import Compute
from pouta_lib.score.evaluation import detect

NOTE = "deployed.json"
KIND = "export"  # in the folder's manifest
KEY = "pouta"  # under which the note stands in the file itself
OPSET = 17
MOST_BATCH = 256  # the file is tried with as many
# How far maps and scores may be from the library's own in float32, as a share of the largest
# value where that is above 1, as distances are.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}
Found = Sequence[np.ndarray]  # map and score
Look = Callable[[np.ndarray], Found]  # at pixels


@dataclass(frozen=True, kw_only=True)
class Form:
    """In what form a detector is written."""

    format: str = "onnx"
    batch: int | None = None  # images per call; None: as many as are handed over
    half: bool = False
    floats: bool = False  # takes (B, 3, S, S) float32 in [0, 1], else (B, S, S, 3) uint8

    @property
    def precision(self) -> str:
        """Of the weights."""
        return "fp16" if self.half else "fp32"


def export_detector(
    detector: Detector, folder: str | Path, form: Form | None = None
) -> tuple[Path, dict[str, float]]:
    """Writes `detector` in this form: the file's path, and how far map and score are from ours.

    The file holds the whole way from pixels to map and score. :data:`NOTE` beside it, and the
    file's own metadata, have the threshold and the settings; docs/DEPLOYED.md says how they are
    used. It is kept only after it was run beside the library on random images. Of what lies in the
    folder, only an earlier export makes way.

    *Raises* :class:`PoutaError` where the extra ``export`` is not installed, for a form that there
    is not, a folder with other files, a network that cannot be written, and a file that differs by
    more than :data:`TOLERANCE`.
    """
    form = form or Form()
    writer = _checked(detector, form)
    replaceable(folder, KIND, (*writer.files, NOTE))
    method, side = find_method(detector.method), detector.profile.size_px
    model, profile = copy.deepcopy(detector.model).cpu().eval(), detector.profile
    shape = (form.batch or 3, 3, side, side)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    in_full = Compute(torch.device("cpu"), "fp32")
    expected = detect(model, images, profile, in_full, detector.method)
    network = _FromPixels(resolve(method.deployed)(model, profile), form.floats).eval()
    pixels = np.moveaxis(images, 1, -1).copy()
    if form.floats:
        pixels = images.astype(np.float32) / 255
    if form.half and writer.traces_half:
        network.halve()
    traced = torch.from_numpy(pixels[: form.batch or 2])  # another number than is compared
    content = _traced(network, traced, form, detector.method)
    note = _note(detector, form)
    with own_files(folder, KIND, NOTE) as temporary:
        path = writer.write(content, json.dumps(note), temporary, form)
        differs_by = _compared(open_exported(path)(pixels), expected, form, detector.method)
        write_json(temporary / NOTE, note | {"differs_by": differs_by})
    return Path(folder) / path.name, differs_by


def open_exported(path: str | Path, precision: str = "f32", threads: int = 0) -> Look:
    """An exported file as a function from pixels to map and score, on the CPU.

    `precision` is what OpenVINO computes in, ``f32`` or ``bf16``; 0 threads are as many as there
    are cores.

    *Raises* :class:`PoutaError` for a file of another name, and where the package that runs it is
    not installed.
    """
    path = Path(path)
    writer = next((w for w in _WRITERS.values() if path.name in w.files), None)
    if writer is None:
        names = [name for w in _WRITERS.values() for name in w.files]
        raise problem(f"a file called one of {names}", path.name, path, "name one of them")
    return writer.open(path, precision, threads)


class _FromPixels(nn.Module):
    """From the pixels that a program has, to map and score."""

    def __init__(self, network: nn.Module, floats: bool) -> None:
        super().__init__()
        self.network, self.floats, self.half_inside = network, floats, False

    def halve(self) -> None:
        """Computes in half precision from here on; what is handed over stays what it was."""
        self.network.half()
        self.half_inside = True

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        image = pixels if self.floats else pixels.permute(0, 3, 1, 2).float() / 255
        found, score = self.network(image.half() if self.half_inside else image)
        return found.float(), score.float()


def as_onnx(
    network: nn.Module, image: Tensor, outputs: Sequence[str], *, any_batch: bool = False
) -> bytes:
    """A network as ONNX: traced with `image`, its input, or with as many images as are handed over.

    *Source*: our choice. torch's older exporter (``dynamo=False``) writes the same maps as the
    newer one, in 1 s instead of 10 to 20 s, and needs no package more.
    """
    names = ["image", *outputs]
    content = io.BytesIO()
    with warnings.catch_warnings():
        # that this exporter is the older one, and where shapes are constants: both are known
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (image,),
            content,  # type: ignore[arg-type]  # a file that is open does as well
            opset_version=OPSET,
            dynamo=False,
            input_names=names[:1],
            output_names=names[1:],
            dynamic_axes={name: {0: "batch"} for name in names} if any_batch else None,
        )
    return content.getvalue()


def _traced(network: nn.Module, pixels: Tensor, form: Form, method: str) -> bytes:
    try:
        return as_onnx(network, pixels, ("map", "score"), any_batch=form.batch is None)
    except Exception as error:  # torch's own errors are of many kinds
        found = f"one that torch cannot write down ({in_a_line(error)})"
        todo = "give it a deployed(model, profile) in pouta_lib/ground/methods.py"
        raise problem("a network of operations that ONNX has", found, method, todo) from error


def _write_onnx(content: bytes, note: str, folder: Path, form: Form) -> Path:
    onnx = package("onnx")
    model = onnx.load_from_string(content)
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, note
    onnx.checker.check_model(model)
    path = folder / "detector.onnx"
    onnx.save(model, path)
    return path


def _open_onnx(path: Path, precision: str, threads: int) -> Look:
    onnxruntime = package("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run(None, {"image": pixels})


def _write_openvino(content: bytes, note: str, folder: Path, form: Form) -> Path:
    openvino = package("openvino")
    model = openvino.Core().read_model(content)
    model.set_rt_info(note, [KEY])
    path = folder / "detector.xml"
    openvino.save_model(model, path, compress_to_fp16=form.half)
    return path


def _open_openvino(path: Path, precision: str, threads: int) -> Look:
    options = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads}
    compiled = package("openvino").Core().compile_model(path, "CPU", options)
    return lambda pixels: list(compiled(pixels).values())


class _Writer(NamedTuple):
    files: tuple[str, ...]
    packages: tuple[str, ...]
    traces_half: bool  # half precision is in the traced network, not in how it is stored
    write: Callable[[bytes, str, Path, Form], Path]
    open: Callable[[Path, str, int], Look]


_WRITERS = {
    "onnx": _Writer(("detector.onnx",), ("onnx", "onnxruntime"), True, _write_onnx, _open_onnx),
    "openvino": _Writer(
        ("detector.xml", "detector.bin"), ("openvino",), False, _write_openvino, _open_openvino
    ),
}
FORMATS = tuple(_WRITERS)


def package(name: str) -> ModuleType:
    """A package of the extra `export`. *Raises* :class:`PoutaError` where it is absent."""
    try:
        return import_module(name)
    except ImportError as error:
        todo = "pip install 'pouta-lib[export]'"
        raise problem(f"the package {name}", str(error), "pouta export", todo) from error


def _checked(detector: Detector, form: Form) -> _Writer:
    """How to write this form, where nothing stands against it."""
    if form.format not in _WRITERS:
        raise problem(f"a format out of {list(FORMATS)}", repr(form.format), "export", "choose one")
    if form.batch is not None and not 1 <= form.batch <= MOST_BATCH:
        todo = "say how many images per call, or leave it out: any number then"
        raise problem(f"a batch of 1 to {MOST_BATCH}", str(form.batch), "export", todo)
    named = (detector.method, *find_method(detector.method).members)
    if form.half and "fp32" in {find_method(name).precision for name in named}:
        found = f"{detector.method}, whose distances need float32"
        raise problem("a method for half precision", found, "export", "leave --half out")
    writer = _WRITERS[form.format]
    for name in writer.packages:
        package(name)
    return writer


def _note(detector: Detector, form: Form) -> dict[str, Any]:
    method, side = find_method(detector.method), detector.profile.size_px
    batch = form.batch or "batch"
    shape = [batch, 3, side, side] if form.floats else [batch, side, side, 3]
    return {
        "format_version": 1,
        "method": detector.method,
        "title": method.title,
        "size_px": side,
        "image": {
            "shape": shape,
            "type": "float32" if form.floats else "uint8",
            "values": "RGB, 0 to 1" if form.floats else "RGB, 0 to 255",
            "resize": "bilinear with anti-aliasing to size_px x size_px, no crop",
        },
        "white": (1 << detector.bits) - 1,  # becomes 255, in files of more than 8 bits ...
        "least": least_peak(detector.bits, detector.darkest),  # ... whose highest value is this
        "least_contrast": least_contrast(detector.contrast),  # of what may be called good
        "map": {"shape": [batch, side, side], "shown_between": list(detector.scale)},
        "threshold": detector.threshold,
        "defective": "score > threshold",
        "how": detector.how,
        "precision": form.precision,
        "profile": detector.profile.to_dict(),
    }


def _compared(found: Found, expected: Found, form: Form, method: str) -> dict[str, float]:
    """The largest difference of map and of score, which are held to the tolerance."""
    differs_by = {}
    for name, ours, theirs in zip(("map", "score"), expected, found, strict=True):
        bound = TOLERANCE[form.precision] * max(1.0, float(np.abs(ours).max()))
        difference = float(np.abs(np.asarray(theirs, np.float64) - ours).max())
        if not difference <= bound:
            todo = "export in fp32" if form.half else "update the packages of the extra `export`"
            wanted = f"a {name} within {bound:.2g} of the library's"
            raise problem(wanted, f"{difference:.2g}", f"{method} as {form.format}", todo)
        differs_by[name] = difference
    return differs_by
