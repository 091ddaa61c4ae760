"""GenerateContentResponse messages to events: one machine for whole replies and for streams.

A stream is a sequence of such messages without an end marker: it is complete when every candidate
that began has a finish reason (or the prompt was blocked) and the connection closed cleanly. So
Finished events wait for the end; parts of a candidate continue over messages as long as their kind
stays the same and no signature closed them.
https://ai.google.dev/api/generate-content#generatecontentresponse
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

from llm_router.domain.errors import UpstreamError, UpstreamKind
from llm_router.wire import events
from llm_router.wire.again import MARK, Spot, spot_in
from llm_router.wire.chat import Raw
from llm_router.wire.classify import scrub
from llm_router.wire.dialects.gemini_generate.calls import PartialCall, arguments_of, is_whole
from llm_router.wire.dialects.gemini_generate.errors import decode_reported
from llm_router.wire.dialects.gemini_generate.finish import failure_of, finish_name, finish_of
from llm_router.wire.dialects.gemini_generate.grounding import Spoken, citations_of, searches_of
from llm_router.wire.dialects.gemini_generate.logprobs import decode_logprobs
from llm_router.wire.dialects.gemini_generate.members import NAME, list_of, object_of, text_of, value_of
from llm_router.wire.dialects.gemini_generate.signatures import Carried, unwrap
from llm_router.wire.dialects.gemini_generate.usage import decode_usage, reports_usage
from llm_router.wire.events import Event, Failed, PartClosed, PartDelta, PartOpened
from llm_router.wire.mintedids import MintedIds

CHOICES_MAX = 128
"""How many candidates are told apart; far above what Google offers."""

_ALIKE = frozenset({"usageMetadata", "modelVersion", "responseId", "createTime"})
_FRACTION = re.compile(r"\.\d+")
_HEAD = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime", "error"})
_CANDIDATE = frozenset(
    {"content", "finishReason", "finishMessage", "index", "logprobsResult", "avgLogprobs", "tokenCount"}
)
_BESIDE = frozenset({"thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution"})


class _Candidate:
    """One choice under way."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.parts = 0
        self.open: PartOpened | None = None
        self.texts: dict[int, list[str]] = {}
        self.pending: tuple[str, Carried] | None = None  # (form, signature) of a part without text
        self.call: tuple[PartOpened, PartialCall] | None = None
        self.calls = False
        self.finish: str | None = None
        self.message: str | None = None
        self.cited: set[tuple[object, ...]] = set()
        self.searches = 0


class ChunkReader:
    """Messages in, events out. Never raises.

    ``native``: a failing finish reason behind delivered content is an ordinary end, for clients
    that know Google's words. ``whole``: the message is a whole reply, so citations may refer to any
    part of it, and a missing finish reason is not a truncation.
    """

    def __init__(self, *, native: bool = False, whole: bool = False) -> None:
        self._native = native
        self._whole = whole
        self._ids = MintedIds()
        self._started = False
        self._model = ""
        self._candidates: dict[int, _Candidate] = {}
        self._blocked: tuple[str, str | None] | None = None
        self._usage: events.UsageSeen | None = None
        self._meta: dict[str, Any] | None = None
        self._content = False
        self.failed = False

    def take(self, data: bytes) -> list[Event]:
        """The events of one message."""
        out: list[Event] = []
        if self.failed:
            return out
        message = object_of(data)
        if message is None:
            return [self.fail(f"The provider sent a message that is no JSON object: {_shown(data)}")]
        if "error" in message and value_of(message["error"]) is not None:
            self.failed = True
            return [Failed(error=decode_reported(data))]
        if not self._started:
            out.append(self._start(message, data))
        raws = list_of(message.get("candidates"))
        candidates = [found for raw in raws[:CHOICES_MAX] if (found := object_of(raw)) is not None]
        indexed = any("index" in candidate for candidate in candidates)  # 0 is left out where others are set
        broken: UpstreamError | None = None
        for position, candidate in enumerate(candidates):
            broken = self._candidate(candidate, 0 if indexed else position, out) or broken
        self._beside(message, out)
        self._count(value_of(message.get("usageMetadata")), out)
        if broken is not None:
            self.failed = True
            out.append(Failed(error=broken))
        return out

    def alike(self, event: bytes) -> Spot | None:
        """Where the text stands in an event that gave one piece of text: see :mod:`llm_router.wire.again`."""
        found = spot_in(event, b"text")
        if found is None:
            return None
        spot, _, message = found
        candidates = message.pop("candidates", None)
        candidate = candidates[0] if isinstance(candidates, list) and len(candidates) == 1 else None
        if not isinstance(candidate, dict) or not message.keys() <= _ALIKE:
            return None
        content, index = candidate.pop("content", None), candidate.pop("index", 0)
        parts = content.get("parts") if isinstance(content, dict) else None
        if candidate or parts not in ([{"text": MARK}], [{"text": MARK, "thought": True}]):
            return None
        state = self._candidates.get(index) if isinstance(index, int) else None
        return spot if state is not None and state.finish is None else None

    def took(self, piece: PartDelta, text: str) -> None:
        """More came of the text of a part."""
        texts = self._candidates[piece.choice].texts.get(piece.part)
        if texts is not None:
            texts.append(text)

    def end(self) -> list[Event]:
        """The stream closed cleanly: the finishes and the end, or the failure to reach it."""
        if self.failed:
            return []
        if not self._candidates and self._blocked is None:
            return [self.fail("The provider's reply holds no candidate.", self._cut())]
        if not self._whole and not self.finished:
            return [self.fail("The provider's stream ended before the answer was complete.", self._cut())]
        out: list[Event] = []
        for _, candidate in sorted(self._candidates.items()):
            self._flush(candidate, out)
        for index, candidate in sorted(self._candidates.items()):
            reason = finish_of(candidate.finish, calls=candidate.calls)
            native, message = candidate.finish, candidate.message
            out.append(events.Finished(choice=index, reason=reason, native=native, message=message))
        if not self._candidates and self._blocked is not None:
            native, message = self._blocked
            out.append(events.Finished(reason=events.Finish.CONTENT_FILTER, native=native, message=message))
        out.append(events.Ended())
        return out

    @property
    def finished(self) -> bool:
        """Whether nothing but usage may follow: all that began has ended."""
        done = all(candidate.finish is not None for candidate in self._candidates.values())
        return done and (bool(self._candidates) or self._blocked is not None)

    def fail(self, message: str, kind: UpstreamKind = UpstreamKind.MALFORMED) -> Failed:
        """Give up: nothing comes after this event."""
        self.failed = True
        return Failed(error=UpstreamError(message, kind=kind))

    def _cut(self) -> UpstreamKind:
        return UpstreamKind.MALFORMED if self._whole else UpstreamKind.TRUNCATED

    def _start(self, message: dict[str, Raw], data: bytes) -> events.Started:
        self._started = True
        id_ = text_of(message.get("responseId")) or ""
        self._model = text_of(message.get("modelVersion")) or ""
        self._ids.seed(id_.encode() or data)
        created = _seconds(text_of(message.get("createTime")))
        return events.Started(id=id_, model=self._model, created_s=created)

    def _beside(self, message: dict[str, Raw], out: list[Event]) -> None:
        """What stands beside the candidates."""
        feedback = value_of(message.get("promptFeedback"))
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            text = feedback.get("blockReasonMessage")
            self._blocked = str(feedback["blockReason"]), text if isinstance(text, str) else None
        for name, raw in message.items():
            if name not in _HEAD:
                out.append(events.OpaqueSeen(dialect=NAME, name=name, raw=raw))

    def _count(self, meta: object, out: list[Event]) -> None:
        if reports_usage(meta):
            assert isinstance(meta, dict)
            self._meta = meta
        if self._meta is None:
            return
        searches = sum(candidate.searches for candidate in self._candidates.values())
        seen = events.UsageSeen(usage=decode_usage(self._meta, searches))
        if seen != self._usage:
            self._usage = seen
            out.append(seen)

    def _candidate(self, raw: dict[str, Raw], position: int, out: list[Event]) -> UpstreamError | None:
        index = value_of(raw.get("index"))
        if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < CHOICES_MAX:
            index = position
        candidate = self._candidates.setdefault(index, _Candidate(index))
        content = object_of(raw.get("content")) or {}
        for number, part in enumerate(list_of(content.get("parts"))):
            self._part(candidate, part, number == 0 and not self._whole, out)
        self._ground(candidate, value_of(raw.get("groundingMetadata")), out)
        logprobs = decode_logprobs(value_of(raw.get("logprobsResult")))
        if logprobs is not None:
            out.append(events.LogProbs(choice=index, content=logprobs))
        for name, member in raw.items():
            if name not in _CANDIDATE and value_of(member) is not None:
                name = f"candidates[{index}].{name}"
                out.append(events.OpaqueSeen(dialect=NAME, name=name, raw=member))
        return self._finish(candidate, raw)

    def _finish(self, candidate: _Candidate, raw: dict[str, Raw]) -> UpstreamError | None:
        name = finish_name(value_of(raw.get("finishReason")))
        candidate.message = text_of(raw.get("finishMessage")) or candidate.message
        if name is None:
            return None
        candidate.finish = name
        if self._native and self._content:
            return None
        return failure_of(name, candidate.message)

    def _part(self, candidate: _Candidate, raw: Raw, may_continue: bool, out: list[Event]) -> None:
        part = object_of(raw)
        if part is None:
            return
        signed = unwrap(value_of(part.get("thoughtSignature")))
        thought = value_of(part.get("thought")) is True
        call = object_of(part.get("functionCall"))
        text = text_of(part.get("text"))
        kinds = [name for name, raw in part.items() if name not in _BESIDE and value_of(raw) is not None]
        if call is not None:
            self._call(candidate, call, signed, raw, out)
        elif text is not None or not kinds:
            self._text(candidate, "thinking" if thought else "text", text or "", signed, may_continue, out)
        elif "inlineData" in part and not thought and self._media(candidate, part, signed, out):
            pass
        else:  # server-side tools, drafts of images, and what is not known yet
            opened = self._open(candidate, out, form="opaque", name=kinds[0], raw=raw)
            self._close(candidate, opened, out)

    def _text(
        self, candidate: _Candidate, form: str, text: str, signed: Carried | None, may_continue: bool,
        out: list[Event],
    ) -> None:  # fmt: skip
        if not text:
            if signed is not None:
                self._flush_pending(candidate, out)
                candidate.pending = form, signed
            return
        opened = candidate.open
        if opened is None or opened.form != form or not may_continue or candidate.pending is not None:
            opened = self._open(candidate, out, signed, form=form)
        if form == "text":
            candidate.texts.setdefault(opened.part, []).append(text)
        self._content = True
        out.append(PartDelta(choice=candidate.index, part=opened.part, text=text))
        if signed is not None:
            self._close(candidate, opened, out, signed.signature)

    def _call(
        self, candidate: _Candidate, call: dict[str, Raw], signed: Carried | None, raw: Raw, out: list[Event]
    ) -> None:
        name, under_way = text_of(call.get("name")) or "", candidate.call
        if under_way is not None and name not in ("", under_way[1].name):
            self._close_call(candidate, out)
            under_way = None
        if under_way is None:
            if not name:
                if call:  # a call that nobody could answer
                    opened = self._open(candidate, out, form="opaque", name="functionCall", raw=raw)
                    self._close(candidate, opened, out)
                return
            opened = self._open(
                candidate, out, signed, form="tool_call", id=self._ids.take(text_of(call.get("id"))), name=name,
                signature=signed.signature if signed is not None else None,
            )  # fmt: skip
            candidate.calls = True
            if is_whole(call):
                arguments = arguments_of(call.get("args"))
                out.append(PartDelta(choice=candidate.index, part=opened.part, text=arguments))
                self._close(candidate, opened, out)
                return
            under_way = candidate.call = opened, PartialCall(name)
        elif signed is not None:
            under_way[1].signature = signed.signature
        under_way[1].add(call)
        if value_of(call.get("willContinue")) is not True:
            self._close_call(candidate, out)

    def _close_call(self, candidate: _Candidate, out: list[Event]) -> None:
        assert candidate.call is not None
        opened, call = candidate.call
        candidate.call = None
        out.append(PartDelta(choice=candidate.index, part=opened.part, text=call.arguments()))
        out.append(PartClosed(choice=candidate.index, part=opened.part, signature=call.signature))
        candidate.open = None

    def _media(
        self, candidate: _Candidate, part: dict[str, Raw], signed: Carried | None, out: list[Event]
    ) -> bool:
        blob = value_of(part["inlineData"])
        if not isinstance(blob, dict) or not isinstance(blob.get("data"), str):
            return False
        mime = blob.get("mimeType")
        opened = self._open(
            candidate, out, signed, form="media", data=blob["data"],
            media_type=mime if isinstance(mime, str) and mime else None,
        )  # fmt: skip
        self._close(candidate, opened, out, signed.signature if signed is not None else None)
        return True

    def _open(
        self, candidate: _Candidate, out: list[Event], signed: Carried | None = None, **fields: Any
    ) -> PartOpened:
        """Open the next part; whatever is open is closed first."""
        self._flush(candidate, out)
        if signed is not None and fields["form"] == "thinking":
            fields |= {"redacted": signed.redacted, "id": signed.id or ""}
        origin = signed.origin if signed is not None else NAME
        opened = PartOpened(choice=candidate.index, part=candidate.parts, dialect=origin, **fields)
        candidate.parts += 1
        candidate.open = opened
        if opened.form not in ("text", "thinking"):
            self._content = True
        out.append(opened)
        return opened

    def _close(
        self, candidate: _Candidate, opened: PartOpened, out: list[Event], signature: str | None = None
    ) -> None:
        out.append(PartClosed(choice=candidate.index, part=opened.part, signature=signature))
        candidate.open = None

    def _flush(self, candidate: _Candidate, out: list[Event]) -> None:
        """Close what is open, then say the part that is only a signature."""
        if candidate.call is not None:
            self._close_call(candidate, out)
        if candidate.open is not None:
            self._close(candidate, candidate.open, out)
        self._flush_pending(candidate, out)

    def _flush_pending(self, candidate: _Candidate, out: list[Event]) -> None:
        if candidate.pending is None:
            return
        form, signed = candidate.pending
        candidate.pending = None
        opened = self._open(candidate, out, signed, form=form)
        self._close(candidate, opened, out, signed.signature)

    def _ground(self, candidate: _Candidate, meta: object, out: list[Event]) -> None:
        if not isinstance(meta, dict):
            return
        candidate.searches = max(candidate.searches, searches_of(meta, self._model))
        spoken = [Spoken(part, "".join(texts)) for part, texts in candidate.texts.items()]
        for part, citation in citations_of(meta, spoken):
            mark = part, citation.url, citation.start, citation.end
            open_part = candidate.open.part if candidate.open is not None else None
            if mark not in candidate.cited and (self._whole or part == open_part):
                candidate.cited.add(mark)
                out.append(PartDelta(choice=candidate.index, part=part, citation=citation))


def _seconds(text: str | None) -> int:
    """Unix seconds of an RFC 3339 time; 0 if it is none."""
    try:
        return int(datetime.fromisoformat(_FRACTION.sub("", text or "")).timestamp())
    except (ValueError, OverflowError):
        return 0


def _shown(data: bytes) -> str:
    """The beginning of what came, for an error message."""
    return scrub(data[:200].decode("utf-8", "replace"))
