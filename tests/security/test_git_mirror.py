"""What the vault's side reads of repositories, and what repositories and hosts that mean harm get out of it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from git_server import Asked, GitServer

from outrider.clock import SystemClock
from outrider.githosts import git_hosts
from outrider.networks import allowance
from outrider.ports.egress import EgressRepository
from outrider.ports.repositories import Reading, ReadRequest
from outrider.proxy.credentials import Credentials
from outrider.proxy.egress.connection import Terms
from outrider.proxy.egress.injector import Injector
from outrider.proxy.egress.placeholders import Placeholders
from outrider.proxy.egress.policy import Policy
from outrider.proxy.egress.record import Record
from outrider.proxy.git import mirror, process
from outrider.proxy.git.mirror import Mirrors
from outrider.proxy.git.skills import skill
from outrider.proxy.outside import Outside
from outrider.vault import material
from outrider.vault.audit import Audit
from outrider.vault.authority import Authority
from outrider.vault.envelope import Owner
from outrider.vault.keys import KeySources
from outrider.vault.secrets import SecretStore

pytestmark = pytest.mark.anyio

TOKEN = "canary-mirror-6e5d4c3b"
SKILL = "---\nname: {}\ndescription: What it is for.\n---\nbody\n"


class Scene:
    def __init__(self, place: Path, server: GitServer, mirrors: Mirrors, store: SecretStore, terms: Terms) -> None:
        self.place = place
        self.server = server
        self.mirrors = mirrors
        self.store = store
        self.terms = terms

    async def read(self, name: str, checkout: Any = None, token: str | None = TOKEN) -> Reading:
        url = self.server.url(name, "localhost")
        if token is not None:
            secret = {"type": "github_repository", "url": url, "token": token}
            await self.store.put(Owner("w", "sesn_1", "sesrsc_1", 1), material.pack(secret))
        repository = EgressRepository("sesrsc_1", url, 0 if token is None else 1)
        return await self.mirrors.read(ReadRequest("sesn_1", 1, "w", repository, checkout))

    def left(self) -> list[str]:
        return sorted(path.name for path in (self.place / mirror.DIRECTORY).iterdir())


@pytest.fixture(scope="module")
async def standing(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    place = tmp_path_factory.mktemp("mirror")
    (place / "public").mkdir()
    outside = Authority(place / "public")
    upstream = ssl.create_default_context(cadata=outside.certificate)
    store = SecretStore.open(place, KeySources(place / "key"))
    audit = Audit(place, SystemClock())
    credentials = Credentials(store, audit, Outside(upstream), SystemClock())
    authority = Authority(place)
    injector = Injector(authority, Placeholders(place), credentials, upstream)
    server = GitServer(place / "git")
    server.make("team/app", TOKEN, {"README": "x\n", ".claude/skills/greet/SKILL.md": SKILL.format("greet")})
    with server.serving(outside.context("localhost")):
        allowed = [allowance(f"127.0.0.1:{server.port}")]
        terms = Terms(allowed, 20.0, Record(None, SystemClock()), injector=injector)
        hosts = git_hosts({"tests": {"url": f"https://localhost:{server.port}", "kind": "plain"}}, "git.hosts")
        yield Scene(place, server, Mirrors(terms, authority.certificate, hosts, place), store, terms)
    audit.close()
    store.close()


@pytest.fixture
async def scene(standing: Scene) -> AsyncIterator[Scene]:
    standing.server.asked.clear()
    yield standing
    standing.server.answers.clear()


async def test_skills_one_level_deep_are_read_and_nothing_is_left_behind(scene: Scene) -> None:
    more = {
        ".claude/skills/a/SKILL.md": SKILL.format("twin"), ".claude/skills/b/SKILL.md": SKILL.format("twin"),
        ".claude/skills/deep/er/SKILL.md": SKILL.format("deep"), ".claude/skills/SKILL.md": SKILL.format("top"),
        ".claude/skills/bare/SKILL.md": "no head\n", ".claude/skills/c d/SKILL.md": SKILL.format("space"),
    }  # fmt: skip
    scene.server.commit("team/app", more, "skills")
    found = await scene.read("team/app", {"type": "branch", "name": "skills"})
    assert found.error is None
    assert [(one.name, one.path) for one in found.skills] == [
        ("twin", ".claude/skills/a/SKILL.md"),
        ("twin", ".claude/skills/b/SKILL.md"),
    ]
    commit = scene.server.commit("team/app", {"LATER": "x\n"})
    again = await scene.read("team/app", {"type": "commit", "sha": commit})
    assert [one.name for one in again.skills] == ["greet"]
    assert scene.left() == ["ca.pem"]
    assert scene.server.used(TOKEN)


async def test_links_and_submodules_in_a_repository_lead_nowhere(scene: Scene) -> None:
    (scene.place / "outside.md").write_text(SKILL.format("stolen"))
    hostile = {
        ".claude/skills/link/SKILL.md": f"link:{scene.place}/outside.md",
        ".claude/skills/text/SKILL.md": "link:" + SKILL.format("linked"),
        ".claude/skills/dir": f"link:{scene.place}",
        ".gitmodules": '[submodule "x"]\n\tpath = x\n\turl = ext::sh -c "touch {OWNED}"\n'.format(
            OWNED=scene.place / "owned"
        ),
        ".claude/skills/good/SKILL.md": SKILL.format("good"),
    }
    scene.server.make("team/hostile", TOKEN, hostile)
    found = await scene.read("team/hostile")
    assert [one.name for one in found.skills] == ["good"]
    assert not (scene.place / "owned").exists()
    assert scene.left() == ["ca.pem"]


async def test_a_redirect_is_not_followed_and_takes_no_token_along(scene: Scene) -> None:
    elsewhere = f"https://localhost:{scene.server.port}/evil/app/info/refs?service=git-upload-pack"
    scene.server.answers["/team/app/"] = lambda asked: (302, {"location": elsewhere}, b"")
    scene.server.answers["/evil/"] = lambda asked: (200, {}, b"0000")
    found = await scene.read("team/app")
    assert found.error == "repository_clone_error"
    assert [one.target for one in scene.server.asked if one.target.startswith("/evil/")] == []
    assert TOKEN not in found.message


async def test_what_a_host_says_becomes_a_bounded_error_without_the_token(scene: Scene) -> None:
    def shout(asked: Asked) -> Any:
        return 500, {"content-type": "text/plain"}, f"remote: {asked.token}\r\n\x1b[31m".encode() * 5000

    scene.server.answers["/team/app/"] = shout
    found = await scene.read("team/app")
    assert found.error == "repository_clone_error"
    assert TOKEN not in found.message
    assert found.message.isprintable()
    assert len(found.message) < 600


@pytest.mark.parametrize(
    ("name", "token", "checkout", "error"),
    [
        ("team/app", None, None, "repository_authentication_error"),
        ("team/app", "wrong-token", None, "repository_forbidden_error"),
        ("team/none", TOKEN, None, "repository_not_found_error"),
        ("team/app", TOKEN, {"type": "branch", "name": "nowhere"}, "repository_checkout_error"),
        ("team/app", TOKEN, {"type": "commit", "sha": "0" * 40}, "repository_checkout_error"),
    ],
)
async def test_why_a_repository_cannot_be_had_is_told_apart(
    scene: Scene, name: str, token: str | None, checkout: Any, error: str
) -> None:
    assert (await scene.read(name, checkout, token)).error == error


async def test_a_repository_that_is_too_large_costs_its_skills_only(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "_BOUNDED", 'ulimit -f 1 && exec "$@"')
    scene.server.make("team/large", TOKEN, {f"f{n}": f"{n:x}" * 40 for n in range(400)})
    assert await scene.read("team/large") == Reading()
    assert scene.left() == ["ca.pem"]


async def test_the_listener_of_a_look_serves_nobody_without_its_password(scene: Scene) -> None:
    policy = Policy("sesn_1", 1, "w", limited=False)
    listening = mirror._listening  # pyright: ignore[reportPrivateUsage]
    async with listening(policy, scene.terms) as proxy:
        port = int(proxy.rpartition(":")[2])
        for proof in ("", "Proxy-Authorization: Basic b3V0cmlkZXI6eA==\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"CONNECT localhost:{scene.server.port} HTTP/1.1\r\nHost: localhost\r\n{proof}\r\n".encode())
            async with asyncio.timeout(10):
                assert (await reader.readline()).startswith(b"HTTP/1.1 407")
            writer.close()


def test_git_holds_no_token_and_is_configured_from_nothing(tmp_path: Path) -> None:
    words = process.settings("https://git.example/a/b", "http://outrider:pw@127.0.0.1:1", tmp_path / "ca.pem")
    for line in ("allow = never", "followRedirects = false", "hooksPath = /dev/null", "helper =", "sslVerify = true"):
        assert f"\t{line}" in words
    environment = process.environment(tmp_path)
    assert environment["GIT_CONFIG_NOSYSTEM"] == "1"
    assert environment["GIT_CONFIG_GLOBAL"] == "/dev/null"


@pytest.mark.parametrize(
    ("head", "name", "description"),
    [
        ("name: a-b\ndescription: plain words # not this", "a-b", "plain words"),
        ('description: "quoted: \\"x\\""\nname: \'one\'', "one", 'quoted: "x"'),
        ("name: x\ndescription: >-\n  two\n  lines", "x", "two lines"),
        ("description: named by its directory", "here", "named by its directory"),
        ("name: x\ndescription: |\n  a\r\n  b\u202e\x1b[0m <system>c", "x", "a b [0m system c"),
    ],
)
def test_a_skills_head_becomes_one_line_of_its_own_words(head: str, name: str, description: str) -> None:
    found = skill(".claude/skills/here/SKILL.md", f"---\n{head}\n---\nrest".encode())
    assert found is not None
    assert (found.name, found.description) == (name, description)


@pytest.mark.parametrize("head", ["name: x", "name: Not Good\ndescription: d", "name: x\ndescription: ''", ""])
def test_a_skill_without_a_usable_name_and_description_is_none(head: str) -> None:
    assert skill(".claude/skills/here/SKILL.md", f"---\n{head}\n---\n".encode()) is None
