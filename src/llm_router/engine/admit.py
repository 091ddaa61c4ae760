"""Admission: who asks, may they, what would it be, is there credit. Ends with a hold, or an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from llm_router.billing.estimate import Estimate
from llm_router.domain.budget import Payer
from llm_router.domain.errors import (
    ClientError,
    InvalidApiKey,
    InvalidRequest,
    MissingApiKey,
)
from llm_router.domain.key import Key, key_digest
from llm_router.domain.limit import Admission
from llm_router.ports import Keyring
from llm_router.privacy.redact import holds_credential
from llm_router.routing.plan import Candidate, Plan
from llm_router.routing.query import SLUGS_MAX
from llm_router.wire.asked import MODEL_CHARS_MAX
from llm_router.wire.dialect import Inspected, Spoken

KEY_BYTES_MAX = 512
"""No key is longer; longer ones are wrong without hashing them."""

SESSION_HEADERS = ("x-session-id", "x-claude-code-session-id", "x-litellm-session-id", "session_id")
SESSION_CHARS_MAX = 200
_NAMING = ("models", "preset", "session_id")
"""Members of a body whose texts are names that records keep."""

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
        comparison: the id of the comparison that it is a lane of.
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
    comparison: str | None = None


class Admitted(msgspec.Struct, frozen=True, kw_only=True):
    """A request that may go upstream: its credit is held.

    Attributes:
        input_tokens_expected: the expected count of the request's tokens (the hold uses an upper bound).
        output_tokens_cap: the output limit to write upstream, because the balance covers no more.
        lowered_to: the output limit that stands in the request now, in place of a larger one.
        fallbacks: what may follow the plan, by the kind of failure; the hold covers it.
        charge_pusd_max: at most this is charged, by the request's own wish; None bounds nothing more.
    """

    key: Key
    inspected: Inspected
    plan: Plan
    estimate: Estimate
    admission: Admission
    input_tokens_expected: int
    output_tokens_cap: int | None
    lowered_to: int | None = None
    charge_pusd_max: int | None = None
    fallbacks: Mapping[str, tuple[Candidate, ...]] = MappingProxyType({})
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
    if key.disabled:
        raise InvalidApiKey("The API key is switched off; who made it can switch it on again.")
    return key


async def key_of(keyring: Keyring, call: Call, now_ms: int) -> Key:
    """The caller's key: looked up once, before the body is read or here.

    Raises:
        MissingApiKey, InvalidApiKey
    """
    if isinstance(call.key, ClientError):
        raise call.key
    return call.key if call.key is not None else await authenticate(keyring, call.credential, now_ms)


def payer_of(key: Key, call: Call) -> Payer:
    """On whose behalf a call spends.

    The session is named by a header: our own, or those that agents and other gateways' clients send.
    """
    session = next((call.headers[name] for name in SESSION_HEADERS if call.headers.get(name)), None)
    if session is not None and holds_credential(session):
        session = None  # refused by check_session; what is refused is recorded too
    return Payer(
        account=key.account,
        key=key.id,
        team=key.team,
        user=key.user,
        session=None if session is None else session[:SESSION_CHARS_MAX],
    )


def check_session(headers: Mapping[str, str]) -> None:
    """See to it that no key is kept as the name of a session.

    Raises:
        InvalidRequest: a header that names sessions holds what looks like a key.
    """
    for name in SESSION_HEADERS:
        if (session := headers.get(name)) and holds_credential(session):
            raise InvalidRequest(f"{name} holds what looks like a key; it was not kept.", param=name)


def check_routing(routing: Mapping[str, object]) -> None:
    """See to it that no key is kept as a name that a request's body says to the gateway.

    Raises:
        InvalidRequest: ``models``, ``preset`` or ``session_id`` holds what looks like a key, or is longer than any name.
    """
    for name in _NAMING:
        said = routing.get(name)
        texts = said if isinstance(said, list) else (said,)
        if len(texts) > SLUGS_MAX:
            raise InvalidRequest(f"'{name}' must hold at most {SLUGS_MAX} names.", param=name)
        for text in texts:
            if not isinstance(text, str):
                continue
            if len(text) > MODEL_CHARS_MAX:
                raise InvalidRequest(
                    f"'{name}' must have names of at most {MODEL_CHARS_MAX} characters.", param=name
                )
            if holds_credential(text):
                raise InvalidRequest(f"'{name}' holds what looks like a key; it was not kept.", param=name)


def is_strict(call: Call, key: Key) -> bool:
    """Whether losses are refused: by header, else by the key."""
    wish = call.headers.get("x-llm-router-strict")
    return key.strict if wish is None else _TRUE.fullmatch(wish.strip()) is not None
