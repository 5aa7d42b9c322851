"""Our own extra: what this server's host can do, for operators and `outrider demo`."""

from __future__ import annotations

from dataclasses import asdict

from outrider.api.endpoint import Call, Reply


async def get_host(call: Call) -> Reply:
    capabilities = await call.services.probe()
    return Reply({"sandbox": asdict(capabilities), "models": call.services.models.names()})
