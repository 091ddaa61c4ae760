"""OpenRouter's endpoints about one generation, which its clients ask by ``?id=``.

https://openrouter.ai/docs/api/api-reference/generations/get-generation
https://openrouter.ai/docs/api/api-reference/generations/list-generation-content
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.domain.money import format_usd
from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.edge.content import kept_of
from llm_router.edge.gateway import Gateway
from llm_router.edge.guard import USAGE
from llm_router.edge.http import Request, Send, answer_json
from llm_router.edge.routes import Route
from llm_router.engine.moments import iso_time
from llm_router.wire.lenient import listing, mapping

_UNKNOWN = dict.fromkeys(
    (
        "app_id", "cache_discount", "http_referer", "moderation_latency", "native_tokens_completion_images",
        "num_fetches", "num_input_audio_prompt", "num_media_completion", "num_media_prompt", "num_search_results",
        "preset_id", "request_id", "response_cache_source_id", "upstream_inference_cost", "user_agent",
        "web_search_engine",
    )
)  # fmt: skip
"""What this gateway has no word for, or does not tell customers."""


def _id(request: Request) -> str:
    """
    Raises:
        InvalidRequest: none is named.
    """
    id_ = request.parameter("id")
    if not id_:
        raise InvalidRequest("Name the generation: ?id=, of a reply or its x-generation-id.", param="id")
    return id_


async def generation(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/generation?id=: the record of an exchange, in OpenRouter's words."""
    key = await gateway.key_of(request, USAGE)
    record = await gateway.engine.books.generation(key.account, _id(request))
    if record is None:
        raise NotFound("There is no such generation for this API key. Use the x-generation-id of a reply.")
    await answer_json(send, 200, {"data": generation_data(record)})


def generation_data(record: ExchangeRecord) -> dict[str, object]:
    """The record as OpenRouter tells it. Times are milliseconds; tokens are the provider's own count."""
    usage, cost = record.usage, msgspec.Raw(format_usd(record.cost_pusd).encode())
    last = record.attempts[-1] if record.attempts else None
    return {
        **_UNKNOWN,
        "id": record.id,
        "upstream_id": None if last is None else last.upstream_id,
        "api_type": {"chat": "completions", "embed": "embeddings"}.get(record.operation),
        "created_at": iso_time(record.created_ms),
        "model": record.model or record.asked_model,
        "router": record.asked_model if record.asked_model.partition(":")[0] == "auto" else None,
        "provider_name": record.provider,
        "provider_responses": [_response(each, record.model) for each in record.attempts],
        "streamed": record.stream,
        "cancelled": record.client_gone,
        "finish_reason": record.finish,
        "native_finish_reason": record.native_finish,
        "latency": record.duration_ms,
        "generation_time": None if last is None else last.duration_ms,
        "tokens_prompt": usage.prompt_tokens,
        "tokens_completion": usage.completion_tokens,
        "native_tokens_prompt": usage.prompt_tokens,
        "native_tokens_completion": usage.completion_tokens,
        "native_tokens_reasoning": usage.reasoning_tokens,
        "native_tokens_cached": usage.cache_read_tokens,
        "service_tier": usage.service_tier,
        "total_cost": cost,
        "usage": cost,
        "is_byok": last is not None and last.byok,
        "data_region": "global",
        "origin": "",
        "external_user": record.user,
        "session_id": record.session,
    }


def _response(attempt: AttemptRecord, model: str | None) -> dict[str, object]:
    return {
        "id": attempt.upstream_id,
        "endpoint_id": attempt.deployment,
        "provider_name": attempt.provider,
        "model_permaslug": model,
        "status": attempt.status,
        "latency": attempt.duration_ms,
        "is_byok": attempt.byok,
    }


async def content(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/generation/content?id=: what was said, where it is kept, in OpenRouter's words."""
    kept = await kept_of(gateway, request, _id(request))
    plain = {
        name: msgspec.json.decode(value) if isinstance(value, msgspec.Raw) else value
        for name, value in kept.items()
    }
    await answer_json(send, 200, msgspec.json.encode({"data": content_data(plain)}))


def content_data(kept: dict[str, Any]) -> dict[str, object]:
    """Input and output of what is kept, of whatever API; what was cut or is no JSON is one text."""
    asked, told = mapping(kept.get("request")).get("body"), mapping(kept.get("response")).get("body")
    reply = mapping(told)
    parts = _parts(reply)
    text = "".join(part for part, reasons in parts if not reasons)
    reasoning = "".join(part for part, reasons in parts if reasons)
    completion = text if reply else told
    return {
        "input": _input(asked),
        "output": {"completion": completion or None, "reasoning": reasoning or None},
    }


def _input(body: Any) -> dict[str, object]:
    members = mapping(body)
    for name in ("messages", "contents", "input"):
        if isinstance(members.get(name), list):
            return {"messages": members[name]}
    for name in ("prompt", "input", "content"):
        if name in members:
            return {"prompt": members[name]}
    return {"prompt": body}


def _parts(reply: dict[str, Any]) -> list[tuple[str, bool]]:
    """The texts of an answer in their order, each with whether it is reasoning."""
    found: list[tuple[str, bool]] = []
    for choice in listing(reply.get("choices"))[:1]:
        message = mapping(mapping(choice).get("message"))
        found.append((_text(message.get("reasoning_content")), True))
        found.append((_text(message.get("content")) or _text(mapping(choice).get("text")), False))
    for block in listing(reply.get("content")):  # Anthropic's
        found.append((_text(mapping(block).get("thinking")), True))
        found.append((_text(mapping(block).get("text")), False))
    for item in listing(reply.get("output")):  # of Responses
        reasons = mapping(item).get("type") == "reasoning"
        said = (*listing(mapping(item).get("summary")), *listing(mapping(item).get("content")))
        found += [(_text(mapping(part).get("text")), reasons) for part in said]
    for candidate in listing(reply.get("candidates"))[:1]:  # Gemini's
        said = (*listing(mapping(mapping(candidate).get("content")).get("parts")),)
        found += [(_text(mapping(part).get("text")), mapping(part).get("thought") is True) for part in said]
    return found


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


OPENROUTER_ROUTES = (
    Route(
        method="GET",
        path="/v1/generation",
        handler=generation,
        summary="The record of an exchange, in OpenRouter's words.",
    ),
    Route(
        method="GET",
        path="/v1/generation/content",
        handler=content,
        summary="What was said in an exchange, where its account keeps it, in OpenRouter's words.",
    ),
)
