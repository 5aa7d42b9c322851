"""Makes a workbook of CSV files. Usage: write.py OUT NAME=FILE.csv ..."""

from __future__ import annotations

import csv
import datetime
import re
import sys
import zipfile
from xml.sax.saxutils import escape, quoteattr

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
KINDS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][+-]?\d{1,3})?")
DATE = re.compile(r"\d{4}-\d\d-\d\d")
FORBIDDEN = re.compile(r"[\[\]:*?/\\]")
NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
PLAIN, BOLD, DAY = 0, 1, 2
STYLES = f"""{HEAD}<styleSheet xmlns="{MAIN}"><fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>\
<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>\
<fills count="2"><fill><patternFill patternType="none"/></fill>\
<fill><patternFill patternType="gray125"/></fill></fills><borders count="1"><border/></borders>\
<cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="3"><xf xfId="0"/><xf xfId="0" fontId="1" applyFont="1"/>\
<xf xfId="0" numFmtId="14" applyNumberFormat="1"/></cellXfs>\
<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"""


def letters(column: int) -> str:
    name = ""
    while column >= 0:
        name, column = chr(ord("A") + column % 26) + name, column // 26 - 1
    return name


def cell(value: str, column: int, row: int) -> str:
    at = f'r="{letters(column)}{row}"'
    if not value:
        return ""
    if row == 1:
        return f'<c {at} s="{BOLD}" t="inlineStr"><is><t xml:space="preserve">{text(value)}</t></is></c>'
    if value.startswith("=") and len(value) > 1:
        return f"<c {at}><f>{text(value[1:])}</f></c>"
    if NUMBER.fullmatch(value):
        return f"<c {at}><v>{value}</v></c>"
    day = days(value)
    if day is not None:
        return f'<c {at} s="{DAY}"><v>{day}</v></c>'
    return f'<c {at} t="inlineStr"><is><t xml:space="preserve">{text(value)}</t></is></c>'


def text(value: str) -> str:
    return escape(NOT_XML.sub("", value))


def days(value: str) -> int | None:
    try:
        found = datetime.date.fromisoformat(value) if DATE.fullmatch(value) else None
    except ValueError:
        return None
    return None if found is None or found.year < 1901 else (found - datetime.date(1899, 12, 30)).days


def sheet(rows: list[list[str]]) -> str:
    width = max((len(row) for row in rows), default=1)
    widths = [min(60, max([8, *(len(row[n]) + 2 for row in rows if n < len(row))])) for n in range(width)]
    columns = "".join(
        f'<col min="{n}" max="{n}" width="{size}" customWidth="1"/>' for n, size in enumerate(widths, start=1)
    )
    data = "".join(
        f'<row r="{n}">{"".join(cell(value, column, n) for column, value in enumerate(row))}</row>'
        for n, row in enumerate(rows, start=1)
    )
    held = '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
    views = f'<sheetViews><sheetView workbookViewId="0">{held}</sheetView></sheetViews>'
    return f'{HEAD}<worksheet xmlns="{MAIN}">{views}<cols>{columns}</cols><sheetData>{data}</sheetData></worksheet>'


def named(argument: str) -> tuple[str, str]:
    name, _, path = argument.partition("=")
    if not path or not name or len(name) > 31 or FORBIDDEN.search(name):
        sys.exit(
            f"{argument}: give each sheet as NAME=FILE.csv, with a name of up to 31 characters and none of []:*?/\\"
        )
    return name, path


def main(out: str, arguments: list[str]) -> None:
    sheets: dict[str, str] = {}
    for name, path in map(named, arguments):
        with open(path, newline="", encoding="utf-8-sig") as file:
            sheets[name] = sheet(list(csv.reader(file)))
    numbers = range(1, len(sheets) + 1)
    listed = "".join(
        f'<sheet name={quoteattr(name)} sheetId="{n}" r:id="r{n}"/>' for n, name in enumerate(sheets, start=1)
    )
    relations = "".join(
        f'<Relationship Id="r{n}" Type="{KINDS}/worksheet" Target="worksheets/sheet{n}.xml"/>' for n in numbers
    )
    overrides = "".join(
        f'<Override PartName="/xl/worksheets/sheet{n}.xml" ContentType="{TYPE}.worksheet+xml"/>' for n in numbers
    )
    parts = {
        "[Content_Types].xml": f'{HEAD}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{overrides}'
        f'<Override PartName="/xl/workbook.xml" ContentType="{TYPE}.sheet.main+xml"/>'
        f'<Override PartName="/xl/styles.xml" ContentType="{TYPE}.styles+xml"/></Types>',
        "_rels/.rels": f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships"><Relationship Id="r1"'
        f' Type="{KINDS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
        "xl/workbook.xml": f'{HEAD}<workbook xmlns="{MAIN}" xmlns:r="{KINDS}"><sheets>{listed}</sheets>'
        '<calcPr calcId="0" fullCalcOnLoad="1"/></workbook>',
        "xl/_rels/workbook.xml.rels": f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships">{relations}'
        f'<Relationship Id="styles" Type="{KINDS}/styles" Target="styles.xml"/></Relationships>',
        "xl/styles.xml": STYLES,
    }
    parts |= {f"xl/worksheets/sheet{n}.xml": made for n, made in enumerate(sheets.values(), start=1)}
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2:])
