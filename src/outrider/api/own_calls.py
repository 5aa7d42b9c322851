"""What the server asks of its own API, in a client's stead: for deployments and dreams."""

from __future__ import annotations

from outrider.api.answers import Keep, keep_nothing
from outrider.api.endpoint import Call
from outrider.api.services import Services
from outrider.ports.access import ApiKey
from outrider.ports.log import KeptAnswer, StoredAnswer


def own_call(services: Services, workspace: str, keep: Keep = keep_nothing, **path: str) -> Call:
    """As if an admin's key had asked: whoever made the deployment, or the dream, might do all that it holds."""
    key = ApiKey("", workspace, "", "server", "admin", services.clock.now())
    return Call(services, key, path, "", b"", keep)


def once(services: Services, name: str) -> Keep:
    """Keep an empty answer under this name, so that what is asked is done once, or never."""

    def keep(_body: bytes) -> KeptAnswer:
        return KeptAnswer(name, services.clock.now(), StoredAnswer(200, b""), if_none_since="")

    return keep
