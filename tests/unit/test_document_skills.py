"""The skills for documents that come with the server: their scripts run with nothing but Python's own library."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import pytest

from outrider.resources.skills.bundle import unpack
from outrider.resources.skills.prebuilt import prebuilt
from outrider.wire.skill_file import SKILL_FILE

MARKDOWN = """\
# Report on *Growth*

A paragraph with **bold** words & <signs>
that goes on.

- one
- two

1. first
2. second

| Name | Value |
|---|---|
| a | 1 |

---
## Second
Gr\u00fc\u00dfe
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of them, unpacked as a sandbox has them."""
    place = tmp_path_factory.mktemp("skills")
    for name, one in prebuilt().items():
        for path, content in unpack(one.packed).items():
            target = place / name / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content.data)
    return place


def run(place: Path, script: str, *words: str, given: str = "", code: int = 0) -> str:
    command = [sys.executable, "-I", "-S", str(place / script), *words]
    ended = subprocess.run(command, input=given.encode(), capture_output=True, timeout=30, check=False)
    assert ended.returncode == code, ended.stderr.decode()
    return (ended.stdout + ended.stderr).decode()


def test_each_names_scripts_that_it_has() -> None:
    assert list(prebuilt()) == ["docx", "pdf", "pptx", "xlsx"]
    for name, one in prebuilt().items():
        files = unpack(one.packed)
        text = files[SKILL_FILE].data.decode()
        assert (one.record.name, one.version.name, one.record.latest) == (name, name, one.version.id)
        named = set(re.findall(r"HERE/(\S+\.py)", text))
        assert named == files.keys() - {SKILL_FILE}


def test_a_word_document_is_written_and_read_back(place: Path, tmp_path: Path) -> None:
    made = str(tmp_path / "a.docx")
    run(place, "docx/scripts/write.py", made, given=MARKDOWN)
    lines = [line for line in run(place, "docx/scripts/read.py", made).splitlines() if line]
    assert lines == [
        "# Report on Growth", "A paragraph with bold words & <signs> that goes on.", "- one", "- two",
        "- first", "- second",
        "| Name | Value |", "| --- | --- |", "| a | 1 |", "## Second", "Gr\u00fc\u00dfe",
    ]  # fmt: skip


def test_a_workbook_is_written_and_read_back(place: Path, tmp_path: Path) -> None:
    table = 'Name,N,Day,F\n\u00e4,1.5,2026-01-31,=B2*2\n007,-3,x,"a, ""q"""\n'
    (tmp_path / "s.csv").write_text(table, encoding="utf-8")
    made = str(tmp_path / "a.xlsx")
    run(place, "xlsx/scripts/write.py", made, f"One & two={tmp_path / 's.csv'}", f"B={tmp_path / 's.csv'}")
    assert run(place, "xlsx/scripts/read.py", made) == "One & two: 3 rows\nB: 3 rows\n"
    assert run(place, "xlsx/scripts/read.py", made, "One & two", "--formulas") == table
    assert run(place, "xlsx/scripts/read.py", made, "B") == table.replace("=B2*2", "")
    assert "One & two, B" in run(place, "xlsx/scripts/read.py", made, "C", code=1)


def test_a_presentation_is_written_and_read_back(place: Path, tmp_path: Path) -> None:
    made = str(tmp_path / "a.pptx")
    run(
        place,
        "pptx/scripts/write.py",
        made,
        given="# Talk\n> welcome\n# Second\n- one\n  - under & more\nplain\n> say\n",
    )
    assert run(place, "pptx/scripts/read.py", made).splitlines() == [
        "--- slide 1", "# Talk", "> welcome",
        "--- slide 2", "# Second", "- one", "  - under & more", "- plain", "> say",
    ]  # fmt: skip
    with zipfile.ZipFile(made) as parts:
        types = parts.read("[Content_Types].xml").decode()
        assert all(
            f'"/{name}"' in types for name in parts.namelist() if name.startswith("ppt/") and "_rels" not in name
        )


def test_a_pdf_is_written_whole(place: Path, tmp_path: Path) -> None:
    made = tmp_path / "a.pdf"
    run(place, "pdf/scripts/write.py", str(made), given=MARKDOWN)
    content = made.read_bytes()
    start = int(content.rsplit(b"startxref\n", 1)[1].split()[0])
    places = [int(line[:10]) for line in content[start:].splitlines() if line.endswith(b" 00000 n ")]
    assert all(content[at:].startswith(b"%d 0 obj" % number) for number, at in enumerate(places, start=1))
    texts = [zlib.decompress(part) for part in re.findall(rb"stream\n(.*?)\nendstream", content, re.DOTALL)]
    assert len(texts) == 2
    assert b"(Report on Growth)" in texts[0]
    assert b"(A paragraph with bold words & <signs> that goes on.)" in texts[0]
    assert "(Gr\u00fc\u00dfe)".encode("cp1252") in texts[1]
    assert "Line 2" in run(place, "pdf/scripts/write.py", str(tmp_path / "x.pdf"), given="a\n\u03c0\n", code=1)
