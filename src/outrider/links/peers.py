"""Who is at the other end: mutual TLS between the processes of one deployment, and the role in each certificate.

A certificate carries its roles and its name as URIs, `outrider://ROLE/NAME`. Promised: TLS 1.3, both sides verified
against the deployment's own authority, the other side's role checked. Owns no key's making: see `outrider tls`.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

from outrider.errors import InvalidRequest, PeerRefused

Role = Literal["api", "harness", "sandbox", "vault"]
ROLES: tuple[Role, ...] = get_args(Role)
NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?")
SCHEME = "outrider"
CONNECT_SECONDS = 5.0
LONGEST_PEM = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Identity:
    """This process's own certificate with its key, and the authority that signs everybody's; all PEM."""

    ca: str
    cert: str
    key: str


@dataclass(frozen=True, slots=True)
class Peer:
    """Whose certificate it is: one name, one or more roles."""

    name: str
    roles: frozenset[str]


def load(ca: Path, cert: Path, key: Path) -> Identity:
    """Read the three files. Raises InvalidRequest, naming the file and what is wrong with it."""
    texts = {name: _read(name, path) for name, path in (("ca", ca), ("cert", cert), ("key", key))}
    identity = Identity(**texts)
    if key.stat().st_mode & 0o077:
        raise InvalidRequest(f"peers.key: {key} can be read by others: its mode must be 0600.")
    try:
        context = _context(identity, server_side=True)
    except (ssl.SSLError, ValueError) as error:
        raise InvalidRequest(
            f"peers: {cert} and {key} must be a PEM certificate and its key without a password, {ca} PEM certificates:"
            f" {getattr(error, 'reason', None) or error}"
        ) from None
    if not context.get_ca_certs():
        raise InvalidRequest(f"peers.ca: {ca} holds no certificate of an authority.")
    return identity


def _read(name: str, path: Path) -> str:
    try:
        if path.stat().st_size > LONGEST_PEM:
            raise InvalidRequest(f"peers.{name}: {path} is too long to be a PEM file.")
        return path.read_text("ascii")
    except OSError as error:
        raise InvalidRequest(f"peers.{name}: {path}: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidRequest(f"peers.{name}: {path} is no PEM file.") from None


def packed(identity: Identity) -> bytes:
    """For the memory file in which the supervisor keeps it for its children."""
    return json.dumps([identity.ca, identity.cert, identity.key]).encode()


def unpack(fd: int) -> Identity:
    """From that memory file, whose place in the file is shared with the supervisor and so not relied upon."""
    return Identity(*json.loads(os.pread(fd, os.fstat(fd).st_size, 0)))


def server_context(identity: Identity) -> ssl.SSLContext:
    context = _context(identity, server_side=True)
    context.sslobject_class = _Telling
    return context


class _Telling(ssl.SSLObject):
    """Says why it refuses a client: event loops drop a connection whose handshake fails together with the alert. Here
    the failure looks like a wait for more, so that the alert is sent; what comes next ends it."""

    _failure: ssl.SSLError | None = None

    def do_handshake(self) -> None:
        if self._failure is not None:
            raise self._failure
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self._failure = error
            raise ssl.SSLWantReadError from error


def client_context(identity: Identity) -> ssl.SSLContext:
    return _context(identity, server_side=False)


def _context(identity: Identity, *, server_side: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=identity.ca)
    fd = os.memfd_create("outrider-peer", os.MFD_CLOEXEC)  # the library reads chains from files only
    try:
        os.write(fd, f"{identity.cert}\n{identity.key}\n".encode())
        context.load_cert_chain(f"/proc/self/fd/{fd}", password="")
    finally:
        os.close(fd)
    return context


def peer_in(certificate: Mapping[str, Any] | None) -> Peer | None:
    """What a verified certificate (as `getpeercert` gives it) says; None if it is none of ours."""
    names, roles = set[str](), set[str]()
    listed: list[tuple[str, str]] = list((certificate or {}).get("subjectAltName", ()))
    for parts in (urlsplit(value) for kind, value in listed if kind == "URI"):
        if parts.scheme == SCHEME and parts.netloc in ROLES:
            roles.add(parts.netloc)
            names.add(parts.path.removeprefix("/"))
    if len(names) != 1:
        return None
    return Peer(names.pop(), frozenset(roles))


def own(identity: Identity, now: datetime) -> Peer | None:
    """What our own certificate says. Raises InvalidRequest when it is not good at this time."""
    from cryptography import x509  # here, because only the first process asks

    found = x509.load_pem_x509_certificate(identity.cert.encode())
    if not found.not_valid_before_utc <= now <= found.not_valid_after_utc:
        until = found.not_valid_after_utc
        raise InvalidRequest(
            f"peers.cert: the certificate is not good now (it ends {until:%Y-%m-%d %H:%M} UTC): renew it."
        )
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return peer_in({"subjectAltName": [("URI", uri) for uri in uris]})


def check_role(tls: Any, wanted: Collection[str], where: str) -> Peer:
    """The peer behind a connection's `ssl_object`. Raises PeerRefused unless it has one of the wanted roles."""
    peer = peer_in(tls.getpeercert() if tls is not None else None)
    if peer is None:
        raise PeerRefused(f"The certificate of {where} names no role: issue it with `outrider tls issue`.")
    if not peer.roles & set(wanted):
        has, needs = ", ".join(sorted(peer.roles)), " or ".join(sorted(wanted))
        raise PeerRefused(f"The certificate of {where} is {peer.name}'s, for the role {has}; here it must be {needs}.")
    return peer


def address(url: str, setting: str) -> tuple[str, int]:
    """(host, port) of `https://host:port`. Raises InvalidRequest, naming the setting."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme != "https" or not parts.hostname or port is None or parts.path not in ("", "/") or parts.query:
        raise InvalidRequest(f"{setting} must be https://host:port, not {url!r}.")
    return parts.hostname, port


Protocol = TypeVar("Protocol", bound=asyncio.Protocol)


async def dial(
    host: str, port: int, context: ssl.SSLContext, role: Role, *, limit: int = 64 * 1024
) -> tuple[Peer, asyncio.StreamReader, asyncio.StreamWriter]:
    """A verified connection to a peer of that role, as `connect_to` makes it."""
    reader = asyncio.StreamReader(limit=limit)
    loop = asyncio.get_running_loop()
    peer, transport, protocol = await connect_to(
        host, port, context, role, lambda: asyncio.StreamReaderProtocol(reader, loop=loop)
    )
    return peer, reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def connect_to(
    host: str, port: int, context: ssl.SSLContext, role: Role, make: Callable[[], Protocol]
) -> tuple[Peer, asyncio.Transport, Protocol]:
    """A verified connection to a peer of that role. Raises PeerRefused (not whom we want), OSError, TimeoutError.

    In TLS 1.3 a client is done before the server has looked at its certificate: a refusal shows at the first read.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CONNECT_SECONDS):
        try:
            transport, protocol = await loop.create_connection(
                make, host, port, ssl=context, server_hostname=host, ssl_handshake_timeout=CONNECT_SECONDS
            )
        except ssl.SSLError as error:
            raise PeerRefused(f"{host}:{port}: {explain(error)}") from error
    try:
        peer = check_role(transport.get_extra_info("ssl_object"), (role,), f"{host}:{port}")
    except PeerRefused:
        transport.abort()
        raise
    return peer, transport, protocol


def explain(error: ssl.SSLError) -> str:
    """What a TLS failure means for an operator, as far as it can be told."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted here: {error.verify_message}."
    reason = (error.reason or str(error)).lower().replace("_", " ")
    if "alert" in reason:
        return f"it does not accept our certificate: {reason.split('alert')[-1].strip()}."
    return f"no TLS connection: {reason}."
