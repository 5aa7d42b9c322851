"""Requests that a sandbox signed for AWS with a placeholder in place of the secret key: found out, and signed again."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import h11

from outrider.proxy.egress import sigv4
from outrider.proxy.egress.http1 import Headers, Talk, value, whole_body
from outrider.proxy.egress.placeholders import BEGIN, Injection, Swap
from outrider.proxy.egress.sigv4 import Asked, PathForm, Signature, Unsignable

LARGEST_HASHED = 16 * 1024 * 1024
_TOKEN = b"X-Amz-Security-Token"


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that one of the session's placeholders made. `body`: what was read to find that out."""

    found: Signature
    by: Swap
    form: PathForm
    hashed: bytes
    body: bytes | None

    def again(self, method: bytes, target: bytes, headers: Headers, injection: Injection) -> Asked:
        """The request with the real key's signature over these headers. Raises Unfit."""
        injection.used.add(self.by.credential.name)
        key_id = injection.headers([(b"", self.found.key_id)])[0][1]
        asked = Asked(method, target, headers)
        return sigv4.again(asked, self.found, key_id, self.hashed, self.by.secret, self.form)


async def signed(client: Talk, request: h11.Request, injection: Injection) -> tuple[Signed | None, bytes | None]:
    """The signature, if it is one of ours, and the body where it had to be read. Raises Unsignable, Gone, Malformed."""
    asked = Asked(request.method, request.target, list(request.headers))
    ours = BEGIN.encode() in value(asked.headers, b"authorization") + asked.target
    try:
        found = sigv4.read(asked)
        said = None if found is None else sigv4.payload(asked, found)
    except Unsignable:
        if ours:
            raise
        return None, None
    if found is None:
        return None, None
    body = await _body(client, asked) if said is None else None
    hashed = said or hashlib.sha256(body or b"").hexdigest().encode()
    for swap in injection.swaps:
        form = sigv4.signed_by(asked, found, hashed, swap.placeholder) if swap.credential.header else None
        if form is not None:
            _check_token(asked, found)
            return Signed(found, swap, form, hashed, body), body
    if BEGIN.encode() in found.key_id:
        raise Unsignable("the AWS signature is not one that this session's secret key, its placeholder, makes here")
    return None, body


def _check_token(asked: Asked, found: Signature) -> None:
    if found.presigned and BEGIN.encode() in dict(asked.pairs).get(_TOKEN, b""):
        raise Unsignable("a presigned address would carry the session token itself: sign in the headers")


async def _body(client: Talk, asked: Asked) -> bytes:
    length = int(value(asked.headers, b"content-length") or b"0")
    if value(asked.headers, b"transfer-encoding") or length > LARGEST_HASHED:
        raise Unsignable(
            f"an AWS signature over a body that is chunked, or over {LARGEST_HASHED} bytes, needs its hash"
        )
    return await whole_body(client)
