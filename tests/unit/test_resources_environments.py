"""Rules of environments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.types.beta import BetaEnvironment, BetaEnvironmentDeleteResponse
from hypothesis import given, settings
from hypothesis import strategies as st

from outrider.errors import EnvironmentArchived, InvalidRequest
from outrider.ports.records import EnvironmentRecord
from outrider.resources import environments
from outrider.testing.strict import strict_parse
from outrider.wire.requests import parse

FIRST, LATER = "2026-01-01T00:00:00.000000Z", "2026-01-02T00:00:00.000000Z"


def made(**fields: Any) -> dict[str, Any]:
    request = parse("environments.create", json.dumps({"name": "e"} | fields).encode())
    return environments.new_environment(request, id="env_1", now=FIRST)


def update(environment: dict[str, Any], **fields: Any) -> dict[str, Any] | None:
    request = parse("environments.update", json.dumps(fields).encode())
    return environments.updated_environment(environment, request, now=LATER)


def updated(environment: dict[str, Any], **fields: Any) -> dict[str, Any]:
    changed = update(environment, **fields)
    assert changed is not None
    return changed


def cloud(**fields: Any) -> dict[str, Any]:
    return {"config": {"type": "cloud"} | fields}


def test_a_new_environment_has_every_key_and_reads_strictly() -> None:
    environment = made(description="d", metadata={"k": "v"})
    read = strict_parse(BetaEnvironment, json.dumps(environment).encode())
    assert set(environment) == set(BetaEnvironment.model_fields)
    assert (read.scope, read.archived_at, read.description) == ("organization", None, "d")
    assert set(environment["config"]["packages"]) == {"type", "apt", "cargo", "gem", "go", "npm", "pip"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"config": None},
        cloud(),
        cloud(networking=None, packages=None),
        cloud(networking={"type": "unrestricted"}, packages={"type": "packages", "pip": [], "apt": None}),
        {"scope": "organization"},
        {"scope": None, "description": None, "metadata": {}},
    ],
)
def test_every_way_to_ask_for_the_default_gives_it(fields: dict[str, Any]) -> None:
    assert made(**fields) == made()


def test_a_self_hosted_config_is_its_type_alone() -> None:
    environment = made(config={"type": "self_hosted"})
    assert environment["config"] == {"type": "self_hosted"}
    assert update(environment, config={"type": "self_hosted"}) is None
    changed = update(environment, name="other")
    assert changed is not None
    assert changed["config"] == {"type": "self_hosted"}
    with pytest.raises(InvalidRequest) as caught:
        update(environment, config={"type": "cloud"})
    assert caught.value.error_code == "invalid_config_type_change"


def test_only_organization_scope_exists() -> None:
    with pytest.raises(InvalidRequest, match="scope: Input should be 'organization'"):
        made(scope="account")
    with pytest.raises(InvalidRequest, match="scope: "):
        update(made(), scope="account")


@pytest.mark.parametrize("bag", [{"k" * 65: "v"}, {"": "v"}, {"k": "v" * 513}, {str(n): "v" for n in range(17)}])
def test_metadata_beyond_its_limits_has_its_own_error_code(bag: dict[str, str]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        made(metadata=bag)
    assert caught.value.error_code == "invalid_metadata"
    with pytest.raises(InvalidRequest) as caught:
        update(made(), metadata=bag)
    assert caught.value.error_code == "invalid_metadata"


def test_the_message_names_each_problem_of_a_bag() -> None:
    with pytest.raises(InvalidRequest) as caught:
        made(metadata={"": "v", "k": "v" * 513})
    assert caught.value.message == (
        "metadata: key '' must have 1 to 64 characters; the value of 'k' must have at most 512 characters"
    )


def test_the_type_of_a_configuration_never_changes() -> None:
    with pytest.raises(InvalidRequest) as caught:
        update(made(), config={"type": "self_hosted"})
    assert caught.value.error_code == "invalid_config_type_change"


def test_an_update_keeps_what_it_leaves_out_and_null_clears_only_a_description() -> None:
    environment = made(description="d", metadata={"k": "v"})
    assert update(environment) is None
    assert update(environment, name=None, config=None, scope=None) is None
    assert updated(environment, description=None) == environment | {"description": None, "updated_at": LATER}
    assert updated(environment, description="")["description"] == ""
    assert updated(environment, name="f") == environment | {"name": "f", "updated_at": LATER}


def test_an_archived_environment_refuses_updates() -> None:
    with pytest.raises(EnvironmentArchived) as caught:
        update(made() | {"archived_at": LATER}, name="f")
    assert caught.value.error_code == "environment_archived"


KEYS = "abcdef"


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), st.text(min_size=1, max_size=4)),
    st.dictionaries(st.sampled_from(KEYS), st.none() | st.text(max_size=4)),
)
def test_null_and_the_empty_string_delete_a_key(bag: dict[str, str], patch: dict[str, str | None]) -> None:
    environment = made(metadata=bag)
    changed = update(environment, metadata=patch) or environment
    for key in KEYS:
        expected = (patch[key] or None) if key in patch else bag.get(key)
        assert changed["metadata"].get(key) == expected


def test_stored_and_deleted_environments_are_shown_as_the_sdk_reads_them() -> None:
    environment = made()
    record = EnvironmentRecord("ws", "env_1", FIRST, LATER, json.dumps(environment).encode())
    shown = environments.environment_object(record)
    assert shown == environment | {"archived_at": LATER}
    strict_parse(BetaEnvironment, json.dumps(shown).encode())
    strict_parse(BetaEnvironmentDeleteResponse, json.dumps(environments.deleted_environment("env_1")).encode())
