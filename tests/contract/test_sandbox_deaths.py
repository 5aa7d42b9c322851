"""kill -9 of the driver's process, the shim, the zygote and the whole tree, each with the promised outcome."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from outrider.errors import CallLost, SandboxUnavailable
from outrider.ports.mounted import MountedMemory
from outrider.testing.sandbox_host import SandboxHost
from outrider.testing.sandbox_suite import Hands, raises, text

pytestmark = pytest.mark.anyio
WAITS = "echo x >> log; while [ ! -e go ]; do sleep 0.01; done; cat log"
DRIVER = """
import asyncio, json, sys
sys.path[:0] = json.loads(sys.argv[1])
from pathlib import Path
from outrider.config import Limits
from outrider.ports.sandbox import ToolCall
from outrider.sandbox.driver import BubblewrapSandboxes
root, control, run, command = sys.argv[2:]
limits = Limits(reserve_share=0.0, reserve_bytes=0)
sandboxes = BubblewrapSandboxes(Path(root), Path(control), Path(run), limits)
call = ToolCall("sevt_running", "thread_1", "bash", {"command": command})
asyncio.run(sandboxes.execute("sesn_a", call, epoch=1))
"""


@pytest.fixture
async def host(anyio_backend: str) -> AsyncIterator[SandboxHost]:
    host = SandboxHost()
    host.start()
    yield host
    await host.close()


async def seen(path: Path) -> None:
    async with asyncio.timeout(20):
        while not path.exists():  # noqa: ASYNC110, ASYNC240
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


async def until_true(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not holds():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def ended(pid: int) -> None:
    await until_true(lambda: gone(pid))


async def test_a_call_outlives_the_killed_driver_and_a_new_one_attaches(host: SandboxHost) -> None:
    words = [sys.executable, "-c", DRIVER, json.dumps(sys.path), *map(str, (host.root, host.control, host.run))]
    process = subprocess.Popen([*words, WAITS])  # noqa: ASYNC220
    await seen(host.own("sesn_a") / "workspace" / "log")
    process.kill()
    process.wait()
    hands = Hands(host.driver(), "sesn_a", epoch=2)
    attached = asyncio.create_task(hands.outcome("bash", {"command": WAITS}, id="sevt_running", resume=True))
    await Hands(host.driver(), "sesn_a", "other", epoch=2).bash("touch go")
    assert text(await attached, is_error=False) == "x"


async def test_a_killed_shim_takes_its_sandbox_along_and_the_call_is_lost(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a")
    running = asyncio.create_task(hands.outcome("bash", {"command": f"echo so far; {WAITS}"}, id="sevt_running"))
    await seen(host.own("sesn_a") / "workspace" / "log")
    await seen(host.own("sesn_a") / "journal" / "spool" / "sevt_running")
    state = json.loads((host.own("sesn_a") / "state.json").read_text())
    os.kill(state["pid"], signal.SIGKILL)
    error = await raises(CallLost, running)
    assert "so far" in str(error)
    await ended(state["init"])
    await raises(CallLost, hands.outcome("bash", {"command": WAITS}, id="sevt_running"))
    await raises(CallLost, hands.outcome("bash", {"command": WAITS}, id="sevt_running", resume=True))
    assert await hands.bash("cat log") == "x"


async def test_a_shim_that_was_killed_between_calls_is_replaced(host: SandboxHost) -> None:
    driver = host.driver()
    hands = Hands(driver, "sesn_a")
    await hands.bash("echo kept > f")
    assert driver.live == 1
    os.kill(host.shim_pid("sesn_a"), signal.SIGKILL)
    async with asyncio.timeout(10):
        while driver.live:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert await hands.bash("cat f") == "kept"


async def test_a_killed_zygote_ends_no_call_and_another_takes_its_place(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a")
    running = asyncio.create_task(hands.outcome("bash", {"command": WAITS}))
    await seen(host.own("sesn_a") / "workspace" / "log")
    host.kill_zygote()
    await Hands(host.driver(), "sesn_a", "other").bash("touch go")
    assert text(await running, is_error=False) == "x"
    fresh = asyncio.create_task(Hands(host.driver(), "sesn_b").bash("echo new"))
    host.start()
    assert await fresh == "new"


async def test_a_living_sandbox_keeps_its_etc_when_another_zygote_starts(host: SandboxHost) -> None:
    look = "getent passwd agent; cat /etc/hosts; awk 'BEGIN {print \"awk\"}'; ls -A /etc /etc/ssl/certs | cksum"
    hands = Hands(host.driver(), "sesn_a")
    before = await hands.bash(look)
    assert "agent:x:1000" in before
    assert "awk" in before
    host.kill_zygote()
    host.start()
    assert await Hands(host.driver(), "sesn_b").bash(look) == before
    assert await hands.bash(look) == before
    assert len(etcs(host)) == 2
    shim = host.shim_pid("sesn_a")
    await host.driver().stop("sesn_a")
    await ended(shim)
    host.kill_zygote()
    host.start()
    assert await Hands(host.driver(), "sesn_b").bash(look) == before
    await host.driver().probe()
    assert len(etcs(host)) == 2  # the one that nobody has is gone


def etcs(host: SandboxHost) -> list[Path]:
    return list(host.run.glob(".etc-*"))


async def test_shims_of_a_killed_tree_are_adopted_and_never_doubled(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a")
    await hands.bash("x=kept")
    before = host.shim_pid("sesn_a")
    host.kill_zygote()
    host.start()
    again = Hands(host.driver(), "sesn_a", epoch=2)
    assert await again.bash("echo $x") == "kept"
    assert host.shim_pid("sesn_a") == before


async def test_a_dead_tree_starts_cold_with_its_workspace(host: SandboxHost) -> None:
    await Hands(host.driver(), "sesn_a").bash("echo kept > f")
    shim = host.shim_pid("sesn_a")
    host.kill_zygote()
    os.kill(shim, signal.SIGKILL)
    host.start()
    assert await Hands(host.driver(), "sesn_a", epoch=2).bash("cat f") == "kept"
    assert host.shim_pid("sesn_a") != shim


async def test_a_sandbox_killed_under_its_shim_is_started_again(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a")
    running = asyncio.create_task(hands.outcome("bash", {"command": WAITS}))
    await seen(host.own("sesn_a") / "workspace" / "log")
    init = json.loads((host.own("sesn_a") / "state.json").read_text())["init"]
    os.kill(init, signal.SIGKILL)
    assert "killed" in text(await running, is_error=True)
    assert await hands.bash("cat log") == "x"


async def test_the_zygote_dies_with_its_parent(host: SandboxHost) -> None:
    script = (
        "import json, subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1], *sys.argv[2:]])\n"
        "print(child.pid, flush=True); time.sleep(60)\n"
    )
    boot = (
        "import json, os, sys; sys.path[:0] = json.loads(sys.argv[3]); options = json.loads(sys.argv[2]);"
        "options['parent'] = os.getppid(); from outrider.sandbox import zygote;"
        "zygote.main(sys.argv[1], options)"
    )
    options = {**host.options, "run": str(host.place / "run2")}
    control = host.place / "run2" / "z.sock"
    words = [sys.executable, "-c", script, boot, str(control), json.dumps(options), json.dumps(sys.path)]
    parent = subprocess.Popen(words, stdout=subprocess.PIPE)  # noqa: ASYNC220
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    await seen(control)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    await ended(child)


async def test_an_idle_shim_ends_with_its_sandbox(host: SandboxHost) -> None:
    host.kill_zygote()
    host.options["idle"] = 0.3
    host.start()
    driver = host.driver(replace(host.limits, sandbox_idle=0.3))
    hands = Hands(driver, "sesn_a")
    await hands.bash("echo kept > f")
    assert driver.live == 1
    host.kill_zygote()  # nobody is told of the end
    host.start()
    state = json.loads((host.own("sesn_a") / "state.json").read_text())
    await ended(state["pid"])
    await ended(state["init"])
    await until_true(lambda: driver.live == 0)
    assert await hands.bash("sleep 0.5; cat f") == "kept"
    assert driver.live == 1


async def test_a_count_of_the_living_takes_no_end_from_a_sandbox_that_is_started_again(host: SandboxHost) -> None:
    driver = host.driver()
    hands = Hands(driver, "sesn_a")
    await hands.bash("true")
    await host.driver().stop("sesn_a")
    await until_true(lambda: not (host.run / "sesn_a").exists())
    await driver.keep("sesn_a", time.monotonic() + 0.5)
    assert driver.live == 0
    with suppress(CallLost, SandboxUnavailable):  # where that end came sooner
        await hands.outcome("bash", {"command": "true"})
    await until_true(lambda: not (host.run / "sesn_a").exists())


async def test_of_a_shim_that_hangs_only_calls_are_lost(host: SandboxHost) -> None:
    driver = host.driver()
    hands = Hands(driver, "sesn_a")
    await hands.bash("true")
    driver.answer_deadline = 0.2
    os.kill(host.shim_pid("sesn_a"), signal.SIGSTOP)
    await raises(CallLost, hands.outcome("bash", {"command": "true"}))
    held = MountedMemory(driver, "sesn_a", 1, []).held()
    assert "stopped answering" in str(await raises(SandboxUnavailable, held))
    os.kill(host.shim_pid("sesn_a"), signal.SIGCONT)


async def test_a_call_that_a_shim_never_ends_is_lost_and_takes_the_sandbox_along(host: SandboxHost) -> None:
    driver = host.driver()
    hands = Hands(driver, "sesn_a")
    await hands.bash("echo kept > f")
    shim = host.shim_pid("sesn_a")
    driver.answer_deadline, driver.call_grace = 0.1, -3600.0  # so each call should long have ended
    lost = await raises(CallLost, hands.outcome("bash", {"command": "sleep 60"}))
    assert "did not end this call in time" in str(lost)
    await ended(shim)
    driver.call_grace = 0.0
    assert await hands.bash("cat f") == "kept"


async def test_calls_that_wait_for_each_other_may_take_as_long_as_all_of_them_together(host: SandboxHost) -> None:
    driver = host.driver()
    hands = Hands(driver, "sesn_a")
    driver.answer_deadline, driver.call_grace = 0.1, 0.0
    first = hands.outcome("bash", {"command": "while [ ! -e go ]; do sleep 0.01; done", "timeout_ms": 60_000})
    second = hands.outcome("bash", {"command": "sleep 60", "timeout_ms": 1})
    third = Hands(driver, "sesn_a", "other").outcome("bash", {"command": "sleep 0.5; touch go"})
    outcomes = await asyncio.gather(third, first, second)
    assert [one.is_error for one in outcomes] == [False, False, True]


@pytest.mark.parametrize("refused", [10**400, -(10**9)], ids=["huge", "negative"])
async def test_a_time_that_is_refused_moves_nobodys_bound(host: SandboxHost, refused: int) -> None:
    driver = host.driver()
    hands, other = Hands(driver, "sesn_a"), Hands(driver, "sesn_a", "other")
    driver.answer_deadline, driver.call_grace = 0.05, 0.0
    first = asyncio.create_task(hands.outcome("bash", {"command": "echo x >> log; sleep 0.5; cat log"}))
    await seen(host.own("sesn_a") / "workspace" / "log")
    assert "must be a whole number" in await other.refused("bash", command="true", timeout_ms=refused)
    assert text(await first, is_error=False) == "x"


async def test_a_call_that_begins_while_a_late_one_takes_the_sandbox_along_has_a_new_one(host: SandboxHost) -> None:
    driver = host.driver()
    hands, other = Hands(driver, "sesn_a"), Hands(driver, "sesn_a", "other")
    await hands.bash("true")
    init = json.loads((host.own("sesn_a") / "state.json").read_text())["init"]
    driver.answer_deadline, driver.call_grace = 0.1, -3600.0
    late = asyncio.create_task(hands.outcome("bash", {"command": "sleep 60"}))
    async with asyncio.timeout(20):
        while not gone(init):  # noqa: ASYNC110
            await asyncio.sleep(0)
    driver.call_grace = 3600.0
    next_one = asyncio.create_task(other.outcome("bash", {"command": WAITS}))
    await raises(CallLost, late)
    await seen(host.own("sesn_a") / "workspace" / "log")
    assert driver.live == 1
    await Hands(driver, "sesn_a", "third").bash("touch go")
    assert text(await next_one, is_error=False) == "x"


def allow(host: SandboxHost, processes: int | None) -> None:
    """So many processes, or as many as usual, may the session's user have for its shim to make another."""
    owner = host.own("sesn_a").stat()
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0] if processes is None else processes
    words = ["prlimit", f"--pid={host.shim_pid('sesn_a')}", f"--nproc={'unlimited' if most < 0 else most}:"]
    subprocess.run(words, check=True, user=owner.st_uid, group=owner.st_gid)


async def test_a_shim_that_can_make_no_process_goes_on_when_it_can_again(host: SandboxHost) -> None:
    host.kill_zygote()
    host.options["workspace_bytes"] = 4 * 1024**2
    host.start()
    hands, other = Hands(host.driver(), "sesn_a"), Hands(host.driver(), "sesn_a", "other")
    await hands.bash("x=kept; touch f")
    allow(host, 0)
    assert "could not enter the sandbox" in await other.refused("bash", command="true")
    assert "could not enter the sandbox" in await other.refused("read", file_path="f")
    await hands.bash("head -c 1M /dev/zero > f; sync; sleep 0.5")  # it grew, and can't be measured
    allow(host, None)
    assert await other.bash("echo back") == "back"
    await other.outcome("bash", {"restart": True})
    assert await other.use("write", file_path="g", content="x") == "wrote 1 bytes to g"
    assert await hands.bash("echo $x") == "kept"
    assert (await host.status("sesn_a"))["running"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user has other processes, too, which count")
async def test_a_sandbox_whose_way_out_cannot_be_made_is_not_used(host: SandboxHost) -> None:
    host.kill_zygote()
    host.options["egress"] = str(host.egress)
    host.start()
    heard: list[asyncio.StreamWriter] = []

    def speak(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"environment": {}, "trust": ""}\n')  # as the egress proxy does
        heard.append(writer)

    async with await asyncio.start_unix_server(speak, host.egress):
        host.egress.chmod(0o666)
        hands = Hands(host.driver(), "sesn_a")
        await hands.bash("true")
        before = json.loads((host.own("sesn_a") / "state.json").read_text())
        os.kill(before["init"], signal.SIGKILL)
        allow(host, 3)  # the shim, bubblewrap and process 1
        error = await raises(SandboxUnavailable, hands.outcome("bash", {"command": "true"}))
        assert "could not be set up" in str(error)
        assert not (await host.status("sesn_a"))["sandbox"]
        allow(host, None)
        assert await hands.bash("grep -c :0C38 /proc/net/tcp") == "1"  # 3128
        assert host.shim_pid("sesn_a") == before["pid"]
        for writer in heard:
            writer.close()
            await writer.wait_closed()


async def test_a_torn_journal_line_is_no_obstacle(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a", epoch=3)
    await hands.outcome("bash", {"command": "echo one"}, id="sevt_whole")
    os.kill(host.shim_pid("sesn_a"), signal.SIGKILL)
    with (host.own("sesn_a") / "journal" / "starts").open("ab") as file:
        file.write(b'{"id": "sevt_torn", "ep')
    assert text(await hands.outcome("bash", {"command": "echo two"}, id="sevt_torn"), is_error=False) == "two"
    assert text(await hands.outcome("bash", {"command": "no"}, id="sevt_whole"), is_error=False) == "one"


async def test_notes_that_a_power_cut_left_empty_are_no_obstacle(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a")
    await hands.bash("echo kept > f")
    shim = host.shim_pid("sesn_a")
    os.kill(shim, signal.SIGKILL)
    await ended(shim)
    for note in ("state.json", "layers.json", "memory.json", "uploads.json", "skills.json"):
        (host.own("sesn_a") / note).write_bytes(b"")
    assert await hands.bash("cat f") == "kept"
    (host.own("sesn_a") / "state.json").write_bytes(b"")
    await host.driver().delete("sesn_a")
    assert not host.own("sesn_a").exists()


async def test_a_shim_that_cannot_start_is_not_tried_for_ever(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a")
    await hands.bash("true")
    os.kill(host.shim_pid("sesn_a"), signal.SIGKILL)
    with (host.own("sesn_a") / "journal" / "starts").open("ab") as file:
        file.write(b"not json\n")
    await raises(SandboxUnavailable, hands.outcome("bash", {"command": "true"}))
