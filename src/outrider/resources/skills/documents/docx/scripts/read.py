"""Prints a Word document as Markdown. Usage: read.py FILE"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
SKIPPED = (f"{W}del", f"{W}instrText")


def text_of(element: ElementTree.Element) -> str:
    if element.tag in SKIPPED:
        return ""
    if element.tag == f"{W}t":
        return element.text or ""
    if element.tag in (f"{W}tab", f"{W}br"):
        return "\t" if element.tag == f"{W}tab" else "\n"
    return "".join(text_of(child) for child in element)


def prefix_of(paragraph: ElementTree.Element) -> str:
    style = paragraph.find(f"{W}pPr/{W}pStyle")
    name = "" if style is None else style.get(f"{W}val", "")
    heading = re.fullmatch(r"[Hh]eading ?([1-9])", name)
    if heading or name == "Title":
        return "#" * (int(heading[1]) if heading else 1) + " "
    return "- " if paragraph.find(f"{W}pPr/{W}numPr") is not None or name.startswith("List") else ""


def lines_of(body: ElementTree.Element) -> Iterator[str]:
    for element in body:
        if element.tag == f"{W}p" and (text := text_of(element).strip()):
            yield prefix_of(element) + text
            yield ""
        elif element.tag == f"{W}tbl":
            yield from table_lines(element)
        elif element.tag == f"{W}sdt":
            for content in element.iter(f"{W}sdtContent"):
                yield from lines_of(content)


def table_lines(table: ElementTree.Element) -> Iterator[str]:
    for number, row in enumerate(table.findall(f"{W}tr")):
        cells = [" ".join(text_of(cell).split()).replace("|", "\\|") for cell in row.findall(f"{W}tc")]
        yield f"| {' | '.join(cells)} |"
        if number == 0:
            yield "|" + " --- |" * len(cells)
    yield ""


def main(path: str) -> None:
    with zipfile.ZipFile(path) as document:
        body = ElementTree.fromstring(document.read("word/document.xml")).find(f"{W}body")
    if body is not None:
        sys.stdout.write("\n".join(lines_of(body)).strip() + "\n")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
