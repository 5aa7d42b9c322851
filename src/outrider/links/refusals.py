"""How the vault marks its own refusals, so that callers can tell them from an upstream's answer."""

REFUSAL_HEADER = "x-outrider-refusal"
"""Its value is one of those below, `peer` or `other`."""
REFUSED_CAPABILITY = "capability"
REFUSED_EPOCH = "epoch"
REFUSED_DECLARATION = "undeclared"
