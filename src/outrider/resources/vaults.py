"""Rules of vaults and credentials: what is shown, what only the vault process gets, and what an update may change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import AddressValueError, IPv4Address
from typing import Any

import msgspec

from outrider.errors import InvalidRequest
from outrider.ports.vaults import CredentialRecord, VaultRecord
from outrider.resources import metadata
from outrider.wire.times import read_time
from outrider.wire.urls import normalised

MCP, VARIABLE = "mcp:", "env:"
PLACEHOLDERS_MAY_NOT_BE = frozenset(
    "PATH HOME USER SHELL PWD OLDPWD IFS ENV BASH_ENV SHELLOPTS BASHOPTS PS4 TMPDIR HTTP_PROXY HTTPS_PROXY FTP_PROXY"
    " ALL_PROXY NO_PROXY SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE NODE_EXTRA_CA_CERTS"
    " GIT_SSL_CAINFO PIP_CERT AWS_CA_BUNDLE CARGO_HTTP_CAINFO DENO_CERT NODE_OPTIONS PYTHONSTARTUP PYTHONPATH"
    " PERL5LIB RUBYLIB".split()
)
RESERVED_BEGINNINGS = ("LD_", "OUTRIDER_", "BASH_FUNC_")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_HOST = re.compile(r"(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.IGNORECASE)

_decode = msgspec.json.Decoder(dict[str, Any]).decode
Object = dict[str, Any]


def vault_object(record: VaultRecord) -> Object:
    return {
        "id": record.id,
        "type": "vault",
        **_decode(record.body),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
    }


def new_vault(request: Mapping[str, Any]) -> Object:
    """What is stored of a request for a vault."""
    return {"display_name": request["display_name"], "metadata": metadata.checked(request.get("metadata", {}))}


def updated_vault(record: VaultRecord, request: Mapping[str, Any]) -> Object | None:
    """What is stored after an update; None when it changes nothing. Raises InvalidRequest."""
    if record.archived_at is not None:
        raise InvalidRequest(f"Vault {record.id} is archived and can't be updated.")
    current = _decode(record.body)
    changed = current | {"metadata": metadata.merged(current["metadata"], request.get("metadata"))}
    if request.get("display_name") is not None:
        changed["display_name"] = request["display_name"]
    return None if changed == current else changed


def credential_object(record: CredentialRecord) -> Object:
    return {
        "id": record.id,
        "type": "vault_credential",
        "vault_id": record.vault,
        **_decode(record.body),
        "created_at": record.created_at,
        "updated_at": record.updated_at,
        "archived_at": record.archived_at,
    }


def deleted(id: str, kind: str) -> dict[str, str]:
    return {"id": id, "type": f"{kind}_deleted"}


def new_credential(request: Mapping[str, Any], *, now: str) -> tuple[str, Object, Object]:
    """(place in the vault, what is shown, what only the vault process gets). Raises InvalidRequest."""
    auth = request["auth"]
    make = {"mcp_oauth": _oauth, "static_bearer": _bearer, "environment_variable": _variable}[auth["type"]]
    place, shown, secret = make(auth, now)
    body = {
        "display_name": request.get("display_name"),
        "metadata": metadata.checked(request.get("metadata", {})),
        "auth": {"type": auth["type"], **shown},
    }
    return place, body, {"type": auth["type"], **secret}


def mcp_place(url: str, field: str = "url") -> str:
    """What an MCP server's credential is found by."""
    return MCP + normalised(url, field)


def _bearer(auth: Mapping[str, Any], now: str) -> tuple[str, Object, Object]:
    url = auth["mcp_server_url"]
    check_header("auth.token", auth["token"])
    return (
        mcp_place(url, "auth.mcp_server_url"),
        {"mcp_server_url": url},
        {"mcp_server_url": url, "token": auth["token"]},
    )


def _oauth(auth: Mapping[str, Any], now: str) -> tuple[str, Object, Object]:
    url, expires = auth["mcp_server_url"], _expiry(auth.get("expires_at"), now)
    check_header("auth.access_token", auth["access_token"])
    shown: Object = {"mcp_server_url": url, "expires_at": expires, "refresh": None}
    secret: Object = {"mcp_server_url": url, "access_token": auth["access_token"], "expires_at": expires}
    secret["refresh"] = None
    refresh = auth.get("refresh")
    if refresh is not None:
        normalised(refresh["token_endpoint"], "auth.refresh.token_endpoint")
        whole: Object = {"scope": None, "resource": None, **refresh}
        method: Object = dict(whole["token_endpoint_auth"])
        open_fields = {key: whole[key] for key in ("client_id", "token_endpoint", "scope", "resource")}
        shown["refresh"] = open_fields | {"token_endpoint_auth": {"type": method["type"]}}
        secret["refresh"] = open_fields | {"token_endpoint_auth": method, "refresh_token": whole["refresh_token"]}
    return mcp_place(url, "auth.mcp_server_url"), shown, secret


def _variable(auth: Mapping[str, Any], now: str) -> tuple[str, Object, Object]:
    name = auth["secret_name"]
    if not _NAME.fullmatch(name):
        raise InvalidRequest("auth.secret_name: Input should be letters, digits and underscores, no digit first")
    if name.upper() in PLACEHOLDERS_MAY_NOT_BE or name.upper().startswith(RESERVED_BEGINNINGS):
        raise InvalidRequest(f"auth.secret_name: {name} is a variable that the sandbox itself needs")
    shown = {
        "secret_name": name,
        "networking": _networking(auth["networking"]),
        "injection_location": _location(auth, {"header": True, "body": True}, dict.fromkeys(("header", "body"), False)),
    }
    return VARIABLE + name, shown, {"secret_name": name, "secret_value": auth["secret_value"]}


def check_header(field: str, value: str) -> None:
    """A token goes into a header: what would end or change that header is refused. Never shows the value."""
    if not value.isascii() or any(character < " " or character == "\x7f" for character in value):
        raise InvalidRequest(f"{field}: Input should hold printable ASCII characters only")


def _expiry(given: str | None, now: str) -> str | None:
    if given is None:
        return None
    moment = read_time(given)
    if moment is None:
        raise InvalidRequest("auth.expires_at: Input should be a valid RFC 3339 timestamp with a time zone")
    if moment <= now:
        raise InvalidRequest("auth.expires_at: Input should be in the future")
    return moment


def _networking(given: Mapping[str, Any]) -> Object:
    if given["type"] == "unrestricted":
        return {"type": "unrestricted"}
    hosts: list[str] = list(given["allowed_hosts"])
    for index, host in enumerate(hosts):
        if not _is_host(host):
            raise InvalidRequest(
                f"auth.networking.allowed_hosts.{index}: Input should be a host name, an IPv4 address or *.domain"
            )
    return {"type": "limited", "allowed_hosts": hosts}


def _is_host(text: str) -> bool:
    if not _HOST.fullmatch(text) or len(text) > 253:
        return False
    if text.rpartition(".")[2].isdigit():  # then it can only be an address, and one of four plain numbers
        try:
            return str(IPv4Address(text)) == text
        except AddressValueError:
            return False
    return not text.startswith("*.") or "." in text[2:]


def _location(auth: Mapping[str, Any], absent: Mapping[str, bool], base: Mapping[str, bool]) -> dict[str, bool]:
    if "injection_location" not in auth:
        return dict(absent)
    found = {**base, **auth["injection_location"]}
    if not any(found.values()):
        raise InvalidRequest("auth.injection_location: at least one of header and body must be true")
    return found


def updated_credential(
    record: CredentialRecord, request: Mapping[str, Any], *, now: str
) -> tuple[Object, Object | None] | None:
    """(what is shown after an update, what the vault process has to change, or None); None when nothing changes.

    Raises InvalidRequest.
    """
    if record.archived_at is not None:
        raise InvalidRequest(f"Credential {record.id} is archived and can't be updated.")
    current = _decode(record.body)
    changed = current | {"metadata": metadata.merged(current["metadata"], request.get("metadata"))}
    if request.get("display_name") is not None:
        changed["display_name"] = request["display_name"]
    secret: Object | None = None
    if "auth" in request:
        changed["auth"], secret = _updated_auth(current["auth"], request["auth"], now)
    return None if changed == current and not secret else (changed, secret or None)


def _updated_auth(current: Object, auth: Mapping[str, Any], now: str) -> tuple[Object, Object]:
    if auth["type"] != current["type"]:
        raise InvalidRequest(f"auth.type: a credential of type {current['type']} can't become {auth['type']}")
    if auth["type"] == "static_bearer":
        return current, _given(auth, "token")
    if auth["type"] == "environment_variable":
        return _updated_variable(current, auth), _given(auth, "secret_value")
    return _updated_oauth(current, auth, now)


def _given(auth: Mapping[str, Any], name: str) -> Object:
    if auth.get(name) is None:
        return {}
    if name != "secret_value":
        check_header(f"auth.{name}", auth[name])
    return {name: auth[name]}


def _updated_variable(current: Object, auth: Mapping[str, Any]) -> Object:
    changed = dict(current)
    if auth.get("networking") is not None:
        changed["networking"] = _networking(auth["networking"])
    before = current["injection_location"]
    changed["injection_location"] = _location(auth, before, before)
    return changed


def _updated_oauth(current: Object, auth: Mapping[str, Any], now: str) -> tuple[Object, Object]:
    shown, secret = dict(current), _given(auth, "access_token")
    if auth.get("expires_at") is not None:
        shown["expires_at"] = secret["expires_at"] = _expiry(auth["expires_at"], now)
    refresh = auth.get("refresh")
    if refresh is None:
        return shown, secret
    if current["refresh"] is None:
        raise InvalidRequest("auth.refresh: this credential was created without one, and none can be added")
    shown["refresh"], secret["refresh"] = _updated_refresh(current["refresh"], refresh)
    return shown, secret


def _updated_refresh(current: Object, refresh: Mapping[str, Any]) -> tuple[Object, Object]:
    shown, secret = dict(current), Object()
    if refresh.get("refresh_token") is not None:
        secret["refresh_token"] = refresh["refresh_token"]
    if refresh.get("scope") is not None:
        shown["scope"] = secret["scope"] = refresh["scope"] or None
    method = refresh.get("token_endpoint_auth")
    if method is not None:
        if current["token_endpoint_auth"]["type"] == "none":
            raise InvalidRequest("auth.refresh.token_endpoint_auth: this credential has no client secret to replace")
        if method.get("client_secret") is not None:
            secret["client_secret"] = method["client_secret"]
    return shown, secret
