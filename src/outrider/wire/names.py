"""Closed lists of names that the API knows, taken from the SDK's own types."""

from __future__ import annotations

from typing import get_args

from anthropic.types.beta.sessions import BetaManagedAgentsSessionEventType

EVENT_TYPES: tuple[str, ...] = get_args(BetaManagedAgentsSessionEventType)
