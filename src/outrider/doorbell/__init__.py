"""Wakes: how a harness learns that some session may be runnable. A ring may be lost or doubled; the log decides."""
