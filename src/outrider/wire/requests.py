"""From a request's body to a checked dict: JSON, then the compiled type with its limits. The first error decides.

Types are compiled when first needed. What the types and limits can't say (references, states) is checked in resources/.
"""

from __future__ import annotations

import importlib
from functools import cache
from typing import Any, NamedTuple, cast

import msgspec
from pydantic import TypeAdapter, ValidationError

from outrider.errors import InvalidRequest
from outrider.wire.compile import Compiler
from outrider.wire.limits import LIMITS
from outrider.wire.paths import field_path

SDK_TYPES = "anthropic.types.beta"


class Declared(NamedTuple):
    """Where the SDK declares a request's body; `without` names what it puts into the path or query."""

    module: str
    name: str
    without: tuple[str, ...] = ()


REQUESTS: dict[str, Declared] = {
    "agents.create": Declared("agent_create_params", "AgentCreateParams"),
    "agents.update": Declared("agent_update_params", "AgentUpdateParams"),
    "environments.create": Declared("environment_create_params", "EnvironmentCreateParams"),
    "environments.update": Declared("environment_update_params", "EnvironmentUpdateParams"),
    "sessions.create": Declared("session_create_params", "SessionCreateParams"),
    "sessions.update": Declared("session_update_params", "SessionUpdateParams"),
    "events.send": Declared("sessions.event_send_params", "EventSendParams"),
    "resources.add": Declared("sessions.resource_add_params", "ResourceAddParams"),
    "resources.update": Declared("sessions.resource_update_params", "ResourceUpdateParams", ("session_id",)),
    "vaults.create": Declared("vault_create_params", "VaultCreateParams"),
    "vaults.update": Declared("vault_update_params", "VaultUpdateParams"),
    "credentials.create": Declared("vaults.credential_create_params", "CredentialCreateParams"),
    "credentials.update": Declared("vaults.credential_update_params", "CredentialUpdateParams", ("vault_id",)),
    "memory_stores.create": Declared("memory_store_create_params", "MemoryStoreCreateParams"),
    "memory_stores.update": Declared("memory_store_update_params", "MemoryStoreUpdateParams"),
    "memories.create": Declared("memory_stores.memory_create_params", "MemoryCreateParams", ("view",)),
    "memories.update": Declared(
        "memory_stores.memory_update_params", "MemoryUpdateParams", ("memory_store_id", "view")
    ),
    "deployments.create": Declared("deployment_create_params", "DeploymentCreateParams"),
    "deployments.update": Declared("deployment_update_params", "DeploymentUpdateParams"),
    "dreams.create": Declared("dream_create_params", "DreamCreateParams"),
    "work.stop": Declared("environments.work_stop_params", "WorkStopParams", ("environment_id",)),
    "work.update": Declared("environments.work_update_params", "WorkUpdateParams", ("environment_id",)),
}

WORDING = {  # pydantic's error type: the API's words, where pydantic's own speak of Python
    "dict_type": "Input should be a valid object",
    "model_attributes_type": "Input should be a valid object",
    "list_type": "Input should be a valid array",
}

LONGEST_MESSAGE = 1000
MOST_KEYS = 10_000  # of one object
SMALL = 64 * 1024  # a body of fewer bytes can't hold that many

_decode = msgspec.json.Decoder().decode
_compiler = Compiler(LIMITS)


@cache
def record(name: str) -> Any:
    """The compiled type of one request; `name` is a key of REQUESTS."""
    declared = REQUESTS[name]
    module = importlib.import_module(f"{SDK_TYPES}.{declared.module}")
    return _compiler.record(getattr(module, declared.name), declared.without)


@cache
def adapter(name: str) -> TypeAdapter[dict[str, Any]]:
    return TypeAdapter(record(name))


def compile_all() -> None:
    """Compile every request type now, so that no request pays for it."""
    for name in REQUESTS:
        adapter(name)


def parse(name: str, body: bytes) -> dict[str, Any]:
    """Decode and check a body. Raises InvalidRequest that names the first wrong field and the rule it breaks."""
    try:
        value = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidRequest(f"The request body is not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidRequest("The request body must be a JSON object.")
    if len(body) > SMALL:
        _check_breadth(value)
    return check(name, value)  # pyright: ignore[reportUnknownArgumentType]


def _check_breadth(value: Any) -> None:
    """Refuse objects with absurdly many keys before they become as many errors, each far larger than its key."""
    waiting = [value]
    while waiting:
        item: Any = waiting.pop()
        if isinstance(item, dict):
            if len(cast("dict[str, Any]", item)) > MOST_KEYS:
                raise InvalidRequest(f"The request body has an object with more than {MOST_KEYS} keys.")
            waiting += cast("dict[str, Any]", item).values()
        elif isinstance(item, list):
            waiting += cast("list[Any]", item)


def check(name: str, value: object) -> dict[str, Any]:
    """Check an already decoded body. Raises InvalidRequest."""
    checks = adapter(name)
    try:
        return checks.validate_python(value)
    except ValidationError as error:
        raise InvalidRequest(_sentence(name, error)) from None


def _sentence(name: str, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    kind, location, context = first["type"], first["loc"], first.get("ctx", {})
    path = field_path(record(name), location)
    message = WORDING.get(kind, first["msg"]).split(" after validation")[0]
    if kind == "union_tag_not_found":
        path = ".".join(filter(None, (path, context["discriminator"].strip("'"))))
        message = "Field required"
    return f"{path}: {message}"[:LONGEST_MESSAGE]
