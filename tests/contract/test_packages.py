"""Layers of packages on a real sandbox host, whose builds reach a package index on loopback through a real proxy."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from egress_trial import Trial
from registries import Gate, registries

from outrider.errors import SandboxUnavailable
from outrider.ports.packages import Equipment
from outrider.ports.sandbox import ToolCall
from outrider.sandbox import sealing
from outrider.sandbox.builds import layers_of
from outrider.sandbox.driver import BubblewrapSandboxes
from outrider.testing.sandbox_host import SandboxHost

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(150)]
USE = "python3 -c 'import demo_pip'"
DRIVER = """
import asyncio, json, sys
sys.path[:0] = json.loads(sys.argv[1])
from pathlib import Path
from outrider.ports.packages import Equipment
from outrider.sandbox.driver import BubblewrapSandboxes
from outrider.testing.sandbox_host import ROOMY
root, control, run, package = sys.argv[2:]
sandboxes = BubblewrapSandboxes(Path(root), Path(control), Path(run), ROOMY)
asyncio.run(sandboxes.equip("sesn_first", Equipment("wrkspc_a", {"pip": (package,)}), epoch=1))
"""
HOST = {"pip": ("localhost",)}


def wanted(*packages: str, workspace: str = "wrkspc_a") -> Equipment:
    return Equipment(workspace, {"pip": packages})


class Scene:
    def __init__(self, host: SandboxHost, gate: Gate, trial: Trial, port: int) -> None:
        self.host = host
        self.gate = gate
        self.trial = trial
        self.port = port
        self._calls = 0

    async def run(self, sandboxes: BubblewrapSandboxes, session: str, command: str) -> str:
        self._calls += 1
        call = ToolCall(f"call_{self._calls}", "thr_1", "bash", {"command": command})
        return str((await sandboxes.execute(session, call, epoch=1)).content[0]["text"])

    def layer(self, equipment: Equipment) -> Path:
        return self.host.root / "layers" / layers_of(equipment)[0].id

    async def removed(self) -> list[str]:
        """What the host removes when it looks for layers that nobody uses."""
        return (await self.host.driver().ask_zygote({"op": "collect"}))["removed"]


@pytest.fixture(scope="module")
async def scene(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    gate = Gate()
    with registries(tmp_path_factory.mktemp("registries"), gate) as port:
        variables = {
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": f"http://localhost:{port}/simple",
            "PIP_RETRIES": "0",
            "no_proxy": "",
            "NO_PROXY": "",
        }
        host = SandboxHost(egress=True, build_environment=variables, layer_days=0.0)
        host.start()
        trial = Trial(host)
        trial.names["localhost"] = ["127.0.0.1"]
        async with trial.proxy(f"127.0.0.1:{port}", packages=HOST):
            yield Scene(host, gate, trial, port)
        await host.close()


async def test_what_two_sessions_want_at_once_is_installed_once_and_another_workspace_gets_its_own(
    scene: Scene,
) -> None:
    sandboxes, asked = scene.host.driver(), scene.gate.asked
    both = wanted("demo-pip==1.0")
    await asyncio.gather(*(sandboxes.equip(f"sesn_at_once_{number}", both, epoch=1) for number in range(2)))
    assert scene.gate.asked == asked + 1
    assert await scene.run(sandboxes, "sesn_at_once_1", USE) == "hello from pip"
    others = wanted("demo-pip==1.0", workspace="wrkspc_b")
    assert scene.layer(others) != scene.layer(both)
    await sandboxes.equip("sesn_other", others, epoch=1)
    assert scene.gate.asked == asked + 2
    tree = scene.layer(both) / "tree"
    assert {path.lstat().st_uid for path in (tree, *tree.rglob("*"))} == {os.geteuid()}
    assert "No module named" in await scene.run(sandboxes, "sesn_without", f"{USE} 2>&1")


async def test_a_build_sees_no_session_and_reaches_the_hosts_of_registries_only(scene: Scene) -> None:
    sandboxes = scene.host.driver()
    await sandboxes.ask("bld-look", {"op": "equip", "layers": [], "build": "pip", "epoch": 1})
    look = "ls -A /workspace /mnt/session/* /mnt/memory 2>/dev/null; id -u; env | grep -ci secret"
    assert (await scene.run(sandboxes, "bld-look", look)).split("\n")[-2:] == ["1000", "0"]
    get = "curl -sS --noproxy '' -o /dev/null -w '%{http_code}'"
    assert await scene.run(sandboxes, "bld-look", f"{get} http://localhost:{scene.port}/simple/demo-pip/") == "200"
    assert await scene.run(sandboxes, "bld-look", f"{get} http://elsewhere.example/") == "403"
    assert await sandboxes.stored() == [name for name in await sandboxes.stored() if not name.startswith("bld-")]
    await sandboxes.delete("bld-look")


async def test_a_build_that_fails_says_why_keeps_its_log_and_is_left_alone_for_a_while(scene: Scene) -> None:
    sandboxes, asked = scene.host.driver(), scene.gate.asked
    bad = wanted("demo-pip==9")
    for _ in range(2):
        with pytest.raises(SandboxUnavailable, match=r"pip \(demo-pip==9\) said:(.|\n)*No matching distribution"):
            await sandboxes.equip("sesn_bad", bad, epoch=1)
    assert scene.gate.asked == asked + 1
    log = scene.layer(bad).with_suffix(".failed")
    assert "No matching distribution" in log.read_text()
    assert not scene.layer(bad).exists()
    with pytest.raises(SandboxUnavailable):
        await scene.host.driver().equip("sesn_bad", bad, epoch=1)
    assert scene.gate.asked == asked + 2


async def test_a_driver_that_comes_later_joins_the_build_and_a_killed_one_is_begun_anew(scene: Scene) -> None:
    asked, both = scene.gate.asked, wanted("demo-pip>=1")
    scene.gate.close()
    host = scene.host
    words = [sys.executable, "-c", DRIVER, json.dumps(sys.path), *map(str, (host.root, host.control, host.run))]
    process = subprocess.Popen([*words, "demo-pip>=1"])  # noqa: ASYNC220
    assert await asyncio.to_thread(scene.gate.came.wait, 30)
    process.kill()
    process.wait()
    later = asyncio.create_task(scene.host.driver().equip("sesn_later", both, epoch=1))
    scene.gate.open()
    await later
    assert scene.gate.asked == asked + 1
    other = wanted("demo-pip<2")
    scene.gate.close()
    broken = asyncio.create_task(scene.host.driver().equip("sesn_broken", other, epoch=1))
    assert await asyncio.to_thread(scene.gate.came.wait, 30)
    os.kill(scene.host.shim_pid(layers_of(other)[0].session), signal.SIGKILL)
    scene.gate.open()
    await broken
    assert await scene.run(scene.host.driver(), "sesn_broken", USE) == "hello from pip"
    assert scene.gate.asked == asked + 3


async def test_what_nobody_uses_any_more_is_removed_but_never_from_under_a_sandbox(scene: Scene) -> None:
    sandboxes, used = scene.host.driver(), wanted("demo-pip~=1.0")
    await sandboxes.equip("sesn_using", used, epoch=1)
    assert await scene.run(sandboxes, "sesn_using", USE) == "hello from pip"
    assert scene.layer(used).name not in await scene.removed()
    assert await scene.run(sandboxes, "sesn_using", USE) == "hello from pip"
    await sandboxes.stop("sesn_using")
    assert scene.layer(used).name in await scene.removed()
    assert not scene.layer(used).exists()
    with pytest.raises(SandboxUnavailable, match="the packages of its environment are not there any more"):
        await scene.run(sandboxes, "sesn_using", USE)
    await sandboxes.equip("sesn_using", used, epoch=1)
    assert await scene.run(sandboxes, "sesn_using", USE) == "hello from pip"


async def test_links_and_special_files_of_a_build_do_not_reach_the_sandboxes_that_share_it(scene: Scene) -> None:
    sandboxes, layer, build = scene.host.driver(), "0" * 32, f"bld-{'0' * 32}"
    await sandboxes.ask(build, {"op": "equip", "layers": [], "build": "pip", "epoch": 1})
    made = "cd /opt/pip; mkfifo pipe; mkdir -m 0 shut; echo x > x; chmod 4700 x; ln -s /etc/passwd link; ls | wc -l"
    assert await scene.run(sandboxes, build, made) == "4"
    sealed: dict[str, Any] = {
        "op": "seal",
        "session": build,
        "layer": layer,
        "about": {},
        "log": "",
        "failed": False,
    }
    assert await sandboxes.ask_zygote(sealed) == {"ok": True}
    await sandboxes.delete(build)
    tree = scene.host.root / "layers" / layer / "tree"
    modes = {path.name: oct(path.lstat().st_mode & 0o7777) for path in tree.iterdir() if not path.is_symlink()}
    assert modes == {"shut": "0o755", "x": "0o755"}
    assert (tree / "link").readlink() == Path("/etc/passwd")


@pytest.mark.parametrize(
    ("session", "layer"), [("bld-a", "../../a"), (f"bld-{'0' * 32}", "1" * 32), ("sesn_a", "0" * 32)]
)
async def test_a_layer_is_made_by_its_own_build_alone(scene: Scene, session: str, layer: str) -> None:
    asked: dict[str, Any] = {"op": "seal", "session": session, "layer": layer, "about": {}, "log": "", "failed": True}
    answer = await scene.host.driver().ask_zygote(asked)
    assert answer["message"] == "a layer is made by its own build alone"
    assert not list(scene.host.root.rglob("*.failed"))


async def test_when_the_disk_is_nearly_full_packages_that_no_sandbox_has_go_first(scene: Scene) -> None:
    sandboxes, kept, unused = scene.host.driver(), wanted("demo-pip>0.1"), wanted("demo-pip>0.2")
    await sandboxes.equip("sesn_keeps", kept, epoch=1)
    assert await scene.run(sandboxes, "sesn_keeps", USE) == "hello from pip"
    await sandboxes.equip("sesn_unused", unused, epoch=1)
    root, layers = str(scene.host.root), [scene.layer(one).name for one in (kept, unused)]
    assert sealing.collect(root, 30, lambda: False) == []
    assert layers[1] in sealing.collect(root, 30, lambda: True)
    assert [scene.layer(one).exists() for one in (kept, unused)] == [True, False]


async def test_without_hosts_of_registries_a_failed_build_says_that_the_operator_has_named_none(scene: Scene) -> None:
    async with scene.trial.proxy(f"127.0.0.1:{scene.port}"):
        with pytest.raises(SandboxUnavailable, match="the operator has named no hosts of package registries"):
            await scene.host.driver().equip("sesn_none", wanted("demo-pip!=2"), epoch=1)
