# What is made from what. `pouta study` starts it; `snakemake --config profile=demo` does as well.
#
# A run is one execution of its method's notebook; its wildcards are the six words of a
# run's folder, so that ablation, few-shot and seed runs are more lines under `study` in
# configs/<profile>.yaml, not more rules. A study notebook reads the runs it shows; which of them
# a study feeds is said in pouta_lib/study/plan.py. What the judge says of settings, listed under
# `judge` in the same file, feeds notebooks 17 and 18. What notebook 18 shows of other profiles' runs
# beside them is whatever lies in the results.
from pathlib import Path

from pouta_lib.ground.labels import command_line, folder_name, set_options
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.paths import project_root, results_root
from pouta_lib.ground.profiles import load_profile, parse_overrides
from pouta_lib.study.plan import planned_study
from pouta_lib.study.records import ALL_SHOTS, RUN_FILES, RunKey, shots_of
from pouta_lib.study.sources import modules_behind, sources_of

HOME = project_root()
WORDS = config.get("categories") or []
SETS = config.get("overrides") or []  # as after --set
PROFILE = load_profile(config["profile"], **parse_overrides(SETS))
STUDY = planned_study(PROFILE, WORDS)
RESULTS = results_root() / folder_name(PROFILE.label)
NOTEBOOKS = RESULTS / "notebooks"
RUN = f"{RESULTS}/runs/{{dataset}}/{{category}}/{{variant}}/{{shots}}/seed{{seed}}"


def made_from(notebook):
    """A notebook and the files that its imports lead to: when one changes, it is made again."""
    return [HOME / "notebooks" / notebook, *sources_of(HOME / "notebooks" / notebook, HOME)]


def run_command(w):
    """The command of a run; every name in it is quoted."""
    names = (PROFILE.label, w.dataset, w.category, w.variant)
    return RunKey(*names, shots_of(w.shots), int(w.seed)).command()


def group_of(w):
    """What `short` runs are: without training, or with few images. On a cluster, some share a job."""
    return "short" if w.shots != ALL_SHOTS or not find_method(w.variant).trained else None


def notebook_command(input, output):
    """The command that executes a study notebook, quoted likewise."""
    words = ["pouta", "notebook", input.sources[0], output[0], "--profile", config["profile"]]
    words += ["--categories", *WORDS] if WORDS else []
    return command_line([*words, *set_options(SETS)])


def planned(w):
    """All that a study makes, each run among it: one that is missing is made, whoever read it."""
    made = [key.folder() / name for key in STUDY.runs for name in RUN_FILES]
    return [*made, *STUDY.notebooks, *STUDY.judgements]


wildcard_constraints:
    dataset="[^/]+",
    category="[^/]+",
    variant="[^/]+",
    shots="all|k[0-9]+",
    seed="[0-9]+",
    name="[0-9]+_[a-z_]+",
    label="[^/]+",


rule all:
    input:
        planned,


rule train:
    input:
        lambda w: made_from(f"{find_method(w.variant).notebook}.ipynb"),
    output:
        [f"{RUN}/{name}" for name in RUN_FILES],
    params:
        settings=lambda w: str(PROFILE.to_dict()),
        command=run_command,
    group:
        group_of
    threads: 1
    resources:
        gpu=1,
    shell:
        "{params.command}"


rule judge:
    input:
        modules_behind("pouta_lib.study.judge", HOME),
    output:
        f"{results_root()}/{{label}}/judged/{{dataset}}/{{category}}/{{variant}}/seed{{seed}}.json",
    params:
        settings=lambda w: str(PROFILE.to_dict()),
        command=lambda w, output: STUDY.judgements[Path(output[0])],
    threads: 1
    resources:
        gpu=1,
    shell:
        "{params.command}"


rule study:
    input:
        sources=lambda w: made_from(f"{w.name}.ipynb"),
        shown=lambda w: STUDY.notebooks[NOTEBOOKS / f"{w.name}.ipynb"],
    output:
        NOTEBOOKS / "{name}.ipynb",
    params:
        command=lambda w, input, output: notebook_command(input, output),
    shell:
        "{params.command}"
