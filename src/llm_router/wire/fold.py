"""Events to a reply and back. ``fold(unfold(reply)) == reply`` for every reply with indexed parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from llm_router.wire import chat, events


class _Open:
    """A part under construction."""

    __slots__ = ("citations", "opened", "signature", "text")

    def __init__(self, opened: events.PartOpened) -> None:
        self.opened = opened
        self.text: list[str] = []
        self.citations: list[chat.Citation] = []
        self.signature = opened.signature

    def part(self) -> chat.Part:
        o, text, origin = self.opened, "".join(self.text), self.opened.dialect
        match o.form:
            case "text":
                return chat.Text(
                    text=text, citations=tuple(self.citations), signature=self.signature, origin=origin
                )
            case "thinking":
                return chat.Thinking(
                    text=text, signature=self.signature, redacted=o.redacted, id=o.id or None, origin=origin
                )
            case "tool_call":
                return chat.ToolCall(
                    id=o.id, name=o.name, arguments=text, custom=o.custom,
                    signature=self.signature, origin=origin,
                )  # fmt: skip
            case "refusal":
                return chat.Refusal(text=text)
            case "media":
                form = (o.media_type or "image/").split("/", 1)[0]
                return chat.Media(
                    form=form if form in ("image", "audio", "video") else "file",  # type: ignore[arg-type]
                    data=o.data, media_type=o.media_type, signature=self.signature, origin=origin,
                )  # fmt: skip
            case "opaque":
                return chat.Opaque(dialect=o.dialect or "", name=o.name, raw=o.raw or chat.Raw(b"null"))


class _OpenChoice:
    __slots__ = ("finished", "logprobs", "parts")

    def __init__(self) -> None:
        self.parts: dict[int, _Open] = {}
        self.finished: events.Finished | None = None
        self.logprobs: list[object] = []


class Folder:
    """Fold events into a :class:`~events.Reply` one by one. ``error`` is set by a Failed event."""

    def __init__(self) -> None:
        self.started = events.Started()
        self.choices: dict[int, _OpenChoice] = {}
        self.usage: events.UsageSeen | None = None
        self.opaque: list[events.OpaqueSeen] = []
        self.error: events.Failed | None = None
        self.ended = False

    def add(self, event: events.Event) -> None:
        match event:
            case events.PartDelta():
                part = self._choice(event.choice).parts[event.part]
                if event.text:
                    part.text.append(event.text)
                if event.citation is not None:
                    part.citations.append(event.citation)
            case events.PartOpened():
                self._choice(event.choice).parts[event.part] = _Open(event)
            case events.PartClosed():
                if event.signature is not None:
                    self._choice(event.choice).parts[event.part].signature = event.signature
            case events.LogProbs():
                self._choice(event.choice).logprobs.extend(msgspec.json.decode(event.content))
            case events.UsageSeen():
                self.usage = event
            case events.Finished():
                self._choice(event.choice).finished = event
            case events.Started():
                self.started = event
            case events.OpaqueSeen():
                self.opaque.append(event)
            case events.Failed():
                self.error = event
            case events.Ended():
                self.ended = True

    def reply(self) -> events.Reply:
        """The reply so far."""
        return events.Reply(
            id=self.started.id,
            model=self.started.model,
            created_s=self.started.created_s,
            extras=self.started.extras,
            choices=tuple(_choice(i, c) for i, c in sorted(self.choices.items())),
            usage=self.usage.usage if self.usage else None,
            opaque=tuple(self.opaque),
            flags=("usage_invalid",) if self.usage and self.usage.usage is None else (),
        )

    def _choice(self, index: int) -> _OpenChoice:
        return self.choices.setdefault(index, _OpenChoice())


def _choice(index: int, open_: _OpenChoice) -> events.Choice:
    done = open_.finished
    return events.Choice(
        index=index,
        parts=tuple(p.part() for _, p in sorted(open_.parts.items())),
        finish=done.reason if done else events.Finish.STOP,
        native_finish=done.native if done else None,
        stop_sequence=done.stop_sequence if done else None,
        finish_message=done.message if done else None,
        logprobs=chat.Raw(msgspec.json.encode(open_.logprobs)) if open_.logprobs else None,
    )


def fold(stream: Iterable[events.Event]) -> events.Reply:
    """The reply that the events tell.

    Raises:
        UpstreamError: the stream failed.
    """
    folder = Folder()
    for event in stream:
        folder.add(event)
    if folder.error is not None:
        raise folder.error.error
    return folder.reply()


def unfold(reply: events.Reply) -> Iterator[events.Event]:
    """The events that tell the reply, one delta a part."""
    yield events.Started(id=reply.id, model=reply.model, created_s=reply.created_s, extras=reply.extras)
    yield from reply.opaque
    for choice in reply.choices:
        for number, part in enumerate(choice.parts):
            yield from _unfold_part(choice.index, number, part)
        if choice.logprobs is not None:
            yield events.LogProbs(choice=choice.index, content=choice.logprobs)
    for choice in reply.choices:
        yield events.Finished(
            choice=choice.index,
            reason=choice.finish,
            native=choice.native_finish,
            stop_sequence=choice.stop_sequence,
            message=choice.finish_message,
        )
    if reply.usage is not None or "usage_invalid" in reply.flags:
        yield events.UsageSeen(usage=reply.usage)
    yield events.Ended()


def _unfold_part(choice: int, number: int, part: chat.Part) -> Iterator[events.Event]:
    text: str = ""
    signature: str | None = None
    citations: tuple[chat.Citation, ...] = ()
    match part:
        case chat.Text():
            opened = events.PartOpened(choice=choice, part=number, form="text", dialect=part.origin)
            text, signature, citations = part.text, part.signature, part.citations
        case chat.Thinking():
            opened = events.PartOpened(
                choice=choice, part=number, form="thinking", redacted=part.redacted,
                id=part.id or "", dialect=part.origin,
            )  # fmt: skip
            text, signature = part.text, part.signature
        case chat.ToolCall():
            opened = events.PartOpened(
                choice=choice, part=number, form="tool_call", id=part.id, name=part.name,
                custom=part.custom, dialect=part.origin,
            )  # fmt: skip
            text, signature = part.arguments, part.signature
        case chat.Refusal():
            opened, text = events.PartOpened(choice=choice, part=number, form="refusal"), part.text
        case chat.Media():
            opened = events.PartOpened(
                choice=choice, part=number, form="media", media_type=part.media_type,
                data=part.data, dialect=part.origin,
            )  # fmt: skip
            signature = part.signature
        case chat.Opaque():
            opened = events.PartOpened(
                choice=choice, part=number, form="opaque", dialect=part.dialect, name=part.name, raw=part.raw
            )
        case chat.ToolResult():  # a reply never holds one
            return
    yield opened
    if text:
        yield events.PartDelta(choice=choice, part=number, text=text)
    for citation in citations:
        yield events.PartDelta(choice=choice, part=number, citation=citation)
    yield events.PartClosed(choice=choice, part=number, signature=signature)
