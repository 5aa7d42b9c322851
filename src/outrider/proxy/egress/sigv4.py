"""AWS Signature Version 4: reads a request's signature, tells which key made it, and makes it anew with another. Pure.

A sandbox signs with a placeholder, because it has no more. What verifies under a placeholder is signed again with the
secret behind it, over what is really sent. Not done: signatures over a body's chunks, and asymmetric ones.
"""

from __future__ import annotations

import hashlib
import hmac
import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from outrider.proxy.egress.http1 import Headers, value

ALGORITHM = b"AWS4-HMAC-SHA256"
UNSIGNED = b"UNSIGNED-PAYLOAD"
CHUNKS = b"STREAMING-AWS4-"
_HASH = b"x-amz-content-sha256"
_UNRESERVED = "-_.~"
_SCOPE = re.compile(rb"\d{8}/[A-Za-z0-9-]+/[A-Za-z0-9-]+/aws4_request")
_SIGNATURE = re.compile(rb"[0-9a-f]{64}")
_DATE = re.compile(rb"\d{8}T\d{6}Z")
_SPACES = re.compile(rb" +")


class Unsignable(Exception):
    """A signature that can't be made anew; the text says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request's head. `target` begins with a slash; names of headers are in lower case."""

    method: bytes
    target: bytes
    headers: Headers

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    @property
    def pairs(self) -> list[tuple[bytes, bytes]]:
        """The query's names and values, decoded."""
        query = self.target.partition(b"?")[2]
        return [
            (_decoded(name), _decoded(text)) for name, _, text in (p.partition(b"=") for p in query.split(b"&") if p)
        ]


@dataclass(frozen=True, slots=True)
class Signature:
    """What a request says of its signature. `scope` is date, region, service; `presigned`: it stands in the query."""

    key_id: bytes
    scope: bytes
    headers: tuple[bytes, ...]
    date: bytes
    signature: bytes
    presigned: bool

    @property
    def service(self) -> bytes:
        return self.scope.split(b"/")[2]


def read(asked: Asked) -> Signature | None:
    """The request's signature, if it has one of this kind. Raises Unsignable where it can't be read."""
    header = value(asked.headers, b"authorization")
    if header.startswith(b"AWS4-"):
        algorithm, _, rest = header.partition(b" ")
        fields = dict(_field(part) for part in rest.split(b","))
        named = {name: fields.get(name, b"") for name in (b"Credential", b"SignedHeaders", b"Signature")}
        return _made(algorithm, named, value(asked.headers, b"x-amz-date"), presigned=False)
    query = dict(asked.pairs)
    if b"X-Amz-Signature" not in query:
        return None
    named = {name: query.get(b"X-Amz-" + name, b"") for name in (b"Credential", b"SignedHeaders", b"Signature")}
    return _made(query.get(b"X-Amz-Algorithm", b""), named, query.get(b"X-Amz-Date", b""), presigned=True)


def _field(part: bytes) -> tuple[bytes, bytes]:
    name, _, text = part.strip().partition(b"=")
    return name, text


def _made(algorithm: bytes, named: dict[bytes, bytes], date: bytes, *, presigned: bool) -> Signature:
    key_id, _, scope = named[b"Credential"].partition(b"/")
    headers = tuple(named[b"SignedHeaders"].split(b";"))
    if algorithm != ALGORITHM:
        raise Unsignable(f"{algorithm.decode('latin-1')} signatures can't be made anew; AWS4-HMAC-SHA256 can")
    well = _SCOPE.fullmatch(scope) and _SIGNATURE.fullmatch(named[b"Signature"]) and _DATE.fullmatch(date)
    if not key_id or not well:
        raise Unsignable("the AWS signature can't be read")
    if b"host" not in headers:
        raise Unsignable("the AWS signature does not cover the Host header")
    return Signature(key_id, scope, headers, date, named[b"Signature"], presigned)


def payload(asked: Asked, found: Signature) -> bytes | None:
    """What the signature says of the body; None: its hash, which is not in the head."""
    said = value(asked.headers, _HASH)
    if said.startswith(CHUNKS):
        raise Unsignable(
            "signatures over the chunks of a body can't be made anew: sign it whole, or as UNSIGNED-PAYLOAD"
        )
    return said or (UNSIGNED if found.presigned and found.service == b"s3" else None)


def signed_by(asked: Asked, found: Signature, hashed: bytes, secret: bytes) -> PathForm | None:
    """How the path was read, if this secret made the signature; else None."""
    for form in FORMS:
        if hmac.compare_digest(_signature(asked, found, hashed, secret, form), found.signature):
            return form
    return None


def again(asked: Asked, found: Signature, key_id: bytes, hashed: bytes, secret: bytes, form: PathForm) -> Asked:
    """The request as it is now, signed with `secret`. Signed headers that stay behind are left out."""
    sent = {name for name, _ in asked.headers}
    fresh = replace(found, key_id=key_id, headers=tuple(name for name in found.headers if name in sent))
    if found.presigned:
        asked = _requeried(asked, fresh)
    made = _signature(asked, fresh, hashed, secret, form)
    if found.presigned:
        return replace(asked, target=asked.target + b"&X-Amz-Signature=" + made)
    credential = fresh.key_id + b"/" + fresh.scope
    words = (b"Credential=" + credential, b"SignedHeaders=" + b";".join(fresh.headers), b"Signature=" + made)
    kept = [pair for pair in asked.headers if pair[0] != b"authorization"]
    return replace(asked, headers=[*kept, (b"authorization", ALGORITHM + b" " + b", ".join(words))])


def _requeried(asked: Asked, fresh: Signature) -> Asked:
    """With the new key's id, and without the old signature."""
    changed = {
        b"X-Amz-Credential": fresh.key_id + b"/" + fresh.scope,
        b"X-Amz-SignedHeaders": b";".join(fresh.headers),
    }
    pairs = [(name, changed.get(name, text)) for name, text in asked.pairs if name != b"X-Amz-Signature"]
    query = b"&".join(_encoded(name) + b"=" + _encoded(text) for name, text in pairs)
    return replace(asked, target=asked.path + b"?" + query)


def _signature(asked: Asked, found: Signature, hashed: bytes, secret: bytes, form: PathForm) -> bytes:
    canonical = b"\n".join(
        (
            asked.method,
            form(asked.path),
            _canonical_query(asked),
            *(name + b":" + _joined(asked.headers, name) for name in found.headers),
            b"",
            b";".join(found.headers),
            hashed,
        )
    )
    to_sign = b"\n".join((ALGORITHM, found.date, found.scope, hashlib.sha256(canonical).hexdigest().encode()))
    key = b"AWS4" + secret
    for part in found.scope.split(b"/"):
        key = hmac.digest(key, part, hashlib.sha256)
    return hmac.digest(key, to_sign, hashlib.sha256).hex().encode()


def _joined(headers: Headers, name: bytes) -> bytes:
    return b",".join(_SPACES.sub(b" ", text.strip()) for key, text in headers if key == name)


def _canonical_query(asked: Asked) -> bytes:
    kept = ((_encoded(name), _encoded(text)) for name, text in asked.pairs if name != b"X-Amz-Signature")
    return b"&".join(name + b"=" + text for name, text in sorted(kept))


def _decoded(text: bytes) -> bytes:
    return unquote(text.decode("latin-1"), "latin-1").encode("latin-1")


def _encoded(text: bytes) -> bytes:
    return quote(text, safe=_UNRESERVED).encode()


PathForm = Callable[[bytes], bytes]
"""How a service reads the path when it checks a signature."""


def _as_sent(path: bytes) -> bytes:
    return path


def _encoded_again(path: bytes) -> bytes:
    return quote(path, safe="/" + _UNRESERVED).encode()


def _shortened(path: bytes) -> bytes:
    """Without `.`, `..` and doubled slashes, as all services but S3 read it."""
    found = posixpath.normpath(b"/" + path.lstrip(b"/"))
    return _encoded_again(found + b"/" if path.endswith(b"/") and found != b"/" else found)


FORMS: tuple[PathForm, ...] = (_as_sent, _encoded_again, _shortened)
