"""The endpoints that are not inference: models, generations, probes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from urllib.parse import unquote

import msgspec

from llm_router import __version__
from llm_router.catalog.listing import model_entry
from llm_router.domain.errors import ModelNotFound, NotFound
from llm_router.domain.key import Key
from llm_router.domain.money import format_usd
from llm_router.domain.record import ExchangeRecord
from llm_router.edge.gateway import Gateway, credential
from llm_router.edge.http import Request, Send, answer_json
from llm_router.edge.routes import Route, RouteTable
from llm_router.engine.admit import authenticate


async def _key(gateway: Gateway, request: Request) -> Key:
    engine = gateway.engine
    return await authenticate(engine.keyring, credential(request), engine.clock.now_ms())


def _may_use(key: Key, model: str) -> bool:
    return key.models is None or any(fnmatchcase(model, pattern) for pattern in key.models)


async def models(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/models: every model the key may use, with prices and capabilities."""
    key = await _key(gateway, request)
    state = gateway.engine.state
    listed = [m for m in state.snapshot.models.values() if _may_use(key, m.id)]
    data = [model_entry(m, state.active, gateway.started_s) for m in listed]
    await answer_json(send, 200, {"object": "list", "data": data})


async def model(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/models/{id}: one model, by id or alias."""
    key = await _key(gateway, request)
    state = gateway.engine.state
    found = state.snapshot.find(unquote(parameters["model"]))
    if not _may_use(key, found.id):
        raise ModelNotFound(f"Model '{found.id}' is not available to this API key.", param="model")
    await answer_json(send, 200, model_entry(found, state.active, gateway.started_s))


async def generation(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/generations/{id}: the record of an exchange, to the account that owns it."""
    key = await _key(gateway, request)
    record = await gateway.engine.books.generation(key.account, unquote(parameters["id"]))
    if record is None:
        raise NotFound("There is no such generation for this API key. Use the x-generation-id of a reply.")
    await answer_json(send, 200, generation_entry(record))


def generation_entry(record: ExchangeRecord) -> dict[str, object]:
    """The record as JSON, with money in exact decimal dollars beside the picodollars."""
    entry: dict[str, object] = {"object": "generation", **msgspec.to_builtins(record)}
    entry.pop("account", None)
    usage = record.usage
    entry["usage"] = {
        **msgspec.to_builtins(usage),
        "provenance": usage.provenance.value,
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }
    entry["cost_usd"] = msgspec.Raw(format_usd(record.cost_pusd).encode())
    entry["cost_pusd"] = record.cost_pusd
    return entry


async def healthz(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /healthz: the process is alive."""
    await answer_json(send, 200, {"status": "ok", "version": __version__})


async def readyz(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /readyz: requests can be served; 503 with the reason if not."""
    reason = gateway.ready()
    body = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
    await answer_json(send, 200 if reason is None else 503, body)


async def index(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /: what this is and where to go."""
    await answer_json(
        send,
        200,
        {
            "name": "LLM Router",
            "version": __version__,
            "endpoints": [f"{r.method} {r.path}" for r in gateway.routes.routes],
        },
    )


async def _inference(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    raise AssertionError("inference routes are served by Gateway.infer")


ROUTES = RouteTable(
    (
        Route(
            method="POST",
            path="/v1/chat/completions",
            handler=_inference,
            operation="chat",
            summary="A chat completion, streamed or not, for any model.",
        ),
        Route(method="GET", path="/v1/models", handler=models, summary="All models with prices."),
        Route(method="GET", path="/v1/models/{model}", handler=model, summary="One model."),
        Route(
            method="GET",
            path="/v1/generations/{id}",
            handler=generation,
            summary="The record of an exchange.",
        ),
        Route(method="GET", path="/healthz", handler=healthz, summary="Liveness."),
        Route(method="GET", path="/readyz", handler=readyz, summary="Readiness."),
        Route(method="GET", path="/", handler=index, summary="What this is."),
    )
)
