"""A deployment's secrets are lent to its sessions inside the vault: nothing is read out, and nothing else is copied."""

from __future__ import annotations

import pytest
from vault_process import running_vault

from outrider.errors import InvalidRequest, NotFound
from outrider.links.secrets import SecretsLink
from outrider.ports.vaults import SecretRef
from outrider.testing.memory_secrets import MemorySecrets

pytestmark = pytest.mark.anyio
DEPLOYMENT = SecretRef("wrkspc_a", "depl_1", "sesrsc_1", 1)
SESSION = SecretRef("wrkspc_a", "sesn_1", "sesrsc_2", 1)
SECRET = {"type": "github_repository", "url": "https://github.com/a/b", "token": "t0ken"}
ELSEWHERE = [
    (DEPLOYMENT, SecretRef("wrkspc_b", "sesn_1", "sesrsc_2", 1)),
    (DEPLOYMENT, SecretRef("wrkspc_a", "vlt_1", "vcrd_1", 1)),
    (SecretRef("wrkspc_a", "vlt_1", "vcrd_1", 1), SESSION),
    (SecretRef("wrkspc_a", "sesn_2", "sesrsc_1", 1), SESSION),
]


async def test_a_deployments_secret_is_copied_to_a_session_of_its_workspace_and_to_nothing_else() -> None:
    with running_vault() as vault:
        link = vault.link()
        secrets = SecretsLink(link.asks())
        try:
            await _lends(secrets)
        finally:
            await link.close()


async def test_the_port_in_memory_does_the_same() -> None:
    await _lends(MemorySecrets())


async def _lends(secrets: SecretsLink | MemorySecrets) -> None:
    with pytest.raises(NotFound):
        await secrets.copy(DEPLOYMENT, SESSION)
    await secrets.put(DEPLOYMENT, SECRET)
    for source, to in ELSEWHERE:
        with pytest.raises(InvalidRequest):
            await secrets.copy(source, to)
    await secrets.copy(DEPLOYMENT, SESSION)
    await secrets.copy(DEPLOYMENT, SESSION)
    assert await secrets.held() == {DEPLOYMENT, SESSION}
    await secrets.purge(DEPLOYMENT)
    assert await secrets.held() == {SESSION}
