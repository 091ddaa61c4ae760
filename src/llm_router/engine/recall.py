"""State of earlier turns: remembered when a reply is whole, put back when its turn comes again.

A reply passes through to its client first; what it held that must come back is read from the
provider's own bytes. Nothing here may fail an exchange: what cannot be read is not remembered, and
what is kept no more is a declared loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.domain.errors import UpstreamError
from llm_router.engine.admit import Call
from llm_router.engine.tracks import Track
from llm_router.ports import Clock, SideCar
from llm_router.routing.plan import Candidate
from llm_router.wire import kept as turns
from llm_router.wire.chat import ChatRequest, Media, Part, ToolCall
from llm_router.wire.dialect import Behind, Dialect, Inspected, Spoken, Target
from llm_router.wire.events import Reply
from llm_router.wire.fold import fold
from llm_router.wire.kept import Kept, Turn
from llm_router.wire.loss import Loss
from llm_router.wire.makers import maker_of

CHAT = "chat"
"""The operation whose requests have turns."""

KEPT_BYTES_MAX = 1024 * 1024
"""Larger turns are not remembered; those with long encrypted reasoning have some ten thousand bytes."""

SHORT_BYTES = 8192
"""A body up to this is looked through for words of state before it is asked whether its account has any."""

STATE_WORDS = (
    b"ignature", b"reasoning_content", b"reasoning_details", b'"reasoning"', b"encrypted", b"redacted",
    b'"thinking"', b"tool_plan", b"extra_content", b"server_tool_use", b"_tool_result", b"executableCode",
    b'"citations', b"compaction",
)  # fmt: skip
"""One of these stands in every reply that holds state; replies without any are not read again."""

CALL_WORDS = (b"tool_call", b"tool_use", b"function_call", b"functionCall", b"custom_tool")
TURN_WORDS = (b'"assistant"', b'"model"', b'"function_call"')
TURN_WORDS_NAMED = (b'"assistant"', b'"function_call"')
"""Of APIs whose requests all name a model in their body."""

_LOST = Loss(
    field="messages[].reasoning_state",
    why="the gateway kept what the model wants back of an earlier turn, and keeps it no more",
)
_FOREIGN = Loss(field="messages[].reasoning_state", why="it was made by another provider or family of models")


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the turns of a request. ``kept`` is None where it was forgotten."""

    request: ChatRequest
    turns: tuple[tuple[Turn, Kept | None], ...]


class Recall:
    """Remembers and restores. Holds no state of its own."""

    def __init__(self, side_car: SideCar, dialects: Mapping[str, Behind[Any, Any]], clock: Clock) -> None:
        self._side_car = side_car
        self._dialects = dialects
        self._clock = clock

    def may_concern(self, account: str, call: Call) -> bool:
        """Whether a request may hold turns of which something is kept."""
        words = TURN_WORDS if call.dialect.name == "gemini_generate" else TURN_WORDS_NAMED
        body = call.body
        if len(body) > SHORT_BYTES and not self._side_car.owns(account):
            return False
        for word in words:  # a short body is looked through in less time than it takes to ask whose it is
            if word in body:
                return self._side_car.owns(account)
        return False

    # -- after a reply -----------------------------------------------------------------------------

    def remember(self, track: Track) -> None:
        """Keep what the whole reply held that its maker wants back; once."""
        data, track.heard = track.heard, None
        candidate, seen = track.candidate, None if track.delivery is None else track.delivery.observed
        if data is None or candidate is None or track.key is None or seen is None or not seen.ended:
            return
        if track.call.operation != CHAT:
            return
        body = b"".join(data)
        if not any(word in body for word in STATE_WORDS):
            return
        behind = self._dialects[candidate.dialect]
        reply = _read(behind, body)
        if reply is None or track.inspected is None:
            return
        members = behind.state_members(body) if behind.state_members is not None else None
        before: str | None = None
        maker = _maker(candidate)
        for choice in reply.choices:
            turn = Kept(
                maker=maker,
                dialect=candidate.dialect,
                model=candidate.deployment.upstream_model,
                parts=tuple(map(_slim, choice.parts)),
                members=None if members is None else members.get(choice.index, {}),
            )
            value = turns.pack(turn) if turns.holds_state(turn) else None
            if value is None or len(value) > KEPT_BYTES_MAX:
                continue
            if before is None:
                before = turns.last_said(_canonical(track, track.call.dialect, track.inspected))
            names = turns.names_of(turn.parts, before, maker)
            if names:
                self._side_car.put(track.key.account, names, value, self._clock.now_ms())

    # -- before a request --------------------------------------------------------------------------

    async def restore(
        self, track: Track, candidate: Candidate, target: Target, inspected: Inspected
    ) -> tuple[Inspected, ChatRequest | None, Target]:
        """The request with the state that its deployment made put back.

        The first is for passing through, the second, if there is one, for encoding: then a request
        that could pass must be encoded too. The third knows what the deployment was seen to know.
        """
        maker = _maker(candidate)
        found = await self._find(track, target, inspected, maker)
        if found is None:
            return inspected, None, target
        changes: dict[int, tuple[Turn, tuple[Part, ...]]] = {}
        for turn, kept in found.turns:
            parts = self._parts(track, turn, kept, maker, candidate)
            if parts is not None:
                changes[turn.first] = (turn, parts)
        if not changes:
            return inspected, None, target
        if any(kept is not None and kept.maker == maker and _signs_calls(kept) for _, kept in found.turns):
            target = msgspec.structs.replace(target, knows=(*target.knows, "signatures"))
        front = track.call.dialect
        if candidate.same_dialect and isinstance(front, Dialect) and front.restored is not None:
            whole = {at: parts for at, (turn, parts) in changes.items() if turn.end == at + 1}
            return front.restored(inspected, whole), None, target
        return inspected, turns.replaced(found.request, changes), target

    def _parts(
        self, track: Track, turn: Turn, kept: Kept | None, maker: str, candidate: Candidate
    ) -> tuple[Part, ...] | None:
        """The parts of a turn for this deployment; None if they stay as they are."""
        if kept is None:
            track.note_losses((_LOST,))
            return None
        if kept.maker == maker:
            if candidate.same_dialect and not turns.lacks(turn.parts, kept):
                return None  # the client's own bytes are exact
            return turns.merged(turn.parts, kept, candidate.dialect)
        if kept.dialect != candidate.dialect:
            return None  # the encoder knows its own dialect's state from others
        bare = turns.without_state(turn.parts, candidate.dialect)
        if bare == turn.parts:
            return None
        track.note_losses((_FOREIGN,))
        return bare

    async def _find(self, track: Track, target: Target, inspected: Inspected, maker: str) -> Found | None:
        """Look up all turns in one batch; once for all attempts at one maker."""
        if track.key is None or track.call.operation != CHAT or not self._side_car.owns(track.key.account):
            return None
        if track.found is None:
            track.found = {}
        before = track.found.get(maker)
        if isinstance(before, Found):
            return before if before.turns else None
        body = track.call.body
        if not any(word in body for word in TURN_WORDS):
            return None
        if not target.capabilities.reasoning and not any(word in body for word in CALL_WORDS):
            return None
        request = _canonical(track, track.call.dialect, inspected)
        names = [(turn, turns.names_of(turn.parts, turn.before, maker)) for turn in turns.turns_of(request)]
        asked = list(dict.fromkeys(name for _, known in names for name in known))
        values = await self._side_car.get(track.key.account, asked, self._clock.now_ms()) if asked else {}
        found = []
        for turn, known in names:
            hits = [values[name] for name in known if name in values]
            if hits:
                data = next((hit for hit in hits if hit is not None), None)
                found.append((turn, None if data is None else turns.unpack(data)))
        track.found[maker] = now = Found(request=request, turns=tuple(found))
        return now if found else None


def may_give_state(inspected: Inspected, candidate: Candidate) -> bool:
    """Whether the reply may hold what must come back: the model reasons, or may call tools."""
    able = candidate.deployment.capabilities or candidate.model.capabilities
    return able.reasoning or "tools" in inspected.needs


def _canonical(track: Track, front: Spoken, inspected: Inspected) -> ChatRequest:
    if track.canonical is None:
        track.canonical = front.decode_request(inspected)
    request: ChatRequest = track.canonical
    return request


def _signs_calls(kept: Kept) -> bool:
    return any(isinstance(part, ToolCall) and part.signature is not None for part in kept.parts)


def _maker(candidate: Candidate) -> str:
    return maker_of(candidate.provider.id, candidate.dialect, candidate.deployment.base)


def _read(behind: Behind[Any, Any], body: bytes) -> Reply | None:
    """The reply that these bytes are, whole or a stream; None if they are none."""
    try:
        start = body[:256].lstrip()
        lines = behind.json_lines and body.count(b"\n") > 1
        if start[:1] == b"{" and not lines:
            reply: Reply = behind.decode_reply(body)
            return reply
        decoder = behind.stream_decoder()
        return fold([*decoder.feed(body), *decoder.close()])
    except UpstreamError:
        return None


def _slim(part: Part) -> Part:
    """The part without the bytes of media, which the client sends itself or not at all."""
    return msgspec.structs.replace(part, data=None) if isinstance(part, Media) else part
