"""Webhooks as they leave the vault: signed with the endpoint's secret, to judged addresses only, resolved once."""

from __future__ import annotations

import json
import ssl
from collections.abc import Generator
from pathlib import Path

import pytest
from standardwebhooks import Webhook
from webhook_receiver import Receiver

from conformance.requirements import requirement
from outrider.clock import SystemClock
from outrider.config import WebhookSettings
from outrider.errors import InvalidRequest, NotFound
from outrider.networks import allowance
from outrider.ports.webhooks import Sent
from outrider.proxy.credentials import Credentials
from outrider.proxy.outside import Outside
from outrider.proxy.webhooks import PRIVATE, REDIRECT, Webhooks
from outrider.resources.webhooks import new_signing_secret
from outrider.vault import material
from outrider.vault.audit import Audit
from outrider.vault.envelope import Owner
from outrider.vault.keys import KeySources
from outrider.vault.secrets import SecretStore

pytestmark = pytest.mark.anyio
OWNER = Owner("wrkspc_a", "webhooks", "whk_1", 1)
PAYLOAD = '{"type":"event"}'
SECRET = new_signing_secret()


@pytest.fixture(scope="module")
def receiver() -> Generator[Receiver]:
    with Receiver().open() as receiver:
        yield receiver


class Scene:
    """A vault's sender. Every name leads to `addresses`."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.store = SecretStore.open(place, KeySources(place / "key"))
        self.audit = Audit(place, SystemClock())
        self.addresses = ["127.0.0.1"]
        self.asked: list[str] = []

    def webhooks(self, *allowed: str, timeout: float = 10.0) -> Webhooks:
        context, clock = ssl.create_default_context(), SystemClock()
        credentials = Credentials(self.store, self.audit, Outside(context), clock)
        settings = WebhookSettings(tuple(allowance(one) for one in allowed), timeout=timeout)
        return Webhooks(credentials, context, settings, clock, self._resolve)

    async def _resolve(self, name: str, _port: int) -> list[str]:
        self.asked.append(name)
        return self.addresses

    async def send(self, url: str, *allowed: str) -> Sent:
        await self.store.put(OWNER, material.pack({"type": "webhook", "url": url, "signing_secret": SECRET}))
        return await self.webhooks(*allowed).send(OWNER, "whe_1", PAYLOAD)


@pytest.fixture
def scene(tmp_path: Path) -> Generator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.audit.close()
    scene.store.close()


@requirement("webhooks:signature")
async def test_a_webhook_carries_what_its_receiver_verifies(scene: Scene, receiver: Receiver) -> None:
    url = receiver.answer("/signed")
    assert await scene.send(url.replace("127.0.0.1", "hooks.example.com"), "127.0.0.1") == Sent(204, None)
    (came,) = receiver.came("/signed")
    assert Webhook(SECRET).verify(came.body, dict(came.headers)) == json.loads(PAYLOAD)
    assert came.headers["webhook-id"] == "whe_1"
    assert came.headers["host"] == f"hooks.example.com:{receiver.port}"
    assert scene.asked == ["hooks.example.com"]
    noted = json.loads((scene.place / "audit.jsonl").read_text())
    assert (noted["credential"], noted["action"], noted["outcome"]) == ("whk_1", "webhook", "204")
    assert noted["upstream"] == f"http://hooks.example.com:{receiver.port}"
    assert SECRET.removeprefix("whsec_") not in (scene.place / "audit.jsonl").read_text()


@requirement("webhooks:private")
@pytest.mark.parametrize("allowed", [(), ("10.0.0.0/8",), ("127.0.0.1:1",)])
async def test_an_address_that_is_not_public_is_not_connected_to(
    scene: Scene, receiver: Receiver, allowed: tuple[str, ...]
) -> None:
    url = receiver.answer("/private")
    for host in ("hooks.example.com", "127.0.0.1"):
        sent = await scene.send(url.replace("127.0.0.1", host), *allowed)
        assert (sent.status, sent.disable) == (None, PRIVATE)
    sent = await scene.send("https://hooks.example.com/", *allowed)
    assert (sent.status, sent.disable) == (None, PRIVATE)
    assert receiver.came("/private") == []


async def test_public_addresses_are_reached_by_https_on_port_443_alone(scene: Scene) -> None:
    scene.addresses = ["198.41.0.4"]
    for url in ("http://hooks.example.com/", "https://hooks.example.com:8443/"):
        sent = await scene.send(url, "127.0.0.1")
        assert sent.status is None
        assert sent.disable is None
        assert "public" in (sent.problem or "")


async def test_of_a_names_addresses_only_those_that_are_let_in_get_plain_http(scene: Scene, receiver: Receiver) -> None:
    scene.addresses = ["198.41.0.4", "127.0.0.1"]
    url = receiver.answer("/mixed").replace("127.0.0.1", "hooks.example.com")
    assert (await scene.send(url, "127.0.0.1")).status == 204


@requirement("webhooks:redirect")
async def test_a_redirect_is_an_answer_and_leads_nowhere(scene: Scene, receiver: Receiver) -> None:
    sent = await scene.send(receiver.answer("/moved", 307), "127.0.0.1")
    assert (sent.status, sent.disable) == (307, REDIRECT)
    assert receiver.came("/elsewhere") == []


async def test_what_does_not_answer_is_told_apart_from_what_refuses(scene: Scene, receiver: Receiver) -> None:
    assert await scene.send(receiver.answer("/no", 503), "127.0.0.1") == Sent(503, "it did not answer with a 2xx")
    with_nobody = Receiver()
    with with_nobody.open():
        url = with_nobody.answer("/gone")
    sent = await scene.send(url, "127.0.0.1")
    assert sent.status is None
    assert sent.problem is not None
    assert sent.disable is None
    scene.addresses = []
    assert "resolved" in ((await scene.send("https://hooks.example.com/")).problem or "")


async def test_no_other_secret_signs_and_an_older_version_leads_to_the_newest(scene: Scene, receiver: Receiver) -> None:
    url, newer = receiver.answer("/newest"), new_signing_secret()
    await scene.store.put(OWNER, material.pack({"type": "webhook", "url": url, "signing_secret": SECRET}))
    kept = material.pack({"type": "webhook", "url": url, "signing_secret": newer})
    await scene.store.put(Owner("wrkspc_a", "webhooks", "whk_1", 2), kept)
    await scene.store.purge(OWNER, older=True)
    webhooks = scene.webhooks("127.0.0.1")
    assert (await webhooks.send(OWNER, "whe_1", PAYLOAD)).status == 204
    (came,) = receiver.came("/newest")
    assert Webhook(newer).verify(came.body, dict(came.headers))
    with pytest.raises(NotFound):
        await webhooks.send(Owner("wrkspc_b", "webhooks", "whk_1", 1), "whe_1", PAYLOAD)
    with pytest.raises(InvalidRequest):
        await webhooks.send(Owner("wrkspc_a", "vlt_1", "vcrd_1", 1), "whe_1", PAYLOAD)
