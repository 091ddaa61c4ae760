"""What is known of an exchange while it runs. One task owns it; nothing here does I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from llm_router.billing.own_keys import NO_COST, fee_price
from llm_router.billing.pricing import PriceList
from llm_router.domain.budget import Payer
from llm_router.domain.errors import Overloaded, RouterError, UpstreamError
from llm_router.domain.key import Key
from llm_router.domain.limit import Admission
from llm_router.domain.model import Deployment, Model
from llm_router.domain.own_key import OwnKey
from llm_router.domain.price import TOOL, Price, tool_prices
from llm_router.domain.record import AttemptRecord, ExchangeRecord
from llm_router.engine.admit import Admitted, Call, payer_of
from llm_router.engine.brief import HEADER, explain_header
from llm_router.engine.deadlines import NO_WISH, Wish
from llm_router.engine.experiments import Trial
from llm_router.engine.holding import Holder
from llm_router.engine.seams import Continuation
from llm_router.engine.state import State
from llm_router.engine.taping import Tape
from llm_router.ports import Client, Clock
from llm_router.routing.health import HealthView
from llm_router.routing.key_ring import PoolKey
from llm_router.routing.plan import Candidate, Plan
from llm_router.wire.continuing.told import Transcript
from llm_router.wire.dialect import Bill, Fetched, Inspected, Observed, Relay, ReplyContext
from llm_router.wire.heads import Head, fields
from llm_router.wire.loss import Loss, loss_header
from llm_router.wire.toolsback import ToolsBack

RETRY_AFTER_S_MAX = 120
"""OpenAI's clients do not retry at all above it, Anthropic's obey any value: both are bad."""


NATIVE_CHARS_MAX = 100
"""How much of a provider's own finish reason is shown in a header: it is untrusted."""


NOTHING: Mapping[str, Any] = MappingProxyType({})


class Delivery(Protocol):
    """An answer under way: what was observed of it, and how it is ended."""

    @property
    def observed(self) -> Observed: ...

    def finish(self, bill: Bill) -> bytes: ...

    def fail(self, error: RouterError, request_id: str) -> bytes: ...

    def losses(self) -> Sequence[Loss]: ...


class Stances(msgspec.Struct, frozen=True, kw_only=True):
    """How the candidates of a plan stood before the first attempt, and the dice that were thrown for those
    that come back slowly."""

    deployments: tuple[str, ...]
    views: tuple[HealthView, ...]
    thrown: list[float]


class Track(msgspec.Struct, kw_only=True):
    """One exchange under way.

    Attributes:
        price_list: what customers pay, as it was at admission; paid_by: see :meth:`payer`.
        tags: what its client calls it; tags_over: there was no room to count it by them.
        stepped: it counts as a step of its session; session_held_pusd: what it holds of that one's money.
        settled: its settlement has been queued; never a second one.
        content_sent: content reached the client: no other deployment may answer any more.
        gone: the client left.
        stopped: the gateway ends the exchange: it is stopping, or (``ended``) its operator wants so.
        drain: how many bytes may still come for a client that left; None while it is there.
        delivered_chars: characters of output and reasoning that had reached it when it left.
        canonical: the request in the canonical form of its operation, once an attempt needed it.
        fetched: media by URL, or why it could not be had: attempts do not ask twice.
        upstream_us: time spent waiting for providers, which is not our overhead.
        counted: the counters may hold a place of it, under its id.
        sent_secret: what of a credential went to the provider of the attempt, and so may come back.
        pool_key: which of several keys of its provider the attempt was made with; keys_tried: those that
            were refused; other_key: another one may be used at once.
        plan: as it was made; stood: how its candidates stood, None if all were as usual.
        followed: why each further attempt was made and after how many milliseconds; stopped_for: why no other.
        wish: what its client says of the time it has; due_us: monotonic time at which it stops waiting.
        relay: of the stream under way; transcript: what it said, where it may be gone on with if it breaks;
            continuation: the answer broke off, and is gone on with.
        holder: who takes its hold, where that is not the engine.
        of: the exchange of which this is one of two calls (engine/hedging.py); None if it is the exchange itself.
        landing: bodies of whole answers, where others may wait for one; shared: the answer was another exchange's
            (engine/flights.py).
        outrun: the deployment whose call was cancelled because another one answered first.
        trial: its part in an experiment. tape: what is noted of its bodies, where its account wants them kept.
        heard: the provider's answer so far, where it may hold state to remember; found: what is known
            of earlier turns, by the maker that is asked now (see engine/recall.py).
    """

    id: str
    call: Call
    client: Client
    state: State
    clock: Clock
    created_ms: int
    key: Key | None = None
    paid_by: Payer | None = None
    tags: tuple[str, ...] = ()
    tags_over: bool = False
    inspected: Inspected | None = None
    asked_model: str = ""
    model: Model | None = None
    admission: Admission | None = None
    admitted: Admitted | None = None
    counted: bool = False
    held: bool = False
    holder: Holder | None = None
    stepped: bool = False
    session_held_pusd: int = 0
    price_list: PriceList = PriceList()
    settled: bool = False
    candidate: Candidate | None = None
    canonical: Any = None
    tool_names: Mapping[str, str] = NOTHING
    delivery: Delivery | None = None
    content_sent: bool = False
    gone: bool = False
    stopped: bool = False
    ended: bool = False
    drain: int | None = None
    delivered_chars: tuple[int, int] | None = None
    error: RouterError | None = None
    losses: list[Loss] = msgspec.field(default_factory=list)
    attempts: list[AttemptRecord] = msgspec.field(default_factory=list)
    fetched: dict[str, Fetched | RouterError] | None = None
    first_token_ms: int | None = None
    upstream_us: int = 0
    sent_secret: str | None = None
    record: ExchangeRecord | None = None
    heard: list[bytes] | None = None
    heard_bytes: int = 0
    found: dict[str, object] | None = None
    own_keys: Mapping[str, OwnKey] = NOTHING
    pool_key: PoolKey | None = None
    keys_tried: frozenset[str] = frozenset()
    other_key: bool = False
    plan: Plan | None = None
    stood: Stances | None = None
    followed: tuple[tuple[str, int], ...] = ()
    stopped_for: str | None = None
    wish: Wish = NO_WISH
    relay: Relay | None = None
    transcript: Transcript | None = None
    continuation: Continuation | None = None
    due_us: int | None = None
    of: Track | None = None
    outrun: Candidate | None = None
    landing: list[bytes] | None = None
    shared: bool = False
    trial: Trial | None = None
    tape: Tape | None = None

    def hear(self, data: bytes, bytes_max: int) -> None:
        """Note what the provider said, as far as it may be remembered."""
        if self.heard is not None:
            self.heard_bytes += len(data)
            if self.heard_bytes > bytes_max:
                self.heard = None
            else:
                self.heard.append(data)

    def drained(self, size: int) -> None:
        """Count what came for a client that left.

        Raises:
            ConnectionError: it is too much: the exchange ends as if it had not gone on.
        """
        track = self if self.of is None else self.of
        if track.drain is not None:
            track.drain -= size
            if track.drain < 0:
                raise ConnectionError("the client left")

    def payer(self) -> Payer:
        """On whose behalf it spends. The key must be known."""
        if self.paid_by is None:
            assert self.key is not None
            self.paid_by = payer_of(self.key, self.call)
        return self.paid_by

    def context(self) -> ReplyContext:
        """What an encoder of the client's dialect needs to know."""
        inspected, admitted = self.inspected, self.admitted
        return ReplyContext(
            reply_id=self.call.dialect.reply_id_prefix + self.id.removeprefix("gen-"),
            model=self.model.id if self.model is not None else self.asked_model,
            created_s=self.created_ms // 1000,
            usage_chunk=admitted.usage_chunk if admitted is not None else True,
            legacy_functions=inspected.legacy_functions if inspected is not None else False,
            json_array=inspected.json_array if inspected is not None else False,
            prompt_tokens_estimate=admitted.input_tokens_expected if admitted is not None else 0,
            custom_tools=inspected.custom_tools if inspected is not None else (),
            echo=inspected.echo if inspected is not None else {},
            inputs=inspected.inputs if inspected is not None else 1,
            state=self.call.state or {},
        )

    def reply_id_for(self, upstream_id: str | None) -> str:
        """The id that an encoder gives the reply: the provider's own, if it is of the dialect's form."""
        return reply_id_of(self.call, self.id, upstream_id)

    def note_losses(self, losses: Iterable[Loss]) -> None:
        self.losses += (loss for loss in losses if loss not in self.losses)


def reply_id_of(call: Call, id_: str, upstream_id: str | None) -> str:
    """:meth:`Track.reply_id_for`, of the exchange of that id."""
    prefix = call.dialect.reply_id_prefix
    if upstream_id and upstream_id.startswith(prefix) and not call.state:
        return upstream_id
    return prefix + id_.removeprefix("gen-")


def tools_back(track: Track, mark: str = "") -> ToolsBack:
    """What puts the reply's calls in the terms of the client's request. ``mark``: of a further stream of the
    same answer, whose calls have ids of their own."""
    return ToolsBack(track.tool_names, track.context().custom_tools, track.id.removeprefix("gen-") + mark)


def price_of(track: Track, upstream_model: str) -> Price | None:
    """The provider's price of another model, or of a tool, that it ran inside the exchange."""
    if upstream_model.startswith(TOOL) and track.candidate is not None:
        provider = track.candidate.provider
        if track.candidate.own_key:
            return NO_COST
        return tool_prices(provider.id, provider.tools).get(upstream_model.removeprefix(TOOL))
    found = _other(track, upstream_model)
    return None if found is None else found.price


def sold_price_of(track: Track, upstream_model: str) -> Price | None:
    """The same as the customer pays it."""
    if upstream_model.startswith(TOOL) and track.candidate is not None:
        return track.candidate.deployment.tools.get(upstream_model.removeprefix(TOOL))
    found = _other(track, upstream_model)
    if found is None:
        return None
    price = track.price_list.sell((found,), track.payer(), track.created_ms)[0].price
    if price is None or track.candidate is None or not track.candidate.own_key:
        return price
    return fee_price(price, track.state.own_key_fee)


def _other(track: Track, upstream_model: str) -> Deployment | None:
    assert track.candidate is not None
    provider = track.candidate.provider.id
    try:
        resolved = track.state.snapshot.resolve(upstream_model)
    except RouterError:
        return None
    return next((d for d in resolved.deployments if d.provider == provider), None)


RECEIPT_HEADER = "x-receipt"
"""A request that has it is told where its receipt will be: what it costs is known when its answer is whole."""


def reply_head(track: Track, error: RouterError | None = None) -> str:
    """The lines of a reply's head: what it is, who answered, what was lost, what is left of the limits."""
    inspected, candidate, asked = track.inspected, track.candidate, track.call.headers
    stream = error is None and inspected is not None and inspected.stream
    content_type = "application/json"
    if stream and not (inspected is not None and inspected.json_array):
        content_type = track.call.dialect.content_type_stream
    lines = f"content-type: {content_type}\r\nx-generation-id: {track.id}\r\n{_head(track, error)}"
    if stream:
        lines += "cache-control: no-cache\r\nx-accel-buffering: no\r\n"
    if RECEIPT_HEADER in asked and error is None:
        lines += f"x-llm-router-receipt: /v1/generations/{track.id}/receipt\r\n"
    lines += whose(track.model, candidate)
    if track.shared:
        lines += "x-llm-router-shared: true\r\n"
    if track.losses:
        lines += f"x-llm-router-losses: {_line(loss_header(track.losses))}\r\n"
    cap = limit_set(track.admitted)
    if cap is not None and not isinstance(error, Overloaded):  # nothing was sent, and the hold is given back
        lines += f"x-llm-router-max-tokens: {cap}\r\n"
    if track.delivery is not None and error is None and not stream:
        lines += native_line(track.delivery.observed.native_finish)
    if HEADER in asked and (said := explain_header(track)) is not None:
        lines += f"x-llm-router-explain: {said.decode()}\r\n"
    return lines if error is None else lines + error_head(error)


def whole_head(track: Track, whose: str) -> str:
    """The same of a whole answer to a request without wishes, whose output limit is its own. ``whose``: see there."""
    if track.losses or track.delivery is None:
        return reply_head(track)
    native = native_line(track.delivery.observed.native_finish)
    return f"content-type: application/json\r\nx-generation-id: {track.id}\r\n{_head(track, None)}{whose}{native}"


def whose(model: Model | None, candidate: Candidate | None) -> str:
    """The lines that say who answers."""
    lines = "" if model is None else f"x-llm-router-model: {model.id}\r\n"
    if candidate is not None:
        if candidate.via == "successor" and model is not None:
            lines += f"x-llm-router-successor-of: {_line(candidate.asked)}\r\n"
        lines += f"x-llm-router-provider: {candidate.provider.id}\r\n"
        if candidate.provider.simulated:
            lines += "x-llm-router-simulated: true\r\n"
    return lines


def native_line(native: str | None) -> str:
    """The line that says how the provider itself calls the end of an answer."""
    return "" if native is None else _native_line(native[:NATIVE_CHARS_MAX])


@lru_cache(maxsize=64)
def _native_line(native: str) -> str:
    if not native.isprintable():
        return ""
    return f"x-llm-router-native-finish-reason: {_line(native)}\r\n"


def reply_headers(track: Track, error: RouterError | None = None) -> list[tuple[bytes, bytes]]:
    """The same, taken apart."""
    return fields(reply_head(track, error))


def limit_set(admitted: Admitted | None) -> int | None:
    """The output limit that the gateway set or lowered."""
    if admitted is None:
        return None
    return admitted.output_tokens_cap if admitted.lowered_to is None else admitted.lowered_to


def _head(track: Track, error: RouterError | None) -> str:
    """What the API that was called tells in headers of its own."""
    limits = track.admission.limits if track.admission is not None else ()
    if error is not None and error.limits:
        limits = error.limits
    call = track.call
    return call.dialect.head(
        Head(
            request_id=track.id,
            at_ms=track.created_ms,
            elapsed_ms=(track.clock.monotonic_us() - call.started_us) // 1000,
            limits=limits,
        )
    )


def error_head(error: RouterError) -> str:
    """When to retry, and the error's own headers."""
    lines = "".join([f"{_line(name)}: {_line(value)}\r\n" for name, value in error.headers])
    if error.retry_after_s is not None:
        after_s = min(max(error.retry_after_s, 0.0), RETRY_AFTER_S_MAX)
        lines += f"retry-after: {max(1, -int(-after_s // 1))}\r\n"
        lines += f"retry-after-ms: {max(1, round(after_s * 1000))}\r\n"
    if isinstance(error, UpstreamError) and not error.retryable and error.status >= 500:
        lines += "x-should-retry: false\r\n"
    return lines


def _line(text: str) -> str:
    """Text as it may stand in a header."""
    if text.isascii() and text.isprintable():
        return text
    return text.encode("latin-1", "replace").decode("latin-1").replace("\r", " ").replace("\n", " ")
