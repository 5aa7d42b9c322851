"""The HTTP surface: auth, errors, streams, and one module of routes for each resource."""
