"""Admission: who asks, may they, what would it be, is there credit. Ends with a hold, or an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType

import msgspec

from llm_router.billing.estimate import Estimate
from llm_router.catalog.resolve import NAME_CHARS_SHOWN
from llm_router.catalog.snapshot import Resolved
from llm_router.domain.budget import Payer
from llm_router.domain.errors import (
    ClientError,
    InvalidApiKey,
    InvalidRequest,
    MissingApiKey,
    ModelNotAllowed,
    ProviderNotConfigured,
    UnsupportedContent,
)
from llm_router.domain.key import Key, key_digest
from llm_router.domain.limit import Admission
from llm_router.domain.own_key import OwnKey
from llm_router.engine.own_keys import with_own_keys
from llm_router.engine.state import State
from llm_router.ports import Keyring
from llm_router.routing.plan import NO_OPERATION, NOT_CONFIGURED, UNPRICED, Plan, make_plan
from llm_router.wire.dialect import Inspected, Spoken
from llm_router.wire.operations import ENDPOINTS, FORMATS

KEY_BYTES_MAX = 512
"""No key is longer; longer ones are wrong without hashing them."""

SESSION_HEADERS = ("x-session-id", "x-claude-code-session-id", "x-litellm-session-id", "session_id")
SESSION_CHARS_MAX = 200

NO_OWN_KEYS: Mapping[str, OwnKey] = MappingProxyType({})

_TRUE = re.compile(r"(?i)1|true|yes|on")


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One request as the edge hands it over.

    Attributes:
        credential: the bearer or header key as bytes; None if there was none.
        headers: the client's headers that the engine reads (lower case): ``x-llm-router-*`` and
            those that its dialect forwards.
        json_array: a stream is wanted as one JSON array (Gemini without ``alt=sse``).
        started_us: monotonic time at which the request's first byte was handled.
        key: what the credential was found to be, or what is wrong with it; None if nobody looked yet.
        state: for :attr:`ReplyContext.state`; None where the gateway keeps nothing of the exchange.
    """

    operation: str
    dialect: Spoken
    body: bytes
    credential: bytes | None
    headers: Mapping[str, str]
    started_us: int
    path_model: str | None = None
    path_stream: bool | None = None
    json_array: bool = False
    key: Key | ClientError | None = None
    state: Mapping[str, msgspec.Raw] | None = None


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may go upstream: its credit is held.

    Attributes:
        input_tokens_expected: the expected count of the request's tokens (the hold uses an upper bound).
        output_tokens_cap: the output limit to write upstream, because the balance covers no more.
        lowered_to: the output limit that stands in the request now, in place of a larger one.
        charge_pusd_max: at most this is charged, by the request's own wish; None bounds nothing more.
    """

    key: Key
    inspected: Inspected
    resolved: Resolved
    plan: Plan
    estimate: Estimate
    admission: Admission
    input_tokens_expected: int
    output_tokens_cap: int | None
    lowered_to: int | None = None
    charge_pusd_max: int | None = None
    strict: bool
    usage_chunk: bool


async def authenticate(keyring: Keyring, credential: bytes | None, now_ms: int) -> Key:
    """The key that the credential is.

    Raises:
        MissingApiKey, InvalidApiKey
    """
    if not credential:
        raise MissingApiKey(
            "No API key was given. Send it as 'Authorization: Bearer <key>'; "
            "make one with 'llm-router keys create --name NAME'."
        )
    key = await keyring.find(key_digest(credential)) if len(credential) <= KEY_BYTES_MAX else None
    if key is None or key.revoked_ms is not None or (key.expires_ms is not None and key.expires_ms <= now_ms):
        raise InvalidApiKey("The API key is not valid: it is unknown, revoked or expired.")
    return key


def check_model_allowed(key: Key, resolved: Resolved) -> None:
    """Refuse a model that the key's allow-list does not name. The list is held against the resolved id."""
    if key.models is not None and not any(fnmatchcase(resolved.model.id, p) for p in key.models):
        asked = resolved.asked[:NAME_CHARS_SHOWN]
        retired = f" ('{asked}' is retired; that is its successor)" if resolved.via == "successor" else ""
        raise ModelNotAllowed(
            f"This API key may not use the model '{resolved.model.id}'{retired}. "
            f"It may use: {', '.join(key.models)}.",
            param="model",
        )


async def key_of(keyring: Keyring, call: Call, now_ms: int) -> Key:
    """The caller's key: looked up once, before the body is read or here.

    Raises:
        MissingApiKey, InvalidApiKey
    """
    if isinstance(call.key, ClientError):
        raise call.key
    return call.key if call.key is not None else await authenticate(keyring, call.credential, now_ms)


def check_operation(call: Call, resolved: Resolved) -> None:
    """Refuse a model that is not made for what is asked.

    Raises:
        InvalidRequest: says which endpoint the model is for.
    """
    model, asked = resolved.model, "chat" if call.operation == "count_tokens" else call.operation
    if asked not in model.operations:
        places = " or ".join(ENDPOINTS[name] for name in model.operations)
        raise InvalidRequest(
            f"'{model.id}' is no model for this endpoint. It is for {places}.",
            param="model",
            code="unsupported_operation",
        )


def plan_for(
    call: Call,
    state: State,
    inspected: Inspected,
    resolved: Resolved,
    own_keys: Mapping[str, OwnKey] = NO_OWN_KEYS,
) -> Plan:
    """The plan of the request. ``own_keys`` are those of the account, by provider.

    Raises:
        ProviderNotConfigured: no deployment of the model can be called here.
    """
    plan = make_plan(
        resolved.model,
        resolved.deployments,
        providers=state.snapshot.providers,
        active=state.active.union(own_keys),
        front=call.dialect.name,
        needs=inspected.needs,
        formats=FORMATS["chat" if call.operation == "count_tokens" else call.operation],
    )
    if own_keys:
        plan = with_own_keys(plan, own_keys, state.own_key_fee, state.active)
    if not plan.candidates:
        _refuse_unsupported(resolved, plan)
        names = [r.deployment.split("/", 1)[0] for r in plan.rejections]
        hints = [
            f"{state.snapshot.providers[n].name} ({' or '.join(state.snapshot.providers[n].env) or 'config file'})"
            for n in dict.fromkeys(names)
            if n in state.snapshot.providers
        ]
        raise ProviderNotConfigured(
            f"No provider of '{resolved.model.id}' is configured on this gateway. "
            f"It is served by: {', '.join(hints)}. Its operator must set that provider's key and start again.",
            param="model",
        )
    return plan


def _refuse_unsupported(resolved: Resolved, plan: Plan) -> None:
    """Refuse content that every callable deployment declares not to take.

    Raises:
        UnsupportedContent: with what it lacks.
    """
    known = (NOT_CONFIGURED, UNPRICED, NO_OPERATION)
    lacking = [r.reason for r in plan.rejections if r.reason not in known]
    if lacking:
        raise UnsupportedContent(
            f"'{resolved.model.id}' {' and '.join(dict.fromkeys(lacking))}. Choose another model.",
            param="tools" if lacking[0] == "calls no tools" else "messages",
        )


def payer_of(key: Key, call: Call) -> Payer:
    """On whose behalf a call spends.

    The session is named by a header: our own, or those that agents and other gateways' clients send.
    """
    session = next((call.headers[name] for name in SESSION_HEADERS if call.headers.get(name)), None)
    return Payer(
        account=key.account,
        key=key.id,
        team=key.team,
        user=key.user,
        session=None if session is None else session[:SESSION_CHARS_MAX],
    )


def is_strict(call: Call, key: Key) -> bool:
    """Whether losses are refused: by header, else by the key."""
    wish = call.headers.get("x-llm-router-strict")
    return key.strict if wish is None else _TRUE.fullmatch(wish.strip()) is not None
