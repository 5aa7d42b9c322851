"""Which blob store the settings ask for."""

from __future__ import annotations

from collections.abc import Mapping

from outrider.config import Settings
from outrider.errors import InvalidRequest
from outrider.ports.blobs import Blobs
from outrider.store.blobs.local import LocalBlobs

KEY_ID, SECRET = "OUTRIDER_S3_ACCESS_KEY_ID", "OUTRIDER_S3_SECRET_ACCESS_KEY"


def open_blobs(settings: Settings, credentials: Mapping[str, str]) -> Blobs:
    """A local directory, or the bucket of `[blobs] url`. Raises InvalidRequest, naming what is missing."""
    place = settings.blobs
    if place.url is None:
        return LocalBlobs(settings.blob_files)
    missing = [name for name in (KEY_ID, SECRET) if not credentials.get(name)]
    if missing:
        raise InvalidRequest(f"blobs.url is set: the environment must have {missing[0]}.")
    from outrider.store.blobs.s3 import Bucket, open_s3

    name, _, prefix = place.url.removeprefix("s3://").partition("/")
    bucket = Bucket(name, prefix.strip("/"), place.endpoint, place.region, credentials[KEY_ID], credentials[SECRET])
    return open_s3(bucket)
