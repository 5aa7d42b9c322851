"""Looking for secrets that should not be where they are: planted canaries, and searches for them in whatever encoding.

Used by `outrider audit` and by the security tests. Searches say what they could not look at.
"""
