"""Makes a presentation of an outline on standard input. Usage: write.py OUT < OUTLINE"""

from __future__ import annotations

import re
import sys
import zipfile
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

A = "http://schemas.openxmlformats.org/drawingml/2006/main"
P = "http://schemas.openxmlformats.org/presentationml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
PACKAGE = "http://schemas.openxmlformats.org/package/2006"
TYPE = "application/vnd.openxmlformats-officedocument"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
SPACES = f'xmlns:a="{A}" xmlns:r="{R}" xmlns:p="{P}"'
NOT_XML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
WIDE, HIGH = 12192000, 6858000
TITLE_AT, BODY_AT = (838200, 365125, 10515600, 1325563), (838200, 1825625, 10515600, 4351338)
FIRST_AT = (1524000, 2200000, 9144000, 2000000)
NOTES_AT = (685800, 4400550, 5486400, 3600450)
TREE = '<p:nvGrpSpPr><p:cNvPr id="1" name=""/><p:cNvGrpSpPr/><p:nvPr/></p:nvGrpSpPr><p:grpSpPr/>'
MAP = (
    'bg1="lt1" tx1="dk1" bg2="lt2" tx2="dk2" accent1="accent1" accent2="accent2" accent3="accent3"'
    ' accent4="accent4" accent5="accent5" accent6="accent6" hlink="hlink" folHlink="folHlink"'
)


@dataclass
class Slide:
    """`points` are (level, text); a level of -1 is a paragraph without a mark."""

    title: str = ""
    points: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    notes: list[str] = field(default_factory=list[str])


def slides_of(outline: str) -> list[Slide]:
    found: list[Slide] = []
    for line in NOT_XML.sub("", outline).splitlines():
        if line.startswith("# "):
            found.append(Slide(line[2:].strip()))
        elif line.strip():
            if not found:
                found.append(Slide())
            add(found[-1], line)
    return found


def add(slide: Slide, line: str) -> None:
    listed = re.fullmatch(r"(\s*)[-*] (.*)", line)
    if listed:
        slide.points.append((min(4, len(listed[1].expandtabs(2)) // 2), listed[2].strip()))
    elif line.startswith(">"):
        slide.notes.append(line[1:].strip())
    else:
        slide.points.append((-1, line.strip()))


def shape(id: int, kind: str, at: tuple[int, int, int, int] | None, paragraphs: str) -> str:
    place = f'<p:ph type="{kind}"/>' if kind != "body" else '<p:ph type="body" idx="1"/>'
    where = "" if at is None else '<a:xfrm><a:off x="{}" y="{}"/><a:ext cx="{}" cy="{}"/></a:xfrm>'.format(*at)
    drawn = "" if at is None else f'{where}<a:prstGeom prst="rect"><a:avLst/></a:prstGeom>'
    return (
        f'<p:sp><p:nvSpPr><p:cNvPr id="{id}" name="{kind} {id}"/><p:cNvSpPr><a:spLocks noGrp="1"/></p:cNvSpPr>'
        f"<p:nvPr>{place}</p:nvPr></p:nvSpPr><p:spPr>{drawn}</p:spPr>"
        f"<p:txBody><a:bodyPr><a:normAutofit/></a:bodyPr><a:lstStyle/>{paragraphs or '<a:p/>'}</p:txBody></p:sp>"
    )


def paragraph(text: str, level: int = 0) -> str:
    marks = "<a:buNone/>" if level < 0 else ""
    indent = ' marL="0" indent="0"' if level < 0 else f' lvl="{level}"'
    return f"<a:p><a:pPr{indent}>{marks}</a:pPr><a:r><a:t>{escape(text)}</a:t></a:r></a:p>"


def tree(shapes: str) -> str:
    return f"<p:cSld><p:spTree>{TREE}{shapes}</p:spTree></p:cSld>"


def slide_part(slide: Slide) -> str:
    title = shape(2, "title", None if slide.points else FIRST_AT, paragraph(slide.title) if slide.title else "")
    points = "".join(paragraph(text, level) for level, text in slide.points)
    body = shape(3, "body", None, points) if slide.points else ""
    return f"{HEAD}<p:sld {SPACES}>{tree(title + body)}<p:clrMapOvr><a:masterClrMapping/></p:clrMapOvr></p:sld>"


def notes_part(slide: Slide) -> str:
    body = shape(2, "body", None, "".join(paragraph(text) for text in slide.notes))
    return f"{HEAD}<p:notes {SPACES}>{tree(body)}<p:clrMapOvr><a:masterClrMapping/></p:clrMapOvr></p:notes>"


def level(number: int, size: int, *, marked: bool) -> str:
    mark = '<a:buFont typeface="Arial"/><a:buChar char="\u2022"/>' if marked else "<a:buNone/>"
    left, hang = (228600 + 457200 * (number - 1), -228600) if marked else (0, 0)
    font = '<a:solidFill><a:schemeClr val="tx1"/></a:solidFill><a:latin typeface="+mn-lt"/>'
    text = f'<a:defRPr sz="{size}">{font}</a:defRPr>'
    return f'<a:lvl{number}pPr marL="{left}" indent="{hang}">{mark}{text}</a:lvl{number}pPr>'


def master() -> str:
    title, body = shape(2, "title", TITLE_AT, ""), shape(3, "body", BODY_AT, "")
    levels = "".join(level(n, size, marked=True) for n, size in enumerate((2800, 2400, 2000, 1800, 1800), start=1))
    styles = (
        f"<p:titleStyle>{level(1, 4400, marked=False)}</p:titleStyle><p:bodyStyle>{levels}</p:bodyStyle><p:otherStyle/>"
    )
    layouts = '<p:sldLayoutIdLst><p:sldLayoutId id="2147483649" r:id="r1"/></p:sldLayoutIdLst>'
    inner = f"{tree(title + body)}<p:clrMap {MAP}/>{layouts}<p:txStyles>{styles}</p:txStyles>"
    return f"{HEAD}<p:sldMaster {SPACES}>{inner}</p:sldMaster>"


def layout() -> str:
    inner = tree(shape(2, "title", None, "") + shape(3, "body", None, ""))
    return (
        f'{HEAD}<p:sldLayout {SPACES} type="obj">{inner}<p:clrMapOvr><a:masterClrMapping/></p:clrMapOvr></p:sldLayout>'
    )


def notes_master() -> str:
    return f"{HEAD}<p:notesMaster {SPACES}>{tree(shape(2, 'body', NOTES_AT, ''))}<p:clrMap {MAP}/></p:notesMaster>"


def theme() -> str:
    colours = {
        "dk1": "000000",
        "lt1": "FFFFFF",
        "dk2": "1F3864",
        "lt2": "E7E6E6",
        "accent1": "2F5597",
        "accent2": "C55A11",
    }
    colours |= {"accent3": "7F7F7F", "accent4": "BF9000", "accent5": "2E75B6", "accent6": "548235", "hlink": "0563C1"}
    colours |= {"folHlink": "954F72"}
    scheme = "".join(f'<a:{name}><a:srgbClr val="{value}"/></a:{name}>' for name, value in colours.items())
    font = '<a:latin typeface="Calibri"/><a:ea typeface=""/><a:cs typeface=""/>'
    fill = '<a:solidFill><a:schemeClr val="phClr"/></a:solidFill>' * 3
    line = f'<a:ln w="6350">{fill[: len(fill) // 3]}</a:ln>' * 3
    effect = "<a:effectStyle><a:effectLst/></a:effectStyle>" * 3
    return (
        f'{HEAD}<a:theme xmlns:a="{A}" name="Plain"><a:themeElements><a:clrScheme name="Plain">{scheme}</a:clrScheme>'
        f'<a:fontScheme name="Plain"><a:majorFont>{font}</a:majorFont><a:minorFont>{font}</a:minorFont></a:fontScheme>'
        f'<a:fmtScheme name="Plain"><a:fillStyleLst>{fill}</a:fillStyleLst><a:lnStyleLst>{line}</a:lnStyleLst>'
        f"<a:effectStyleLst>{effect}</a:effectStyleLst><a:bgFillStyleLst>{fill}</a:bgFillStyleLst></a:fmtScheme>"
        "</a:themeElements></a:theme>"
    )


def related(*targets: tuple[str, str]) -> str:
    """(kind, target) each, named r1, r2 ..."""
    inner = "".join(
        f'<Relationship Id="r{n}" Type="{R}/{kind}" Target="{target}"/>'
        for n, (kind, target) in enumerate(targets, start=1)
    )
    return f'{HEAD}<Relationships xmlns="{PACKAGE}/relationships">{inner}</Relationships>'


def presentation(count: int) -> str:
    listed = "".join(f'<p:sldId id="{255 + n}" r:id="r{n + 2}"/>' for n in range(1, count + 1))
    masters = '<p:sldMasterIdLst><p:sldMasterId id="2147483648" r:id="r1"/></p:sldMasterIdLst>'
    masters += '<p:notesMasterIdLst><p:notesMasterId r:id="r2"/></p:notesMasterIdLst>'
    sizes = f'<p:sldSz cx="{WIDE}" cy="{HIGH}"/><p:notesSz cx="6858000" cy="9144000"/>'
    return f"{HEAD}<p:presentation {SPACES}>{masters}<p:sldIdLst>{listed}</p:sldIdLst>{sizes}</p:presentation>"


def fixed_parts(count: int) -> dict[str, str]:
    slides = [("slide", f"slides/slide{n}.xml") for n in range(1, count + 1)]
    return {
        "_rels/.rels": related(("officeDocument", "ppt/presentation.xml")),
        "ppt/presentation.xml": presentation(count),
        "ppt/_rels/presentation.xml.rels": related(
            ("slideMaster", "slideMasters/slideMaster1.xml"), ("notesMaster", "notesMasters/notesMaster1.xml"), *slides
        ),
        "ppt/slideMasters/slideMaster1.xml": master(),
        "ppt/slideMasters/_rels/slideMaster1.xml.rels": related(
            ("slideLayout", "../slideLayouts/slideLayout1.xml"), ("theme", "../theme/theme1.xml")
        ),
        "ppt/slideLayouts/slideLayout1.xml": layout(),
        "ppt/slideLayouts/_rels/slideLayout1.xml.rels": related(("slideMaster", "../slideMasters/slideMaster1.xml")),
        "ppt/notesMasters/notesMaster1.xml": notes_master(),
        "ppt/notesMasters/_rels/notesMaster1.xml.rels": related(("theme", "../theme/theme2.xml")),
        "ppt/theme/theme1.xml": theme(),
        "ppt/theme/theme2.xml": theme(),
    }


def parts_of(slides: list[Slide]) -> dict[str, str]:
    parts = fixed_parts(len(slides))
    for n, slide in enumerate(slides, start=1):
        parts[f"ppt/slides/slide{n}.xml"] = slide_part(slide)
        beside = [("slideLayout", "../slideLayouts/slideLayout1.xml")]
        if slide.notes:
            beside.append(("notesSlide", f"../notesSlides/notesSlide{n}.xml"))
            parts[f"ppt/notesSlides/notesSlide{n}.xml"] = notes_part(slide)
            parts[f"ppt/notesSlides/_rels/notesSlide{n}.xml.rels"] = related(
                ("notesMaster", "../notesMasters/notesMaster1.xml"), ("slide", f"../slides/slide{n}.xml")
            )
        parts[f"ppt/slides/_rels/slide{n}.xml.rels"] = related(*beside)
    return {"[Content_Types].xml": content_types(parts), **parts}


def content_types(parts: dict[str, str]) -> str:
    kinds = {
        "slides": "slide",
        "slideMasters": "slideMaster",
        "slideLayouts": "slideLayout",
        "notesSlides": "notesSlide",
    }
    kinds["notesMasters"] = "notesMaster"
    inner = f'<Override PartName="/ppt/presentation.xml" ContentType="{TYPE}.presentationml.presentation.main+xml"/>'
    for name in parts:
        folder = name.split("/")[1] if name.count("/") == 2 else ""
        if folder in kinds:
            inner += f'<Override PartName="/{name}" ContentType="{TYPE}.presentationml.{kinds[folder]}+xml"/>'
        elif folder == "theme":
            inner += f'<Override PartName="/{name}" ContentType="{TYPE}.theme+xml"/>'
    return (
        f'{HEAD}<Types xmlns="{PACKAGE}/content-types"><Default Extension="rels"'
        ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        f'<Default Extension="xml" ContentType="application/xml"/>{inner}</Types>'
    )


def main(out: str, outline: str) -> None:
    slides = slides_of(outline)
    if not slides:
        sys.exit("The outline is empty.")
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in parts_of(slides).items():
            made.writestr(name, content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1], sys.stdin.read())
