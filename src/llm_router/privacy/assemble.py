"""A streamed answer as the whole one that it told, in the client's own dialect."""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.errors import RouterError
from llm_router.wire.dialect import Bill, Dialect, ReplyContext, Spoken
from llm_router.wire.fold import Folder
from llm_router.wire.lenient import mapping

_USAGES = ("usage", "usageMetadata")
_BALANCES = ("credits_remaining", "creditsRemaining")


def assembled(
    front: Spoken, sent: bytes, context: ReplyContext, bill: Bill, *, json_array: bool = False
) -> tuple[bytes, bool]:
    """The whole answer, and whether its end was told. What a balance was is no part of it.

    ``sent``: what the client was sent; ``json_array``: as one array in place of events.
    """
    if not isinstance(front, Dialect):
        return _completion(sent)
    folder = Folder()
    decoder = front.stream_decoder()
    try:
        for event in [*decoder.feed(_as_events(sent) if json_array else sent), *decoder.close()]:
            folder.add(event)
        whole, _ = front.encode_reply(folder.reply(), context, bill)
        return _without_balance(whole), folder.error is None and folder.ended
    except (RouterError, KeyError, ValueError):  # it was cut where it cannot be understood: kept as it was
        return sent, False


def _as_events(sent: bytes) -> bytes:
    """An array of chunks as the events that they would have been; one that was cut, as far as it goes."""
    text = sent.rstrip().rstrip(b",")
    for end in (b"", b"]"):
        try:
            chunks = msgspec.json.decode(text + end, type=list[msgspec.Raw])
            return b"".join(b"data: " + bytes(chunk) + b"\n\n" for chunk in chunks)
        except (msgspec.DecodeError, RecursionError):
            continue
    return b""


def _without_balance(body: bytes) -> bytes:
    value = msgspec.json.decode(body)
    if isinstance(value, dict):
        for name in _USAGES:
            for balance in _BALANCES:
                mapping(value.get(name)).pop(balance, None)
    return msgspec.json.encode(value)


def _completion(sent: bytes) -> tuple[bytes, bool]:
    """Of an API that streams pieces of ``text``: they have the form of the whole answer."""
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = {}
    ended = False
    for line in sent.split(b"\n"):
        if not line.startswith(b"data:"):
            continue
        data = line[5:].strip()
        if data == b"[DONE]":
            ended = True
            continue
        try:
            chunk = mapping(msgspec.json.decode(data))
        except (msgspec.DecodeError, RecursionError):
            continue
        for piece in chunk.pop("choices", None) or ():
            _add(choices, mapping(piece))
        whole |= chunk
    mapping(whole.get("usage")).pop(_BALANCES[0], None)
    body = {**whole, "choices": [choice for _, choice in sorted(choices.items())]}
    return msgspec.json.encode(body), ended and "error" not in whole


def _add(choices: dict[int, dict[str, Any]], piece: dict[str, Any]) -> None:
    choice = choices.setdefault(int(piece.get("index") or 0), {"text": ""})
    text = choice["text"] + str(piece.get("text") or "")
    choice |= {name: value for name, value in piece.items() if value is not None or name not in choice}
    choice["text"] = text
