"""Makes a Word document from Markdown on standard input. Usage: write.py OUT < TEXT"""

from __future__ import annotations

import re
import sys
import zipfile
from collections.abc import Iterator
from xml.sax.saxutils import escape

MAIN = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
KINDS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"
TYPES = f"""{HEAD}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">\
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>\
<Default Extension="xml" ContentType="application/xml"/>\
<Override PartName="/word/document.xml" ContentType="{TYPE}.document.main+xml"/>\
<Override PartName="/word/styles.xml" ContentType="{TYPE}.styles+xml"/>\
<Override PartName="/word/numbering.xml" ContentType="{TYPE}.numbering+xml"/></Types>"""
RELATIONS = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
TOP = f"""{HEAD}{RELATIONS}<Relationship Id="r1" Type="{KINDS}/officeDocument" Target="word/document.xml"/>\
</Relationships>"""
PARTS = f"""{HEAD}{RELATIONS}<Relationship Id="r1" Type="{KINDS}/styles" Target="styles.xml"/>\
<Relationship Id="r2" Type="{KINDS}/numbering" Target="numbering.xml"/></Relationships>"""
BULLET, NUMBER = 1, 2
INLINE = re.compile(r"\*\*(.+?)\*\*|\*(.+?)\*")
ROW = re.compile(r"\|(.+)\|\s*")
RULE = re.compile(r"\|[\s:|-]+\|\s*")
ITEM = re.compile(r"(?:[-*]|(\d+)\.)\s+(.*)")
BORDERS = "".join(
    f'<w:{side} w:val="single" w:sz="4" w:space="0" w:color="999999"/>'
    for side in ("top", "left", "bottom", "right", "insideH", "insideV")
)


def style(name: str, shown: str, size: int, *, bold: bool = False, level: int | None = None) -> str:
    outline = "" if level is None else f'<w:keepNext/><w:spacing w:before="240"/><w:outlineLvl w:val="{level}"/>'
    default = ' w:default="1"' if name == "Normal" else ""
    return (
        f'<w:style w:type="paragraph"{default} w:styleId="{name}"><w:name w:val="{shown}"/>'
        f'<w:pPr><w:spacing w:after="120"/>{outline}</w:pPr>'
        f'<w:rPr>{"<w:b/>" if bold else ""}<w:sz w:val="{size}"/></w:rPr></w:style>'
    )


def styles() -> str:
    font = '<w:rFonts w:ascii="Calibri" w:hAnsi="Calibri" w:cs="Calibri"/>'
    headings = "".join(style(f"Heading{n}", f"heading {n}", 36 - 4 * n, bold=True, level=n - 1) for n in range(1, 4))
    defaults = f"<w:docDefaults><w:rPrDefault><w:rPr>{font}</w:rPr></w:rPrDefault></w:docDefaults>"
    own = style("Normal", "Normal", 22) + headings + style("ListParagraph", "List Paragraph", 22)
    return f'{HEAD}<w:styles xmlns:w="{MAIN}">{defaults}{own}</w:styles>'


def numbering(lists: int) -> str:
    """One list of points, and a numbered one for each run of numbered items, so that each begins at 1."""
    kinds = ((BULLET, "bullet", "\u2022"), (NUMBER, "decimal", "%1."))
    abstract = "".join(
        f'<w:abstractNum w:abstractNumId="{n}"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="{form}"/>'
        f'<w:lvlText w:val="{text}"/><w:pPr><w:ind w:left="720" w:hanging="360"/></w:pPr></w:lvl></w:abstractNum>'
        for n, form, text in kinds
    )
    again = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="1"/></w:lvlOverride>'
    used = f'<w:num w:numId="{BULLET}"><w:abstractNumId w:val="{BULLET}"/></w:num>' + "".join(
        f'<w:num w:numId="{NUMBER + n}"><w:abstractNumId w:val="{NUMBER}"/>{again}</w:num>' for n in range(lists)
    )
    return f'{HEAD}<w:numbering xmlns:w="{MAIN}">{abstract}{used}</w:numbering>'


def run(text: str, marks: str = "") -> str:
    properties = f"<w:rPr>{marks}</w:rPr>" if marks else ""
    return f'<w:r>{properties}<w:t xml:space="preserve">{escape(text)}</w:t></w:r>' if text else ""


def runs(text: str, marks: str = "") -> str:
    made, at = "", 0
    for found in INLINE.finditer(text):
        made += run(text[at : found.start()], marks)
        made += run(found[1], marks + "<w:b/>") if found[1] else run(found[2], marks + "<w:i/>")
        at = found.end()
    return made + run(text[at:], marks)


def paragraph(text: str, properties: str = "") -> str:
    return f"<w:p><w:pPr>{properties}</w:pPr>{runs(text)}</w:p>"


def item(text: str, number: int) -> str:
    listed = f'<w:numPr><w:ilvl w:val="0"/><w:numId w:val="{number}"/></w:numPr>'
    return paragraph(text, f'<w:pStyle w:val="ListParagraph"/>{listed}')


def table(rows: list[list[str]]) -> str:
    width = max(len(row) for row in rows)
    made = ""
    for number, row in enumerate(rows):
        cells = [*row, *[""] * (width - len(row))]
        bold = "<w:b/>" if number == 0 else ""
        made += "<w:tr>" + "".join(
            f'<w:tc><w:tcPr><w:tcW w:w="0" w:type="auto"/></w:tcPr><w:p>{runs(cell, bold)}</w:p></w:tc>'
            for cell in cells
        )
        made += "</w:tr>"
    grid = f"<w:tblGrid>{'<w:gridCol/>' * width}</w:tblGrid>"
    properties = f'<w:tblPr><w:tblW w:w="0" w:type="auto"/><w:tblBorders>{BORDERS}</w:tblBorders></w:tblPr>'
    return f"<w:tbl>{properties}{grid}{made}</w:tbl><w:p/>"


class Document:
    """Blocks in order; `lists` counts the numbered lists."""

    def __init__(self) -> None:
        self.lists = 0
        self._numbered = False

    def blocks(self, lines: list[str]) -> Iterator[str]:
        waiting: list[str] = []
        rows: list[list[str]] = []
        for line in [*lines, ""]:
            plain = line.strip()
            if rows and not ROW.fullmatch(plain):
                yield table(rows)
                rows = []
            if waiting and (not plain or self._begins(plain)):
                yield paragraph(" ".join(waiting))
                waiting = []
            if ROW.fullmatch(plain):
                if not RULE.fullmatch(plain):
                    rows.append([cell.strip() for cell in plain.strip("|").split("|")])
            elif self._begins(plain):
                yield self._block(plain)
            elif plain:
                waiting.append(plain)
            self._numbered = self._numbered and bool(ITEM.fullmatch(plain) or not plain)

    def _begins(self, line: str) -> bool:
        return bool(re.match(r"#{1,3} ", line) or ITEM.fullmatch(line) or line == "---" or ROW.fullmatch(line))

    def _block(self, line: str) -> str:
        if line == "---":
            return '<w:p><w:r><w:br w:type="page"/></w:r></w:p>'
        if found := re.match(r"(#{1,3}) (.*)", line):
            return paragraph(found[2], f'<w:pStyle w:val="Heading{len(found[1])}"/>')
        listed = ITEM.fullmatch(line)
        assert listed is not None
        if listed[1] is None:
            return item(listed[2], BULLET)
        if not self._numbered:
            self._numbered, self.lists = True, self.lists + 1
        return item(listed[2], NUMBER + self.lists - 1)


def main(path: str, text: str) -> None:
    document = Document()
    body = "".join(document.blocks(text.splitlines()))
    page = (
        '<w:sectPr><w:pgSz w:w="11906" w:h="16838"/><w:pgMar w:top="1418" w:right="1418" w:bottom="1418" w:left="1418"'
    )
    page += ' w:header="709" w:footer="709" w:gutter="0"/></w:sectPr>'
    parts = {
        "[Content_Types].xml": TYPES,
        "_rels/.rels": TOP,
        "word/_rels/document.xml.rels": PARTS,
        "word/styles.xml": styles(),
        "word/numbering.xml": numbering(document.lists),
        "word/document.xml": f'{HEAD}<w:document xmlns:w="{MAIN}"><w:body>{body}{page}</w:body></w:document>',
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts.items():
            made.writestr(name, content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.stdin.read())
