"""The skills that come with this server, under the ids of the API's own: the same for every workspace, never changed.

Their files lie in the package, one directory each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

from outrider.ports.skills import SkillRecord, SkillVersion
from outrider.resources.skills.bundle import SKILL_FILE, pack, read_upload
from outrider.resources.skills.records import first_of, version_of

PLACE = "documents"
VERSION = "20261127"
WRITTEN = "2026-11-27T00:00:00.000000Z"
NOBODY = ""  # as their workspace


@dataclass(frozen=True, slots=True)
class Prebuilt:
    record: SkillRecord
    version: SkillVersion
    packed: bytes


@cache
def prebuilt() -> Mapping[str, Prebuilt]:
    """By id."""
    place = files(__package__ or __name__).joinpath(PLACE)
    return {one.name: _read(one) for one in sorted(place.iterdir(), key=lambda one: one.name) if one.is_dir()}


def _read(place: Traversable) -> Prebuilt:
    bundle = read_upload((path, data) for path, data in _files(place, place.name))
    packed = pack(bundle)
    version = version_of(bundle, packed, workspace=NOBODY, skill=place.name, id=VERSION, now=WRITTEN)
    return Prebuilt(first_of(version, _title(bundle.files[SKILL_FILE].data)), version, packed)


def _files(place: Traversable, path: str) -> list[tuple[str, bytes]]:
    found: list[tuple[str, bytes]] = []
    for one in sorted(place.iterdir(), key=lambda one: one.name):
        inner = f"{path}/{one.name}"
        if one.is_dir():
            found += [] if one.name == "__pycache__" else _files(one, inner)
        else:
            found.append((inner, one.read_bytes()))
    return found


def _title(skill_file: bytes) -> str:
    """Its first heading."""
    return next(line[2:] for line in skill_file.decode().splitlines() if line.startswith("# "))
