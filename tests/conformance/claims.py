"""Edits the ledger's source: an entry is `met` when a test names it, and `not_yet` when none does any more."""

from __future__ import annotations

import re
from pathlib import Path

from conformance.requirements import ALL
from conformance.witnesses import witnesses

LEDGER = Path(__file__).parent / "requirements"
MAKERS = ("differs", "met", "not_yet")


def claim() -> tuple[list[str], list[str]]:
    """Rewrite the modules whose entries changed; returns the ids that are met now, and those that no longer are."""
    named = witnesses()
    ready = [id for id in named if id in ALL and ALL[id].status == "not_yet"]
    bare = [id for id, entry in ALL.items() if entry.status == "met" and id not in named]
    for path in sorted(LEDGER.glob("*.py")):
        if path.stem not in ("__init__", "entry"):
            text = path.read_text()
            changed = _moved(_moved(text, ready, "not_yet", "met"), bare, "met", "not_yet")
            if changed != text:
                path.write_text(_imports_what_it_uses(changed))
    return ready, bare


def _moved(text: str, ids: list[str], before: str, after: str) -> str:
    for id in ids:
        text = re.sub(rf'\b{before}\((\s*"{re.escape(id)}",)', rf"{after}(\1", text)
    return text


def _imports_what_it_uses(text: str) -> str:
    """The import from `entry` with the makers that are called, and no other."""
    found = re.search(r"^from conformance\.requirements\.entry import (.*)$", text, re.MULTILINE)
    if found is None:
        raise ValueError("a ledger module imports from conformance.requirements.entry on one line")
    names = {name for name in found[1].split(", ") if name not in MAKERS}
    names |= {maker for maker in MAKERS if re.search(rf"^    {maker}\(", text, re.MULTILINE)}
    ordered = sorted(names, key=lambda name: (not name.isupper(), name))
    return text.replace(found[1], ", ".join(ordered), 1)
