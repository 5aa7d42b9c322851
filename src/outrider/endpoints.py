"""Which model is served where: endpoint profiles as data, read from the config file and the environment.

It knows the names of keys (`env:NAME`, `file:/path`), never a key: the vault looks those up.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.resources import files
from typing import Any, Literal, cast, get_args
from urllib.parse import urlsplit

from outrider.errors import InvalidRequest

CAPABILITY_HEADER = "x-outrider-capability"  # on a model request to the vault: under which claim it goes out
ENDPOINT_HEADER = "x-outrider-endpoint"  # on a model request to the vault: the name of the endpoint it is for
OUR_KEYS_BEGIN = "outr_"
DEFAULT = "default"
HOSTED = "anthropic"
SCRIPTED = "scripted"
VAULT_KEY = "OUTRIDER_VAULT_KEY"
VAULT_TOKEN = "OUTRIDER_VAULT_TOKEN"

DEAREST = 1_000_000  # dollars for a million tokens

Auth = Literal["x-api-key", "bearer", "none"]
Thinking = Literal["none", "enabled", "adaptive"]


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars per million tokens."""

    input: float
    output: float
    cache_read: float
    cache_write: float


@dataclass(frozen=True, slots=True)
class ModelProfile:
    """What a model on an endpoint supports; the harness reads it in one place, where it builds the request."""

    endpoint: str
    model: str
    window: int = 200_000
    max_tokens: int = 8_192
    cache_control: bool = True
    thinking: Thinking = "none"
    tool_choice: bool = True
    effort: bool = False
    speed: bool = False
    inference_geo: bool = False
    mid_conversation_system: bool = False
    price: Price | None = None


TRAITS: dict[str, type] = {
    "window": int,
    "max_tokens": int,
    "cache_control": bool,
    "thinking": str,
    "tool_choice": bool,
    "effort": bool,
    "speed": bool,
    "inference_geo": bool,
    "mid_conversation_system": bool,
    "price": dict,
}
KEYS: dict[str, type] = {
    "profile": str,
    "base_url": str,
    "auth": str,
    "key_env": str,
    "key_file": str,
    "models": list,
    "model": dict,
    **TRAITS,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One Messages server. `secret` names its key for the vault; `claims` are the model names and patterns it serves.

    `traits` hold for all its models, `by_model` (name or pattern, in order of appearance) on top of that.
    """

    name: str
    profile: str
    base_url: str
    auth: Auth
    secret: str | None
    claims: tuple[str, ...] = ()
    traits: Mapping[str, Any] = field(default_factory=dict[str, Any])
    by_model: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])

    def describe(self, model: str) -> ModelProfile:
        """The profile of the upstream model `model`: general traits first, then patterns, then its exact name."""
        exact = self.by_model.get(model, {})
        matching = [table for name, table in self.by_model.items() if is_pattern(name) and fnmatchcase(model, name)]
        merged: dict[str, Any] = dict(self.traits)
        for table in [*matching, exact]:
            merged |= table
        return ModelProfile(self.name, model, **merged)


@dataclass(frozen=True, slots=True)
class Endpoints:
    """All endpoints, in order, and the name of the one that takes unclaimed model names (None: they are refused)."""

    all: tuple[Endpoint, ...]
    default: str | None

    def endpoint(self, name: str) -> Endpoint | None:
        return next((one for one in self.all if one.name == name), None)

    def resolve(self, model: str) -> tuple[Endpoint, str, ModelProfile]:
        """The endpoint that serves `model`, the name to send there, and its profile.

        An exact claim wins over `endpoint/model`, that over a claim by pattern, that over the default endpoint.
        Raises InvalidRequest when none serves it.
        """
        found = self._exact(model) or self._prefixed(model) or self._by_pattern(model) or self._unclaimed(model)
        if found is None:
            raise InvalidRequest(self._refusal(model))
        endpoint, upstream = found
        return endpoint, upstream, endpoint.describe(upstream)

    def profile(self, model: str) -> ModelProfile:
        return self.resolve(model)[2]

    def names(self) -> list[str]:
        """Names that can be listed: exact claims, each once."""
        return list(dict.fromkeys(name for one in self.all for name in one.claims if not is_pattern(name)))

    def secrets(self) -> dict[str, str]:
        """Endpoint name to the name of its secret, for the vault."""
        return {one.name: one.secret for one in self.all if one.secret is not None}

    def needs_scripted_server(self) -> bool:
        return any(one.profile == SCRIPTED and not one.base_url for one in self.all)

    def with_scripted_at(self, base_url: str) -> Endpoints:
        """The same endpoints, the scripted ones now reached at `base_url`."""
        return replace(
            self,
            all=tuple(replace(one, base_url=base_url) if one.profile == SCRIPTED else one for one in self.all),
        )

    def _exact(self, model: str) -> tuple[Endpoint, str] | None:
        for one in self.all:
            if model in one.claims and not is_pattern(model):
                return one, model.removeprefix(f"{SCRIPTED}/") if one.profile == SCRIPTED else model
        return None

    def _prefixed(self, model: str) -> tuple[Endpoint, str] | None:
        name, slash, rest = model.partition("/")
        one = self.endpoint(name)
        if not (slash and rest) or one is None or one.profile == SCRIPTED:
            return None
        return one, rest

    def _by_pattern(self, model: str) -> tuple[Endpoint, str] | None:
        for one in self.all:
            if any(is_pattern(claim) and fnmatchcase(model, claim) for claim in one.claims):
                return one, model
        return None

    def _unclaimed(self, model: str) -> tuple[Endpoint, str] | None:
        one = self.endpoint(self.default) if self.default else None
        return None if one is None or not model else (one, model)

    def _refusal(self, model: str) -> str:
        offered = ", ".join(self.names()) or "none"
        ways = "OUTRIDER_MODEL_URL, ANTHROPIC_API_KEY or an [endpoints.<name>] table in the config file"
        return f"no endpoint serves `{model}`. Offered: {offered}. To use another model, set {ways}."


def is_pattern(name: str) -> bool:
    return any(sign in name for sign in "*?[")


def profiles() -> dict[str, dict[str, Any]]:
    """The profiles that are shipped, by name."""
    return tomllib.loads(files("outrider").joinpath("endpoints.toml").read_text("utf-8"))


def secret_variables(environment: Mapping[str, str], configured: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Variables present in `environment` that hold keys: the supervisor takes them out before anything else runs."""
    names = {"OUTRIDER_MODEL_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", VAULT_KEY, VAULT_TOKEN}
    names |= named_secrets(configured)
    return {name for name in names if environment.get(name)}


def named_secrets(configured: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Variables that these endpoints name, set or not: where the vault runs elsewhere, they are not."""
    shipped = profiles()
    return frozenset(
        str(source["key_env"])
        for table in configured.values()
        for source in (table, _shipped(table, shipped))
        if "key_env" in source
    )


def usable_secrets(environment: Mapping[str, str], configured: Mapping[str, Mapping[str, Any]]) -> frozenset[str]:
    """Which of `secret_variables` can be a model's key. A key of this server (`outrider env` sets one) can't be."""
    present = secret_variables(environment, configured) - {VAULT_KEY, VAULT_TOKEN}
    return frozenset(name for name in present if not environment[name].startswith(OUR_KEYS_BEGIN))


def load_endpoints(
    configured: Mapping[str, Mapping[str, Any]], environment: Mapping[str, str], secrets: frozenset[str]
) -> Endpoints:
    """Endpoints from the config file's tables, then the environment's default endpoint.

    `secrets` are the names from `usable_secrets`, found before the variables were removed. Raises InvalidRequest,
    naming the key of the config file or the variable.
    """
    shipped = profiles()
    tables = {name: dict(table) for name, table in configured.items()}
    default = _add_default(tables, environment, secrets)
    endpoints = tuple(_endpoint(name, table, shipped, secrets) for name, table in tables.items())
    _check_claims(endpoints)
    return Endpoints(endpoints, default)


def _add_default(
    tables: dict[str, dict[str, Any]], environment: Mapping[str, str], secrets: frozenset[str]
) -> str | None:
    url = environment.get("OUTRIDER_MODEL_URL")
    if url:
        given = tables.get(DEFAULT, {})
        if "OUTRIDER_MODEL_KEY" in secrets:
            given = {key: value for key, value in given.items() if key != "key_file"} | {
                "key_env": "OUTRIDER_MODEL_KEY"
            }
        elif not {"auth", "key_env", "key_file"} & set(given):
            given = {**given, "auth": "none"}
        tables[DEFAULT] = {**given, "base_url": url}
    if DEFAULT in tables:
        return DEFAULT
    if "OUTRIDER_MODEL_KEY" in secrets:
        raise InvalidRequest("OUTRIDER_MODEL_KEY is set without OUTRIDER_MODEL_URL: set the server's base URL as well.")
    if "ANTHROPIC_API_KEY" in secrets:
        tables.setdefault(HOSTED, {"profile": HOSTED})
        return HOSTED
    tables.setdefault(SCRIPTED, {"profile": SCRIPTED})
    return None


def _endpoint(
    name: str, table: Mapping[str, Any], shipped: Mapping[str, Mapping[str, Any]], secrets: frozenset[str]
) -> Endpoint:
    where = f"endpoints.{name}"
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]*", name):
        raise InvalidRequest(f"{where}: names of endpoints are lower-case letters, digits, `.`, `_` and `-`.")
    _check_table(where, table, KEYS)
    profile = str(table.get("profile", "messages"))
    if profile not in shipped:
        raise InvalidRequest(f"{where}.profile: `{profile}` is unknown; known: {', '.join(shipped)}.")
    if (profile == SCRIPTED) != (name == SCRIPTED):
        raise InvalidRequest(f"{where}: the name and the profile `{SCRIPTED}` only go together.")
    merged: dict[str, Any] = {**shipped[profile], **table}
    by_model = {**shipped[profile].get("model", {}), **table.get("model", {})}
    secret = _secret(where, table, merged, secrets)
    return Endpoint(
        name=name,
        profile=profile,
        base_url=_base_url(where, merged.get("base_url", ""), required=profile != SCRIPTED),
        auth=_auth(where, table, merged),
        secret=secret,
        claims=_claims(where, table, merged),
        traits=_traits(where, {key: value for key, value in merged.items() if key in TRAITS}),
        by_model={model: _model(f'{where}.model."{model}"', traits) for model, traits in by_model.items()},
    )


def _shipped(table: Mapping[str, Any], shipped: Mapping[str, Mapping[str, Any]]) -> Mapping[str, Any]:
    return shipped.get(str(table.get("profile", "messages")), {})


def _check_table(where: str, table: Mapping[str, Any], known: Mapping[str, type]) -> None:
    for key, value in table.items():
        if key not in known:
            raise InvalidRequest(f"{where}: unknown key `{key}`; known: {', '.join(known)}.")
        if type(value) is not known[key]:
            raise InvalidRequest(f"{where}.{key}: must be of type {known[key].__name__}.")


def _auth(where: str, table: Mapping[str, Any], merged: Mapping[str, Any]) -> Auth:
    auth = merged.get("auth", "x-api-key")
    if auth not in get_args(Auth):
        raise InvalidRequest(f"{where}.auth: must be one of {', '.join(get_args(Auth))}.")
    named = "key_env" in table or "key_file" in table
    if auth == "none" and named and "auth" in table:
        raise InvalidRequest(f"{where}: auth is `none`, yet a key is named.")
    return "bearer" if auth == "none" and named else cast(Auth, auth)


def _secret(where: str, table: Mapping[str, Any], merged: Mapping[str, Any], secrets: frozenset[str]) -> str | None:
    if "key_env" in table and "key_file" in table:
        raise InvalidRequest(f"{where}: give key_env or key_file, not both.")
    if _auth(where, table, merged) == "none":
        return None
    if "key_file" in table:
        return f"file:{table['key_file']}"
    variable = merged.get("key_env")
    if variable is None:
        raise InvalidRequest(f'{where}: no key: give key_env or key_file, or auth = "none".')
    if variable not in secrets:
        raise InvalidRequest(f"{where}: no key: the variable {variable} is not set.")
    return f"env:{variable}"


def _base_url(where: str, value: str, *, required: bool) -> str:
    if not value and not required:
        return ""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidRequest(f"{where}.base_url: must be an http:// or https:// address.")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise InvalidRequest(f"{where}.base_url: must hold no user, password, query or fragment.")
    trimmed = value.rstrip("/")
    if trimmed.endswith(("/v1", "/v1/messages")):
        raise InvalidRequest(f"{where}.base_url: leave `/v1` out: requests go to <base_url>/v1/messages.")
    return trimmed


def _claims(where: str, table: Mapping[str, Any], merged: Mapping[str, Any]) -> tuple[str, ...]:
    claims = cast(list[Any], merged.get("models", []))
    if not all(isinstance(name, str) and name for name in claims):
        raise InvalidRequest(f"{where}.models: must be a list of names.")
    return tuple(dict.fromkeys([*claims, *table.get("model", {})]))


def _model(where: str, traits: object) -> dict[str, Any]:
    if not isinstance(traits, dict):
        raise InvalidRequest(f"{where}: must be a table.")
    return _traits(where, cast(dict[str, Any], traits))


def _traits(where: str, traits: Mapping[str, Any]) -> dict[str, Any]:
    _check_table(where, traits, TRAITS)
    checked = dict(traits)
    for key in ("window", "max_tokens"):
        if checked.get(key, 1) < 1:
            raise InvalidRequest(f"{where}.{key}: must be at least 1.")
    if checked.get("thinking", "none") not in get_args(Thinking):
        raise InvalidRequest(f"{where}.thinking: must be one of {', '.join(get_args(Thinking))}.")
    if "price" in checked:
        checked["price"] = _price(f"{where}.price", checked["price"])
    return checked


def _price(where: str, values: Mapping[str, Any]) -> Price:
    names = ("input", "output", "cache_read", "cache_write")
    if set(values) != set(names) or not all(_is_price(value) for value in values.values()):
        raise InvalidRequest(f"{where}: needs {', '.join(names)}, in US dollars per million tokens.")
    return Price(**{name: float(values[name]) for name in names})


def _is_price(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= DEAREST


def _check_claims(endpoints: tuple[Endpoint, ...]) -> None:
    seen: dict[str, str] = {}
    for one in endpoints:
        for claim in one.claims:
            if claim in seen:
                raise InvalidRequest(f"Model `{claim}` is claimed by endpoints.{seen[claim]} and endpoints.{one.name}.")
            seen[claim] = one.name
