"""Which repositories a session has, from its record, and the way to what they say of themselves."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import replace

from outrider.ports.egress import Egress, EgressClaim, EgressCredential, EgressRepository
from outrider.ports.log import SessionKey
from outrider.ports.records import Records
from outrider.ports.repositories import Reading, ReadRequest, Repositories
from outrider.resources.mounts import REPOSITORY, SECRET, resources_of

REMEMBERED = 10_000


class RecordedRepositories:
    """Implements `Repositories`. Read anew each time, because tokens change; that a session has none never does."""

    def __init__(self, records: Records, read: Callable[[ReadRequest], Awaitable[Reading]]) -> None:
        self._records = records
        self._read = read
        self._without: OrderedDict[tuple[str, str], None] = OrderedDict()

    async def of(self, workspace: str, session: str) -> tuple[EgressRepository, ...]:
        if (workspace, session) in self._without:
            return ()
        record = await self._records.session(SessionKey(workspace, session))
        resources = [] if record is None else resources_of(record)
        found = [one for one in resources if one["type"] == REPOSITORY]
        if not found:
            self._without[workspace, session] = None
            if len(self._without) > REMEMBERED:
                self._without.popitem(last=False)
        return tuple(EgressRepository(one["id"], one["url"], one[SECRET]) for one in found)

    async def read(self, request: ReadRequest) -> Reading:
        return await self._read(request)


class WithRepositories:
    """Implements `Egress`: adds the session's repositories, as they are now, to what is claimed."""

    def __init__(self, inner: Egress, repositories: Repositories) -> None:
        self._inner = inner
        self._repositories = repositories

    async def claim(self, claim: EgressClaim) -> tuple[EgressCredential, ...]:
        found = await self._repositories.of(claim.workspace, claim.session)
        return await self._inner.claim(replace(claim, repositories=found) if found else claim)
