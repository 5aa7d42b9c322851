"""The archive of sandboxes' files: whatever agents did to theirs, they and everybody else's come along."""

from __future__ import annotations

import inspect
import io
import os
import select
import stat
import sys
import tarfile
import tempfile
import threading
import traceback
from collections.abc import Callable, Generator
from pathlib import Path

import pytest
import zstandard

from outrider.sandbox import erase, room, walk
from outrider.supervisor import archives

USER = 65_533
DEEP = 250


@pytest.fixture
def place() -> Generator[Path]:
    """With sessions in it; not in pytest's own directory, whose parents other users can't enter."""
    place = Path(tempfile.mkdtemp(prefix="outrider-", dir="/tmp"))
    (place / "sessions" / "sesn_a" / "own" / "workspace").mkdir(parents=True)
    yield place
    erase.empty(str(place))
    place.rmdir()


def workspace(place: Path) -> Path:
    return place / "sessions" / "sesn_a" / "own" / "workspace"


def there_and_back(place: Path) -> tuple[Path, archives.LeftOut]:
    """The workspace as it was restored, and what was not."""
    left = archives.pack(place / "sessions", place / "packed")
    archives.unpack(place / "packed", place / "restored" / "sessions")
    return place / "restored" / "sessions" / "sesn_a" / "own" / "workspace", left


def test_files_called_as_the_hosts_own_are_left_out_beside_them_only(place: Path) -> None:
    for directory in (workspace(place), workspace(place).parent):
        for name in ("state.json", "shim.log", "journal"):
            (directory / name).write_text(name)
    restored, left = there_and_back(place)
    assert sorted(entry.name for entry in restored.iterdir()) == ["journal", "shim.log", "state.json"]
    assert sorted(entry.name for entry in restored.parent.iterdir()) == ["journal", "workspace"]
    assert left == archives.LeftOut()


def dug(top: Path, name: str, depth: int) -> None:
    """So many directories, each in the last one, with a file in the deepest."""
    at = os.open(top, walk.DIRECTORY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=at)
        below = os.open(name, walk.DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(os.open("f", os.O_CREAT, dir_fd=at))
    os.close(at)


def test_files_at_any_depth_come_along(place: Path) -> None:
    dug(workspace(place), "d", DEEP)
    usual = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack(0)) + DEEP // 2)  # what calls itself for each directory fails
    try:
        restored, left = there_and_back(place)
    finally:
        sys.setrecursionlimit(usual)
    assert (restored / ("d/" * DEEP) / "f").is_file()
    assert left.count == 0


def test_what_no_path_can_name_is_left_out_and_counted(place: Path) -> None:
    """A directory's path grows by 101 bytes with each."""
    dug(workspace(place), "\u00e9" * 50, 50)
    (workspace(place) / "kept").touch()
    restored, left = there_and_back(place)
    fit = (archives.LONGEST - len("sesn_a/own/workspace")) // 101
    assert (restored / "/".join(["\u00e9" * 50] * fit)).is_dir()
    assert (restored / "kept").exists()
    assert left.count == 50 - fit + 1
    assert len(left.first) == archives.NAMED
    assert all(one.startswith("sesn_a/own/workspace/\u00e9\u00e9") for one in left.first)


def test_what_agents_closed_to_an_ordinary_user_comes_along_and_stays_closed(place: Path) -> None:
    as_ordinary_user(place, lambda: closed_come_along(place))


def closed_come_along(place: Path) -> None:
    here = workspace(place)
    (here / "shut").mkdir()
    (here / "shut" / "in").write_text("in it")
    (here / "secret").write_text("secret")
    for name in ("shut", "secret"):
        (here / name).chmod(0)
    restored, left = there_and_back(place)
    for top in (here, restored):
        assert [stat.S_IMODE((top / name).stat().st_mode) for name in ("shut", "secret")] == [0, 0]
        (top / "shut").chmod(0o700)
        (top / "secret").chmod(0o600)
        assert [(top / name).read_text() for name in ("shut/in", "secret")] == ["in it", "secret"]
    assert left.count == 0


def test_closed_directories_at_any_depth_come_along_and_stay_closed(place: Path) -> None:
    as_ordinary_user(place, lambda: deep_and_closed_come_along(place))


def deep_and_closed_come_along(place: Path) -> None:
    depth = 2 * walk.HELD
    shut_down(workspace(place), depth)
    _restored, left = there_and_back(place)
    assert left.count == 0
    for top in (workspace(place), place / "restored" / "sessions" / "sesn_a" / "own" / "workspace"):
        assert modes_of(top) == [0] * depth


def shut_down(top: Path, depth: int) -> None:
    """So many directories, each in the last one, and closed from the deepest upwards."""
    ways = [os.open(top, walk.DIRECTORY)]
    for _ in range(depth):
        os.mkdir("d", dir_fd=ways[-1])
        ways.append(os.open("d", walk.DIRECTORY, dir_fd=ways[-1]))
    for at in reversed(ways[1:]):
        os.fchmod(at, 0)
    for at in ways:
        os.close(at)


def modes_of(top: Path) -> list[int]:
    """Those of the directories `d`, from the top down, which are opened for good."""
    modes: list[int] = []
    at = os.open(top, walk.DIRECTORY)
    while "d" in os.listdir(at):
        modes.append(stat.S_IMODE(os.lstat("d", dir_fd=at).st_mode))
        os.chmod("d", 0o700, dir_fd=at)
        below = os.open("d", walk.DIRECTORY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)
    return modes


def test_a_walk_that_is_left_in_the_middle_closes_what_it_opened(place: Path) -> None:
    as_ordinary_user(place, lambda: left_in_the_middle(place))


def left_in_the_middle(place: Path) -> None:
    shut_down(workspace(place), 2 * walk.HELD)
    going = walk.walk(str(workspace(place)))
    while len(next(going).above) < 2 * walk.HELD - 1:
        pass
    going.close()
    assert modes_of(workspace(place)) == [0] * 2 * walk.HELD


def test_of_a_backup_and_a_measurement_one_looks_at_a_session_at_a_time(place: Path) -> None:
    """The backup waits, a measurement says so. Whoever reads what is written sees how far it is."""
    own = str(workspace(place).parent)
    (workspace(place) / "big").write_bytes(os.urandom(8 * archives.PIECE))
    os.mkfifo(place / "packed")
    going = threading.Thread(target=archives.pack, args=(place / "sessions", place / "packed"), daemon=True)
    with walk.alone(own) as alone:
        assert alone
        assert room.counted(own, [own]) == room.LATER
        going.start()
        packed = (place / "packed").open("rb", buffering=0)
        assert not select.select([packed], [], [], 0.2)[0]
    with packed:
        assert packed.read(1)  # of the big file
        assert room.counted(own, [own]) == room.LATER
        while packed.read(archives.PIECE):
            pass
    going.join(20)
    assert int(room.counted(own, [own])) >= 8 * archives.PIECE


def test_a_backup_does_not_wait_for_a_measurement_for_good(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace(place) / "kept").touch()
    monkeypatch.setattr(archives, "WAIT_SECONDS", 0.1)
    with walk.alone(str(workspace(place).parent)):
        restored, left = there_and_back(place)
    assert (restored / "kept").exists()
    assert left.count == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of others")
def test_what_belongs_to_others_is_left_out_by_name(place: Path) -> None:
    (workspace(place) / "kept").touch()
    os.chown(workspace(place) / "kept", USER, USER)
    (workspace(place) / "secret").touch(0o600)
    (workspace(place) / "closed").mkdir(0o700)
    (workspace(place) / "listed" / "in").mkdir(parents=True)
    (workspace(place) / "listed").chmod(0o744)
    (place / "sessions" / "sesn_0").mkdir(0o700)
    as_ordinary_user(place, lambda: others_are_left_out(place))


def others_are_left_out(place: Path) -> None:
    restored, left = there_and_back(place)
    assert sorted(entry.name for entry in restored.iterdir()) == ["closed", "kept", "listed"]
    there = "sesn_a/own/workspace"
    assert sorted(left.first) == ["sesn_0", f"{there}/closed", f"{there}/listed", f"{there}/secret"]
    assert left.count == 4


def test_nothing_is_restored_through_a_link(place: Path) -> None:
    (place / "outside").mkdir()
    with (place / "packed").open("wb") as file, zstandard.ZstdCompressor().stream_writer(file) as squeezed:
        with tarfile.open(fileobj=squeezed, mode="w|") as tar:
            for name in ("s/d/f", "s/link", "s/link/d/f", "s/d/g", "s/link/h"):
                entry = tarfile.TarInfo(name)
                if name == "s/link":
                    entry.type, entry.linkname = tarfile.SYMTYPE, str(place / "outside")
                tar.addfile(entry, io.BytesIO())
    archives.unpack(place / "packed", place / "restored" / "sessions")
    assert not list((place / "outside").iterdir())
    restored = place / "restored" / "sessions" / "s"
    assert sorted(str(one.relative_to(restored)) for one in restored.rglob("*")) == ["d", "d/f", "d/g", "link"]


def as_ordinary_user(place: Path, work: Callable[[], None]) -> None:
    """In a child process, who owns the workspace and the directories on the way there."""
    if os.geteuid() == 0:
        for path in (place, *(place / one for one in ("sessions", "sessions/sesn_a", "sessions/sesn_a/own"))):
            os.chown(path, USER, USER)
        os.chown(workspace(place), USER, USER)
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            if os.geteuid() == 0:
                os.setgroups([])
                os.setresgid(USER, USER, USER)
                os.setresuid(USER, USER, USER)
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
