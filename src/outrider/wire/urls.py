"""Addresses of MCP servers: their form, and the form in which two of them are compared."""

from __future__ import annotations

from urllib.parse import urlsplit

from outrider.errors import InvalidRequest

DEFAULT_PORTS = {"http": 80, "https": 443}
LOWEST_CHARACTER, DELETE = "!", "\x7f"


def normalised(url: str, field: str = "url") -> str:
    """Scheme and host in lower case, without default port and trailing slashes. Raises InvalidRequest."""
    if not url.isascii() or any(character < LOWEST_CHARACTER or character == DELETE for character in url):
        raise InvalidRequest(f"{field}: an address holds printable ASCII characters only")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"{field}: not an address: {error}") from None
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise InvalidRequest(f"{field}: Input should be an http:// or https:// address")
    if parts.username is not None or parts.password is not None or parts.fragment or "\\" in url:
        raise InvalidRequest(f"{field}: an address holds no user, password, fragment or backslash")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    shown = "" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}"
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{host}{shown}{parts.path.rstrip('/')}{query}"
