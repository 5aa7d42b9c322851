"""Where keys may come from, and that what is left of them in the tree is what the vault needs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path

import httpx2
import pytest
from leak_scene import model_server

from outrider.endpoints import CAPABILITY_HEADER, ENDPOINT_HEADER
from outrider.links.vault import BASE_URL, VaultLink
from outrider.testing.server_process import DEADLINE, data_directory, running_server

KEY = "sk-from-somewhere-0123456789"


async def ask(socket: Path, endpoint: str) -> int:
    """One model request through the vault, as the server makes it; the status."""
    async with VaultLink(socket) as link:
        headers = {ENDPOINT_HEADER: endpoint, CAPABILITY_HEADER: await link.capability("sesn_1", 1, endpoint)}
        async with httpx2.AsyncClient(transport=link.transport(), base_url=BASE_URL, timeout=DEADLINE) as client:
            return (await client.post("/v1/messages", content=b'{"attack":"tool_result"}', headers=headers)).status_code


def key_that_arrives(config: str, environment: Mapping[str, str]) -> str:
    """The key that the model server gets, with a config file (`URL` stands for the server's)."""
    seen: list[str] = []
    with model_server(seen) as url, data_directory() as data:
        data.mkdir()
        (data / "config.toml").write_text(config.replace("URL", url))
        with running_server(data, environment=environment) as server:
            server.until_up()
            assert asyncio.run(ask(data / "run" / "vault.sock", "far")) == 200
    return seen[0]


def test_a_key_from_a_variable_that_the_config_file_names_reaches_the_model() -> None:
    config = '[endpoints.far]\nbase_url = "URL"\nkey_env = "FAR_KEY"\nmodels = ["m"]\n'
    assert key_that_arrives(config, {"FAR_KEY": KEY}) == KEY


def test_a_key_from_a_file_that_only_its_owner_can_read_reaches_the_model(tmp_path: Path) -> None:
    place = tmp_path / "key"
    place.write_text(f"{KEY}\n")
    place.chmod(0o600)
    config = f'[endpoints.far]\nbase_url = "URL"\nauth = "bearer"\nkey_file = "{place}"\nmodels = ["m"]\n'
    assert key_that_arrives(config, {}) == f"Bearer {KEY}"


def test_a_key_file_that_can_not_be_read_is_refused_by_name(tmp_path: Path) -> None:
    config = f'[endpoints.far]\nbase_url = "http://127.0.0.1:9"\nkey_file = "{tmp_path / "none"}"\nmodels = ["m"]\n'
    with data_directory() as data:
        data.mkdir()
        (data / "config.toml").write_text(config)
        with running_server(data) as server:
            assert server.process.wait(DEADLINE) == 2
            assert str(tmp_path / "none") in server.said()


@pytest.mark.skipif(os.geteuid() != 0, reason="others' environments are closed to an ordinary user")
def test_one_of_our_own_keys_in_the_sdks_variable_is_no_model_key_and_leaves_the_environment() -> None:
    ours = {"ANTHROPIC_API_KEY": "outr_0123456789abcdef", "ANTHROPIC_BASE_URL": "http://127.0.0.1:8400"}
    with data_directory() as data, running_server(data, environment=ours) as server:
        server.until_up()
        assert "scripted" in server.children()
        for pid in (server.process.pid, *server.children().values()):
            assert b"outr_" not in Path(f"/proc/{pid}/environ").read_bytes()
