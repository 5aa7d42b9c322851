"""Outrider: an open, self-hosted managed-agents platform."""

__version__ = "0.1.0"
