"""What pages tell people to type is a command, with options that it has; and their links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from outrider.cli import cli

ROOT = Path(__file__).parents[2]
PAGES = [*(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")), *ROOT.glob("docs/**/*.md")]
GENERATED = {"cli.md"}


def typed(page: Path) -> list[str]:
    """Lines of a page's shell blocks, joined where they go on, from `outrider` up to what the shell does with it."""
    found: list[str] = []
    for block in re.findall(r"^```sh\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found += re.findall(r"(?:^|\s|\$\()(?:\S*/)?(outrider [^|>&;)#]*)", line.split(" #")[0])
    return found


COMMANDS = sorted(
    {(str(page.relative_to(ROOT)), line) for page in PAGES if page.name not in GENERATED for line in typed(page)}
)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_in_the_docs_exists_with_its_options(page: str, line: str) -> None:
    words = shlex.split(line.replace("[", "").replace("]", ""))[1:]
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        inner = command.get_command(click.Context(command), words.pop(0))
        assert inner is not None, f"{page}: {line}"
        command = inner
    known = {option for one in command.params for option in one.opts} | {"--help", "-h", "--version"}
    used = {word.split("=")[0] for word in words if word.startswith("-")}
    assert used <= known, f"{page}: {line}"
    assert not isinstance(command, click.Group) or used, f"{page}: {line} has no effect"


def test_there_are_commands_in_the_docs() -> None:
    assert len(COMMANDS) > 20


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES])
def test_links_of_the_docs_lead_somewhere(page: str) -> None:
    for link in re.findall(r"\]\(([^)\s:]+)\)", (ROOT / page).read_text()):
        place, _, heading = link.partition("#")
        target = (ROOT / page).parent / place if place else ROOT / page
        assert target.exists(), link
        if heading and target.suffix == ".md":
            assert heading in {anchor(one) for one in re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)}, link


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
