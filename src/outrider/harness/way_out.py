"""A session's way out of its sandbox, settled before its commands run. A credential that is for a host which the
environment shuts out is told to the client, once in each stretch of work.
"""

from __future__ import annotations

import logging

from outrider.errors import Conflict, NotDeclared, Overloaded
from outrider.harness.journal import Journal
from outrider.harness.network import claim_of
from outrider.ports.egress import Egress, EgressCredential
from outrider.ports.log import NewEvent

log = logging.getLogger("outrider.harness")


class WayOut:
    """Of one drive."""

    def __init__(self, egress: Egress, journal: Journal) -> None:
        self._egress = egress
        self._journal = journal
        self._known: dict[str, EgressCredential] = {}
        self._news: list[EgressCredential] = []

    async def settle(self) -> None:
        """What the sandbox may reach must be known before a command asks for it. Without an answer commands run all the
        same: what they reach is then what was said last, or nothing."""
        key = self._journal.lease.key
        claim = claim_of(self._journal.context, key.session, key.workspace, self._journal.lease.epoch)
        try:
            shut_out = await self._egress.claim(claim)
        except (Overloaded, NotDeclared, Conflict) as problem:
            log.warning("session %s: its network is not settled: %s", key.session, problem.message)
            return
        self._news += [one for one in shut_out if one.credential not in self._known]
        self._known |= {one.credential: one for one in shut_out}

    def take(self) -> list[NewEvent]:
        """Errors for the credentials that were not told of yet."""
        news, self._news = self._news, []
        return [self._error(one) for one in news]

    def _error(self, one: EgressCredential) -> NewEvent:
        hosts = ", ".join(one.networking["allowed_hosts"])
        said = f"Credential {one.credential} ({one.name}) is for {hosts}: not all of them are in the environment's"
        return self._journal.factory.error(
            "credential_host_unreachable_error",
            f"{said} config.networking.allowed_hosts.",
            "retrying",
            credential_id=one.credential,
            vault_id=one.vault,
        )
