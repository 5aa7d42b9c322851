"""The Starlette app: which path leads to which handler."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from outrider.api import health
from outrider.api.endpoint import Endpoints, Handler, error_response
from outrider.api.health import Readiness
from outrider.api.routes import (
    agents,
    credentials,
    environments,
    events,
    files,
    host,
    models,
    places,
    repair,
    sessions,
    threads,
    vaults,
)
from outrider.api.services import Services
from outrider.errors import InvalidRequest, NotFound, OutriderError

S = "/v1/sessions/{session_id}"
T = S + "/threads/{thread_id}"
V = "/v1/vaults/{vault_id}"
C = V + "/credentials/{credential_id}"
F = "/v1/files/{file_id}"

ROUTES: tuple[tuple[str, str, Handler], ...] = (  # looked through in order: what is asked most comes first
    ("POST", S + "/events", events.send_events),
    ("GET", S + "/events", events.list_events),
    ("GET", S + "/events/stream", events.stream_events),
    ("POST", "/v1/sessions", sessions.create),
    ("GET", S, sessions.get),
    ("POST", "/v1/agents", agents.create),
    ("GET", "/v1/agents", agents.list_agents),
    ("GET", "/v1/agents/{agent_id}", agents.get),
    ("POST", "/v1/agents/{agent_id}", agents.update),
    ("POST", "/v1/agents/{agent_id}/archive", agents.archive),
    ("GET", "/v1/agents/{agent_id}/versions", agents.versions),
    ("POST", "/v1/environments", environments.create),
    ("GET", "/v1/environments", environments.list_environments),
    ("GET", "/v1/environments/{environment_id}", environments.get),
    ("POST", "/v1/environments/{environment_id}", environments.update),
    ("DELETE", "/v1/environments/{environment_id}", environments.delete),
    ("POST", "/v1/environments/{environment_id}/archive", environments.archive),
    ("POST", "/v1/vaults", vaults.create),
    ("GET", "/v1/vaults", vaults.list_vaults),
    ("GET", V, vaults.get),
    ("POST", V, vaults.update),
    ("DELETE", V, vaults.delete),
    ("POST", V + "/archive", vaults.archive),
    ("POST", V + "/credentials", credentials.create),
    ("GET", V + "/credentials", credentials.list_credentials),
    ("GET", C, credentials.get),
    ("POST", C, credentials.update),
    ("DELETE", C, credentials.delete),
    ("POST", C + "/archive", credentials.archive),
    ("POST", C + "/mcp_oauth_validate", credentials.validate),
    ("GET", "/v1/sessions", sessions.list_sessions),
    ("POST", S, sessions.update),
    ("DELETE", S, sessions.delete),
    ("POST", S + "/archive", sessions.archive),
    ("GET", S + "/threads", threads.list_threads),
    ("GET", T, threads.get),
    ("POST", T + "/archive", threads.archive),
    ("GET", T + "/events", events.list_thread_events),
    ("GET", T + "/stream", events.stream_thread_events),
)
PLAIN_ROUTES: tuple[tuple[str, str, Handler], ...] = (  # without the beta header: not of that beta, or our own
    ("GET", "/v1/models", models.list_models),
    ("GET", "/v1/models/{model_id:path}", models.get_model),
    ("GET", "/v1/files", files.list_files),
    ("GET", F, files.get),
    ("GET", F + "/content", files.content),
    ("DELETE", F, files.delete),
    ("GET", "/outrider/v1/host", host.get_host),
    ("POST", "/outrider/v1/sessions/{session_id}/move", places.move),
    ("GET", "/outrider/v1/sessions/{session_id}/repair", repair.get_repair),
    ("POST", "/outrider/v1/sessions/{session_id}/repair", repair.repair),
)
STREAMED_ROUTES: tuple[tuple[str, str, Handler], ...] = (("POST", "/v1/files", files.upload),)  # plain ones, too


def create_app(services: Services, readiness: Readiness) -> Starlette:
    """The app for these services; it starts and stops nothing by itself."""
    endpoints = Endpoints(services)

    def refuse(request: Request, error: OutriderError) -> Response:
        endpoints.count_unrouted(request, error.status)
        return error_response(error, services.ids.new("req"))

    async def no_route(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 404
        if status == 405:
            return refuse(request, _method_not_allowed(request))
        return refuse(request, NotFound(f"Not found: {request.method} {request.url.path}"))

    routes = [Route(path, endpoints.endpoint(path, handler), methods=[method]) for method, path, handler in ROUTES]
    routes += [Route(p, endpoints.endpoint(p, handler, beta=False), methods=[m]) for m, p, handler in PLAIN_ROUTES]
    routes += [
        Route(p, endpoints.endpoint(p, handler, beta=False, streamed=True), methods=[m])
        for m, p, handler in STREAMED_ROUTES
    ]
    routes += health.routes(readiness)
    return Starlette(routes=routes, exception_handlers={404: no_route, 405: no_route})


class _MethodNotAllowed(InvalidRequest):
    """The path exists, but not for this method."""

    status = 405


def _method_not_allowed(request: Request) -> OutriderError:
    return _MethodNotAllowed(f"{request.method} is not allowed on {request.url.path}.")
