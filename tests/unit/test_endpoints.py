"""Which endpoint serves a model, from the config file and the environment, without ever holding a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from anthropic.types import model_param

from outrider.endpoints import Endpoints, Price, load_endpoints, profiles, secret_variables, usable_secrets
from outrider.errors import InvalidRequest


def load(environment: dict[str, str], **configured: Mapping[str, Any]) -> Endpoints:
    return load_endpoints(configured, environment, usable_secrets(environment, configured))


def refusal(environment: dict[str, str], **configured: Mapping[str, Any]) -> str:
    with pytest.raises(InvalidRequest) as caught:
        load(environment, **configured)
    return caught.value.message


def test_without_a_key_only_the_scripted_model_is_offered() -> None:
    endpoints = load({})
    assert "scripted/demo" in endpoints.names()
    assert endpoints.needs_scripted_server()
    endpoint, upstream, profile = endpoints.resolve("scripted/demo")
    assert (endpoint.name, upstream, profile.model, endpoint.secret) == ("scripted", "demo", "demo", None)
    for model in ("claude-opus-4-8", "scripted/unknown", ""):
        with pytest.raises(InvalidRequest, match="no endpoint serves"):
            endpoints.profile(model)


def test_the_scripted_endpoint_is_told_where_its_server_listens() -> None:
    endpoints = load({}).with_scripted_at("http://127.0.0.1:9")
    assert endpoints.resolve("scripted/echo")[0].base_url == "http://127.0.0.1:9"
    assert not endpoints.needs_scripted_server()


def test_an_anthropic_key_means_the_hosted_api_for_every_unclaimed_name() -> None:
    endpoints = load({"ANTHROPIC_API_KEY": "sk-ant-secret"})
    endpoint, upstream, profile = endpoints.resolve("claude-of-tomorrow")
    assert (endpoint.base_url, endpoint.auth, upstream) == (
        "https://api.anthropic.com",
        "x-api-key",
        "claude-of-tomorrow",
    )
    assert endpoint.secret == "env:ANTHROPIC_API_KEY"
    assert (profile.window, profile.max_tokens, profile.price) == (200_000, 8_192, None)
    assert "claude-sonnet-4-5" in endpoints.names()
    assert "claude-*" not in endpoints.names()


def test_a_key_of_this_server_is_not_taken_for_a_model_key() -> None:
    environment = {"ANTHROPIC_API_KEY": "outr_abc", "ANTHROPIC_BASE_URL": "http://127.0.0.1:8400"}
    assert load(environment).default is None
    assert secret_variables(environment, {}) == {"ANTHROPIC_API_KEY"}
    assert usable_secrets(environment, {}) == frozenset()


def test_a_model_url_takes_unclaimed_names_unchanged() -> None:
    environment = {"OUTRIDER_MODEL_URL": "http://127.0.0.1:9000/", "ANTHROPIC_API_KEY": "sk-other"}
    endpoint, upstream, _ = load(environment).resolve("some/model:7b")
    assert (endpoint.base_url, upstream, endpoint.auth, endpoint.secret) == (
        "http://127.0.0.1:9000",
        "some/model:7b",
        "none",
        None,
    )


def test_a_model_key_goes_with_the_model_url() -> None:
    environment = {"OUTRIDER_MODEL_URL": "https://models.example", "OUTRIDER_MODEL_KEY": "k"}
    endpoint, _, _ = load(environment).resolve("m")
    assert (endpoint.auth, endpoint.secret) == ("x-api-key", "env:OUTRIDER_MODEL_KEY")
    assert "OUTRIDER_MODEL_URL" in refusal({"OUTRIDER_MODEL_KEY": "k"})


def test_the_environment_overrides_the_configured_default_but_keeps_its_traits() -> None:
    environment = {"OUTRIDER_MODEL_URL": "https://a.example", "OUTRIDER_MODEL_KEY": "k"}
    table = {"base_url": "https://b.example", "key_file": "/k", "auth": "bearer", "window": 5_000}
    endpoint, _, profile = load(environment, default=table).resolve("m")
    assert (endpoint.base_url, endpoint.auth, endpoint.secret, profile.window) == (
        "https://a.example",
        "bearer",
        "env:OUTRIDER_MODEL_KEY",
        5_000,
    )


def test_no_key_value_is_ever_held() -> None:
    configured = {"router": {"profile": "openrouter"}}
    environment = {"OPENROUTER_API_KEY": "CANARY-1", "ANTHROPIC_API_KEY": "CANARY-2"}
    assert secret_variables(environment, configured) == set(environment)
    endpoints = load(environment, **configured)
    assert "CANARY" not in repr(endpoints)
    assert endpoints.secrets() == {"router": "env:OPENROUTER_API_KEY", "anthropic": "env:ANTHROPIC_API_KEY"}


def test_loading_works_after_the_secrets_were_removed() -> None:
    configured = {"router": {"profile": "openrouter"}}
    environment = {"OPENROUTER_API_KEY": "k", "HOME": "/"}
    secrets = usable_secrets(environment, configured)
    assert load_endpoints(configured, {"HOME": "/"}, secrets).secrets() == {"router": "env:OPENROUTER_API_KEY"}


def test_an_exact_claim_wins_over_the_prefix_and_the_prefix_over_a_pattern() -> None:
    endpoints = load(
        {"ROUTER_KEY": "k"},
        router={
            "base_url": "https://r.example",
            "key_env": "ROUTER_KEY",
            "auth": "bearer",
            "models": ["local/big", "*"],
        },
        local={"profile": "ollama"},
    )
    assert [
        (endpoints.resolve(name)[0].name, endpoints.resolve(name)[1]) for name in ("local/big", "local/x", "y/z")
    ] == [
        ("router", "local/big"),
        ("local", "x"),
        ("router", "y/z"),
    ]


def test_traits_come_from_the_profile_then_the_endpoint_then_the_model() -> None:
    price = {"input": 1, "output": 2.5, "cache_read": 0, "cache_write": 1}
    endpoints = load(
        {},
        local={
            "profile": "ollama",
            "window": 32_768,
            "model": {"qwen*": {"max_tokens": 4_096}, "qwen3": {"window": 65_536, "price": price}},
        },
    )
    profile = endpoints.profile("qwen3")
    assert (profile.window, profile.max_tokens, profile.cache_control, profile.tool_choice) == (
        65_536,
        4_096,
        False,
        False,
    )
    assert profile.price == Price(1.0, 2.5, 0.0, 1.0)
    assert endpoints.profile("local/other").window == 32_768
    assert endpoints.names()[0] == "qwen3"


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"profile": "ollama", "colour": "red"}, "endpoints.local: unknown key `colour`"),
        ({"profile": "ollama", "model": {"m": {"colour": 1}}}, 'endpoints.local.model."m": unknown key `colour`'),
        ({"profile": "nobody"}, "endpoints.local.profile: `nobody` is unknown"),
        ({"profile": "scripted"}, "only go together"),
        ({"auth": "none"}, "endpoints.local.base_url"),
        ({"profile": "ollama", "base_url": "http://u:p@h"}, "endpoints.local.base_url: must hold no user"),
        ({"profile": "ollama", "base_url": "http://h/v1"}, "leave `/v1` out"),
        ({"profile": "ollama", "window": "big"}, "endpoints.local.window: must be of type int"),
        ({"profile": "ollama", "window": True}, "endpoints.local.window: must be of type int"),
        ({"profile": "ollama", "max_tokens": 0}, "endpoints.local.max_tokens: must be at least 1"),
        ({"profile": "ollama", "thinking": "loud"}, "endpoints.local.thinking"),
        ({"profile": "ollama", "price": {"input": 1}}, "endpoints.local.price: needs input, output"),
        ({"profile": "ollama", "auth": "basic"}, "endpoints.local.auth"),
        ({"profile": "ollama", "models": [1]}, "endpoints.local.models"),
        ({"profile": "openrouter"}, "the variable OPENROUTER_API_KEY is not set"),
        ({"base_url": "https://h"}, "endpoints.local: no key"),
        ({"base_url": "https://h", "key_env": "A", "key_file": "/b"}, "key_env or key_file, not both"),
        ({"base_url": "https://h", "auth": "none", "key_file": "/b"}, "auth is `none`, yet a key is named"),
    ],
)
def test_a_wrong_table_is_refused_and_the_message_names_it(table: dict[str, Any], said: str) -> None:
    assert said in refusal({}, local=table)


def test_two_endpoints_cannot_claim_one_name() -> None:
    said = refusal({}, a={"profile": "ollama", "models": ["m"]}, b={"profile": "vllm", "models": ["m"]})
    assert said == "Model `m` is claimed by endpoints.a and endpoints.b."


def test_a_bad_endpoint_name_is_refused() -> None:
    assert "names of endpoints" in refusal({}, **{"a/b": {"profile": "ollama"}})


@pytest.mark.parametrize("name", sorted(profiles()))
def test_every_shipped_profile_loads(name: str) -> None:
    table = {"profile": name} if name not in ("messages",) else {"profile": name, "base_url": "http://h"}
    key = {"key_env": "K"} if profiles()[name].get("auth") != "none" else {}
    called = "scripted" if name == "scripted" else "one"
    assert load({"K": "k"}, **{called: {**table, **key}}).endpoint(called) is not None


def test_the_hosted_profile_lists_the_models_that_the_sdk_names() -> None:
    literal = model_param.ModelParam.__args__[0]  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType, reportAttributeAccessIssue]
    assert profiles()["anthropic"]["models"][:-1] == list(literal.__args__)  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]
