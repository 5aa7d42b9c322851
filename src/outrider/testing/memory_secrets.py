"""The port `secrets` in memory, for tests: holds what it is given, and shows it to the test."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from outrider.errors import InvalidRequest, NotFound
from outrider.ports.secrets import Notice, lends
from outrider.ports.vaults import SecretRef


class MemorySecrets:
    """Implements `Secrets`; there is no server to validate a credential on, so that is refused."""

    def __init__(self) -> None:
        self.kept: dict[SecretRef, dict[str, Any]] = {}
        self.told: list[Notice] = []

    async def put(self, ref: SecretRef, secret: dict[str, Any]) -> None:
        self.kept[ref] = secret

    async def patch(self, ref: SecretRef, before: int, changes: dict[str, Any]) -> None:
        old = self.kept.get(replace(ref, version=before))
        if old is None:
            raise NotFound("The vault holds no such secret.")
        self.kept[ref] = old | changes

    async def copy(self, source: SecretRef, to: SecretRef) -> None:
        if not lends(source, to):
            raise InvalidRequest("Only a deployment's secret can be copied, to a session of its workspace.")
        if source not in self.kept:
            raise NotFound("The vault holds no such secret.")
        self.kept[to] = self.kept[source]

    async def purge(self, ref: SecretRef) -> None:
        for one in list(self.kept):
            if replace(one, version=ref.version) == ref and one.version <= ref.version:
                del self.kept[one]

    async def purge_one(self, ref: SecretRef) -> None:
        self.kept.pop(ref, None)

    async def held(self) -> set[SecretRef]:
        return set(self.kept)

    async def notices(self) -> list[Notice]:
        return list(self.told)

    async def forget_notices(self, up_to: int) -> None:
        self.told = [one for one in self.told if one.seq > up_to]

    async def validate(self, ref: SecretRef) -> dict[str, Any]:
        raise InvalidRequest("There is no server to try a credential on.")
