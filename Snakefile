# What is made from what. `pouta study` starts it; `snakemake --config profile=demo` does as well.
#
# A run is one execution of notebook 05; its wildcards are the six words of a run's folder, so
# that ablation, few-shot and seed runs are more lines under `study` in configs/<profile>.yaml,
# not more rules.
from pathlib import Path

from pouta_lib.paths import figures_root, project_root, results_root
from pouta_lib.profiles import parse_overrides
from pouta_lib.records import RunKey
from pouta_lib.study import planned_runs

HOME = project_root()
LIBRARY = HOME / "pouta_lib"
WORDS = str(config.get("categories") or "").split()
OVERRIDES = str(config.get("overrides") or "").split()
KEYS = planned_runs(config["profile"], WORDS, **parse_overrides(OVERRIDES))
LABEL = KEYS[0].profile
RESULTS = results_root() / LABEL
FIGURES = figures_root() / LABEL
RUN = f"{RESULTS}/runs/{{dataset}}/{{category}}/{{variant}}/{{shots}}/seed{{seed}}"
RUN_FILES = ["record.json", "model.safetensors", "maps.npz", "train.ipynb"]

# The modules that a run's numbers depend on: when one of them changes, the run is made again.
SOURCES = [
    LIBRARY / f"{name}.py"
    for name in ("synthesis", "losses", "training", "metrics", "evaluation", "device")
]
SOURCES += sorted((LIBRARY / "models").glob("*.py")) + sorted((LIBRARY / "data").rglob("*.py"))


def settings_of(wildcards):
    from pouta_lib.profiles import load_profile

    return str(load_profile(config["profile"], **parse_overrides(OVERRIDES)).to_dict())


wildcard_constraints:
    dataset="[^/]+",
    category="[^/]+",
    variant="[^/]+",
    shots="all|k[0-9]+",
    seed="[0-9]+",


rule all:
    input:
        RESULTS / "notebooks" / "10_benchmarks.ipynb",


rule train:
    input:
        notebook=HOME / "notebooks" / "05_train_category.ipynb",
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


rule benchmarks:
    input:
        notebook=HOME / "notebooks" / "10_benchmarks.ipynb",
        sources=[LIBRARY / "tables.py", LIBRARY / "plots.py"],
        records=[key.folder() / name for key in KEYS for name in RUN_FILES[:3]],
    output:
        RESULTS / "notebooks" / "10_benchmarks.ipynb",
    params:
        profile=config["profile"],
        words=" ".join(WORDS),
        overrides=" ".join(f"--set {word}" for word in OVERRIDES),
    shell:
        "pouta notebook {input.notebook:q} {output:q} --profile {params.profile}"
        " --categories '{params.words}' {params.overrides}"
