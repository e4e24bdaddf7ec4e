"""A few seconds of `make fuzz`, and folders of any names: nothing is lost, nothing unexpected."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pouta_lib.data.files import PICTURES, look_into, readable_suffixes

fuzz_images = pytest.importorskip("fuzz_images")  # a system without `resource` has none


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
def test_damaged_pictures_are_read_or_refused(seed, capfd):
    rng = np.random.default_rng(seed)
    files = fuzz_images.seeds()
    assert {fuzz_images.read(content) for content in files.values()} <= {"read", "refused"}
    outcomes = [
        fuzz_images.read(fuzz_images.damaged(content, rng, list(files.values())))
        for _ in range(4)
        for content in files.values()
    ]
    assert set(outcomes) == {"read", "refused"}
    capfd.readouterr()  # libtiff tells of each damage


STEMS = st.sampled_from(["a", "b", "A", "a_mask", "a-gt", "mask_b", "b.mask", "label", "ä ö", "gt"])
ENDINGS = st.sampled_from([".png", ".JPG", ".heic", ".gif", ".txt", "", ".Tiff"])
NAMES = st.builds("{}{}{}".format, st.sampled_from(["", "", "", "."]), STEMS, ENDINGS)


@pytest.mark.skipif(sys.platform != "linux", reason="file systems that take A for a")
@settings(max_examples=60, deadline=None, database=None, derandomize=True)
@given(st.dictionaries(NAMES, st.sampled_from(["file", "folder", "link"]), max_size=12))
def test_each_file_is_read_or_passed_over_for_one_reason(tmp_path_factory, names):
    folder = tmp_path_factory.mktemp("any")
    for name, kind in names.items():
        path = folder / name
        if kind == "file":
            path.write_bytes(b"x")
        elif kind == "folder":
            path.mkdir()
            (path / "deep.png").write_bytes(b"x")
        else:
            path.symlink_to(folder / "nowhere")
    look = look_into(folder)
    passed = [path for paths in look.passed_over.files.values() for path in paths]
    seen = [*look.files, *passed]
    assert len(seen) == len(set(seen))
    hidden = {name for name in names if name.startswith(".")}
    wanted = {
        folder / name / "deep.png" if kind == "folder" and name not in hidden else folder / name
        for name, kind in names.items()
    }
    assert set(seen) == wanted
    assert set(look.masks.values()) <= set(passed)
    assert set(look.masks) <= {*look.files, *passed}
    assert all(path.suffix.lower() in readable_suffixes() for path in look.files)
    assert PICTURES > set(readable_suffixes())
