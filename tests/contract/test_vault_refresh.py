"""OAuth refresh in the vault: once for all who ask, rotated tokens kept, failures told."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from conformance.oauth_scene import Scene, running_scene
from conformance.requirements import requirement
from outrider.clock import ManualClock, SystemClock, rfc3339
from outrider.networks import allowance
from outrider.proxy.credentials import DOUBTED_FOR, REFUSED_FOR, Credentials, Who
from outrider.proxy.outside import Outside
from outrider.vault import material
from outrider.vault.audit import Audit
from outrider.vault.envelope import Owner
from outrider.vault.keys import KeySources
from outrider.vault.secrets import SecretStore

pytestmark = pytest.mark.anyio
OWNER = Owner("wrkspc_a", "vlt_1", "vcrd_1", 1)
SESSIONS = [Who(f"sesn_{number}", 1) for number in range(20)]


@pytest.fixture
def scene() -> Generator[Scene]:
    with running_scene() as scene:
        yield scene


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def credentials(tmp_path: Path, clock: ManualClock) -> Generator[Credentials]:
    store = SecretStore.open(tmp_path, KeySources(tmp_path / "key"))
    audit = Audit(tmp_path, SystemClock())
    outside = Outside(ssl.create_default_context(), [allowance("127.0.0.1")])
    yield Credentials(store, audit, outside, clock)
    audit.close()
    store.close()


async def keep(credentials: Credentials, scene: Scene, *, age: float, method: Any = None) -> None:
    """A credential whose access token expired `age` seconds ago."""
    refresh = {
        "refresh_token": scene.refresh,
        "client_id": "client",
        "token_endpoint": f"{scene.url}/token",
        "token_endpoint_auth": method or {"type": "none"},
        "scope": None,
        "resource": "https://mcp.example.com",
    }
    expires = rfc3339(datetime.now(UTC) - timedelta(seconds=age))
    secret = {"type": "mcp_oauth", "mcp_server_url": scene.url, "access_token": "old", "expires_at": expires}
    await credentials.store.put(OWNER, material.pack({**secret, "refresh": refresh}))


async def test_twenty_sessions_spend_one_rotating_refresh_token_once(credentials: Credentials, scene: Scene) -> None:
    await keep(credentials, scene, age=1)
    found = await asyncio.gather(*(credentials.token(OWNER, who) for who in SESSIONS))
    assert {one["access_token"] for one in found} == {scene.access}
    assert len(scene.refreshes) == 1
    assert scene.refreshes[0]["resource"] == "https://mcp.example.com"
    assert "client_secret" not in scene.refreshes[0]


async def test_a_rotating_token_lasts_over_many_lifetimes(credentials: Credentials, scene: Scene) -> None:
    scene.lifetime = 1  # less than the margin before an expiry: each use refreshes
    await keep(credentials, scene, age=1)
    for _ in range(5):
        found = await asyncio.gather(*(credentials.token(OWNER, who) for who in SESSIONS))
        assert found[-1]["access_token"] == scene.access
    assert [form["refresh_token"] for form in scene.refreshes] == [
        f"refresh-{number}" for number in range(1, len(scene.refreshes) + 1)
    ]
    stored = await credentials.open(OWNER)
    assert stored["refresh"]["refresh_token"] == scene.refresh


async def test_a_token_that_still_lasts_is_left_alone(credentials: Credentials, scene: Scene) -> None:
    await keep(credentials, scene, age=-600)
    assert (await credentials.token(OWNER, SESSIONS[0]))["access_token"] == "old"
    assert scene.refreshes == []


async def test_a_refused_grant_is_told_and_a_server_in_trouble_is_not(credentials: Credentials, scene: Scene) -> None:
    await keep(credentials, scene, age=1)
    scene.token_status = 503
    assert (await credentials.token(OWNER, SESSIONS[0]))["access_token"] == "old"
    assert credentials.store.notices(9) == []
    scene.token_status, scene.refresh = 200, "another"
    assert (await credentials.token(OWNER, SESSIONS[0]))["access_token"] == "old"
    assert [row[5] for row in credentials.store.notices(9)] == ["refresh_failed"]


@requirement("credentials:refresh:refused-once")
async def test_a_dead_grant_is_asked_about_once_and_told_once_whoever_needs_it(
    credentials: Credentials, scene: Scene
) -> None:
    await keep(credentials, scene, age=1)
    scene.refresh = "another"
    found = await asyncio.gather(*(credentials.token(OWNER, who) for who in SESSIONS * 2))
    assert {one["access_token"] for one in found} == {"old"}
    assert await credentials.renew(OWNER, SESSIONS[0], "old") == (found[0], None)
    assert len(scene.refreshes) == 1
    assert [row[5] for row in credentials.store.notices(9)] == ["refresh_failed"]


@pytest.mark.parametrize("changed", ["refresh_token", "client_secret"])
async def test_a_refused_grant_is_asked_about_again_once_its_secrets_have_changed(
    credentials: Credentials, scene: Scene, changed: str
) -> None:
    secret = {"type": "client_secret_post", "client_secret": "wrong"}
    await keep(credentials, scene, age=1, method=secret)
    good, scene.refresh = scene.refresh, "another"
    await credentials.token(OWNER, SESSIONS[0])
    scene.refresh = "new" if changed == "refresh_token" else good
    found = material.merged(await credentials.open(OWNER), {"refresh": {changed: "new"}})
    await credentials.store.put(OWNER, material.pack(found))
    assert (await credentials.token(OWNER, SESSIONS[0]))["access_token"] == scene.access
    assert len(scene.refreshes) == 2


async def test_a_refused_grant_is_asked_about_again_by_a_validation_and_after_a_while(
    credentials: Credentials, scene: Scene, clock: ManualClock
) -> None:
    await keep(credentials, scene, age=1)
    good, scene.refresh = scene.refresh, "another"
    await credentials.token(OWNER, SESSIONS[0])
    _, came = await credentials.renew(OWNER, Who(), "old", again=True)
    assert came is not None
    assert (came.outcome, len(scene.refreshes)) == ("refused", 2)
    clock.advance(REFUSED_FOR + 1)
    await credentials.token(OWNER, SESSIONS[0])
    assert len(scene.refreshes) == 3
    assert len(credentials.store.notices(9)) == 1
    scene.refresh = good
    await credentials.renew(OWNER, Who(), "old", again=True)
    assert (await credentials.token(OWNER, SESSIONS[0]))["access_token"] == scene.access


async def test_a_refusal_in_other_words_than_oauths_is_doubted_soon(
    credentials: Credentials, scene: Scene, clock: ManualClock
) -> None:
    await keep(credentials, scene, age=1)
    scene.token_status = 404  # something on the way, during a deploy
    await credentials.token(OWNER, SESSIONS[0])
    await credentials.token(OWNER, SESSIONS[0])
    assert len(scene.refreshes) == 1
    scene.token_status = 200
    clock.advance(DOUBTED_FOR + 1)
    assert (await credentials.token(OWNER, SESSIONS[0]))["access_token"] == scene.access


@pytest.mark.parametrize("lifetime", ["9" * 5000, "-1", "x", True, -1, 10**12, None])
async def test_a_new_token_is_kept_whatever_the_answer_says_of_its_lifetime(
    credentials: Credentials, scene: Scene, lifetime: Any
) -> None:
    scene.lifetime = lifetime
    await keep(credentials, scene, age=1)
    found = await credentials.token(OWNER, SESSIONS[0])
    assert (found["access_token"], found["expires_at"]) == (scene.access, None)


async def test_a_client_secret_goes_by_basic_authentication_when_that_is_asked(
    credentials: Credentials, scene: Scene
) -> None:
    await keep(credentials, scene, age=1, method={"type": "client_secret_basic", "client_secret": "s:cret"})
    await credentials.token(OWNER, SESSIONS[0])
    assert "client_secret" not in scene.refreshes[0]
    assert scene.basic == ["Basic Y2xpZW50OnMlM0FjcmV0"]


async def test_a_redirect_of_the_token_endpoint_is_not_followed(credentials: Credentials, scene: Scene) -> None:
    with running_scene() as elsewhere:
        scene.location = f"{elsewhere.url}/token"
        scene.token_status = 307
        await keep(credentials, scene, age=1)
        assert (await credentials.token(OWNER, SESSIONS[0]))["access_token"] == "old"
    assert len(scene.refreshes) == 1
    assert elsewhere.refreshes == []
