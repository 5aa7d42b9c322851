"""What a session's sandbox may reach: from the session's own log its environment and its agent, from the records the
credentials that its commands may use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import msgspec

from outrider.errors import NotDeclared
from outrider.ports.declarations import Declarations
from outrider.ports.egress import Egress, EgressClaim, EgressCredential
from outrider.ports.log import SessionKey
from outrider.ports.placements import Placements, given_up_host
from outrider.ports.records import Page, Records
from outrider.ports.vaults import MOST_CREDENTIALS, CredentialRecord, VaultRecords
from outrider.resources.declared import declaration_of
from outrider.resources.environments import lets_in
from outrider.session.state import Context


def claim_of(context: Context, session: str, workspace: str, epoch: int) -> EgressClaim:
    networking = context.environment.get("config", {}).get("networking") or {"type": "unrestricted"}
    servers: list[dict[str, str]] = context.agent.get("mcp_servers", [])
    hosts = [urlsplit(server["url"]).hostname for server in servers]
    return EgressClaim(session, epoch, workspace, networking, tuple(host for host in hosts if host))


VARIABLE = "env:"
REMEMBERED = 10_000
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class SessionVaults:
    """The vaults of a session, in its order. They never change, so they are read once."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._known: OrderedDict[SessionKey, tuple[str, ...]] = OrderedDict()

    async def __call__(self, key: SessionKey) -> tuple[str, ...]:
        found = self._known.get(key)
        if found is None:
            record = await self._records.session(key)
            found = () if record is None else tuple(_decode(record.details).get("vault_ids", ()))
            self._known[key] = found
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return found


class Redeclare:
    """Says once more what the API declared of a session, for a vault that lost it, or a session that is older than
    declarations or was changed when the vault could not be told. Only for a process that may declare."""

    def __init__(self, records: Records, declarations: Declarations) -> None:
        self._records = records
        self._declarations = declarations

    async def __call__(self, key: SessionKey, networking: Mapping[str, Any]) -> None:
        record = await self._records.session(key)
        if record is not None:
            await self._declarations.declare(declaration_of(record, networking))


class WithCredentials:
    """Implements `Egress`: adds the session's credentials, as they are now, to what is claimed."""

    def __init__(
        self, inner: Egress, vaults_of: SessionVaults, vaults: VaultRecords, redeclare: Redeclare | None = None
    ) -> None:
        self._inner = inner
        self._vaults_of = vaults_of
        self._vaults = vaults
        self._redeclare = redeclare

    async def claim(self, claim: EgressClaim) -> tuple[EgressCredential, ...]:
        vault_ids = await self._vaults_of(SessionKey(claim.workspace, claim.session))
        if vault_ids:
            claim = replace(claim, credentials=await self._credentials(claim.workspace, vault_ids))
        try:
            await self._inner.claim(claim)
        except NotDeclared:
            if self._redeclare is None:
                raise
            await self._redeclare(SessionKey(claim.workspace, claim.session), claim.networking)
            await self._inner.claim(claim)
        return tuple(one for one in claim.credentials if _is_shut_out(one, claim))

    async def _credentials(self, workspace: str, vault_ids: tuple[str, ...]) -> tuple[EgressCredential, ...]:
        """Of one name the one in the first vault that has it."""
        found: dict[str, EgressCredential] = {}
        for vault in vault_ids:
            for record in await self._vaults.credentials(workspace, vault, Page(limit=MOST_CREDENTIALS)):
                if record.place.startswith(VARIABLE) and record.archived_at is None:
                    found.setdefault(record.place, _variable(record))
        return tuple(found.values())


def _is_shut_out(credential: EgressCredential, claim: EgressClaim) -> bool:
    """Whether a host that it is for, as it stands there, is none of the environment's."""
    hosts: list[str] = credential.networking.get("allowed_hosts", [])
    return not all(lets_in(claim.networking, claim.mcp_hosts, host) for host in hosts)


def _variable(record: CredentialRecord) -> EgressCredential:
    auth = _decode(record.body)["auth"]
    location = auth["injection_location"]
    return EgressCredential(
        name=auth["secret_name"],
        workspace=record.workspace,
        vault=record.vault,
        credential=record.id,
        version=record.secret,
        networking=auth["networking"],
        header=location["header"],
        body=location["body"],
    )


class WithPlaces:
    """Implements `Egress`: adds which sandbox hosts may speak for the session: its own, or any of `hosts` as long as it
    has none."""

    def __init__(self, inner: Egress, placements: Placements, hosts: Collection[str]) -> None:
        self._inner = inner
        self._placements = placements
        self._hosts = tuple(hosts)

    async def claim(self, claim: EgressClaim) -> tuple[EgressCredential, ...]:
        place = await self._placements.placement(claim.session)
        placed = place is not None and given_up_host(place) is None
        return await self._inner.claim(replace(claim, places=(place,) if placed and place else self._hosts))
