"""The drill's own judgement: what it must find in logs, shapes that make no sense, a relay that cuts and heals."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from outrider.errors import InvalidRequest
from outrider.ports.log import Row
from outrider.testing.drill import job
from outrider.testing.drill.chaos import Struck
from outrider.testing.drill.report import percentiles
from outrider.testing.drill.shape import Load, Shape
from outrider.testing.drill.verdict import take_overs
from outrider.testing.relay import Relay

pytestmark = pytest.mark.anyio


def row(seq: int, kind: str, body: dict[str, Any], *, epoch: int = 1, second: int = 0) -> Row:
    at = f"2026-01-01T00:00:{second:02d}.000000Z"
    return Row(seq, f"id_{seq}", kind, json.dumps({"type": kind, **body}).encode(), "sthr_1", True, epoch, at)


def use(seq: int, command: str) -> Row:
    return row(seq, "agent.tool_use", {"input": {"command": command}})


def result(seq: int, use_seq: int, text: str = "", *, is_error: bool = False) -> Row:
    content = [{"type": "text", "text": text}]
    return row(seq, "agent.tool_result", {"tool_use_id": f"id_{use_seq}", "content": content, "is_error": is_error})


def session(counted: str, *, failed: bool = False) -> list[Row]:
    return [
        use(1, "echo round-1-a >> marks; sleep 0.3"),
        result(2, 1, is_error=failed),
        use(3, job.COMMAND),
        result(4, 3, counted),
    ]


def test_a_mark_made_once_is_sound() -> None:
    assert job.effects(session("      1 round-1-a\n")) == []


def test_a_command_that_ran_twice_is_found() -> None:
    assert job.effects(session("      2 round-1-a\n")) == ["mark round-1-a was made 2 times"]


def test_a_result_without_its_effect_is_found() -> None:
    assert job.effects(session("")) == ["mark round-1-a is missing, although its call succeeded"]


def test_an_interrupted_call_may_have_run_or_not() -> None:
    assert job.effects(session("", failed=True)) == []
    assert job.effects(session("      1 round-1-a\n", failed=True)) == []


def test_a_session_that_never_counted_is_not_sound() -> None:
    assert job.effects(session("")[:2]) == ["the session's own count of its marks is missing"]


def test_recovery_is_measured_from_the_fault_to_the_new_owners_first_row() -> None:
    rows = [
        row(1, "agent.message", {}, second=1),
        row(2, "agent.message", {}, epoch=2, second=5),
        row(3, "session.status_idle", {}, epoch=2, second=6),
        row(4, "agent.message", {}, epoch=3, second=9),
    ]
    fault = Struck("kill", "server1.server", 1767225602.0, 0.0)
    assert take_overs(rows, [fault]) == [3.0]
    assert take_overs(rows, []) == [None]


def test_percentiles_are_by_nearest_rank() -> None:
    assert percentiles([]) == {}
    assert percentiles([3.0, 1.0, 2.0]) == {"n": 3, "p50": 2.0, "p95": 3.0, "p99": 3.0, "most": 3.0}


@pytest.mark.parametrize(
    ("shape", "said"),
    [
        ({"store": "oracle"}, "store"),
        ({"store": "sqlite", "with_nats": True}, "sqlite"),
        ({"store": "postgres", "apart": {"cook": 1}}, "cook"),
        ({"store": "postgres", "apart": {"api": 1}}, "harness"),
    ],
)
def test_a_shape_that_makes_no_sense_is_refused(shape: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        Shape(**shape)


def test_a_fault_that_there_is_not_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="flood"):
        Load(faults=("flood",))


async def test_a_relay_holds_back_what_is_sent_while_it_is_cut_and_gives_it_on_when_it_heals() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Relay("127.0.0.1", server.sockets[0].getsockname()[1]).running() as relay:
        reader, writer = await asyncio.open_connection("127.0.0.1", relay.port)
        writer.write(b"one\n")
        async with asyncio.timeout(10):
            assert await reader.readline() == b"one\n"
            relay.cut()
            writer.write(b"two\n")
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await reader.readline()
            relay.heal()
            assert await reader.readline() == b"two\n"
            relay.reset()
            assert await reader.read() == b""
        writer.close()
