"""Capabilities: what they are good for, when they end; by themselves and through the vault's socket."""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from asyncio import StreamWriter
from pathlib import Path

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from vault_process import Seen, endpoint, response, running_upstream, running_vault

from outrider.clock import ManualClock
from outrider.endpoints import CAPABILITY_HEADER, ENDPOINT_HEADER
from outrider.errors import AuthenticationFailed, Conflict, Fenced, InvalidRequest, ModelFailure, PermissionDenied
from outrider.links.refusals import REFUSAL_HEADER
from outrider.links.vault import BASE_URL, VaultLink
from outrider.vault.capabilities import LIFETIME, Capabilities
from outrider.vault.epochs import FILE, Epochs
from outrider.vault.keyring import Keyring

DEADLINE = 20.0
NOWHERE = endpoint("far", "http://127.0.0.1:9")


def capabilities(clock: ManualClock, key: bytes = b"k" * 32) -> Capabilities:
    return Capabilities(key, clock.monotonic, frozenset({"far", "near"}))


def test_a_capability_is_good_for_its_upstreams_until_it_expires() -> None:
    clock = ManualClock()
    vault = capabilities(clock)
    token = vault.mint("sesn_1", 3, ("far",))
    clock.advance(LIFETIME - 0.01)
    assert vault.check(token, "far").session == "sesn_1"
    with pytest.raises(PermissionDenied):
        vault.check(token, "near")
    clock.advance(0.01)
    with pytest.raises(AuthenticationFailed):
        vault.check(token, "far")


def test_an_unknown_upstream_gets_no_capability() -> None:
    with pytest.raises(PermissionDenied):
        capabilities(ManualClock()).mint("sesn_1", 1, ("far", "elsewhere"))


def test_a_newer_epoch_ends_the_older_ones_requests_and_capabilities_of_that_session_only() -> None:
    vault = capabilities(ManualClock())
    old, other = vault.mint("sesn_1", 1, ("far",)), vault.mint("sesn_2", 1, ("far",))
    new = vault.mint("sesn_1", 2, ("far",))
    with pytest.raises(Conflict):
        vault.check(old, "far")
    with pytest.raises(Conflict):
        vault.mint("sesn_1", 1, ("far",))
    assert vault.check(new, "far").epoch == 2
    assert vault.check(other, "far").session == "sesn_2"


def test_a_capability_of_another_vault_process_is_unknown() -> None:
    clock = ManualClock()
    token = capabilities(clock, b"a" * 32).mint("sesn_1", 1, ("far",))
    with pytest.raises(AuthenticationFailed):
        capabilities(clock, b"b" * 32).check(token, "far")


@given(st.integers(min_value=0, max_value=150), st.integers(min_value=1, max_value=255))
def test_a_capability_with_any_byte_changed_is_refused(position: int, change: int) -> None:
    vault = capabilities(ManualClock())
    raw = bytearray(base64.urlsafe_b64decode(vault.mint("sesn_1", 1, ("far",))))
    raw[position % len(raw)] ^= change
    with pytest.raises(AuthenticationFailed):
        vault.check(base64.urlsafe_b64encode(raw).decode(), "far")


@given(st.text())
def test_what_is_no_capability_is_refused(token: str) -> None:
    with pytest.raises(AuthenticationFailed):
        capabilities(ManualClock()).check(token, "far")


def test_the_memory_for_epochs_is_bounded_and_forgets_what_was_used_longest_ago() -> None:
    epochs = Epochs(remembered=2)
    assert all(epochs.see(session, 5) for session in ("a", "b", "a", "c"))
    assert not epochs.see("a", 4)
    assert epochs.see("b", 4)


def test_a_restarted_vault_still_knows_the_highest_epoch_and_skips_a_torn_line(tmp_path: Path) -> None:
    epochs = Epochs(tmp_path, remembered=10)
    for round in range(1, 30):
        assert epochs.see("sesn_1", round)
    assert epochs.see("sesn_2", 7)
    assert len((tmp_path / FILE).read_bytes().splitlines()) <= 21, "it is written anew now and then"
    with (tmp_path / FILE).open("ab") as file:
        file.write(b"sesn_2 9 \xff\nsesn_")
    again = Epochs(tmp_path)  # the first one may have been killed: it was not closed
    assert not again.see("sesn_1", 28)
    assert again.see("sesn_1", 29)
    assert not again.see("sesn_2", 6)
    assert again.see("sesn_2", 7)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    again.close()
    epochs.close()


@pytest.mark.anyio
async def test_a_fenced_owner_stays_fenced_when_the_vault_was_killed() -> None:
    with running_vault(NOWHERE) as vault:
        async with vault.link() as link:
            await link.capability("sesn_1", 2, "far")
            vault.kill()
            vault.start()
            with pytest.raises(Fenced):
                await link.capability("sesn_1", 1, "far")


@pytest.mark.anyio
async def test_what_is_no_sessions_id_gets_no_capability() -> None:
    with running_vault(NOWHERE) as vault:
        async with vault.link() as link:
            with pytest.raises(InvalidRequest):
                await link.capability("sesn_1 5\nsesn_2", 1, "far")


def test_a_keyring_does_not_show_what_it_holds() -> None:
    keyring = Keyring({"env:KEY": "secret-value"})
    assert "secret-value" not in repr(keyring) + str(keyring) + f"{keyring!r}"
    assert keyring.reveal("env:KEY") == "secret-value"


@pytest.mark.anyio
async def test_the_link_asks_again_only_at_half_of_a_capabilitys_life() -> None:
    clock = ManualClock()
    with running_vault(NOWHERE) as vault:
        async with VaultLink(vault.path, clock.monotonic) as link:
            first = await link.capability("sesn_1", 1, "far")
            clock.advance(LIFETIME / 2 - 0.01)
            assert await link.capability("sesn_1", 1, "far") == first
            clock.advance(0.01)
            assert await link.capability("sesn_1", 1, "far") != first


@pytest.mark.anyio
async def test_the_link_learns_that_it_is_fenced_and_that_an_endpoint_is_unknown() -> None:
    with running_vault(NOWHERE) as vault:
        async with vault.link() as link:
            await link.capability("sesn_1", 2, "far")
            with pytest.raises(Fenced):
                await link.capability("sesn_1", 1, "far")
            with pytest.raises(InvalidRequest):
                await link.capability("sesn_1", 2, "elsewhere")


@pytest.mark.anyio
async def test_without_a_vault_the_link_fails_in_a_way_worth_a_retry() -> None:
    with running_vault(NOWHERE) as vault:
        path = vault.path
    async with VaultLink(path) as link:
        with pytest.raises(ModelFailure) as failure:
            await link.capability("sesn_1", 1, "far")
        assert failure.value.retryable


@pytest.mark.anyio
async def test_a_capability_that_a_new_vault_does_not_know_is_renewed_unseen() -> None:
    async def say_ok(_: Seen, writer: StreamWriter) -> None:
        writer.write(response(b"ok"))

    async with running_upstream(say_ok) as upstream:
        with running_vault(endpoint("far", upstream.url)) as vault:
            async with vault.link() as link:
                headers = {ENDPOINT_HEADER: "far", CAPABILITY_HEADER: await link.capability("sesn_1", 1, "far")}
                vault.kill()
                vault.start()
                async with httpx2.AsyncClient(
                    transport=link.transport(), base_url=BASE_URL, timeout=DEADLINE
                ) as client:
                    answer = await client.post("/v1/messages", content=b"{}", headers=headers)
        assert (answer.status_code, answer.text) == (200, "ok")
        assert len(upstream.seen) == 1


@pytest.mark.anyio
async def test_requests_without_a_good_capability_never_leave_the_vault() -> None:
    async def fail(seen: Seen, _: StreamWriter) -> None:
        pytest.fail(f"{seen.line} got out")

    async with running_upstream(fail) as upstream:
        with running_vault(endpoint("far", upstream.url), endpoint("near", upstream.url)) as vault:
            async with vault.link() as link, vault.client() as client:
                near, old = [await link.capability("sesn_1", 1, name) for name in ("near", "far")]
                await link.capability("sesn_1", 2, "far")
                found = {
                    token: await client.post("/model/far/v1/messages", headers={CAPABILITY_HEADER: token})
                    for token in ("", "nonsense", near, old)
                }
    refusals = [(answer.status_code, answer.headers[REFUSAL_HEADER]) for answer in found.values()]
    assert refusals == [(401, "capability"), (401, "capability"), (403, "other"), (409, "epoch")]
    assert upstream.seen == []


@pytest.mark.anyio
@pytest.mark.parametrize("body", [b"", b"[]", b'{"session":1,"epoch":1,"upstreams":[]}', b"{" + b" " * 70_000])
async def test_a_malformed_ask_for_a_capability_is_a_clear_4xx(body: bytes) -> None:
    with running_vault(NOWHERE) as vault:
        async with vault.client() as client:
            answer = await client.post("/capabilities", content=body)
            assert answer.status_code in (400, 413)
            assert answer.json()["type"] == "error"
            assert (await client.get("/healthz")).json() == {"status": "ok"}


def test_a_process_of_another_user_is_hung_up_on() -> None:
    with running_vault(NOWHERE, peer=61_000) as vault:
        if os.geteuid() == 0:
            vault.path.parent.chmod(0o711)
            vault.path.chmod(0o666)
        program = (
            "import os, socket, sys\n"
            "if os.geteuid() == 0: os.setuid(61078)\n"
            "s = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(sys.argv[1])\n"
            "try:\n    s.sendall(b'GET /healthz HTTP/1.1\\r\\nhost: v\\r\\n\\r\\n'); print(s.recv(100))\n"
            "except (BrokenPipeError, ConnectionResetError): print(b'')\n"
        )
        command = [sys.executable, "-S", "-E", "-c", program, str(vault.path)]
        said = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=True)
        assert said.stdout.strip() == "b''"


def test_the_sockets_file_is_its_owners_alone() -> None:
    with running_vault(NOWHERE) as vault:
        assert vault.path.stat().st_mode & 0o777 == 0o600
        assert isinstance(vault.listener, socket.socket)
