"""A wall clock that jumps an hour either way in the middle of a turn: nothing is lost, nothing waits for the hour."""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

import pytest
from live_server import Server, Stage, data_directory, serving
from test_recovery import check_log, environment, open_talk, settle, texts

from outrider.models.scripted.script import Barrier, Text, ToolUse, Turn

HOUR = 3600


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


class WallClock:
    """The servers' wall clock, as an offset in a file that libfaketime reads at each call; no monotonic clock moves."""

    def __init__(self, place: Path) -> None:
        spec = find_spec("libfaketime")
        assert spec is not None
        assert spec.origin is not None
        library = place / "libfaketime.so.1"
        shutil.copy(Path(spec.origin).parent / "vendor/libfaketime/src/libfaketime.so.1", library)
        self._file = place / "offset"
        self.jump(0)
        for path in (library, self._file):
            path.chmod(0o644)
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, seconds: int) -> None:
        """Whole or not at all: a half-written offset would be another jump."""
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{seconds:+d}")
        draft.chmod(0o644)
        os.replace(draft, self._file)


def test_turns_go_on_across_jumps_of_the_clock(stage: Stage) -> None:
    with data_directory() as data:
        clock = WallClock(data.parent)
        with serving(data, environment(stage) | clock.environment) as server:
            for hours in (1, -1):
                _play_across(stage, server, clock, hours)


def _play_across(stage: Stage, server: Server, clock: WallClock, hours: int) -> None:
    barrier = f"clock{hours}"
    stage.put(
        barrier,
        Turn(ToolUse("bash", {"command": "echo one"})),
        Turn(Text("Half ", Barrier(barrier), "way."), ToolUse("bash", {"command": "echo two"})),
        Turn("Done."),
        Turn("Again."),
    )
    clock.jump(0)
    talk = open_talk(server, barrier)
    talk.say("go")
    stage.arrived(barrier)
    clock.jump(hours * HOUR)
    stage.release(barrier)
    settle(talk)
    history = check_log(talk)
    assert texts(history) == "onetwo"
    assert jumped(history[0].processed_at, history[-1].processed_at) == hours
    talk.say("again")
    settle(talk)
    check_log(talk)
    assert lists_alike(server, talk.id, len(talk.history()))


def jumped(first: datetime, last: datetime) -> int:
    """The hours between two times, to the next whole one."""
    return round((last - first).total_seconds() / HOUR)


def lists_alike(server: Server, session: str, count: int) -> bool:
    """Pages in both directions hold the same events, whatever their times say."""
    events = server.client().beta.sessions.events
    up = [event.id for event in events.list(session, limit=3, order="asc")]
    down = [event.id for event in events.list(session, limit=3, order="desc")]
    return up == down[::-1] and len(up) == count
