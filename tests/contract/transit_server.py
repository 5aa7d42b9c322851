"""A small real stand-in for the transit engine of OpenBao or HashiCorp Vault, over HTTP on loopback."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

TOKEN = "hvs.canary-token-for-transit"


@dataclass
class Transit:
    """`keys` are the versions of one key, the newest last; `sealed` makes it answer 503."""

    url: str = ""
    keys: list[bytes] = field(default_factory=lambda: [os.urandom(32)])
    sealed: bool = False
    seen: list[str] = field(default_factory=list[str])

    def encrypt(self, sent: dict[str, str]) -> dict[str, str]:
        nonce = os.urandom(12)
        plain, bound = base64.b64decode(sent["plaintext"]), base64.b64decode(sent["associated_data"])
        body = nonce + AESGCM(self.keys[-1]).encrypt(nonce, plain, bound)
        return {"ciphertext": f"vault:v{len(self.keys)}:{base64.b64encode(body).decode()}"}

    def decrypt(self, sent: dict[str, str]) -> dict[str, str] | None:
        _, version, text = sent["ciphertext"].split(":")
        body, bound = base64.b64decode(text), base64.b64decode(sent["associated_data"])
        try:
            plain = AESGCM(self.keys[int(version[1:]) - 1]).decrypt(body[:12], body[12:], bound)
        except InvalidTag:
            return None
        return {"plaintext": base64.b64encode(plain).decode()}


@contextmanager
def running_transit() -> Generator[Transit]:
    transit = Transit()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["content-length"])))
            transit.seen.append(self.path)
            if self.headers.get("x-vault-token") != TOKEN:
                return self._say(403, {"errors": ["permission denied"]})
            if transit.sealed:
                return self._say(503, {"errors": ["Vault is sealed"]})
            if self.path == "/v1/transit/encrypt/outrider":
                return self._say(200, {"data": transit.encrypt(sent)})
            if self.path == "/v1/transit/decrypt/outrider":
                found = transit.decrypt(sent)
                problem = {"errors": ["cipher: message authentication failed"]}
                return self._say(200, {"data": found}) if found else self._say(400, problem)
            return self._say(404, {"errors": []})

        def _say(self, status: int, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    transit.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield transit
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
