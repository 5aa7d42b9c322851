"""Kills a process around each step of an upload (of files and of skills), a deletion, and the collection of an
output: what is listed has its bytes, nothing is there twice, and bytes without a record are swept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import anthropic
import pytest
from kill_matrix import FILES
from kill_stores import Database
from live_server import KEY, Stage
from session_talk import Talk

from outrider.clock import ManualClock
from outrider.config import Retention
from outrider.models.scripted.script import ToolUse, Turn
from outrider.ports.blobs import BlobPrefix, read_whole
from outrider.ports.files import content_of
from outrider.ports.log import SessionKey
from outrider.ports.records import Page
from outrider.store.blobs.local import LocalBlobs
from outrider.store.cold import Freezer
from outrider.store.upkeep import Upkeep
from outrider.testing.server_process import ServerProcess, data_directory, running_server
from outrider.testing.stops import Stops

MODEL = "outputs"
POINTS = sorted(f"{place}.{when}" for place in FILES for when in ("before", "after"))
DEADLINE = 30.0


@pytest.fixture(scope="module")
def stops() -> Generator[Stops]:
    with Stops() as stops:
        yield stops


@pytest.fixture(scope="module")
def server(stops: Stops, database: Database) -> Generator[ServerProcess]:
    with data_directory() as data, Stage().open() as stage:
        stage.put(MODEL, Turn(ToolUse("bash", {"command": "echo kept > /mnt/session/outputs/kept"})), Turn("Done."))
        data.mkdir(mode=0o711)
        (data / "config.toml").write_text("[server]\ndownloadable_uploads = true\n")
        environment = {"OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key"}
        with running_server(data, environment=environment | database.environment, faults=stops.theirs) as server:
            server.until_settled()
            yield server


def killed_at(server: ServerProcess, stops: Stops, point: str, act: Callable[[], object]) -> int:
    """Kill the process that comes to the point while this is done. Returns how many broken connections its client
    saw."""
    failures: list[BaseException] = []

    def attempt() -> None:
        try:
            act()
        except anthropic.APIConnectionError as error:
            failures.append(error)

    stops.want(point)
    client = threading.Thread(target=attempt)
    client.start()
    stop = stops.held(DEADLINE)
    assert stop is not None, f"nobody came to {point}"
    before = server.children()
    (role,) = (role for role, pid in before.items() if pid == stop.pid)
    os.kill(stop.pid, signal.SIGKILL)
    server.until_replaced(role, stop.pid)
    client.join(DEADLINE)
    stops.run()
    server.until_up()
    return len(failures)


@pytest.mark.timeout(120)
@pytest.mark.anyio
async def test_killed_at_any_step_no_file_is_doubled_or_without_its_bytes(
    server: ServerProcess, stops: Stops, database: Database
) -> None:
    url = server.until_up()
    expected: dict[str, bytes] = {}
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0) as client:
        for point in [point for point in POINTS if point.startswith("file.")]:
            content = os.urandom(100_000)
            if point.startswith("file.delete"):
                doomed = client.files.upload(file=("doomed", content)).id
                assert killed_at(server, stops, point, lambda doomed=doomed: client.files.delete(doomed)) == 1
                left = [one.id for one in client.files.list(ids=[doomed]).data]
                assert left == ([doomed] if point.endswith("before") else [])
                if left:
                    client.files.delete(doomed)
                continue
            failed = killed_at(
                server, stops, point, lambda content=content: client.files.upload(file=("kept", content))
            )
            assert failed == 1
            again = client.files.upload(file=("kept", content), extra_headers={"x-stainless-retry-count": "1"})
            expected[again.id] = content
        skills_are_whole_or_not_there(server, stops, client)
        for point in [point for point in POINTS if point.startswith("output.")]:
            expected |= collected(server, stops, point, client)
        assert {one.id for one in client.files.list()} == expected.keys()
        for name, content in expected.items():
            assert client.files.download(name).read() == content
    server.end()
    await nothing_is_left_over(server.data, database, expected)


def skills_are_whole_or_not_there(server: ServerProcess, stops: Stops, client: anthropic.Anthropic) -> None:
    """Each is deleted again, so that nothing of skills may be left over."""
    skills = client.beta.skills
    for number, point in enumerate([point for point in POINTS if point.startswith("skill.")]):
        head = f"---\nname: kill\ndescription: killed at point {number}\n---\n".encode()
        files = [("kill/SKILL.md", head), ("kill/bytes", os.urandom(50_000))]
        if point.startswith("skill.delete"):
            made = skills.create(files=files)
            assert killed_at(server, stops, point, lambda made=made: skills.delete(made.id)) == 1
            left = [one.id for one in skills.list(source="custom")]
            assert left == ([made.id] if point.endswith("before") else [])
        else:
            assert killed_at(server, stops, point, lambda files=files: skills.create(files=files)) == 1
            made = skills.create(files=files, extra_headers={"x-stainless-retry-count": "1"})
            left = [one.id for one in skills.list(source="custom")]
            assert left == [made.id]
            assert skills.versions.download(made.latest_version_id, skill_id=made.id).read()
        for one in left:
            skills.delete(one)


def collected(server: ServerProcess, stops: Stops, point: str, client: anthropic.Anthropic) -> dict[str, bytes]:
    """What a session leaves whose process is killed while it is collected."""
    agent = client.beta.agents.create(name="kill", model=MODEL, tools=[{"type": "agent_toolset_20260401"}]).id
    place = client.beta.environments.create(name="kill").id
    talk = Talk(client, client.beta.sessions.create(agent=agent, environment_id=place).id)
    killed_at(server, stops, point, lambda: talk.say("go"))
    talk.wait()
    (made,) = client.beta.files.list(scope_id=talk.id).data
    return {made.id: b"kept\n"}


async def nothing_is_left_over(data: Path, database: Database, expected: dict[str, bytes]) -> None:
    """Two days later, by the upkeep's clock. A server that was killed while it erased may leave an empty directory."""
    blobs, clock = LocalBlobs(data / "blobs"), ManualClock()
    clock.advance(10 * 365 * 86_400)

    async def delete(_key: SessionKey, _before: str) -> bool:
        return False

    async with await database.opened(data) as store:
        await Upkeep(store, blobs, Freezer(store, blobs), Retention(), clock, delete).all()
        records = await store.files(store.default_workspace, Page(limit=99))
        assert {record.id for record in records} == expected.keys()
        for record in records:
            assert record.blob is not None
            assert await read_whole(blobs, content_of(record.workspace, record.blob)) == expected[record.id]
        assert {info.key.owner async for info in blobs.list(BlobPrefix())} == expected.keys()
        assert {place.parent.name for place in (data / "blobs").glob("*/??/file_*/*")} == expected.keys()
        assert await store.stored_bytes(store.default_workspace) == sum(map(len, expected.values()))
