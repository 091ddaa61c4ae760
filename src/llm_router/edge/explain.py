"""Why a request went where it went, and where one would go: ``/explain``."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from llm_router.domain.errors import ClientError, InvalidRequest, NotFound
from llm_router.edge.estimates import api_of, body_of, members_of, model_of
from llm_router.edge.gateway import Gateway
from llm_router.edge.guard import USAGE
from llm_router.edge.http import Request, Send, answer_json
from llm_router.edge.routes import Route
from llm_router.engine.explaining import admit_preview, explain_call
from llm_router.engine.explanation import explain_record
from llm_router.wire.apis import APIS


async def explain(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/explain: who would serve a request of any API, and why. Nothing is sent, held or charged."""
    started_us = gateway.engine.clock.monotonic_us()
    body, key = await gateway.read(request, "openai_chat")
    if isinstance(key, ClientError):
        raise key
    await admit_preview(gateway.engine, key)
    members, raw = members_of(body)
    name, in_path = _asked(gateway, request, members, parameters)
    api = APIS[name]
    model = in_path or (_model(request, members) if api.path_model else None)
    call = gateway.call(
        request,
        body_of(raw, api, None, keep=("models",)),
        started_us,
        operation=api.operation,
        dialect=api.dialect,
        model=model,
        stream=None,
        key=key,
    )
    if name == "responses":  # the turns that it follows are part of its input
        call = (await gateway.responses.kept.prepare(call)).call
    await answer_json(send, 200, await explain_call(gateway.engine, call, name))


async def explain_generation(
    gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]
) -> None:
    """GET /v1/generations/{id}/explain: why an exchange went as it did, to the account that owns it."""
    engine = gateway.engine
    key = await gateway.key_of(request, USAGE)
    record = await engine.books.generation(key.account, unquote(parameters["id"]))
    if record is None:
        raise NotFound("There is no such generation for this API key. Use the x-generation-id of a reply.")
    state = engine.state
    await answer_json(send, 200, explain_record(record, state.snapshot, state.active))


def _asked(
    gateway: Gateway, request: Request, members: dict[str, Any], parameters: dict[str, str]
) -> tuple[str, str | None]:
    """The API of a request, and the model that its path names: the path behind ``/v1/explain``, else the query,
    else what the request looks like.

    Raises:
        NotFound: that path is none of an API.
        InvalidRequest: the API cannot be told.
    """
    path = parameters.get("path")
    if path is None:
        return api_of(gateway, request, members), None
    route, found, _ = gateway.routes.find("POST", f"/{path}")
    if route is None or route.operation is None:
        raise NotFound(f"There is no POST /{path[:200]} that could be explained.")
    name = next((n for n, api in APIS.items() if api.dialect == route.dialect), None)
    if name is None:
        raise InvalidRequest(f"Requests to /{path[:200]} cannot be explained.")
    return name, found.get("model")


def _model(request: Request, members: dict[str, Any]) -> str:
    named = request.parameter("model")
    return model_of(members) if named is None else named


EXPLAIN_ROUTES = (
    Route(
        method="POST",
        path="/v1/explain",
        handler=explain,
        summary="Who would serve a request of any API, and why.",
    ),
    Route(
        method="POST",
        path="/v1/explain/{path}",
        handler=explain,
        summary="The same of a request as it is written for that path.",
    ),
    Route(
        method="GET",
        path="/v1/generations/{id}/explain",
        handler=explain_generation,
        summary="Why an exchange went as it did.",
    ),
)
