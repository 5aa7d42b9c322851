"""Attempts to get out of a sandbox, or to bring it down from inside, as functions that take a driver: see `ESCAPES`.

Each raises AssertionError when an attempt succeeds. They need a `python3` inside and limits that are quick to reach.
"""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

from outrider.config import Limits
from outrider.ports.sandbox import Sandboxes
from outrider.sandbox.plan import Hold
from outrider.testing.sandbox_suite import Check, Hands

SMALL_PROCESSES = 64
SMALL_TMP = 8 * 1024**2
SMALL_MEMORY = 192 * 1024**2
SMALL_WORKSPACE = 64 * 1024**2
HOLD = Hold(
    memory_bytes=SMALL_MEMORY,
    processes=SMALL_PROCESSES,
    tmp_bytes=SMALL_TMP,
    shm_bytes=SMALL_TMP,
    run_bytes=SMALL_TMP,
)
LIMITS = Limits(reserve_share=0.0, reserve_bytes=0, workspace_bytes=SMALL_WORKSPACE)
_PROBE = r"""
import ctypes, errno, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
arm = os.uname().machine == "aarch64"
def call(x86, generic, *args):
    ctypes.set_errno(0)
    done = libc.syscall(generic if arm else x86, *args)
    return "ok" if done >= 0 else errno.errorcode[ctypes.get_errno()]
def family(number):
    try:
        socket.socket(number, socket.SOCK_RAW, 1).close()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "ok"
found = {
    "ptrace": call(101, 117, 16, 1, 0, 0),
    "mount": call(165, 40, b"none", b"/tmp", b"tmpfs", 0, None),
    "remount": call(165, 40, b"none", b"/usr", b"", 32 | 4096, None),
    "umount": call(166, 39, b"/workspace", 2),
    "unshare user": call(272, 97, 0x10000000),
    "unshare mount": call(272, 97, 0x20000),
    "clone user": call(56, 220, 0x10000000 | 17, 0, 0, 0, 0),
    "setns": call(308, 268, 0, 0),
    "pivot_root": call(155, 41, b"/tmp", b"/tmp"),
    "chroot": call(161, 51, b"/tmp"),
    "bpf": call(321, 280, 0, 0, 0),
    "perf": call(298, 241, 0, 0, -1, -1, 0),
    "userfaultfd": call(323, 282, 0),
    "io_uring": call(425, 425, 1, ctypes.create_string_buffer(120)),
    "keyctl": call(250, 219, 0, 0, 0),
    "add_key": call(248, 217, b"user", b"a", b"b", 1, 0),
    "open_by_handle": call(304, 265, 0, None, 0),
    "process_vm_readv": call(310, 270, 1, None, 0, None, 0, 0),
    "personality": call(135, 92, 0x40000),
    "syslog": call(103, 116, 3, None, 0),
    "new mount api": call(430, 430, b"tmpfs", 0),
    "kexec": call(246, 104, 0, 0, None, 0),
    "module": call(313, 273, 0, b"", 0),
    "clone3": call(435, 435, None, 0),
    "packet": family(17), "vsock": family(40), "alg": family(38), "raw": family(2),
}
for trick in (0x5412, 0x541C):
    done = libc.ioctl(0, ctypes.c_ulong(trick), b"x")
    found["ioctl %x" % trick] = "ok" if done >= 0 else errno.errorcode[ctypes.get_errno()]
print("\n".join(f"{name}={value}" for name, value in found.items()))
"""


@contextmanager
def host_directory() -> Generator[str]:
    """A directory of this host that anyone may write, with a secret in it."""
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o777)
        Path(place, "secret").write_text("host secret")
        yield place


async def python(hands: Hands, script: str, *arguments: str) -> str:
    await hands.use("write", file_path="/tmp/script.py", content=script)
    return await hands.bash(" ".join(["python3 /tmp/script.py", *arguments]))


async def host_files_are_not_there(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    with host_directory() as place:
        for path in ("/root", "/home", "/var", "/srv", "/opt", "/etc/shadow", "/etc/ssh", "/oldroot", place):
            assert await hands.bash(f"ls -d {path} 2>&1 || true") == (
                f"ls: cannot access '{path}': No such file or directory"
            )
    listed = set((await hands.bash("ls /")).split())
    usual = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"}
    assert listed - usual == {"usr", "etc", "dev", "proc", "tmp", "run", "mnt", "workspace"}
    assert await hands.bash("ls /proc/1/root/ | sort | tr -d '\\n'") == "".join(sorted(listed))


async def the_environment_holds_only_what_was_set(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    names = await hands.bash("cat /proc/1/environ /proc/$$/environ | tr '\\0' '\\n' | cut -d= -f1 | sort -u")
    assert set(names.split()) <= {"HOME", "LANG", "PATH", "PS1", "PS2", "PWD", "SHELL", "TERM", "USER"}


async def host_processes_are_out_of_reach(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    mine = os.getpid()
    if mine > 400:
        assert "No such process" in await hands.refused("bash", command=f"kill -0 {mine}")
    count = int(await hands.bash("ls /proc | grep -c '^[0-9]'"))
    assert count < 10
    assert await hands.bash("cat /proc/1/cmdline | tr '\\0' ' '") == "/usr/bin/sleep infinity "


async def no_privileges_are_left(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    for pid in ("self", "1", "$$"):
        status = await hands.bash(f"grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Groups)' /proc/{pid}/status")
        for line in status.splitlines():
            name, value = line.split(":", 1)
            if name.startswith("Cap"):
                assert int(value, 16) == 0, line
        assert "NoNewPrivs:\t1" in status
        assert "Seccomp:\t2" in status
        assert "Uid:\t1000\t1000\t1000\t1000" in status


async def dangerous_system_calls_are_refused(sandboxes: Sandboxes, session: str) -> None:
    said = await python(Hands(sandboxes, session), _PROBE)
    found = dict(line.split("=") for line in said.splitlines())
    for name in ("packet", "vsock", "alg"):
        assert found.pop(name) == "EAFNOSUPPORT", name
    assert found.pop("clone3") == "ENOSYS"
    allowed = {name: value for name, value in found.items() if value != "EPERM"}
    assert not allowed, allowed


async def the_system_cannot_be_written(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    for target in ("/x", "/usr/x", "/etc/x", "/etc/passwd", "/dev/x", "/mnt/x", "/mnt/session/x"):
        assert "ok" not in await hands.bash(f"(echo > {target}) 2>/dev/null && echo ok || echo no"), target
    for target in ("/mnt/session/uploads/x", "/mnt/session/results/x", "/proc/sys/kernel/hostname"):
        assert "ok" not in await hands.bash(f"(echo > {target}) 2>/dev/null && echo ok || echo no"), target
        await hands.refused("write", file_path=target, content="x")
    assert "not permitted" in await hands.refused("bash", command="mknod /tmp/disk b 8 0")
    assert await hands.bash("ls /dev") == (
        "core\nfd\nfull\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero"
    )


async def there_is_no_network(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        port = server.getsockname()[1]
        for target in (f"127.0.0.1/{port}", "1.1.1.1/53", "169.254.169.254/80"):
            await hands.refused("bash", command=f"echo > /dev/tcp/{target}", timeout_ms=5000)
        await hands.refused("bash", command="echo > /dev/udp/1.1.1.1/53", timeout_ms=5000)
    assert await hands.bash("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '") == "lo"
    assert await hands.bash("getent hosts example.com || echo none") == "none"


async def host_sockets_are_out_of_reach(sandboxes: Sandboxes, session: str) -> None:
    name = f"outrider-test-{os.getpid()}"
    with closing(socket.socket(socket.AF_UNIX)) as server:
        server.bind(f"\0{name}")
        server.listen()
        script = (
            "import socket, sys\ns = socket.socket(socket.AF_UNIX)\n"
            "try:\n    s.connect('\\0' + sys.argv[1])\nexcept OSError as error:\n    print(error.strerror)\n"
        )
        assert await python(Hands(sandboxes, session), script, name) == "Connection refused"


async def only_standard_descriptors_are_inherited(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    assert await hands.bash("ls /proc/self/fd | tr '\\n' ' '") == "0 1 2 3 "  # 3 is ls reading the directory
    held = await hands.bash("readlink /proc/1/fd/* /proc/$$/fd/* | sed 's/:.*//' | sort -u")
    assert set(held.split()) <= {"/dev/null", "pipe"}


async def killing_everything_inside_spares_the_sandbox(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash("echo here > /tmp/mark")
    await hands.outcome("bash", {"command": "kill -9 -1; kill -9 1; kill -TERM 1"})
    assert await hands.bash("kill -9 1; cat /tmp/mark") == "here"


async def a_fork_bomb_is_stopped_and_the_tools_still_work(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.outcome(
        "bash", {"command": f"for i in $(seq {2 * SMALL_PROCESSES}); do setsid sleep 1000 & done", "timeout_ms": 2000}
    )
    assert await hands.use("write", file_path="x", content="y") == "wrote 1 bytes to x"
    await hands.outcome("bash", {"restart": True})
    count = int(await hands.bash("n=0; for p in /proc/[0-9]*; do n=$((n+1)); done; echo $n"))
    assert count <= SMALL_PROCESSES + 2
    await hands.outcome("bash", {"command": "kill -9 -1"})
    assert await hands.bash("echo alive") == "alive"


async def memory_file_systems_are_bounded(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    for place in ("/tmp", "/run", "/dev/shm"):
        said = await hands.refused("bash", command=f"head -c 200M /dev/zero > {place}/fill; rm {place}/fill; false")
        assert "No space left" in said


async def a_file_cannot_outgrow_the_limit(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    size = SMALL_WORKSPACE + 1
    said = await hands.refused("bash", command=f"truncate -s {size} big")
    assert "File too large" in said or "size limit" in said.lower()


async def memory_is_bounded_and_the_sandbox_lives_on(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    await hands.bash("echo here > /tmp/mark")
    await hands.refused("bash", command=f"python3 -c 'bytearray({2 * SMALL_MEMORY})'")
    limits = (await sandboxes.probe()).limits
    if limits["memory"].startswith("cgroup"):
        hog = f"python3 -c 'import time; x = bytearray({SMALL_MEMORY // 2}); time.sleep(2)' & "
        await hands.refused(
            "bash", command=f"set -m; {hog * 4} for j in $(jobs -p); do wait $j || bad=1; done; [ -z $bad ]"
        )
    assert await hands.bash("cat /tmp/mark") == "here"


async def planted_links_lead_nowhere(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    with host_directory() as place:
        await hands.bash(
            f"ln -s {place} d; ln -s {place}/secret s; ln -s /etc/shadow p; ln -s /proc/1/root r;"
            f"ln -s /proc/self/cwd c; ln -s loop loop; ln -s d /mnt/session/outputs/d"
        )
        for path in ("d/secret", "s", "p", "loop", "r/etc/passwd", "c/s", "../../../../../etc/shadow"):
            await hands.refused("read", file_path=path)
        for path in ("d/new", "s", "r/tmp/x"):
            await hands.refused("write", file_path=path, content="x")
        assert await hands.use("grep", pattern="secret") == "no matches"
        assert os.listdir(place) == ["secret"]


async def links_planted_for_the_next_start_make_nothing_on_the_host(sandboxes: Sandboxes, session: str) -> None:
    hands = Hands(sandboxes, session)
    with host_directory() as place:
        names = ("x", "session", "outputs", "uploads", "tmp", "etc", "workspace", "d")
        plant = "".join(
            f"rm -rf {where}/{name}; ln -s {target} {where}/{name};"
            for where in ("/workspace", "/mnt/session/outputs")
            for name, target in [(name, f"/oldroot{place}") for name in names]
        )
        await hands.bash(plant)
        await sandboxes.stop(session)
        assert "oldroot" in await hands.bash("readlink d")
        assert os.listdir(place) == ["secret"]


async def the_tools_own_processes_cannot_be_looked_into(sandboxes: Sandboxes, session: str) -> None:
    """They come from outside and are inside for a moment: nothing of theirs may lead out, nor be changed."""
    hands = Hands(sandboxes, session)
    spy = (
        "import os, time\nfound = set()\nend = time.monotonic() + 20\nwhile time.monotonic() < end:\n"
        "    for pid in os.listdir('/proc'):\n"
        "        if not pid.isdigit() or int(pid) == os.getpid():\n            continue\n"
        "        try:\n"
        "            comm = open(f'/proc/{pid}/comm').read().strip()\n"
        "            if comm in ('sleep', 'bash'):\n                continue\n"
        "            found.add('seen')\n"
        "            for name in os.listdir(f'/proc/{pid}/fd'):\n"
        "                found.add(os.readlink(f'/proc/{pid}/fd/{name}'))\n"
        "            open(f'/proc/{pid}/mem', 'r+b').close()\n            found.add('memory')\n"
        "        except OSError:\n            pass\n"
        "    if os.path.exists('/workspace/stop'):\n        break\n"
        "print(sorted(found))\n"
    )
    await hands.use("write", file_path="/tmp/spy.py", content=spy)
    spying = asyncio.create_task(Hands(sandboxes, session, "spy").bash("python3 /tmp/spy.py"))
    worker = Hands(sandboxes, session, "worker")
    for _ in range(40):
        await worker.use("read", file_path="/tmp/spy.py")
    await hands.use("write", file_path="stop", content="")
    found = await spying
    assert found in ("[]", "['seen']"), found


async def the_host_is_never_seen_while_a_sandbox_starts(sandboxes: Sandboxes, session: str) -> None:
    with tempfile.NamedTemporaryFile() as canary:
        os.chmod(canary.name, 0o644)
        hands = Hands(sandboxes, session)
        for _ in range(25):
            assert "no such file" in await hands.refused("read", file_path=canary.name)
            await sandboxes.stop(session)


ESCAPES: tuple[Check, ...] = (
    host_files_are_not_there,
    the_environment_holds_only_what_was_set,
    host_processes_are_out_of_reach,
    no_privileges_are_left,
    dangerous_system_calls_are_refused,
    the_system_cannot_be_written,
    there_is_no_network,
    host_sockets_are_out_of_reach,
    only_standard_descriptors_are_inherited,
    killing_everything_inside_spares_the_sandbox,
    a_fork_bomb_is_stopped_and_the_tools_still_work,
    memory_file_systems_are_bounded,
    a_file_cannot_outgrow_the_limit,
    memory_is_bounded_and_the_sandbox_lives_on,
    planted_links_lead_nowhere,
    links_planted_for_the_next_start_make_nothing_on_the_host,
    the_tools_own_processes_cannot_be_looked_into,
    the_host_is_never_seen_while_a_sandbox_starts,
)
