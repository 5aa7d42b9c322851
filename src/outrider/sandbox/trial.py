"""Goes past each limit of a sandbox from the inside, to see what holds. For `doctor`: it takes a few seconds.

The sandbox is one with the limits below, which are quick to reach; how they are held is the same for the server's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from outrider.ports.sandbox import Sandboxes, ToolCall
from outrider.sandbox.plan import Hold

MB = 1024**2
WORKSPACE = 16 * MB
HOLD = Hold(memory_bytes=192 * MB, processes=256, tmp_bytes=8 * MB, shm_bytes=8 * MB, run_bytes=8 * MB)
CALL_SECONDS = 60.0
PATIENCE = 20.0  # seconds for which a workspace may be over its limit, because measuring is held to a share of a core
WATCH = 0.2

# Each is for bash and the system's own tools alone, and ends with HELD if the limit held.
HELD = "held"
_PROCESSES = """
exec 9< <(sleep 30)
read -r said < <(for i in {1..300}; do read -u 9 & done 2>&1; echo past); echo "$said"
[[ $said == *fork* ]] && echo held
"""
_PROCESS_MEMORY = "head -c 256M /dev/zero | tail > /dev/null; [ ${PIPESTATUS[1]} = 0 ] || echo held"
_MEMORY = """
for i in 1 2 3 4; do { head -c 80M /dev/zero && sleep 3; } | tail > /dev/null & all+=($!); done
for pid in ${all[@]}; do wait -n || { echo held; break; }; done
kill ${all[@]}
"""
_FILE = f"truncate -s {WORKSPACE + 1} big || echo held"
_MEMORY_FILES = """
for place in /tmp /run /dev/shm; do
    head -c 12M /dev/zero > $place/fill && echo $place took 12 MB
    rm -f $place/fill
done
"""
_WORKSPACE = "for i in 1 2 3; do head -c 7M /dev/zero > $i; done; sleep {patience:g}; rm 1 2 3"
_NETWORK = "while read -r name rest; do echo $name; done < /proc/net/dev"


@dataclass(frozen=True, slots=True)
class Trial:
    """`how` it is held, as the driver says; `held` is None where nothing limits it, so that nothing was tried."""

    limit: str
    how: str
    held: bool | None


async def tried(
    sandboxes: Sandboxes, session: str, limits: Mapping[str, str], patience: float = PATIENCE
) -> AsyncIterator[Trial]:
    """Each of the driver's limits, as they are tried. Raises SandboxUnavailable, CallLost, or TimeoutError."""
    full = [limit for limit in ("workspace", "processes") if limit in limits]  # nothing else fits in after these
    for limit in [*(name for name in limits if name not in full), *full]:
        held = await _held(sandboxes, session, limit, limits[limit], patience)
        yield Trial(limit, limits[limit], held)


async def _held(sandboxes: Sandboxes, session: str, limit: str, how: str, patience: float) -> bool | None:
    if limit == "memory":
        alone = HELD in await _said(sandboxes, session, limit, _PROCESS_MEMORY)
        if how.startswith("not enforced"):  # for all processes together
            return alone
        return alone and HELD in await _said(sandboxes, session, "memory of all", _MEMORY)
    if limit == "workspace":
        return "over its limit" in await _said(sandboxes, session, limit, _WORKSPACE.format(patience=patience))
    if limit == "memory file systems":
        return "took" not in await _said(sandboxes, session, limit, _MEMORY_FILES)
    if limit == "network":
        return _interfaces(await _said(sandboxes, session, limit, _NETWORK)) == {"lo:"}
    command = {"processes": _PROCESSES, "file size": _FILE}.get(limit)
    return None if command is None else HELD in await _said(sandboxes, session, limit, command)


def _interfaces(said: str) -> set[str]:
    return {word for word in said.split() if word.endswith(":")}


async def _said(sandboxes: Sandboxes, session: str, name: str, command: str) -> str:
    call = ToolCall(f"sevt_{name.replace(' ', '_')}", f"sthr_{name.replace(' ', '_')}", "bash", {"command": command})
    async with asyncio.timeout(CALL_SECONDS):
        outcome = await sandboxes.execute(session, call, epoch=1)
    return "\n".join(block["text"] for block in outcome.content)
