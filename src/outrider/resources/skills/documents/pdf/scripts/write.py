"""Makes a PDF of Markdown on standard input. Usage: write.py OUT < TEXT"""

from __future__ import annotations

import re
import sys
import zlib
from collections.abc import Iterator

WIDE, HIGH, EDGE = 595.28, 841.89, 62.0
ROOM = WIDE - 2 * EDGE
REGULAR, BOLD, FIXED = "F1", "F2", "F3"
FONTS = {REGULAR: "Helvetica", BOLD: "Helvetica-Bold", FIXED: "Courier"}
SIZES = {1: 20.0, 2: 15.0, 3: 12.0}
TEXT, CODE = 10.5, 9.0
INDENT = 14.0
HEADING = re.compile(r"(#{1,3}) (.*)")
ITEM = re.compile(r"([-*]|\d+\.) (.*)")
TABLE = re.compile(r"\|.*\|")
MARKS = re.compile(r"\*\*(.+?)\*\*|\*(\S.*?)\*")
# Helvetica's widths of the characters 32 to 126, in thousandths of the size.
WIDTHS = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 278 278"
    " 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667 611 722 667 944"
    " 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833 556 556 556 556 333 500"
    " 278 556 500 722 500 500 500 334 260 334 584"
)
WIDTH = {chr(32 + n): int(width) for n, width in enumerate(WIDTHS.split())}
OTHERS = 600  # of letters with accents: rather too much than too little
BOLDER = 1.08


def width_of(text: str, size: float, font: str) -> float:
    if font == FIXED:
        return len(text) * size * 0.6
    return sum(WIDTH.get(letter, OTHERS) for letter in text) * size / 1000 * (BOLDER if font == BOLD else 1)


def wrapped(text: str, size: float, font: str, room: float) -> Iterator[str]:
    line = ""
    for word in text.split():
        longer = f"{line} {word}".strip()
        if width_of(longer, size, font) <= room:
            line = longer
            continue
        if line:
            yield line
        while width_of(word, size, font) > room:
            cut = max(1, int(len(word) * room / width_of(word, size, font)) - 1)
            yield word[:cut]
            word = word[cut:]
        line = word
    if line:
        yield line


class Pages:
    """Text from top to bottom; a new page when one is full."""

    def __init__(self) -> None:
        self.pages: list[list[str]] = [[]]
        self._at = HIGH - EDGE

    def put(self, text: str, size: float, font: str = REGULAR, *, indent: float = 0.0) -> None:
        self._at -= size * 1.4
        if self._at < EDGE:
            self.new()
            self._at -= size * 1.4
        self.pages[-1].append(drawn(text, EDGE + indent, self._at, size, font))

    def skip(self, height: float) -> None:
        self._at -= height if self._at < HIGH - EDGE else 0

    def new(self) -> None:
        self.pages.append([])
        self._at = HIGH - EDGE


def drawn(text: str, x: float, y: float, size: float, font: str) -> str:
    safe = text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")
    return f"BT /{font} {size} Tf {x:.2f} {y:.2f} Td ({safe}) Tj ET"


class Layout:
    """Markdown, block by block, onto pages."""

    def __init__(self) -> None:
        self.pages = Pages()
        self._waiting: list[str] = []

    def take(self, line: str) -> None:
        plain = line.strip()
        if line.startswith("    ") or TABLE.fullmatch(plain):
            self._end()
            self.pages.put(line.strip("\n").removeprefix("    ").expandtabs(4)[: int(ROOM / (CODE * 0.6))], CODE, FIXED)
        elif plain == "---":
            self._end()
            self.pages.new()
        elif heading := HEADING.fullmatch(plain):
            self._end()
            self._heading(heading[2], SIZES[len(heading[1])])
        elif listed := ITEM.fullmatch(plain):
            self._end()
            self._item(listed[1], listed[2])
        elif plain:
            self._waiting.append(plain)
        else:
            self._end()

    def _end(self) -> None:
        """Of a paragraph."""
        if self._waiting:
            for part in wrapped(MARKS.sub(r"\1\2", " ".join(self._waiting)), TEXT, REGULAR, ROOM):
                self.pages.put(part, TEXT)
            self.pages.skip(TEXT * 0.6)
            self._waiting = []

    def _heading(self, text: str, size: float) -> None:
        self.pages.skip(size * 0.6)
        for part in wrapped(MARKS.sub(r"\1\2", text), size, BOLD, ROOM):
            self.pages.put(part, size, BOLD)
        self.pages.skip(size * 0.3)

    def _item(self, mark: str, text: str) -> None:
        mark = mark if mark[0].isdigit() else "\u2022"
        for number, part in enumerate(wrapped(MARKS.sub(r"\1\2", text), TEXT, REGULAR, ROOM - INDENT)):
            self.pages.put(part if number else f"{mark}  {part}", TEXT, indent=INDENT if number else 3)


def lay_out(text: str) -> list[list[str]]:
    layout = Layout()
    for line in [*text.splitlines(), ""]:
        layout.take(line)
    return layout.pages.pages


def document(pages: list[list[str]]) -> bytes:
    """Objects 1 and 2 are the catalogue and the list of pages, then come the fonts, then two for each page."""
    fonts = {name: 3 + n for n, name in enumerate(FONTS)}
    first = 3 + len(fonts)
    kids = " ".join(f"{first + 2 * n} 0 R" for n in range(len(pages)))
    objects = [b"<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Count {len(pages)} /Kids [{kids}] >>".encode()]
    objects += [
        f"<< /Type /Font /Subtype /Type1 /BaseFont /{base} /Encoding /WinAnsiEncoding >>".encode()
        for base in FONTS.values()
    ]
    used = " ".join(f"/{name} {number} 0 R" for name, number in fonts.items())
    for n, lines in enumerate(pages):
        foot = drawn(f"{n + 1} / {len(pages)}", WIDE / 2 - 10, EDGE / 2, 8.0, REGULAR)
        content = zlib.compress("\n".join([*lines, foot]).encode("cp1252"))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDE} {HIGH}] /Contents {first + 2 * n + 1} 0 R"
            f" /Resources << /Font << {used} >> >> >>".encode()
        )
        head = f"<< /Length {len(content)} /Filter /FlateDecode >>\nstream\n".encode()
        objects.append(head + content + b"\nendstream")
    return written(objects)


def written(objects: list[bytes]) -> bytes:
    out, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), list[int]()
    for number, content in enumerate(objects, start=1):
        places.append(len(out))
        out += f"{number} 0 obj\n".encode() + content + b"\nendobj\n"
    table = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(f"{place:010} 00000 n \n".encode() for place in places)
    out += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n".encode()
    return bytes(out)


def refuse_others(text: str) -> None:
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            line.encode("cp1252")
        except UnicodeEncodeError as error:
            sys.exit(f"Line {number} holds {line[error.start]!r}, which these fonts don't have: see SKILL.md.")


def main(out: str, text: str) -> None:
    refuse_others(text)
    made = document(lay_out(text))
    with open(out, "wb") as file:
        file.write(made)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.stdin.read())
