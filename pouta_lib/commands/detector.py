"""What makes a detector, and what uses one."""

import argparse
import errno
import json
import sys

from pouta_lib.commands.arguments import RESUMED, Commands, add_override, path_of
from pouta_lib.ground.errors import problem, shown


def add(commands: Commands) -> None:
    """Adds them to the command line."""
    for add_one in (_add_fit, _add_predict, _add_report, _add_app, _add_export):
        add_one(commands)


def _add_fit(commands: Commands) -> None:
    fit = commands.add_parser("fit", help="photographs of good parts to a detector")
    fit.add_argument("photos", type=path_of, help="a folder of photographs of good parts")
    fit.add_argument("--output", type=path_of, required=True, help="the detector's folder")
    fit.add_argument("--method", default="auto", help="a method's id; default: the best of them")
    fit.add_argument("--minutes", type=float, default=10, help="for choice and training (10)")
    fit.add_argument(
        "--false-alarms", type=float, default=0.05, metavar="SHARE", help="of good parts (0.05)"
    )
    fit.add_argument("--replace", action="store_true", help="an earlier detector in --output")
    fit.add_argument("--seed", type=int, default=0)
    fit.add_argument("--profile", default="", help="default: $POUTA_PROFILE, else real-cpu")
    add_override(fit)
    fit.add_argument("--data-root", help="where DTD's textures may be; default: $POUTA_DATA, data/")
    fit.set_defaults(command=_fit, resumed=RESUMED)


def _add_predict(commands: Commands) -> None:
    predict = commands.add_parser(
        "predict",
        help="score a folder of images with a saved detector",
        epilog="Exit status: 0: all was read; 1: some images could not be read, or were passed "
        "over (the rest is done); 2: wrong usage, nothing was written.",
    )
    predict.add_argument("detector", type=path_of, help="the folder that `pouta fit` saved")
    predict.add_argument("images", type=path_of, help="a folder of images")
    predict.add_argument(
        "--output", type=path_of, required=True, help="for scores.csv and overlays"
    )
    predict.add_argument("--maps", action="store_true", help="keep the maps, as TIFFs of floats")
    predict.add_argument("--json", action="store_true", help="the answer as JSON on stdout as well")
    predict.set_defaults(command=_predict)


def _add_report(commands: Commands) -> None:
    report = commands.add_parser("report", help="make an answer of predict a page to look through")
    report.add_argument("answer", type=path_of, help="the folder that predict wrote")
    report.add_argument("--output", type=path_of, help="default: report.html in it")
    report.add_argument("--images", type=path_of, help="the photographs, to be shown as well")
    report.add_argument("--good", type=path_of, help="another answer: of parts known to be good")
    report.add_argument("--labels", type=path_of, help="a CSV: file, label (good, or the defect)")
    report.add_argument(
        "--masks", type=path_of, help="a folder: what has a mask there is defective"
    )
    report.set_defaults(command=_report)


def _add_app(commands: Commands) -> None:
    app = commands.add_parser("app", help="the same in the browser: drop photographs into a page")
    app.add_argument(
        "--port", type=int, default=0, help="on this machine alone; default: a free one"
    )
    app.add_argument("--no-browser", action="store_true", help="only say the address")
    app.set_defaults(command=_app)


def _add_export(commands: Commands) -> None:
    export = commands.add_parser("export", help="write a saved detector for use without torch")
    export.add_argument("detector", type=path_of, help="the folder that `pouta fit` saved")
    export.add_argument("--output", type=path_of, required=True, help="a folder")
    export.add_argument("--format", default="onnx", help="onnx or openvino; default: onnx")
    export.add_argument("--batch", type=int, help="images per call; default: any number")
    export.add_argument("--half", action="store_true", help="weights in half precision")
    export.add_argument(
        "--floats", action="store_true", help="takes channels first, 0 to 1; default: uint8 pixels"
    )
    export.set_defaults(command=_export)


def _fit(options: argparse.Namespace) -> None:
    from pouta_lib.detector.fitting import fit
    from pouta_lib.detector.photos import folders_of_good
    from pouta_lib.detector.saved import KIND
    from pouta_lib.detector.telling import told
    from pouta_lib.ground.outputs import refuse_overlap, replaceable
    from pouta_lib.ground.profiles import parse_overrides

    for folder in (options.photos, *folders_of_good(options.photos)):  # which may be links
        refuse_overlap(options.output, {"the photographs": folder})
    output = replaceable(options.output, KIND, replace=options.replace)
    detector = fit(
        options.photos,
        method=options.method,
        minutes=options.minutes,
        false_alarm_rate=options.false_alarms,
        profile=options.profile,
        overrides=parse_overrides(options.overrides),
        seed=options.seed,
        partial=output.with_name(f"{output.name}.partial"),
        output=output,
        replace=options.replace,
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )
    print(told(detector))
    print(f"detector: {shown(options.output)}")


def _predict(options: argparse.Namespace) -> int:
    """0: all was read; 1: some images were not, or were passed over; 2: nothing was written."""
    from pouta_lib.detector import load_detector, predict_folder
    from pouta_lib.ground.outputs import refuse_overlap

    refuse_overlap(options.output, {"the detector": options.detector})
    detector = load_detector(options.detector)
    table, left_out = predict_folder(detector, options.images, options.output, maps=options.maps)
    counts = table["verdict"].value_counts()
    scored, defective = counts.drop("not read", errors="ignore").sum(), counts.get("defective", 0)
    if options.json:
        told = {"method": detector.method, "threshold": detector.threshold, "how": detector.how}
        told |= {"images": int(scored), "defective": int(defective)}
        rows = table.astype(object).where(table.notna(), None).to_dict("records")
        told |= {"left_out": list(map(str, left_out)), "scores": rows}
        print(json.dumps(told, indent=1))
    else:
        print(f"{scored} images, {defective} called defective; threshold {detector.threshold:.4g}")
        print(f"({detector.how})")
        print(f"scores and overlays: {shown(options.output)}")
        print("a page to look through them: pouta report, with that folder")
    for reason in left_out:
        print(f"pouta: left out: {reason}", file=sys.stderr)
    return 1 if left_out else 0


def _report(options: argparse.Namespace) -> None:
    from pouta_lib.deliver.page import write_page

    names = ("images", "good", "labels", "masks")
    known = {name: getattr(options, name) for name in names}
    print(write_page(options.answer, options.output, **known))


def _app(options: argparse.Namespace) -> None:
    try:
        from pouta_lib.deliver.app import serve
    except ImportError as error:
        todo = "pip install 'pouta-lib[app]', or make app"
        raise problem("the package panel", str(error), "pouta app", todo) from error

    try:
        serve(options.port, show=not options.no_browser)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES) or error.filename is not None:
            raise
        todo = "name another port, or none: any that is free is taken then"
        raise problem("a free port", str(error.strerror), f"--port {options.port}", todo) from error


def _export(options: argparse.Namespace) -> None:
    from pouta_lib.deliver.export import Form, export_detector
    from pouta_lib.detector import load_detector

    form = Form(
        format=options.format, batch=options.batch, half=options.half, floats=options.floats
    )
    path, differs_by = export_detector(load_detector(options.detector), options.output, form)
    size = path.with_suffix(".bin" if form.format == "openvino" else path.suffix).stat().st_size
    print(f"{path}: {size / 2**20:.1f} MiB, {form.precision}; threshold and settings beside it")
    told = ", ".join(f"{name} {value:.1g}" for name, value in differs_by.items())
    print(f"on random images it differs from this library by at most: {told}")
