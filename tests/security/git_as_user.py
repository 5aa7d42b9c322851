"""A clone and a push as an ordinary user: started as root, it imports, drops, and only then does anything."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
import tempfile
from importlib import import_module
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from egress_trial import trial
from git_server import GitServer

from outrider.clock import SystemClock
from outrider.githosts import git_hosts
from outrider.ports.egress import EgressClaim, EgressRepository
from outrider.proxy.credentials import Credentials
from outrider.proxy.egress.injector import Injector
from outrider.proxy.egress.placeholders import Placeholders
from outrider.proxy.egress.policy import policy
from outrider.proxy.outside import Outside
from outrider.session import checkouts
from outrider.vault import material
from outrider.vault.audit import Audit
from outrider.vault.authority import Authority
from outrider.vault.envelope import Owner
from outrider.vault.keys import KeySources
from outrider.vault.secrets import SecretStore

USER = 54323
TOKEN = "canary-user-99887766"
PUSH = (
    "cd /workspace/app && cat README && git config user.email a@b && git config user.name a"
    " && git commit -qm x --allow-empty && git push -q && git log origin/main --format=%s -1"
)


async def main(place: Path) -> None:
    (place / "public").mkdir()
    outside = Authority(place / "public")
    upstream = ssl.create_default_context(cadata=outside.certificate)
    store = SecretStore.open(place, KeySources(place / "key"))
    audit = Audit(place, SystemClock())
    credentials = Credentials(store, audit, Outside(upstream), SystemClock())
    injector = Injector(Authority(place), Placeholders(place), credentials, upstream)
    server = GitServer(place / "git")
    server.make("team/app", TOKEN, {"README": "hello\n"})
    with server.serving(outside.context("git.example")):
        url = server.url("team/app")
        secret = {"type": "github_repository", "url": url, "token": TOKEN}
        await store.put(Owner("wrkspc_a", "sesn_user", "sesrsc_1", 1), material.pack(secret))
        async with trial(fork=True) as room:
            room.names = {"git.example": ["127.0.0.1"]}
            async with room.proxy(f"127.0.0.1:{server.port}", injector=injector) as door:
                repositories = (EgressRepository("sesrsc_1", url, 1),)
                claim = EgressClaim("sesn_user", 1, "wrkspc_a", {"type": "unrestricted"}, repositories=repositories)
                hosts = git_hosts({"tests": {"url": f"https://git.example:{server.port}"}}, "git.hosts")
                door.settle(policy(claim, {}, hosts))
                mount = {"url": url, "mount_path": "/workspace/app", "checkout": None}
                said = await room.run("sesn_user", checkouts.command(mount))
                assert checkouts.verdict(said) == "", said
                sys.stdout.write(await room.run("sesn_user", PUSH) + "\n")
    audit.close()
    store.close()


if __name__ == "__main__":
    for late in ("encodings.idna", "concurrent.futures.thread"):  # imported late, when this user can't reach them
        import_module(late)
    with tempfile.TemporaryDirectory() as once:  # so that what it reads of the package is in memory
        SecretStore.open(Path(once), KeySources(Path(once) / "key")).close()
    os.setgroups([])
    os.setresgid(USER, USER, USER)
    os.setresuid(USER, USER, USER)
    with tempfile.TemporaryDirectory(dir="/tmp") as found:
        asyncio.run(main(Path(found)))
