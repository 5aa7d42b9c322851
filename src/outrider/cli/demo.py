"""`outrider demo`: the main job end to end, on a server of its own that it starts and stops."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from outrider.cli.running import Address, address, reason

if TYPE_CHECKING:
    from anthropic import Anthropic

START_SECONDS = 60.0
POLL_SECONDS = 0.05
NO_ISOLATION = 3  # exit code
SCRIPTED = "scripted/demo"
HOSTED = "claude-sonnet-5-5"
TASK = """\
Write a small Python package `tally` in /workspace with functions `mean` and `median` for lists of numbers, and a unit
test for both. Run the test in the sandbox; if it fails, read the failure, fix the code and run it again until it is
green. Then write a short report to /mnt/session/outputs/REPORT.md."""
SYSTEM = "You are a careful programmer. Say in a sentence what you do next, then do it with your tools."


@click.command(short_help="Watch an agent do real work.")
@click.option("--model", help="Model to use.  [default: a scripted one, or one of the configured endpoint]")
@click.option("--keep", is_flag=True, help="Leave the demo's data directory in place.")
def demo(model: str | None, keep: bool) -> None:
    """Watch an agent do real work: a session on a real server, in a real sandbox, from a durable log.

    Needs no key and no service. With ANTHROPIC_API_KEY or OUTRIDER_MODEL_URL set, a real model does it.
    """
    place = Path(tempfile.mkdtemp(prefix="outrider-demo-"))
    place.chmod(0o711)  # as root, the roles drop to users who must be able to pass through
    data = place / "data"
    try:
        with _server(data) as found:
            code = _run(found, data, model)
    finally:
        if keep:
            click.echo(f"The demo's data is in {data}.")
        else:
            shutil.rmtree(place, ignore_errors=True)
    sys.exit(code)


@contextmanager
def _server(data: Path) -> Generator[Address]:
    """A real `outrider serve` on a free port. Its output goes to a file beside the data directory."""
    command = [sys.executable, "-m", "outrider", "serve", "--port", "0", "--data", str(data)]
    not_ours = {"OUTRIDER_API_KEY", "OUTRIDER_DATA", "OUTRIDER_DATABASE_URL", "OUTRIDER_NATS_URL"}
    environment = {k: v for k, v in os.environ.items() if k not in not_ours}
    with _log(data).open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        try:
            yield _address_of(process, data)
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _address_of(process: subprocess.Popen[bytes], data: Path) -> Address:
    deadline = time.monotonic() + START_SECONDS
    while not (data / "server.json").exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise click.ClickException("The server did not start:\n" + _log(data).read_text()[-4000:])
        time.sleep(POLL_SECONDS)
    found = address({}, data)
    while not _ready(found.url):
        if time.monotonic() > deadline:
            raise click.ClickException("The server does not answer:\n" + _log(data).read_text()[-4000:])
        time.sleep(POLL_SECONDS)
    return found


def _log(data: Path) -> Path:
    return data.with_name("serve.log")


def _ready(url: str) -> bool:
    import httpx2

    try:
        return httpx2.get(f"{url}/readyz", timeout=5).status_code == 200
    except httpx2.HTTPError:
        return False


def _run(found: Address, data: Path, model: str | None) -> int:
    from anthropic import Anthropic, APIStatusError

    client = Anthropic(base_url=found.url, api_key=found.key, max_retries=4)
    host = json.loads(client.get("/outrider/v1/host", cast_to=str))
    if not host["sandbox"]["available"]:
        click.echo(f"This host can't isolate the agent's commands: {host['sandbox']['problem']}", err=True)
        click.echo(f"What to do: {host['sandbox']['fix']}", err=True)
        return NO_ISOLATION
    chosen = model or _default_model(host["models"])
    click.echo(f"A server runs at {found.url}; the model is {chosen}.\n")
    try:
        _session(client, chosen)
    except APIStatusError as error:
        raise click.ClickException(reason(error, found)) from None
    _outputs(data)
    _closing(chosen)
    return 0


def _default_model(names: list[str]) -> str:
    """The scripted model when nothing else is configured, else a model that the configured endpoint names."""
    if SCRIPTED in names:
        return SCRIPTED
    return os.environ.get("OUTRIDER_DEMO_MODEL") or (names[0] if names else HOSTED)


def _session(client: Anthropic, model: str) -> None:
    from rich.console import Console

    from outrider.cli.show import Show

    beta = client.beta
    agent = beta.agents.create(name="demo", model=model, system=SYSTEM, tools=[{"type": "agent_toolset_20260401"}])
    environment = beta.environments.create(name="demo")
    session = beta.sessions.create(agent=agent.id, environment_id=environment.id, title="Demo")
    show = Show(Console(highlight=False))
    with beta.sessions.events.stream(session.id, event_deltas=["agent.message", "agent.thinking"]) as stream:
        beta.sessions.events.send(
            session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": TASK}]}]
        )
        for event in stream:
            show.event(event)
            if event.type == "session.status_idle" and event.stop_reason.type != "requires_action":
                break
    usage = beta.sessions.retrieve(session.id).usage
    click.echo(f"\n{usage.input_tokens} tokens in, {usage.output_tokens} out; session {session.id}.")


def _outputs(data: Path) -> None:
    """Name what the agent left; the file's own rights decide whether this user may see it."""
    found = sorted(path for path in data.glob("sandboxes/sessions/*/own/outputs/*"))
    for path in found:
        click.echo(f"Output: {path.name} ({path.lstat().st_size} bytes)")


def _activation() -> list[str]:
    """The line that makes `outrider` and this Python the ones that a shell finds, where it doesn't yet."""
    place = Path(sys.prefix) / "bin"
    if shutil.which("outrider") == str(place / "outrider"):
        return []
    return [f"  . {shlex.quote(str(place / 'activate'))}    # in each terminal, first"]


def _first_program() -> str:
    """An example where there is a checkout; a wheel has none beside it."""
    example = Path(__file__).parents[3] / "examples" / "first_session.py"
    if not example.exists():
        return shlex.join(["-c", "import anthropic; print(anthropic.Anthropic().beta.sessions.list().data)"])
    return str(example.relative_to(Path.cwd())) if example.is_relative_to(Path.cwd()) else shlex.quote(str(example))


def _closing(model: str) -> None:
    lines = [""]
    if model == SCRIPTED:
        lines += [
            "That was the scripted model: its lines are written down, everything else was real.",
            "To use a model of your own, set one of these and run the demo again:",
            "  export ANTHROPIC_API_KEY=...                        # the hosted API",
            "  export OUTRIDER_MODEL_URL=http://localhost:11434    # any server that speaks /v1/messages",
        ]
    lines += [
        "To connect the SDK:",
        *_activation(),
        "  outrider serve                    # in one terminal",
        '  eval "$(outrider env)"            # in another: sets ANTHROPIC_BASE_URL and ANTHROPIC_API_KEY',
        f"  python {_first_program()}",
    ]
    click.echo("\n".join(lines))
