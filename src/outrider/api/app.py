"""The Starlette app: which path leads to which handler, whose keys may take it, and what it counts as."""

from __future__ import annotations

import asyncio
from functools import cache

import msgspec
from starlette import routing
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from outrider.api import absent, health
from outrider.api.auth import DREAMS, MEMORY, NO_BETA
from outrider.api.endpoint import Call, Endpoints, Reply, Route, error_response
from outrider.api.health import Readiness
from outrider.api.openapi import describe
from outrider.api.origins import middleware
from outrider.api.rates import CHANGE, CREATE, FREE, READ
from outrider.api.routes import (
    agents,
    credentials,
    deployments,
    dreams,
    environments,
    events,
    files,
    folders,
    host,
    keys,
    memories,
    memory_stores,
    models,
    network,
    places,
    repair,
    resources,
    sessions,
    skills,
    threads,
    vaults,
    webhooks,
    work,
    workspaces,
)
from outrider.api.scopes import ADMINISTER, ANY, DEFINE, HOLD, MEMORIES, POLL, QUEUE, USE, WORK
from outrider.api.services import Services
from outrider.errors import InvalidRequest, NotFound, OutriderError

S = "/v1/sessions/{session_id}"
T = S + "/threads/{thread_id}"
R = S + "/resources/{resource_id}"
V = "/v1/vaults/{vault_id}"
M = "/v1/memory_stores/{memory_store_id}"
C = V + "/credentials/{credential_id}"
D = "/v1/deployments/{deployment_id}"
F = "/v1/files/{file_id}"
K = "/v1/skills/{skill_id}"
W = "/outrider/v1/webhooks/{webhook_id}"
Q = "/v1/environments/{environment_id}/work"
J = Q + "/{work_id}"
N = "/v1/dreams/{dream_id}"
X = M + "/memory_versions/{memory_version_id}"
P = "/outrider/v1/sessions/{session_id}"
L = W + "/deliveries/{delivery_id}"


async def get_description(_call: Call) -> Reply:
    """Made once in a process, in a thread: it compiles every request type that was not used yet."""
    return Reply(encoded=await asyncio.to_thread(_description))


@cache
def _description() -> bytes:
    return msgspec.json.encode(describe(ROUTES))


ROUTES: tuple[Route, ...] = (  # looked through in order: what is asked most comes first
    Route("POST", S + "/events", events.send_events, WORK, CHANGE),
    Route("GET", S + "/events", events.list_events, WORK, READ),
    Route("GET", S + "/events/stream", events.stream_events, WORK, FREE),
    Route("POST", "/v1/sessions", sessions.create, USE, CREATE),
    Route("GET", S, sessions.get, WORK, READ),
    Route("POST", "/v1/agents", agents.create, DEFINE, CREATE),
    Route("GET", "/v1/agents", agents.list_agents, USE, READ),
    Route("GET", "/v1/agents/{agent_id}", agents.get, USE, READ),
    Route("POST", "/v1/agents/{agent_id}", agents.update, DEFINE, CHANGE),
    Route("POST", "/v1/agents/{agent_id}/archive", agents.archive, DEFINE, CHANGE, bodiless=True),
    Route("GET", "/v1/agents/{agent_id}/versions", agents.versions, USE, READ),
    Route("POST", "/v1/environments", environments.create, DEFINE, CREATE),
    Route("GET", "/v1/environments", environments.list_environments, USE, READ),
    Route("GET", "/v1/environments/{environment_id}", environments.get, USE, READ),
    Route("POST", "/v1/environments/{environment_id}", environments.update, DEFINE, CHANGE),
    Route("DELETE", "/v1/environments/{environment_id}", environments.delete, DEFINE, CHANGE),
    Route("POST", "/v1/environments/{environment_id}/archive", environments.archive, DEFINE, CHANGE, bodiless=True),
    Route("GET", Q + "/poll", work.poll, POLL, FREE),
    Route("GET", Q + "/stats", work.stats, QUEUE, READ),
    Route("GET", Q, work.list_work, QUEUE, READ),
    Route("GET", J, work.get, QUEUE, READ),
    Route("POST", J, work.update, USE, CHANGE),
    Route("POST", J + "/ack", work.ack, POLL, FREE, bodiless=True),
    Route("POST", J + "/heartbeat", work.heartbeat, HOLD, FREE, bodiless=True),
    Route("POST", J + "/stop", work.stop, ANY, FREE),
    Route("POST", "/v1/vaults", vaults.create, DEFINE, CREATE),
    Route("GET", "/v1/vaults", vaults.list_vaults, USE, READ),
    Route("GET", V, vaults.get, USE, READ),
    Route("POST", V, vaults.update, DEFINE, CHANGE),
    Route("DELETE", V, vaults.delete, DEFINE, CHANGE),
    Route("POST", V + "/archive", vaults.archive, DEFINE, CHANGE, bodiless=True),
    Route("POST", V + "/credentials", credentials.create, DEFINE, CREATE),
    Route("GET", V + "/credentials", credentials.list_credentials, USE, READ),
    Route("GET", C, credentials.get, USE, READ),
    Route("POST", C, credentials.update, DEFINE, CHANGE),
    Route("DELETE", C, credentials.delete, DEFINE, CHANGE),
    Route("POST", C + "/archive", credentials.archive, DEFINE, CHANGE, bodiless=True),
    Route("POST", C + "/mcp_oauth_validate", credentials.validate, DEFINE, CHANGE, bodiless=True),
    Route("GET", "/v1/sessions", sessions.list_sessions, USE, READ),
    Route("POST", S, sessions.update, USE, CHANGE),
    Route("DELETE", S, sessions.delete, USE, CHANGE),
    Route("POST", S + "/archive", sessions.archive, USE, CHANGE, bodiless=True),
    Route("POST", S + "/resources", resources.add, USE, CHANGE),
    Route("GET", S + "/resources", resources.list_resources, WORK, READ),
    Route("GET", R, resources.get, WORK, READ),
    Route("POST", R, resources.update, USE, CHANGE),
    Route("DELETE", R, resources.delete, USE, CHANGE),
    Route("GET", S + "/threads", threads.list_threads, WORK, READ),
    Route("GET", T, threads.get, WORK, READ),
    Route("POST", T + "/archive", threads.archive, USE, CHANGE, bodiless=True),
    Route("GET", T + "/events", events.list_thread_events, WORK, READ),
    Route("GET", T + "/stream", events.stream_thread_events, WORK, FREE),
    Route("POST", "/v1/memory_stores", memory_stores.create, DEFINE, CREATE, betas=MEMORY),
    Route("GET", "/v1/memory_stores", memory_stores.list_stores, USE, READ, betas=MEMORY),
    Route("GET", M, memory_stores.get, USE, READ, betas=MEMORY),
    Route("POST", M, memory_stores.update, DEFINE, CHANGE, betas=MEMORY),
    Route("DELETE", M, memory_stores.delete, DEFINE, CHANGE, betas=MEMORY),
    Route("POST", M + "/archive", memory_stores.archive, DEFINE, CHANGE, betas=MEMORY, bodiless=True),
    Route("POST", M + "/memories", memories.create, MEMORIES, CREATE, betas=MEMORY),
    Route("GET", M + "/memories", memories.list_memories, MEMORIES, READ, betas=MEMORY),
    Route("GET", M + "/memories/{memory_id}", memories.get, MEMORIES, READ, betas=MEMORY),
    Route("POST", M + "/memories/{memory_id}", memories.update, MEMORIES, CHANGE, betas=MEMORY),
    Route("DELETE", M + "/memories/{memory_id}", memories.delete, MEMORIES, CHANGE, betas=MEMORY),
    Route("GET", M + "/memory_versions", memories.list_versions, USE, READ, betas=MEMORY),
    Route("GET", X, memories.get_version, USE, READ, betas=MEMORY),
    Route("POST", X + "/redact", memories.redact, DEFINE, CHANGE, betas=MEMORY, bodiless=True),
    Route("POST", "/v1/deployments", deployments.create, DEFINE, CREATE),
    Route("GET", "/v1/deployments", deployments.list_deployments, USE, READ),
    Route("GET", D, deployments.get, USE, READ),
    Route("POST", D, deployments.update, DEFINE, CHANGE),
    Route("POST", D + "/archive", deployments.archive, DEFINE, CHANGE, bodiless=True),
    Route("POST", D + "/pause", deployments.pause, DEFINE, CHANGE, bodiless=True),
    Route("POST", D + "/unpause", deployments.unpause, DEFINE, CHANGE, bodiless=True),
    Route("POST", D + "/run", deployments.run, USE, CREATE, bodiless=True),
    Route("GET", "/v1/deployment_runs", deployments.list_runs, USE, READ),
    Route("GET", "/v1/deployment_runs/{deployment_run_id}", deployments.get_run, USE, READ),
    Route("POST", "/v1/dreams", dreams.create, DEFINE, CREATE, betas=DREAMS),
    Route("GET", "/v1/dreams", dreams.list_dreams, USE, READ, betas=DREAMS),
    Route("GET", N, dreams.get, USE, READ, betas=DREAMS),
    Route("POST", N + "/cancel", dreams.cancel, DEFINE, CHANGE, betas=DREAMS, bodiless=True),
    Route("POST", N + "/archive", dreams.archive, DEFINE, CHANGE, betas=DREAMS, bodiless=True),
    Route("GET", "/v1/models", models.list_models, USE, READ, betas=NO_BETA),
    Route("GET", "/v1/models/{model_id:path}", models.get_model, USE, READ, betas=NO_BETA),
    Route("POST", "/v1/files", files.upload, USE, CREATE, betas=NO_BETA, streamed=True),
    Route("GET", "/v1/files", files.list_files, USE, READ, betas=NO_BETA),
    Route("GET", F, files.get, USE, READ, betas=NO_BETA),
    Route("GET", F + "/content", files.content, USE, READ, betas=NO_BETA),
    Route("DELETE", F, files.delete, USE, CHANGE, betas=NO_BETA),
    Route("POST", "/v1/skills", skills.create, DEFINE, CREATE, betas=NO_BETA, streamed=True),
    Route("GET", "/v1/skills", skills.list_skills, USE, READ, betas=NO_BETA),
    Route("GET", K, skills.get, USE, READ, betas=NO_BETA),
    Route("DELETE", K, skills.delete, DEFINE, CHANGE, betas=NO_BETA),
    Route("POST", K + "/versions", skills.create_version, DEFINE, CREATE, betas=NO_BETA, streamed=True),
    Route("GET", K + "/versions", skills.list_versions, USE, READ, betas=NO_BETA),
    Route("GET", K + "/versions/{skill_version_id}", skills.get_version, WORK, READ, betas=NO_BETA),
    Route("DELETE", K + "/versions/{skill_version_id}", skills.delete_version, DEFINE, CHANGE, betas=NO_BETA),
    Route("GET", K + "/versions/{skill_version_id}/content", skills.content, WORK, READ, betas=NO_BETA),
    Route("GET", "/outrider/v1/openapi.json", get_description, USE, READ, betas=NO_BETA),
    Route("GET", "/outrider/v1/host", host.get_host, USE, READ, betas=NO_BETA),
    Route("POST", P + "/move", places.move, ADMINISTER, CHANGE, betas=NO_BETA),
    Route("GET", P + "/requests", network.get_requests, ADMINISTER, READ, betas=NO_BETA),
    Route("GET", P + "/repair", repair.get_repair, ADMINISTER, READ, betas=NO_BETA),
    Route("POST", P + "/repair", repair.repair, ADMINISTER, CHANGE, betas=NO_BETA, bodiless=True),
    Route("POST", "/outrider/v1/sessions", folders.create_session, USE, CREATE),
    Route("GET", "/outrider/v1/folders", folders.list_folders, USE, READ, betas=NO_BETA),
    Route("POST", "/outrider/v1/keys", keys.create, ADMINISTER, CREATE, betas=NO_BETA),
    Route("GET", "/outrider/v1/keys", keys.list_keys, ADMINISTER, READ, betas=NO_BETA),
    Route("GET", "/outrider/v1/keys/{key_id}", keys.get, ADMINISTER, READ, betas=NO_BETA),
    Route("POST", "/outrider/v1/keys/{key_id}/revoke", keys.revoke, ADMINISTER, CHANGE, betas=NO_BETA, bodiless=True),
    Route("DELETE", "/outrider/v1/workspaces/{workspace_id}", workspaces.delete, ADMINISTER, CHANGE, betas=NO_BETA),
    Route("POST", "/outrider/v1/webhooks", webhooks.create, ADMINISTER, CREATE, betas=NO_BETA),
    Route("GET", "/outrider/v1/webhooks", webhooks.list_webhooks, ADMINISTER, READ, betas=NO_BETA),
    Route("GET", W, webhooks.get, ADMINISTER, READ, betas=NO_BETA),
    Route("POST", W, webhooks.update, ADMINISTER, CHANGE, betas=NO_BETA),
    Route("DELETE", W, webhooks.delete, ADMINISTER, CHANGE, betas=NO_BETA),
    Route(
        "POST", W + "/regenerate_signing_secret", webhooks.regenerate, ADMINISTER, CHANGE, betas=NO_BETA, bodiless=True
    ),
    Route("GET", W + "/deliveries", webhooks.list_deliveries, ADMINISTER, READ, betas=NO_BETA),
    Route("GET", L, webhooks.get_delivery, ADMINISTER, READ, betas=NO_BETA),
    Route("POST", L + "/resend", webhooks.resend, ADMINISTER, CHANGE, betas=NO_BETA, bodiless=True),
)


def create_app(services: Services, readiness: Readiness) -> Starlette:
    """The app for these services; it starts and stops nothing by itself."""
    endpoints = Endpoints(services)

    def refuse(request: Request, error: OutriderError) -> Response:
        endpoints.count_unrouted(request, error.status)
        return error_response(error, services.ids.new("req"))

    async def no_route(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        if status == 405:
            response = refuse(request, _method_not_allowed(request))
            response.headers["allow"] = ", ".join(_methods(request))
            return response
        nothing = absent.reason(request.url.path) or f"Not found: {request.method} {request.url.path}"
        return refuse(request, NotFound(nothing))

    routes = [routing.Route(one.path, endpoints.endpoint(one), methods=[one.method]) for one in ROUTES]
    routes += health.routes(readiness)
    app = Starlette(
        routes=routes,
        exception_handlers={404: no_route, 405: no_route},
        middleware=middleware(services.settings, refuse),
    )
    app.router.redirect_slashes = False  # a redirect has no envelope, and its scheme may be one that a proxy ended
    return app


class _MethodNotAllowed(InvalidRequest):
    """The path exists, but not for this method."""

    status = 405


def _methods(request: Request) -> list[str]:
    """Those that its path takes."""
    routes = [route for route in request.app.routes if route.matches(request.scope)[0] is not routing.Match.NONE]
    return sorted({method for route in routes for method in route.methods})


def _method_not_allowed(request: Request) -> OutriderError:
    return _MethodNotAllowed(f"{request.method} is not allowed on {request.url.path}.")
