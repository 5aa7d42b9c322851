"""Prints what a presentation's slides and notes say. Usage: read.py FILE"""

from __future__ import annotations

import posixpath
import sys
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

A = "{http://schemas.openxmlformats.org/drawingml/2006/main}"
P = "{http://schemas.openxmlformats.org/presentationml/2006/main}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
TITLES = ("title", "ctrTitle")


class Talk:
    def __init__(self, path: str) -> None:
        self._zip = zipfile.ZipFile(path)

    def _part(self, name: str) -> ElementTree.Element:
        return ElementTree.fromstring(self._zip.read(name))

    def _related(self, part: str) -> dict[str, tuple[str, str]]:
        """(kind, part) by id."""
        folder, name = posixpath.split(part)
        place = f"{folder}/_rels/{name}.rels"
        if place not in self._zip.namelist():
            return {}
        found: dict[str, tuple[str, str]] = {}
        for one in self._part(place):
            target = posixpath.normpath(posixpath.join(folder, one.get("Target", ""))).lstrip("/")
            found[one.get("Id", "")] = (one.get("Type", "").rpartition("/")[2], target)
        return found

    def slides(self) -> list[str]:
        main = "ppt/presentation.xml"
        related = self._related(main)
        return [related[one.get(f"{R}id", "")][1] for one in self._part(main).iter(f"{P}sldId")]

    def lines(self, slide: str) -> Iterator[str]:
        part = self._part(slide)
        shapes = list(part.iter(f"{P}sp"))
        titles = [shape for shape in shapes if kind_of(shape) in TITLES]
        yield from (f"# {' '.join(text for _, text in paragraphs(shape))}" for shape in titles)
        for shape in shapes:
            if shape not in titles:
                yield from (f"{'  ' * level}- {text}" for level, text in paragraphs(shape))
        for row in part.iter(f"{A}tr"):
            cells = [" ".join(text for _, text in paragraphs(cell)) for cell in row.iter(f"{A}tc")]
            yield f"| {' | '.join(cells)} |"
        yield from self._notes(slide)

    def _notes(self, slide: str) -> Iterator[str]:
        for kind, part in self._related(slide).values():
            if kind == "notesSlide":
                bodies = (shape for shape in self._part(part).iter(f"{P}sp") if kind_of(shape) == "body")
                yield from (f"> {text}" for shape in bodies for _, text in paragraphs(shape))


def kind_of(shape: ElementTree.Element) -> str:
    place = shape.find(f"{P}nvSpPr/{P}nvPr/{P}ph")
    return "" if place is None else place.get("type", "body")


def paragraphs(within: ElementTree.Element) -> list[tuple[int, str]]:
    """(level, text) of those with any text."""
    found: list[tuple[int, str]] = []
    for paragraph in within.iter(f"{A}p"):
        text = "".join(" " if one.tag == f"{A}br" else one.text or "" for one in paragraph.iter() if one.tag in TEXTS)
        properties = paragraph.find(f"{A}pPr")
        if text.strip():
            found.append((0 if properties is None else int(properties.get("lvl", "0")), text.strip()))
    return found


TEXTS = (f"{A}t", f"{A}br")


def main(path: str) -> None:
    talk = Talk(path)
    for number, slide in enumerate(talk.slides(), start=1):
        sys.stdout.write("\n".join([f"--- slide {number}", *talk.lines(slide), ""]))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
