"""The recordings, where they lie beside the project, as bytes of the wire."""

from __future__ import annotations

import base64
import binascii
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[3] / "shared" / "recordings"
DIALECTS = {
    "chat_completions": "openai_chat",
    "messages": "anthropic_messages",
    "generate_content": "gemini_generate",
    "stream_generate_content": "gemini_generate",
    "responses": "openai_responses",
    "converse": "bedrock_converse",
    "converse_stream": "bedrock_converse",
    "chat_v2": "cohere_chat",
    "ollama_chat": "ollama_chat",
}
"""The recorded APIs that a chat can be had of, and who reads them."""


@dataclass(frozen=True)
class Recording:
    """One exchange. ``data``: the body as the provider sent it; ``stream``: whether in pieces."""

    id: str
    provider: str
    api: str
    status: int
    headers: dict[str, str]
    data: bytes
    stream: bool
    raw: dict[str, Any]

    @property
    def dialect(self) -> str:
        return DIALECTS[self.api]


def load(*sets: str, folder: Path = FOLDER) -> list[Recording]:
    """The recordings of chats in the named sets ("dev", "reported"), in the order of their index."""
    found = []
    for name in sets:
        index = folder / name / "index.json"
        rows = json.loads(index.read_text()) if index.exists() else []
        files = [folder / name / row["file"] for row in rows if row["api"] in DIALECTS]
        found += [recording_of(json.loads(file.read_text())) for file in files]
    return found


def recording_of(raw: dict[str, Any]) -> Recording:
    response = raw["response"]
    data, stream = _data(response)
    return Recording(
        id=raw["id"],
        provider=raw["provider"],
        api=raw["api"],
        status=response["status"],
        headers={name.lower(): value for name, value in (response.get("headers") or {}).items()},
        data=data,
        stream=stream and response["status"] < 400,
        raw=raw,
    )


def _data(response: dict[str, Any]) -> tuple[bytes, bool]:
    if response.get("sse") is not None:
        return response["sse"].encode(), True
    if response.get("eventstream_b64") is not None:
        return base64.b64decode(response["eventstream_b64"]), True
    if response.get("events") is not None:
        return b"".join(aws_frame(event) for event in response["events"]), True
    if response.get("text") is not None:
        return response["text"].encode(), response["status"] < 400
    if response.get("body") is None:
        return b"", False
    return json.dumps(response["body"]).encode(), False


def aws_frame(event: dict[str, Any]) -> bytes:
    """One event as AWS frames it: lengths, headers and check sums."""
    ((kind, body),) = event.items()
    headers = b""
    for name, value in (
        (":event-type", kind),
        (":content-type", "application/json"),
        (":message-type", "event"),
    ):
        headers += (
            bytes([len(name)]) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        )
    payload = json.dumps(body).encode()
    head = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    head += struct.pack(">I", binascii.crc32(head))
    frame = head + headers + payload
    return frame + struct.pack(">I", binascii.crc32(frame))


def aws_events(data: bytes) -> list[dict[str, Any]]:
    """The events in AWS frames, naively."""
    events = []
    while data:
        total, size = struct.unpack(">II", data[:8])
        headers, kind, at = data[12 : 12 + size], "", 0
        while at < len(headers):
            name = headers[at + 1 : at + 1 + headers[at]].decode()
            at += 1 + headers[at]
            (length,) = struct.unpack(">H", headers[at + 1 : at + 3])
            value = headers[at + 3 : at + 3 + length].decode()
            at += 3 + length
            kind = value if name in (":event-type", ":exception-type") else kind
        events.append({kind: json.loads(data[12 + size : total - 4])})
        data = data[total:]
    return events
