"""Requests signed for AWS with a placeholder: what arrives is signed with the real key, and nothing else is."""

from __future__ import annotations

import base64
import shlex
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from egress_trial import Trial, Web, trial
from egress_vault import credential, guarded

from outrider.proxy.egress import sigv4
from outrider.vault.audit import FILE

pytestmark = pytest.mark.anyio

_auth: Any = import_module("botocore.auth")  # it has no types
S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth = _auth.S3SigV4Auth, _auth.S3SigV4QueryAuth, _auth.SigV4Auth
AWSRequest: Any = import_module("botocore.awsrequest").AWSRequest
Credentials: Any = import_module("botocore.credentials").Credentials

KEY_ID, SECRET, TOKEN = "AKIACANARY00EXAMPLE1", "canary/wJalrXUtnFEMI+K7MDENG/bPxRfi", "canary-session//token+=="
REAL = {"AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_SESSION_TOKEN": TOKEN}
REGION = "eu-test-1"
HELD = [credential(name) for name in REAL]


@pytest.fixture(scope="module")
async def room(anyio_backend: str) -> AsyncIterator[Trial]:
    async with trial() as found:
        yield found


@pytest.fixture
async def web(room: Trial, tmp_path: Path) -> AsyncIterator[Web]:
    async with guarded(room, tmp_path, REAL, "api.example", "other.example") as found:
        yield found


async def placeholders(room: Trial, session: str, *, token: bool = False) -> Any:
    room.claim(session, credentials=HELD)
    said = await room.run(session, "echo $AWS_ACCESS_KEY_ID $AWS_SECRET_ACCESS_KEY $AWS_SESSION_TOKEN")
    key_id, secret, held = said.split()
    return Credentials(key_id, secret, held if token else None)


async def send(room: Trial, session: str, request: Any, *more: str) -> str:
    """As the sandbox sends it: the bytes that were signed, by curl."""
    words = ["curl", "-sS", "--path-as-is", "-X", request.method, *more, request.url]
    for name, text in request.headers.items():
        words += ["-H", f"{name}: {text}"]
    body = request.data or b""
    if body:
        words += ["--data-binary", "@/tmp/body"]
        if "Content-Type" not in request.headers:
            words += ["-H", "Content-Type:"]
    begun = f"echo {base64.b64encode(body).decode()} | base64 -d > /tmp/body; "
    return await room.run(session, begun + shlex.join(words))


def is_signed_with(secret: str, head: bytes, body: bytes, service: str, auth: type[Any]) -> bool:
    """What the service would say, by the official client's own computation."""
    line, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = line.split(" ")
    headers = {name.lower(): text for name, _, text in (one.partition(": ") for one in lines if one)}
    query = parse_qs(urlsplit(target).query)
    presigned = "X-Amz-Signature" in query
    if presigned:
        signed, claimed, date = (query[f"X-Amz-{name}"][0] for name in ("SignedHeaders", "Signature", "Date"))
        key_id = query["X-Amz-Credential"][0].split("/")[0]
        target = "&".join(part for part in target.split("&") if not part.startswith("X-Amz-Signature"))
    else:
        fields = dict(part.split("=", 1) for part in headers["authorization"].split(" ", 1)[1].split(", "))
        signed, claimed, date = fields["SignedHeaders"], fields["Signature"], headers["x-amz-date"]
        key_id = fields["Credential"].split("/")[0]
    assert key_id == KEY_ID
    covered = {name: headers[name] for name in signed.split(";")}
    request = AWSRequest(method, f"https://{headers['host']}{target}", covered, body)
    request.context["timestamp"] = date
    signer = auth(Credentials(key_id, secret), service, REGION)
    return signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request) == claimed


PUT = {"auth": S3SigV4Auth, "service": "s3", "method": "PUT", "data": b"whole body", "path": "/b/a%20b/%C3%BC~+//x/.."}
LISTED = {
    "auth": S3SigV4Auth,
    "service": "s3",
    "method": "GET",
    "data": b"",
    "path": "/b?list-type=2&prefix=a%2Fb&delimiter=",
}
ASKED = {
    "auth": SigV4Auth,
    "service": "sts",
    "method": "POST",
    "data": b"Action=GetCallerIdentity&Version=1",
    "path": "/",
}
NESTED = {"auth": SigV4Auth, "service": "execute-api", "method": "GET", "data": b"", "path": "/stage/a%20b/./c/"}


@pytest.mark.parametrize("how", [PUT, LISTED, ASKED, NESTED], ids=["put", "list", "post", "path"])
@pytest.mark.parametrize("token", [False, True], ids=["key", "token"])
async def test_what_the_placeholder_signed_arrives_signed_with_the_key(
    room: Trial, web: Web, tmp_path: Path, how: dict[str, Any], token: bool
) -> None:
    session = f"sesn_{how['service']}_{how['method']}_{token}"
    held = await placeholders(room, session, token=token)
    url = f"https://api.example:{web.port}{how['path']}"
    request = AWSRequest(how["method"], url, {"X-Amz-Meta-Note": "two  spaces"}, how["data"])
    how["auth"](held, how["service"], REGION).add_auth(request)
    said = await send(room, session, request)
    assert said.startswith("hello from ")
    assert is_signed_with(SECRET, web.seen[0], web.bodies[0], how["service"], how["auth"])
    assert not is_signed_with(held.secret_key, web.seen[0], web.bodies[0], how["service"], how["auth"])
    assert (f": {TOKEN}\r\n".encode() in web.seen[0]) == token
    assert b"outr_secret_" not in web.seen[0]
    assert SECRET.encode() not in web.seen[0]
    assert '"credential":"vcrd_AWS_SECRET_ACCESS_KEY"' in (tmp_path / FILE).read_text().replace(" ", "")


async def test_a_presigned_address_is_signed_anew(room: Trial, web: Web) -> None:
    held = await placeholders(room, "sesn_presigned")
    request = AWSRequest("GET", f"https://api.example:{web.port}/b/a%20b?x=%2F&versionId=1", {}, b"")
    S3SigV4QueryAuth(held, "s3", REGION, expires=60).add_auth(request)
    assert (await send(room, "sesn_presigned", request)).startswith("hello from ")
    assert is_signed_with(SECRET, web.seen[0], b"", "s3", S3SigV4QueryAuth)
    assert b"outr_secret_" not in web.seen[0]


async def test_curls_own_signature_is_made_anew(room: Trial, web: Web) -> None:
    room.claim("sesn_curl", credentials=HELD)
    signing = f"--aws-sigv4 aws:amz:{REGION}:execute-api --user $AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY"
    command = f"curl -sS {signing} -d 'k=$AWS_SECRET_ACCESS_KEY' 'https://api.example:{web.port}/x?a=1&b=2'"
    assert (await room.run("sesn_curl", command)).startswith("hello from /x")
    head = web.seen[0].replace(b",SignedHeaders", b", SignedHeaders")
    assert is_signed_with(SECRET, head, web.bodies[0], "execute-api", SigV4Auth)


async def test_a_body_that_is_only_named_unsigned_may_be_of_any_size(room: Trial, web: Web) -> None:
    held = await placeholders(room, "sesn_unsigned")
    request = AWSRequest(
        "PUT", f"https://api.example:{web.port}/b/k", {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"}, b""
    )
    SigV4Auth(held, "s3", REGION).add_auth(request)
    big = "head -c 20000000 /dev/zero > /tmp/big"
    await room.run("sesn_unsigned", big)
    assert (await send(room, "sesn_unsigned", request, "-T", "/tmp/big")).startswith("hello from ")
    assert web.bodies[0] == bytes(20_000_000)
    assert is_signed_with(SECRET, web.seen[0], web.bodies[0], "s3", SigV4Auth)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Authorization": "AWS4-HMAC-SHA256 ", "to": "AWS4-ECDSA-P256-SHA256 "}, "can't be made anew"),
        ({"Authorization": "SignedHeaders=host;", "to": "SignedHeaders="}, "does not cover the Host header"),
        ({"Authorization": "Signature=", "to": "Signature=0"}, "can't be read"),
        ({"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD", "to": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"}, "the chunks of"),
        ({"X-Amz-Meta-Note": "a", "to": "b"}, "not one that this session's secret key"),
    ],
)  # fmt: skip
async def test_a_signature_that_cannot_be_made_anew_is_refused(
    room: Trial, web: Web, change: dict[str, str], reason: str
) -> None:
    session = f"sesn_odd_{change['to'][:8].strip('=')}"
    held = await placeholders(room, session)
    headers = {"X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD", "X-Amz-Meta-Note": "a"}
    request = AWSRequest("GET", f"https://api.example:{web.port}/x", headers, b"")
    SigV4Auth(held, "s3", REGION).add_auth(request)
    (name, text), (_, to) = change.items()
    changed = request.headers[name].replace(text, to)
    del request.headers[name]
    request.headers[name] = changed
    assert reason in await send(room, session, request)
    assert not web.seen


async def test_another_sessions_placeholder_signs_nothing(room: Trial, web: Web) -> None:
    stolen = await placeholders(room, "sesn_owner")
    own = await placeholders(room, "sesn_thief")
    for key_id in (stolen.access_key, own.access_key):
        request = AWSRequest("GET", f"https://api.example:{web.port}/x", {}, b"")
        SigV4Auth(Credentials(key_id, stolen.secret_key), "s3", REGION).add_auth(request)
        assert "not one that this session's secret key" in await send(room, "sesn_thief", request)
    assert not web.seen


async def test_a_key_signs_for_its_own_hosts_and_where_headers_may_carry_it(room: Trial, web: Web) -> None:
    held = await placeholders(room, "sesn_hosts")
    request = AWSRequest("GET", f"https://other.example:{web.port}/x", {}, b"")
    SigV4Auth(held, "s3", REGION).add_auth(request)
    assert (await send(room, "sesn_hosts", request, "-k")).startswith("hello from ")
    assert held.access_key.encode() in web.seen[0]
    room.claim(
        "sesn_hosts", credentials=[credential("AWS_ACCESS_KEY_ID"), credential("AWS_SECRET_ACCESS_KEY", header=False)]
    )
    request = AWSRequest("GET", f"https://api.example:{web.port}/x", {}, b"")
    SigV4Auth(held, "s3", REGION).add_auth(request)
    assert "not one that this session's secret key" in await send(room, "sesn_hosts", request)
    assert len(web.seen) == 1


async def test_a_presigned_address_carries_no_session_token(room: Trial, web: Web) -> None:
    held = await placeholders(room, "sesn_token", token=True)
    request = AWSRequest("GET", f"https://api.example:{web.port}/b/k", {}, b"")
    S3SigV4QueryAuth(held, "s3", REGION, expires=60).add_auth(request)
    assert "would carry the session token" in await send(room, "sesn_token", request)
    assert not web.seen


async def test_a_key_of_the_sandboxes_own_is_left_alone(room: Trial, web: Web) -> None:
    await placeholders(room, "sesn_own")
    request = AWSRequest("POST", f"https://api.example:{web.port}/x", {}, b"Action=X")
    SigV4Auth(Credentials(KEY_ID, "its own"), "sts", REGION).add_auth(request)
    assert (await send(room, "sesn_own", request)).startswith("hello from ")
    assert is_signed_with("its own", web.seen[0], web.bodies[0], "sts", SigV4Auth)


def test_the_published_example_has_the_published_signature() -> None:
    """The vector of AWS's documentation for `GET ?lifecycle`."""
    empty = b"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    said = (
        b"AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,"
        b"SignedHeaders=host;x-amz-content-sha256;x-amz-date,"
        b"Signature=fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
    )
    headers = [
        (b"host", b"examplebucket.s3.amazonaws.com"), (b"x-amz-date", b"20130524T000000Z"),
        (b"x-amz-content-sha256", empty), (b"authorization", said),
    ]  # fmt: skip
    asked = sigv4.Asked(b"GET", b"/?lifecycle", headers)
    found = sigv4.read(asked)
    assert found is not None
    assert sigv4.signed_by(asked, found, empty, b"wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY") is not None
    assert sigv4.signed_by(asked, found, empty, b"another") is None
