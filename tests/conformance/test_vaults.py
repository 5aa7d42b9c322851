"""Vaults and their credentials: made, shown without a secret, changed by their rules, archived, deleted, tried out."""

from __future__ import annotations

import itertools
import json
from base64 import b64encode
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import httpx2
import pytest
from anthropic import Anthropic
from conftest_types import Play
from live_server import Server
from oauth_scene import Scene, running_scene
from on_disk import holding
from turns import refused

from conformance.requirements import requirement
from outrider.models.scripted.script import Turn

SECRET = "canary-7d1f2a-secret"
URL = "https://MCP.example.com:443/one/"
_numbers = itertools.count(1)


@pytest.fixture
def vault(client: Anthropic) -> Any:
    return client.beta.vaults.create(display_name=f"vault {next(_numbers)}")


@pytest.fixture
def oauth() -> Generator[Scene]:
    with running_scene() as scene:
        yield scene


def bearer(url: str = URL, token: str = SECRET) -> Any:
    return {"type": "static_bearer", "mcp_server_url": url, "token": token}


def variable(name: str = "TOKEN", **more: Any) -> Any:
    networking: Any = {"type": "limited", "allowed_hosts": ["api.example.com", "*.example.org", "192.0.2.1"]}
    return {
        "type": "environment_variable", "secret_name": name, "secret_value": SECRET, "networking": networking, **more,
    }  # fmt: skip


def refreshable(scene: Scene, **more: Any) -> Any:
    return {
        "type": "mcp_oauth",
        "mcp_server_url": f"{scene.url}/mcp",
        "access_token": "access-1",
        "refresh": {
            "refresh_token": "refresh-1",
            "client_id": "client",
            "token_endpoint": f"{scene.url}/token",
            "token_endpoint_auth": {"type": "client_secret_post", "client_secret": SECRET},
            "scope": "a b",
        },
        **more,
    }


def add(client: Anthropic, vault: Any, auth: Any, **more: Any) -> Any:
    return client.beta.vaults.credentials.create(vault.id, auth=auth, **more)


@requirement("vaults:create", "vaults:object", "vaults:update")
def test_a_vault_is_made_read_and_changed(client: Anthropic) -> None:
    vault = client.beta.vaults.create(display_name="Ada", metadata={"user": "1"})
    shown = vault.to_dict()
    assert shown == {
        "id": vault.id, "type": "vault", "display_name": "Ada", "metadata": {"user": "1"},
        "created_at": shown["created_at"], "updated_at": shown["created_at"], "archived_at": None,
    }  # fmt: skip
    assert vault.id.startswith("vlt_")
    assert client.beta.vaults.retrieve(vault.id) == vault
    assert client.beta.vaults.update(vault.id) == vault
    changed = client.beta.vaults.update(vault.id, display_name="Bea", metadata={"user": None, "team": "2"})
    assert (changed.display_name, changed.metadata) == ("Bea", {"team": "2"})
    for name in ("", "n" * 256):
        with refused(400, "display_name"):
            client.beta.vaults.create(display_name=name)
    with refused(404, "vlt_unknown"):
        client.beta.vaults.retrieve("vlt_unknown")


@requirement("vaults:list", "vaults:archive", "vaults:archive:twice", "credentials:archive")
def test_archiving_a_vault_takes_its_credentials_along_and_keeps_the_records(client: Anthropic, vault: Any) -> None:
    one, two = add(client, vault, bearer()), add(client, vault, variable())
    client.beta.vaults.credentials.archive(one.id, vault_id=vault.id)
    archived = client.beta.vaults.archive(vault.id)
    assert archived.archived_at is not None
    assert client.beta.vaults.archive(vault.id) == archived
    assert vault.id not in [found.id for found in client.beta.vaults.list(limit=2).data]
    assert client.beta.vaults.list(limit=1, include_archived=True).data[0] == archived
    kept = client.beta.vaults.credentials.list(vault.id, include_archived=True).data
    assert [found.id for found in kept] == [two.id, one.id]
    assert all(found.archived_at for found in kept)
    with refused(400, "archived"):
        client.beta.vaults.update(vault.id, display_name="x")
    with refused(400, "archived"):
        add(client, vault, bearer("https://other.example.com"))
    with refused(400, "archived"):
        client.beta.vaults.credentials.update(two.id, vault_id=vault.id, display_name="x")


@requirement("vaults:delete", "credentials:delete")
def test_deleting_leaves_nothing(client: Anthropic, vault: Any) -> None:
    one, two = add(client, vault, bearer()), add(client, vault, variable())
    credentials = client.beta.vaults.credentials
    gone = credentials.delete(one.id, vault_id=vault.id)
    assert gone.to_dict() == {"id": one.id, "type": "vault_credential_deleted"}
    with refused(404, one.id):
        credentials.retrieve(one.id, vault_id=vault.id)
    assert client.beta.vaults.delete(vault.id).to_dict() == {"id": vault.id, "type": "vault_deleted"}
    with refused(404, vault.id):
        client.beta.vaults.retrieve(vault.id)
    with refused(404, two.id):
        credentials.retrieve(two.id, vault_id=vault.id)


@requirement("vaults:archive:no-new-sessions", "sessions:create:vault-ids")
def test_a_session_names_vaults_that_are_there(client: Anthropic, play: Play, vault: Any) -> None:
    talk = play(Turn("Hi."), vault_ids=[vault.id])
    assert client.beta.sessions.retrieve(talk.id).vault_ids == [vault.id]
    with refused(404, "vlt_unknown"):
        play(Turn("Hi."), vault_ids=[vault.id, "vlt_unknown"])
    client.beta.vaults.archive(vault.id)
    with refused(400, vault.id, "archived"):
        play(Turn("Hi."), vault_ids=[vault.id])
    talk.say("go on")
    talk.wait()


@requirement("credentials:create:bearer", "credentials:write-only")
def test_a_bearer_token_is_never_shown(client: Anthropic, raw: httpx2.Client, vault: Any, server: Server) -> None:
    made = raw.post(f"/v1/vaults/{vault.id}/credentials", json={"auth": bearer(), "display_name": "b"})
    shown = made.json()
    assert shown["auth"] == {"type": "static_bearer", "mcp_server_url": URL}
    place = f"/v1/vaults/{vault.id}/credentials/{shown['id']}"
    changed = raw.post(place, json={"auth": {"type": "static_bearer", "token": SECRET + "2"}})
    answers = [made, changed, raw.get(place), raw.get(f"/v1/vaults/{vault.id}/credentials")]
    wrong = [
        {"auth": {"type": "static_bearer", "mcp_server_url": URL, "token": [SECRET]}},
        {"auth": {"type": "static_bearer", "mcp_server_url": URL, "token": SECRET + "\n"}},
        {"auth": {"type": "nonsense", "token": SECRET}},
        {"auth": {"type": "static_bearer", "mcp_server_url": URL, "token": SECRET, "more": SECRET}},
    ]
    answers += [raw.post(f"/v1/vaults/{vault.id}/credentials", json=body) for body in wrong]
    answers += [raw.post(place, content=f'{{"auth": {SECRET}')]
    assert [answer.status_code for answer in answers] == [200] * 4 + [400] * 5
    assert not [answer.text for answer in answers if SECRET in answer.text]
    assert SECRET not in server.log()
    assert holding(server.data, SECRET) == []


@requirement("credentials:create:oauth", "credentials:create:expired")
def test_an_oauth_credential_shows_all_but_its_secrets(client: Anthropic, vault: Any, oauth: Scene) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    made = add(client, vault, refreshable(oauth, expires_at=later.isoformat()), metadata={"k": "v"})
    assert made.auth.to_dict() == {
        "type": "mcp_oauth",
        "mcp_server_url": f"{oauth.url}/mcp",
        "expires_at": made.auth.to_dict()["expires_at"],
        "refresh": {
            "client_id": "client",
            "token_endpoint": f"{oauth.url}/token",
            "token_endpoint_auth": {"type": "client_secret_post"},
            "scope": "a b",
            "resource": None,
        },
    }
    assert made.auth.expires_at == later
    assert client.beta.vaults.credentials.retrieve(made.id, vault_id=vault.id) == made
    for wrong in (
        "2020-01-01T00:00:00Z",
        "soon",
        "2099-01-01T00:00:00",
        "9999-12-31T23:59:59-01:00",
        "2030-W01-1T00:00:00Z",
    ):
        with refused(400, "expires_at"):
            add(client, vault, {"type": "mcp_oauth", "mcp_server_url": URL, "access_token": "t", "expires_at": wrong})


@requirement("credentials:create:variable", "credentials:hosts", "credentials:names")
def test_a_variable_has_a_name_a_place_to_go_and_hosts(client: Anthropic, vault: Any) -> None:
    made = add(client, vault, variable())
    assert made.auth.to_dict() == {
        "type": "environment_variable",
        "secret_name": "TOKEN",
        "networking": {"type": "limited", "allowed_hosts": ["api.example.com", "*.example.org", "192.0.2.1"]},
        "injection_location": {"header": True, "body": True},
    }
    for name in ("", "1A", "A-B", "PATH", "LD_PRELOAD", "https_proxy", "N" * 129):
        with refused(400, "secret_name"):
            add(client, vault, variable(name))
    hosts = [
        "https://a.example",
        "a.example:80",
        "a.example/x",
        "::1",
        "*",
        "*.com",
        "192.0.2.256",
        "0x7f.1",
        "a_b.c",
        "",
    ]
    for host in hosts:
        with refused(400, "allowed_hosts"):
            add(client, vault, variable("OTHER", networking={"type": "limited", "allowed_hosts": [host]}))
    with refused(400, "allowed_hosts"):
        add(client, vault, variable("OTHER", networking={"type": "limited", "allowed_hosts": ["a.example"] * 17}))


@requirement("credentials:injection", "credentials:injection:none")
def test_injection_locations_default_to_both_and_never_to_none(
    client: Anthropic, raw: httpx2.Client, vault: Any
) -> None:
    made = add(client, vault, variable(injection_location={"header": True}))
    assert made.auth.injection_location.to_dict() == {"header": True, "body": False}
    place = f"/v1/vaults/{vault.id}/credentials"
    for wrong in ({}, {"header": False}, {"header": False, "body": False}, None, {"header": None}):
        assert raw.post(place, json={"auth": variable("B", injection_location=wrong)}).status_code == 400
    change: Any = {"type": "environment_variable"}
    update: Any = client.beta.vaults.credentials.update
    both = update(made.id, vault_id=vault.id, auth={**change, "injection_location": {"body": True}})
    assert both.auth.to_dict()["injection_location"] == {"header": True, "body": True}
    for wrong in ({"header": False, "body": False}, None, {"body": None}):
        body = {"auth": {**change, "injection_location": wrong}}
        assert raw.post(f"{place}/{made.id}", json=body).status_code == 400
    with refused(400, "networking"):
        update(made.id, vault_id=vault.id, auth={**change, "networking": {"type": "limited"}})


@requirement("credentials:unique", "credentials:unique:archived", "credentials:limit", "credentials:list")
def test_a_server_and_a_name_are_had_once_and_archiving_frees_them(client: Anthropic, vault: Any) -> None:
    first = add(client, vault, bearer())
    for same in ("https://mcp.example.com/one", "HTTPS://mcp.example.com:443/one//"):
        with refused(409, "already"):
            add(client, vault, {"type": "mcp_oauth", "mcp_server_url": same, "access_token": "t"})
    others = ["http://mcp.example.com/one", "https://mcp.example.com/One", "https://mcp.example.com:8443/one"]
    for other in others:
        add(client, vault, bearer(other))
    client.beta.vaults.credentials.archive(first.id, vault_id=vault.id)
    again = add(client, vault, bearer())
    add(client, vault, variable("A"))
    with refused(409, "A"):
        add(client, vault, variable("A"))
    for number in range(15):
        add(client, vault, variable(f"N{number}"))
    with refused(400, "20"):
        add(client, vault, variable("ONE_TOO_MANY"))
    listed = list(client.beta.vaults.credentials.list(vault.id, limit=6))
    assert len(listed) == 20
    assert [one.created_at for one in listed] == sorted((one.created_at for one in listed), reverse=True)
    everything = {one.id for one in client.beta.vaults.credentials.list(vault.id, include_archived=True, limit=100)}
    assert everything == {first.id, again.id} | {one.id for one in listed}
    assert client.beta.vaults.credentials.retrieve(first.id, vault_id=vault.id).archived_at is not None


@requirement(
    "credentials:update",
    "credentials:update:type",
    "credentials:update:oauth",
    "credentials:update:client-secret",
    "credentials:update:add-refresh",
)
def test_an_update_keeps_what_it_does_not_name(client: Anthropic, vault: Any, oauth: Scene) -> None:
    update: Any = client.beta.vaults.credentials.update
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    made = add(client, vault, refreshable(oauth, expires_at=later), display_name="d")
    changed = update(made.id, vault_id=vault.id, auth={"type": "mcp_oauth", "access_token": "other"})
    assert changed.auth.to_dict() == made.auth.to_dict()
    assert changed.display_name == "d"
    scoped = update(made.id, vault_id=vault.id, auth={"type": "mcp_oauth", "refresh": {"scope": "c"}})
    assert scoped.auth.to_dict()["refresh"]["scope"] == "c"
    no_scope: Any = {"type": "mcp_oauth", "refresh": {"scope": ""}}
    cleared = update(made.id, vault_id=vault.id, auth=no_scope, metadata={"a": "b"})
    assert cleared.auth.to_dict()["refresh"]["scope"] is None
    assert cleared.metadata == {"a": "b"}
    secret: Any = {"token_endpoint_auth": {"type": "client_secret_basic", "client_secret": "new"}}
    kept = update(made.id, vault_id=vault.id, auth={"type": "mcp_oauth", "refresh": secret})
    assert kept.auth.to_dict()["refresh"]["token_endpoint_auth"] == {"type": "client_secret_post"}
    with refused(400, "auth.type"):
        update(made.id, vault_id=vault.id, auth={"type": "static_bearer", "token": "t"})
    plain = add(client, vault, {"type": "mcp_oauth", "mcp_server_url": URL, "access_token": "t"})
    with refused(400, "refresh"):
        update(plain.id, vault_id=vault.id, auth={"type": "mcp_oauth", "refresh": {"refresh_token": "t"}})
    public = refreshable(oauth)
    public["mcp_server_url"] += "/public"
    public["refresh"]["token_endpoint_auth"] = {"type": "none"}
    open_client = add(client, vault, public)
    with refused(400, "token_endpoint_auth"):
        update(open_client.id, vault_id=vault.id, auth={"type": "mcp_oauth", "refresh": secret})
    assert update(made.id, vault_id=vault.id) == kept


def probe(client: Anthropic, vault: Any, credential: Any) -> Any:
    return client.beta.vaults.credentials.mcp_oauth_validate(credential.id, vault_id=vault.id)


@requirement("credentials:validate:valid", "credentials:validate:refresh")
def test_a_probe_says_valid_and_stores_the_refresh_that_it_needed(client: Anthropic, vault: Any, oauth: Scene) -> None:
    made = add(client, vault, refreshable(oauth))
    first = probe(client, vault, made).to_dict()
    assert (first["status"], first["mcp_probe"], first["refresh"], first["has_refresh_token"]) == (
        "valid", None, None, True,
    )  # fmt: skip
    oauth.access = "revoked"
    second = probe(client, vault, made)
    assert second.status == "valid"
    assert second.refresh.to_dict() == {"status": "succeeded", "http_response": None}
    assert oauth.refreshes[0] == {
        "grant_type": "refresh_token", "refresh_token": "refresh-1", "scope": "a b", "client_id": "client",
        "client_secret": SECRET,
    }  # fmt: skip
    assert probe(client, vault, made).status == "valid"
    assert len(oauth.refreshes) == 1
    shown: Any = client.beta.vaults.credentials.retrieve(made.id, vault_id=vault.id)
    assert shown.auth.expires_at > datetime.now(UTC) + timedelta(minutes=50)


@requirement("credentials:validate:invalid", "credentials:validate:scrubbed")
def test_a_probe_says_invalid_when_the_grant_is_gone_and_shows_no_secret(
    client: Anthropic, vault: Any, oauth: Scene
) -> None:
    made = add(client, vault, refreshable(oauth))
    oauth.access = oauth.refresh = "revoked"
    found = probe(client, vault, made)
    assert (found.status, found.mcp_probe.method, found.refresh.status) == ("invalid", "initialize", "failed")
    assert found.mcp_probe.http_response.status_code == 401
    assert found.refresh.http_response.status_code == 400
    assert "invalid_grant" in found.refresh.http_response.body
    for secret in ("access-1", "refresh-1", SECRET):
        assert secret not in found.to_json()
    plain = add(client, vault, {"type": "mcp_oauth", "mcp_server_url": f"{oauth.url}/x", "access_token": "t"})
    none = probe(client, vault, plain)
    assert (none.status, none.refresh.status, none.has_refresh_token) == ("invalid", "no_refresh_token", False)


@requirement("credentials:validate:scrubbed")
def test_a_probe_shows_no_secret_in_another_form_either(client: Anthropic, vault: Any, oauth: Scene) -> None:
    secret, refresh = 'p/\xe9"s:cret word', "fresh/to+ken"
    asked = refreshable(oauth)
    asked["refresh"] |= {
        "refresh_token": refresh,
        "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": secret},
    }
    made = add(client, vault, asked)
    oauth.access = oauth.refresh = "revoked"
    pair = b64encode(f"client:{quote_plus(secret)}".encode()).decode()
    forms = [secret, quote_plus(secret), quote(secret, safe=""), json.dumps(secret)[1:-1], pair, pair.rstrip("=")]
    forms += [b64encode(secret.encode()).decode(), refresh.replace("/", "\\/"), quote_plus(refresh), refresh]
    oauth.says, oauth.kind = " ".join(f"<{form}>" for form in forms), f"text/plain; of={refresh}"
    shown = probe(client, vault, made).refresh.http_response
    assert shown.body.replace("*", "").replace("=", "") == " ".join("<>" for _ in forms)
    assert shown.content_type == "text/plain; of=********"


@requirement("credentials:validate:unknown")
def test_a_probe_says_unknown_when_servers_are_in_trouble(client: Anthropic, vault: Any, oauth: Scene) -> None:
    made = add(client, vault, refreshable(oauth))
    for status in (500, 429):
        oauth.mcp_status = status
        found = probe(client, vault, made)
        assert (found.status, found.mcp_probe.http_response.status_code, found.refresh) == ("unknown", status, None)
    oauth.mcp_status, oauth.access, oauth.token_status = 200, "revoked", 503
    assert probe(client, vault, made).status == "unknown"
    nowhere = add(client, vault, {"type": "mcp_oauth", "mcp_server_url": "http://127.0.0.1:9/mcp", "access_token": "t"})
    lost = probe(client, vault, nowhere)
    assert (lost.status, lost.mcp_probe.http_response) == ("unknown", None)


@requirement("credentials:validate:type")
def test_only_oauth_credentials_are_tried_out(client: Anthropic, vault: Any) -> None:
    made = add(client, vault, bearer())
    with refused(400, "mcp_oauth"):
        probe(client, vault, made)
