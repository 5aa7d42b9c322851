"""Keeps the vault process and the records in step: erases secrets that belong to no credential or session and
declarations of no session, takes note of what the vault did by itself.

A secret is stored before its record and erased after it, so one without a record may be on its way: it goes only when
it was found like that twice.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import msgspec

from outrider.clock import Clock
from outrider.errors import Conflict
from outrider.ports.declarations import Declarations
from outrider.ports.deployments import Deployments
from outrider.ports.log import SessionKey
from outrider.ports.records import Records, SessionRecord
from outrider.ports.secrets import DEPLOYMENT, SESSION, Notice, Secrets
from outrider.ports.vaults import Change, CredentialRecord, SecretRef, VaultRecords
from outrider.resources.deployments import tokens_of
from outrider.resources.mounts import holds

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class Sweep:
    """`run` it now and then, with more time between two runs than a request takes."""

    def __init__(
        self, vaults: VaultRecords, records: Records, deployments: Deployments, secrets: Secrets, clock: Clock
    ) -> None:
        self._vaults = vaults
        self._deployments = deployments
        self._records = records
        self._secrets = secrets
        self._clock = clock
        self._strays: set[SecretRef] = set()

    async def run(self) -> int:
        """How many secrets were erased. Raises Overloaded when the vault does not answer."""
        await take_notices(self._vaults, self._secrets, self._clock)
        held = await self._secrets.held()
        sessions = {ref for ref in held if ref.vault.startswith(SESSION)}
        deployments = {ref for ref in held if ref.vault.startswith(DEPLOYMENT)}
        strays = await self._of_no_credential(held - sessions - deployments) | await self._of_no_session(sessions)
        strays |= await self._of_no_deployment(deployments)
        erased = strays & self._strays
        for ref in erased:
            await self._secrets.purge_one(ref)
        self._strays = strays - erased
        return len(erased)

    async def _of_no_credential(self, held: set[SecretRef]) -> set[SecretRef]:
        """None where the records are new: perhaps not those that the vault's secrets belong to."""
        if not held or not await self._vaults.changes(after=0, limit=1):
            return set()
        return held - await self._vaults.secret_refs()

    async def _of_no_deployment(self, held: set[SecretRef]) -> set[SecretRef]:
        """Of repositories; the same goes for records without any change."""
        if not held or not await self._vaults.changes(after=0, limit=1):
            return set()
        return {ref for ref in held if not await self._lends(ref)}

    async def _lends(self, ref: SecretRef) -> bool:
        record = await self._deployments.deployment(ref.workspace, ref.vault)
        return record is not None and ref in tokens_of(record).values()

    async def _of_no_session(self, held: set[SecretRef]) -> set[SecretRef]:
        """Of sessions' resources; the same goes for records without a session."""
        if not held or not await self._records.has_sessions():
            return set()
        return {ref for ref in held if not holds(await self._session(ref), ref)}

    async def _session(self, ref: SecretRef) -> SessionRecord | None:
        return await self._records.session(SessionKey(ref.workspace, ref.vault))


class Withdrawal:
    """Of what sessions declared that no longer exist. Like `Sweep`, it needs two runs: a session is declared first."""

    def __init__(self, declarations: Declarations, records: Records) -> None:
        self._declarations = declarations
        self._records = records
        self._strays: set[SessionKey] = set()

    async def run(self) -> int:
        """How many were withdrawn. Raises Overloaded when the vault does not answer."""
        declared = await self._declarations.declared()
        strays = await self._of_no_session(declared)
        gone = strays & self._strays
        for key in gone:
            await self._declarations.withdraw(key)
        self._strays = strays - gone
        return len(gone)

    async def _of_no_session(self, declared: Collection[SessionKey]) -> set[SessionKey]:
        """None beside records without a session: perhaps not those that the vault's declarations belong to."""
        if not declared or not await self._records.has_sessions():
            return set()
        known = await self._records.living([key.session for key in declared])
        return {key for key in declared if key.session not in known}


async def take_notices(vaults: VaultRecords, secrets: Secrets, clock: Clock) -> None:
    """New expiries of refreshed tokens go into their records, failed refreshes become changes."""
    while notices := await secrets.notices():
        for notice in notices:
            await _take(vaults, notice, clock)
        await secrets.forget_notices(notices[-1].seq)


async def _take(vaults: VaultRecords, notice: Notice, clock: Clock) -> None:
    ref = notice.ref
    record = await vaults.credential(ref.workspace, ref.vault, ref.credential)
    if record is None or record.archived_at is not None or record.secret != ref.version:
        return
    if notice.kind == "refresh_failed":
        kind = "vault_credential.refresh_failed"
        await vaults.add_change(Change(ref.workspace, kind, ref.credential, notice.at, vault=ref.vault))
        return
    try:
        await _renew(vaults, record, notice, clock)
    except Conflict:
        return  # a client changed it at the same moment, and its word is newer


async def _renew(vaults: VaultRecords, record: CredentialRecord, notice: Notice, clock: Clock) -> None:
    body = _decode(record.body)
    body["auth"]["expires_at"] = notice.expires_at
    changed = replace(record, body=_encode(body), revision=record.revision + 1, updated_at=clock.now())
    await vaults.update_credential(changed, if_revision=record.revision)
