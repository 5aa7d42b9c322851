"""Ports for servers that tests and drills start again and again at the same address."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOWEST = 10_000
TRIES = 1000
_GIVEN_OUT = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL = 32_768


def free_port() -> int:
    """One below those that the system gives out by itself: while no server has it, no other program comes by it, nor
    does a client that knocks there speak to itself."""
    for _ in range(TRIES):
        port = random.SystemRandom().randrange(LOWEST, max(_first_given_out(), LOWEST + TRIES))
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no port is free")


def _first_given_out() -> int:
    try:
        return int(_GIVEN_OUT.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL
