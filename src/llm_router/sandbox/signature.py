"""Signatures of simulated reasoning, as Anthropic and Gemini attach them, and their check.

A signature proves itself: salt, then a keyed digest of salt and content. It is no secret and guards
nothing; it shows whether a client or a gateway brought it back unchanged.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

from llm_router.wire.chat import ChatRequest, Message, Opaque, Part, Text, Thinking, ToolCall, ToolResult

_KEY = b"simulated reasoning"
_SALT_BYTES = 12
_MAC_BYTES = 24


class Objection(ValueError):
    """The provider would refuse the request. ``path`` says where in it, ``why`` what is wrong."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(why)
        self.path = path
        self.why = why


def mint(content: str, salt: bytes) -> str:
    """The signature of some content: base64, the same for the same salt."""
    salt = hashlib.sha256(salt).digest()[:_SALT_BYTES]
    return base64.b64encode(salt + _mac(salt, content)).decode()


def genuine(signature: str, content: str) -> bool:
    """Whether ``mint`` made that signature for that content. Both alphabets of base64 are taken."""
    try:
        raw = base64.b64decode(signature.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return False
    salt, mac = raw[:_SALT_BYTES], raw[_SALT_BYTES:]
    return hmac.compare_digest(mac, _mac(salt, content))


def check_thinking(request: ChatRequest) -> None:
    """Check the thinking blocks of earlier turns, the way Anthropic does.

    While thinking is enabled with a budget, the turn that a tool result answers must begin with its
    thinking (https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking).

    Raises:
        Objection: a block was changed, or is missing where it must stand.
    """
    for index, message in enumerate(request.messages):
        for number, part in enumerate(message.parts):
            path = f"messages.{index}.content.{number}"
            if _foreign(part, request.dialect):
                raise Objection(path, "Invalid `signature` in `thinking` block: it was not issued here")
            if not isinstance(part, Thinking):
                continue
            if part.redacted is not None:
                if not genuine(part.redacted, "redacted"):
                    raise Objection(path, "Invalid `data` in `redacted_thinking` block")
            elif part.signature is None or not genuine(part.signature, part.text):
                raise Objection(path, "Invalid `signature` in `thinking` block")
    thinks = request.reasoning
    if thinks is None or thinks.enabled is not True or thinks.adaptive:
        return
    for index, message in _open_turn(request.messages):
        if message.role == "assistant" and any(isinstance(p, ToolCall) for p in message.parts):
            if not isinstance(message.parts[0], Thinking):
                raise Objection(
                    f"messages.{index}.content.0",
                    "Expected `thinking` or `redacted_thinking`, but found another block: an assistant turn "
                    "with tool calls must begin with its thinking block while thinking is enabled",
                )
            return


_SIGNERS = re.compile(r"gemini-([3-9]|[1-9][0-9])", re.IGNORECASE)


def signs_calls(model: str) -> bool:
    """Whether a model signs its function calls however little it thinks, and wants the signatures back
    (Gemini 3, https://ai.google.dev/gemini-api/docs/thought-signatures)."""
    return _SIGNERS.search(model) is not None


def check_thoughts(request: ChatRequest, *, required: bool) -> None:
    """Check the thought signatures of earlier turns, the way Gemini does.

    Args:
        required: each step of the current turn must bring the signature of its first call back
            (Gemini 3, https://ai.google.dev/gemini-api/docs/thought-signatures).

    Raises:
        Objection: a signature was changed, or is missing where it is required.
    """
    for index, message in enumerate(request.messages):
        for number, part in enumerate(message.parts):
            signature = part.signature if isinstance(part, Text | Thinking | ToolCall) else None
            if signature is None:
                continue
            if _foreign(part, request.dialect) or not genuine(signature, "gemini"):
                raise Objection(f"contents[{index}].parts[{number}]", "Thought signature is not valid")
    if not required:
        return
    for index, message in _open_turn(request.messages):
        calls = [p for p in message.parts if isinstance(p, ToolCall)]
        if message.role == "assistant" and calls and calls[0].signature is None:
            raise Objection(
                f"contents[{index}].parts",
                f"Function call is missing a thought_signature in functionCall parts: {calls[0].name}",
            )


def _open_turn(messages: tuple[Message, ...]) -> list[tuple[int, Message]]:
    """The messages behind the last one that the user wrote himself, if tool results end the conversation."""
    if not messages or not any(isinstance(p, ToolResult) for p in messages[-1].parts):
        return []
    found: list[tuple[int, Message]] = []
    for index in range(len(messages) - 1, -1, -1):
        message = messages[index]
        written = any(not isinstance(p, ToolResult | Opaque) for p in message.parts)
        if message.role == "user" and written:
            break
        found.append((index, message))
    return found[::-1]


def _foreign(part: Part, dialect: str) -> bool:
    """Whether the part carries opaque state of another provider, which the real one could not read."""
    if not isinstance(part, Text | Thinking | ToolCall) or part.origin in (None, dialect):
        return False
    return part.signature is not None or (isinstance(part, Thinking) and part.redacted is not None)


def _mac(salt: bytes, content: str) -> bytes:
    return hmac.digest(_KEY, salt + content.encode(), "sha256")[:_MAC_BYTES]
