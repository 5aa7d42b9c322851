"""No process but the vault holds a model's key: not in its environment, memory, files, log or code paths.

As root these look into every process; as an ordinary user they see that nobody may look.
"""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from leak_scene import Scene, scene
from on_disk import holding

from outrider.testing.leaks.disguises import disguises
from outrider.testing.leaks.places import in_memory, in_open_files

ROOT = os.geteuid() == 0
ROLES = ["supervisor", "zygote", "server"]

LOOK = """
import ctypes, os, sys
uid, pid = int(sys.argv[1]), int(sys.argv[2])
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(uid, uid, uid); os.setresuid(uid, uid, uid)
for name in ("mem", "environ", "maps", "fd", "cwd"):
    path = f"/proc/{pid}/{name}"
    try:
        os.listdir(path) if name in ("fd", "cwd") else open(path, "rb").read(1)
    except PermissionError:
        continue
    print("could read", name)
if ctypes.CDLL(None, use_errno=True).ptrace(16, pid, 0, 0) == 0:
    print("could trace")
"""


@pytest.fixture(scope="module")
def after() -> Generator[Scene]:
    """The scene after both turns."""
    with scene() as found:
        yield found


def test_the_model_gets_the_key_and_the_attack_really_ran(after: Scene) -> None:
    assert {key.removeprefix("Bearer ").encode() for key in after.keys_seen} == {after.canary}
    kinds = [json.loads(event)["type"] for event in after.events]
    assert "session.error" in kinds
    assert "agent.tool_result" in kinds
    assert "agent.message" in kinds


def test_no_event_log_line_or_stored_file_shows_the_key(after: Scene) -> None:
    wanted = disguises(after.canary)
    shown = [*(event.encode() for event in after.events), after.server.said().encode()]
    assert not [one for one in shown if any(secret in one for secret in wanted)]
    assert holding(after.server.data, after.canary) == []


@pytest.mark.skipif(not ROOT, reason="others' environments are closed to an ordinary user, see the test of that")
def test_no_process_of_the_tree_has_the_key_in_its_environment_or_arguments(after: Scene) -> None:
    wanted = disguises(after.canary)
    for role, pid in after.pids().items():
        known = Path(f"/proc/{pid}/environ").read_bytes() + Path(f"/proc/{pid}/cmdline").read_bytes()
        assert not [secret for secret in wanted if secret in known], role
        assert b"OUTRIDER_MODEL_KEY" not in known, role


@pytest.mark.skipif(not ROOT, reason="others' memory is closed to an ordinary user, see the test of that")
def test_the_vault_alone_has_the_key_in_memory(after: Scene) -> None:
    wanted, pids = disguises(after.canary), after.pids()
    assert after.canary in in_memory(pids["vault"], {after.canary}), "the search itself does not work"
    assert {role: in_memory(pids[role], wanted) for role in ROLES} == {role: set[bytes]() for role in ROLES}


@pytest.mark.skipif(not ROOT, reason="others' open files are closed to an ordinary user, see the test of that")
def test_the_supervisor_alone_keeps_the_sealed_file_for_the_next_vault(after: Scene) -> None:
    wanted = disguises(after.canary)
    found = {role: in_open_files(pid, wanted) for role, pid in after.pids().items()}
    assert found.pop("supervisor") == {"/memfd:outrider-secrets (deleted)"}
    assert not any(found.values())


@pytest.mark.parametrize("before", [b"", b"a", b"ab", b"abc"])
def test_the_search_knows_a_disguise_whatever_stands_around_it(before: bytes) -> None:
    text = before + b"sk-canary-0123" + b"yz"
    hidden = (base64.b64encode(text), text.hex().encode())
    assert all(any(secret in text for secret in disguises(b"sk-canary-0123")) for text in hidden)


@pytest.mark.parametrize("role", ["vault", "supervisor"])
def test_the_servers_user_can_not_look_into_what_holds_keys(after: Scene, role: str) -> None:
    server = after.pids()["server"]
    uid = next(
        line.split()[1] for line in Path(f"/proc/{server}/status").read_text().splitlines() if line.startswith("Uid:")
    )
    command = [sys.executable, "-S", "-E", "-c", LOOK, uid, str(after.pids()[role])]
    said = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout == ""


def test_the_vault_leaves_no_core_file(after: Scene) -> None:
    limits = Path(f"/proc/{after.pids()['vault']}/limits").read_text().splitlines()
    assert next(line.split()[4:6] for line in limits if line.startswith("Max core")) == ["0", "0"]


def test_the_vault_hides_itself_and_does_not_count_on_the_supervisor_for_it() -> None:
    program = (
        "import ctypes, resource; from outrider.vault import process; dumpable = lambda: ctypes.CDLL(None).prctl(3)\n"
        "before = dumpable(); process.seal(); print(before, dumpable(), resource.getrlimit(resource.RLIMIT_CORE))"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout.strip() == "1 0 (0, 0)"


def test_the_supervisor_can_hide_itself() -> None:
    """As root it is another user than the server's anyway; what it does against its own user is seen here."""
    program = (
        "import ctypes; from outrider.supervisor import linux; dumpable = lambda: ctypes.CDLL(None).prctl(3)\n"
        "before = dumpable(); linux.hide(); print(before, dumpable())"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert said.stdout.strip() == "1 0"


@pytest.mark.skipif(not ROOT, reason="the owner of its files in /proc tells nothing to their owner")
def test_the_vault_is_undumpable(after: Scene) -> None:
    vault = Path(f"/proc/{after.pids()['vault']}")
    assert "Uid:\t61001" in (vault / "status").read_text()
    assert (vault / "environ").stat().st_uid == 0


def test_no_process_has_loaded_anothers_code(after: Scene) -> None:
    server, vault = _modules(after, "server"), _modules(after, "vault")
    rooms = ("vault", "vaultd", "proxy")
    assert "outrider.server" in server
    assert "outrider.vaultd" in vault
    assert not [name for name in server if name.split(".")[1] in rooms]
    assert not [
        name
        for name in vault
        if name.split(".")[1] in ("server", "api", "harness", "session", "models", "sandbox", "store", "cli")
    ]


def _modules(after: Scene, role: str) -> list[str]:
    """What the process has loaded by now, the names of one part left out."""
    pid = after.pids()[role]
    place = after.modules / f"{role}.{pid}.json"
    before = place.stat().st_mtime_ns
    os.kill(pid, signal.SIGUSR1)
    after.server.until(lambda: place.stat().st_mtime_ns > before, f"{role} has told its modules")
    return [name for name in json.loads(place.read_text()) if "." in name]


def test_a_replaced_vault_still_has_the_key_and_a_replaced_server_still_has_not(after: Scene) -> None:
    before = after.pids()
    for role in ("vault", "server"):
        os.kill(before[role], signal.SIGKILL)
        after.server.until_replaced(role, before[role])
    after.server.until_up()
    if ROOT:
        pids = after.pids()
        after.server.until(lambda: in_memory(pids["vault"], {after.canary}), "the new vault has read its keys")
        assert in_memory(pids["server"], disguises(after.canary)) == set()
