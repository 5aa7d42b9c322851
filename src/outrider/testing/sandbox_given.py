"""What the port `Sandboxes` owes for files and skills that a session is given; and `SUITE`, all that it owes."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import AsyncIterator

from outrider.errors import Fenced, SandboxUnavailable
from outrider.ports.packages import Equipment
from outrider.ports.sandbox import UPLOAD_PIECE, Sandboxes, Upload
from outrider.testing.sandbox_suite import CALLS, Check, Hands, raises

UPLOADS, SKILLS = "/mnt/session/uploads", "/mnt/session/skills"


async def in_pieces(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), UPLOAD_PIECE):
        yield data[start : start + UPLOAD_PIECE]


async def bring(sandboxes: Sandboxes, session: str, epoch: int = 1, /, **files: bytes) -> list[str]:
    """Make the uploads folder hold these, under paths with slashes for underscores; the paths of those put there."""
    given = {name.replace("_", "/"): data for name, data in files.items()}
    wanted = [Upload(path, f"file_{zlib.crc32(data)}", len(data)) for path, data in given.items()]
    missing = await sandboxes.missing_uploads(session, wanted, epoch=epoch)
    for one in missing:
        await sandboxes.put_upload(session, one, in_pieces(given[one.path]), epoch=epoch)
    return [one.path for one in missing]


async def uploads_are_put_where_they_belong_once_and_only_for_reading(sandboxes: Sandboxes, session: str) -> None:
    hands, big = Hands(sandboxes, session), bytes(2_500_000)
    assert await bring(sandboxes, session, a_b_c=b"one\n", big=big, empty=b"") == ["a/b/c", "big", "empty"]
    assert await hands.bash(f"cd {UPLOADS} && cat a/b/c && wc -c < big && wc -c < empty") == "one\n2500000\n0"
    assert await bring(sandboxes, session, a_b_c=b"one\n", big=big, empty=b"") == []
    assert "Read-only" in await hands.refused("bash", command=f"cd {UPLOADS} && echo x > a/b/c")
    assert "Read-only" in await hands.refused("bash", command=f"rm {UPLOADS}/big")
    assert await hands.bash(f"chmod 777 {UPLOADS} 2>/dev/null; cat {UPLOADS}/a/b/c") == "one"
    await sandboxes.stop(session)
    assert await bring(sandboxes, session, a_b_c=b"one\n", big=big, empty=b"") == []


async def uploads_come_and_go_beside_a_living_sandbox(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    assert await hands.bash(f"ls {UPLOADS}") == "(no output)"
    await bring(sandboxes, session, a_b=b"one", c=b"two", d_e_f=b"three")
    assert await bring(sandboxes, session, a=b"new", c=b"other", g=b"") == ["a", "c", "g"]
    assert await hands.bash(f"cd {UPLOADS} && find . -type f | sort | xargs && cat a c") == "./a ./c ./g\nnewother"
    await bring(sandboxes, session)
    assert await hands.bash(f"ls {UPLOADS}") == "(no output)"


async def an_upload_is_there_as_a_whole_or_not_at_all(sandboxes: Sandboxes, session: str) -> None:
    hands, data = Hands(sandboxes, session), bytes(UPLOAD_PIECE + 1)
    one = Upload("big", "file_1", len(data))
    assert await sandboxes.missing_uploads(session, [one], epoch=1) == [one]
    await raises(ValueError, sandboxes.put_upload(session, one, in_pieces(data[:-1]), epoch=1))
    await raises(ValueError, sandboxes.put_upload(session, one, in_pieces(data + b"x"), epoch=1))
    assert await hands.bash(f"ls {UPLOADS}") == "(no output)"
    assert await sandboxes.missing_uploads(session, [one], epoch=1) == [one]
    await sandboxes.put_upload(session, one, in_pieces(data), epoch=1)
    await sandboxes.put_upload(session, one, in_pieces(data), epoch=1)
    assert await hands.bash(f"wc -c < {UPLOADS}/big") == str(len(data))


def packed(files: dict[str, tuple[int, bytes]]) -> bytes:
    """An archive of a skill, by path: mode and content."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for path, (mode, data) in files.items():
            entry = zipfile.ZipInfo(path)
            entry.external_attr = mode << 16
            archive.writestr(entry, data)
    return out.getvalue()


async def teach(sandboxes: Sandboxes, session: str, **archives: bytes) -> list[str]:
    """Make the skills folder hold these; the names of those put there."""
    wanted = [Upload(name, f"skver_{zlib.crc32(data)}", len(data), "skills") for name, data in archives.items()]
    missing = await sandboxes.missing_uploads(session, wanted, epoch=1)
    for one in missing:
        await sandboxes.put_upload(session, one, in_pieces(archives[one.path]), epoch=1)
    return [one.path for one in missing]


async def skills_are_unpacked_beside_the_workspace_only_for_reading(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    script = b"#!/bin/sh\necho hello\n"
    first = packed({"a/SKILL.md": (0o100644, b"one\n"), "a/scripts/run": (0o100755, script), "a/x": (0o100644, script)})
    other = packed({"b/SKILL.md": (0o100644, bytes(2_000_000))})
    assert await teach(sandboxes, session, greeting=first, other=other) == ["greeting", "other"]
    assert await hands.bash(f"cd {SKILLS} && ls && cat greeting/SKILL.md && greeting/scripts/run") == (
        "greeting\nother\none\nhello"
    )
    assert "Permission denied" in await hands.refused("bash", command=f"{SKILLS}/greeting/x")
    for command in ("echo x > SKILL.md", "rm SKILL.md", "touch new", "chmod 777 SKILL.md"):
        assert "Read-only" in await hands.refused("bash", command=f"cd {SKILLS}/greeting && {command}")
    assert await teach(sandboxes, session, greeting=first, other=other) == []
    assert await teach(sandboxes, session, greeting=other) == ["greeting"]
    assert await hands.bash(f"cd {SKILLS} && ls && wc -c < greeting/SKILL.md") == "greeting\n2000000"


async def an_archive_of_a_skill_reaches_nothing_else(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    hostile: list[dict[str, tuple[int, bytes]]] = [
        {"a/../../workspace/x": (0o100644, b"x")},
        {"a//x": (0o100644, b"x")},
        {"x": (0o100644, b"x")},
        {"a/link": (0o120777, b"/workspace")},
        {"a/link": (0o120777, b"/workspace"), "a/link/x": (0o100644, b"x")},
        {"a/x": (0o100644, b"x"), "a/x/y": (0o100644, b"x")},
    ]
    for files in hostile:
        await raises(SandboxUnavailable, teach(sandboxes, session, greeting=packed(files)))
    await raises(SandboxUnavailable, teach(sandboxes, session, greeting=b"no archive"))
    for path in ("..", "a/b", ""):
        stray = Upload(path, "skver_1", 1, "skills")
        await raises(SandboxUnavailable, sandboxes.put_upload(session, stray, in_pieces(b"x"), epoch=1))
    assert await hands.bash(f"ls {SKILLS} /workspace") == f"{SKILLS}:\n\n/workspace:"


async def uploads_are_their_owners_alone(sandboxes: Sandboxes, session: str) -> None:
    one = Upload("a", "file_1", 1)
    assert await sandboxes.missing_uploads(session, [one], epoch=2) == [one]
    await raises(Fenced, sandboxes.missing_uploads(session, [], epoch=1))
    await raises(Fenced, sandboxes.put_upload(session, one, in_pieces(b"x"), epoch=1))
    for path in ("../workspace/x", "/etc/x", "a//b", ""):
        stray = Upload(path, "file_1", 1)
        await raises(SandboxUnavailable, sandboxes.put_upload(session, stray, in_pieces(b"x"), epoch=2))


async def a_session_is_equipped_for_its_owner_alone(sandboxes: Sandboxes, session: str) -> None:
    """Where a manager is not there, or has no such package, that is what is said."""
    await sandboxes.equip(session, Equipment("wrkspc_a"), epoch=2)
    await raises(Fenced, sandboxes.equip(session, Equipment("wrkspc_a"), epoch=1))
    nothing = Equipment("wrkspc_a", {"gem": ("outrider-tests-none",)})
    await raises(SandboxUnavailable, sandboxes.equip(session, nothing, epoch=2))


SUITE: tuple[Check, ...] = (
    *CALLS,
    uploads_are_put_where_they_belong_once_and_only_for_reading,
    uploads_come_and_go_beside_a_living_sandbox,
    an_upload_is_there_as_a_whole_or_not_at_all,
    skills_are_unpacked_beside_the_workspace_only_for_reading,
    an_archive_of_a_skill_reaches_nothing_else,
    uploads_are_their_owners_alone,
    a_session_is_equipped_for_its_owner_alone,
)
