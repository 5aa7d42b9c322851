"""The only user of the anthropic client: one model request, a probe of an endpoint, and the scripted model server."""
