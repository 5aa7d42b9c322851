"""A host that lacks something: room on the log's disk, or the kernel's user namespaces. For root and ordinary users."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic
from live_server import KEY, Stage, data_directory
from session_talk import Talk

from outrider.models.scripted.script import Barrier, ToolUse, Turn
from outrider.testing.server_process import ServerProcess, running_server

ROOT = os.geteuid() == 0
MEGABYTE = 1024 * 1024
DISK = 48 * MEGABYTE
RESERVE = 8 * MEGABYTE
CONFIG = f"[limits]\nheartbeat = 1.0\nlog_reserve_bytes = {RESERVE}\n"
SECONDS = 90.0
MOUNT = f'mount -t tmpfs -o size={DISK},mode=0711 none "$0" && echo ready && exec sleep infinity'
FORBID = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
TOOLSET: Any = [{"type": "agent_toolset_20260401"}]


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


def serve(place: Path) -> list[str]:
    return [sys.executable, "-m", "outrider", "serve", "--port", "0", "--data", str(place)]


def environment(stage: Stage) -> dict[str, str]:
    return {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_API_KEY": KEY}


@contextmanager
def client_of(server: ServerProcess) -> Generator[Anthropic]:
    with Anthropic(base_url=server.until_up(), api_key=KEY, max_retries=0) as client:
        yield client


def open_talk(client: Anthropic, model: str, **agent: Any) -> Talk:
    made = client.beta.agents.create(name="tester", model=model, **agent)
    place = client.beta.environments.create(name="tests")
    return Talk(client, client.beta.sessions.create(agent=made.id, environment_id=place.id).id)


@contextmanager
def holding(command: Sequence[str]) -> Generator[int]:
    """A process that keeps the namespaces alive that it has made; it says so by a line."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process.pid
        finally:
            process.kill()


# -- a full disk


class Disk:
    """A small file system in a mount namespace of its own: `place` is its path in there, `seen` the one from here."""

    def __init__(self, holder: int, place: Path) -> None:
        self.place = place
        self.seen = Path(f"/proc/{holder}/root{place}")
        self.enter = ["nsenter", f"--target={holder}", "--mount"]
        if not ROOT:
            self.enter += ["--user", "--preserve-credentials"]

    def fill(self, left: int) -> None:
        """Write until so many bytes are left."""
        with (self.seen / "ballast").open("ab", buffering=0) as ballast:
            while (room := os.statvfs(self.seen)).f_bavail * room.f_frsize > left:
                ballast.write(b"x" * min(MEGABYTE, room.f_bavail * room.f_frsize - left))

    def empty(self) -> None:
        (self.seen / "ballast").unlink()


@contextmanager
def small_disk() -> Generator[Disk]:
    may_mount = [] if ROOT else ["--map-current-user", "--keep-caps"]
    with data_directory() as beside:
        place = beside / "disk"
        place.mkdir(mode=0o711)
        with holding(["unshare", "--mount", *may_mount, "sh", "-c", MOUNT, str(place)]) as holder:
            yield Disk(holder, place)


def refused(act: Any) -> str:
    with pytest.raises(anthropic.OverloadedError) as caught:
        act()
    assert caught.value.status_code == 529
    body: Any = caught.value.body
    assert body["error"]["type"] == "overloaded_error"
    return body["error"]["message"]


def reads_and_rests(talk: Talk, texts: list[str]) -> None:
    """The session has taken these messages, no other, each answered or on its way."""
    assert [event.content[0].text for event in talk.history(types=["user.message"])] == texts


@pytest.mark.timeout(150)
def test_a_full_disk_refuses_loses_nothing_and_works_again_with_room(stage: Stage) -> None:
    stage.put("steady", Turn("One."), Turn("Two."))
    stage.put("caught", Turn("Half done.", first_byte=Barrier("full-disk")))
    with ExitStack() as opened:
        disk = opened.enter_context(small_disk())
        (disk.seen / "config.toml").write_text(CONFIG)
        command = [*disk.enter, *serve(disk.place)]
        server = opened.enter_context(running_server(disk.seen, command=command, environment=environment(stage)))
        client = opened.enter_context(client_of(server))
        steady, caught = open_talk(client, "steady"), open_talk(client, "caught")
        steady.say("before")
        steady.wait()
        caught.say("go")
        stage.arrived("full-disk")
        children = server.children()
        before = [event.id for event in steady.history()]

        disk.fill(RESERVE // 2)
        assert "disk" in refused(lambda: steady.say("in the reserve"))
        disk.fill(0)
        assert "disk" in refused(lambda: steady.say("on the full disk"))
        for act in (
            lambda: client.beta.sessions.update(steady.id, title="new"),
            lambda: client.beta.agents.create(name="new", model="steady"),
            lambda: client.beta.environments.create(name="new"),
        ):
            assert "full" in refused(act)
        stage.release("full-disk")
        server.until(lambda: "its file system is full" in server.said(), "the turn can't be written down")
        assert caught.status() == "running"
        assert [event.id for event in steady.history()] == before

        disk.empty()
        caught.wait(seconds=40)
        assert caught.history()[-1].stop_reason.type == "end_turn"
        reads_and_rests(caught, ["go"])
        assert [event.id for event in steady.history()] == before
        steady.say("after")
        steady.wait()
        reads_and_rests(steady, ["before", "after"])
        assert server.children() == children, "a process died of it"


# -- no user namespaces


@contextmanager
def forbidden() -> Generator[list[str]]:
    """The beginning of a command that runs in a user namespace in which no further one can be made."""
    if not ROOT:
        drop = ["setpriv", "--inh-caps=-all", "--ambient-caps=-all"]
        yield ["unshare", "--map-current-user", "--keep-caps", "sh", "-c", FORBID, "sh", *drop]
        return
    with holding(["unshare", "--user", "sh", "-c", "echo ready && exec sleep infinity"]) as holder:
        for kind in ("uid_map", "gid_map"):
            Path(f"/proc/{holder}/{kind}").write_text("0 0 4294967295\n")
        yield ["nsenter", f"--target={holder}", "--user", "--preserve-credentials", "sh", "-c", FORBID, "sh"]


def test_without_user_namespaces_a_tool_call_says_cause_and_fix_and_runs_nothing(stage: Stage, tmp_path: Path) -> None:
    mark = Path(tempfile.gettempdir()) / f"{tmp_path.name}-{os.getpid()}"
    calls = Turn(
        ToolUse("bash", {"command": f"touch {mark}"}), ToolUse("write", {"file_path": str(mark), "content": "x"})
    )
    stage.put("handless", calls, Turn("I can't."), Turn("Still here."))
    with forbidden() as enter, data_directory() as beside:
        data = beside / "data"
        command = [*enter, *serve(data)]
        with running_server(data, command=command, environment=environment(stage)) as server:
            with client_of(server) as client:
                talk = open_talk(client, "handless", tools=TOOLSET)
                talk.say("go")
                talk.wait()
                results = talk.history(types=["agent.tool_result"])
                assert len(results) == 2
                for result in results:
                    assert result.is_error
                    assert "No sandbox can be made" in result.content[0].text
                    assert "max_user_namespaces" in result.content[0].text
                assert talk.history()[-1].stop_reason.type == "end_turn"
                talk.say("and now?")
                talk.wait()
    assert not mark.exists()


def test_without_user_namespaces_the_demo_says_what_to_do_and_exits_with_3() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    with forbidden() as enter:
        done = subprocess.run(
            [*enter, sys.executable, "-m", "outrider", "demo"],
            env=clean,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    assert done.returncode == 3, done.stdout + done.stderr
    assert "can't isolate" in done.stderr
    assert "What to do: allow user namespaces" in done.stderr
