# What is made from what. `pouta study` starts it; `snakemake --config profile=demo` does as well.
#
# A run is one execution of its method's notebook; its wildcards are the six words of a
# run's folder, so that ablation, few-shot and seed runs are more lines under `study` in
# configs/<profile>.yaml, not more rules. A study notebook reads the runs it shows; which of them
# a study feeds is said in pouta_lib/study/plan.py. What the judge says of settings, listed under
# `judge` in the same file, feeds notebook 17.
import shlex
from pathlib import Path

from pouta_lib.ground.labels import folder_name
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.paths import project_root, results_root
from pouta_lib.ground.profiles import load_profile, parse_overrides
from pouta_lib.study.judgements import planned_judgements
from pouta_lib.study.plan import planned_runs, study_notebooks
from pouta_lib.study.records import RUN_FILES, RunKey
from pouta_lib.study.sources import modules_behind, sources_of

HOME = project_root()
WORDS = config.get("categories") or []
SETS = config.get("overrides") or []  # as after --set
PROFILE = load_profile(config["profile"], **parse_overrides(SETS))
KEYS = planned_runs(config["profile"], WORDS, **parse_overrides(SETS))
READS = study_notebooks(KEYS)
RESULTS = results_root() / folder_name(PROFILE.label)
# named categories and overridden settings are a study of runs alone
JUDGED = {} if WORDS or SETS else planned_judgements(config["profile"])
if not JUDGED:
    READS.pop("18_open_questions", None)  # it shows judgements beside runs
SETTINGS = RESULTS / "notebooks" / "17_how_settings_were_chosen.ipynb"
RUN = f"{RESULTS}/runs/{{dataset}}/{{category}}/{{variant}}/{{shots}}/seed{{seed}}"


def made_from(notebook):
    """A notebook and the files that its imports lead to: when one changes, it is made again."""
    return [HOME / "notebooks" / notebook, *sources_of(HOME / "notebooks" / notebook, HOME)]


def run_command(w):
    """The command of a run; every name in it is quoted."""
    shots = None if w.shots == "all" else int(w.shots[1:])
    return RunKey(PROFILE.label, w.dataset, w.category, w.variant, shots, int(w.seed)).command()


def group_of(w):
    """What `short` runs are: without training, or with few images. On a cluster, some share a job."""
    return "short" if w.shots != "all" or not find_method(w.variant).trained else None


def notebook_command(input, output):
    """The command that executes a study notebook, quoted likewise."""
    words = ["pouta", "notebook", input.sources[0], output[0], "--profile", config["profile"]]
    words += ["--categories", *WORDS] if WORDS else []
    return shlex.join([*words, *(part for word in SETS for part in ("--set", word))])


def planned(w):
    """All that a study makes, each run among it: one that is missing is made, whoever read it."""
    made = [RESULTS / "notebooks" / f"{name}.ipynb" for name in READS]
    made += [key.folder() / name for key in KEYS for name in RUN_FILES]
    return made + [*JUDGED, *([SETTINGS] if JUDGED else [])]


wildcard_constraints:
    dataset="[^/]+",
    category="[^/]+",
    variant="[^/]+",
    shots="all|k[0-9]+",
    seed="[0-9]+",
    name="(?!17)[0-9]+_[a-z_]+",
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
        command=lambda w, output: JUDGED[Path(output[0])],
    threads: 1
    resources:
        gpu=1,
    shell:
        "{params.command}"


rule settings:
    input:
        sources=made_from(SETTINGS.name),
        records=lambda w: list(JUDGED),
    output:
        SETTINGS,
    params:
        command=lambda w, input, output: notebook_command(input, output),
    shell:
        "{params.command}"


rule study:
    input:
        sources=lambda w: made_from(f"{w.name}.ipynb"),
        records=lambda w: [key.folder() / name for key in READS[w.name] for name in RUN_FILES[:3]],
        judged=lambda w: list(JUDGED) if w.name == "18_open_questions" else [],
    output:
        RESULTS / "notebooks" / "{name}.ipynb",
    params:
        command=lambda w, input, output: notebook_command(input, output),
    shell:
        "{params.command}"
