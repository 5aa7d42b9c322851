"""The port `declarations` in memory, for tests: holds what was declared, and shows it to the test."""

from __future__ import annotations

from outrider.errors import Conflict
from outrider.ports.declarations import Declaration
from outrider.ports.log import SessionKey


class MemoryDeclarations:
    """Implements `Declarations`."""

    def __init__(self) -> None:
        self.kept: dict[SessionKey, Declaration] = {}

    async def declare(self, declaration: Declaration) -> None:
        key = SessionKey(declaration.workspace, declaration.session)
        before = self.kept.get(key)
        if before is not None and not declaration.extends(before):
            raise Conflict(f"Session {declaration.session} has declared something else before.")
        self.kept[key] = declaration

    async def withdraw(self, key: SessionKey) -> None:
        self.kept.pop(key, None)

    async def declared(self) -> set[SessionKey]:
        return set(self.kept)
