"""docs/SCALING.md: what the paper's study costs is what tools/gpu_hours.py makes of it."""

from collections import Counter

import pytest
import torch
from gpu_hours import images, main, planned, report, weights_bytes

from pouta_lib.data.registry import DATASETS
from pouta_lib.ground.methods import find_method
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.models import build_model


@pytest.fixture(scope="module")
def paper():
    return load_profile("paper")


def test_the_page_has_todays_table(repository, committed, paper):
    page = (repository / "docs" / "SCALING.md").read_text(encoding="utf-8")
    assert report(paper, committed / "results" / "real") in page


def test_the_runs_are_those_of_the_papers_tables(paper):
    runs = planned(paper)
    of = Counter((key.dataset, key.shots is not None) for key in runs)
    # 15 categories x 6 methods, and two more seeds of two of them; 3 numbers of shots
    assert of["mvtec", False] == 15 * 6 + 4
    assert of["mvtec", True] == 15 * 3
    assert (of["visa", False], of["dagm", False]) == (12 * 3, 10 * 3)


def test_a_run_by_hand(paper):
    assert images(DATASETS["mvtec"].published["bottle"]) == (209, 83)
    assert images(DATASETS["dagm"].published["Class1"]) == (500, 575)
    assert find_method("pouta").num_steps(paper, 209) == 15675  # 600 epochs in batches of 8
    assert find_method("pouta").num_steps(paper, 209, 4) == 6000
    assert find_method("patchcore").num_steps(paper, 209) == 0
    small = load_profile("smoke")
    state = build_model("pouta", small).state_dict().values()
    assert weights_bytes(small, "pouta") == sum(t.numel() * t.element_size() for t in state)
    assert all(tensor.device == torch.device("cpu") for tensor in state)


@pytest.mark.parametrize(
    ("profile", "records", "found"),
    [
        ("paper", "demo", "a record of a training of paper, found none"),
        ("questions", "real", "published counts"),
    ],
)
def test_without_records_or_counts_it_says_so(capsys, committed, profile, records, found):
    with pytest.raises(SystemExit, match="1"):
        main(["--profile", profile, "--records", str(committed / "results" / records)])
    told = capsys.readouterr().err
    assert found in told
    assert "to do: " in told
