"""A few seconds of `make fuzz`, folders of any names, and lists of any lines: nothing is lost."""

import sys

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trees import dagm_tree, visa_tree
from wrong import found_or_refused

from pouta_lib.data import dagm, visa
from pouta_lib.data.files import PICTURES, look_into, readable_suffixes
from pouta_lib.deliver.known import truth_of
from pouta_lib.deliver.page import read_answer

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


@pytest.fixture(scope="module")
def lists(tmp_path_factory):
    """Each list of files that is read: where it is, what stands in it, and how it is read."""
    root = tmp_path_factory.mktemp("lists")
    split = visa_tree(root) / "split_csv" / "1cls.csv"
    labels = dagm_tree(root) / "Train" / "Label" / "Labels.txt"
    scores, known = root / "scores.csv", root / "labels.csv"
    scores.write_text("file,score,threshold,verdict\na.png,0.5,0.4,good\nb.png,0.3,0.4,good\n")
    known.write_text("file,label\na.png,cut\nb.png,good\n")
    table = read_answer(root)
    reads = {
        split: lambda: visa.listing(root / "visa", "candle"),
        labels: lambda: dagm.listing(root / "dagm", "Class1"),
        scores: lambda: read_answer(root),
        known: lambda: truth_of(table, known, None),
    }
    for read in reads.values():
        read()
    return [(path, path.read_text(), read) for path, read in reads.items()]


CELLS = st.sampled_from(["file", "label", "score", "object", "a.png", "good", "train", "0", "1"])
CELLS |= st.sampled_from(["0001.PNG", "..", "/", "n" * 300, "nan", "1e999", "\\ud800", '"', "\0"])
CELLS |= st.text(max_size=6) | st.floats().map(str)
LINES = st.builds(lambda sign, cells: sign.join(cells), st.sampled_from(",;\t"), st.lists(CELLS))


@settings(max_examples=200, deadline=None, database=None, derandomize=True)
@given(
    which=st.integers(0, 3),
    line=st.integers(0, 7),
    cell=st.none() | st.integers(0, 4),  # none: the whole line
    text=LINES | CELLS,
    raw=st.sampled_from([b"", b"\xff", b"\xef\xbb\xbf"]),
)
@example(which=0, line=1, cell=3, text="n" * 300, raw=b"")
@example(which=0, line=6, cell=4, text="candle/" * 900, raw=b"")
@example(which=2, line=1, cell=0, text="../secret.png", raw=b"")
@example(which=2, line=1, cell=0, text="a\0.png", raw=b"")
@example(which=3, line=0, cell=None, text="file,label,label ", raw=b"")
def test_any_list_is_read_or_refused(lists, which, line, cell, text, raw):
    path, whole, read = lists[which]
    rows = whole.split("\n")
    line %= len(rows)
    if cell is None:
        rows[line] = text
    else:
        sign = "\t" if path.suffix == ".txt" else ","
        cells = rows[line].split(sign)
        cells[cell % len(cells)] = text
        rows[line] = sign.join(cells)
    path.write_bytes(raw + "\n".join(rows).encode("utf-8", "surrogatepass"))
    try:
        found_or_refused(read)
    finally:
        path.write_text(whole)
