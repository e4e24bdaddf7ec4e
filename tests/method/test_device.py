"""Where a run computes: what is named is what is taken."""

import pytest

from pouta_lib.ground.errors import PoutaError
from pouta_lib.method.device import choose_compute


def test_devices():
    assert choose_compute("cpu").device.type == "cpu"
    with pytest.raises(PoutaError, match="expected a device out of"):
        choose_compute("tpu")
