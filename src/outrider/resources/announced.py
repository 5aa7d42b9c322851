"""What becomes of bytes that were announced and written, and to which no record may have come to lead."""

from __future__ import annotations

import logging

from outrider.errors import Overloaded
from outrider.ports.blobs import Blobs
from outrider.ports.files import Announced, FileRecords, all_of

log = logging.getLogger("outrider.files")


async def withdraw(files: FileRecords, blobs: Blobs, announced: Announced) -> None:
    """Erase them, unless they belong to a record: whoever asked for one may have gone, or been told that nothing is
    known of it, before it was stored. The store says which; should that fail, or we die, the sweep does it later."""
    try:
        if await files.forget_announced(announced):
            await blobs.delete_all(all_of(announced.workspace, announced.id))
    except Overloaded as error:
        log.warning("%s: what was written of it is left to the next sweep: %s", announced.id, error.message)
