"""Zeros in the middle of a JPEG, where a disk or a card has lost a block of it."""

import re
from collections import defaultdict
from collections.abc import Iterator

HOLE = bytes(256)
SEQUENTIAL, PROGRESSIVE = (0xC0, 0xC1), 0xC2  # frames of Huffman's codes
TABLES, END, SCAN, INTERVAL = 0xC4, 0xD9, 0xDA, 0xDD
MARKER = re.compile(rb"\xff+[\x01-\xcf\xd8-\xfe]|\Z")  # the end of a scan's data
RESTART = re.compile(rb"\xff+[\xd0-\xd7]")  # between parts of it

Table = list[tuple[int, int]]  # by the next 16 bits: how many of them a code has; what it means


def has_hole(content: bytes) -> bool:
    """Do zeros stand in a picture's data? False also where that cannot be told.

    Other programs show such a file as if it were whole, and so does Pillow. Where a pass over the
    picture has a run of zeros, its codes are counted: they have to be as many as the picture has
    blocks, to the bit, and so they are in whatever an encoder wrote, flat areas written as zeros
    included. Uncounted, zeros are a hole where they stand for a coefficient below 0, as with the
    tables that cameras use: no picture has thousands of these, one after another.

    *Source*: ITU-T T.81, annexes B, F and G.
    """
    segments = list(_segments(content)) if HOLE in content else []
    if not any(HOLE in data for *_, data in segments):
        return False
    tables: dict[int, Table] = {}
    frame, interval = None, 0
    try:
        for kind, body, data in segments:
            if kind in (*SEQUENTIAL, PROGRESSIVE):
                frame = _Frame(body, kind == PROGRESSIVE)
            elif kind == TABLES:
                tables |= _tables(body)
            elif kind == INTERVAL:
                interval = int.from_bytes(body[:2], "big")
            elif kind == SCAN:
                if frame is None:  # of another kind: lossless, or in other codes
                    return False
                if not frame.is_whole(_Scan(body, data, interval), tables):
                    return True
    except (IndexError, KeyError, ValueError, ZeroDivisionError):
        return False  # a head that no decoder can read either
    return False


def _segments(content: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Up to the end of the picture, each marker, what it says, and the data behind it."""
    at = 2
    while content[at : at + 1] == b"\xff" and content[at + 1] != END:
        if content[at + 1] == 0xFF:  # filled up
            at += 1
            continue
        kind, size = content[at + 1], int.from_bytes(content[at + 2 : at + 4], "big")
        body, start = content[at + 4 : at + 2 + size], at + 2 + size
        at = start
        if kind == SCAN and (match := MARKER.search(content, start)):
            at = match.start()
        yield kind, body, content[start:at]


def _tables(body: bytes) -> Iterator[tuple[int, Table]]:
    while len(body) > 16:
        number, sizes, meanings = body[0], body[1:17], iter(body[17:])
        table: Table = []
        for length, count in enumerate(sizes, start=1):
            for meaning in (next(meanings) for _ in range(count)):
                table += [(length, meaning)] * (1 << (16 - length))
        yield number, table
        body = bytes(meanings)


class _Frame:
    """The picture's blocks."""

    def __init__(self, body: bytes, progressive: bool) -> None:
        height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
        colours = [body[at : at + 3] for at in range(6, 6 + 3 * body[5], 3)]
        self.progressive = progressive
        self.sampling = {number: (both >> 4, both & 15) for number, both, _ in colours}
        across, down = map(max, zip(*self.sampling.values()))
        self.units = -(-width // (8 * across)) * -(-height // (8 * down))
        self.blocks = {  # of a colour alone
            number: -(-width * h // (8 * across)) * -(-height * v // (8 * down))
            for number, (h, v) in self.sampling.items()
        }
        # of each block of a colour, the coefficients that are not 0
        self.known: dict[int, dict[int, int]] = {number: defaultdict(int) for number in self.blocks}

    def is_whole(self, scan: "_Scan", tables: dict[int, Table]) -> bool:
        """Has a pass over the picture as many codes as it has blocks?"""
        new = scan.last and not scan.refines  # coefficients that are not known yet
        if HOLE in scan.data and new and any(tables[ac][0][1] & 15 for *_, ac in scan.colours):
            return False
        (number, *_), alone = scan.colours[0], len(scan.colours) == 1
        total = self.blocks[number] if alone else self.units
        each = scan.interval or total
        parts = RESTART.split(scan.data)
        if len(parts) != -(-total // each):
            return False
        unit = [
            (tables.get(dc, []), tables.get(ac, []))
            for one, dc, ac in scan.colours
            for _ in range(1 if alone else self.sampling[one][0] * self.sampling[one][1])
        ]
        try:
            for start, part in zip(range(0, total, each), parts, strict=True):
                bits = _Bits(part.replace(b"\xff\0", b"\xff"))
                here = range(start, min(total, start + each))
                if not self.progressive:
                    for _ in here:
                        for dc, ac in unit:
                            bits.block(dc, ac)
                elif scan.first:
                    read = bits.refine if scan.refines else bits.band
                    read(unit[0][1], self.known[number], here, scan.first, scan.last)
                elif scan.refines:
                    bits.skip(len(here) * len(unit))
                else:
                    for _ in here:
                        for dc, _ in unit:
                            bits.skip(bits.code(dc))
                bits.check_end()
        except (EOFError, IndexError):  # too few, or no code begins so
            return False
        return True


class _Scan:
    """A pass over the picture."""

    def __init__(self, body: bytes, data: bytes, interval: int) -> None:
        self.data, self.interval = data, interval  # of units, between restarts; 0: there are none
        pairs = zip(body[1 : 1 + 2 * body[0] : 2], body[2 : 2 + 2 * body[0] : 2], strict=True)
        self.colours = [(number, both >> 4, 16 + (both & 15)) for number, both in pairs]
        self.first, self.last = body[-3], body[-2]  # coefficients
        self.refines = body[-1] >> 4 > 0


class _Bits:
    """Codes, one after another. *Raises* :class:`EOFError` where they end too early."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.size = data + bytes(4), 0, 8 * len(data)

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > self.size:
            raise EOFError

    def take(self, count: int) -> int:
        start = self.at
        self.skip(count)
        window = int.from_bytes(self.data[start >> 3 : (start >> 3) + 4], "big")
        return (window >> (32 - count - (start & 7))) & ((1 << count) - 1)

    def code(self, table: Table) -> int:
        at = self.at
        window = int.from_bytes(self.data[at >> 3 : (at >> 3) + 3], "big")
        length, meaning = table[window >> (8 - (at & 7)) & 0xFFFF]
        self.skip(length)
        return meaning

    def check_end(self) -> None:
        """Less than a byte may be left, or zeros, which then do no harm."""
        if self.data[(self.at + 7) >> 3 :].strip(b"\0"):
            raise EOFError

    def block(self, dc: Table, ac: Table) -> None:
        """All coefficients of a block; three times as fast as by :meth:`code` and :meth:`skip`."""
        self.skip(self.code(dc))
        data, at, k = self.data, self.at, 1
        while k < 64:
            window = int.from_bytes(data[at >> 3 : (at >> 3) + 3], "big")
            length, meaning = ac[window >> (8 - (at & 7)) & 0xFFFF]
            at += length
            if meaning == 0:
                break
            at += meaning & 15
            k += (meaning >> 4) + 1
        self.skip(at - self.at)
        if k > 64:
            raise EOFError

    def band(self, ac: Table, known: dict[int, int], blocks: range, first: int, last: int) -> None:
        """Some coefficients of each block, where they are known for the first time."""
        empty = 0  # blocks without any, to come
        for block in blocks:
            if empty:
                empty -= 1
                continue
            k = first
            while k <= last:
                run, size = divmod(self.code(ac), 16)
                if not size and run < 15:
                    empty = (1 << run) - 1 + self.take(run)
                    break
                self.skip(size)
                k += run
                if size:
                    known[block] |= 1 << k
                k += 1
            if k > last + 1:
                raise EOFError

    def refine(
        self, ac: Table, known: dict[int, int], blocks: range, first: int, last: int
    ) -> None:
        """A bit more of those that are known, and others for the first time."""
        empty = 0
        within = (1 << (last + 1)) - (1 << first)
        for block in blocks:
            k = first
            while k <= last and not empty:
                run, size = divmod(self.code(ac), 16)
                if not size and run < 15:
                    empty = (1 << run) + self.take(run)
                    break
                self.skip(size)  # its sign
                while k <= last and (run or known[block] >> k & 1):
                    if known[block] >> k & 1:
                        self.skip(1)
                    else:
                        run -= 1
                    k += 1
                if k > last:
                    raise EOFError
                if size:
                    known[block] |= 1 << k
                k += 1
            if empty:
                self.skip(((known.get(block, 0) & within) >> k).bit_count())
                empty -= 1
