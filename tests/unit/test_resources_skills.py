"""Uploads of skills are read as if an attacker had made them: what is not a plain skill is refused by name."""

from __future__ import annotations

import io
import os
import stat
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outrider.errors import InvalidRequest
from outrider.resources.skills import bundle
from outrider.resources.skills.bundle import MOST_BYTES, MOST_FILES, pack, read_upload, unpack

HEAD = b"---\nname: greeting\ndescription: How this team greets.\n---\nSay hello.\n"
GOOD = {"greeting/SKILL.md": HEAD, "greeting/scripts/hello.sh": b"#!/bin/sh\necho hello\n"}


def zipped(files: dict[str, bytes] | None = None, *, change: Callable[[zipfile.ZipFile], object] | None = None) -> Any:
    """The parts of an upload: one archive of these files, and of what `change` adds."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of doubled names
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, data in (GOOD if files is None else files).items():
                archive.writestr(path, data)
            if change is not None:
                change(archive)
    return [("skill.zip", out.getvalue())]


def entry(name: str, mode: int, data: bytes = b"") -> Callable[[zipfile.ZipFile], object]:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return lambda archive: archive.writestr(info, data)


def refusal(parts: Any) -> str:
    with pytest.raises(InvalidRequest) as refused:
        read_upload(parts)
    assert refused.value.message.startswith("files: ")
    return refused.value.message


@pytest.mark.parametrize("parts", [list(GOOD.items()), zipped(), zipped(change=lambda z: z.mkdir("greeting/empty"))])
def test_loose_files_and_a_zip_are_one_skill(parts: Any) -> None:
    found = read_upload(parts)
    assert (found.name, found.description) == ("greeting", "How this team greets.")
    assert {path: content.data for path, content in found.files.items()} == {
        "SKILL.md": HEAD, "scripts/hello.sh": GOOD["greeting/scripts/hello.sh"]
    }  # fmt: skip


def test_what_is_packed_has_one_directory_of_the_skills_name_and_keeps_what_may_be_run() -> None:
    parts = zipped({}, change=lambda z: [entry("any/SKILL.md", 0o644, HEAD)(z), entry("any/run", 0o755, b"x")(z)])
    found = read_upload(parts)
    packed = pack(found)
    assert pack(read_upload([("again.ZIP", packed)])) == packed
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        modes = {one.filename: oct(one.external_attr >> 16) for one in archive.infolist()}
    assert modes == {"greeting/SKILL.md": "0o100644", "greeting/run": "0o100755"}
    assert unpack(packed) == found.files


@pytest.mark.parametrize(
    "path",
    [
        "greeting/../../etc/passwd", "/greeting/x", "greeting//x", "greeting/./x", "../x", "greeting/..",
        "greeting/a\\b", "greeting/a\nb", "greeting/" + "n" * 256, "greeting/" + "d/" * 16 + "x",
    ],
)  # fmt: skip
def test_a_path_that_is_not_plainly_within_the_skill_is_refused(path: str) -> None:
    refusal([*GOOD.items(), (path, b"x")])
    refusal(zipped(GOOD | {path: b"x"}))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_are_refused(kind: int) -> None:
    assert "plain file" in refusal(zipped(change=entry("greeting/link", kind | 0o777, b"/etc/passwd")))


def test_names_that_are_there_twice_or_shadow_each_other_are_refused() -> None:
    assert "twice" in refusal(zipped(change=entry("greeting/SKILL.md", 0o644, b"other")))
    assert "twice" in refusal([*GOOD.items(), ("greeting/SKILL.md", b"other")])
    assert "directory at once" in refusal([*GOOD.items(), ("greeting/scripts", b"x")])


def test_a_name_that_is_cut_at_a_null_is_refused() -> None:
    ((_, data),) = zipped(GOOD | {"greeting/x!evil": b"x"})
    assert "control characters" in refusal([("a.zip", data.replace(b"greeting/x!evil", b"greeting/x\0evil"))])


def test_a_bomb_is_refused_before_it_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = zipped(GOOD | {"greeting/zeros": bytes(MOST_BYTES)})
    many = {f"greeting/zeros{n}": bytes(MOST_BYTES // 4) for n in range(4)}
    bombs = zipped(GOOD | many)
    unpacked: list[str] = []
    plain = zipfile.ZipFile.open

    def watched(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Any:
        unpacked.append(entry.filename)
        return plain(archive, entry)

    monkeypatch.setattr(zipfile.ZipFile, "open", watched)
    assert "30 MB" in refusal(bomb)
    assert "30 MB" in refusal(bombs)
    assert not {"greeting/zeros", "greeting/zeros3"} & set(unpacked)
    assert "30 MB" in refusal([*GOOD.items(), *many.items()])


def test_an_archive_that_lies_about_sizes_is_refused() -> None:
    """An entry of 64 MB that says it has ten bytes: it is read no further than it says, and then it is not whole."""
    size = 64 * 1024**2
    ((_, data),) = zipped(GOOD | {"greeting/zeros": bytes(size)})
    claimed = struct.pack("<L", size)
    assert data.count(claimed) == 2
    liar = [("a.zip", data.replace(claimed, struct.pack("<L", 10)))]
    tracemalloc.start()
    assert "can't be read" in refusal(liar)
    assert tracemalloc.get_traced_memory()[1] < size // 4
    tracemalloc.stop()


def test_more_files_than_a_skill_may_have_are_refused() -> None:
    many = {f"greeting/{n}": b"" for n in range(MOST_FILES)}
    assert f"{MOST_FILES} files" in refusal(zipped(GOOD | many))
    assert f"{MOST_FILES} files" in refusal([*GOOD.items(), *many.items()])
    few = dict(list(many.items())[: MOST_FILES - 2])
    assert len(read_upload(zipped(GOOD | few)).files) == MOST_FILES


def test_a_directory_of_very_many_entries_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> None:
        raise AssertionError("it was read")

    monkeypatch.setattr(bundle.zipfile, "ZipFile", opened)
    assert f"{MOST_FILES} files" in refusal([("a.zip", bundle.ENTRY * 5_000)])


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_only_stored_and_deflated_entries_are_taken(method: int) -> None:
    assert "deflated" in refusal(zipped(change=lambda z: z.writestr("greeting/x", b"x", compress_type=method)))


def test_an_encrypted_entry_is_refused() -> None:
    ((_, data),) = zipped()
    at = data.index(b"PK\x01\x02") + 8
    assert "encrypted" in refusal([("a.zip", data[:at] + b"\x01\x00" + data[at + 2 :])])


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip", b"PK\x05\x06" + bytes(18), os.urandom(1000)])
def test_what_is_no_zip_or_an_empty_one_is_refused(data: bytes) -> None:
    refusal([("a.zip", data)])


@given(st.data())
def test_a_damaged_archive_is_refused_or_read_and_nothing_else(data: st.DataObject) -> None:
    ((_, whole),) = zipped()
    damaged = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(InvalidRequest):
        assert read_upload([("a.zip", bytes(damaged))]).name


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "Field required"),
        ({"SKILL.md": HEAD}, "one top directory"),
        ({"a/SKILL.md": HEAD, "b/x": b""}, "one top directory"),
        ({"a/x": b""}, "is missing"),
        ({"a/skill.md": HEAD}, "is missing"),
        ({"a/SKILL.md": b"no head"}, "head"),
        ({"a/SKILL.md": b"---\nname: x\ndescription: \xff\n---\n"}, "UTF-8"),
        ({"a/SKILL.md": b"---\nname: Not Good\ndescription: d\n---\n"}, "lower-case"),
        ({"a/SKILL.md": b"---\nname: my-claude-skill\ndescription: d\n---\n"}, "claude"),
        ({"anthropic-x/SKILL.md": b"---\ndescription: d\n---\n"}, "anthropic"),
        ({"a/SKILL.md": b"---\nname: " + b"n" * 65 + b"\ndescription: d\n---\n"}, "64"),
        ({"a/SKILL.md": b"---\nname: x\n---\n"}, "description"),
        ({"a/SKILL.md": b"---\nname: x\ndescription: " + b"d" * 1025 + b"\n---\n"}, "1024"),
        ({"a/SKILL.md": b"---\nname: x\ndescription: a <b>tag</b>\n---\n"}, "XML"),
    ],
)
def test_a_skill_file_keeps_the_rules(files: dict[str, bytes], words: str) -> None:
    assert words in refusal(list(files.items()))


def test_a_skill_without_a_name_is_named_by_its_directory() -> None:
    assert read_upload([("my-skill/SKILL.md", b"---\ndescription: d\n---\n")]).name == "my-skill"
