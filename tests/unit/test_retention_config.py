"""The tables `[blobs]` and `[retention]`: what they take, and what they refuse by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from outrider import config
from outrider.config import BlobPlace, Retention, Settings
from outrider.errors import InvalidRequest
from outrider.store.blobs.local import LocalBlobs
from outrider.store.blobs.opening import open_blobs


def load(tmp_path: Path, text: str) -> Settings:
    (tmp_path / "config.toml").write_text(text)
    return config.load({}, data=tmp_path)


def test_without_tables_blobs_are_local_and_nothing_is_ever_moved_or_deleted(tmp_path: Path) -> None:
    settings = load(tmp_path, "")
    assert (settings.blobs, settings.retention) == (BlobPlace(), Retention(None, None))
    assert isinstance(open_blobs(settings, {}), LocalBlobs)


def test_a_bucket_and_ages_are_taken_over(tmp_path: Path) -> None:
    text = '[blobs]\nurl = "s3://bucket/a/b"\nendpoint = "http://127.0.0.1:9"\n[retention]\ncold_after_days = 0.5\n'
    settings = load(tmp_path, text)
    assert settings.blobs == BlobPlace("s3://bucket/a/b", "http://127.0.0.1:9", "us-east-1")
    assert settings.retention == Retention(0.5, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[blobs]\nregion = "eu"', "blobs.region needs blobs.url"),
        ('[blobs]\nurl = "https://bucket"', "blobs.url must be s3://"),
        ('[blobs]\nurl = "s3://bucket"\nendpoint = "bucket.example"', "blobs.endpoint must begin with"),
        ("[blobs]\nurl = 7", "blobs.url must be a string"),
        ("[retention]\ncold_after_days = 0", "retention.cold_after_days must be a number of days above 0"),
        ("[retention]\ndelete_after_days = true", "retention.delete_after_days must be"),
        ("[retention]\narchive_after_days = 3", "unknown key retention.archive_after_days"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=said):
        load(tmp_path, text)


def test_a_bucket_without_credentials_is_refused_by_the_variables_name(tmp_path: Path) -> None:
    settings = load(tmp_path, '[blobs]\nurl = "s3://bucket"')
    with pytest.raises(InvalidRequest, match="OUTRIDER_S3_ACCESS_KEY_ID"):
        open_blobs(settings, {})
    with pytest.raises(InvalidRequest, match="OUTRIDER_S3_SECRET_ACCESS_KEY"):
        open_blobs(settings, {"OUTRIDER_S3_ACCESS_KEY_ID": "id"})
