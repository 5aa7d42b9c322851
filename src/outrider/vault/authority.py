"""This deployment's certificate authority for sandboxes: made once, its key stays in the vault's directory and process.

It signs for the hosts that a session's credentials are for, for sandboxes alone; nobody else is told to trust it.
"""

from __future__ import annotations

import os
import ssl
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

FILE = "egress-ca.pem"
YEARS = timedelta(days=3650)
LEAF = timedelta(days=30)
SKEW = timedelta(days=1)
MOST_HOSTS = 1000
PROTOCOLS = ["http/1.1"]


class WrongName(Exception):
    """The client's handshake names another host than its request."""


class Authority:
    """`certificate` is the public part, PEM."""

    def __init__(self, directory: Path) -> None:
        path = directory / FILE
        if not path.exists():
            _make(path)
        pem = path.read_bytes()
        self._key = serialization.load_pem_private_key(pem, None)
        self._issuer = x509.load_pem_x509_certificate(pem)
        self.certificate = self._issuer.public_bytes(serialization.Encoding.PEM).decode()
        self._leaf_key = ec.generate_private_key(ec.SECP256R1())
        self._contexts: OrderedDict[str, tuple[ssl.SSLContext, datetime]] = OrderedDict()

    def context(self, host: str) -> ssl.SSLContext:
        """For serving a sandbox that asked for `host`; a handshake that names another host fails."""
        now = datetime.now(UTC)
        found, until = self._contexts.get(host, (None, now))
        if found is None or until <= now:
            found = self._made(host, now)
            self._contexts[host] = (found, now + LEAF / 2)
            if len(self._contexts) > MOST_HOSTS:
                self._contexts.popitem(last=False)
        return found

    def _made(self, host: str, now: datetime) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(PROTOCOLS)
        fd = os.memfd_create("leaf", os.MFD_CLOEXEC)  # the interface takes files only; this one never lies on a disk
        try:
            os.write(fd, self._leaf(host, now) + _private(self._leaf_key))
            context.load_cert_chain(f"/proc/self/fd/{fd}")
        finally:
            os.close(fd)

        def named(_connection: ssl.SSLObject | ssl.SSLSocket, name: str | None, _context: ssl.SSLContext) -> int | None:
            wrong = name is not None and name.lower().removesuffix(".") != host
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME if wrong else None

        context.sni_callback = named
        return context

    def _leaf(self, host: str, now: datetime) -> bytes:
        try:
            name: x509.GeneralName = x509.IPAddress(ip_address(host))
        except ValueError:
            name = x509.DNSName(host)
        assert isinstance(self._key, ec.EllipticCurvePrivateKey)
        made = (
            _builder(x509.Name([]), self._issuer.subject, now, LEAF)
            .public_key(self._leaf_key.public_key())
            .add_extension(x509.SubjectAlternativeName([name]), critical=True)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


def _builder(subject: x509.Name, issuer: x509.Name, now: datetime, life: timedelta) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    return builder.serial_number(x509.random_serial_number()).not_valid_before(now - SKEW).not_valid_after(now + life)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _make(path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Outrider egress, for sandboxes of this deployment")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    made = (
        _builder(name, name, datetime.now(UTC), YEARS)
        .public_key(key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(made.public_bytes(serialization.Encoding.PEM) + _private(key))
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
