"""`outrider tls ...`: the deployment's own authority, and the certificates by which its processes know each other.

Owns the files' form and modes. The authority's key stays in its own directory and goes to no server.
"""

from __future__ import annotations

import ipaddress
import os
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outrider.errors import InvalidRequest

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

CA_CERT, CA_KEY = "ca.pem", "ca.key"
CA_DAYS = 3650
DAYS = 365
BACKDATED = timedelta(minutes=5)  # so that a host whose clock is a little late accepts it at once
HOST = re.compile(r"(?=.{1,253}$)[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?)*")


@click.group()
def tls() -> None:
    """Certificates by which the parts of one deployment know each other."""


@tls.command()
@click.argument("directory", type=click.Path(file_okay=False, path_type=Path))
@click.option("--days", type=click.IntRange(1, 36500), default=CA_DAYS, show_default=True)
def init(directory: Path, days: int) -> None:
    """Make the deployment's authority in DIRECTORY: ca.pem for every machine, ca.key for none."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in (CA_CERT, CA_KEY):
        if (directory / name).exists():
            raise InvalidRequest(f"{directory / name} exists: a new authority would refuse everything it has signed.")
    key = ec.generate_private_key(ec.SECP256R1())
    named = _named("Outrider deployment authority")
    made = _builder(named, named, key, days)
    made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    made = made.add_extension(_usage(ca=True), critical=True)
    made = made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    _write_key(directory / CA_KEY, key)
    _write_cert(directory / CA_CERT, _signed(made, key))
    click.echo(f"{directory / CA_CERT}: for every machine ([peers] ca)\n{directory / CA_KEY}: keep it apart")


@tls.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--name", required=True, help="Name of the process or machine; lower-case letters, digits, `.`, `-`.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice(["api", "harness", "sandbox", "vault"]),
    help="What the holder may be; may be repeated.",
)
@click.option("--address", "addresses", multiple=True, help="Host name or IP at which it is reached; may be repeated.")
@click.option("--days", type=click.IntRange(1, 36500), default=DAYS, show_default=True)
def issue(directory: Path, name: str, roles: tuple[str, ...], addresses: tuple[str, ...], days: int) -> None:
    """Issue NAME.pem and NAME.key with the authority in DIRECTORY. Issuing again renews: restart the process then."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec

    from outrider.links import peers

    if not peers.NAME.fullmatch(name) or name == "ca":
        raise InvalidRequest(f"--name {name}: 1 to 63 lower-case letters, digits, `.` and `-`, and not `ca`.")
    if {"sandbox", "vault"} & set(roles) and not addresses:
        raise InvalidRequest("--address: a sandbox host or vault is called by others: say where it is reached.")
    ca, ca_key = _authority(directory)
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [
        x509.UniformResourceIdentifier(f"{peers.SCHEME}://{role}/{name}") for role in roles
    ]
    names += [_general_name(one) for one in addresses]
    made = _builder(_named(name), ca.subject, key, days)
    made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    made = made.add_extension(_usage(ca=False), critical=True)
    made = made.add_extension(x509.ExtendedKeyUsage(_both_ways()), critical=False)
    made = made.add_extension(x509.SubjectAlternativeName(names), critical=False)
    signer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    made = made.add_extension(signer, critical=False)
    _write_key(directory / f"{name}.key", key)
    _write_cert(directory / f"{name}.pem", _signed(made, ca_key))
    click.echo(f"{directory / name}.pem, {directory / name}.key: {', '.join(roles)}; good for {days} days")


def _authority(directory: Path) -> tuple[x509.Certificate, EllipticCurvePrivateKey]:
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

    try:
        ca = x509.load_pem_x509_certificate((directory / CA_CERT).read_bytes())
        key = serialization.load_pem_private_key((directory / CA_KEY).read_bytes(), None)
    except OSError as error:
        raise InvalidRequest(f"{error.filename}: {error.strerror}; `outrider tls init` makes an authority.") from None
    except ValueError as error:
        raise InvalidRequest(f"{directory}: {CA_CERT} and {CA_KEY} are not what `outrider tls init` made.") from error
    if not isinstance(key, EllipticCurvePrivateKey) or key.public_key() != ca.public_key():
        raise InvalidRequest(f"{directory}: {CA_KEY} is not the key of {CA_CERT}.")
    return ca, key


def _named(name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, days: int) -> x509.CertificateBuilder:
    from cryptography import x509

    start = datetime.now(UTC) - BACKDATED
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number())
    return made.not_valid_before(start).not_valid_after(start + timedelta(days=days))


def _usage(*, ca: bool) -> x509.KeyUsage:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _both_ways() -> list[x509.ObjectIdentifier]:
    from cryptography.x509.oid import ExtendedKeyUsageOID

    return [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]


def _general_name(address: str) -> x509.GeneralName:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        pass
    if not HOST.fullmatch(address):
        raise InvalidRequest(f"--address {address}: must be a host name or an IP address, without a port.")
    return x509.DNSName(address)


def _signed(made: x509.CertificateBuilder, key: EllipticCurvePrivateKey) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes

    return made.sign(key, hashes.SHA256())


def _write_key(path: Path, key: EllipticCurvePrivateKey) -> None:
    from cryptography.hazmat.primitives import serialization

    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    _write(path, text, 0o600)


def _write_cert(path: Path, cert: x509.Certificate) -> None:
    from cryptography.hazmat.primitives import serialization

    _write(path, cert.public_bytes(serialization.Encoding.PEM), 0o644)


def _write(path: Path, content: bytes, mode: int) -> None:
    """Whole or not at all: a running process may be reading the file that is renewed."""
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
