"""Measurements of what docs/performance.md promises. Run `python -m bench`; results go to bench/results/."""
