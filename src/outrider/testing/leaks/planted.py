"""Canary credentials in a running server: planted through its API, tempted by an agent in a real sandbox, and removed.

Every canary of a run begins with the same random word, so that one search finds them all.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from anthropic import Anthropic, APIError, APIStatusError, BaseModel

from outrider.errors import SandboxUnavailable

Made = TypeVar("Made", bound=BaseModel)
VARIABLE = "AUDIT_TOKEN"
TALK_SECONDS = 300.0
WORD_BYTES = 10
ASK = "Run exactly this with your bash tool, once and unchanged, then say `done`:\n\n"


@dataclass
class Planted:
    """`word` begins every canary; `said` is every answer, event and error text that a client saw."""

    client: Anthropic
    word: str = field(default_factory=lambda: f"canary{secrets.token_hex(WORD_BYTES)}")
    vault: str = ""
    credentials: list[str] = field(default_factory=list[str])
    sessions: list[str] = field(default_factory=list[str])
    said: list[str] = field(default_factory=list[str])
    _agent: str = ""
    _environment: str = ""

    def plant(self, model: str) -> None:
        """A vault with a credential of each kind, one of them changed once."""
        vaults, beta = self.client.beta.vaults, self.client.beta
        self.vault = self._note(vaults.create(display_name="outrider audit")).id
        networking = {"type": "limited", "allowed_hosts": ["audit.invalid"]}
        refresh = {
            "refresh_token": self._canary(),
            "client_id": "audit",
            "token_endpoint": "https://audit.invalid/token",
            "token_endpoint_auth": {"type": "client_secret_basic", "client_secret": self._canary()},
        }
        kinds: list[dict[str, Any]] = [
            {"type": "static_bearer", "mcp_server_url": "https://audit.invalid/a", "token": self._canary()},
            {"type": "mcp_oauth", "mcp_server_url": "https://audit.invalid/b", "access_token": self._canary(),
             "refresh": refresh},
            {"type": "environment_variable", "secret_name": VARIABLE, "secret_value": self._canary(),
             "networking": networking},
        ]  # fmt: skip
        for auth in kinds:
            made = self._note(vaults.credentials.create(self.vault, auth=auth))  # pyright: ignore[reportArgumentType]
            self.credentials.append(made.id)
        change: Any = {"type": "static_bearer", "token": self._canary()}
        self._note(vaults.credentials.update(self.credentials[0], vault_id=self.vault, auth=change))
        wrong = f"{self._canary()}\r\n"
        self._refused({"type": "static_bearer", "mcp_server_url": "https://x.invalid", "token": wrong})
        tools: Any = [{"type": "agent_toolset_20260401"}]
        self._agent = self._note(beta.agents.create(name="outrider audit", model=model, tools=tools)).id
        self._environment = self._note(beta.environments.create(name=f"outrider audit {self.word[-6:]}")).id

    def _refused(self, auth: Any) -> None:
        """An error's text is an answer too."""
        try:
            self.client.beta.vaults.credentials.create(self.vault, auth=auth)
        except APIStatusError as error:
            self.said.append(error.response.text)

    def _canary(self) -> str:
        return self.word + secrets.token_hex(6)

    def _note(self, made: Made) -> Made:
        self.said.append(made.to_json())
        return made

    def run(self, command: str, *, scripted: bool, with_vault: bool) -> str:
        """The output of a command in the sandbox of a new session, by way of its agent. Raises SandboxUnavailable when
        the model did not run it."""
        beta = self.client.beta
        vaults = [self.vault] if with_vault else []
        session = beta.sessions.create(agent=self._agent, environment_id=self._environment, vault_ids=vaults).id
        self.sessions.append(session)
        text = f"bash: {json.dumps({'command': command})}" if scripted else ASK + command
        with beta.sessions.events.stream(session, timeout=TALK_SECONDS) as stream:
            content: Any = [{"type": "text", "text": text}]
            beta.sessions.events.send(session, events=[{"type": "user.message", "content": content}])
            found = [self._note(event) for event in _until_idle(stream)]
        for event in found:
            if event.type == "agent.tool_result" and event.content:
                return "".join(getattr(block, "text", "") for block in event.content)
        said = [event.error.message for event in found if event.type == "session.error"]
        raise SandboxUnavailable(f"The model ran no command: {' '.join(said) or 'it answered something else'}")

    def history(self) -> None:
        """Everything that a client can read afterwards, too."""
        for session in self.sessions:
            for event in self.client.beta.sessions.events.list(session, limit=1000):
                self._note(event)
            self._note(self.client.beta.sessions.retrieve(session))
        if self.vault:
            for credential in self.client.beta.vaults.credentials.list(self.vault, include_archived=True):
                self._note(credential)

    def remove(self) -> list[str]:
        """Take everything away again; what could not be."""
        left: list[str] = []
        beta = self.client.beta
        steps: list[tuple[str, Callable[[], object]]] = [
            (f"session {one}", partial(beta.sessions.delete, one)) for one in self.sessions
        ]
        if self.vault:
            steps.append((f"vault {self.vault}", partial(beta.vaults.delete, self.vault)))
        if self._agent:
            steps.append((f"agent {self._agent}", partial(beta.agents.archive, self._agent)))
        if self._environment:
            steps.append((f"environment {self._environment}", partial(beta.environments.delete, self._environment)))
        for what, step in steps:
            try:
                step()
            except APIError as error:
                left.append(f"{what}: {error.message}")
        return left


def _until_idle(stream: Iterable[Any]) -> Iterator[Any]:
    for event in stream:
        yield event
        if event.type == "session.status_idle":
            return
