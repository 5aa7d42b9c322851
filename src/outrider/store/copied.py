"""What holds of restored copies, whichever store they are of."""

from __future__ import annotations

EPOCHS_ROOM = 2**20
"""By so much each log's epoch rises when it is restored. Owners since the copy, and call journals that are younger than
it, know epochs that it doesn't; new owners must be newer than all of them."""
