"""Where a run computes: what is named is what is taken."""

import re

import pytest
import torch

from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.profiles import load_profile
from pouta_lib.method.device import Compute, choose_compute, within_memory


def test_devices():
    assert choose_compute("cpu").device.type == "cpu"
    with pytest.raises(PoutaError, match="expected a device out of"):
        choose_compute("tpu")


def test_an_empty_variable_is_none(monkeypatch):
    monkeypatch.delenv("POUTA_DEVICE", raising=False)
    unset = choose_compute()
    monkeypatch.setenv("POUTA_DEVICE", "")
    assert choose_compute() == unset
    monkeypatch.setenv("POUTA_DEVICE", "cpu")
    assert choose_compute().device.type == "cpu"


@pytest.fixture
def cards(monkeypatch):
    """Two cards as torch tells of them, without units for bf16: which of them it was led to."""
    taken, cudnn, matmul = [], torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    older = lambda including_emulation=True: including_emulation  # noqa: E731
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", older)
    monkeypatch.delenv("POUTA_DEVICE", raising=False)
    yield taken
    cudnn.allow_tf32, cudnn.benchmark, matmul.allow_tf32 = before


def test_a_card_is_taken_first_and_in_float32_where_it_has_no_units_for_bf16(cards, monkeypatch):
    assert choose_compute() == Compute(torch.device("cuda"), "fp32")
    assert choose_compute(precision="bf16").precision == "bf16", "as asked for"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert choose_compute().precision == "bf16"
    assert cards == [], "whichever is the process's own"


def test_a_card_that_is_named_by_its_number_becomes_the_processs_own(cards, monkeypatch):
    """Or steps would be recorded on the first one, where nothing runs."""
    monkeypatch.setenv("POUTA_DEVICE", "cuda:1")
    assert choose_compute().device == torch.device("cuda", 1) and cards == ["cuda:1"]


@pytest.mark.parametrize("name", ["cuda:2", "cuda:x", "cuda:", "cuda:-1"])
def test_a_card_that_is_not_there_is_refused(cards, name):
    told = "out of ['auto', 'cuda', 'cuda:0', 'cuda:1', 'cpu'], found"
    with pytest.raises(PoutaError, match=re.escape(f"{told} '{name}'")):
        choose_compute(name)
    assert cards == []


def test_what_is_recorded_is_what_is_computed():
    assert choose_compute("cpu", "tf32").precision == "fp32"
    assert choose_compute("cpu", "bf16").precision == "bf16"


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_what_another_has_asked_for_counts_for_nothing(monkeypatch, precision, before):
    """TF32 is set for the whole process: of a pair on a card, one member is in float32."""
    cudnn = torch.backends.cudnn
    monkeypatch.setattr(cudnn, "allow_tf32", before)
    with Compute(torch.device("cpu"), precision).autocast():
        assert cudnn.allow_tf32 == (precision != "fp32")
        assert torch.is_autocast_enabled("cpu") == (precision == "bf16")
    assert cudnn.allow_tf32 == before and not torch.is_autocast_enabled("cpu")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_too_little_memory_names_the_setting_to_lower(error):
    profile = load_profile("demo")
    with pytest.raises(PoutaError) as told, within_memory(profile):
        raise error
    assert f"{profile.size_px} px, width {profile.width}, batch 4 to fit" in str(told.value)
    assert "--set batch_size=2" in str(told.value)


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="shapes"), within_memory(load_profile("demo")):
        raise RuntimeError("shapes")
