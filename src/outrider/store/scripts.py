"""Numbered schema scripts, forward only: their order, and the refusal of what a newer release has changed."""

from __future__ import annotations

from importlib.resources import files

from outrider.errors import UnfitDatabase

Script = tuple[int, str, str]  # number, name, text


def shipped(package: str) -> list[Script]:
    """The scripts that a store's package ships, in order: `0001_start.sql` is number 1.

    Raises ValueError when a number is missing or given twice: databases remember only numbers.
    """
    folder = files(package).joinpath("sql/migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    numbers = [int(name.split("_", 1)[0]) for name in names]
    if numbers != list(range(1, len(names) + 1)):
        raise ValueError(f"{package}: the schema scripts are not numbered from 1 without gaps: {', '.join(names)}")
    return [
        (number, name, folder.joinpath(name).read_text("utf-8")) for number, name in zip(numbers, names, strict=True)
    ]


def refuse_newer(found: int, newest: int) -> None:
    """Raises UnfitDatabase when the schema found is newer than the newest known one."""
    if found > newest:
        raise UnfitDatabase(
            f"The database has schema version {found}, and this release of outrider knows {newest}:"
            " start the newer release again, or restore a copy made before the upgrade."
        )
