"""What trains: a study, a run, a judgement, a peer."""

import argparse
import os

from pouta_lib.commands.arguments import (
    RESUMED,
    Commands,
    add_categories,
    add_common,
    add_one_category,
    path_of,
)
from pouta_lib.ground.locks import only_one


def add(commands: Commands) -> None:
    """Adds them to the command line."""
    study = commands.add_parser("study", help="make every run, table and figure of a profile")
    add_common(study)
    add_categories(study)
    study.add_argument("--cores", type=int, default=os.cpu_count() or 1)
    study.add_argument(
        "--cluster", type=path_of, metavar="FOLDER", help="a Snakemake profile, say configs/slurm"
    )
    study.add_argument("--dry-run", action="store_true", help="only say what would be made")
    study.set_defaults(command=_study, resumed=RESUMED)

    run = commands.add_parser("run", help="make one run: its method's notebook with these")
    add_common(run)
    add_one_category(run)
    run.add_argument("--shots", type=int)
    run.set_defaults(command=_run, resumed=RESUMED)

    judge = commands.add_parser(
        "judge", help="try settings on good images alone: a quarter held out, damaged and changed"
    )
    add_common(judge)
    add_one_category(judge)
    judge.add_argument("--watch", action="store_true", help="judge along the training as well")
    judge.add_argument("--again", action="store_true", help="even where there is a record")
    judge.set_defaults(command=_judge, resumed=RESUMED)

    peers = commands.add_parser("peers", help="measure a method that anomalib keeps")
    add_common(peers)
    peers.add_argument("--dataset", default="mini-mvtec")
    peers.add_argument("--category", default="", help="default: the dataset's first")
    peers.add_argument("--seed", type=int, default=0)
    peers.add_argument("--method", required=True, help="draem, rd or patchcore")
    peers.set_defaults(command=_peers)


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
    from pouta_lib.study.execution import execute_run

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
            from pouta_lib.study.judge import judged_todays_images

            print(f"judged already: {path} (--again makes it anew)")
            if not judged_todays_images(run, judgement):
                print("note: that was of other images than those that are there today")
            if options.watch and judgement.watched is None:
                print("note: its training was not watched (--again --watch makes it anew)")
        else:
            from pouta_lib.ground.progress import TrainingProgress
            from pouta_lib.study.judge import judge

            judgement = judge(run, TrainingProgress(run.key.name), watch=options.watch)
            print(f"judged: {path}")
    print(summary(judgement))


def _peers(options: argparse.Namespace) -> None:
    from pouta_lib.ground.profiles import parse_overrides
    from pouta_lib.study.peers import PEERS, measure_peer
    from pouta_lib.study.records import in_percent

    folder, metrics = measure_peer(
        options.method,
        options.profile,
        options.dataset,
        options.category,
        seed=options.seed,
        overrides=parse_overrides(options.overrides),
    )
    print(f"{PEERS[options.method].title}: {in_percent(metrics)}\n{folder}")
