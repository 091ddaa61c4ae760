"""One prompt, several models, at the same time: each an exchange of its own, all under one hold.

    serve ── the models named, the rest of the body looked at once       InvalidRequest
      lanes ── one exchange a model (engine/exchange.py), streamed, each with a record of its own
        hold ── one for all of them (engine/joint.py), or the whole comparison is refused
          lanes go on ── told one event after the other, or put together into one JSON answer

What concerns whoever pays (credit, limits, the session) refuses the comparison as a whole, before anything
is sent. What concerns a model stays in its lane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from llm_router.domain.errors import (
    ClientError,
    InvalidRequest,
    LedgerUnavailable,
    RateLimitExceeded,
    RouterError,
)
from llm_router.domain.money import format_usd
from llm_router.engine.admit import Call, key_of
from llm_router.engine.exchange import Engine
from llm_router.engine.joint import Joint
from llm_router.engine.lanes import Lane, Outlet
from llm_router.ports import Client

MODELS_MIN = 2
MODELS_MAX = 16
"""Models that one request may compare: each is an exchange with its own call and its own memory."""

_WHOLE_STATUSES = (401, 402, 409, 429, 500)
_WHOLE_CODES = ("ledger_unavailable", "overloaded")
"""Refusals before anything is sent that are no matter of one model."""

Headers = list[tuple[bytes, bytes]]


class _Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison as it is asked for.

    Attributes:
        members: the body without what names models.
    """

    models: tuple[str, ...]
    members: dict[str, msgspec.Raw]
    stream: bool


class Comparing:
    """Serves comparisons. One per process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def serve(self, call: Call, client: Client) -> bool:
        """Answer one comparison; return whether it took place.

        Raises:
            ClientError: there is no valid key, or the request is malformed: nothing was done.
            ConnectionError, CancelledError: the client left. All lanes are settled by then.
        """
        engine = self._engine
        await key_of(engine.keyring, call, engine.clock.now_ms())
        asked = _asked(call)
        id_ = "cmp-" + engine.new_id().removeprefix("gen-")
        outlet = Outlet(client) if asked.stream else None
        lanes = [
            Lane(number, model, _lane_call(call, asked, model, id_), engine.clock, outlet)
            for number, model in enumerate(asked.models)
        ]
        joint = Joint(engine.books, engine.holding.waiting)
        tasks = [asyncio.ensure_future(engine.serve(lane.call, lane, lane.begin, joint)) for lane in lanes]
        try:
            refused = await self._begin(joint, lanes, tasks, client if asked.stream else None, id_)
            await asyncio.wait(tasks)
        except BaseException:
            await self._leave(tasks)
            raise
        for task in tasks:
            if not task.cancelled() and (bug := task.exception()) is not None:
                raise bug
        if refused is not None:
            await _tell_refusal(client, refused, len(lanes))
        elif asked.stream:
            await client.finish(await self._end(call, id_, lanes))
        else:
            data = await self._whole(call, id_, lanes)
            await client.start(200, _head(id_, b"application/json"))
            await client.finish(data)
        return refused is None

    async def _begin(
        self,
        joint: Joint,
        lanes: Sequence[Lane],
        tasks: Sequence[asyncio.Task[bool]],
        client: Client | None,
        id_: str,
    ) -> Lane | None:
        """Hold for all lanes and let them go on; or the lane whose refusal is that of the comparison.

        ``client``: of a stream, which begins as soon as the credit is held.
        """
        await joint.gathered(tasks)
        refused = next((lane for lane in lanes if lane.over and _of_the_whole(lane)), None)
        if refused is not None:
            joint.refuse(_unwound(refused))
            return refused
        waiting = [lane for lane in lanes if not lane.over]
        try:
            held = await joint.take()
        except RouterError as error:
            joint.refuse(error)
            return waiting[0]
        if client is not None:
            await client.start(200, _head(id_, b"text/event-stream; charset=utf-8"))
            for lane in lanes:
                if lane.over:  # refused for what is a matter of its model
                    await lane.tell_end()
        joint.grant(held)
        return None

    async def _leave(self, tasks: Sequence[asyncio.Task[bool]]) -> None:
        """The client left: end the lanes, but for those that go on to learn what they cost."""
        for task in tasks:
            if not task.done() and self._engine.left(task):
                task.cancel()
        await asyncio.wait(tasks)

    async def _whole(self, call: Call, id_: str, lanes: Sequence[Lane]) -> bytes:
        told = {**await self._summary(call, id_, lanes), "lanes": [lane.result() for lane in lanes]}
        return msgspec.json.encode(told)

    async def _end(self, call: Call, id_: str, lanes: Sequence[Lane]) -> bytes:
        told = msgspec.json.encode(await self._summary(call, id_, lanes))
        return b"event: end\ndata: " + told + b"\n\ndata: [DONE]\n\n"

    async def _summary(self, call: Call, id_: str, lanes: Sequence[Lane]) -> dict[str, object]:
        """What the comparison came to."""
        engine, good = self._engine, [lane for lane in lanes if lane.success]
        fastest = min(good, key=lambda lane: lane.latency_ms, default=None)
        cheapest = min(good, key=lambda lane: lane.cost_pusd, default=None)
        remaining: msgspec.Raw | None = None
        try:
            account = (await key_of(engine.keyring, call, engine.clock.now_ms())).account
            remaining = _dollars(await engine.books.balance(account))
        except (ClientError, LedgerUnavailable):
            pass  # the answers are there and paid for: only what is left is not known
        return {
            "id": id_,
            "object": "comparison",
            "created": engine.clock.now_ms() // 1000,
            "cost": _dollars(sum(lane.cost_pusd for lane in lanes)),
            "credits_remaining": remaining,
            "latency_ms": (engine.clock.monotonic_us() - call.started_us) // 1000,
            "fastest": None if fastest is None else fastest.model,
            "cheapest": None if cheapest is None else cheapest.model,
            "succeeded": len(good),
            "failed": len(lanes) - len(good),
        }


def _asked(call: Call) -> _Asked:
    """What a body asks for.

    Raises:
        InvalidRequest: it names no models, or is no chat request.
    """
    try:
        members = msgspec.json.decode(call.body, type=dict[str, msgspec.Raw])
        named: Any = msgspec.json.decode(members["models"]) if "models" in members else None
    except (UnicodeDecodeError, RecursionError, msgspec.MsgspecError, ValueError):
        raise InvalidRequest("The request body must be a JSON object in UTF-8.") from None
    models = _models(named)
    if "model" in members:
        raise InvalidRequest("Name all models in 'models', and none in 'model'.", param="model")
    del members["models"]
    looked_at = call.dialect.inspect(_body(members, models[0]), None, None)
    return _Asked(models=models, members=members, stream=looked_at.stream)


def _models(named: Any) -> tuple[str, ...]:
    """The models, each once."""
    if not isinstance(named, list) or not all(isinstance(name, str) and name.strip() for name in named):
        raise InvalidRequest(
            "'models' must be a list of the models to compare, as they stand in 'model' elsewhere.",
            param="models",
        )
    models = tuple(dict.fromkeys(name.strip() for name in named))
    if not MODELS_MIN <= len(models) <= MODELS_MAX:
        raise InvalidRequest(
            f"'models' must name {MODELS_MIN} to {MODELS_MAX} different models; it names {len(models)}.",
            param="models",
        )
    return models


def _body(members: dict[str, msgspec.Raw], model: str) -> bytes:
    return msgspec.json.encode({"model": model, **members})


def _lane_call(call: Call, asked: _Asked, model: str, id_: str) -> Call:
    """The request of one lane: always a stream, which tells the first token, with its usage at the end."""
    options: Any = msgspec.json.decode(asked.members.get("stream_options", b"null")) or {}
    wanted = {
        **asked.members,
        "stream": msgspec.Raw(b"true"),
        "stream_options": msgspec.Raw(msgspec.json.encode({**options, "include_usage": True})),
    }
    return msgspec.structs.replace(call, body=_body(wanted, model), comparison=id_)


def _of_the_whole(lane: Lane) -> bool:
    """Whether a lane was refused for what is no matter of its model."""
    return lane.status in _WHOLE_STATUSES or lane.error_code in _WHOLE_CODES


def _unwound(refused: Lane) -> RouterError:
    """What the other lanes of a comparison that is refused have in their records."""
    text = "Another lane of this comparison was refused, and so all of it. Nothing was sent."
    if refused.status == RateLimitExceeded.status:  # refusals that leave no record
        return RateLimitExceeded(text)
    return InvalidRequest(text, code="comparison_refused")


async def _tell_refusal(client: Client, refused: Lane, lanes: int) -> None:
    """Answer with a lane's refusal; of a limit, with how the comparison is counted."""
    body = bytes(refused.body)
    if refused.status == RateLimitExceeded.status and refused.error is not None:
        counted = f" A comparison counts as one request for each of its models, here {lanes}."
        body = msgspec.json.encode(
            {"error": {**refused.error, "message": str(refused.error.get("message", "")) + counted}}
        )
    await client.start(refused.status, refused.headers)
    await client.finish(body)


def _head(id_: str, content_type: bytes) -> Headers:
    headers = [
        (b"content-type", content_type),
        (b"x-comparison-id", id_.encode()),
        (b"x-request-id", id_.encode()),
    ]
    if content_type != b"application/json":
        headers += [(b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no")]
    return headers


def _dollars(pusd: int) -> msgspec.Raw:
    return msgspec.Raw(format_usd(pusd).encode())
