"""One module for each resource; every handler takes a `Call` and gives a `Reply` or a stream."""
