# What is made from what. `pouta study` starts it; `snakemake --config profile=demo` does as well.
#
# A run is one execution of its method's notebook; its wildcards are the six words of a
# run's folder, so that ablation, few-shot and seed runs are more lines under `study` in
# configs/<profile>.yaml, not more rules. A study notebook reads the runs it shows; which of them
# a study feeds is said in pouta_lib/study/plan.py. What the judge says of settings, listed under
# `judge` in the same file, feeds notebook 17.
from pathlib import Path

from pouta_lib.ground.labels import folder_name
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.paths import project_root, results_root
from pouta_lib.ground.profiles import load_profile, parse_overrides
from pouta_lib.study.judgements import planned_judgements
from pouta_lib.study.plan import planned_runs, study_notebooks
from pouta_lib.study.sources import modules_behind, sources_of

HOME = project_root()
WORDS = config.get("categories") or []
SETS = config.get("overrides") or []  # as after --set
PROFILE = load_profile(config["profile"], **parse_overrides(SETS))
KEYS = planned_runs(config["profile"], WORDS, **parse_overrides(SETS))
READS = study_notebooks(KEYS)
RESULTS = results_root() / folder_name(PROFILE.label)
RUN = f"{RESULTS}/runs/{{dataset}}/{{category}}/{{variant}}/{{shots}}/seed{{seed}}"
# named categories and overridden settings are a study of runs alone
JUDGED = {} if WORDS or SETS else planned_judgements(config["profile"])
SETTINGS = RESULTS / "notebooks" / "17_how_settings_were_chosen.ipynb"
RUN_FILES = ["record.json", "model.safetensors", "maps.npz", "train.ipynb"]


def made_from(notebook):
    """A notebook and the files that its imports lead to: when one changes, it is made again."""
    return [HOME / "notebooks" / notebook, *sources_of(HOME / "notebooks" / notebook, HOME)]


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
        [RESULTS / "notebooks" / f"{name}.ipynb" for name in READS],
        [SETTINGS] if JUDGED else [],


rule train:
    input:
        lambda w: made_from(f"{find_method(w.variant).notebook}.ipynb"),
    output:
        [f"{RUN}/{name}" for name in RUN_FILES],
    params:
        settings=str(PROFILE.to_dict()),
        profile=config["profile"],
        shots=lambda w: "" if w.shots == "all" else f"--shots {w.shots[1:]}",
        overrides=[part for word in SETS for part in ("--set", word)],
    threads: 1
    resources:
        gpu=1,
    shell:
        "pouta run --profile {params.profile} --dataset {wildcards.dataset:q}"
        " --category {wildcards.category:q} --variant {wildcards.variant:q} {params.shots}"
        " --seed {wildcards.seed} {params.overrides:q}"


rule judge:
    input:
        modules_behind("pouta_lib.study.judge", HOME),
    output:
        f"{results_root()}/{{label}}/judged/{{dataset}}/{{category}}/{{variant}}/seed{{seed}}.json",
    params:
        settings=str(PROFILE.to_dict()),
        command=lambda w, output: JUDGED[Path(output[0])],
    threads: 1
    resources:
        gpu=1,
    shell:
        "{params.command}"


rule settings:
    input:
        sources=made_from(SETTINGS.name),
        records=list(JUDGED),
    output:
        SETTINGS,
    params:
        profile=config["profile"],
    shell:
        "pouta notebook {input.sources[0]:q} {output:q} --profile {params.profile}"


rule study:
    input:
        sources=lambda w: made_from(f"{w.name}.ipynb"),
        records=lambda w: [key.folder() / name for key in READS[w.name] for name in RUN_FILES[:3]],
    output:
        RESULTS / "notebooks" / "{name}.ipynb",
    params:
        profile=config["profile"],
        words=WORDS,
        overrides=[part for word in SETS for part in ("--set", word)],
    shell:
        "pouta notebook {input.sources[0]:q} {output:q} --profile {params.profile}"
        " --categories {params.words:q} {params.overrides:q}"
