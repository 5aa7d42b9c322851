"""Rules of an agent's model: one normal form, and only options that the endpoint's profile says the model has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from outrider.errors import InvalidRequest
from outrider.ports.model import ModelProfile

Profiles = Callable[[str], ModelProfile]
"""`Models.profile`: the profile of a model by name. Raises InvalidRequest for a model that no endpoint serves."""

OPTIONS = ("effort", "speed", "inference_geo")


def model_config(
    requested: str | Mapping[str, Any],
    profiles: Profiles,
    *,
    field: str = "model",
    current: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The wire form: `id` and the options that are set, effort as an object. An option that is null is not set.

    With `current`, the effort that it has is kept when the id stays the same and the request leaves effort out.
    """
    given = {"id": requested} if isinstance(requested, str) else requested
    config = {"id": given["id"]} | {name: given[name] for name in OPTIONS if given.get(name) is not None}
    if isinstance(config.get("effort"), str):
        config["effort"] = {"type": config["effort"]}
    if current and current["id"] == config["id"] and "effort" not in given and "effort" in current:
        config["effort"] = current["effort"]
    check_supported(config, profiles, field=field)
    return config


def check_supported(config: Mapping[str, Any], profiles: Profiles, *, field: str = "model") -> None:
    """Raises InvalidRequest for an unknown model, or for an option that it doesn't have.

    Speed `standard` is what every model has.
    """
    name = config["id"]
    if not name.strip():
        raise InvalidRequest(f"{field}: Input should name a model")
    try:
        profile = profiles(name)
    except InvalidRequest as error:
        raise InvalidRequest(f"{field}: {error.message}", error_code=error.error_code) from None
    for option in OPTIONS:
        if config.get(option, "standard") != "standard" and not getattr(profile, option):
            raise InvalidRequest(f"{field}.{option}: model {name} does not support {option} on this server")
