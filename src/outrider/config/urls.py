"""Addresses of other services: checked, and stripped of the secrets that only the environment may carry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from outrider.errors import InvalidRequest

DATABASE_URL = "OUTRIDER_DATABASE_URL"
NATS_URL = "OUTRIDER_NATS_URL"


def database_url(given: str | None, kept: str | None, path: Path) -> str | None:
    """The environment's URL, which may hold a password, without it; else the file's, which must hold none."""
    name, url = (DATABASE_URL, given) if given else (f"Config file {path}: server.database_url", kept)
    if not url:
        return None
    try:
        parts = urlsplit(url)
        password = parts.password is not None or any(key == "password" for key, _ in parse_qsl(parts.query))
    except ValueError:
        raise InvalidRequest(f"{name} is not a URL.") from None
    if parts.scheme not in ("postgres", "postgresql"):
        raise InvalidRequest(f"{name} must begin with postgres:// or postgresql://.")
    if password and not given:
        raise InvalidRequest(f"{name} must hold no password: give the whole URL in {DATABASE_URL}.")
    place = parts.netloc.rpartition("@")[2]
    query = [(key, value) for key, value in parse_qsl(parts.query) if key != "password"]
    user = f"{parts.username}@" if parts.username is not None else ""
    asked = f"?{urlencode(query)}" if query else ""
    return f"{parts.scheme}://{user}{place}{parts.path}{asked}"


def otlp_endpoint(environment: Mapping[str, str]) -> str | None:
    """The standard's variables, which the exporter reads by itself too. Its switch turns tracing off here as well."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    names = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    return next((environment[name] for name in names if environment.get(name)), None)


def nats_url(given: str | None, kept: str | None, path: Path) -> str | None:
    """The environment's URLs (several, parted by commas, for a cluster), without user, password or token; else the
    file's, which must hold none of these."""
    name, urls = (NATS_URL, given) if given else (f"Config file {path}: server.nats_url", kept)
    return ",".join(_nats_place(name, url.strip(), secret=bool(given)) for url in urls.split(",")) if urls else None


def _nats_place(name: str, url: str, *, secret: bool) -> str:
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise InvalidRequest(f"{name} is not a URL.") from None
    if parts.scheme not in ("nats", "tls") or not parts.hostname:
        raise InvalidRequest(f"{name} must begin with nats:// or tls:// and name a host.")
    if parts.username is not None and not secret:
        raise InvalidRequest(f"{name} must hold no user, password or token: give the whole URL in {NATS_URL}.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{port}"
