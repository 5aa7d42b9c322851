"""Our own extra: erasing a workspace that was closed. Closing one takes the command, on the server's own machine."""

from __future__ import annotations

from outrider import faults
from outrider.api.endpoint import Call, Reply
from outrider.errors import NotFound


async def delete(call: Call) -> Reply:
    """For admins of the default workspace, which is whoever runs the server; to all others there is no other workspace.
    Answered once it is marked; asked again, it is 404 when everything is gone."""
    services, workspace = call.services, call.path["workspace_id"]
    access = services.ring.access
    if call.workspace != access.default_workspace:
        raise NotFound(f"Workspace {workspace} not found.")
    faults.point("workspace.mark.before")
    await access.delete_workspace(workspace, services.clock.now())
    faults.point("workspace.mark.after")
    services.erase_soon()
    return Reply({"id": workspace, "type": "workspace", "status": "deleting"}, status=202)
