"""A backup of a running server with sessions at work, restored elsewhere: nothing acknowledged before it is missing."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from live_server import Server, Stage, data_directory, serving
from on_disk import entries
from session_talk import Talk

from outrider.models.scripted.script import ToolUse, Turn
from outrider.testing.leaks.disguises import disguises
from outrider.testing.leaks.places import files
from outrider.testing.postgres_server import PostgresServer
from outrider.testing.server_process import end_sandboxes

TOOLSET: Any = [{"type": "agent_toolset_20260401"}]
WAITS = "echo run >> count; echo begun > begun; while [ ! -e go ]; do sleep 0.05; done"
CANARY = "canary-of-a-backup-5b1f"
FILE = b"a,b\n" * 500_000
LARGE = "a large message " * 10_000


@pytest.fixture(scope="module")
def stage() -> Generator[Stage]:
    with Stage().open() as stage:
        yield stage


def outrider(*words: str, database: str | None = None) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OUTRIDER_", "ANTHROPIC_"))}
    command = [sys.executable, "-m", "outrider", *words]
    return subprocess.run(command, env=clean | named(database), capture_output=True, text=True, timeout=50, check=False)


def named(database: str | None) -> dict[str, str]:
    return {} if database is None else {"OUTRIDER_DATABASE_URL": database}


def environment(stage: Stage) -> dict[str, str]:
    return {"OUTRIDER_MODEL_URL": stage.url, "OUTRIDER_MODEL_KEY": "model-key-for-tests"}


def new_talk(server: Server, model: str) -> Talk:
    client = server.client(max_retries=4)
    agent = client.beta.agents.create(name="backup", model=model, tools=TOOLSET)
    place = client.beta.environments.create(name="backup")
    return Talk(client, client.beta.sessions.create(agent=agent.id, environment_id=place.id).id)


def ids(talk: Talk) -> list[str]:
    return [event.id for event in talk.history()]


def refused(said: str, *words: str, database: str | None = None) -> None:
    run = outrider(*words, database=database)
    assert run.returncode == 2, run.stdout
    assert "Traceback" not in run.stderr
    assert said in run.stderr


@dataclass
class Load:
    """A session in which one message follows the other, from another thread, while the backup is made."""

    talk: Talk
    said: list[str] = field(default_factory=list[str])

    @contextmanager
    def at_work(self) -> Generator[None]:
        end, failed = threading.Event(), list[BaseException]()

        def work() -> None:
            try:
                while not end.is_set():
                    self.said += [event.id for event in self.talk.say(f"message {len(self.said)}")]
                    self.talk.wait(seconds=40)
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        try:
            until(lambda: len(self.said) >= 2, "messages are taken")
            yield
        finally:
            end.set()
            thread.join(60)
        assert not failed


@pytest.fixture(params=["sqlite", "postgres"])
def new_database(request: pytest.FixtureRequest) -> Callable[[], str | None]:
    """Each call gives a server's database of its own, None for a file in the data directory."""
    if request.param == "sqlite":
        return lambda: None
    server: PostgresServer = request.getfixturevalue("postgres")
    return lambda: server.url(server.database(), tcp=True)


@pytest.mark.timeout(180)
def test_a_backup_of_a_server_at_work_goes_on_elsewhere(stage: Stage, new_database: Callable[[], str | None]) -> None:
    stage.put("done", Turn(ToolUse("bash", {"command": "echo kept > file"})), Turn("Written."), Turn("Still here."))
    stage.put("busy", Turn(ToolUse("bash", {"command": WAITS})), Turn("It was interrupted."))
    stage.put("loaded", decide=lambda request: Turn("Yes."))
    first, second = new_database(), new_database()
    with data_directory() as data:
        kept, again = data.parent / "backup", data.parent / "e"
        with serving(data, environment(stage) | named(first)) as server:
            done, busy, load = new_talk(server, "done"), new_talk(server, "busy"), Load(new_talk(server, "loaded"))
            done.say(LARGE)
            done.wait(seconds=40)
            busy.say("go")
            begun(data)
            file, before = busy.client.beta.files.upload(file=("table.csv", FILE)), (ids(done), ids(busy))
            assert (data / "node").exists()
            with load.at_work():
                acknowledged = list(load.said)
                made = outrider("backup", str(kept), "--data", str(data), database=first)
                assert made.returncode == 0, made.stderr
            assert "the vault's key" in made.stdout
            os.kill(server.process.pid, signal.SIGKILL)
            server.process.wait(30)
            end_sandboxes(data)
        assert "whole; made" in outrider("backup", "--verify", str(kept)).stdout
        assert not (kept / "api-key").exists()
        restored = outrider("restore", str(kept), "--data", str(again), database=second)
        assert restored.returncode == 0, restored.stderr
        shutil.rmtree(data)
        assert not list(again.rglob("node"))  # or the copy would take itself for the original, and bury it
        assert next(again.rglob("workspace/file")).read_text() == "kept\n"
        try:
            with serving(again, environment(stage) | named(second)) as server:
                client = server.client(max_retries=4)
                is_whole(client, file, again)
                goes_on(Talk(client, done.id), Talk(client, busy.id), before)
                takes_more(Talk(client, load.talk.id), acknowledged)
                takes_more(new_talk(server, "loaded"), [])
        finally:
            end_sandboxes(again)


def is_whole(client: Any, file: Any, data: Path) -> None:
    assert client.beta.files.retrieve_metadata(file.id) == file
    assert [one.read_bytes() for place in entries(data / "blobs", file.id) for one in place.iterdir()] == [FILE]


def takes_more(loaded: Talk, acknowledged: list[str]) -> None:
    loaded.wait(seconds=40)
    assert set(acknowledged) <= set(ids(loaded))
    (sent,) = loaded.say("more")
    loaded.wait(seconds=40)
    found = ids(loaded)
    assert len(found) == len(set(found))
    assert sent.id in found[:-1]


def goes_on(done: Talk, busy: Talk, before: tuple[list[str], list[str]]) -> None:
    assert ids(done) == before[0]
    first = next(event for event in done.history() if event.type == "user.message")
    assert first.content[0].text == LARGE
    busy.wait(seconds=40)
    assert ids(busy)[: len(before[1])] == before[1]
    (result,) = [event for event in busy.history() if event.type == "agent.tool_result"]
    assert result.is_error
    assert "may have partly run" in str(result.content)
    done.say("again")
    done.wait(seconds=40)
    assert done.history()[-1].type == "session.status_idle"


def with_credential(server: Server) -> None:
    vaults = server.client().beta.vaults
    auth: Any = {"type": "static_bearer", "token": CANARY, "mcp_server_url": "https://mcp.example.com/mcp"}
    vaults.credentials.create(vaults.create(display_name="kept").id, auth=auth)


def test_secrets_come_along_as_ciphertext_and_are_read_with_the_key_alone(stage: Stage) -> None:
    with data_directory() as data:
        kept, again, there = data.parent / "backup", data.parent / "e", ("--data", str(data.parent / "e"))
        with serving(data, environment(stage), config="") as server:
            with_credential(server)
            assert outrider("backup", str(kept), "--data", str(data)).returncode == 0
            assert outrider("backup", str(data.parent / "v"), "--only", "vault", "--data", str(data)).returncode == 0
        assert {file.name for file in (data.parent / "v").iterdir()} == {"secrets.db", "manifest.json"}
        assert files([kept], disguises(CANARY.encode())).hits == []
        restored = outrider("restore", str(kept), "--as-original", *there)
        assert "put the vault's key back" in restored.stdout, restored.stderr
        assert (again / "node").read_text() == (data / "node").read_text()
        assert not (again / "vault" / "key").exists()
        refused("key", "vault", "rekey", *there)
        shutil.copy(data / "vault" / "key", again / "vault" / "key")
        owner = (again / "vault").stat()
        os.chown(again / "vault" / "key", owner.st_uid, owner.st_gid)
        assert "1 secrets are under the new key" in outrider("vault", "rekey", *there).stdout


def test_a_session_moved_out_by_hand_is_back_when_its_events_are_asked_for(stage: Stage) -> None:
    stage.put("rests", Turn("One."), Turn("Two."))
    with data_directory() as data, serving(data, environment(stage)) as server:
        talk = new_talk(server, "rests")
        talk.say(LARGE)
        talk.wait()
        before = ids(talk)
        moved = outrider("session", "cold", talk.id, "--data", str(data))
        assert moved.returncode == 0, moved.stderr
        assert [path.name.split(".")[0] for path in entries(data / "blobs", "cold*")] == ["cold"]
        refused("is not at rest", "session", "cold", talk.id, "--data", str(data))
        assert talk.status() == "idle"
        with talk.stream() as reader:
            talk.say("again")
            reader.idle()
        history = ids(talk)
        assert history[: len(before)] == before
        assert len(history) > len(before)
        assert entries(data / "blobs", "cold*") == []


def begun(data: Path) -> None:
    """Until the command of the busy session runs."""
    until(lambda: bool(list(data.glob("sandboxes/sessions/*/own/workspace/begun"))), "the command begins")


def until(done: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if done():
            return
        threading.Event().wait(0.05)
    raise AssertionError(f"not in time: {what}")


def test_what_can_not_be_restored_is_refused_by_name(stage: Stage) -> None:
    with data_directory() as data:
        kept = data.parent / "backup"
        refused("There is no server's data", "backup", str(kept), "--data", str(data))
        with serving(data, environment(stage)):
            assert outrider("backup", str(kept), "--data", str(data)).returncode == 0
            refused("exists already", "backup", str(kept), "--data", str(data))
        refused("is not empty", "restore", str(kept), "--data", str(data))
        with (kept / "log.db").open("r+b") as file:
            file.seek(200)
            file.write(b"x")
        refused("the backup is damaged", "backup", "--verify", str(kept))
        refused("the backup is damaged", "restore", str(kept), "--data", str(data.parent / "e"))
        assert not (data.parent / "e").exists()
        (kept / "manifest.json").unlink()
        refused("is no whole backup", "restore", str(kept), "--data", str(data.parent / "e"))


def test_a_backup_of_postgresql_is_restored_only_where_it_harms_nothing(stage: Stage, postgres: PostgresServer) -> None:
    used, empty = (postgres.url(postgres.database(), tcp=True) for _ in range(2))
    with data_directory() as data:
        kept, there = data.parent / "backup", ("--data", str(data.parent / "e"))
        refused("no server's data in the database", "backup", str(kept), "--data", str(data), database=used)
        with serving(data, environment(stage) | named(used)) as server:
            talk = new_talk(server, "none")
            with_credential(server)
            assert outrider("backup", str(kept), "--data", str(data), database=used).returncode == 0
        assert files([kept], disguises(CANARY.encode())).hits == []
        assert str(kept / "heads.copy.zst") in files([kept], {talk.id.encode()}).hits
        refused("is not empty (it holds ", "restore", str(kept), *there, database=used)
        refused("name an empty database in OUTRIDER_DATABASE_URL", "restore", str(kept), *there)
        whole = (kept / "manifest.json").read_text()
        manifest = json.loads(whole)
        manifest["log"]["schema"] += 1
        (kept / "manifest.json").write_text(json.dumps(manifest))
        refused("use a newer release", "restore", str(kept), *there, database=empty)
        (kept / "manifest.json").write_text(whole)
        with (kept / "events.copy.zst").open("r+b") as file:
            file.write(b"x")
        refused("the backup is damaged", "restore", str(kept), *there, database=empty)
        assert not (data.parent / "e").exists()
        assert postgres.password not in whole
        assert postgres.sql("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace",
                            empty.rpartition("/")[2]) == "0"  # fmt: skip


def too_long(top: Path) -> None:
    """Directories whose paths no archive holds."""
    at = os.open(top, os.O_RDONLY)
    for _ in range(36):
        os.mkdir("d" * 100, dir_fd=at)
        below = os.open("d" * 100, os.O_RDONLY, dir_fd=at)
        os.close(at)
        at = below
    os.close(at)


def test_what_only_one_machine_has_is_backed_up_there(stage: Stage) -> None:
    stage.put("writes", Turn(ToolUse("bash", {"command": "echo kept > file"})), Turn("Written."))
    with data_directory() as data:
        log, files, again = (data.parent / name for name in ("log", "files", "e"))
        refused("no sandboxes' files", "backup", str(files), "--only", "sandboxes", "--data", str(data))
        with serving(data, environment(stage), config="") as server:
            talk = new_talk(server, "writes")
            talk.say("go")
            talk.wait(seconds=40)
            (workspace,) = data.glob("sandboxes/sessions/*/own/workspace")
            too_long(workspace)
            for part, place, said in (("log", log, ""), ("sandboxes", files, f"own/workspace/{'d' * 100}/")):
                made = outrider("backup", str(place), "--only", part, "--data", str(data))
                assert made.returncode == 0
                assert said in made.stderr
        end_sandboxes(data)
        assert {file.name for file in log.iterdir()} == {"log.db", "blobs.tar.zst", "manifest.json"}
        assert {file.name for file in files.iterdir()} == {"sandboxes.tar.zst", "manifest.json"}
        assert json.loads((files / "manifest.json").read_text())["left_out"]["count"] > 0
        assert "whole" in outrider("backup", "--verify", str(files)).stdout
        assert outrider("restore", str(files), "--data", str(again)).returncode == 0
        assert next(again.rglob("workspace/file")).read_text() == "kept\n"
        assert not (again / "outrider.db").exists()
