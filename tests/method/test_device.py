"""Where a run computes: what is named is what is taken."""

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
    unset = choose_compute()
    monkeypatch.setenv("POUTA_DEVICE", "")
    assert choose_compute() == unset
    monkeypatch.setenv("POUTA_DEVICE", "cpu")
    assert choose_compute().device.type == "cpu"


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
