"""The clean process: `supervisor.prelude` executes it in its own place. Not meant to be started by hand."""

from __future__ import annotations

import sys

from outrider.errors import OutriderError
from outrider.supervisor import plan
from outrider.supervisor.log import choose, say
from outrider.supervisor.prelude import REFUSED
from outrider.supervisor.tree import Tree

if __name__ == "__main__":
    try:
        taken = plan.read(int(sys.argv[1]))
        choose(taken.settings.log_format)
        sys.exit(Tree(taken).run())
    except OutriderError as error:
        say("refused", reason=error.message)
        sys.exit(REFUSED)
