"""What sessions have declared, sealed like secrets: whoever can write the vault's file can't give a session more.

Not promised: to know who declares. Who may is decided at the vault's door, by the other process's role.
"""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from outrider import faults
from outrider.errors import Conflict, NotDeclared, NotFound
from outrider.ports.declarations import Declaration
from outrider.ports.log import SessionKey
from outrider.vault.envelope import Owner
from outrider.vault.secrets import DECLARED, SecretStore

REMEMBERED = 10_000

_decode = msgspec.json.Decoder(Declaration).decode


class Declarations:
    """One for the process, which is the only one that writes them."""

    def __init__(self, store: SecretStore) -> None:
        self._store = store
        self._known: OrderedDict[SessionKey, Declaration] = OrderedDict()

    async def declare(self, said: Declaration) -> None:
        """Raises Conflict when it would change what a session said before, KeyUnavailable."""
        owner = _owner(SessionKey(said.workspace, said.session))
        async with self._store.alone_with(owner.workspace, owner.vault, owner.credential):
            before = await self.find(SessionKey(said.workspace, said.session))
            if before == said:
                return
            if before is not None and not said.extends(before):
                raise Conflict(f"Session {said.session} has declared something else before.")
            faults.point("vault.declare.before")
            await self._store.put(owner, msgspec.json.encode(said))
            faults.point("vault.declare.after")
            self._remember(said)

    async def withdraw(self, key: SessionKey) -> None:
        owner = _owner(key)
        async with self._store.alone_with(owner.workspace, owner.vault, owner.credential):
            self._known.pop(key, None)
            await self._store.purge(owner)

    async def of(self, key: SessionKey) -> Declaration:
        """Raises NotDeclared, SecretsLocked, KeyUnavailable."""
        found = await self.find(key)
        if found is None:
            raise NotDeclared(f"Session {key.session} has declared nothing.")
        return found

    async def find(self, key: SessionKey) -> Declaration | None:
        """Raises SecretsLocked, KeyUnavailable."""
        if key not in self._known:
            try:
                self._remember(_decode(await self._store.get(_owner(key))))
            except NotFound:
                return None
        self._known.move_to_end(key)
        return self._known[key]

    def all(self) -> list[SessionKey]:
        return [SessionKey(row[0], row[2]) for row in self._store.refs(DECLARED)]

    def _remember(self, said: Declaration) -> None:
        self._known[SessionKey(said.workspace, said.session)] = said
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def _owner(key: SessionKey) -> Owner:
    return Owner(key.workspace, DECLARED, key.session, 1)
