"""What contributors read and hosted checks run: it names what there is, and runs the same."""

import ast
import re
import shutil
import subprocess
import tomllib
from itertools import product
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet
from test_lint import lint_commands

from conftest import REPOSITORY
from pouta_lib import cli

PAPER = "https://arxiv.org/abs/2312.12913"


def text_of(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project() -> dict:
    return tomllib.loads(text_of("pyproject.toml"))


def makefile_targets() -> set[str]:
    return set(re.search(r"^\.PHONY: (.*)$", text_of("Makefile"), re.MULTILINE)[1].split())


def code_spans(text: str) -> list[str]:
    """What stands between backticks in the prose, without the blocks of code."""
    return re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def test_the_guide_names_targets_that_the_makefile_has():
    named = re.findall(r"(?:^|`)make ([a-z-]+)", text_of("CONTRIBUTING.md"), re.MULTILINE)
    assert {"test", "lint", "format", "coverage", "lock"} <= set(named) <= makefile_targets()


def test_the_guide_names_files_that_there_are():
    paths = [span for span in code_spans(text_of("CONTRIBUTING.md")) if re.match(r"[\w.]+/", span)]
    paths = [path for path in paths if " " not in path and not path.startswith(".venv")]
    assert len(paths) > 10
    assert [path for path in paths if not list(REPOSITORY.glob(path))] == []


def test_the_guide_names_commands_that_there_are(capsys):
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    commands = set(re.findall(r"^    (\w+) ", capsys.readouterr().out, re.MULTILINE))
    named = {s.split()[1] for s in code_spans(text_of("CONTRIBUTING.md")) if s.startswith("pouta ")}
    assert named
    assert named <= commands


def test_the_guide_says_what_coverage_has_to_reach(project):
    least = project["tool"]["coverage"]["report"]["fail_under"]
    assert least >= 95
    assert f"fails below {least} %" in text_of("CONTRIBUTING.md")
    run = project["tool"]["coverage"]["run"]
    assert run["branch"] and run["source_pkgs"] == ["pouta_lib"]
    left_out = project["tool"]["coverage"]["report"]["exclude_also"]
    assert [pattern.split()[1] for pattern in left_out] == ["TYPE_CHECKING:", "__name__"]


def test_a_docstring_says_what_is_raised_for_users():
    """Of public functions and methods, as the guide has it."""
    silent = []
    for path in (REPOSITORY / "pouta_lib").rglob("*.py"):
        module = ast.parse(path.read_text(encoding="utf-8"))
        classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
        for one in (node for part in (module, *classes) for node in part.body):
            if isinstance(one, ast.FunctionDef) and not one.name.startswith("_"):
                raised = [ast.unparse(n) for n in ast.walk(one) if isinstance(n, ast.Raise)]
                if any(text.startswith("raise problem(") for text in raised):
                    told = ast.get_docstring(one) or ""
                    silent += [f"{path.name}: {one.name}"] * ("*Raises*" not in told)
    assert silent == []


def profiles() -> tuple[set[str], set[str]]:
    """Those whose data is drawn by this project, and those of other people's photographs."""
    drawn = set()
    paths = list((REPOSITORY / "configs").glob("*.yaml"))
    for path in paths:
        parts = yaml.safe_load(path.read_text(encoding="utf-8"))
        groups = [*parts.get("study", []), *parts.get("judge", [])]
        drawn |= {path.stem} if all(g["dataset"].startswith("mini-") for g in groups) else set()
    return drawn, {path.stem for path in paths} - drawn


@pytest.mark.skipif(shutil.which("git") is None, reason="git is asked what it would add")
def test_git_is_offered_records_and_no_picture_of_other_peoples_photographs(tmp_path):
    """Nor what is half made, or made again at will."""
    drawn, photographs = profiles()
    pictures = ["figures/{}/figure_5.png", "results/{}/notebooks/10_benchmarks.ipynb"]
    run = "results/{}/runs/mvtec/nut/pouta/all/seed0"
    kept = ["results/{}/tables/table_1.csv", f"{run}/record.json"]
    left = [f"{run}.partial/checkpoint.pt", f"{run}/model.safetensors", f"{run}/maps.npz"]
    left += [f"{run}/train.ipynb", "results/{}/.study.lock", "results/{}/10.failed.ipynb"]
    shown = [name.format(p) for p in drawn - {"smoke"} for name in [*pictures, *kept]]
    shown += [name.format(p) for p in photographs for name in kept]
    hidden = [name.format(p) for p in photographs for name in [*pictures, *left]]
    hidden += [name.format(f"real/{p}") for p in photographs for name in pictures[1:]]
    hidden += [name.format(p) for p in drawn for name in left]
    hidden += [name.format("smoke") for name in [*pictures, *kept]]
    for name in [*shown, *hidden]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    shutil.copy(REPOSITORY / ".gitignore", tmp_path)
    git = ["git", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "--quiet"], check=True)
    command = [*git, "ls-files", "--others", "--exclude-standard"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert photographs and set(found) == {*shown, ".gitignore"}


def test_the_citation_is_of_the_paper_and_of_this_version(project):
    cited = yaml.safe_load(text_of("CITATION.cff"))
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors", "type"} <= set(cited)
    assert str(cited["version"]) == project["project"]["version"]
    assert cited["license"] == project["project"]["license"]
    assert cited["repository-code"] == project["project"]["urls"]["Repository"]
    assert cited["authors"] == project["project"]["authors"]
    paper = cited["preferred-citation"]
    assert paper["title"] == "Produce Once, Utilize Twice for Anomaly Detection"
    assert (paper["type"], paper["year"], paper["url"]) == ("article", 2024, PAPER)
    names = [f"{a['given-names'][0]}. {a['family-names']}" for a in paper["authors"]]
    assert f"The paper is {', '.join(names)}," in text_of("docs/DEVIATIONS.md")


@pytest.mark.parametrize(
    "name",
    ["README.md", "docs/DEVIATIONS.md", "docs/GLOSSARY.md", "notebooks/00_start_here.ipynb"],
)
def test_the_paper_is_linked_where_it_is_first_named(name):
    text = text_of(name)
    assert PAPER in text[: len(text) // 4 if name != "docs/DEVIATIONS.md" else 1500]


def test_the_changelog_ends_at_this_version(project):
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d\d-\d\d))?$", text_of("CHANGELOG.md"), re.M)
    assert headings[0] == ("Unreleased", "")
    assert headings[1][0] == project["project"]["version"]
    assert all(date for _, date in headings[1:])
    kinds = set(re.findall(r"^### (.+)$", text_of("CHANGELOG.md"), re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_pre_commit_runs_what_lint_runs():
    (local,) = yaml.safe_load(text_of(".pre-commit-config.yaml"))["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == lint_commands()
    assert {(hook["language"], hook["pass_filenames"]) for hook in local["hooks"]} == {
        ("system", False)
    }


@pytest.fixture(scope="module")
def workflow() -> dict:
    return yaml.safe_load(text_of(".github/workflows/ci.yml"))


def commands(job: dict) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


def test_hosted_checks_cover_the_systems_and_pythons(workflow, project):
    jobs = workflow["jobs"]
    ran = set()
    for job in jobs.values():
        matrix = job["strategy"]["matrix"]
        systems = matrix.get("os", [job["runs-on"]])
        ran |= set(product((system.split("-")[0] for system in systems), matrix["python"]))
        setup = next(s for s in job["steps"] if s.get("uses", "").startswith("actions/setup-pyt"))
        assert setup["with"]["python-version"] == "${{ matrix.python }}"
    assert ran == set(product(("ubuntu", "macos", "windows"), ("3.11", "3.12", "3.13")))
    accepted = SpecifierSet(project["project"]["requires-python"])
    assert all(f"{version}.0" in accepted for _, version in ran)
    assert set(workflow[True]) == {"push", "pull_request"}, "YAML 1.1 reads the key 'on' as true"


def test_hosted_checks_run_the_readmes_command(workflow):
    assert commands(workflow["jobs"]["posix"]) == ["make test PYTHON=python"]
    assert re.search(r"^make test\b", text_of("README.md"), re.MULTILINE)


def test_windows_runs_what_make_test_runs(workflow):
    recipe = re.search(r"^test:.*\n((?:\t.*\n)+)", text_of("Makefile"), re.MULTILINE)[1]
    lines = " ".join(recipe.replace("\\\n", " ").split())
    lines = lines.replace('"$$PWD/$(TRIAL)', '"TRIAL').replace("$(WORKERS)", "2")
    job = workflow["jobs"]["windows"]
    locked, installed, *steps = (step for step in job["steps"] if "run" in step)
    assert locked["run"] == "python -m pip install --require-hashes -r requirements.lock"
    assert installed["run"].endswith("--no-deps --no-build-isolation -e .")
    for step in steps:
        assert step["run"] in lines
        for name, value in step["env"].items():
            told = str(value).replace("${{ github.workspace }}/build/test", "TRIAL")
            assert f'{name}="{told}"' in lines or f"{name}={told}" in lines
    assert [step["run"].split()[0] for step in steps] == ["pouta", "python"]
    assert job["env"]["OMP_WAIT_POLICY"] == "PASSIVE"
    assert re.search(r"^export OMP_WAIT_POLICY = PASSIVE$", text_of("Makefile"), re.MULTILINE)


def test_actions_are_pinned_by_their_major_version(workflow):
    used = [s["uses"] for job in workflow["jobs"].values() for s in job["steps"] if "uses" in s]
    assert len(used) == 4
    assert [name for name in used if not re.fullmatch(r"actions/[a-z-]+@v\d+", name)] == []
    assert workflow["permissions"] == {"contents": "read"}


def test_the_guide_itself_is_linked_from_the_readme():
    for name in ("CONTRIBUTING.md", "CHANGELOG.md", "CITATION.cff"):
        assert f"]({name})" in text_of("README.md")
        assert Path(REPOSITORY, name).is_file()
