"""Our own extra: sessions with folders of the operator's machine, and which folders there are."""

from __future__ import annotations

from outrider.api.endpoint import Call, Reply
from outrider.api.routes import sessions
from outrider.resources.folders import asked_for, give, offered_object
from outrider.wire.pages import page_bytes


async def create_session(call: Call) -> Reply:
    """As `POST /v1/sessions`, and with `folders`."""
    services = call.services
    folders, body = asked_for(call.body)
    request = sessions.asked(call, body)
    give(request, folders, services.settings.folders, call.workspace, services.ids)
    return await sessions.opened(call, request)


async def list_folders(call: Call) -> Reply:
    """Those that the key's workspace may have, all on one page."""
    offered = [one for one in call.services.settings.folders if one.open_to(call.workspace)]
    return Reply(encoded=page_bytes([offered_object(one) for one in offered], None))
