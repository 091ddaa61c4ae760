"""The endpoints that are not inference: models, generations, probes."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import msgspec

from llm_router import __version__
from llm_router.catalog.foreign import anthropic_entry, anthropic_page, gemini_entry, gemini_page
from llm_router.catalog.listing import model_entry
from llm_router.domain.budget import Payer
from llm_router.domain.errors import ModelNotFound, NotFound
from llm_router.domain.key import Key
from llm_router.domain.model import Model
from llm_router.domain.money import format_usd
from llm_router.domain.record import ExchangeRecord
from llm_router.edge.content import CONTENT_ROUTES
from llm_router.edge.conversations import CONVERSATION_ROUTES
from llm_router.edge.credits import CREDIT_ROUTES
from llm_router.edge.dashboard import asset
from llm_router.edge.estimates import ESTIMATE_ROUTES
from llm_router.edge.explain import EXPLAIN_ROUTES
from llm_router.edge.feedback import FEEDBACK_ROUTES
from llm_router.edge.gateway import GEMINI_KEY, Gateway, credential
from llm_router.edge.guard import MODELS, USAGE
from llm_router.edge.http import Request, Send, answer_json
from llm_router.edge.openrouter import OPENROUTER_ROUTES
from llm_router.edge.packing import answer_packed
from llm_router.edge.papers import PAPER_ROUTES
from llm_router.edge.responses import RESPONSES_ROUTES
from llm_router.edge.routes import Handler, Route, RouteTable
from llm_router.engine.counting import Count, count_tokens


async def _key(gateway: Gateway, request: Request) -> Key:
    return await gateway.key_of(request, USAGE)


def _may_use(key: Key, model: str) -> bool:
    return key.models is None or any(fnmatchcase(model, pattern) for pattern in key.models)


async def _listed(gateway: Gateway, request: Request, *, query_key: bool = False) -> list[Model]:
    """The models that the key may use, at its prices."""
    engine = gateway.engine
    now_ms = engine.clock.now_ms()
    parameter = GEMINI_KEY if query_key else None
    key = await gateway.key_of(request, MODELS, parameter)
    payer = Payer(account=key.account, key=key.id, team=key.team, user=key.user)
    models = (m for m in engine.state.snapshot.models.values() if _may_use(key, m.id))
    return [engine.price_list.sell_model(m, payer, now_ms) for m in models]


def _found(gateway: Gateway, listed: list[Model], name: str) -> Model:
    found = gateway.engine.state.snapshot.find(unquote(name))
    shown = next((model for model in listed if model.id == found.id), None)
    if shown is None:
        raise ModelNotFound(f"Model '{found.id}' is not available to this API key.", param="model")
    return shown


async def models(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/models: every model the key may use, in the shape of the client's own API."""
    listed = await _listed(gateway, request, query_key=True)
    state = gateway.engine.state
    if _is_gemini(request):
        page = gemini_page(listed, request.parameter("pageToken"), _limit(request))
    elif "anthropic-version" in request.headers:
        page = anthropic_page(listed, request.parameter("after_id"), _limit(request))
    else:
        data = [model_entry(state.snapshot, m, state.active, state.routing.successors) for m in listed]
        page = {"object": "list", "data": data}
    await answer_packed(request, send, page)


def _is_gemini(request: Request) -> bool:
    """Whether the key came as only Gemini's clients send it."""
    if "x-goog-api-key" in request.headers:
        return True
    return credential(request) is None and request.parameter(GEMINI_KEY) is not None


def _limit(request: Request) -> int:
    text = request.parameter("limit") or request.parameter("pageSize") or ""
    return min(max(int(text), 1), 1000) if text.isdecimal() and len(text) < 6 else 1000


async def model(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/models/{id}: one model, by id or alias."""
    found = _found(gateway, await _listed(gateway, request, query_key=True), parameters["model"])
    if _is_gemini(request):
        await answer_json(send, 200, gemini_entry(found))
    elif "anthropic-version" in request.headers:
        await answer_json(send, 200, anthropic_entry(found))
    else:
        state = gateway.engine.state
        entry = model_entry(state.snapshot, found, state.active, state.routing.successors)
        await answer_json(send, 200, entry)


async def gemini_models(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1beta/models: the same in Gemini's shape, by pages."""
    listed = await _listed(gateway, request, query_key=True)
    await answer_packed(request, send, gemini_page(listed, request.parameter("pageToken"), _limit(request)))


async def gemini_model(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1beta/models/{id}: one model in Gemini's shape."""
    listed = await _listed(gateway, request, query_key=True)
    await answer_json(send, 200, gemini_entry(_found(gateway, listed, parameters["model"])))


async def count_anthropic(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/messages/count_tokens."""
    count = await _count(gateway, request, parameters, "anthropic_messages")
    await answer_json(send, 200, {"input_tokens": count.tokens}, _estimated(count))


async def count_gemini(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1beta/models/{model}:countTokens."""
    count = await _count(gateway, request, parameters, "gemini_generate")
    await answer_json(send, 200, {"totalTokens": count.tokens}, _estimated(count))


async def _count(gateway: Gateway, request: Request, parameters: dict[str, str], dialect: str) -> Count:
    started_us = gateway.engine.clock.monotonic_us()
    body, key = await gateway.read(request, dialect)
    model = parameters.get("model")
    call = gateway.call(
        request,
        body,
        started_us,
        operation="count_tokens",
        dialect=dialect,
        model=model,
        stream=False,
        key=key,
    )
    return await count_tokens(gateway.engine, call)


def _estimated(count: Count) -> list[tuple[bytes, bytes]]:
    return [(b"x-llm-router-estimated", b"true")] if count.estimated else []


async def generation(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/generations/{id}: the record of an exchange, to the account that owns it."""
    key = await _key(gateway, request)
    record = await gateway.engine.books.generation(key.account, unquote(parameters["id"]))
    if record is None:
        raise NotFound("There is no such generation for this API key. Use the x-generation-id of a reply.")
    await answer_json(send, 200, generation_entry(record))


_UNSHOWN = ("account", "decision", "trial", "features")
"""Members of a record that its owner is not shown: whose it is, what is shown elsewhere, what is learned from."""


def generation_entry(record: ExchangeRecord) -> dict[str, object]:
    """The record as JSON, every member of it there, with money in exact decimal dollars beside the
    picodollars."""
    entry: dict[str, object] = {"object": "generation"}
    entry |= {name: getattr(record, name) for name in record.__struct_fields__ if name not in _UNSHOWN}
    entry["continued"] = entry.pop("seams")  # as in the usage that its client was told
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
    """GET /readyz: requests can be served; 503 with the reason if not. ``draining``: exchanges that go on
    without their client; ``degraded``: what works in a lesser way; ``load``: how much there is to do."""
    reason = gateway.ready()
    body: dict[str, object] = {
        "status": "ready",
        "draining": gateway.engine.draining,
        "load": {
            "exchanges": gateway.exchanges,
            "exchanges_max": gateway.exchanges_max,
            **gateway.engine.load,
        },
    }
    if (problem := gateway.engine.counters.problem()) is not None:
        body["degraded"] = problem
    if reason is not None:
        body |= {"status": "not ready", "reason": reason}
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


def _gemini_rows(version: str) -> tuple[Route, ...]:
    """Gemini's API lives under two versions; its clients call either."""

    def row(method: str, path: str, handler: Handler, summary: str, **members: Any) -> Route:
        return Route(
            method=method,
            path=f"{version}/models{path}",
            handler=handler,
            summary=summary,
            **{"dialect": "gemini_generate", **members},
        )

    return (
        row("POST", "/{model}:generateContent", _inference, "Gemini's API, for any model.", operation="chat", stream=False),
        row("POST", "/{model}:streamGenerateContent", _inference, "The same, streamed (alt=sse, or a JSON array).", operation="chat", stream=True),
        row("POST", "/{model}:countTokens", count_gemini, "The tokens of a request."),
        row("POST", "/{model}:batchEmbedContents", _inference, "Texts to vectors, in Gemini's form.", operation="embed", dialect="gemini_embeddings"),
        row("POST", "/{model}:embedContent", _inference, "One text to a vector, in Gemini's form.", operation="embed", dialect="gemini_embed_one"),
    )  # fmt: skip


ROUTES = RouteTable(
    (
        Route(
            method="POST",
            path="/v1/chat/completions",
            handler=_inference,
            operation="chat",
            summary="OpenAI's chat completions, streamed or not, for any model.",
        ),
        Route(
            method="POST",
            path="/v1/messages",
            handler=_inference,
            operation="chat",
            dialect="anthropic_messages",
            summary="Anthropic's messages, streamed or not, for any model.",
        ),
        Route(
            method="POST",
            path="/v1/messages/count_tokens",
            handler=count_anthropic,
            dialect="anthropic_messages",
            summary="The tokens of a request.",
        ),
        Route(
            method="POST",
            path="/v1/completions",
            handler=_inference,
            operation="chat",
            dialect="openai_completions",
            summary="OpenAI's legacy completions, streamed or not, for any chat model.",
        ),
        Route(
            method="POST",
            path="/v1/embeddings",
            handler=_inference,
            operation="embed",
            dialect="openai_embeddings",
            summary="OpenAI's embeddings, for any embedding model.",
        ),
        Route(
            method="POST",
            path="/v1/responses",
            handler=_inference,
            operation="chat",
            dialect="openai_responses",
            summary="OpenAI's responses, streamed or not or in the background, for any model.",
        ),
        Route(
            method="POST",
            path="/v1/compare",
            handler=_inference,
            operation="chat",
            compares=True,
            summary="One chat for several models at the same time.",
        ),
        *ESTIMATE_ROUTES,
        *RESPONSES_ROUTES,
        *CONVERSATION_ROUTES,
        *_gemini_rows("/v1"),
        *_gemini_rows("/v1beta"),
        Route(
            method="GET",
            path="/v1/models",
            handler=models,
            summary="All models with prices.",
            shared=True,
        ),
        Route(
            method="GET",
            path="/v1/models/{model}",
            handler=model,
            summary="One model.",
            shared=True,
        ),
        Route(
            method="GET",
            path="/v1beta/models",
            handler=gemini_models,
            dialect="gemini_generate",
            summary="All models in Gemini's shape.",
        ),
        Route(
            method="GET",
            path="/v1beta/models/{model}",
            handler=gemini_model,
            dialect="gemini_generate",
            summary="One model in Gemini's shape.",
        ),
        *EXPLAIN_ROUTES,
        *FEEDBACK_ROUTES,
        *CONTENT_ROUTES,
        *PAPER_ROUTES,  # before the generation, whose id may hold slashes
        Route(
            method="GET",
            path="/v1/generations/{id}",
            handler=generation,
            summary="The record of an exchange.",
        ),
        *OPENROUTER_ROUTES,
        *CREDIT_ROUTES,
        Route(method="GET", path="/healthz", handler=healthz, summary="Liveness."),
        Route(method="GET", path="/readyz", handler=readyz, summary="Readiness."),
        Route(method="GET", path="/", handler=index, summary="What this is; the dashboard for browsers."),
        Route(method="GET", path="/assets/{name}", handler=asset, summary="A file of the dashboard."),
    )
)
