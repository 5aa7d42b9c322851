"""Pure rules of the resources: from a checked request and what is stored to what is stored and shown next."""
