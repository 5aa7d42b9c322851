"""Prints a workbook's sheets, or one sheet as CSV. Usage: read.py FILE [SHEET [--formulas]]"""

from __future__ import annotations

import csv
import datetime
import posixpath
import re
import sys
import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

S = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
R = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}"
P = "{http://schemas.openxmlformats.org/package/2006/relationships}"
DATES = frozenset({14, 15, 16, 17, 22})
EPOCH = datetime.datetime(1899, 12, 30)


class Book:
    def __init__(self, path: str) -> None:
        self._zip = zipfile.ZipFile(path)
        workbook = self._part("xl/workbook.xml")
        places = {one.get("Id"): one.get("Target", "") for one in self._part("xl/_rels/workbook.xml.rels")}
        self.sheets = {
            one.get("name", ""): posixpath.normpath(posixpath.join("xl", places[one.get(f"{R}id")])).lstrip("/")
            for one in workbook.iter(f"{S}sheet")
        }
        self._shared = self._strings()
        self._dates = self._date_styles()

    def _part(self, name: str) -> ElementTree.Element:
        return ElementTree.fromstring(self._zip.read(name))

    def _has(self, name: str) -> bool:
        return name in self._zip.namelist()

    def _strings(self) -> list[str]:
        if not self._has("xl/sharedStrings.xml"):
            return []
        return ["".join(t.text or "" for t in one.iter(f"{S}t")) for one in self._part("xl/sharedStrings.xml")]

    def _date_styles(self) -> set[str]:
        if not self._has("xl/styles.xml"):
            return set()
        styles = self._part("xl/styles.xml")
        own = {one.get("numFmtId"): one.get("formatCode", "") for one in styles.iter(f"{S}numFmt")}
        found: set[str] = set()
        for number, cell in enumerate(styles.findall(f"{S}cellXfs/{S}xf")):
            form = cell.get("numFmtId", "0")
            code = re.sub(r'"[^"]*"|\[[^\]]*\]', "", own.get(form, ""))
            if int(form) in DATES or re.search(r"[ymdh]", code, re.IGNORECASE):
                found.add(str(number))
        return found

    def rows(self, sheet: str, *, formulas: bool) -> Iterator[list[str]]:
        last = 0
        for row in self._part(self.sheets[sheet]).iter(f"{S}row"):
            number = int(row.get("r", last + 1))
            for _ in range(last + 1, number):
                yield []
            last = number
            values: list[str] = []
            for cell in row.findall(f"{S}c"):
                column = column_of(cell.get("r", ""), len(values))
                values += [""] * (column - len(values))
                values.append(self._value(cell, formulas=formulas))
            yield values

    def _value(self, cell: ElementTree.Element, *, formulas: bool) -> str:
        formula = cell.find(f"{S}f")
        if formulas and formula is not None and formula.text:
            return f"={formula.text}"
        return self._stored(cell, cell.find(f"{S}v"), cell.get("t"))

    def _stored(self, cell: ElementTree.Element, value: ElementTree.Element | None, kind: str | None) -> str:
        if kind == "inlineStr":
            return "".join(t.text or "" for t in cell.iter(f"{S}t"))
        text = "" if value is None else value.text or ""
        if kind == "s" and text:
            return self._shared[int(text)]
        if kind == "b":
            return "TRUE" if text == "1" else "FALSE"
        return date(text) if text and kind in (None, "n") and cell.get("s") in self._dates else text


def column_of(reference: str, default: int) -> int:
    letters = re.match(r"[A-Z]+", reference)
    if letters is None:
        return default
    column = 0
    for letter in letters[0]:
        column = column * 26 + ord(letter) - ord("A") + 1
    return column - 1


def date(serial: str) -> str:
    try:
        at = EPOCH + datetime.timedelta(days=float(serial))
    except (ValueError, OverflowError):
        return serial
    return at.date().isoformat() if at.time() == datetime.time() else at.isoformat(sep=" ", timespec="seconds")


def main(path: str, sheet: str | None, *, formulas: bool) -> None:
    book = Book(path)
    if sheet is None:
        for name in book.sheets:
            sys.stdout.write(f"{name}: {sum(1 for _ in book.rows(name, formulas=False))} rows\n")
    elif sheet in book.sheets:
        csv.writer(sys.stdout, lineterminator="\n").writerows(book.rows(sheet, formulas=formulas))
    else:
        sys.exit(f"There is no sheet {sheet!r}; there are: {', '.join(book.sheets)}")


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word != "--formulas"]
    if len(given) not in (1, 2):
        sys.exit(__doc__)
    main(given[0], given[1] if len(given) == 2 else None, formulas="--formulas" in sys.argv)
