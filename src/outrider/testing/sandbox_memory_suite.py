"""The conformance suite of memory in sandboxes: what a `Sandboxes` driver must do with mounted stores. As `SUITE` of
`sandbox_suite`: each check takes the driver and a session of its own, and raises AssertionError."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Sequence

from outrider.errors import Fenced
from outrider.ports.mounted import Change, MountedMemory, Step, erase
from outrider.ports.sandbox import Mount, NotMounted, Sandboxes, ToolCall
from outrider.testing.sandbox_suite import DEADLINE, Check, Hands, raises, text

MOUNTS: list[Mount] = [("notes", True), ("fixed", False)]
MOST = 1_000
HERE = "cd /mnt/memory/notes && "
_numbers = itertools.count(1)


class Memory(MountedMemory):
    """A session's two mounts, and commands that need them."""

    def __init__(self, sandboxes: Sandboxes, session: str, *, epoch: int = 1, mounts: Sequence[Mount] = MOUNTS) -> None:
        super().__init__(sandboxes, session, epoch, list(mounts))
        self._driver = sandboxes
        self._name = session
        self._epoch = epoch

    async def bash(self, command: str, *, is_error: bool = False) -> str:
        call = ToolCall(f"sevt_m{next(_numbers)}", "thread_1", "bash", {"command": command}, MOUNTS)
        async with asyncio.timeout(DEADLINE):
            return text(await self._driver.execute(self._name, call, epoch=self._epoch), is_error=is_error)

    async def begun(self) -> None:
        """Mounted, as a harness does it: with the first call."""
        await raises(NotMounted, self.bash("echo early > early"))
        await self.mount()

    async def put(self, **contents: str) -> bool:
        steps = [_put("notes", path, content) for path, content in contents.items()]
        return await self.settle(steps)

    async def seen(self, most: int = MOST) -> list[Change]:
        found: list[Change] = []
        after = None
        while True:
            some, after = await self.changes(most, after)
            found += some
            if after is None:
                return found


def _put(mount: str, name: str, content: str) -> Step:
    return Step("put", mount, f"/{name.replace('__', '/')}", sha256(content), content)


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


async def memory_is_what_was_put_and_what_changed_is_seen(sandboxes: Sandboxes, session: str) -> None:
    memory = Memory(sandboxes, session)
    await memory.begun()
    assert await memory.put(a="one", b="two", deep__er__c="three", e="four", f="")
    assert await memory.bash(f"ls ~ /mnt/memory; {HERE}cat a b deep/er/c; wc -c < f") == (
        "/mnt/memory:\nfixed\nnotes\n\n/workspace:\nonetwothree0"
    )
    assert await memory.seen() == []
    await memory.bash(f"{HERE}echo -n uno > a; rm b; mv deep/er/c deep/d; echo -n new > n; touch e; rm -r deep/er")
    assert await memory.seen() == [
        Change("notes", "/b", sha256("two"), None, None),
        Change("notes", "/deep/er/c", sha256("three"), None, None),
        Change("notes", "/a", sha256("one"), "uno", None),
        Change("notes", "/deep/d", None, "three", None),
        Change("notes", "/n", None, "new", None),
    ]
    kept = [Step("keep", "notes", "/b"), Step("keep", "notes", "/a", sha256("uno"))]
    assert await memory.settle([*kept, Step("drop", "notes", "/n")])
    await sandboxes.stop(session)
    assert [change.path for change in await memory.seen()] == ["/deep/er/c", "/deep/d"]
    held = await memory.held()
    assert held["fixed"] == {}
    assert held["notes"]["/a"] == sha256("uno")
    assert await memory.bash(f"{HERE}ls; cat a") == "a\ndeep\ne\nf\nuno"


async def a_change_of_the_same_size_is_seen_however_soon_it_comes(sandboxes: Sandboxes, session: str) -> None:
    memory = Memory(sandboxes, session)
    await memory.begun()
    await memory.put(a="0")
    for number in range(1, 10):
        await memory.bash(f"{HERE}echo -n {number} > a")
        (change,) = await memory.seen()
        assert change.content == str(number)
        await memory.settle([Step("keep", "notes", "/a", sha256(str(number)))])


async def a_read_only_store_can_not_be_written(sandboxes: Sandboxes, session: str) -> None:
    memory = Memory(sandboxes, session)
    await memory.begun()
    await memory.settle([_put("fixed", "a", "kept")])
    for command in ("echo x > fixed/a", "rm fixed/a", "touch fixed/b", "mkdir more", "mv fixed notes/x", "chmod 777 ."):
        assert "Read-only" in await memory.bash(f"cd /mnt/memory && {command}", is_error=True)
    assert await memory.bash("cat /mnt/memory/fixed/a") == "kept"
    assert await memory.settle([_put("fixed", "a", "newer"), _put("fixed", "b__c", "more")])
    assert await memory.bash("cd /mnt/memory/fixed && cat a b/c") == "newermore"


async def what_no_memory_can_be_comes_with_the_reason(sandboxes: Sandboxes, session: str) -> None:
    memory = Memory(sandboxes, session)
    await memory.begun()
    await memory.put(a="a")
    odd = "printf '\\377' > bin; ln -s /etc/passwd link; mkfifo pipe; mkdir empty; touch $'\\377'"
    deep = "d/" * 40
    await memory.bash(f"{HERE}head -c 1001 /dev/zero > a; {odd}; mkdir -p {deep}; chmod 000 bin; chmod 000 empty")
    found = {change.path.strip("/d") or change.path: change.problem or "" for change in await memory.seen()}
    words = {"a": "too large", "bin": "UTF-8", "link": "regular", "pipe": "regular", "\\udcff": "UTF-8"}
    assert all(word in found[path] for path, word in words.items()), found
    assert len(found) == len(words) + 1
    await memory.settle([Step("drop", "notes", f"/{path}") for path in words if path != "a"])
    await memory.put(a="back")
    assert await memory.bash(f"{HERE}cat a; rm -r d $'\\377'; ls") == "backa\nempty"
    assert await memory.seen() == []


async def links_planted_in_memory_lead_nowhere(sandboxes: Sandboxes, session: str) -> None:
    """As the host sees it, the workspace is two directories above."""
    memory = Memory(sandboxes, session)
    await memory.begun()
    await memory.put(d__a="one", e="two")
    await memory.bash(f"echo kept > ~/a; {HERE}rm -r d e; ln -s ../../workspace d; ln -s ../../workspace/a e")
    assert [(one.path, one.problem is None) for one in await memory.seen()] == [
        ("/d/a", True), ("/d", False), ("/e", False)
    ]  # fmt: skip
    await memory.settle([Step("drop", "notes", "/d/a"), _put("notes", "d__b", "three"), _put("notes", "e", "four")])
    assert await memory.bash(f"{HERE}cat d/b e; ls ~; cat ~/a") == "threefoura\nkept"
    await memory.bash(f"{HERE}rm -r d; ln -s .. d; mkdir full; touch full/x; chmod 555 full")
    await memory.settle([Step("drop", "notes", "/d"), _put("notes", "full", "file now")])
    assert await memory.bash(f"{HERE}ls; cat full; ls /mnt/memory") == "e\nfull\nfile nowfixed\nnotes"


async def files_are_not_changed_while_a_call_runs(sandboxes: Sandboxes, session: str) -> None:
    memory = Memory(sandboxes, session)
    await memory.begun()
    await memory.put(a="one")
    running = asyncio.create_task(memory.bash(f"{HERE}touch ~/begun; until [ -e ~/go ]; do sleep 0.01; done; cat a"))
    await Hands(sandboxes, session, "observer").until("ls begun 2>/dev/null", "begun")
    assert not await memory.settle([Step("put", "notes", "/a", sha256("two"), "two")])
    await Hands(sandboxes, session, "observer").bash("touch ~/go")
    assert await running == "one"
    assert await memory.put(a="two")
    assert await memory.bash(f"{HERE}cat a") == "two"


async def memory_is_for_the_newest_owner(sandboxes: Sandboxes, session: str) -> None:
    memory, newer = Memory(sandboxes, session), Memory(sandboxes, session, epoch=2)
    await memory.begun()
    await newer.bash("true")
    for refused in (memory.seen(), memory.held(), memory.put(a="x"), memory.mount()):
        await raises(Fenced, refused)
    await raises(NotMounted, Memory(sandboxes, session, epoch=2, mounts=[("notes", False)]).held())
    assert await newer.held() == {"notes": {}, "fixed": {}}


async def a_mount_can_be_erased_whoever_owns_the_session(sandboxes: Sandboxes, session: str) -> None:
    await erase(sandboxes, session, "notes")
    memory = Memory(sandboxes, session)
    await memory.begun()
    await memory.put(a="one", deep__er__b="two")
    await memory.settle([_put("fixed", "a", "kept")])
    assert await memory.bash(f"{HERE}mkdir -p x/y; cat a") == "one"
    for _ in range(2):
        await erase(sandboxes, session, "notes")
    assert await memory.bash("ls -A /mnt/memory/notes; cat /mnt/memory/fixed/a") == "kept"
    assert await memory.seen() == []
    await sandboxes.stop(session)
    await erase(sandboxes, session, "fixed")
    assert await memory.held() == {"notes": {}, "fixed": {}}
    await sandboxes.delete(session)
    await raises(NotMounted, memory.bash("true"))


async def large_changes_come_in_portions(sandboxes: Sandboxes, session: str) -> None:
    memory, most = Memory(sandboxes, session), 100_000
    await memory.begun()
    await memory.bash(f"{HERE}for n in $(seq 10 59); do printf %90000s $n > $n; done")
    some, after = await memory.changes(most)
    assert (len(some) < 50, after is None) == (True, False)
    found = await memory.seen(most)
    assert [one.path for one in found] == [f"/{number}" for number in range(10, 60)]
    await memory.settle([Step("keep", one.mount, one.path, sha256(one.content or "")) for one in found])
    await memory.bash(f"{HERE}rm 1*; touch 20")
    assert len(await memory.seen(most)) == 10


MEMORY_SUITE: tuple[Check, ...] = (
    memory_is_what_was_put_and_what_changed_is_seen,
    a_change_of_the_same_size_is_seen_however_soon_it_comes,
    a_read_only_store_can_not_be_written,
    what_no_memory_can_be_comes_with_the_reason,
    links_planted_in_memory_lead_nowhere,
    files_are_not_changed_while_a_call_runs,
    memory_is_for_the_newest_owner,
    a_mount_can_be_erased_whoever_owns_the_session,
    large_changes_come_in_portions,
)
