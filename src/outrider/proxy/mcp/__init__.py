"""MCP servers on behalf of sessions: connections, credentials, listings and calls. Tokens stay on this side."""
