"""Repositories from inside real sandboxes: what git does there without a token, and what can't be had with it."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from egress_trial import Trial, trial
from git_server import Asked, GitServer

from outrider.clock import SystemClock
from outrider.githosts import git_hosts
from outrider.ports.egress import EgressClaim, EgressRepository
from outrider.ports.repositories import error_of
from outrider.proxy.credentials import Credentials
from outrider.proxy.egress.injector import Injector
from outrider.proxy.egress.placeholders import Placeholders
from outrider.proxy.egress.policy import policy
from outrider.proxy.outside import Outside
from outrider.session import checkouts
from outrider.vault import material
from outrider.vault.audit import FILE, Audit
from outrider.vault.authority import Authority
from outrider.vault.envelope import Owner
from outrider.vault.keys import KeySources
from outrider.vault.secrets import SecretStore

pytestmark = pytest.mark.anyio

TOKEN = "canary-git-0a1b2c3d4e5f"
NOTHING_ALLOWED: dict[str, Any] = {"type": "limited", "allowed_hosts": []}


@pytest.fixture(scope="module")
async def room(anyio_backend: str) -> AsyncIterator[Trial]:
    async with trial() as found:
        yield found


class Scene:
    """A git server that wants a token, and a proxy that has it."""

    def __init__(self, room: Trial, server: GitServer, store: SecretStore, place: Path) -> None:
        self.room = room
        self.server = server
        self.store = store
        self.place = place
        table = {"url": f"https://git.example:{server.port}", "api": f"https://api.example:{server.port}"}
        self.hosts = git_hosts({"tests": table}, "git.hosts")

    async def claim(
        self, session: str, *, token: str | None = TOKEN, sealed: str | None = None, version: int = 1,
        networking: dict[str, Any] = NOTHING_ALLOWED,
    ) -> str:  # fmt: skip
        """The session has the repository `team/app`; gives its address."""
        url = self.server.url("team/app")
        if token is not None:
            secret = {"type": "github_repository", "url": sealed or url, "token": token}
            await self.store.put(Owner("wrkspc_a", session, "sesrsc_1", version), material.pack(secret))
        repository = EgressRepository("sesrsc_1", url, 0 if token is None else version)
        claim = EgressClaim(session, 1, "wrkspc_a", dict(networking), repositories=(repository,))
        assert self.room.door is not None
        self.room.door.settle(policy(claim, {}, self.hosts))
        return url

    async def run(self, session: str, command: str) -> str:
        return await self.room.run(session, command)

    async def code(self, session: str, options: str, url: str = "") -> str:
        said = await self.run(session, f"curl -s -o /tmp/body -w '%{{http_code}}' {options} {url}; true")
        return said.strip()[-3:]


@pytest.fixture(scope="module")
async def standing(room: Trial, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    tmp_path = tmp_path_factory.mktemp("git")
    public = tmp_path / "public"
    public.mkdir()
    outside = Authority(public)
    upstream = ssl.create_default_context(cadata=outside.certificate)
    store = SecretStore.open(tmp_path, KeySources(tmp_path / "key"))
    audit = Audit(tmp_path, SystemClock())
    credentials = Credentials(store, audit, Outside(upstream), SystemClock())
    injector = Injector(Authority(tmp_path), Placeholders(tmp_path), credentials, upstream)
    names = ("git.example", "api.example", "evil.example")
    room.names = {name: ["127.0.0.1"] for name in names}
    context = outside.context("git.example")
    context.sni_callback = lambda connection, name, _: setattr(connection, "context", outside.context(name or ""))
    server = GitServer(tmp_path / "git")
    server.make("team/app", TOKEN, {"README": "hello\n", "src/a.txt": "one\n"})
    server.make("team/other", TOKEN, {"README": "secret\n"})
    server.make("team/app2", TOKEN, {"README": "secret\n"})
    with server.serving(context):
        async with room.proxy(f"127.0.0.1:{server.port}", injector=injector):
            yield Scene(room, server, store, tmp_path)
    audit.close()
    store.close()


@pytest.fixture
async def scene(standing: Scene) -> AsyncIterator[Scene]:
    standing.server.asked.clear()
    yield standing
    standing.server.answers.clear()


def fetched(base: str, paths: list[str]) -> str:
    return "curl -s --path-as-is " + " ".join(f"'{base}{path}'" for path in paths) + " >/dev/null"


def mount(url: str, **more: Any) -> dict[str, Any]:
    return {"url": url, "mount_path": "/workspace/app", "checkout": None} | more


async def test_git_clones_pulls_and_pushes_without_a_token_in_the_sandbox(scene: Scene) -> None:
    url = await scene.claim("sesn_work")
    said = await scene.run("sesn_work", checkouts.command(mount(url)))
    assert checkouts.verdict(said) == ""
    assert await scene.run("sesn_work", "cat /workspace/app/README") == "hello"
    scene.server.commit("team/app", {"NEW": "from elsewhere\n"})
    pushed = (
        "cd /workspace/app && git pull -q && cat NEW && git config user.email a@example && git config user.name a"
        " && git switch -qc topic && echo mine > MINE && git add MINE && git commit -qm mine"
        " && git push -q origin topic"
    )
    assert (await scene.run("sesn_work", pushed)).splitlines()[0] == "from elsewhere"
    seen = await scene.run("sesn_work", "cd /workspace/app && git fetch -q && git log -1 --format=%s origin/topic")
    assert seen == "mine"
    everything = await scene.run(
        "sesn_work",
        "env; cat /workspace/app/.git/config; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' ' '",
    )
    assert TOKEN not in everything
    assert set(scene.server.used(TOKEN)) == {
        "/team/app/info/refs?service=git-upload-pack",
        "/team/app/git-upload-pack",
        "/team/app/info/refs?service=git-receive-pack",
        "/team/app/git-receive-pack",
    }
    record = (scene.place / FILE).read_text()
    assert '"git"' in record
    assert TOKEN not in record


async def test_a_branch_or_a_commit_is_checked_out_and_what_is_not_there_is_named(scene: Scene) -> None:
    first = scene.server.commit("team/app", {"LATER": "x\n"})
    scene.server.commit("team/app", {"AFTER": "x\n"})
    scene.server.commit("team/app", {"BRANCH": "x\n"}, "feature/x")
    url = await scene.claim("sesn_refs")
    for checkout, path, shows in (
        ({"type": "branch", "name": "feature/x"}, "/workspace/a", "feature/x BRANCH"),
        ({"type": "commit", "sha": first}, "/workspace/b", "HEAD LATER"),
    ):
        ran = checkouts.command(mount(url, checkout=checkout, mount_path=path))
        assert checkouts.verdict(await scene.run("sesn_refs", ran)) == ""
        said = await scene.run(
            "sesn_refs", f"cd {path} && git rev-parse --abbrev-ref HEAD && ls -d AFTER BRANCH LATER 2>&1 | grep -v ls:"
        )
        assert said.split() == shows.split()
    for checkout in ({"type": "branch", "name": "nowhere"}, {"type": "commit", "sha": "0" * 40}):
        ran = checkouts.command(mount(url, checkout=checkout, mount_path="/workspace/c"))
        said = checkouts.verdict(await scene.run("sesn_refs", ran))
        assert said
        assert error_of(said) == "repository_checkout_error"


@pytest.mark.parametrize(
    ("token", "error"),
    [
        (None, "repository_authentication_error"),
        ("wrong-token-00", "repository_forbidden_error"),
    ],
)
async def test_a_clone_that_fails_says_why(scene: Scene, token: str | None, error: str) -> None:
    url = await scene.claim(f"sesn_{error[11:16]}", token=token)
    said = checkouts.verdict(await scene.run(f"sesn_{error[11:16]}", checkouts.command(mount(url))))
    assert said
    assert error_of(said) == error


NOT_THE_REPOSITORY = [
    "/team/other/info/refs?service=git-upload-pack",
    "/team/app2/info/refs?service=git-upload-pack",
    "/team/app/../other/info/refs?service=git-upload-pack",
    "/team/app/..;/other/info/refs?service=git-upload-pack",
    "/team/app/%2e%2e/other/info/refs?service=git-upload-pack",
    "/team/app%2f..%2fother/info/refs?service=git-upload-pack",
    "/team/app/info/refs?service=git-upload-pack&x=1",
    "/team/app/info/refs/../../../other/info/refs?service=git-upload-pack",
    "/team/app/info/refs",
    "/Team/App/info/refs?service=git-upload-pack",
    "//team/app/info/refs?service=git-upload-pack",
    "/team/app//info/refs?service=git-upload-pack",
    "/team/app/./info/refs?service=git-upload-pack",
    "/team/app.git.git/info/refs?service=git-upload-pack",
    "/team/app/info/lfs/objects/batch",
    "/team/app/objects/info/packs",
    "/team/app/HEAD",
    "/team/app",
    "/",
]


async def test_no_spelling_of_another_path_gets_the_token(scene: Scene) -> None:
    anywhere = {"type": "unrestricted"}
    await scene.claim("sesn_paths", networking=anywhere)
    base = f"https://git.example:{scene.server.port}"
    await scene.run("sesn_paths", fetched(base, NOT_THE_REPOSITORY))
    assert [one.target for one in scene.server.asked] == NOT_THE_REPOSITORY
    assert scene.server.used(TOKEN) == []


async def test_methods_and_headers_that_could_mean_something_else_get_no_token(scene: Scene) -> None:
    await scene.claim("sesn_heads", networking={"type": "unrestricted"})
    right = f"https://git.example:{scene.server.port}/team/app/info/refs?service=git-upload-pack"
    commands = [
        f"curl -s -o /dev/null -X POST '{right}'",
        f"curl -s -o /dev/null -X PUT -d x '{right}'",
        *(
            f"curl -s -o /dev/null -H '{header}' '{right}'"
            for header in (
                "X-Original-URL: /team/other", "X-Rewrite-URL: /team/other", "X-Forwarded-Host: evil.example",
                "Forwarded: host=evil.example", "X-HTTP-Method-Override: DELETE", "Authorization: Basic YTpi",
            )
        ),
        f"curl -s -o /dev/null -H 'Connection: upgrade' -H 'Upgrade: h2c' '{right}'",
    ]  # fmt: skip
    await scene.run("sesn_heads", "; ".join(commands))
    assert len(scene.server.asked) == len(commands)
    assert scene.server.used(TOKEN) == []
    assert await scene.code("sesn_heads", f"'{right}'") == "200"
    assert len(scene.server.used(TOKEN)) == 1


@pytest.mark.parametrize(
    "how",
    [
        "-H 'Host: evil.example'",
        "--request-target 'https://git.example/team/app/info/refs?service=git-upload-pack'",
        "--connect-to git.example:{port}:evil.example:{port}",
        "-H 'Transfer-Encoding: chunked' -H 'Content-Length: 3' -d abc",
    ],
)
async def test_a_request_that_can_be_read_in_two_ways_gets_nowhere(scene: Scene, how: str) -> None:
    await scene.claim("sesn_twoways", networking={"type": "unrestricted"})
    url = f"https://git.example:{scene.server.port}/team/app/info/refs?service=git-upload-pack"
    assert await scene.code("sesn_twoways", how.format(port=scene.server.port), f"'{url}'") in ("400", "000")
    assert scene.server.used(TOKEN) == []


async def test_only_the_repository_is_let_through_where_its_host_is_not_allowed(scene: Scene) -> None:
    await scene.claim("sesn_limited")
    base = f"https://git.example:{scene.server.port}"
    assert await scene.code("sesn_limited", "", f"'{base}/team/app/info/refs?service=git-upload-pack'") == "200"
    assert await scene.code("sesn_limited", "", f"'{base}/team/other/info/refs?service=git-upload-pack'") == "403"
    assert await scene.code("sesn_limited", "", f"https://evil.example:{scene.server.port}/") == "000"
    raw = f"exec 3<>/dev/tcp/127.0.0.1/3128; printf 'CONNECT git.example:{scene.server.port} HTTP/1.1\\r\\n\\r\\n' >&3"
    raw += "; sleep 0.3; printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3; timeout 5 cat <&3"
    said = await scene.run("sesn_limited", raw)
    assert said.count("HTTP/1.1") == 1
    assert [one.target for one in scene.server.asked] == ["/team/app/info/refs?service=git-upload-pack"]


async def test_the_api_of_the_repository_takes_the_token_and_no_other_path_of_the_api_does(scene: Scene) -> None:
    scene.server.answers["/"] = lambda asked: (200, {}, b"{}") if asked.headers["host"].startswith("api.") else None
    await scene.claim("sesn_api", networking={"type": "unrestricted"})
    base = f"https://api.example:{scene.server.port}"
    taken = ["/repos/team/app", "/repos/team/app/pulls?state=all&q=a%2Fb", "/repos/team/app/contents/a%20b.txt"]
    others = [
        "/repos/team/other", "/repos/team/app2", "/repos/team/app/../other", "/repos/team/app/..;/other",
        "/repos/team/app/%2e%2e/other", "/repos/team/app/..%2fother", "/repos/team/app%2f..%2fother",
        "/repos/team/app/%252e%252e/other", "/repos/team/app//x", "/repos/team/app/a%5c..%5cother", "/user",
        "/Repos/team/app", "/repos/team/app/a%00b", "/repos/team/app/.%2e/other", "/repos/team/app/a;x=1/b",
    ]  # fmt: skip
    await scene.run("sesn_api", fetched(base, [*taken, *others]))
    assert [one.target for one in scene.server.asked] == [*taken, *others]
    assert scene.server.used(TOKEN) == taken
    assert scene.server.asked[0].headers["authorization"] == f"Bearer {TOKEN}"


async def test_a_redirect_takes_no_token_along(scene: Scene) -> None:
    elsewhere = f"https://evil.example:{scene.server.port}/team/app/info/refs?service=git-upload-pack"
    other = f"https://git.example:{scene.server.port}/team/other/info/refs?service=git-upload-pack"

    def redirect(asked: Asked) -> Any:
        if asked.headers["host"].startswith("evil."):
            return 200, {}, b"thanks"
        return 302, {"location": elsewhere if "x" in asked.headers.get("x-way", "") else other}, b""

    scene.server.answers["/team/app/"] = redirect
    url = await scene.claim("sesn_redirect", networking={"type": "unrestricted"})
    for way in ("x", "y"):
        await scene.run("sesn_redirect", f"curl -skL -H 'X-Way: {way}' '{url}/info/refs?service=git-upload-pack'")
    await scene.run("sesn_redirect", f"git clone -q {url} /tmp/c 2>&1; true")
    shown = [(one.headers["host"].split(".")[0], one.target) for one in scene.server.asked if one.token == TOKEN]
    assert set(shown) == {("git", "/team/app/info/refs?service=git-upload-pack")}
    assert any(one.headers["host"].startswith("evil.") for one in scene.server.asked)


async def test_what_the_host_echoes_of_the_token_is_masked(scene: Scene) -> None:
    def echo(asked: Asked) -> Any:
        shown = asked.headers.get("authorization", "")
        body = f"{shown}\n{asked.token}\n".encode()
        return 200, {"x-you": shown, "set-cookie": f"t={asked.token}"}, body

    scene.server.answers["/team/app/"] = echo
    url = await scene.claim("sesn_echo")
    said = await scene.run("sesn_echo", f"curl -si '{url}/info/refs?service=git-upload-pack'")
    assert scene.server.used(TOKEN)
    assert TOKEN not in said
    assert "eC1hY2Nlc3MtdG9rZW4" not in said
    assert "*" * len(TOKEN) in said


async def test_a_token_is_good_for_the_address_and_session_that_it_was_given_for(scene: Scene) -> None:
    url = await scene.claim("sesn_sealed", sealed="https://git.example/team/other")
    right = f"'{url}/info/refs?service=git-upload-pack'"
    assert await scene.code("sesn_sealed", right) == "502"
    await scene.claim("sesn_owner")
    repository = EgressRepository("sesrsc_1", url, 1)
    assert scene.room.door is not None
    thief = EgressClaim("sesn_thief", 1, "wrkspc_a", NOTHING_ALLOWED, repositories=(repository,))
    scene.room.door.settle(policy(thief, {}, scene.hosts))
    assert await scene.code("sesn_thief", right) == "502"
    foreign = EgressClaim("sesn_owner", 1, "wrkspc_b", NOTHING_ALLOWED, repositories=(repository,))
    scene.room.door.settle(policy(foreign, {}, scene.hosts))
    assert await scene.code("sesn_owner", right) == "502"
    assert scene.server.asked == []


async def test_a_new_token_counts_at_once_and_an_erased_one_never_again(scene: Scene) -> None:
    url = await scene.claim("sesn_rotate", token="old-token-000000")
    right = f"'{url}/info/refs?service=git-upload-pack'"
    assert await scene.code("sesn_rotate", right) == "403"
    secret = {"type": "github_repository", "url": url, "token": TOKEN}
    await scene.store.put(Owner("wrkspc_a", "sesn_rotate", "sesrsc_1", 7), material.pack(secret))
    await scene.store.purge(Owner("wrkspc_a", "sesn_rotate", "sesrsc_1", 1))
    assert await scene.code("sesn_rotate", right) == "200"
    await scene.store.purge(Owner("wrkspc_a", "sesn_rotate", "sesrsc_1", 7))
    assert await scene.code("sesn_rotate", right) == "502"


@pytest.mark.skipif(os.geteuid() != 0, reason="without root, the tests above run as an ordinary user already")
def test_an_ordinary_users_sandboxes_clone_and_push_the_same_way() -> None:
    runner = Path(__file__).with_name("git_as_user.py")
    done = subprocess.run([sys.executable, str(runner)], capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "hello\nx\n"
