"""A drill: scripted sessions on a deployment of its own, parts of which are killed, frozen and cut off meanwhile.

Afterwards the logs are checked against the invariants. Shapes and faults are data; nothing here is part of a server.
"""
