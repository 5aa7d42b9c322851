"""Rules of skills: what an upload may hold, how a version is packed, and what agents and sessions make of them."""
