"""The public contract: request types with their limits, query strings, pages, error envelopes. Does no I/O."""
