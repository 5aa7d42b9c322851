"""Composition root of the api+harness process: `serving` runs it, `wiring` builds it.

What it does beside its work is in `telling` and `housekeeping`.
"""

from outrider.server.serving import main

__all__ = ["main"]
