"""Repositories of sessions: what a token may be used for, and what a repository says of its skills."""
