"""A real git server over HTTPS on loopback: git's own http-backend behind a check of tokens. Keeps what it was asked.

Its repositories lie below `root` as `owner/name.git`. `tokens` maps a repository to the token that it wants, or to None
for one that everybody may read. `answers` gives canned answers in git's place, for servers that mean harm.
"""

from __future__ import annotations

import base64
import ssl
import subprocess
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class Asked:
    method: str
    target: str
    headers: dict[str, str]

    @property
    def token(self) -> str | None:
        """The token that the request shows, by whatever scheme."""
        scheme, _, proof = self.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "basic":
            return base64.b64decode(proof).decode().partition(":")[2]
        return proof or None


@dataclass
class GitServer:
    root: Path
    tokens: dict[str, str | None] = field(default_factory=dict[str, str | None])
    answers: dict[str, Callable[[Asked], Answer | None]] = field(default_factory=dict)  # type: ignore[type-arg]
    asked: list[Asked] = field(default_factory=list[Asked])
    port: int = 0

    def url(self, name: str, host: str = "git.example") -> str:
        return f"https://{host}:{self.port}/{name}"

    def used(self, token: str) -> list[str]:
        """Targets of the requests that showed this token."""
        return [one.target for one in self.asked if one.token == token]

    def make(self, name: str, token: str | None, files: dict[str, str], branch: str = "main") -> str:
        """A repository with one commit; its id."""
        place = self.root / f"{name}.git"
        place.mkdir(parents=True)
        self.tokens[name] = token
        git(place, "init", "-q", "--bare", f"--initial-branch={branch}")
        git(place, "config", "http.receivepack", "true")
        git(place, "config", "uploadpack.allowFilter", "true")
        return self.commit(name, files, branch)

    def commit(self, name: str, files: dict[str, str], branch: str = "main") -> str:
        """Files on top of a branch, or a branch of their own; `link:target` and `run:text` make other modes."""
        place, lines = (
            self.root / f"{name}.git",
            [f"commit refs/heads/{branch}", "committer T <t@example> 1700000000 +0000"],
        )
        lines += ["data 1", "m"]
        if git(place, "branch", "--list", branch):
            lines.append(f"from refs/heads/{branch}^0")
        for path, text in files.items():
            kind, _, rest = text.partition(":")
            mode, data = {"link": ("120000", rest), "run": ("100755", rest)}.get(kind, ("100644", text))
            lines += [f"M {mode} inline {path}", f"data {len(data.encode())}", data]
        subprocess.run(["git", "-C", str(place), "fast-import", "--quiet", "--force"], check=True,
                       input="\n".join(lines).encode() + b"\n", env=ENVIRONMENT)  # fmt: skip
        return git(place, "rev-parse", branch).strip()

    @contextmanager
    def serving(self, context: ssl.SSLContext) -> Generator[GitServer]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join(10)


ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin:/bin",
    "GIT_CONFIG_NOSYSTEM": "1",
    "HOME": "/nonexistent",
    "LC_ALL": "C",
}


def git(place: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(place), *words], check=True, capture_output=True, env=ENVIRONMENT)
    return done.stdout.decode()


class _Handler(BaseHTTPRequestHandler):
    """Serves one connection for `owner`."""

    owner: GitServer
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""

    def handle(self) -> None:
        try:
            super().handle()
        except (OSError, ssl.SSLError):
            self.close_connection = True

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def _serve(self) -> None:
        asked = Asked(
            self.command, self.requestline.split()[1], {name.lower(): text for name, text in self.headers.items()}
        )
        self.owner.asked.append(asked)
        body = self._body()
        path = urlsplit(self.path).path
        canned = next((make for beginning, make in self.owner.answers.items() if path.startswith(beginning)), None)
        answer = canned(asked) if canned is not None else None
        self._reply(*(answer or self._by_git(asked, path, body)))

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding") == "chunked":
            found = b""
            while size := int(self.rfile.readline(), 16):
                found += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return found
        return self.rfile.read(int(self.headers.get("content-length", "0")))

    def _by_git(self, asked: Asked, path: str, body: bytes) -> Answer:
        name = next(
            (one for one in self.owner.tokens if path.removeprefix("/").startswith((f"{one}/", f"{one}.git/"))), None
        )
        if name is None:
            return 404, {}, b"not found"
        wanted = self.owner.tokens[name]
        if wanted is not None and asked.token is None:
            return 401, {"www-authenticate": 'Basic realm="git"'}, b"who are you"
        if wanted is not None and asked.token != wanted:
            return 403, {}, b"not you"
        return self._backend(name, path, body)

    def _backend(self, name: str, path: str, body: bytes) -> Answer:
        rest = path.removeprefix(f"/{name}").removeprefix(".git")
        variables = ENVIRONMENT | {
            "GIT_PROJECT_ROOT": str(self.owner.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "PATH_INFO": f"/{name}.git{rest}",
            "REQUEST_METHOD": self.command,
            "QUERY_STRING": urlsplit(self.path).query,
            "CONTENT_TYPE": self.headers.get("content-type", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("content-encoding", ""),
            "GIT_PROTOCOL": self.headers.get("git-protocol", ""),
            "REMOTE_USER": "tester",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
        }
        done = subprocess.run(["git", "http-backend"], input=body, capture_output=True, env=variables, check=False)
        head, _, found = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        return int(fields.pop("Status", "200").split()[0]), fields, found

    def _reply(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, text in headers.items():
            self.send_header(name, text)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
