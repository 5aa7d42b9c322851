"""The process tree with small stand-ins for server and model: comes up, heals, ends, leaves nothing behind."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import stat
import subprocess
import sys
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest
from supervisor_parts import command

from outrider.supervisor.roles import Role
from outrider.supervisor.tree import LONGEST_PAUSE, SHORT_LIFE, SHORT_LIVES_AT_START, Child
from outrider.testing.server_process import DEADLINE, ServerProcess, alive, data_directory, running_server
from outrider.testing.stops import Stops

MODEL = {"OUTRIDER_MODEL_URL": "http://127.0.0.1:9"}


@pytest.fixture
def data() -> Generator[Path]:
    with data_directory() as place:
        yield place


@pytest.fixture(scope="module")
def tree() -> Generator[ServerProcess]:
    """A tree with every role, for tests that leave it running."""
    with data_directory() as place, running_server(place, command=command(place)) as server:
        server.until_up()
        yield server


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=DEADLINE) as answer:
        return answer.read().decode()


def test_all_roles_come_up_and_the_server_answers_with_its_published_pid(tree: ServerProcess) -> None:
    assert set(tree.children()) == {"zygote", "scripted", "vault", "server"}
    assert get(tree.until_up()).split()[0] == str(tree.children()["server"])


def test_with_a_model_configured_there_is_no_scripted_one(data: Path) -> None:
    with running_server(data, command=command(data), environment=MODEL) as tree:
        tree.until_up()
        assert set(tree.children()) == {"zygote", "vault", "server"}


@pytest.mark.parametrize("role", ["zygote", "scripted", "vault", "server"])
def test_a_killed_child_is_back_at_once_and_the_others_stay(tree: ServerProcess, role: str) -> None:
    before = tree.children()
    os.kill(before[role], signal.SIGKILL)
    tree.until_replaced(role, before[role])
    after = tree.children()
    assert {name: pid for name, pid in after.items() if name != role} == {
        name: pid for name, pid in before.items() if name != role
    }
    assert alive(after[role])


def test_no_connection_is_refused_while_the_server_is_being_replaced(tree: ServerProcess) -> None:
    tree.until_settled()  # or so many deaths might be taken for a server that can't live
    url = tree.until_up()
    for _ in range(5):
        pid = tree.children()["server"]
        os.kill(pid, signal.SIGKILL)
        tree.until(lambda pid=pid: not alive(pid), "the server is dead")
        assert get(url).split()[0] == str(tree.until_replaced("server", pid))


def test_a_tree_that_can_not_say_where_it_is_goes_on_and_says_it_later(tree: ServerProcess) -> None:
    """As on a disk that is full, or can't be written to any more."""
    before, said = tree.children(), len(tree.said())
    in_the_way = tree.data / "server.new"
    in_the_way.mkdir()
    os.kill(before["vault"], signal.SIGKILL)
    tree.until(lambda: "unpublished" in tree.said()[said:], "the tree says that it could not publish")
    os.kill(before["scripted"], signal.SIGKILL)
    tree.until(lambda: "started role=scripted" in tree.said()[said:], "another child has been replaced")
    assert tree.children() == before
    in_the_way.rmdir()
    after = {role: tree.until_replaced(role, before[role]) for role in ("vault", "scripted")}
    assert tree.children() == {**before, **after}
    tree.until(lambda: " published" in tree.said()[said:], "the tree says that it could publish again")
    assert tree.said()[said:].count("unpublished") == 1  # such a disk may well be that of the log


def test_a_child_that_can_not_be_started_is_started_later_and_the_others_stay(tree: ServerProcess) -> None:
    tree.until_settled()
    before, said = tree.children(), len(tree.said())
    limits = resource.prlimit(tree.process.pid, resource.RLIMIT_NOFILE)
    most = 1 + len(before)  # as many as it waits for: it has all of these open, and can open nothing more
    resource.prlimit(tree.process.pid, resource.RLIMIT_NOFILE, (most, limits[1]))
    for role in ("vault", "zygote"):
        os.kill(before[role], signal.SIGKILL)
    for role in ("vault", "zygote"):
        tree.until(lambda role=role: f"not-started role={role}" in tree.said()[said:], f"{role} could not be started")
    resource.prlimit(tree.process.pid, resource.RLIMIT_NOFILE, limits)
    after = {role: tree.until_replaced(role, before[role]) for role in ("vault", "zygote")}
    assert tree.children() == {**before, **after}
    assert [pid for pid in _children_of(tree.process.pid) if pid not in tree.children().values()] == []


def _children_of(pid: int) -> list[int]:
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_children_die_with_a_killed_supervisor_and_a_new_one_starts_on_the_same_data_and_key(data: Path) -> None:
    with running_server(data, command=command(data)) as first:
        first.until_up()
        children, key = first.children(), first.key()
        assert first.end(signal.SIGKILL) == -signal.SIGKILL
        first.until(lambda: not any(alive(pid) for pid in children.values()), "all children are gone")
    with running_server(data, command=command(data)) as second:
        assert get(second.until_up()).split()[2] == hashlib.sha256(key.encode()).hexdigest()


def test_sigterm_ends_all_in_order_with_code_0(data: Path) -> None:
    with running_server(data, command=command(data)) as tree:
        tree.until_up()
        children = tree.children()
        assert tree.end() == 0
        assert not any(alive(pid) for pid in children.values())
        ends = [line.split("role=")[1].split()[0] for line in tree.said().splitlines() if " died " in line]
        assert ends == ["server", "vault", "scripted", "zygote"]
        assert not (data / "server.json").exists()


def test_the_vault_serves_until_the_server_has_drained(data: Path) -> None:
    with running_server(data, command=command(data, "draining_server"), environment=MODEL) as tree:
        tree.until_up()
        assert tree.end(signal.SIGINT) == 0
    assert (data / "run" / "drained").read_bytes() == b"HTTP/1.1 200 OK"


def test_a_second_signal_kills_what_does_not_end_and_the_exit_code_says_so(data: Path) -> None:
    with running_server(data, command=command(data, "lasting_server"), environment=MODEL) as tree:
        tree.until_up()
        children = tree.children()
        assert get(tree.until_up())

        def told_again() -> bool:
            tree.process.send_signal(signal.SIGTERM)
            return tree.process.poll() is not None

        tree.until(told_again, "the tree has ended")
        assert tree.process.returncode == 4
        assert not any(alive(pid) for pid in children.values())


def test_one_ctrl_c_that_arrives_twice_is_one(data: Path) -> None:
    with running_server(data, command=command(data, "draining_server"), environment=MODEL) as tree:
        get(tree.until_up())
        tree.process.send_signal(signal.SIGINT)
        assert tree.end(signal.SIGINT) == 0


def test_a_server_that_can_never_live_ends_the_tree_with_code_3_and_its_reason(data: Path) -> None:
    program = command(data, "broken_server")
    program[2] = f"from outrider.supervisor import tree\ntree.SHORT_LIFE = {DEADLINE}\n{program[2]}"  # busy or not
    with running_server(data, command=program, environment=MODEL) as tree:
        assert tree.process.wait(DEADLINE) == 3
        assert "can never serve" in tree.said()
        assert "gave-up role=server" in tree.said()
        assert tree.said().count("died role=server") == SHORT_LIVES_AT_START


def test_short_lives_are_followed_by_growing_bounded_pauses_and_a_long_one_by_none() -> None:
    child = Child(Role("x", lambda: 0, 1.0))
    pauses: list[float] = []
    for _ in range(12):
        child.ended(0.5 * SHORT_LIFE)
        pauses.append(child.due - 0.5 * SHORT_LIFE)
    assert pauses[0] == 0.0
    assert pauses == sorted(pauses)
    assert pauses[-1] == LONGEST_PAUSE
    assert child.hopeless()
    child.ended(2 * SHORT_LIFE)
    assert child.due == 2 * SHORT_LIFE
    assert not child.hopeless()


def test_a_second_server_on_the_same_data_is_refused_by_name_of_the_first(tree: ServerProcess) -> None:
    second = subprocess.run(command(tree.data), capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert second.returncode == 2
    assert f"(process {tree.process.pid})" in second.stderr
    assert str(tree.data) in second.stderr
    assert get(tree.until_up())


def test_a_taken_port_is_refused_with_its_number(tree: ServerProcess) -> None:
    port = tree.until_up().rpartition(":")[2]
    with data_directory() as other:
        program = command(other)
        program[2] = program[2].replace("port=0", f"port={port}")
        second = subprocess.run(program, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert second.returncode == 2
    assert f"port {port}" in second.stderr


def test_a_directory_with_other_things_in_it_is_not_taken_for_data(data: Path) -> None:
    data.mkdir()
    data.chmod(0o750)
    (data / "thesis.txt").touch()
    with running_server(data, command=command(data)) as tree:
        assert tree.process.wait(DEADLINE) == 2
        assert "thesis.txt" in tree.said()
    assert stat.S_IMODE(data.stat().st_mode) == 0o750


def test_a_data_directory_too_deep_for_unix_sockets_is_refused(data: Path) -> None:
    deep = data / ("d" * 60)
    with running_server(data, command=command(deep)) as tree:
        assert tree.process.wait(DEADLINE) == 2
        assert "too long" in tree.said()


def test_the_first_key_is_made_once_and_is_its_owners_alone(tree: ServerProcess) -> None:
    place = tree.data / "api-key"
    assert tree.key().startswith("outr_")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    assert place.stat().st_uid == os.geteuid()
    assert get(tree.until_up()).split()[2] == hashlib.sha256(tree.key().encode()).hexdigest()


def test_the_address_and_the_first_key_are_told_to_those_who_may_read_them(tree: ServerProcess) -> None:
    words = [sys.executable, "-m", "outrider", "env", "--data", str(tree.data)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OUTRIDER_")}
    said = subprocess.check_output(words, env=environment, text=True, timeout=DEADLINE)
    assert said == f"export ANTHROPIC_BASE_URL={tree.until_up()}\nexport ANTHROPIC_API_KEY={tree.key()}\n"


def test_a_given_first_key_reaches_the_server_as_a_digest_only_and_is_written_nowhere(data: Path) -> None:
    key = "outr_given_for_this_test"
    with running_server(data, command=command(data), environment={**MODEL, "OUTRIDER_API_KEY": key}) as tree:
        answer = get(tree.until_up()).split()
        assert answer[2] == hashlib.sha256(key.encode()).hexdigest()
        assert "OUTRIDER_API_KEY" not in answer
    assert not (data / "api-key").exists()


def test_a_first_key_too_short_to_be_one_is_refused(data: Path) -> None:
    with running_server(data, command=command(data), environment={"OUTRIDER_API_KEY": "short"}) as tree:
        assert tree.process.wait(DEADLINE) == 2
        assert "16 characters" in tree.said()


def test_the_supervisor_has_one_thread_and_its_children_say_who_they_are(tree: ServerProcess) -> None:
    assert len(os.listdir(f"/proc/{tree.process.pid}/task")) == 1
    tree.until(lambda: _name(tree.children()["vault"]) == "outrider-vault", "the vault has its name")
    assert _name(tree.children()["server"]) == "outrider-server"
    assert _name(tree.process.pid) == "outrider"


def _name(pid: int) -> str:
    return Path(f"/proc/{pid}/comm").read_text().strip()


def test_a_tests_control_socket_reaches_the_server_and_each_that_replaces_it(data: Path) -> None:
    with (
        Stops() as stops,
        running_server(data, command=command(data, "stopping_server"), environment=MODEL, faults=stops.theirs) as tree,
    ):
        for _ in range(2):
            pid = stops.until("store.commit.before").pid
            tree.until(lambda pid=pid: tree.children()["server"] == pid, f"process {pid} is published as the server")
            os.kill(pid, signal.SIGKILL)
        stops.until("store.commit.before").go()
        assert get(tree.until_up())


@pytest.mark.skipif(os.geteuid() != 0, reason="users are only apart as root")
def test_as_root_every_role_but_the_zygote_has_a_user_of_its_own(tree: ServerProcess) -> None:
    pids = {"supervisor": tree.process.pid, **tree.children()}
    expected = {"supervisor": 0, "zygote": 0, "server": 61_000, "vault": 61_001, "scripted": 61_002}
    tree.until(lambda: {role: _real_user(pid) for role, pid in pids.items()} == expected, "all are their own users")


def _real_user(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    found = next(line.split()[1:] for line in lines if line.startswith("Uid:"))
    assert len(set(found)) == 1
    return int(found[0])


@pytest.mark.skipif(os.geteuid() != 0, reason="users are only apart as root")
def test_as_root_a_data_directory_that_the_servers_user_can_not_reach_is_refused(data: Path) -> None:
    data.mkdir(mode=0o700, parents=True)
    with running_server(data / "inner", command=command(data / "inner")) as tree:
        assert tree.process.wait(DEADLINE) == 2
        assert f"can't enter {data}" in tree.said()


@pytest.mark.skipif(os.geteuid() != 0, reason="users are only apart as root")
def test_as_root_code_in_a_closed_directory_can_still_be_imported_by_the_servers_user(data: Path) -> None:
    code = data.parent / "closed" / "inner" / "code"
    code.mkdir(parents=True)
    (code / "late_module.py").touch()
    (data.parent / "closed" / "secret").touch()
    (data.parent / "closed").chmod(0o700)
    with running_server(data, command=command(data, "late_server", code), environment=MODEL) as tree:
        assert get(tree.until_up()) == "tabnanny late_module"
        seen = Path(f"/proc/{tree.children()['server']}/root") / code.relative_to("/").parent.parent
        assert [entry.name for entry in seen.iterdir()] == ["inner"]
    assert (data.parent / "closed" / "secret").exists()
