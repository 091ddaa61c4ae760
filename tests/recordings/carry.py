"""A recorded reply, carried to a client of any dialect as the gateway carries it, without its sockets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from kit import Recording

from llm_router.domain.errors import UpstreamError
from llm_router.domain.usage import Provenance, Usage
from llm_router.wire import events
from llm_router.wire.dialect import Behind, Bill, Dialect, Relay, ReplyContext
from llm_router.wire.dialects.registry import DIALECTS
from llm_router.wire.fold import fold, unfold
from llm_router.wire.loss import Loss
from llm_router.wire.relay import BridgeRelay

CLIENTS = {
    "chat": "openai_chat",
    "messages": "anthropic_messages",
    "responses": "openai_responses",
    "gemini": "gemini_generate",
}
REQUEST_ID = "gen-0000000000000001"
ESTIMATE = 11
"""Input tokens as the gateway estimates them when the provider has not told yet."""


@dataclass
class Carried:
    """What reaches the client."""

    status: int
    data: bytes
    losses: list[Loss] = field(default_factory=list)


def front_of(client: str) -> Dialect:
    found = DIALECTS[CLIENTS[client]]
    assert isinstance(found, Dialect)
    return found


def context_of(client: str, *, json_array: bool = False, legacy: bool = False) -> ReplyContext:
    prefix = {"chat": "chatcmpl-", "messages": "msg_", "responses": "resp_"}.get(client, "")
    return ReplyContext(
        reply_id=prefix + "0000000000000001",
        model="public-model",
        created_s=1_760_000_000,
        json_array=json_array,
        legacy_functions=legacy,
        prompt_tokens_estimate=ESTIMATE,
    )


def bill_of(usage: Usage | None) -> Bill:
    """The bill of a usage; of an estimate where the provider told none, as the gateway makes it."""
    usage = usage or Usage(input_tokens=ESTIMATE, output_tokens=1, provenance=Provenance.ESTIMATED)
    return Bill(usage=usage, cost_pusd=123_000_000, credits_remaining_pusd=10**12)


def carry(
    recording: Recording, client: str, *, stream: bool, step: int = 61, json_array: bool = False
) -> Carried:
    """The reply as ``client`` gets it, streamed or whole, whichever way it was recorded."""
    front, behind = front_of(client), DIALECTS[recording.dialect]
    if recording.status >= 400:
        error = behind.decode_error(recording.status, recording.headers, recording.data)
        return _refused(front, error)
    context = context_of(client, json_array=json_array)
    if stream:
        return _stream(recording, front, behind, context, step)
    try:
        return _whole(recording, front, behind, context)
    except UpstreamError as error:
        return _refused(front, error)


def _refused(front: Dialect, error: UpstreamError) -> Carried:
    return Carried(error.status, front.encode_error(error, REQUEST_ID))


def _whole(recording: Recording, front: Dialect, behind: Behind, context: ReplyContext) -> Carried:
    if recording.stream:  # a provider that streams although it was not asked to
        decoder = behind.stream_decoder()
        reply = fold([*decoder.feed(recording.data), *decoder.close()])
    elif front is behind:
        passed = front.pass_reply(recording.data, context)
        if passed.observed.error is not None:
            raise passed.observed.error
        data = passed.finish(bill_of(passed.observed.usage))
        return Carried(200, data, passed.observed.losses)
    else:
        reply = behind.decode_reply(recording.data)
    data, losses = front.encode_reply(reply, context, bill_of(reply.usage))
    return Carried(200, data, list(losses))


class WholeAsStream:
    """The events of a whole reply, for a client that wants a stream."""

    def __init__(self, behind: Behind) -> None:
        self._behind, self._data = behind, b""

    def feed(self, data: bytes) -> list[events.Event]:
        self._data += data
        return []

    def close(self) -> list[events.Event]:
        try:
            return list(unfold(self._behind.decode_reply(self._data)))
        except UpstreamError as error:
            return [events.Failed(error=error)]


def _stream(
    recording: Recording, front: Dialect, behind: Behind, context: ReplyContext, step: int
) -> Carried:
    relay: Relay
    if not recording.stream:
        relay = BridgeRelay(WholeAsStream(behind), front.stream_encoder(context))
    elif front is behind:
        relay = front.pass_relay(context)
    else:
        relay = BridgeRelay(behind.stream_decoder(), front.stream_encoder(context))
    return relayed(front, relay, pieces(recording.data, step))


def relayed(front: Dialect, relay: Relay, data: Iterator[bytes]) -> Carried:
    """What the gateway makes of a relay: an error before any content is a status, a later one is told."""
    out, seen = b"", relay.observed
    for piece in data:
        out += relay.feed(piece)
        if seen.ended or seen.error:
            break
    if not (seen.ended or seen.error):
        out += relay.close()
    if seen.error is not None:
        if not out:
            return _refused(front, seen.error)
        return Carried(200, out + relay.fail(seen.error, REQUEST_ID), seen.losses)
    assert seen.ended
    return Carried(200, out + relay.finish(bill_of(seen.usage)), seen.losses)


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    """The data cut every ``step`` bytes."""
    for start in range(0, len(data), step):
        yield data[start : start + step]
