"""Tools for the tests of the chat dialect: streams from chunks, relays run to their end."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from llm_router.wire.dialect import Bill, Relay, ReplyContext
from llm_router.wire.dialects.openai_chat import DIALECT
from llm_router.wire.mintedids import MINTED
from llm_router.wire.relay import BridgeRelay

CORPUS = Path(__file__).parents[1] / "corpus" / "openai_chat"
CONTEXT = ReplyContext(reply_id="chatcmpl-ours", model="our-model", created_s=1_700_000_000)


def corpus(name: str) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((CORPUS / f"{name}.json").read_text())
    return cases


def sse(chunks: Iterable[Any], *, comments: bool = False) -> bytes:
    """A stream of chunks: objects, raw data lines, or {"event", "data"}."""
    out = b""
    for chunk in chunks:
        if comments:
            out += b": PROCESSING\n\n"
        if isinstance(chunk, dict) and "event" in chunk:
            out += f"event: {chunk['event']}\n".encode()
            chunk = chunk["data"]
        text = chunk if isinstance(chunk, str) else json.dumps(chunk, ensure_ascii=False)
        out += b"data: " + text.encode() + b"\n\n"
    return out


def pass_relay(**changes: Any) -> Relay:
    return DIALECT.pass_relay(_context(changes))


def bridge(**changes: Any) -> Relay:
    return BridgeRelay(DIALECT.stream_decoder(), DIALECT.stream_encoder(_context(changes)))


def _context(changes: dict[str, Any]) -> ReplyContext:
    base: dict[str, Any] = {"reply_id": "chatcmpl-ours", "model": "our-model", "created_s": 1_700_000_000}
    return ReplyContext(**(base | changes))


def run(relay: Relay, pieces: Iterable[bytes]) -> bytes:
    """Feed a relay to its end, as the engine does; return all that the client gets."""
    out = b""
    for piece in pieces:
        out += relay.feed(piece)
        if relay.observed.ended or relay.observed.error:
            break
    else:
        out += relay.close()
    seen = relay.observed
    if seen.error is not None:
        return out + relay.fail(seen.error, "gen-1")
    assert seen.ended
    return out + relay.finish(Bill(usage=seen.usage, cost_pusd=1_500_000, credits_remaining_pusd=2 * 10**12))


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def known_id(id_: str) -> str:
    """A call's id; of one that was made here, only the number that it has in its reply."""
    return "MINTED_" + id_.rpartition("_")[2] if id_.startswith(MINTED) else id_
