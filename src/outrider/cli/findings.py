"""How `outrider doctor` says what it finds."""

from __future__ import annotations

import click

GOOD, BAD, NOTE = "ok  ", "FAIL", "    "


class Findings:
    """Prints each finding as it comes; remembers whether something failed."""

    def __init__(self) -> None:
        self.failed = False

    def good(self, what: str) -> None:
        click.echo(f"{click.style(GOOD, 'green')} {what}")

    def bad(self, what: str, fix: str | None = None) -> None:
        self.failed = True
        click.echo(f"{click.style(BAD, 'red')} {what}")
        if fix:
            click.echo(f"{NOTE} -> {fix}")

    def note(self, what: str) -> None:
        click.echo(f"{NOTE} {what}")
