"""Stand-ins for a package index, an npm registry and a git host, on one loopback port: a package of each kind."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

WHEEL = "demo_pip-1.0-py3-none-any.whl"


class Gate:
    """Holds the index of `demo-pip` while it is closed, and counts who asked for it."""

    def __init__(self) -> None:
        self.asked = 0
        self._open = threading.Event()
        self._open.set()
        self.came = threading.Event()

    def close(self) -> None:
        self.came.clear()
        self._open.clear()

    def open(self) -> None:
        self._open.set()

    def pass_through(self) -> None:
        self.asked += 1
        self.came.set()
        self._open.wait(60.0)


@contextmanager
def registries(place: Path, gate: Gate | None = None) -> Generator[int]:
    """Its port. `localhost` packages are `demo-pip` and `demo-npm`; the repository is at `/demo.git`."""
    files = {f"/files/{WHEEL}": _wheel()}
    if shutil.which("dpkg-deb") is not None:
        files["/deb/./demo-deb.deb"] = deb = _deb(place)
        files["/deb/./Packages"] = _packages(deb)
    files["/simple/demo-pip/"] = f'<a href="/files/{WHEEL}">{WHEEL}</a>'.encode()
    _repository(place)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            body = files.get(path)
            if gate is not None and path == "/simple/demo-pip/":
                gate.pass_through()
            if body is None and path.startswith("/demo.git/") and ".." not in path:
                found = place / path[1:]
                body = found.read_bytes() if found.is_file() else None
            self.send_response(404 if body is None else 200)
            kind = "text/html" if path.startswith("/simple/") else "application/octet-stream"
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body or b"")))
            self.end_headers()
            self.wfile.write(body or b"")

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    files["/demo-npm/-/demo-npm-1.0.0.tgz"] = tarball = _tarball()
    files["/demo-npm"] = _packument(server.server_port, tarball)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _wheel() -> bytes:
    info = "demo_pip-1.0.dist-info"
    content = {
        "demo_pip.py": "print('hello from pip')\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: demo-pip\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    content[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*content, f"{info}/RECORD"))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, text in content.items():
            file.writestr(name, text)
    return made.getvalue()


def _deb(place: Path) -> bytes:
    """A program under another name than it should have, which the script of its installation would mend, and a file of
    settings."""
    tree = place / "deb"
    script = (
        "#!/bin/sh\nset -e\nupdate-alternatives --install /usr/bin/demo-deb demo-deb \\\n  /usr/bin/demo-deb.real 10\n"
    )
    content = {
        "DEBIAN/control": "Package: demo-deb\nVersion: 1.0\nArchitecture: all\nMaintainer: t <t@example.com>\n"
        "Description: tests\n",
        "DEBIAN/postinst": script,
        "bin/demo-deb.real": "#!/bin/sh\ncat /etc/demo-deb.conf\n",
        "etc/demo-deb.conf": "hello from apt\n",
    }
    for name, text in content.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(text)
        (tree / name).chmod(0o755)
    made = place / "demo-deb.deb"
    words = ["dpkg-deb", "--root-owner-group", "--build", str(tree), str(made)]
    subprocess.run(words, check=True, timeout=30, capture_output=True)
    return made.read_bytes()


def _packages(deb: bytes) -> bytes:
    """The index of a flat repository."""
    about = "Package: demo-deb\nVersion: 1.0\nArchitecture: all\nMaintainer: t <t@example.com>\nDescription: tests\n"
    where = f"Filename: ./demo-deb.deb\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
    return (about + where).encode()


def _tarball() -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as file:
        manifest = {"name": "demo-npm", "version": "1.0.0", "main": "index.js"}
        for name, text in (("package.json", json.dumps(manifest)), ("index.js", "console.log('hello from npm')\n")):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            file.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


def _packument(port: int, tarball: bytes) -> bytes:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    dist = {"tarball": f"http://localhost:{port}/demo-npm/-/demo-npm-1.0.0.tgz", "integrity": integrity}
    version = {"name": "demo-npm", "version": "1.0.0", "dist": dist}
    return json.dumps({"name": "demo-npm", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}).encode()


def _repository(place: Path) -> None:
    """A bare repository as plain files, which git can clone over HTTP."""
    work = place / "work"
    who = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "init.defaultBranch=main"]
    (work / "sub").mkdir(parents=True)
    (work / "README").write_text("hello from git\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run(["git", *who, *words], cwd=work, check=True, timeout=30)
    subprocess.run(["git", "clone", "-q", "--bare", str(work), str(place / "demo.git")], check=True, timeout=30)
    subprocess.run(["git", "update-server-info"], cwd=place / "demo.git", check=True, timeout=30)
