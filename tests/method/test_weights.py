"""Weights are known by their digest: what is damaged or another's is refused by name."""

import os
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save

from pouta_lib.ground.errors import PoutaError
from pouta_lib.method.weights import FILE, load_weights, save_weights, weights_digest


def layer(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))


def refused(folder, digest=None):
    """What is said of the weights in a folder; each message names the file."""
    with pytest.raises(PoutaError) as error:
        load_weights(layer(1), folder, digest)
    assert str(error.value).count("\n") == 2
    assert f"where: {folder / FILE}" in str(error.value)
    return str(error.value)


def test_no_flipped_bit_changes_what_is_loaded(tmp_path):
    whole = layer()
    path = save_weights(whole, tmp_path)
    content, random, told = path.read_bytes(), np.random.default_rng(0), []
    for place in random.integers(0, len(content), 300):
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.integers(8)
        path.write_bytes(damaged)
        try:
            assert weights_digest(load_weights(layer(1), tmp_path).state_dict()) == weights_digest(
                whole.state_dict()
            )
        except PoutaError as error:
            told.append(str(error))
    assert len(told) > 250
    assert all(str(path) in text for text in told)


def test_what_is_no_file_of_weights_is_refused(tmp_path):
    path = save_weights(layer(), tmp_path)
    content = path.read_bytes()
    for damaged in (b"", b"{}", content[:-1], content[: len(content) // 2], content + b"x"):
        path.write_bytes(damaged)
        assert "a damaged file" in refused(tmp_path)
    path.unlink()
    assert "found no file" in refused(tmp_path)


def test_the_weights_of_another_run_are_refused(tmp_path):
    save_weights(layer(2), tmp_path)
    own = weights_digest(layer(2).state_dict())
    assert not load_weights(layer(), tmp_path, own).training
    assert "as they were saved, by their digest, found others" in refused(tmp_path, "0" * 64)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    model = layer()
    model[1].running_var[2] = value
    save_weights(model, tmp_path)
    assert "expected finite weights, found NaN or infinity in 1.running_var" in refused(tmp_path)


def test_weights_that_do_not_fit_are_refused(tmp_path):
    save_weights(torch.nn.Conv2d(3, 2, 1), tmp_path)
    assert "weights that fit the settings" in refused(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="the file system takes no such names")
def test_a_folder_whose_name_is_not_utf_8_holds_weights_as_well(tmp_path):
    folder = tmp_path / os.fsdecode(b"stra\xdfe")
    folder.mkdir()
    save_weights(layer(), folder)
    loaded = load_weights(layer(1), folder).state_dict()
    assert weights_digest(loaded) == weights_digest(layer().state_dict())


def test_older_files_without_a_digest_are_read(tmp_path):
    (tmp_path / FILE).write_bytes(save(dict(layer().state_dict())))
    loaded = load_weights(layer(1), tmp_path).state_dict()
    assert weights_digest(loaded) == weights_digest(layer().state_dict())
