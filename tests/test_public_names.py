"""What `import pouta_lib` gives, and what it leaves alone."""

import json
import os
import subprocess
import sys

import pytest

import pouta_lib

LOOK = """
import json, os, sys
modules, environment = set(sys.modules), dict(os.environ)
import pouta_lib
left = [name for name in dir(pouta_lib) if name.startswith("load_")]
print(json.dumps([sorted(set(sys.modules) - modules), dict(os.environ) == environment, left]))
"""


def test_the_import_is_cheap_and_changes_nothing():
    bare = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=bare, capture_output=True, text=True, check=True
    )
    imported, unchanged, names = json.loads(done.stdout)
    assert not {"numpy", "torch", "yaml"} & {name.partition(".")[0] for name in imported}
    assert [name for name in imported if name.startswith("pouta_lib.")] == []
    assert unchanged
    words = ("category", "detector", "profile", "run_data", "textures")
    assert names == [f"load_{word}" for word in words]


@pytest.mark.parametrize("name", pouta_lib.__all__)
def test_every_public_name_is_there(name):
    found = getattr(pouta_lib, name)
    assert callable(found)
    assert found.__name__ == name
    home = f"pouta_lib.{pouta_lib.PUBLIC[name]}"
    assert found.__module__ == home or found.__module__.startswith(f"{home}.")
    assert name in dir(pouta_lib)


def test_another_name_is_refused_and_floors_are_modules():
    with pytest.raises(AttributeError, match="module 'pouta_lib' has no attribute 'trian'"):
        _ = pouta_lib.trian
    with pytest.raises(ImportError):
        exec("from pouta_lib import trian")
    from pouta_lib import report

    assert report.__name__ == "pouta_lib.report"
