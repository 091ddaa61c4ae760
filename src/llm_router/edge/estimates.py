"""POST /v1/estimate: what a request would cost, in exact dollars."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from llm_router.domain.errors import ClientError, InvalidRequest, ModelNotFound
from llm_router.domain.money import format_usd
from llm_router.domain.price import CostLine
from llm_router.edge.gateway import Gateway
from llm_router.edge.http import Request, Send, answer_json
from llm_router.edge.routes import Route
from llm_router.engine.estimating import Estimated, Priced, Unpriced, estimate_call, estimate_calls
from llm_router.engine.explaining import admit_preview
from llm_router.wire.apis import APIS, Api, named_api, recognised_api

MODELS_MAX = 50
"""Models that one request may ask about."""

MILLION = 1_000_000


async def estimate(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/estimate: the cost of a request of any API before it is sent, for one model or several."""
    started_us = gateway.engine.clock.monotonic_us()
    body, key = await gateway.read(request, "openai_chat")
    if isinstance(key, ClientError):
        raise key
    await admit_preview(gateway.engine, key)
    members, raw = members_of(body)
    api = api_of(gateway, request, members)
    models = _models(members)

    model = models[0] if models is not None else None
    call = gateway.call(
        request,
        body_of(raw, APIS[api], model),
        started_us,
        operation=APIS[api].operation,
        dialect=APIS[api].dialect,
        model=(model or model_of(members)) if APIS[api].path_model else None,
        stream=None,
        key=key,
    )
    if api == "responses":  # the turns that it follows are part of its input
        call = (await gateway.responses.kept.prepare(call)).call
    if models is None:
        await answer_json(send, 200, _entry(await estimate_call(gateway.engine, call), api))
        return
    listed = await estimate_calls(gateway.engine, call, models)
    data = [_entry(e, api) if isinstance(e, Estimated) else _refused(e, api) for e in listed]
    await answer_json(send, 200, {"object": "list", "data": data})


def members_of(body: bytes) -> tuple[dict[str, Any], dict[str, msgspec.Raw]]:
    try:
        members = msgspec.json.decode(body)
        if not isinstance(members, dict):
            raise InvalidRequest("The request body must be the JSON object of a request.")
        return members, msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except (UnicodeDecodeError, RecursionError, msgspec.MsgspecError, ValueError):
        raise InvalidRequest("The request body is not valid JSON in UTF-8.") from None


def api_of(gateway: Gateway, request: Request, members: dict[str, Any]) -> str:
    """The API that is named by the query or the body, else the one that the body looks like."""
    name = request.parameter("api")
    if name is None and "api" in members:
        name = members["api"] if isinstance(members["api"], str) else ""
    if name is not None:
        return named_api(name)

    def embeds(model: str) -> bool:
        try:
            return gateway.engine.state.snapshot.find(model).operations == ("embed",)
        except ModelNotFound:
            return False

    return recognised_api(members, "anthropic-version" in request.headers, embeds)


def _models(members: dict[str, Any]) -> list[str] | None:
    models = members.get("models")
    if models is None:
        return None
    if not isinstance(models, list) or not all(isinstance(name, str) and name for name in models):
        raise InvalidRequest("'models' must be a list of model ids.", param="models")
    if not 1 <= len(models) <= MODELS_MAX:
        raise InvalidRequest(f"'models' must hold 1 to {MODELS_MAX} ids.", param="models")
    return list(dict.fromkeys(models))


def model_of(members: dict[str, Any]) -> str:
    model = members.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequest("Name the model in 'model', or several in 'models'.", param="model")
    return model.removeprefix("models/")


def body_of(raw: dict[str, msgspec.Raw], api: Api, model: str | None, keep: Collection[str] = ()) -> bytes:
    """The request itself: without what only this endpoint reads, for that model."""
    members = {name: value for name, value in raw.items() if name not in ("api", "models") or name in keep}
    if api.path_model:
        members.pop("model", None)
    elif model is not None:
        members["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(members)


def _dollars(pusd: int) -> msgspec.Raw:
    return msgspec.Raw(format_usd(pusd).encode())


def _entry(found: Estimated, api: str) -> dict[str, object]:
    """An estimate as JSON; money in exact dollars."""
    inspected, costs = found.inspected, [p.cost for p in found.priced]
    entry: dict[str, object] = {
        "object": "estimate",
        "model": found.model.id,
        "asked_model": inspected.model,
        "api": api,
        "currency": "USD",
        "cost": {
            "min": _dollars(min(c.min_pusd for c in costs)),
            "expected": _dollars(costs[0].expected_pusd),
            "max": _dollars(found.hold_pusd),
        },
        "input_tokens": {"expected": costs[0].input_tokens, "max": max(c.input_tokens_max for c in costs)},
        "output_tokens": {
            "expected": costs[0].output_tokens,
            "max": max(c.output_tokens_max for c in costs),
            "limit": inspected.output_tokens,
            "choices": max(1, inspected.n),
            "learned_from": 0 if found.learned is None else found.learned.samples,
        },
        "allowed": True,
        "affordable": found.hold_pusd <= found.available_pusd,
        "available": _dollars(found.available_pusd),
        "affordable_max_tokens": found.affordable_output_tokens,
        "deployments": [_deployment(p, number == 0) for number, p in enumerate(found.priced)],
        "rejected": [{"deployment": r.deployment, "reason": r.reason} for r in found.rejections],
    }
    if found.max_cost_pusd is not None:
        entry["within_max_cost"] = found.hold_pusd <= found.max_cost_pusd
    return entry


def _deployment(priced: Priced, first: bool) -> dict[str, object]:
    deployment, cost = priced.candidate.deployment, priced.cost
    assert deployment.price is not None  # the plan holds none without
    return {
        "deployment": deployment.id,
        "provider": deployment.provider,
        "first": first,
        "price_version": deployment.price.version,
        "cost": {
            "min": _dollars(cost.min_pusd),
            "expected": _dollars(cost.expected_pusd),
            "max": _dollars(cost.max_pusd),
        },
        "lines": [_line(line) for line in cost.lines],
    }


def _line(line: CostLine) -> dict[str, object]:
    return {
        "bucket": line.bucket,
        "quantity": line.quantity,
        "rate_per_mtok": _dollars(line.rate_pusd * MILLION),
        "amount": _dollars(line.amount_pusd),
    }


def _refused(found: Unpriced, api: str) -> dict[str, object]:
    error = found.error
    return {
        "object": "estimate",
        "asked_model": found.asked,
        "api": api,
        "allowed": False if error.status == 403 else None,
        "error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code},
    }


ESTIMATE_ROUTES = (
    Route(
        method="POST",
        path="/v1/estimate",
        handler=estimate,
        summary="The cost of a request of any API before it is sent.",
    ),
)
