"""What the guides say, done literally: their Python blocks, in their order, with the SDK against a fresh server.

A guide goes on from where the quickstart ends: its client, agent, environment and session are there. Only what is a
reader's own is put in: addresses, places, a model.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic
from live_server import Server, data_directory, serving
from standardwebhooks import Webhook

pytestmark = pytest.mark.timeout(180)  # the first one starts a server and follows the quickstart, too
ROOT = Path(__file__).parents[2]
QUICKSTART = "docs/quickstart.md"
NOT_RUN = {
    "docs/how-to/connect-the-sdk.md": "makes a client by an address and a key, as every test does",
    "docs/how-to/mcp.md": "its agent needs a model and an MCP server of the reader's: test_mcp.py",
    "docs/how-to/models.md": "its program is one of a test's: test_model_scripted.py",
    "docs/how-to/workers.md": "its worker runs until it is stopped: test_examples.py",
}
AFTER = {"docs/how-to/dreams.md": "docs/how-to/memory.md"}
"""Guides that go on from another one's end."""
OURS = {'model="claude-sonnet-4-5"': 'model="scripted/demo"', "time.sleep(5)": "time.sleep(0.1)"}
SECRET = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="


def blocks(page: str, kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


PAGES = sorted(
    name
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md")]
    if blocks(name := str(path.relative_to(ROOT)), "python") and name not in NOT_RUN
)


class Reader:
    """Someone who does what a page says, in a directory of their own."""

    def __init__(self, server: Server, place: Path) -> None:
        self.server = server
        self.place = place
        self.names: dict[str, Any] = {}

    def follow(self, page: str) -> None:
        for number, block in enumerate(blocks(page, "python"), start=1):
            text = block.replace("http://127.0.0.1:8400", self.server.url)
            for theirs, ours in OURS.items():
                text = text.replace(theirs, ours)
            exec(compile(text, f"{page}, block {number}", "exec"), self.names)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    """Fresh, and configured by what the guides say about settings."""
    folders = tmp_path_factory.mktemp("srv")
    for name in ("handbook", "shared"):
        (folders / name).mkdir()
    settings = "".join(
        block.replace("/srv", str(folders)).replace('workspaces = ["wrkspc_01..."]\n', "")
        for page in ("docs/how-to/budgets.md", "docs/how-to/folders.md", "docs/how-to/webhooks.md")
        for block in blocks(page, "toml")
    )
    with data_directory() as data, serving(data, {"HOUSE_KEY": "k"}, config=settings) as server:
        yield server


@pytest.fixture(scope="module")
def after_quickstart(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Generator[Reader]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("ANTHROPIC_BASE_URL", server.url)
        environment.setenv("ANTHROPIC_API_KEY", server.key)
        reader = Reader(server, tmp_path_factory.mktemp("reader"))
        reader.follow(QUICKSTART)
        yield reader
        reader.names["client"].close()


@pytest.fixture
def reader(after_quickstart: Reader, monkeypatch: pytest.MonkeyPatch) -> Generator[Reader]:
    """At the end of the quickstart, with what the guides take for granted."""
    monkeypatch.chdir(after_quickstart.place)
    place = after_quickstart.place
    for name in ("report.csv", "notes.txt"):
        (place / name).write_text("a,b\n")
    (place / "monthly-report").mkdir(exist_ok=True)
    skill = re.findall(r"^```markdown\n(.*?)^```$", (ROOT / "docs/how-to/skills.md").read_text(), re.M | re.S)[0]
    (place / "monthly-report" / "SKILL.md").write_text(skill)
    with zipfile.ZipFile(place / "monthly-report.zip", "w") as archive:
        archive.write("monthly-report/SKILL.md")
    begun = Reader(after_quickstart.server, place)
    begun.names = dict(after_quickstart.names) | {"key": begun.server.key, "token": "t", "new_token": "u"}
    yield begun
    for made in begun.names.values():
        if isinstance(made, Anthropic) and made is not after_quickstart.names["client"]:
            made.close()


def delivered(session: str) -> dict[str, Any]:
    """What a webhook's receiver has in its hands."""
    data = {"type": "session.status_idled", "id": session, "organization_id": "o", "workspace_id": "w"}
    now = datetime.now(UTC)
    body = json.dumps({"type": "event", "id": "whe_1", "created_at": now.isoformat(), "data": data})
    signed = Webhook(SECRET).sign("whe_1", now, body)
    headers = {"webhook-id": "whe_1", "webhook-timestamp": str(int(now.timestamp())), "webhook-signature": signed}
    return {"request_body": body, "request_headers": headers, "signing_secret": SECRET}


def test_what_is_not_followed_has_a_program() -> None:
    assert all(blocks(page, "python") for page in NOT_RUN)


@pytest.mark.parametrize("page", [page for page in PAGES if page != QUICKSTART])
def test_a_guide_works_as_it_is_written(page: str, reader: Reader) -> None:
    if page.endswith("webhooks.md"):
        reader.names |= delivered(reader.names["session"].id)
    if page in AFTER:
        reader.follow(AFTER[page])
    reader.follow(page)


def test_the_quickstart_ends_with_the_agents_work_done(after_quickstart: Reader) -> None:
    client: Anthropic = after_quickstart.names["client"]
    session = client.beta.sessions.retrieve(after_quickstart.names["session"].id)
    assert session.status == "idle"
