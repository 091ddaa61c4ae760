"""A client of Google's generateContent that reads strictly: whatever is not as documented is a fault."""

from __future__ import annotations

import base64
import json
from typing import Any

from strict_client import Read

FINISHES = {
    "STOP": "stop", "MAX_TOKENS": "length", "SAFETY": "content_filter", "RECITATION": "content_filter",
    "LANGUAGE": "content_filter", "BLOCKLIST": "content_filter", "PROHIBITED_CONTENT": "content_filter",
    "SPII": "content_filter", "IMAGE_SAFETY": "content_filter", "MODEL_ARMOR": "content_filter",
}  # fmt: skip
STATUS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
BESIDE = {"thought", "thoughtSignature", "partMetadata", "videoMetadata", "mediaResolution"}


def read_error(status: int, body: bytes) -> Read:
    read = Read(status=status)
    try:
        _error(read, json.loads(body))
    except (ValueError, KeyError, TypeError) as error:
        read.faults.append(f"no error envelope: {error!r} {body[:200]!r}")
        return read
    if read.error and read.error["code"] != status:
        read.faults.append(f"error.code {read.error['code']!r} with status {status}")
    return read


def _error(read: Read, body: dict[str, Any]) -> None:
    read.error = body["error"]
    if not isinstance(read.error["code"], int) or not 400 <= read.error["code"] <= 599:
        read.faults.append(f"error.code {read.error['code']!r}")
    if not isinstance(read.error["message"], str) or not read.error["message"]:
        read.faults.append("error without a message")
    wanted = STATUS.get(read.error["code"])
    if not isinstance(read.error["status"], str) or wanted not in (None, read.error["status"]):
        read.faults.append(f"error.status {read.error['status']!r} with code {read.error['code']}")
    if not all("@type" in detail for detail in read.error.get("details") or []):
        read.faults.append("an error detail without @type")


class _Answer:
    """Puts the messages of a reply together as the official client does."""

    def __init__(self, read: Read, native: bool) -> None:
        self.read, self.native = read, native
        self.head: tuple[Any, Any] | None = None
        self.growing: dict[int, dict[str, Any]] = {}
        self.usage: dict[str, Any] = {}
        self.blocked = False

    def take(self, message: dict[str, Any]) -> None:
        fault = self.read.faults.append
        if self.read.error is not None:
            fault("a message after an error")
        if message.get("error"):
            _error(self.read, message)
            return
        head = (message.get("modelVersion"), message.get("responseId"))
        if not self.native:
            if not all(isinstance(name, str) and name for name in head):
                fault(f"modelVersion and responseId are {head!r}")
            if self.head is not None and head != self.head:
                fault(f"the head changes from {self.head!r} to {head!r}")
        self.head = self.head or head
        self.usage = message.get("usageMetadata") or self.usage
        if (message.get("promptFeedback") or {}).get("blockReason"):
            self.blocked = True
        for candidate in message.get("candidates") or []:
            self.candidate(candidate)

    def candidate(self, candidate: dict[str, Any]) -> None:
        index, fault = candidate.get("index", 0), self.read.faults.append
        seen = self.read.choices.setdefault(
            index, {"text": "", "reasoning": "", "refusal": None, "calls": [], "finish": None}
        )
        content = candidate.get("content") or {}
        if content.get("parts") and content.get("role") != "model" and not self.native:
            fault(f"content of role {content.get('role')!r}")
        if content.get("parts") and seen["finish"] is not None and not self.native:
            fault("content after the finish")
        for part in content.get("parts") or []:
            self.part(index, seen, part)
        for chunk in (candidate.get("groundingMetadata") or {}).get("groundingChunks") or []:
            if "web" in chunk:
                self.read.citations.add(chunk["web"].get("uri", ""))
        for support in (candidate.get("groundingMetadata") or {}).get("groundingSupports") or []:
            segment = support.get("segment") or {}
            if not segment.get("endIndex", 0) >= segment.get("startIndex", 0) >= 0:
                fault(f"segment {segment!r}")
        chosen = (candidate.get("logprobsResult") or {}).get("chosenCandidates") or []
        self.read.tokens += [entry["token"] for entry in chosen]
        reason = candidate.get("finishReason")
        if reason is None:
            return
        if seen["finish"] is not None and not self.native:
            fault("finishReason twice")
        if not isinstance(reason, str):
            fault(f"finishReason is {reason!r}")
        seen["native"] = reason
        seen["finish"] = FINISHES.get(reason)
        if seen["finish"] is None and not self.native:
            fault(f"finishReason {reason!r}")

    def part(self, index: int, seen: dict[str, Any], part: dict[str, Any]) -> None:
        kinds = [name for name in part if name not in BESIDE]
        if len(kinds) > 1 or (not kinds and not self.native):
            self.read.faults.append(f"a part of {kinds}")
        signature = part.get("thoughtSignature")
        if signature is not None:
            try:
                base64.b64decode(
                    signature + "=" * (-len(signature) % 4),
                    altchars=b"-_" if "-" in signature or "_" in signature else None,
                    validate=True,
                )
            except ValueError:
                self.read.faults.append("thoughtSignature is not base64")
        if "text" in part:
            if not isinstance(part["text"], str):
                self.read.faults.append(f"text {part['text']!r}")
            seen["reasoning" if part.get("thought") else "text"] += part["text"]
        elif "functionCall" in part:
            self.call(index, seen, part["functionCall"])
        elif "inlineData" in part and not part.get("thought"):
            if not isinstance(part["inlineData"].get("mimeType"), str):
                self.read.faults.append("inlineData without mimeType")
            self.read.images.append(part["inlineData"]["data"])

    def call(self, index: int, seen: dict[str, Any], call: dict[str, Any]) -> None:
        if not self.native:
            if not isinstance(call.get("name"), str) or not call["name"]:
                self.read.faults.append(f"call name {call.get('name')!r}")
            if not isinstance(call.get("args"), dict):
                self.read.faults.append(f"args {call.get('args')!r}")
            if not isinstance(call.get("id"), str) or not call["id"]:
                self.read.faults.append(f"call id {call.get('id')!r}")
        if call.get("name"):
            self.growing[index] = dict(call.get("args") or {})
            seen["calls"].append(
                (call["name"], self.growing[index], call.get("id") or f"#{len(seen['calls'])}")
            )
        for piece in call.get("partialArgs") or []:
            values = [value for name, value in piece.items() if name.endswith("Value")]
            target, name = self.growing[index], piece["jsonPath"].removeprefix("$.")
            if values and isinstance(values[0], str) and isinstance(target.get(name), str):
                target[name] += values[0]
            elif values:
                target[name] = values[0]

    def end(self) -> None:
        if self.read.error is not None:
            return
        if not self.read.choices:
            if self.blocked:
                self.read.choices[0] = {
                    "text": "",
                    "reasoning": "",
                    "refusal": None,
                    "calls": [],
                    "finish": "content_filter",
                }
            else:
                self.read.faults.append("no candidate")
        for index, seen in self.read.choices.items():
            if seen["finish"] is None and "native" not in seen:
                self.read.faults.append(f"candidate {index} has no finish")
            if seen["finish"] == "stop" and seen["calls"]:
                seen["finish"] = "tool_calls"  # Google says STOP then
        self.count()

    def count(self) -> None:
        usage = self.usage
        for name in ("cost", "creditsRemaining"):
            if not isinstance(usage.get(name), int | float):
                self.read.faults.append(f"usageMetadata.{name} is {usage.get(name)!r}")
        if usage.get("promptTokenCount") is None:
            self.read.faults.append("usageMetadata without promptTokenCount")
            return
        counts = {
            name: usage.get(name, 0)
            for name in ("promptTokenCount", "candidatesTokenCount", "thoughtsTokenCount", "toolUsePromptTokenCount",
                         "cachedContentTokenCount", "totalTokenCount")
        }  # fmt: skip
        if not all(isinstance(count, int) and count >= 0 for count in counts.values()):
            self.read.faults.append(f"usageMetadata {counts}")
            return
        prompt = counts["promptTokenCount"] + counts["toolUsePromptTokenCount"]
        output = counts["candidatesTokenCount"] + counts["thoughtsTokenCount"]
        if not self.native and counts["totalTokenCount"] != prompt + output:
            self.read.faults.append("totalTokenCount is not the sum")
        self.read.usage = usage
        self.read.counts = (prompt, output, counts["cachedContentTokenCount"])


def read_whole(body: bytes, *, native: bool = False) -> Read:
    read = Read()
    answer = _Answer(read, native)
    answer.take(json.loads(body))
    answer.end()
    return read


def read_stream(body: bytes, *, native: bool = False) -> Read:
    """Read a stream in either of its two forms."""
    read = Read()
    answer = _Answer(read, native)
    if body.lstrip()[:1] == b"[":
        for message in json.loads(body):
            answer.take(message)
    else:
        for block in body.replace(b"\r\n", b"\n").split(b"\n\n"):
            lines = [line for line in block.split(b"\n") if line]
            if not lines:
                continue
            if len(lines) != 1 or not lines[0].startswith(b"data: "):
                read.faults.append(f"not one data line: {block[:100]!r}")
                continue
            answer.take(json.loads(lines[0][6:]))
    answer.end()
    return read
