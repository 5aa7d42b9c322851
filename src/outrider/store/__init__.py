"""The only SQL: durable stores behind the ports `log` and `records`."""
