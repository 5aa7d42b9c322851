"""What a request's body may be, and what the error says when it isn't."""

from __future__ import annotations

import contextlib
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.requirements import requirement
from outrider.errors import InvalidRequest
from outrider.wire.limits import LIMITS
from outrider.wire.requests import LONGEST_MESSAGE, REQUESTS, parse, record

AGENT: dict[str, Any] = {"name": "a", "model": "m"}
EMPTY: dict[str, Any] = {}
TOOLSET = "agent_toolset_20260401"
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))


def refusal(name: str, value: object) -> str:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    with pytest.raises(InvalidRequest) as caught:
        parse(name, body)
    return caught.value.message


def custom(**fields: Any) -> dict[str, Any]:
    tool = {"type": "custom", "name": "t", "description": "d", "input_schema": {"type": "object"}}
    return AGENT | {"tools": [tool | fields]}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "The request body is not valid JSON: Input data was truncated"),
        (b"{", "The request body is not valid JSON: Input data was truncated"),
        (b"\xff", "The request body is not valid JSON: JSON is malformed: invalid character (byte 0)"),
        (b"[]", "The request body must be a JSON object."),
        (b'"text"', "The request body must be a JSON object."),
        (b"null", "The request body must be a JSON object."),
    ],
)
def test_a_body_that_is_not_a_json_object_is_refused(body: bytes, message: str) -> None:
    assert refusal("agents.create", body) == message


def test_a_body_nested_without_end_is_refused() -> None:
    assert "not valid JSON" in refusal("agents.create", b"[" * 100_000)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"name": "a"}, "model: Field required"),
        (AGENT | {"nam": 1}, "nam: Extra inputs are not permitted"),
        (AGENT | {"betas": ["x"]}, "betas: Extra inputs are not permitted"),
        (AGENT | {"model": 4}, "model: Input should be a valid string or object"),
        (AGENT | {"model": None}, "model: Input should be a valid string or object"),
        (AGENT | {"model": EMPTY}, "model.id: Field required"),
        (
            AGENT | {"model": {"id": "m", "effort": "huge"}},
            "model.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'",
        ),
        (AGENT | {"model": {"id": "m", "effort": EMPTY}}, "model.effort.type: Field required"),
        (AGENT | {"tools": EMPTY}, "tools: Input should be a valid array"),
        (AGENT | {"tools": [EMPTY]}, "tools.0.type: Field required"),
        (AGENT | {"tools": [4]}, "tools.0: Input should be a valid object"),
        (custom(nam="x"), "tools.0.nam: Extra inputs are not permitted"),
        (custom(name="a b"), "tools.0.name: String should match pattern '^[A-Za-z0-9_-]+$'"),
        (custom(name="a\n"), "tools.0.name: String should match pattern '^[A-Za-z0-9_-]+$'"),
        (
            AGENT | {"tools": [{"type": TOOLSET, "configs": [{"name": "bash", "enabled": 1}]}]},
            "tools.0.configs.0.enabled: Input should be a valid boolean",
        ),
        (
            AGENT | {"tools": [{"type": TOOLSET, "configs": [{"name": "bash", "type": "read"}]}]},
            "tools.0.configs.0.type: Input should be 'bash'",
        ),
        (AGENT | {"metadata": {"k": 1}}, "metadata.k: Input should be a valid string"),
    ],
)
def test_the_first_error_of_an_agent_names_path_and_rule(value: dict[str, Any], message: str) -> None:
    assert refusal("agents.create", value) == message


@pytest.mark.parametrize(
    ("event", "message"),
    [
        ({"type": "user.message"}, "content: Field required"),
        ({"type": "user.message", "content": "hi"}, "content: Input should be a valid array"),
        ({"type": "user.message", "content": []}, "content: List should have at least 1 item"),
        ({"type": "user.message", "content": [{"type": "text"}]}, "content.0.text: Field required"),
        (
            {"type": "user.tool_confirmation", "tool_use_id": "x", "result": "yes"},
            "result: Input should be 'allow' or 'deny'",
        ),
        ({"type": "system.message", "content": []}, "content: List should have at least 1 item"),
        (
            {
                "type": "user.define_outcome",
                "description": "d",
                "rubric": {"type": "text", "content": "c"},
                "max_iterations": 21,
            },
            "max_iterations: Input should be less than or equal to 20",
        ),
    ],
)
def test_an_error_in_an_event_names_its_place_in_the_list(event: dict[str, Any], message: str) -> None:
    good = {"type": "user.interrupt"}
    assert refusal("events.send", {"events": [good, good, event]}) == f"events.2.{message}"


BASE64, WEB_ADDRESS = "should match pattern '^(?:[A-Za-z0-9+/]{4})*", "should match pattern '^(?i:https?)://"


@requirement("events:content:source")
@pytest.mark.parametrize("kind", ["user.message", "user.custom_tool_result", "user.tool_result"])
@pytest.mark.parametrize(
    ("block", "media_type", "source", "message"),
    [
        *(("image", "image/png", {"type": "base64", "data": data}, BASE64) for data in ("!!!", "QQ", "QQ=", "QQ==\n")),
        ("image", "image/png", {"type": "base64", "data": ""}, "data: String should have at least 1 character"),
        ("document", "application/pdf", {"type": "base64", "data": "@@"}, BASE64),
        *(("image", None, {"type": "url", "url": url}, WEB_ADDRESS) for url in ("not a url", "http://", "https:///a")),
        *(("document", None, {"type": "url", "url": url}, WEB_ADDRESS) for url in ("ftp://x/a", "file:///a", "")),
        *((block, None, {"type": "file", "file_id": "file_\0"}, "visible") for block in ("image", "document")),
    ],
)
def test_a_source_that_no_model_takes_is_refused_before_it_is_in_the_log(
    kind: str, block: str, media_type: str | None, source: dict[str, Any], message: str
) -> None:
    whole = source if media_type is None else source | {"media_type": media_type}
    names = {"user.custom_tool_result": "custom_tool_use_id", "user.tool_result": "tool_use_id"}
    event = {"type": kind, "content": [{"type": block, "source": whole}]}
    event |= {names[kind]: "sevt_1"} if kind in names else {}
    said = refusal("events.send", {"events": [event]})
    assert said.startswith("events.0.content.0.source.")
    assert message.replace("visible", "^[!-~]+$") in said


def test_a_source_is_an_address_on_the_web_or_whole_base64() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf"}
    sources = [{"type": "url", "url": url} for url in ("https://example.com/a%20b", "HTTP://[::1]/x")]
    sources += [{**pdf, "data": data} for data in ("QUJD", "QQ==", "QUI=", "+/+/")]
    content = [{"type": "document", "source": source} for source in sources]
    event = {"type": "user.message", "content": content}
    assert parse("events.send", json.dumps({"events": [event]}).encode())["events"] == [event]


@pytest.mark.parametrize("name", ["sessions.create", "deployments.update"])
def test_what_names_a_memory_store_is_visible_ascii(name: str) -> None:
    value: dict[str, Any] = {"agent": "agent_1", "environment_id": "env_1"}
    value["resources"] = [{"type": "memory_store", "memory_store_id": "memstore_\0"}]
    assert refusal(name, value).endswith("memory_store_id: String should match pattern '^[!-~]+$'")


@pytest.mark.parametrize(
    ("name", "field"),
    [("sessions.create", "vault_ids"), ("sessions.update", "vault_ids"), ("deployments.update", "vault_ids")],
)
def test_every_id_of_a_list_is_visible_ascii(name: str, field: str) -> None:
    value = {"agent": "agent_1", "environment_id": "env_1"} if name == "sessions.create" else {}
    assert refusal(name, value | {field: ["vlt_1", "vlt_\0"]}) == f"{field}.1: String should match pattern '^[!-~]+$'"


def test_a_client_can_not_send_a_redacted_block() -> None:
    event = {"type": "user.message", "content": [{"type": "redacted"}]}
    assert refusal("events.send", {"events": [event]}).startswith("events.0.content.0: Input tag 'redacted'")


def test_an_agent_reference_is_an_id_a_reference_or_one_with_overrides() -> None:
    for agent in ("agent_1", {"type": "agent", "id": "agent_1"}, {"type": "agent_with_overrides", "id": "agent_1"}):
        assert parse("sessions.create", json.dumps({"agent": agent, "environment_id": "e"}).encode())["agent"] == agent
    body = {"agent": {"type": "agent", "id": "a", "version": "1"}, "environment_id": "e"}
    assert refusal("sessions.create", body) == "agent.version: Input should be a valid integer"


def test_overrides_may_be_null_although_the_sdk_does_not_type_it() -> None:
    cleared = {"model": None, "system": None, "tools": None, "mcp_servers": None, "skills": None}
    agent = {"type": "agent_with_overrides", "id": "a"} | cleared
    assert parse("sessions.create", json.dumps({"agent": agent, "environment_id": "e"}).encode())["agent"] == agent


def test_further_keywords_of_an_input_schema_are_kept() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    assert (
        parse("agents.create", json.dumps(custom(input_schema=schema)).encode())["tools"][0]["input_schema"] == schema
    )


@pytest.mark.parametrize(
    ("name", "field", "longest"),
    [("agents.create", "name", 256), ("agents.create", "description", 2048), ("agents.create", "system", 100_000)],
)
def test_a_text_may_be_as_long_as_its_limit_and_no_longer(name: str, field: str, longest: int) -> None:
    fits = AGENT | {field: "é" * longest}
    assert parse(name, json.dumps(fits).encode())[field] == "é" * longest
    assert refusal(name, AGENT | {field: "é" * (longest + 1)}) == (
        f"{field}: String should have at most {longest} characters"
    )


@pytest.mark.parametrize("name", ["agents.create", "sessions.create"])
def test_metadata_has_at_most_16_pairs_of_limited_length(name: str) -> None:
    rest = AGENT if name == "agents.create" else {"agent": "a", "environment_id": "e"}
    pairs = {f"{index:064}": "v" * 512 for index in range(16)}
    assert parse(name, json.dumps(rest | {"metadata": pairs}).encode())["metadata"] == pairs
    assert "at most 16 items" in refusal(name, rest | {"metadata": pairs | {"k": "v"}})
    assert "at most 64 characters" in refusal(name, rest | {"metadata": {"k" * 65: "v"}})
    assert "at most 512 characters" in refusal(name, rest | {"metadata": {"k": "v" * 513}})
    assert "at least 1 character" in refusal(name, rest | {"metadata": {"": "v"}})


@pytest.mark.parametrize("wrong", ["", "a\x00b", "a b", "é", "x" * 257])
def test_an_id_is_made_of_visible_ascii_characters(wrong: str) -> None:
    session = {"agent": "a", "environment_id": "e"}
    assert refusal("sessions.create", session | {"environment_id": wrong}).startswith("environment_id: String should")
    assert refusal("sessions.create", session | {"agent": wrong}).startswith("agent: String should")
    reference = {"type": "agent", "id": wrong}
    assert refusal("sessions.create", session | {"agent": reference}).startswith("agent.id: String should")
    event = {"type": "user.custom_tool_result", "custom_tool_use_id": wrong}
    assert refusal("events.send", {"events": [event]}).startswith("events.0.custom_tool_use_id: String should")


def test_a_model_s_name_has_1_to_256_characters_in_either_form() -> None:
    for name, rule in (("", "at least 1 character"), ("m" * 257, "at most 256 characters")):
        assert refusal("agents.create", AGENT | {"model": name}) == f"model: String should have {rule}"
        assert refusal("agents.create", AGENT | {"model": {"id": name}}) == f"model.id: String should have {rule}"


def test_at_most_50_events_go_into_one_request() -> None:
    events = [{"type": "user.interrupt"}] * 51
    assert len(parse("events.send", json.dumps({"events": events[:50]}).encode())["events"]) == 50
    assert refusal("events.send", {"events": events}) == "events: List should have at most 50 items"
    assert refusal("events.send", {"events": []}) == "events: List should have at least 1 item"


def test_a_message_stays_short_whatever_the_client_sends() -> None:
    assert len(refusal("agents.create", AGENT | {"x" * 100_000: 1})) < 200
    assert len(refusal("agents.create", AGENT | {"tools": [{"type": "x" * 100_000}]})) <= LONGEST_MESSAGE


@pytest.mark.parametrize(
    "value",
    [
        AGENT | {f"key{n}": 0 for n in range(100_000)},
        AGENT | {"metadata": {f"key{n}": 0 for n in range(100_000)}},
        AGENT | {"tools": [{"type": "custom"}] * 100_000},
        AGENT | {"skills": [4] * 400_000},
    ],
)
def test_a_body_full_of_errors_is_refused_at_its_first(value: dict[str, Any]) -> None:
    """Collecting them all would take a gigabyte for a few megabytes of body."""
    body = json.dumps(value).encode()
    tracemalloc.start()
    try:
        assert refusal("agents.create", body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 30 * len(body)


def test_every_limit_stands_on_a_field_that_the_sdk_declares() -> None:
    compiled: dict[str, set[str]] = {}
    waiting: list[Any] = [record(name) for name in REQUESTS]
    while waiting:
        hint = waiting.pop()
        if hasattr(hint, "__total__"):
            if hint.__name__ in compiled:
                continue
            compiled[hint.__name__] = set(hint.__annotations__)
            waiting += hint.__annotations__.values()
        waiting += [*getattr(hint, "__args__", ()), *([hint.__origin__] if hasattr(hint, "__metadata__") else [])]
    dead = [f"{name}.{key}" for name, rules in LIMITS.items() for key in set(rules) - compiled.get(name, set())]
    assert not dead


@settings(deadline=None)
@given(st.sampled_from(sorted(REQUESTS)), st.dictionaries(st.text(), JSON, max_size=4))
def test_no_body_breaks_the_checks(name: str, value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    with contextlib.suppress(InvalidRequest):
        assert parse(name, body) == json.loads(body)


@settings(deadline=None)
@given(st.sampled_from(["name", "description", "system"]), JSON.filter(lambda value: not isinstance(value, str)))
def test_nothing_is_coerced_to_a_string(field: str, value: object) -> None:
    if value is None and field != "name":
        assert parse("agents.create", json.dumps(AGENT | {field: value}).encode())[field] is None
    else:
        assert refusal("agents.create", AGENT | {field: value}) == f"{field}: Input should be a valid string"


@settings(deadline=None)
@given(JSON)
def test_only_an_integer_is_an_integer(value: object) -> None:
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31:
        assert parse("agents.update", json.dumps({"version": value}).encode())["version"] == value
    else:
        assert refusal("agents.update", {"version": value}).startswith("version: Input should be")
