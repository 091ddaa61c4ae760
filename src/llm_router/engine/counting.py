"""Counting a request's tokens: by the provider where it offers that in the client's dialect, else by
an estimate that says so. Nothing is held or charged.
"""

from __future__ import annotations

import msgspec

from llm_router.billing.estimate import expected_input
from llm_router.domain.errors import InvalidRequest, UpstreamError
from llm_router.domain.usage import token_count
from llm_router.engine import admit
from llm_router.engine.credentials import credential_headers
from llm_router.engine.exchange import Engine
from llm_router.engine.state import State
from llm_router.ports import UpstreamRequest
from llm_router.routing.plan import Candidate
from llm_router.wire.dialect import Dialect, Inspected

IMAGE_TOKENS = 1_500
"""The estimate of one image: about 1,600 at Claude for a full-size one, 258 to 1,290 at Gemini."""

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
    resolved = state.snapshot.resolve(inspected.model, active=state.active)
    admit.check_model_allowed(key, resolved)
    admit.check_operation(call, resolved)
    plan = admit.plan_for(call, state, inspected, resolved)
    limits = admit.merged_limits(key, state.default_limits)
    admit.admit_to_limits(engine.counters, key, limits, inspected, now_ms)
    try:
        for candidate in plan.candidates:
            if candidate.same_dialect and call.dialect.name in _ANSWERS:
                tokens = await _ask(engine, state, call, inspected, candidate)
                if tokens is not None:
                    return Count(tokens=tokens, estimated=False)
    finally:
        tokens_used = 0  # counting consumes none of the key's tokens
        engine.counters.release(key.id, limits, admit.tokens_admitted(inspected), tokens_used)
    estimate = expected_input(inspected) + inspected.images * IMAGE_TOKENS
    return Count(tokens=estimate, estimated=True)


async def _ask(
    engine: Engine, state: State, call: admit.Call, inspected: Inspected, candidate: Candidate
) -> int | None:
    """The provider's own count; None if it does not give one."""
    provider, model = candidate.provider, candidate.deployment.upstream_model
    assert isinstance(call.dialect, Dialect)  # a front alone is never what the provider speaks
    url = call.dialect.upstream_url(provider.base_url, "count_tokens", model, False)
    secret = state.provider_keys.get(provider.id)
    if provider.auth == "query" and secret is not None:
        url = f"{url}?{provider.auth_name or 'key'}={secret}"
    headers = {
        "content-type": "application/json",
        **dict(call.dialect.upstream_headers(False)),
        **credential_headers(provider, secret),
    }
    request = UpstreamRequest(
        method="POST", url=url, headers=tuple(headers.items()), body=_body(call.body, model)
    )
    try:
        reply = await engine.upstream.send(request, state.deadlines)
        try:
            body = await reply.read(REPLY_BYTES_MAX)
            if reply.status != 200:
                return None
            answer = msgspec.json.decode(body)
        finally:
            await reply.close()
    except (UpstreamError, msgspec.DecodeError):
        return None
    return token_count(answer.get(_ANSWERS[call.dialect.name])) if isinstance(answer, dict) else None


def _body(body: bytes, model: str) -> bytes:
    """The client's body with the provider's name of the model, where it holds one."""
    members = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    if "model" in members:
        members["model"] = msgspec.Raw(msgspec.json.encode(model))
    return msgspec.json.encode(members)
