"""The egress proxy: the only way out of a sandbox. See docs/decisions/egress.md."""
