"""Counting a request's tokens: by the provider where it offers that in the client's dialect, else by
an estimate that says so. Nothing is held or charged.
"""

from __future__ import annotations

import msgspec

from llm_router.billing.estimate import expected_input
from llm_router.billing.interval import IMAGE_TOKENS
from llm_router.domain.errors import InvalidRequest, ProviderNotConfigured, UpstreamError
from llm_router.domain.usage import token_count
from llm_router.engine import admit
from llm_router.engine.credentials import addressed, credential_headers, credential_of, signed
from llm_router.engine.exchange import Engine
from llm_router.engine.limits import admit_to_limits, limits_for
from llm_router.engine.planning import Occasion
from llm_router.engine.presets import applied
from llm_router.engine.state import State
from llm_router.ports import UpstreamRequest
from llm_router.routing.plan import Candidate
from llm_router.wire.dialect import Dialect, Inspected
from llm_router.wire.placement import placed

REPLY_BYTES_MAX = 64 * 1024
_ANSWERS = {"anthropic_messages": "input_tokens", "gemini_generate": "totalTokens"}
"""The member of the provider's answer that holds the count."""


class Count(msgspec.Struct, frozen=True, kw_only=True):
    """``estimated``: counted here by a rule of thumb, not by the model's own tokenizer."""

    tokens: int
    estimated: bool


async def count_tokens(engine: Engine, call: admit.Call) -> Count:
    """Count the tokens of a request that is not sent.

    Raises:
        RouterError: as for the request itself, up to the plan and the key's limits.
    """
    state, now_ms = engine.state, engine.clock.now_ms()
    key = await admit.key_of(engine.keyring, call, now_ms)
    inspect = call.dialect.inspect_count_tokens
    if inspect is None:
        raise InvalidRequest(f"{call.dialect.name} has no counting of tokens.")
    inspected = inspect(call.body, call.path_model, False)
    found = await applied(state, engine.presets, call, inspected, inspect)
    call, inspected = found.call, found.inspected
    payer = admit.payer_of(key, call)
    plan = engine.planner.plan(
        Occasion(
            state=state,
            call=call,
            key=key,
            payer=payer,
            inspected=inspected,
            own_keys={},
            price_list=engine.price_list,
            now_ms=now_ms,
            preset=found.preset,
        )
    )
    limits = await limits_for(engine.rules, payer, key, state.default_limits, plan.models)
    ticket = engine.new_id()
    try:
        await admit_to_limits(engine.counters, ticket, limits, inspected, now_ms)
        for candidate in plan.candidates:
            if candidate.same_dialect and call.dialect.name in _ANSWERS:
                tokens = await _ask(engine, state, call, inspected, candidate)
                if tokens is not None:
                    return Count(tokens=tokens, estimated=False)
    finally:
        tokens_used = 0  # counting consumes no tokens
        await engine.counters.release(ticket, tokens_used, engine.clock.now_ms())
    estimate = expected_input(inspected) + inspected.images * IMAGE_TOKENS
    return Count(tokens=estimate, estimated=True)


async def _ask(
    engine: Engine, state: State, call: admit.Call, inspected: Inspected, candidate: Candidate
) -> int | None:
    """The provider's own count; None if it does not give one."""
    provider, model = candidate.provider, candidate.deployment.upstream_model
    assert isinstance(call.dialect, Dialect)  # a front alone is never what the provider speaks
    behind = placed(call.dialect, provider.placement)
    try:
        url = behind.upstream_url(provider.base_url, "count_tokens", model, False)
    except ValueError:
        return None  # the platform does not offer it
    forwarded = {name: call.headers[name] for name in behind.forwards if name in call.headers}
    body = _body(call.body, model)
    if behind.place is not None:
        body, forwarded, _ = behind.place(body, forwarded, "count_tokens")
    try:
        secret = await credential_of(provider, state.provider_keys.get(provider.id), engine.tokens)
        headers = {
            "content-type": "application/json",
            **dict(behind.upstream_headers(False)),
            **{name.lower(): value for name, value in provider.headers.items()},
            **forwarded,
            **credential_headers(provider, secret),
        }
        request = UpstreamRequest(
            method="POST", url=addressed(url, provider, secret), headers=tuple(headers.items()), body=body
        )
        request = signed(request, provider, secret, engine.clock.now_ms())
        reply = await engine.upstream.send(request, state.deadlines)
        try:
            body = await reply.read(REPLY_BYTES_MAX)
            if reply.status != 200:
                return None
            answer = msgspec.json.decode(body)
        finally:
            await reply.close()
    except (UpstreamError, ProviderNotConfigured, ValueError, RecursionError):
        return None
    return token_count(answer.get(_ANSWERS[call.dialect.name])) if isinstance(answer, dict) else None


def _body(body: bytes, model: str) -> bytes:
    """The client's body with the provider's name of the model, where it holds one."""
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if "model" in members:
        members["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(members)
