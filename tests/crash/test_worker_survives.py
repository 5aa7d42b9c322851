"""The SDK's worker, unmodified, while its server is killed as a whole, and while it stands still itself."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cutting_proxy import CuttingProxy
from live_server import KEY, Stage
from sdk_clients import sdk_client
from session_talk import Talk
from turns import TOOLSET, every, text_of
from workers import environment_of, key_of, until, until_no_work, worker_apart

from conformance.requirements import requirement
from outrider.models.scripted.script import ToolUse, Turn
from outrider.testing.server_process import ServerProcess, data_directory, running_server

pytestmark = pytest.mark.anyio
TOOLS: Any = [TOOLSET]
HELD = "echo ran >> ran.txt; touch begun; until [ -e go ]; do sleep 0.05; done; cat ran.txt"
TAKEN = "[ -e mine ] && echo second || { touch mine; until [ -e late ]; do sleep 0.05; done; echo first; }"
LONG, SHORT = 300, 6  # seconds of a lease


@contextmanager
def serving(data: Path, stage: Stage, lease: int) -> Generator[ServerProcess]:
    (data / "config.toml").write_text(f"[limits]\nheartbeat = 0.5\nwork_lease = {lease}\n")
    environment = {"OUTRIDER_API_KEY": KEY, "OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key"}
    with running_server(data, environment=environment) as server:
        yield server


def port_of(server: ServerProcess) -> int:
    return int(server.until_up().rpartition(":")[2])


def calling(command: str) -> Turn:
    return Turn(ToolUse("bash", {"command": command}))


async def answered(talk: Talk, text: str) -> None:
    await until(lambda: text in [text_of(one) for one in every(talk.history(), "agent.message")])


@requirement("work:server-restart", "work:lease:lost")
@pytest.mark.timeout(150)
async def test_a_worker_goes_on_after_its_server_was_killed_and_after_it_has_lost_its_item(tmp_path: Path) -> None:
    place, turns = tmp_path / "w", [calling(HELD), Turn("Held."), calling(TAKEN), Turn("Taken.")]
    with Stage().open() as stage, data_directory() as data:
        data.mkdir(mode=0o711)
        model = stage.put("worked", *turns, calling("echo third"), Turn("Third."))
        with serving(data, stage, LONG) as server:
            port = port_of(server)
            client = sdk_client(f"http://127.0.0.1:{port}", KEY)
            environment = environment_of(client)
            key = key_of(client, environment)
            agent = client.beta.agents.create(name="worked", model=model, tools=TOOLS).id
            session = client.beta.sessions.create(agent=agent, environment_id=environment).id
            Talk(client, session).say("go")
            async with CuttingProxy(port).open() as proxy:
                url = f"http://127.0.0.1:{proxy.port}"
                with worker_apart(url, environment, key, place) as first:
                    await until((place / "begun").exists)
                    proxy.refuse(True)
                    server.end(signal.SIGKILL)
                    (place / "go").touch()
                    with serving(data, stage, SHORT) as server:
                        proxy.towards(port_of(server))
                        proxy.refuse(False)
                        client = sdk_client(server.until_up(), KEY)
                        talk = Talk(client, session)
                        await answered(talk, "Held.")
                        await until_no_work(client, environment)
                        talk.say("go on")
                        await until((place / "mine").exists)
                        first.send_signal(signal.SIGSTOP)
                        with worker_apart(url, environment, key, place):
                            await answered(talk, "Taken.")
                            (place / "late").touch()
                            first.send_signal(signal.SIGCONT)
                            await until_no_work(client, environment)
                        talk.say("once more")
                        await answered(talk, "Third.")
                        results = [text_of(one).strip() for one in every(talk.history(), "user.tool_result")]
    assert results == ["ran", "second", "third"]
