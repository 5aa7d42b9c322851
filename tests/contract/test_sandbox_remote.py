"""A sandbox host over mutual TLS keeps the promises of the `Sandboxes` port, while connections and processes die."""

from __future__ import annotations

import asyncio
import signal
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pki import Authority
from remote_host import RemoteHost

from outrider.errors import CallLost, Fenced, SandboxUnavailable
from outrider.links import peers
from outrider.links.frames import Frames
from outrider.links.sandboxes import HostUnreachable, RemoteSandboxes
from outrider.ports.placements import given_up
from outrider.sandbox.placed import PlacedSandboxes
from outrider.testing.memory_placements import MemoryPlacements
from outrider.testing.sandbox_given import SUITE, bring
from outrider.testing.sandbox_memory_suite import MEMORY_SUITE
from outrider.testing.sandbox_suite import Check, Hands, raises, text

pytestmark = pytest.mark.anyio
EVERY = (*SUITE, *MEMORY_SUITE)
LOOP = "echo x >> log; while [ ! -e go ]; do sleep 0.01; done; cat log"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("pki") / "ca")
    made.issue("h1", "sandbox")
    made.issue("me", "harness")
    return made


@pytest.fixture(scope="module")
async def host(anyio_backend: str, authority: Authority) -> AsyncIterator[RemoteHost]:
    host = RemoteHost(authority.identity("h1"))
    host.start()
    yield host
    await host.close()


@asynccontextmanager
async def client(host: RemoteHost, authority: Authority, *, patience: float = 15.0) -> AsyncGenerator[RemoteSandboxes]:
    sandboxes = host.client(authority.identity("me"), "h1", patience=patience)
    try:
        yield sandboxes
    finally:
        await sandboxes.close()


@pytest.mark.parametrize("check", EVERY, ids=lambda check: check.__name__)
async def test_a_remote_host_keeps_the_promise_that(check: Check, host: RemoteHost, authority: Authority) -> None:
    session = f"sesn_{check.__name__}"[:48]
    async with client(host, authority) as sandboxes:
        await check(sandboxes, session)
        await sandboxes.delete(session)


@pytest.mark.parametrize("check", EVERY, ids=lambda check: check.__name__)
async def test_placed_sandboxes_keep_the_promise_that(check: Check, host: RemoteHost, authority: Authority) -> None:
    session = f"sesn_p_{check.__name__}"[:48]

    async with client(host, authority) as remote:
        placed = PlacedSandboxes({"h1": remote}, MemoryPlacements(), shared=False)
        await check(placed, session)
        await placed.delete(session)


async def test_a_call_goes_on_while_its_host_process_is_replaced(host: RemoteHost, authority: Authority) -> None:
    async with client(host, authority) as sandboxes:
        hands = Hands(sandboxes, "sesn_replaced")
        running = asyncio.create_task(hands.outcome("bash", {"command": LOOP}, id="sevt_long"))
        await hands.until("cat log", "x")
        host.kill()
        host.serve()
        await Hands(sandboxes, "sesn_replaced", "other").bash("touch go")
        assert text(await running, is_error=False) == "x"
        await sandboxes.delete("sesn_replaced")


async def test_a_second_harness_attaches_to_the_call_of_one_that_died(host: RemoteHost, authority: Authority) -> None:
    async with client(host, authority) as first, client(host, authority) as second:
        hands = Hands(first, "sesn_taken")
        running = asyncio.create_task(hands.outcome("bash", {"command": LOOP}, id="sevt_long"))
        await hands.until("cat log", "x")
        await first.close()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        other = Hands(second, "sesn_taken", epoch=2)
        attached = asyncio.create_task(other.outcome("bash", {"command": LOOP}, id="sevt_long", resume=True))
        await Hands(second, "sesn_taken", "other", epoch=2).bash("touch go")
        assert text(await attached, is_error=False) == "x"
        await second.delete("sesn_taken")


async def test_a_frozen_host_is_noticed_and_waited_for(host: RemoteHost, authority: Authority) -> None:
    async with client(host, authority) as sandboxes:
        hands = Hands(sandboxes, "sesn_frozen")
        await hands.bash("true")
        host.send(signal.SIGSTOP)
        waiting = asyncio.create_task(hands.bash("echo awake"))
        done, _ = await asyncio.wait({waiting}, timeout=0.5)
        assert not done
        host.send(signal.SIGCONT)
        assert await waiting == "awake"
        await sandboxes.delete("sesn_frozen")


async def test_a_host_that_stays_away_gives_clear_errors_in_bounded_time(authority: Authority) -> None:
    host = RemoteHost(authority.identity("h1"))
    host.start()
    try:
        async with client(host, authority) as patient:
            await patient.probe()  # it serves by now
        async with client(host, authority, patience=1.0) as sandboxes:
            hands = Hands(sandboxes, "sesn_away")
            running = asyncio.create_task(hands.outcome("bash", {"command": LOOP}, id="sevt_begun"))
            await hands.until("cat log", "x")
            host.vanish()
            lost = await raises(CallLost, running)
            assert "Sandbox host h1 has been unreachable for 1 s" in str(lost)
            gone = await raises(HostUnreachable, hands.outcome("bash", {"command": "true"}))
            assert "unreachable" in str(gone)
            await raises(CallLost, hands.outcome("bash", {"command": "true"}, id="sevt_x", resume=True))
    finally:
        await host.close()


@pytest.mark.parametrize("shared", [False, True])
async def test_files_for_a_session_whose_host_is_away_wait_for_it_unless_storage_is_shared(
    host: RemoteHost, authority: Authority, shared: bool
) -> None:
    session, placements = f"sesn_files_{shared}", MemoryPlacements()
    away = RemoteSandboxes(
        "h2", ("127.0.0.1", 1), peers.client_context(authority.identity("me")), patience=0.2
    )  # fmt: skip

    await placements.place(session, "h2")
    async with client(host, authority) as here:
        placed = PlacedSandboxes({"h1": here, "h2": away}, placements, shared=shared)
        if shared:
            assert await bring(placed, session, a=b"x") == ["a"]
            assert await Hands(placed, session).bash("cat /mnt/session/uploads/a") == "x"
        else:
            await raises(HostUnreachable, bring(placed, session, a=b"x"))
        assert await placements.placement(session) == ("h1" if shared else "h2")
        await here.delete(session)
    await away.close()


async def test_files_for_a_session_that_was_taken_off_its_host_come_anew_after_it_was_told(
    host: RemoteHost, authority: Authority
) -> None:
    session, placements = "sesn_files_moved", MemoryPlacements()

    async with client(host, authority) as here:
        placed = PlacedSandboxes({"h1": here}, placements, shared=False)
        assert await bring(placed, session, a=b"x") == ["a"]
        await placements.place(session, given_up("h2"), instead_of="h1")
        told = await raises(SandboxUnavailable, bring(placed, session, a=b"x"))
        assert "sandbox host h2" in str(told)
        assert await bring(placed, session, a=b"x") == ["a"], "what an earlier stay had left is gone"
        assert await Hands(placed, session).bash("cat /mnt/session/uploads/a") == "x"
        await placed.delete(session)


class Outrun(MemoryPlacements):
    """Another server places each session first, on h2."""

    async def place(self, session: str, host: str, *, instead_of: str | None = None) -> str:
        return await super().place(session, "h2", instead_of=instead_of)


async def test_a_place_that_another_server_chose_meanwhile_stays_though_it_is_away(
    host: RemoteHost, authority: Authority
) -> None:
    placements = Outrun()
    away = RemoteSandboxes("h2", ("127.0.0.1", 1), peers.client_context(authority.identity("me")), patience=0.2)
    async with client(host, authority) as here:
        placed = PlacedSandboxes({"h1": here, "h2": away}, placements, shared=False)
        await raises(HostUnreachable, bring(placed, "sesn_outrun", a=b"x"))
        assert await placements.placement("sesn_outrun") == "h2"
        alone = PlacedSandboxes({"h1": here}, placements, shared=False)
        assert "h2" in str(await raises(SandboxUnavailable, bring(alone, "sesn_other", a=b"x")))
    await away.close()


async def refusal(host: RemoteHost, sandboxes: RemoteSandboxes) -> str:
    try:
        with pytest.raises(SandboxUnavailable) as refused:
            await sandboxes.probe()
        assert not isinstance(refused.value, HostUnreachable)
        return refused.value.message
    finally:
        await sandboxes.close()


@pytest.mark.parametrize("role", ["api", "vault", "sandbox"])
async def test_only_a_harness_is_let_in(role: str, host: RemoteHost, authority: Authority) -> None:
    sandboxes = host.client(authority.issue(f"a-{role}", role), "h1")
    said = await refusal(host, sandboxes)
    assert f"for the role {role}; here it must be harness" in said


@pytest.mark.parametrize("role", ["api", "vault", "harness"])
async def test_nobody_but_a_sandbox_host_is_taken_for_one(role: str, authority: Authority) -> None:
    host = RemoteHost(authority.issue(f"false-{role}", role))
    host.start()
    try:
        said = await refusal(host, host.client(authority.identity("me"), f"false-{role}"))
        assert f"for the role {role}; here it must be sandbox" in said
    finally:
        await host.close()


async def test_a_host_of_another_name_is_refused(host: RemoteHost, authority: Authority) -> None:
    said = await refusal(host, host.client(authority.identity("me"), "h2"))
    assert "is called h1" in said


async def test_another_deployments_certificate_is_refused_on_both_sides(
    host: RemoteHost, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path / "other").issue("me", "harness")
    said = await refusal(host, host.client(stranger, "h1"))
    assert "its certificate is not accepted here" in said
    mixed = peers.Identity(authority.identity("me").ca, stranger.cert, stranger.key)
    said = await refusal(host, host.client(mixed, "h1"))
    assert "it does not accept our certificate: unknown ca" in said


async def test_an_expired_certificate_is_refused(host: RemoteHost, authority: Authority) -> None:
    expired = expired_identity(authority)
    said = await refusal(host, host.client(expired, "h1"))
    assert "it does not accept our certificate: certificate expired" in said


async def test_no_certificate_is_refused(host: RemoteHost, authority: Authority) -> None:
    context = ssl.create_default_context(cadata=authority.identity("me").ca)
    reader, writer = await asyncio.open_connection(*host.address, ssl=context, server_hostname="127.0.0.1")
    try:
        with pytest.raises(ssl.SSLError, match="CERTIFICATE_REQUIRED"):
            async with asyncio.timeout(10):
                await reader.read()
    finally:
        writer.transport.abort()


async def test_plain_text_is_refused(host: RemoteHost) -> None:
    reader, writer = await asyncio.open_connection(*host.address)
    writer.write(b'{"id":1,"op":"probe"}\n')
    async with asyncio.timeout(10):
        assert b"isolation" not in await reader.read()
    writer.close()


async def test_tls_before_1_3_is_refused(host: RemoteHost, authority: Authority) -> None:
    context = peers.client_context(authority.identity("me"))
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises(ssl.SSLError):
        await asyncio.open_connection(*host.address, ssl=context, server_hostname="127.0.0.1")


def expired_identity(authority: Authority) -> peers.Identity:
    """One whose last day was yesterday, signed as `outrider tls issue` signs."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization

    now = datetime.now(UTC)
    good = authority.identity("me")
    found = x509.load_pem_x509_certificate(good.cert.encode())
    made = x509.CertificateBuilder().subject_name(found.subject).issuer_name(found.issuer)
    made = made.public_key(found.public_key()).serial_number(x509.random_serial_number())
    made = made.not_valid_before(now - timedelta(days=3)).not_valid_after(now - timedelta(days=1))
    for extension in found.extensions:
        made = made.add_extension(extension.value, critical=extension.critical)
    signer = serialization.load_pem_private_key((authority.place / "ca.key").read_bytes(), None)
    signed = made.sign(signer, hashes.SHA256())  # pyright: ignore[reportArgumentType]
    return peers.Identity(good.ca, signed.public_bytes(serialization.Encoding.PEM).decode(), good.key)


@pytest.fixture(scope="module")
async def leasing(anyio_backend: str, authority: Authority) -> AsyncIterator[RemoteHost]:
    host = RemoteHost(authority.identity("h1"), lease=5.0)
    host.start()
    yield host
    await host.close()


async def test_a_sandbox_on_lease_ends_when_nobody_keeps_it(leasing: RemoteHost, authority: Authority) -> None:
    async with client(leasing, authority) as sandboxes:
        hands = Hands(sandboxes, "sesn_unkept")
        given = {"command": "echo begun; sleep 1000"}
        said = text(await hands.outcome("bash", given, id="sevt_unkept"), is_error=True)
        assert "lost touch with whoever owns the session; it may have partly run" in said
        again = Hands(sandboxes, "sesn_unkept", epoch=2)
        assert text(await again.outcome("bash", given, id="sevt_unkept", resume=True), is_error=True) == said
        assert await again.bash("pgrep -fc 'sleep 1000' || true") == "0"
        await sandboxes.delete("sesn_unkept")


async def test_a_sandbox_on_lease_lives_for_as_long_as_it_is_kept(leasing: RemoteHost, authority: Authority) -> None:
    async with client(leasing, authority) as sandboxes:
        hands = Hands(sandboxes, "sesn_kept")
        running = asyncio.create_task(hands.bash("sleep 7; echo lived"))
        while not (await asyncio.wait({running}, timeout=0.5))[0]:
            await sandboxes.keep(["sesn_kept"])
        assert await running == "lived"
        await sandboxes.delete("sesn_kept")


async def test_whoever_owns_nothing_any_more_starts_nothing_on_lease(leasing: RemoteHost, authority: Authority) -> None:
    async def not_ours() -> bool:
        return False

    sandboxes = leasing.client(authority.identity("me"), "h1", still_ours=not_ours)
    await raises(Fenced, Hands(sandboxes, "sesn_not_ours").outcome("bash", {"command": "touch ran"}))
    assert "sesn_not_ours" not in await sandboxes.stored()
    await sandboxes.close()


async def test_a_request_that_was_long_on_its_way_starts_nothing(leasing: RemoteHost, authority: Authority) -> None:
    peer, reader, writer = await peers.dial(*leasing.address, peers.client_context(authority.identity("me")), "sandbox")
    assert peer.name == "h1"
    frames = Frames(reader, writer)
    try:
        received = frames.received()
        hello = await anext(received)
        call = {"id": "sevt_late", "thread": "t", "name": "bash", "input": {"command": "touch ran"}}
        late = {"op": "execute", "session": "sesn_late", "call": call, "epoch": 1, "resume": False}
        await frames.send({"id": 1, **late, "beat": hello["beat"] - 6.0})
        async with asyncio.timeout(10):
            answer = await anext(frame async for frame in received if frame.get("id") == 1)
        assert (answer["error"], answer["message"]) == (
            "unavailable",
            "The request was too long on its way to its sandbox host.",
        )
    finally:
        frames.close()


async def test_too_little_patience_for_a_hosts_lease_is_refused(leasing: RemoteHost, authority: Authority) -> None:
    said = await refusal(leasing, leasing.client(authority.identity("me"), "h1", patience=6.0))
    assert "its lease is 5 s: sandbox.host_patience must be 2 s longer at least" in said


async def test_a_request_that_a_host_fails_on_is_answered(host: RemoteHost, authority: Authority) -> None:
    _, reader, writer = await peers.dial(*host.address, peers.client_context(authority.identity("me")), "sandbox")
    frames = Frames(reader, writer)
    try:
        received = frames.received()
        hello = await anext(received)
        await frames.send({"id": 1, "op": "execute", "session": "sesn_bad", "beat": hello["beat"]})  # without its call
        await frames.send({"id": 2, "op": "outputs", "session": "sesn_bad", "beat": hello["beat"]})  # of no epoch
        async with asyncio.timeout(10):
            answers = {(one := await anext(f async for f in received if "id" in f))["id"]: one for _ in range(2)}
        assert [answers[number]["error"] for number in (1, 2)] == ["lost", "unavailable"]
        assert "internal error" in answers[1]["message"]
    finally:
        frames.close()
