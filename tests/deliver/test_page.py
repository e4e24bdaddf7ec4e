"""The page of an answer: whole in itself, the worst first, and nothing in a name becomes code."""

import base64
import io
import json
import re
import shutil
import unicodedata
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pouta_lib import cli
from pouta_lib.deliver.known import truth_of
from pouta_lib.deliver.page import MARK, _axis, _bars, read_answer, write_page
from pouta_lib.detector.answer import KIND
from pouta_lib.ground.errors import PoutaError
from pouta_lib.ground.outputs import own_files
from pouta_lib.score.metrics import image_metrics, pixel_metrics

NASTY = '<img src=x onerror="alert(1)">&.png'
SCORES = {"a.png": 0.2, "b b.png": 0.9, NASTY: 0.6, "NA": 0.4, "c.png": 0.5, "d.png": 0.05}


@pytest.fixture
def answer(tmp_path):
    """Six images, half of them called defective, and overlays of five; one is damaged."""
    folder = tmp_path / "answer"
    folder.mkdir()
    table = pd.DataFrame(SCORES.items(), columns=["file", "score"]).assign(threshold=0.45)
    table["verdict"] = np.where(table["score"] > 0.45, "defective", "good")
    table.to_csv(folder / "scores.csv", index=False)
    for name in ("a.png", "b b.png", NASTY, "NA"):
        Image.new("RGB", (900, 600), (90, 40, 10)).save(folder / f"{name}.png")
    (folder / "c.png.jpg").write_bytes(b"broken")
    return folder


class Page(HTMLParser):
    """What a browser would make of it."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.names, self.scripts, self.inside = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.inside = tag

    def handle_endtag(self, tag):
        self.inside = ""

    def handle_data(self, text):
        if self.inside == "b":
            self.names.append(text)
        if self.inside == "script":
            self.scripts.append(text)

    def data(self):
        return json.loads(self.scripts[0])


def page_of(path):
    return Page(path.read_text("utf-8"))


def test_the_worst_comes_first_and_names_are_only_text(answer, capsys):
    assert cli.main(["report", str(answer)]) == 0
    assert capsys.readouterr().out == f"{answer / 'report.html'}\n"
    page = page_of(answer / "report.html")
    assert page.names == ["b b.png", NASTY, "c.png", "NA", "a.png", "d.png"]
    assert page.data()["scores"] == sorted(SCORES.values(), reverse=True)
    assert page.data()["threshold"] == 0.45
    assert [a.get("onerror") for _, a in page.tags if "onerror" in a] == []
    verdicts = [a["class"] for tag, a in page.tags if tag == "li"]
    assert verdicts == ["bad"] * 3 + [""] * 3


def test_it_holds_everything_itself(answer):
    text = write_page(answer).read_text("utf-8")
    page = Page(text)
    pictures = [a["src"] for tag, a in page.tags if tag == "img"]
    assert len(pictures) == 4, "not of the damaged overlay, and not of the missing one"
    assert all(source.startswith("data:image/jpeg;base64,") for source in pictures)
    assert not any("href" in a or tag in ("link", "iframe") for tag, a in page.tags)
    assert not re.search(r"\b(https?:)?//[a-z]", text)
    (policy,) = (a["content"] for _, a in page.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'")
    assert len(text) < 100_000, "thumbnails are small, whatever the overlays are"


def test_pictures_that_are_missing_or_damaged_are_told_of(answer, tmp_path):
    text = write_page(answer).read_text("utf-8")
    told = re.search(r"<p>(\d+ pictures?) missing or damaged: (.*)</p>", text)
    assert told.groups() == ("2 pictures", "the map of c.png, the map of d.png")
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in set(SCORES) - {"a.png"}:
        Image.new("RGB", (90, 60)).save(photos / name, "PNG")
    for name in ("c.png", "d.png"):
        Image.new("RGB", (90, 60)).save(answer / f"{name}.jpg")
    assert "1 picture missing or damaged: the photograph of a.png<" in write_page(
        answer, images=photos
    ).read_text("utf-8")
    Image.new("RGB", (90, 60)).save(photos / "a.png")
    assert "missing or damaged" not in write_page(answer, images=photos).read_text("utf-8")


def test_photographs_of_twelve_bits_are_not_shown_black(answer, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for k, name in enumerate(("b b.png", "a.png")):  # the first is the brightest of all
        values = np.full((60, 90), 4095 >> k, np.uint16)
        Image.fromarray(values).save(photos / name)
    page = page_of(write_page(answer, images=photos))
    shown = {a["alt"]: a["src"].partition(",")[2] for tag, a in page.tags if tag == "img"}
    for name, expected in (("b b.png", 255), ("a.png", 127)):
        content = base64.b64decode(shown[f"photograph of {name}"])
        assert np.asarray(Image.open(io.BytesIO(content))).mean() == pytest.approx(expected, abs=2)


def test_labels_and_masks_know_names_however_their_letters_are_written(tmp_path):
    """Macs write an umlaut as two signs."""
    names = [unicodedata.normalize("NFD", name) for name in ("gr\u00fcn.png", "bl\u00fc.png")]
    rows = [f"{name},{score},0.45,," for name, score in zip(names, (0.2, 0.9), strict=True)]
    (tmp_path / "scores.csv").write_text(
        "\n".join(["file,score,threshold,verdict,overlay", *rows]), encoding="utf-8"
    )
    (tmp_path / "labels.csv").write_text(
        "file,label\ngr\u00fcn.png,good\nbl\u00fc.png,bent\n", "utf-8"
    )
    table = read_answer(tmp_path)
    (tmp_path / "masks").mkdir()
    drawn = np.zeros((16, 16), np.uint8)
    drawn[4:8, 4:8] = 255
    Image.fromarray(drawn).save(tmp_path / "masks" / "bl\u00fc_mask.png")
    truth = truth_of(table, tmp_path / "labels.csv", tmp_path / "masks")
    assert truth.labels | {} == {names[0]: "good", names[1]: "bent"}
    assert list(truth.masks) == names[1:]


def test_labels_give_metrics_and_the_oracles_agree(answer, tmp_path):
    kinds = {"a.png": "OK", "b b.png": "bent", NASTY: "good", "NA": "cut", "c.png": "cut"}
    kinds["d.png"] = "Good"
    table = pd.DataFrame(kinds.items(), columns=["file", "label"])
    table.to_csv(tmp_path / "labels.csv", index=False)
    path = write_page(answer, tmp_path / "page.html", labels=tmp_path / "labels.csv")
    page = page_of(path)
    bad = [name in ("b b.png", "NA", "c.png") for name in page.names]
    assert page.data()["bad"] == bad
    found = image_metrics(np.array(bad), np.array(page.data()["scores"]))
    text = path.read_text("utf-8")
    for name, metric in (("AUROC", "image_auroc"), ("average precision", "image_ap")):
        shown = re.search(rf"<th>{name}</th><td>([\d.]+) %</td><td>([\d.]+) to ([\d.]+)</td>", text)
        value, low, high = map(float, shown.groups())
        assert value == round(100 * found[metric], 1)
        assert low <= value <= high
    assert "labelled bent" in text


def test_masks_say_which_are_defective_and_are_outlined(answer, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    drawn = np.zeros((600, 900), np.uint8)
    drawn[200:400, 300:600] = 255
    Image.fromarray(drawn).save(masks / "b b_mask.png")
    plain = page_of(write_page(answer))
    marked = page_of(write_page(answer, masks=masks))
    assert marked.data()["bad"] == [True] + [False] * 5
    differ = [
        one != other
        for (tag, one), (_, other) in zip(
            [t for t in plain.tags if t[0] == "img"],
            [t for t in marked.tags if t[0] == "img"],
            strict=True,
        )
    ]
    assert differ == [True, False, False, False]
    text = (answer / "report.html").read_text("utf-8")
    assert "Outlined: what the masks mark." in text
    assert "Outlined" not in write_page(answer).read_text("utf-8")


def photographs(answer, folder):
    """Of all images of the answer, in which the one without a suffix is now called e.png."""
    folder.mkdir()
    scores = (answer / "scores.csv").read_text().replace("\nNA,", "\ne.png,")
    (answer / "scores.csv").write_text(scores)
    for name in (set(SCORES) - {"NA"}) | {"e.png"}:
        noise = np.random.default_rng(0).integers(60, 190, (60, 90, 3), np.uint8)
        Image.fromarray(noise).save(folder / name, "PNG")
    return folder


def drawn_on(width, height):
    """A mask of this size."""
    drawn = np.zeros((height, width), np.uint8)
    drawn[height // 3 : 2 * height // 3, width // 3 : 2 * width // 3] = 255
    return drawn


def test_masks_may_lie_beside_the_photographs(answer, tmp_path):
    folder = photographs(answer, tmp_path / "photos")
    Image.fromarray(drawn_on(90, 60)).save(folder / "b b_mask.png")
    page = page_of(write_page(answer, masks=folder, images=folder))
    assert page.data()["bad"] == [True] + [False] * 5


def test_masks_and_maps_give_pixel_metrics(answer, tmp_path):
    """Those of the definition, on maps that are kept; a map that is missing is told of."""
    masks = tmp_path / "masks"
    masks.mkdir()
    drawn = np.zeros((16, 16), bool)
    drawn[4:9, 5:10] = True
    for name in ("b b", "c"):
        mask = Image.fromarray(drawn.astype(np.uint8) * 255)
        mask.resize((900, 600), Image.Resampling.NEAREST).save(masks / f"{name}.png")
    maps = {name: np.random.default_rng(k).random((16, 16)) for k, name in enumerate(SCORES)}
    for name in ("b b.png", "c.png"):
        maps[name] = maps[name] + 0.4 * drawn
    for name, values in maps.items():
        Image.fromarray(values.astype(np.float32)).save(answer / f"{name}.map.tiff")
    text = write_page(answer, masks=masks).read_text("utf-8")
    truth = np.stack([drawn & (name in ("b b.png", "c.png")) for name in SCORES])
    found = pixel_metrics(truth, np.stack(list(maps.values())).astype(np.float32))
    for title, metric in (("AUROC", "auroc"), ("average precision", "ap"), ("AUPRO", "aupro")):
        row = rf"<th>pixels: {title}</th><td>([\d.]+) %</td><td>([\d.]+) to ([\d.]+)</td>"
        value, low, high = map(float, re.search(row, text).groups())
        assert value == round(100 * found[f"pixel_{metric}"], 1)
        assert low <= value <= high
    (answer / "NA.map.tiff").unlink()
    with pytest.raises(PoutaError, match="a map of each image, found none of NA"):
        write_page(answer, masks=masks)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"II*\0", "a file that cannot be decoded"),
        (np.zeros((8, 8), np.float32), r"of 4 x 4 .* found \(8, 8\), or not finite"),
        (np.full((4, 4), np.nan, np.float32), "4 finite numbers, found"),
    ],
)
def test_damaged_maps_are_named(answer, tmp_path, content, found):
    masks, drawn = tmp_path / "masks", np.zeros((600, 900), np.uint8)
    drawn[200:400, 300:600] = 255
    masks.mkdir()
    Image.fromarray(drawn).save(masks / "b b.png")
    for name in SCORES:
        Image.fromarray(np.eye(4, dtype=np.float32)).save(answer / f"{name}.map.tiff")
    write_page(answer, masks=masks)
    path = answer / "a.png.map.tiff"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        Image.fromarray(content).save(path)
    with pytest.raises(PoutaError, match=rf"{found}.*\n.*a.png.map.tiff\n"):
        write_page(answer, masks=masks)


def test_the_photographs_and_known_good_ones_are_shown_as_well(answer, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    Image.new("RGB", (90, 60)).save(photos / "a.png")
    other = tmp_path / "good"
    other.mkdir()
    good = pd.DataFrame({"file": ["g.png", "h.png"], "score": [0.1, 0.5], "threshold": 0.45})
    good.to_csv(other / "scores.csv", index=False)
    good.assign(threshold=9.5).to_csv(other / "scores.csv", index=False)
    with pytest.raises(PoutaError, match="of the same detector, found another threshold, 9.5"):
        write_page(answer, good=other)
    good.to_csv(other / "scores.csv", index=False)
    page = page_of(write_page(answer, images=photos, good=other))
    alts = [a["alt"] for tag, a in page.tags if tag == "img"]
    assert "photograph of a.png" in alts and len(alts) == 5
    assert page.data()["others"] == [0.1, 0.5]


def test_what_the_fit_held_out_is_shown_by_itself(answer):
    (answer / "held_out.csv").write_text("score\n0.3\n0.1\n")
    page = page_of(write_page(answer, threshold=0.7))
    assert page.data()["others"] == [0.1, 0.3] and page.data()["threshold"] == 0.7
    (answer / "held_out.csv").write_text("score\nmany\n")
    with pytest.raises(PoutaError, match="finite scores of good parts"):
        write_page(answer)


def test_bars_are_shares_and_decades_are_logarithmic():
    axis = _axis(np.array([1e-4, 1.0]))
    assert axis.logarithmic and axis.place(np.array([1e-4, 1e-2, 1.0])) == pytest.approx(
        [0, 0.5, 1]
    )
    assert not _axis(np.array([20.0, 40.0])).logarithmic
    assert _axis(np.array([3.0, 3.0])).place(np.array([3.0])) == pytest.approx([0.5])
    bars = _bars(_axis(np.array([0.0, 4.0])), {"x": np.array([0.0, 0.0, 4.0, 4.0]), "y": [4.0]})
    assert bars["x"][0] == bars["x"][-1] == 0.5 and bars["y"][-1] == 1 and sum(bars["x"]) == 1


def test_only_a_page_of_ours_is_replaced(answer, tmp_path):
    write_page(answer)
    assert MARK in write_page(answer).read_text("utf-8")
    letter = tmp_path / "letter.html"
    letter.write_text("<p>Dear Anna")
    with pytest.raises(PoutaError, match="an earlier report, found another file"):
        write_page(answer, letter)
    assert letter.read_text() == "<p>Dear Anna"
    with pytest.raises(PoutaError, match="found a folder"):
        write_page(answer, tmp_path)


def test_what_is_no_answer_is_refused(answer, tmp_path):
    with pytest.raises(PoutaError, match=r"an answer, found none.*\n.*\n.*pouta predict"):
        read_answer(tmp_path)
    for text, expected in (
        ("file,score\na.png,1\n", "unreadable"),
        ("file,score,threshold\na.png,x,1\n", "unreadable"),
        ("file,score,threshold\n", "finite scores"),
        ("file,score,threshold\na.png,inf,1\n", "finite scores"),
        ("file,score,threshold\na.png,0,3,0,4\n", "more cells than columns"),
        ("file,score,threshold\na.png,1,2\na.png,2,2\n", "one line for each image"),
        ("file,score,threshold\na.png,1,2\nb.png,2,3\n", "and one threshold"),
        ("file,score,threshold\n../a.png,1,2\nb.png,2,2\n", r"without folders, found '../a.png'"),
        ("file;score;threshold\na.png;1;2\n", "unreadable(.|\n)*as it wrote it"),
    ):
        (answer / "scores.csv").write_text(text)
        with pytest.raises(PoutaError, match=expected):
            write_page(answer)
    assert not (answer / "report.html").exists()


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-8")])
def test_labels_are_read_as_spreadsheets_write_them(answer, tmp_path, separator, encoding):
    table = pd.DataFrame(SCORES.items(), columns=["File ", "Label"])
    table.loc[0, "File "] = "C:\\photos\\" + table.loc[0, "File "]
    table["Label"] = np.where(table["Label"] < 0.45, "OK", "NG")
    table.to_csv(tmp_path / "labels.csv", sep=separator, encoding=encoding, index=False)
    page = write_page(answer, tmp_path / "page.html", labels=tmp_path / "labels.csv")
    assert page_of(page).data()["bad"] == [True, True, True, False, False, False]


def test_what_was_not_read_is_told_of(answer):
    """Nobody is to think that these were looked at."""
    assert "have no score" not in write_page(answer).read_text("utf-8")
    with (answer / "scores.csv").open("a", encoding="utf-8") as table:
        for name in ("cut.jpg", "./-<b>.png", *(f"{k}.png" for k in range(30))):
            table.write(f"{name},,0.45,not read\n")
    text = write_page(answer).read_text("utf-8")
    told = "32 more could not be read, or show nothing, and have no score: "
    assert f"{told}cut.jpg, -&lt;b&gt;.png, 0.png, " in text
    assert ", 17.png, ...</p>" in text and "18.png" not in text
    assert len(read_answer(answer)) == 6


def test_a_page_makes_way_with_the_answer_it_is_of(answer, tmp_path):
    """Beside the next answer it would show the scores of the last; one that was edited stays."""

    def predicted():
        with own_files(tmp_path / "own", KIND, "scores.csv") as folder:
            shutil.copy(answer / "scores.csv", folder)

    predicted()
    page = write_page(tmp_path / "own")
    assert write_page(tmp_path / "own") == page, "it may be made again"
    predicted()
    assert not page.exists()
    elsewhere = write_page(tmp_path / "own", tmp_path / "page.html")
    write_page(tmp_path / "own").write_text("mine")
    with pytest.raises(PoutaError, match=r"1 of its files changed since, first 'report.html'"):
        predicted()
    assert page.read_text() == "mine" and elsewhere.exists()


def test_labels_that_do_not_fit_are_refused(answer, tmp_path):
    path = tmp_path / "labels.csv"
    with pytest.raises(PoutaError, match="labels, found none"):
        write_page(answer, labels=path)
    path.write_text("name,kind\n")
    with pytest.raises(PoutaError, match=r"file and label, found a first line name, kind\n"):
        write_page(answer, labels=path)
    path.write_text("File,file ,label\na.png,b.png,good\n")
    with pytest.raises(PoutaError, match="found a first line file, file, label\n"):
        write_page(answer, labels=path)
    path.write_text("file,label\na.png,good\n")
    with pytest.raises(PoutaError, match="found none for 5 images, first b b.png"):
        write_page(answer, labels=path)
    (tmp_path / "masks").mkdir()
    with pytest.raises(PoutaError, match="masks of these images, found none\n"):
        write_page(answer, masks=tmp_path / "masks")


def test_masks_of_no_image_do_not_make_it_good(answer, tmp_path):
    """Misnamed, or a folder deeper; what could not be read has its mask all the same."""
    masks, drawn = tmp_path / "masks", np.zeros((600, 900), np.uint8)
    drawn[200:400, 300:600] = 255
    (masks / "cut").mkdir(parents=True)
    Image.fromarray(drawn).save(masks / "cut" / "a_mask.png")
    with pytest.raises(PoutaError, match="found none; 1 file in deeper folders, first cut/a_mask"):
        write_page(answer, masks=masks)
    shutil.rmtree(masks / "cut")
    for name in ("a", "e"):
        Image.fromarray(drawn).save(masks / f"{name}_mask.png")
    said = r"images alone, found 1 file named as .* not there, first masks/e_mask.png.*\n.*\n.*--la"
    with pytest.raises(PoutaError, match=said):
        write_page(answer, masks=masks)
    with (answer / "scores.csv").open("a") as table:
        table.write("e.png,,0.45,not read\n")
    write_page(answer, masks=masks)


UNREAD = {
    "b b_mask.gif": "2 files (.gif, .heic) of a picture format that is not read, first masks/b b",
    "b b_mask": "1 file of a picture by content, not by name, first masks/b b_mask: give",
    "cut/b b_mask.png": "1 file in deeper folders, first cut/b b_mask.png: move up",
    "link/b b_mask.png": "1 file linking to nothing, first masks/b b_mask.png: mount",
    "folder/b b_mask.png": "1 file named as a picture (an empty folder), first masks/b b_mask.png",
}


@pytest.mark.parametrize("name", UNREAD)
@pytest.mark.parametrize("beside", [False, True])
def test_a_mask_that_cannot_be_read_does_not_make_its_image_good(
    answer, tmp_path, capsys, name, beside
):
    """Beside the photographs lie others that are not read; they are no masks."""
    masks, drawn = tmp_path / "masks", drawn_on(900, 600)
    if beside:
        photographs(answer, masks)
    else:
        masks.mkdir()
    Image.fromarray(drawn).save(masks / "a_mask.png")
    (masks / "Thumbs.db").write_bytes(b"x")
    write_page(answer, masks=masks)
    kind, _, last = name.rpartition("/")
    if kind == "link":
        (masks / last).symlink_to(masks / "unmounted.png")
    elif kind == "folder":
        (masks / last).mkdir()
    else:
        (masks / name).parent.mkdir(exist_ok=True)
        Image.fromarray(drawn).save(masks / name, "GIF" if name.endswith("gif") else "PNG")
    if name.endswith("gif"):
        (masks / "e.heic").write_bytes(b"x")
    said = UNREAD[name]
    if beside:
        said = said.replace("2 files (.gif, .heic)", "1 file (.gif)")
    with pytest.raises(PoutaError, match=f"masks that can be read, found {re.escape(said)}"):
        write_page(answer, masks=masks)
    table = read_answer(answer)[["file"]].assign(label=["bent"] * 5 + ["good"])
    table.to_csv(tmp_path / "labels.csv", index=False)
    write_page(answer, masks=masks, labels=tmp_path / "labels.csv")
    assert f"note: masks: {said}" in capsys.readouterr().err


def test_photographs_that_are_not_read_are_no_masks_beside_them(answer, tmp_path):
    masks = photographs(answer, tmp_path / "photos")
    for name in ("e.heic", "b b.cr2", "old/c.png"):
        (masks / name).parent.mkdir(exist_ok=True)
        (masks / name).write_bytes(b"x")
    Image.fromarray(drawn_on(90, 60)).save(masks / "a_mask.png")
    write_page(answer, masks=masks, images=masks)


@pytest.mark.parametrize("large", [False, True])
def test_a_mask_of_another_size_than_the_photograph_is_refused(answer, tmp_path, large):
    """Of a large photograph the overlay is smaller: there the shape tells."""
    masks = tmp_path / "masks"
    masks.mkdir()
    overlay, wrong = (900, 600), [(450, 300), (900, 599), (560, 600), (600, 560), (1800, 1200)]
    right = [overlay]
    if large:
        overlay, right = (1024, 683), [(6000, 4000), (1024, 683), (1025, 684)]
        wrong = [(900, 600), (6000, 3900), (4000, 4000), (4000, 3900)]
    Image.new("RGB", overlay).save(answer / "a.png.png")
    for size in [*right, *wrong]:
        Image.fromarray(drawn_on(*size)).save(masks / "a_mask.png")
        if size in right:
            write_page(answer, masks=masks)
            continue
        said = "a mask of its photograph's size, whose overlay is {} x {}, found {} x {}\n"
        with pytest.raises(PoutaError, match=said.format(*overlay, *size)):
            write_page(answer, masks=masks)


def test_a_second_mask_that_is_called_as_its_image_is_refused(answer, tmp_path):
    """Where the photographs are known; a copy of the photograph is none."""
    masks, photos = tmp_path / "masks", tmp_path / "photos"
    for folder in (masks, photos):
        folder.mkdir()
        Image.new("RGB", (900, 600)).save(folder / "a.png")
    Image.fromarray(drawn_on(900, 600)).save(masks / "a_mask.png")
    write_page(answer, masks=masks, images=photos)
    Image.fromarray(drawn_on(900, 600)).save(masks / "a.png")
    with pytest.raises(PoutaError, match=r"found 1 file named as the mask .* another, .*/a.png"):
        write_page(answer, masks=masks, images=photos)


def test_a_mask_that_lies_otherwise_than_the_photograph_asks_for_that(answer, tmp_path):
    """Drawn on the file's own grid, which EXIF turns; the photograph alone says how."""
    drawn = np.zeros((900, 600), np.uint8)
    drawn[300:500, 200:300] = 255
    (tmp_path / "masks").mkdir()
    (tmp_path / "photos").mkdir()
    Image.fromarray(drawn).save(tmp_path / "masks" / "a.png")
    with pytest.raises(PoutaError, match=r"found 600 x 900 for one of 900 x 600\n.*\n.*--images"):
        write_page(answer, masks=tmp_path / "masks")
    exif = Image.Exif()
    exif[0x112] = 6
    Image.new("RGB", (600, 900)).save(tmp_path / "photos" / "a.png", exif=exif)
    write_page(answer, masks=tmp_path / "masks", images=tmp_path / "photos")


def test_an_empty_mask_is_that_of_a_good_part(answer, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for name, value in (("a", 0), ("b b", 255)):
        drawn = np.zeros((600, 900), np.uint8)
        drawn[200:400, 300:600] = value
        Image.fromarray(drawn).save(masks / f"{name}.png")
    Image.new("RGBA", (900, 600), (0, 0, 0, 255)).save(masks / "c.png")
    noise = np.random.default_rng(0).integers(0, 4, (600, 900), np.uint8)  # of compression
    Image.fromarray(noise).save(masks / "d.jpg", quality=90)
    page = page_of(write_page(answer, masks=masks))
    assert page.data()["bad"] == [True] + [False] * 5


def test_several_masks_of_one_image_are_refused(answer, tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a_mask_1.png", "a_mask_2.png", "c.png"):
        Image.new("L", (900, 600), 255).save(masks / name)
    with pytest.raises(PoutaError, match=r"found 2 files named as one of several.*first masks/a_m"):
        write_page(answer, masks=masks)


def test_masks_that_do_not_tell_images_apart_are_refused(answer, tmp_path):
    """Two images of one stem, and two masks of one image."""
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a.png", "a_gt.png"):
        Image.new("L", (900, 600), 255).save(masks / name)
    with pytest.raises(PoutaError, match=r"found 1 file named as the mask .* another, .*/a_gt.png"):
        write_page(answer, masks=masks)
    (masks / "a_gt.png").unlink()
    table = pd.read_csv(answer / "scores.csv")
    table.loc[table["file"] == "c.png", "file"] = "a.jpg"
    table.to_csv(answer / "scores.csv", index=False)
    with pytest.raises(PoutaError, match=r"a mask for each image, found one for a\.\w+ and a\.\w+"):
        write_page(answer, masks=masks)


def test_what_is_outlined_is_what_the_mask_marks(answer, tmp_path):
    """The noise of compression is not, and what EXIF turns is turned."""
    photos, turned = tmp_path / "photos", Image.Exif()
    turned[0x0112] = 6
    photos.mkdir()
    Image.new("RGB", (600, 900), (90, 40, 10)).save(photos / "b b.png", exif=turned)
    raw = np.zeros((900, 600), np.uint8)  # upright it is 900 wide
    raw[100:300, 50:250] = 255
    pages = []
    for name, mask in (
        ("raw", Image.fromarray(raw)),
        ("upright", Image.fromarray(raw).rotate(-90, expand=True)),
    ):
        folder = tmp_path / name
        folder.mkdir()
        mask.save(folder / "b b.jpg", quality=60)
        pages.append(page_of(write_page(answer, masks=folder, images=photos)))
    pictures = [[t for t in page.tags if t[0] == "img"] for page in pages]
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ("a.png,good\na.png,bent\n", "several for a.png"),
        ("a.png,\n", "none for 1 images, first a.png"),
        ("a.png,  \n", "none for 1 images, first a.png"),
        ("old/a.png,good\nnew/a.png,bent\n", "several for a.png"),
        ("A.PNG,good\n", "none for 1 images, first a.png, but 1 for others, first A.PNG"),
    ],
)
def test_labels_that_are_missing_or_contradict_each_other(answer, tmp_path, rows, found):
    others = "".join(f'"{name}",bent\n' for name in SCORES if name not in ("a.png", NASTY))
    others += '"<img src=x onerror=""alert(1)"">&.png",good\n'
    (tmp_path / "labels.csv").write_text(f"file,label\n{rows}{others}", encoding="utf-8")
    with pytest.raises(PoutaError, match=f"found {found}"):
        write_page(answer, labels=tmp_path / "labels.csv")


def test_labels_and_masks_that_contradict_each_other(answer, tmp_path):
    (tmp_path / "masks").mkdir()
    drawn = np.zeros((600, 900), np.uint8)
    drawn[200:400, 300:600] = 255
    Image.fromarray(drawn).save(tmp_path / "masks" / "a_mask.png")
    Image.fromarray(drawn * 0).save(tmp_path / "masks" / "c_mask.png")
    for bad in ("a.png", "b b.png"):
        table = pd.DataFrame({"file": list(SCORES)})
        table["label"] = np.where(table["file"] == bad, "cut", "good")
        table.to_csv(tmp_path / "labels.csv", index=False)
        known = {"labels": tmp_path / "labels.csv", "masks": tmp_path / "masks"}
        if bad == "a.png":
            write_page(answer, **known)
        else:
            with pytest.raises(PoutaError, match="1 called good whose masks mark .* first a.png"):
                write_page(answer, **known)


def test_labels_between_spaces_are_read_and_more_cells_than_columns_refused(answer, tmp_path):
    rows = [f" {name} , {'cut' if name == 'a.png' else 'good'} " for name in SCORES]
    nasty = '"<img src=x onerror=""alert(1)"">&.png",good'
    lines = ["file,label", nasty, *(row for row in rows if "<img" not in row)]
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    page = page_of(write_page(answer, labels=tmp_path / "labels.csv"))
    assert page.data()["bad"] == [False] * 4 + [True, False]
    lines[1:] = [f"{line},bent" for line in lines[1:]]
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(PoutaError, match="as many cells in each line as in the first, found more"):
        write_page(answer, labels=tmp_path / "labels.csv")


@pytest.mark.parametrize("what", ["images", "masks"])
def test_folders_that_are_others_are_refused(answer, tmp_path, what):
    with pytest.raises(PoutaError, match="found no"):
        write_page(answer, **{what: tmp_path / "nowhere"})
