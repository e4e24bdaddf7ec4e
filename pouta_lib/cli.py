"""``pouta``: the study, single runs, data and tables from the command line."""

import argparse
import errno
import json
import os
import sys
from pathlib import Path

import pouta_lib
from pouta_lib.ground.errors import PoutaError, problem
from pouta_lib.ground.locks import only_one, stoppable
from pouta_lib.ground.threads import wait_passively


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; 0 when it went well, 1 with a message when the user can mend it."""
    wait_passively(os.environ)  # first of all: commands import torch
    options = _parser().parse_args(arguments)
    for variable, value in (
        ("POUTA_DATA", getattr(options, "data_root", None)),
        ("POUTA_RESULTS", getattr(options, "results", None)),
        ("POUTA_FIGURES", getattr(options, "figures", None)),
    ):
        if value:
            os.environ[variable] = str(Path(value).expanduser().resolve())
    try:
        with stoppable():
            status = options.command(options) or 0
        sys.stdout.flush()  # a closed pipe is noticed here, not at the interpreter's end
        return status
    except PoutaError as error:
        print(f"pouta: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("pouta: stopped; the same command goes on from the checkpoints", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `pouta why ... | head`: what was not read needs no traceback
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # a full disk, one that may not be written to, a folder in the way
        print(f"pouta: {_of_the_system(error)}", file=sys.stderr)
        return 1


def _of_the_system(error: OSError) -> PoutaError:
    """What the system refused, in this library's words."""
    todo = "name another folder (--results, --figures, --data-root), or mend this one"
    if error.errno == errno.ENOSPC:
        todo = "free some space, or name another folder (--results, --figures, --data-root)"
    where = error.filename2 or error.filename or "not told by the system"
    return problem("a disk to read and write", error.strerror or str(error), where, todo)


class _Version(argparse.Action):
    """Prints the version, which is looked up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(pouta_lib.__version__)
        parser.exit()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pouta", description=__doc__.partition(": ")[2])
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    _add_runs(commands)
    _add_results(commands)
    _add_detector(commands)
    _add_data(commands)
    return parser


def _add_runs(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """What trains: a study, a run, a judgement, a peer."""
    study = commands.add_parser("study", help="make every run, table and figure of a profile")
    _common(study)
    _categories(study)
    study.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    study.add_argument(
        "--cluster", type=_path, metavar="FOLDER", help="a Snakemake profile, say configs/slurm"
    )
    study.add_argument("--dry-run", action="store_true", help="only say what would be made")
    study.set_defaults(command=_study)

    run = commands.add_parser("run", help="make one run: its method's notebook with these")
    _common(run)
    _one_category(run)
    run.add_argument("--shots", type=int)
    run.set_defaults(command=_run)

    judge = commands.add_parser(
        "judge", help="try settings on good images alone: a quarter held out, damaged and changed"
    )
    _common(judge)
    _one_category(judge)
    judge.add_argument("--watch", action="store_true", help="judge along the training as well")
    judge.add_argument("--again", action="store_true", help="even where there is a record")
    judge.set_defaults(command=_judge)

    peers = commands.add_parser("peers", help="measure a method that anomalib keeps")
    _common(peers)
    peers.add_argument("--dataset", default="mini-mvtec")
    peers.add_argument("--category", default="", help="default: the dataset's first")
    peers.add_argument("--seed", type=int, default=0)
    peers.add_argument("--method", required=True, help="draem, rd or patchcore")
    peers.set_defaults(command=_peers)


def _add_results(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """What reads records: study notebooks, tables, where a cell comes from."""
    notebook = commands.add_parser("notebook", help="execute a study notebook over run records")
    _common(notebook)
    notebook.add_argument("source", type=Path)
    notebook.add_argument("target", type=Path)
    notebook.add_argument("--categories", nargs="*", default=[])
    notebook.set_defaults(command=_notebook)

    tables = commands.add_parser("tables", help="write the tables of a profile's planned runs")
    _common(tables)
    _categories(tables)
    tables.add_argument(
        "--as-is", action="store_true", help="of the records there are, whatever was planned"
    )
    tables.set_defaults(command=_tables)

    why = commands.add_parser("why", help="say which runs a cell of a table comes from")
    why.add_argument("table", type=Path, help="results/<profile>/tables/table_....csv")
    why.add_argument("--row", required=True, help="the category, or in Table V the method")
    why.add_argument("--column", required=True, help='for example "pouta pixel_ap"')
    why.set_defaults(command=_why)


def _add_detector(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """What makes a detector, and what uses one."""
    fit = commands.add_parser("fit", help="photographs of good parts to a detector")
    fit.add_argument("photos", type=_path, help="a folder of photographs of good parts")
    fit.add_argument("--output", type=_path, required=True, help="the detector's folder")
    fit.add_argument("--method", default="auto", help="a method's id; default: the best of them")
    fit.add_argument("--minutes", type=float, default=10, help="for choice and training (10)")
    fit.add_argument(
        "--false-alarms", type=float, default=0.05, metavar="SHARE", help="of good parts (0.05)"
    )
    fit.add_argument("--replace", action="store_true", help="an earlier detector in --output")
    fit.add_argument("--seed", type=int, default=0)
    fit.add_argument("--profile", default="", help="default: $POUTA_PROFILE, else real-cpu")
    _override(fit)
    fit.add_argument("--data-root", help="where DTD's textures may be; default: $POUTA_DATA, data/")
    fit.set_defaults(command=_fit)

    predict = commands.add_parser(
        "predict",
        help="score a folder of images with a saved detector",
        epilog="Exit status: 0: all was read; 1: some images could not be read, or were passed "
        "over (the rest is done); 2: wrong usage, nothing was written.",
    )
    predict.add_argument("detector", type=_path, help="the folder that `pouta fit` saved")
    predict.add_argument("images", type=_path, help="a folder of images")
    predict.add_argument("--output", type=_path, required=True, help="for scores.csv and overlays")
    predict.add_argument("--maps", action="store_true", help="keep the maps, as TIFFs of floats")
    predict.add_argument("--json", action="store_true", help="the answer as JSON on stdout as well")
    predict.set_defaults(command=_predict)

    report = commands.add_parser("report", help="make an answer of predict a page to look through")
    report.add_argument("answer", type=Path, help="the folder that predict wrote")
    report.add_argument("--output", type=Path, help="default: report.html in it")
    report.add_argument("--images", type=Path, help="the photographs, to be shown as well")
    report.add_argument("--good", type=Path, help="another answer: of parts known to be good")
    report.add_argument("--labels", type=Path, help="a CSV: file, label (good, or the defect)")
    report.add_argument("--masks", type=Path, help="a folder: what has a mask there is defective")
    report.set_defaults(command=_report)

    app = commands.add_parser("app", help="the same in the browser: drop photographs into a page")
    app.add_argument(
        "--port", type=int, default=0, help="on this machine alone; default: a free one"
    )
    app.add_argument("--no-browser", action="store_true", help="only say the address")
    app.set_defaults(command=_app)

    export = commands.add_parser("export", help="write a saved detector for use without torch")
    export.add_argument("detector", type=Path, help="the folder that `pouta fit` saved")
    export.add_argument("--output", type=Path, required=True, help="a folder")
    export.add_argument("--format", default="onnx", help="onnx or openvino; default: onnx")
    export.add_argument("--batch", type=int, help="images per call; default: any number")
    export.add_argument("--half", action="store_true", help="weights in half precision")
    export.add_argument(
        "--floats", action="store_true", help="takes channels first, 0 to 1; default: uint8 pixels"
    )
    export.set_defaults(command=_export)


def _add_data(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Datasets."""
    data = commands.add_parser("data", help="get or check a dataset")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    get = actions.add_parser("get", help="download, verify and unpack a dataset")
    get.add_argument("name")
    get.add_argument("--data-root")
    get.add_argument("--from", dest="source_file", type=Path, help="an archive you already have")
    get.add_argument(
        "--any-digest", action="store_true", help="it is a part, a mirror's or packed again"
    )
    get.set_defaults(command=_data_get)
    check = actions.add_parser(
        "check", help="count a dataset's images against the published counts"
    )
    check.add_argument("name")
    check.add_argument("--data-root")
    check.set_defaults(command=_data_check)
    mini = actions.add_parser("mini", help="draw the embedded datasets")
    mini.add_argument("--data-root")
    mini.set_defaults(command=_data_mini)


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--profile", default="", help="default: $POUTA_PROFILE, else demo")
    _override(parser)
    parser.add_argument("--data-root", help="the folder of datasets; default: $POUTA_DATA, data/")
    parser.add_argument("--results", help="default: $POUTA_RESULTS, results/")
    parser.add_argument("--figures", help="default: $POUTA_FIGURES, figures/")


def _override(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="FIELD=VALUE",
        help="override a profile setting; a run's results get a folder of their own",
    )


def _categories(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--categories",
        nargs="+",
        default=[],
        metavar="DATASET[/CATEGORY]",
        help="POUTA runs on these, in place of the profile's own list",
    )


def _one_category(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--dataset", default="mini-mvtec")
    parser.add_argument("--category", default="", help="default: the dataset's first")
    parser.add_argument("--variant", "--method", default="pouta", help="the method's id")
    parser.add_argument("--seed", type=int, default=0)


def _path(word: str) -> Path:
    return Path(word).expanduser()  # the shell leaves the ~ of --output=~/x alone


def _study(options: argparse.Namespace) -> int:
    from pouta_lib.study.batch import run_study

    return run_study(
        options.profile,
        options.categories,
        options.overrides,
        cores=options.cores,
        dry_run=options.dry_run,
        cluster=options.cluster,
    )


def _run(options: argparse.Namespace) -> None:
    from pouta_lib.ground.profiles import parse_overrides
    from pouta_lib.study.batch import execute_run

    execute_run(
        profile=options.profile,
        dataset=options.dataset,
        category=options.category,
        variant=options.variant,
        shots=options.shots,
        seed=options.seed,
        overrides=parse_overrides(options.overrides),
    )


def _judge(options: argparse.Namespace) -> None:
    from pouta_lib.ground.profiles import parse_overrides
    from pouta_lib.study.judgements import judgement_of, judgement_path, summary
    from pouta_lib.study.run import prepare_run

    run = prepare_run(
        options.profile,
        options.dataset,
        options.category,
        options.variant,
        seed=options.seed,
        overrides=parse_overrides(options.overrides),
    )
    path = judgement_path(run.key)
    lock = path.with_name(f".{path.name}.lock")
    with only_one(lock, f"judgement {run.key.name}", wait=True):
        if (judgement := None if options.again else judgement_of(run)) is not None:
            print(f"judged already: {path} (--again makes it anew)")
        else:
            from pouta_lib.ground.progress import TrainingProgress
            from pouta_lib.study.judge import judge

            key = run.key
            name = f"{key.label} {key.dataset}/{key.category} {key.variant} seed {key.seed}"
            judgement = judge(run, TrainingProgress(name), watch=options.watch)
            print(f"judged: {path}")
    print(summary(judgement))


def _peers(options: argparse.Namespace) -> None:
    from pouta_lib.ground.profiles import parse_overrides
    from pouta_lib.report.tables import CLS, LOC
    from pouta_lib.study.peers import PEERS, measure_peer

    folder, metrics = measure_peer(
        options.method,
        options.profile,
        options.dataset,
        options.category,
        seed=options.seed,
        overrides=parse_overrides(options.overrides),
    )
    shown = {metric: value for metric in (CLS, *LOC) if (value := metrics[metric]) is not None}
    told = [f"{metric} {100 * value:.1f} %" for metric, value in shown.items()]
    print(f"{PEERS[options.method].title}: {', '.join(told)}\n{folder}")


def _notebook(options: argparse.Namespace) -> None:
    from pouta_lib.ground.profiles import parse_overrides
    from pouta_lib.study.batch import execute_notebook

    parameters = {"profile": options.profile, "categories": options.categories}
    parameters["overrides"] = parse_overrides(options.overrides)
    execute_notebook(options.source, options.target, parameters)


def _tables(options: argparse.Namespace) -> None:
    from pouta_lib.ground.profiles import load_profile, parse_overrides
    from pouta_lib.report.table_files import KINDS, write_tables
    from pouta_lib.study.plan import planned_runs

    overrides = parse_overrides(options.overrides)
    settings = load_profile(options.profile, **overrides)
    planned = None
    if not options.as_is:
        planned = planned_runs(settings.name, options.categories, **overrides)
    for path in write_tables(settings.label, planned, kinds=tuple(KINDS)):
        print(path)


def _why(options: argparse.Namespace) -> None:
    from pouta_lib.report.table_files import explain_cell

    print(explain_cell(options.table, options.row, options.column))


def _fit(options: argparse.Namespace) -> None:
    from pouta_lib.detector.fitting import fit
    from pouta_lib.detector.saved import KIND
    from pouta_lib.detector.telling import told
    from pouta_lib.ground.outputs import refuse_overlap, replaceable
    from pouta_lib.ground.profiles import parse_overrides

    refuse_overlap(options.output, {"the photographs": options.photos})
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
        tell=lambda text: print(text, file=sys.stderr, flush=True),
    )
    detector.save(output, replace=options.replace)
    print(told(detector))
    print(f"detector: {options.output}")


def _predict(options: argparse.Namespace) -> int:
    """0: all was read; 1: some images were not, or were passed over; 2: nothing was written."""
    from pouta_lib.detector import load_detector, predict_folder
    from pouta_lib.ground.outputs import refuse_overlap

    try:
        refuse_overlap(options.output, {"the detector": options.detector})
        detector = load_detector(options.detector)
        table, left_out = predict_folder(
            detector, options.images, options.output, maps=options.maps
        )
    except PoutaError as error:
        print(f"pouta: {error}", file=sys.stderr)
        return 2
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
        print(f"scores and overlays: {options.output}")
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

    serve(options.port, show=not options.no_browser)


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


def _data_get(options: argparse.Namespace) -> None:
    from pouta_lib.data.download import get_dataset

    folder = get_dataset(
        options.name,
        options.data_root,
        source_file=options.source_file,
        any_digest=options.any_digest,
    )
    print(f"{options.name} is ready in {folder}")


def _data_check(options: argparse.Namespace) -> int:
    from pouta_lib.data.check import check_dataset

    report = check_dataset(options.name, options.data_root)
    print(report)
    return 1 if report.problems else 0


def _data_mini(options: argparse.Namespace) -> None:
    from pouta_lib.data.mini import ensure_mini
    from pouta_lib.ground.paths import data_root

    root = data_root(options.data_root)
    ensure_mini(root)
    print(f"mini-mvtec, mini-visa and mini-dagm are ready in {root}")


if __name__ == "__main__":
    sys.exit(main())
