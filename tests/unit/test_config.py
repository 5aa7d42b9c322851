"""Settings: where they come from, and what is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from outrider import config
from outrider.errors import InvalidRequest
from outrider.store import opening


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


PASSWORD = "s3cret"


def test_the_databases_url_is_in_the_environment_and_its_password_stays_out_of_the_settings(
    tmp_path: Path,
) -> None:
    for url in (
        f"postgresql://me:{PASSWORD}@db:5433/sessions?sslmode=require",
        f"postgres://me@db:5433/sessions?password={PASSWORD}&sslmode=require",
    ):
        settings = config.load({"OUTRIDER_DATABASE_URL": url}, data=tmp_path)
        assert settings.database_url is not None
        assert settings.database_url.endswith("://me@db:5433/sessions?sslmode=require")
        assert PASSWORD not in repr(settings)


def test_the_config_file_may_name_a_database_but_no_password(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text('[server]\ndatabase_url = "postgresql:///sessions"\n')
    assert config.load({}, data=tmp_path).database_url == "postgresql:///sessions"
    file.write_text(f'[server]\ndatabase_url = "postgresql://me:{PASSWORD}@db/sessions"\n')
    with pytest.raises(InvalidRequest, match=r"server\.database_url must hold no password") as refused:
        config.load({}, data=tmp_path)
    assert PASSWORD not in refused.value.message


@pytest.mark.parametrize(
    "url", [f"mysql://me:{PASSWORD}@db/x", f"/tmp/{PASSWORD}.db", f"postgresql://me:{PASSWORD}@[db/x"]
)
def test_another_kind_of_database_is_refused_naming_the_setting(url: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="OUTRIDER_DATABASE_URL") as refused:
        config.load({"OUTRIDER_DATABASE_URL": url}, data=tmp_path)
    assert PASSWORD not in refused.value.message


def test_a_database_without_its_driver_is_refused_naming_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config.load({"OUTRIDER_DATABASE_URL": "postgresql://db/x"}, data=tmp_path)
    opening.check(settings)

    def none_found(_name: str) -> None:
        """As where the extra was not installed."""

    monkeypatch.setattr(opening, "find_spec", none_found)
    with pytest.raises(InvalidRequest, match=r"outrider\[postgres\]"):
        opening.check(settings)


DATABASE = {"OUTRIDER_DATABASE_URL": "postgresql://db.example/outrider"}


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("nats://nats.example", "nats://nats.example"),
        ("tls://user:secret@nats.example:4223", "tls://nats.example:4223"),
        ("nats://token@a.example, nats://token@b.example:1", "nats://a.example,nats://b.example:1"),
        ("nats://user:secret@[::1]:4222", "nats://[::1]:4222"),
    ],
)
def test_the_settings_hold_the_address_of_nats_and_nothing_secret(tmp_path: Path, url: str, kept: str) -> None:
    settings = config.load({**DATABASE, "OUTRIDER_NATS_URL": url}, data=tmp_path)
    assert settings.nats_url == kept
    assert "secret" not in repr(settings)
    assert "token" not in repr(settings).replace("transit_token_file", "")


@pytest.mark.parametrize(
    ("environment", "text", "named"),
    [
        ({"OUTRIDER_NATS_URL": "nats://nats.example"}, "", "needs server.database_url"),
        ({**DATABASE, "OUTRIDER_NATS_URL": "http://nats.example"}, "", "OUTRIDER_NATS_URL must begin with nats://"),
        ({**DATABASE, "OUTRIDER_NATS_URL": "nats://"}, "", "OUTRIDER_NATS_URL must begin with nats://"),
        (DATABASE, '[server]\nnats_url = "nats://secret@nats.example"\n', "server.nats_url must hold no user"),
        (DATABASE, '[server]\nnats_prefix = "a b"\n', "server.nats_prefix must be words"),
    ],
)
def test_nats_without_a_database_or_with_a_secret_in_the_file_is_refused(
    tmp_path: Path, environment: dict[str, str], text: str, named: str
) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(InvalidRequest, match=re.escape(named)) as refused:
        config.load(environment, data=tmp_path)
    assert "secret@" not in refused.value.message
