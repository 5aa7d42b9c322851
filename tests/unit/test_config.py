"""Settings: where they come from, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from outrider import config
from outrider.errors import InvalidRequest


def load(tmp_path: Path, text: str, **options: str) -> config.Settings:
    (tmp_path / "config.toml").write_text(text)
    return config.load(options, data=tmp_path)


def test_the_config_file_sets_what_the_command_line_leaves_open(tmp_path: Path) -> None:
    settings = load(
        tmp_path, "[server]\nport = 9000\n[limits]\nbackoff_most = 5\ntool_rounds = 7\n[sandbox]\nstrict = true\n"
    )
    assert (settings.port, settings.limits.backoff_most, settings.limits.tool_rounds) == (9000, 5, 7)
    assert settings.strict_sandbox
    assert config.load({}, data=tmp_path, port=1234).port == 1234


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[server]\nprot = 1\n", "server.prot"),
        ("[sandbox]\nstric = true\n", "sandbox.stric"),
        ("[limits]\nrounds = 1\n", "limits.rounds"),
        ("[limts]\n", "limts"),
        ("server = 1\n", "server"),
        ("[limits]\ntool_rounds = 1.5\n", "limits.tool_rounds"),
        ("[limits]\ntool_rounds = -1\n", "limits.tool_rounds"),
        ('[limits]\nheartbeat = "long"\n', "limits.heartbeat"),
        ('[server]\nport = "8400"\n', "server.port"),
        ("[server]\nport = 99999\n", "server.port"),
        ('[server]\nbehind_proxy = "no"\n', "server.behind_proxy"),
        ("[server]\ntls_cert = 3\n", "server.tls_cert"),
        ("[sandbox]\nstrict = 1\n", "sandbox.strict"),
        ("[endpoints]\nlocal = 1\n", "endpoints.local"),
        ("[server\n", "config.toml"),
    ],
)
def test_a_config_file_that_breaks_a_rule_is_refused_by_name(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(InvalidRequest, match=re.escape(named)):
        load(tmp_path, text)


def test_a_public_address_needs_tls_or_a_proxy_that_has_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="not loopback"):
        config.load({}, data=tmp_path, host="0.0.0.0")
    assert config.load({}, data=tmp_path, host="0.0.0.0", behind_proxy=True).host == "0.0.0.0"


def test_a_named_config_file_must_exist(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match=r"missing\.toml"):
        config.load({"OUTRIDER_CONFIG": str(tmp_path / "missing.toml")}, data=tmp_path)
