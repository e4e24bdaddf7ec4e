# What is made from what. `pouta study` starts it; `snakemake --config profile=demo` does as well.
#
# A run is one execution of its method's notebook; its wildcards are the six words of a
# run's folder, so that ablation, few-shot and seed runs are more lines under `study` in
# configs/<profile>.yaml, not more rules. A study notebook reads the runs it shows; which of them
# a study feeds is said in pouta_lib/study/plan.py.
from pathlib import Path

from pouta_lib.ground.methods import find_method
from pouta_lib.ground.paths import figures_root, project_root, results_root
from pouta_lib.ground.profiles import parse_overrides
from pouta_lib.study.plan import planned_runs, study_notebooks

HOME = project_root()
LIBRARY = HOME / "pouta_lib"
WORDS = str(config.get("categories") or "").split()
OVERRIDES = str(config.get("overrides") or "").split()
KEYS = planned_runs(config["profile"], WORDS, **parse_overrides(OVERRIDES))
READS = study_notebooks(KEYS)
LABEL = KEYS[0].profile
RESULTS = results_root() / LABEL
FIGURES = figures_root() / LABEL
RUN = f"{RESULTS}/runs/{{dataset}}/{{category}}/{{variant}}/{{shots}}/seed{{seed}}"
RUN_FILES = ["record.json", "model.safetensors", "maps.npz", "train.ipynb"]

# What a run's numbers depend on: when one of these files changes, the run is made again.
FLOORS = ("ground", "data", "method", "score")
SOURCES = [path for floor in FLOORS for path in sorted((LIBRARY / floor).rglob("*.py"))]
SOURCES += [LIBRARY / "study" / "run.py", LIBRARY / "study" / "records.py"]


def settings_of(wildcards):
    from pouta_lib.ground.profiles import load_profile

    return str(load_profile(config["profile"], **parse_overrides(OVERRIDES)).to_dict())


wildcard_constraints:
    dataset="[^/]+",
    category="[^/]+",
    variant="[^/]+",
    shots="all|k[0-9]+",
    seed="[0-9]+",
    name="[0-9]+_[a-z_]+",


rule all:
    input:
        [RESULTS / "notebooks" / f"{name}.ipynb" for name in READS],


rule train:
    input:
        notebook=lambda w: HOME / "notebooks" / f"{find_method(w.variant).notebook}.ipynb",
        sources=SOURCES,
    output:
        [f"{RUN}/{name}" for name in RUN_FILES],
    params:
        settings=settings_of,
        profile=config["profile"],
        shots=lambda w: "" if w.shots == "all" else f"--shots {w.shots[1:]}",
        overrides=" ".join(f"--set {word}" for word in OVERRIDES),
    threads: 1
    resources:
        gpu=1,
    shell:
        "pouta run --profile {params.profile} --dataset {wildcards.dataset:q}"
        " --category {wildcards.category:q} --variant {wildcards.variant:q} {params.shots}"
        " --seed {wildcards.seed} {params.overrides}"


rule study:
    input:
        notebook=lambda w: HOME / "notebooks" / f"{w.name}.ipynb",
        sources=sorted(LIBRARY.rglob("*.py")),
        records=lambda w: [key.folder() / name for key in READS[w.name] for name in RUN_FILES[:3]],
    output:
        RESULTS / "notebooks" / "{name}.ipynb",
    params:
        profile=config["profile"],
        words=" ".join(WORDS),
        overrides=" ".join(f"--set {word}" for word in OVERRIDES),
    shell:
        "pouta notebook {input.notebook:q} {output:q} --profile {params.profile}"
        " --categories '{params.words}' {params.overrides}"
