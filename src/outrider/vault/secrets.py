"""Secrets at rest: sealed on their way in, opened on their way out, rewrapped when the key changes.

Promised: what `put` returned from is on disk; a secret that can't be opened is an error that names the missing key, and
is never replaced or dropped; a rekey that is killed at any point leaves every secret readable and goes on at the next
start. Several processes may work on one directory.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from outrider import faults
from outrider.errors import Conflict, NotFound, Overloaded
from outrider.vault.database import Database
from outrider.vault.envelope import Owner, Sealed, rewrap, seal, unseal
from outrider.vault.keys import Keys, KeySources, new_key

FILE = "secrets.db"  # as Settings.vault_secrets has it
DECLARED = "declared"  # in the place of a vault: what a session has declared (see `declarations`)
BATCH = 100
TRIES = 5


class SecretStore:
    """The secrets in one directory. Made by `open`."""

    def __init__(self, directory: Path, keys: Keys, step: Callable[[], None]) -> None:
        self._directory = directory
        self._step = step
        self._db = Database(directory / FILE, step)
        self._look = Database(directory / FILE)  # reads in the event loop never wait for a commit in its thread
        self._keys = keys
        self._writing = asyncio.Lock()
        self._locks: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = WeakValueDictionary()

    @classmethod
    def open(cls, directory: Path, sources: KeySources, *, step: Callable[[], None] = lambda: None) -> SecretStore:
        """Make or open the store; a new one gets a new key file, unless a key comes from elsewhere. `step` is called
        before and after whatever becomes durable, for tests that kill the process there.

        Raises SecretsLocked when a key that stored secrets need is missing, InvalidRequest for what is no key.
        """
        store = cls(directory, sources.load(), step)
        try:
            store._begin(sources)
        except BaseException:
            store.close()
            raise
        return store

    def _begin(self, sources: KeySources) -> None:
        used = {row[0] for row in self._db.all("keys_in_use")}
        known = self._state("key")
        for key in sorted(used):
            self._keys.by_id(key)
        if not self._keys.any:  # and no secret needs one that is lost
            sources.write_file([new_key()])
            self._keys = sources.load()
        if known != self._keys.current.id:
            self._start_round(self._keys.current.id)

    @property
    def key_id(self) -> str:
        return self._keys.current.id

    def close(self) -> None:
        self._look.close()
        self._db.close()

    @asynccontextmanager
    async def alone_with(self, workspace: str, vault: str, credential: str) -> AsyncGenerator[None]:
        """One caller at a time for one credential."""
        lock = self._locks.setdefault((workspace, vault, credential), asyncio.Lock())
        async with lock:
            yield

    async def get(self, owner: Owner) -> bytes:
        """Raises NotFound, SecretsLocked, KeyUnavailable."""
        row = self._look.one("secret", asdict(owner))
        if row is None:
            raise NotFound(f"The vault holds no secret for credential {owner.credential}.")
        sealed = Sealed(*row)
        return await unseal(self._key(sealed.key), owner, sealed)

    def holds(self, owner: Owner) -> bool:
        return self._look.one("secret", asdict(owner)) is not None

    def newest(self, owner: Owner) -> Owner:
        """The owner with the newest version that is held of its secret; with its own if none is."""
        row = self._look.one("newest_secret", asdict(owner))
        return owner if row is None else replace(owner, version=row[0])

    def _key(self, id: str) -> Any:
        """A key by id; one that is new to this process is looked for where keys are kept."""
        if not self._keys.has(id):
            self._keys = self._keys.sources.load()
        return self._keys.by_id(id)

    async def put(self, owner: Owner, secret: bytes, *, notice: dict[str, Any] | None = None) -> None:
        """Store a secret, or take the place of one with the same owner. Raises KeyUnavailable, SecretsLocked.

        `notice` becomes known in the same transaction.
        """
        for _ in range(TRIES):
            sealed = await seal(self._keys.current, owner, secret)
            async with self._writing:
                faults.point("vault.put.before")
                stored = await asyncio.to_thread(self._write, owner, sealed, notice)
                faults.point("vault.put.after")
            if stored:
                return
            self._keys = self._keys.sources.load()  # a rekey has begun elsewhere
        raise Overloaded("The vault's key is being changed; try again.", retry_after=1)

    def _write(self, owner: Owner, sealed: Sealed, notice: dict[str, Any] | None) -> bool:
        with self._db.change():
            if self._state("key") != sealed.key:
                return False
            self._db.run("put_secret", {**asdict(owner), **asdict(sealed), "round": self._round()})
            if notice is not None:
                self._db.run("add_notice", {**asdict(owner), "expires_at": None, **notice})
            return True

    async def tell(self, owner: Owner, notice: dict[str, Any]) -> None:
        """A notice without a change of the secret."""
        async with self._writing:
            faults.point("vault.tell.before")
            await asyncio.to_thread(self._tell, owner, notice)
            faults.point("vault.tell.after")

    def _tell(self, owner: Owner, notice: dict[str, Any]) -> None:
        with self._db.change():
            self._db.run("add_notice", {**asdict(owner), "expires_at": None, **notice})

    def notices(self, limit: int) -> list[Any]:
        return self._look.all("notices", {"limit": limit})

    async def forget_notices(self, seq: int) -> None:
        async with self._writing:
            faults.point("vault.forget.before")
            await asyncio.to_thread(self._forget_notices, seq)
            faults.point("vault.forget.after")

    def _forget_notices(self, seq: int) -> None:
        with self._db.change():
            self._db.run("forget_notices", {"seq": seq})

    async def purge(self, owner: Owner, *, older: bool = True) -> None:
        """Erase a credential's secret in this version and all older ones, or in this one only; none is no error."""
        async with self._writing:
            faults.point("vault.purge.before")
            await asyncio.to_thread(self._purge, owner, 0 if older else owner.version)
            faults.point("vault.purge.after")

    def _purge(self, owner: Owner, oldest: int) -> None:
        with self._db.change():
            gone = self._db.run("purge_secret", {**asdict(owner), "oldest": oldest})
        if gone:
            self._db.scrub()

    def refs(self, kind: str = "") -> list[Any]:
        """(workspace, vault, credential, version) of every secret; or of what has `kind` in the place of a vault."""
        return self._look.all("kind_refs", {"kind": kind}) if kind else self._look.all("secret_refs")

    # Rekeying: a new round begins with a change of `state`; every secret of an older round is wrapped anew; then keys
    # that nothing needs any more leave the key file.

    async def rekey(self) -> int:
        """Begin a new round and finish it; how many secrets were wrapped anew. With the key in a file, a new key.

        Raises Conflict when another rekey runs, KeyUnavailable.
        """
        with self._rekeying() as held:
            if not held:
                raise Conflict("Another rekey of this vault is running.")
            sources = self._keys.sources
            if sources.in_file:
                self._step()
                sources.write_file([new_key(), *sources.file_keys()])
                self._step()
            self._keys = sources.load()
            self._start_round(self._keys.current.id)
            return await self._finish()

    async def finish(self) -> int:
        """Go on with a rekey that was broken off, unless another process is at it."""
        with self._rekeying() as held:
            return await self._finish() if held else 0

    def _start_round(self, key: str) -> None:
        with self._db.change():
            self._db.run("set_state", {"name": "key", "value": key})
            self._db.run("set_state", {"name": "round", "value": str(self._round() + 1)})

    async def _finish(self) -> int:
        done = 0
        while rows := self._db.all("of_older_rounds", {"round": self._round(), "limit": BATCH}):
            changed = [await self._rewrapped(row) for row in rows]
            async with self._writing:
                done += await asyncio.to_thread(self._store_rewrapped, changed)
        self._drop_unused_keys()
        return done

    async def _rewrapped(self, row: Any) -> dict[str, Any]:
        owner, sealed = Owner(*row[:4]), Sealed(*row[4:])
        return {**asdict(owner), **asdict(await rewrap(self._key(sealed.key), self._keys.current, owner, sealed))}

    def _store_rewrapped(self, rows: list[dict[str, Any]]) -> int:
        with self._db.change():
            current = self._round()
            return sum(self._db.run("rewrap_secret", {**row, "round": current}) for row in rows)

    def _drop_unused_keys(self) -> None:
        """Nobody can store under an old key meanwhile: that takes the write lock too, and looks at `state` there."""
        sources = self._keys.sources
        in_file = sources.file_keys()
        with self._db.change():
            used = {row[0] for row in self._db.all("keys_in_use")} | {str(self._state("key"))}
            left = [key for key in in_file if key.id in used]
            self._step()
            if left and len(left) < len(in_file):
                sources.write_file(left)
            elif in_file and not left:
                sources.remove_file()
            self._step()
        self._keys = sources.load()
        self._db.scrub()

    @contextmanager
    def _rekeying(self) -> Generator[bool]:
        """Whether this process is the only one that rekeys, for as long as the block lasts."""
        fd = os.open(self._directory / "rekey.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            yield _locked(fd)
        finally:
            os.close(fd)

    def _state(self, name: str) -> str | None:
        row = self._db.one("state", {"name": name})
        return None if row is None else row[0]

    def _round(self) -> int:
        return int(self._state("round") or 0)


def _locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
