"""What a session has declared is all that is done in its name, whoever asks; and who may declare."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from vault_process import Vault, running_vault

from outrider.errors import Conflict, Internal, InvalidRequest, NotDeclared, SecretsLocked
from outrider.links.declarations import DeclarationsLink
from outrider.links.secrets import SecretsLink
from outrider.ports.declarations import Declaration, DeclaredRepository, DeclaredServer
from outrider.ports.egress import EgressClaim, EgressCredential, EgressRepository
from outrider.ports.log import SessionKey
from outrider.ports.repositories import Reading, ReadRequest
from outrider.ports.vaults import SecretRef
from outrider.proxy.declared import Declared
from outrider.proxy.entrance import may
from outrider.vault.declarations import Declarations
from outrider.vault.keys import KeySources
from outrider.vault.secrets import DECLARED, FILE, SecretStore

pytestmark = pytest.mark.anyio
UNRESTRICTED: dict[str, Any] = {"type": "unrestricted"}
LIMITED: dict[str, Any] = {"type": "limited", "allowed_hosts": ["a.example"], "allow_mcp_servers": True}
SAID = Declaration(
    workspace="wrkspc_a",
    session="sesn_1",
    vaults=("vlt_1", "vlt_2"),
    servers=(DeclaredServer("tickets", "https://mcp.example/mcp"),),
    repositories=(DeclaredRepository("sesrsc_1", "https://git.example/a/b"),),
    networking=LIMITED,
)
KEY = SessionKey("wrkspc_a", "sesn_1")


def opened(place: Path) -> SecretStore:
    return SecretStore.open(place, KeySources(place / "key"))


def variable(workspace: str, vault: str) -> EgressCredential:
    return EgressCredential("TOKEN", workspace, vault, "vcrd_1", 1, UNRESTRICTED, True, True)


async def test_what_was_declared_is_known_after_a_restart_and_to_its_session_alone(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store:
        await Declarations(store).declare(SAID)
    with closing(opened(tmp_path)) as store:
        held = Declarations(store)
        assert await held.of(KEY) == SAID
        for other in (SessionKey("wrkspc_b", "sesn_1"), SessionKey("wrkspc_a", "sesn_2")):
            with pytest.raises(NotDeclared):
                await held.of(other)
        assert held.all() == [KEY]
        assert store.refs() == [], "it is no credential's secret, so nobody sweeps it as one"


async def test_nothing_is_added_to_a_declaration_but_other_mcp_servers(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store:
        held = Declarations(store)
        await held.declare(SAID)
        larger = (
            replace(SAID, vaults=("vlt_1", "vlt_2", "vlt_3")),
            replace(SAID, repositories=()),
            replace(SAID, networking=UNRESTRICTED),
        )
        for wrong in larger:
            with pytest.raises(Conflict):
                await held.declare(wrong)
        changed = replace(SAID, servers=(DeclaredServer("other", "https://o.example"),))
        await held.declare(changed)
        assert await held.of(KEY) == changed


async def test_a_declaration_that_is_moved_to_another_session_does_not_open(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store:
        await Declarations(store).declare(SAID)
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute("UPDATE secrets SET credential = 'sesn_2' WHERE vault = ?", (DECLARED,))
    with closing(opened(tmp_path)) as store:
        with pytest.raises(SecretsLocked):
            await Declarations(store).of(SessionKey("wrkspc_a", "sesn_2"))


async def test_a_claim_reaches_what_the_session_declared_and_not_what_the_claim_says(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store:
        declared = Declared(Declarations(store))
        await declared.held.declare(SAID)
        claim = EgressClaim("sesn_1", 3, "wrkspc_a", UNRESTRICTED, ("evil.example",), (variable("wrkspc_a", "vlt_2"),))
        bounded = await declared.bounded(claim)
        assert bounded == replace(claim, networking=LIMITED, mcp_hosts=("mcp.example",))
        wrong = (
            replace(claim, credentials=(variable("wrkspc_a", "vlt_3"),)),
            replace(claim, credentials=(variable("wrkspc_b", "vlt_1"),)),
            replace(claim, workspace="wrkspc_b"),
            replace(claim, session="sesn_2"),
            EgressClaim("sesn_2", 1, "wrkspc_a", UNRESTRICTED, ("mcp.example",)),
        )
        for one in wrong:
            with pytest.raises(NotDeclared):
                await declared.bounded(one)
        plain = EgressClaim("sesn_2", 1, "wrkspc_a", UNRESTRICTED)
        assert await declared.bounded(plain) == plain, "who declares nothing uses nothing but the network"


async def test_a_repository_is_the_one_that_the_session_declared_at_its_address(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store:
        declared = Declared(Declarations(store))
        await declared.held.declare(SAID)
        own = EgressRepository("sesrsc_1", "https://git.example/a/b", 1)
        claim = EgressClaim("sesn_1", 3, "wrkspc_a", LIMITED, repositories=(own,))
        assert (await declared.bounded(claim)).repositories == (own,)
        for other in (replace(own, resource="sesrsc_2"), replace(own, url="https://git.example/a/c")):
            with pytest.raises(NotDeclared):
                await declared.bounded(replace(claim, repositories=(other,)))
        with pytest.raises(NotDeclared):
            await declared.bounded(replace(claim, session="sesn_2"))


async def test_a_repository_is_read_only_where_the_session_declared_it(tmp_path: Path) -> None:
    mine = EgressRepository("sesrsc_1", "https://git.example/a/b", 1)
    looks: list[ReadRequest] = []

    async def look(request: ReadRequest) -> Reading:
        looks.append(request)
        return Reading()

    with closing(opened(tmp_path)) as store:
        declared = Declared(Declarations(store))
        await declared.held.declare(SAID)
        read = declared.reading(look)
        await read(ReadRequest("sesn_1", 1, "wrkspc_a", mine, None))
        for other in (replace(mine, url="https://git.example/a/c"), replace(mine, resource="sesrsc_2")):
            with pytest.raises(NotDeclared):
                await read(ReadRequest("sesn_1", 1, "wrkspc_a", other, None))
        with pytest.raises(NotDeclared):
            await read(ReadRequest("sesn_2", 1, "wrkspc_a", mine, None))
    assert len(looks) == 1


async def test_a_server_or_repository_is_found_by_the_name_that_the_session_gave_it() -> None:
    assert SAID.server("tickets").url == "https://mcp.example/mcp"
    assert SAID.repository("sesrsc_1").url == "https://git.example/a/b"
    for ask in (SAID.server, SAID.repository):
        with pytest.raises(NotDeclared):
            ask("elsewhere")


async def test_a_withdrawn_declaration_is_gone_from_memory_and_file(tmp_path: Path) -> None:
    with closing(opened(tmp_path)) as store:
        held = Declarations(store)
        await held.declare(SAID)
        await held.withdraw(KEY)
        await held.withdraw(KEY)
        with pytest.raises(NotDeclared):
            await held.of(KEY)
        assert held.all() == []


@pytest.mark.parametrize(
    ("path", "api", "harness"),
    [
        ("/healthz", True, True),
        ("/secrets/put", True, False),
        ("/secrets/patch", True, False),
        ("/secrets/validate", True, False),
        ("/sessions/declare", True, False),
        ("/secrets/held", True, True),
        ("/sessions/withdraw", True, True),
        ("/capabilities", False, True),
        ("/egress", False, True),
        ("/model/far/v1/messages", False, True),
    ],
)
async def test_each_role_may_ask_for_its_own(path: str, api: bool, harness: bool) -> None:
    assert may({"api"}, path) is api
    assert may({"harness"}, path) is harness
    assert may({"api", "harness"}, path)
    assert may({"sandbox"}, path) is (path == "/healthz")


async def declares(vault: Vault) -> None:
    async with vault.link() as link:
        await DeclarationsLink(link.asks()).declare(SAID)


async def test_a_harness_by_itself_can_declare_nothing_and_put_nothing_in() -> None:
    with running_vault(roles=("harness", "vault")) as vault:
        with pytest.raises(Internal, match="403"):
            await declares(vault)
        async with vault.link() as link:
            with pytest.raises(Internal, match="403"):
                await SecretsLink(link.asks()).put(SecretRef("wrkspc_a", "vlt_1", "vcrd_1", 1), {"token": "t"})
            assert await DeclarationsLink(link.asks()).declared() == set()


async def test_over_the_socket_a_declaration_is_kept_listed_and_withdrawn() -> None:
    with running_vault() as vault:
        await declares(vault)
        async with vault.link() as link:
            asks = DeclarationsLink(link.asks())
            assert await asks.declared() == {KEY}
            with pytest.raises(Conflict):
                await asks.declare(replace(SAID, vaults=()))
            await asks.withdraw(KEY)
            assert await asks.declared() == set()


async def test_nobody_puts_a_declaration_in_as_a_secret() -> None:
    with running_vault() as vault:
        async with vault.link() as link:
            with pytest.raises(InvalidRequest):
                await SecretsLink(link.asks()).put(SecretRef("wrkspc_a", DECLARED, "sesn_1", 1), {"vaults": ["vlt_9"]})
