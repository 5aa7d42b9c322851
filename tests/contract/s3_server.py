"""An S3 stand-in on a free loopback port, in a thread of the test's process."""

from __future__ import annotations

import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from outrider.store.blobs.s3 import Bucket

BUCKET = "outrider-tests"


@contextmanager
def s3_server() -> Generator[str]:
    """Its URL; one bucket is there."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    try:
        urllib.request.urlopen(urllib.request.Request(f"{url}/{BUCKET}", method="PUT"), timeout=10).close()
        yield url
    finally:
        server.stop()


def bucket(url: str, test: Path) -> Bucket:
    """A part of the bucket that no other test uses."""
    return Bucket(BUCKET, f"tests/{test.name}", url, "us-east-1", "key-id", "secret-of-tests")
