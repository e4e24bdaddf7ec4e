"""POUTA's flow of data as one drawing, the blocks lit that a chapter of the book is about."""

import re
from html import escape

# Which chapters stand at which block of the drawing.
LIT = {
    "good images": "00 01 05 07 11 17 20",
    "synthesis": "00 02 05",
    "encoder": "00 03 05 13 15",
    "mapping": "00 03 05 13 15",
    "decoder": "00 03 05 13 15",
    "FCM": "00 04 05 12 14 15",
    "HSG": "00 04 05 12 14 15",
    "MSS": "04 05 12 13 18",
    "loss on the repair": "03 04 05 06 18",
    "losses on masks": "04 05 06 18",
    "head": "00 04 05 06 12 15 20",
    "score": "00 01 05 06 07 10 11 16 17 18 20",
    "records": "05 06 10 11 12 15 16 17 18",
}
LEVELS = {1: 58, 2: 118, 3: 178, 4: 238}  # where the column of a level begins
BOX = 34
WIDTH, HEIGHT = 360, 376
CAPTION = (
    "The flow of data through POUTA, which chapters 02 to 04 build block by block."
    " Orange: this chapter. Dashed: in training only."
)


def _written(text: str) -> str:
    """A symbol's index set low: `F_C1`, `M_p(1)`."""
    return re.sub(r"_([\w()]+)", r'<tspan class="low" dy="3">\1</tspan>', escape(text, quote=False))


def _text(x: float, y: float, text: str) -> str:
    return f'<text x="{x:g}" y="{y:g}">{_written(text)}</text>'


def _box(x: float, y: float, width: float, text: str, kind: str = "") -> str:
    """A rounded box, 20 high, and what stands in it; 13 higher for a second line."""
    lines = text.split("\n")
    frame = f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{7 + 13 * len(lines)}" rx="4"/>'
    words = (_text(x + width / 2, y + 14 + 13 * k, line) for k, line in enumerate(lines))
    return f'<g class="box {kind}">{frame}{"".join(words)}</g>'


def _group(y: float, height: float, width: float, kind: str = "") -> str:
    return f'<rect class="group {kind}" x="48" y="{y}" width="{width}" height="{height}" rx="6"/>'


def _line(*points: tuple[float, float]) -> str:
    """An arrow along these points; the style sheet sets its tip."""
    return f'<polyline points="{" ".join(f"{x:g},{y:g}" for x, y in points)}"/>'


def _blocks() -> dict[str, str]:
    """Each block by its name; what is there in training only has a dashed frame."""
    levels = LEVELS.items()
    encoder = "".join(_box(x, 72, BOX, f"E_{i}") for i, x in levels)
    decoder = "".join(_box(x + 14, 122, BOX, f"D_{i}") for i, x in levels)
    contrast = "".join(_box(x, 168, 48, f"F_C{i}") for i, x in levels)
    guided = "".join(_box(x, 218, 48, f"F'_C{i}") for i, x in levels if i < 4)
    heads = "".join(_box(x + 14, 268, BOX, f"M_p({i})") for i, x in levels)
    return {
        "good images": _box(4, 10, 128, "good images I_ori", "training"),
        "synthesis": _box(152, 10, 204, "synthesis: mask M, I_aug", "training"),
        "encoder": _group(56, 42, 250) + _text(80, 68, "encoder") + encoder,
        "mapping": _box(303, 91, 56, "mapping\nF_M"),
        "decoder": _group(106, 42, 250) + _text(94, 118, "decoder") + decoder,
        "FCM": _group(160, 36, 308)
        + _text(327, 175, "FCM:")
        + _text(327, 188, "contrast")
        + contrast,
        "HSG": _group(210, 36, 308)
        + _text(327, 225, "HSG:")
        + _text(327, 238, "guidance")
        + guided,
        "MSS": _group(260, 36, 308, "training")
        + _text(327, 275, "MSS:")
        + _text(327, 288, "heads")
        + heads,
        "loss on the repair": _box(2, 168, 38, "L_rec", "training"),
        "losses on masks": _box(2, 268, 38, "L_MSS", "training")
        + _box(2, 312, 38, "L_pre", "training"),
        "head": _box(48, 312, 308, "head: all levels together, the map M_p"),
        "score": _box(48, 350, 150, "score S and metrics"),
        "records": _box(222, 350, 134, "records and tables"),
    }


def _lines() -> str:
    """What flows from where to where."""
    drawn = [
        _line((132, 20), (150, 20)),
        _line((254, 30), (254, 43), (21, 43), (21, 70)),
        _line((38, 82), (56, 82)),  # I_in
        _line((272, 82), (331, 82), (331, 89)),
        _line((331, 124), (331, 132), (288, 132)),
        _line((72, 132), (40, 132)),
        _line((21, 142), (21, 166)),
        _line((48, 278), (42, 278)),
        _line((48, 322), (42, 322)),
        _line((123, 332), (123, 348)),
        _line((198, 360), (220, 360)),
    ]
    for i, x in LEVELS.items():
        drawn.append(_line((x + 6, 92), (x + 6, 166)))
        drawn.append(_line((x + 31, 142), (x + 31, 166)))
        below = 188 if i == 4 else 238
        drawn.append(_line((x + 6, below), (x + 6, 310)))
        drawn.append(_line((x + 31, below), (x + 31, 266)))
        if i < 4:
            right = LEVELS[i + 1]
            drawn.append(_line((x + BOX, 82), (right - 2, 82)))
            drawn.append(_line((right + 14, 132), (x + 14 + BOX + 2, 132)))
            drawn.append(_line((x + 24, 188), (x + 24, 216)))
            drawn.append(_line((right + (6 if i == 3 else 0), 228), (x + 50, 228)))
    return "".join(drawn)


def flow(chapter: str) -> str:
    """The drawing for a chapter, as HTML: `"04"` has FCM, HSG, MSS, the losses and the head lit."""
    lit = [name for name, chapters in LIT.items() if chapter in chapters.split()]
    blocks = "".join(
        f'<g class="block{" lit" if name in lit else ""}">{drawn}</g>'
        for name, drawn in _blocks().items()
    )
    images = _box(4, 72, BOX, "I_in") + _box(4, 122, BOX, "I_r")
    tip = '<marker id="tip" viewBox="0 0 6 6" refX="4" refY="3" markerWidth="6" markerHeight="6"'
    tip += ' orient="auto"><path d="M0,0 6,3 0,6z"/></marker>'
    label = f"The flow of data through POUTA. This chapter is about: {', '.join(lit)}."
    return (
        f'<figure class="flow"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">'
        f'<defs>{tip}</defs>{blocks}{images}<g class="lines">{_lines()}</g>'
        f"</svg><figcaption>{CAPTION}</figcaption></figure>"
    )
