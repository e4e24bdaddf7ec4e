"""Zeros in the middle of a JPEG, where a disk or a card has lost a block of it."""

HOLE = bytes(256)
PLAIN = (0xC0, 0xC1)  # frames that are coded from top to bottom, by Huffman's codes
FRAMES = (*PLAIN, 0xC2, 0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
TABLES, SCAN, END = 0xC4, 0xDA, b"\xff\xd9"


def has_hole(content: bytes) -> bool:
    """Do zeros stand in a picture's data? False also where that cannot be told.

    A run of zeros is the shortest code again and again. In the tables that cameras use it stands
    for a coefficient of -1 in gray: no picture has thousands of these, one after another. Where it
    stands for "nothing more in this block", as in tables that were made for one picture, a flat
    picture has long runs too. Other programs show such a file as if it were whole, and so does
    Pillow.
    """
    shortest: dict[int, int] = {}  # what it stands for, by the number of a table of coefficients
    colours, at = None, 2
    while content[at : at + 1] == b"\xff":
        if content[at + 1] == 0xFF:  # filled up
            at += 1
            continue
        kind, size = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        body = content[at + 4 : at + 2 + size]
        at += 2 + size
        if kind in FRAMES:
            colours = body[5] if kind in PLAIN and len(body) > 5 else None
        elif kind == TABLES:
            while len(body) > 17:
                if body[0] >> 4:
                    shortest[body[0] & 15] = body[17]
                body = body[17 + sum(body[1:17]) :]
        elif kind == SCAN:
            if colours is None or len(body) < 3 or body[0] != colours:
                return False
            end = content.find(END, at)
            hole = content.find(HOLE, at, end if end > 0 else len(content))
            return hole >= 0 and shortest.get(body[2] & 15, 0) != 0
    return False
