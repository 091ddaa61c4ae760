"""A reply told in small events, the way a provider streams it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest

import msgspec

from llm_router.sandbox import tokens
from llm_router.wire import events
from llm_router.wire.chat import Raw
from llm_router.wire.fold import unfold

SLICE_TOKENS = 3


def small_events(reply: events.Reply) -> Iterator[events.Event]:
    """The events of a reply, a word each; several choices take turns."""
    head: list[events.Event] = []
    tail: list[events.Event] = []
    choices: dict[int, list[events.Event]] = {}
    for event in unfold(reply):
        if isinstance(event, events.Started | events.OpaqueSeen):
            head.append(event)
        elif isinstance(event, events.UsageSeen | events.Ended | events.Failed):
            tail.append(event)
        else:
            choices.setdefault(event.choice, []).append(event)
    yield from head
    told = [list(_words(batch)) for batch in choices.values()]
    for turn in zip_longest(*told):
        yield from (event for event in turn if event is not None)
    yield from tail


def _words(batch: list[events.Event]) -> Iterator[events.Event]:
    """One choice's events with its text cut into words and its logprobs beside them."""
    probs = [p for e in batch if isinstance(e, events.LogProbs) for p in msgspec.json.decode(e.content)]
    forms = {e.part: e.form for e in batch if isinstance(e, events.PartOpened)}
    for event in batch:
        if isinstance(event, events.LogProbs):
            continue
        if not isinstance(event, events.PartDelta) or not event.text:
            yield event
            continue
        form = forms[event.part]
        cut = _slices(event.text) if form == "tool_call" else tokens.words(event.text)
        for word in cut:
            yield msgspec.structs.replace(event, text=word)
            if probs and form == "text":
                count = len(tokens.pieces(word))
                yield events.LogProbs(choice=event.choice, content=Raw(msgspec.json.encode(probs[:count])))
                probs = probs[count:]


def _slices(text: str) -> list[str]:
    """Arguments in pieces of a few tokens, which heed no word of theirs."""
    parts = tokens.pieces(text)
    return ["".join(parts[at : at + SLICE_TOKENS]) for at in range(0, len(parts), SLICE_TOKENS)]
