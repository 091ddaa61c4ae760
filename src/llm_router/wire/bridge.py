"""A request on its way from one dialect to another: what cannot cross is refused or declared here, once for
all pairs of dialects.

* Content of a kind that only the client's dialect knows is refused: a model that does not see it would
  answer something else.
* Members beside content, and state that another maker's model gave, are declared losses.
* Losses are told in the words of the client's own API.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llm_router.domain.errors import UnsupportedContent
from llm_router.wire.chat import ChatRequest, Opaque, Part, Text, ToolCall, ToolResult
from llm_router.wire.dialect import Behind, Target
from llm_router.wire.loss import Loss, Losses
from llm_router.wire.verbatim import members

_TELL_CITATIONS = (
    "anthropic_messages", "bedrock_converse", "cohere_chat", "gemini_generate", "ollama_chat",
)  # fmt: skip
"""Dialects whose encoders declare the citations that they cannot send back."""

_TELL_SIGNATURES = ("gemini_generate",)
"""Dialects whose encoders declare the signatures that they cannot send back."""

_TELL_BESIDE = ("anthropic_messages", "openai_responses")
"""Dialects whose decoders tell what they keep of themselves in signatures (``ChatRequest.beside``)."""

_HOLDERS = ("generationConfig", "toolConfig", "output_config")
"""Extras that hold several members, each of which is lost."""

_SIGNED = "messages[].content[].signature"
_GEMINI = "gemini_generate"
_CHAT = "openai_chat"
_RESPONSES = "openai_responses"


def crossed(
    request: ChatRequest, behind: Behind[Any, Any], target: Target, words: Mapping[str, str]
) -> tuple[bytes, tuple[Loss, ...]]:
    """The upstream body, and what was lost in it, in the client's words.

    Raises:
        UnsupportedContent: the other dialect has no form for some content.
        InvalidRequest: two different tools of one name.
    """
    found = Losses()
    if request.dialect != behind.name:
        if request.unread:
            raise _refused(*request.unread[0])
        found.found += request.beside
    body, lost = behind.encode_request(request, target)
    lost = tuple(loss for loss in lost if loss.field != _SIGNED or request.dialect not in _TELL_BESIDE)
    opaque = _opaque(request)
    for loss in (*lost, *_state(request, behind.name, target)):
        for field in _parted(opaque.get(loss.field, loss.field), request):
            found.add(told(field, words), loss.why)
    return body, tuple(found.found)


def _parted(field: str, request: ChatRequest) -> tuple[str, ...]:
    """The members of an extra that holds several; else the field itself."""
    held = members(request.extras.get(field)) if field in _HOLDERS else None
    return tuple(f"{field}.{name}" for name in held) if held else (field,)


def told(field: str, words: Mapping[str, str]) -> str:
    """The path of a canonical field in the client's own API: by its longest beginning that has a word."""
    if field.startswith("messages."):
        field = "messages[]." + field.removeprefix("messages.")
    if field.startswith("tools."):
        field = f"tools[{field.removeprefix('tools.')}]"
    at = field
    while at:
        if at in words:
            return words[at] + field[len(at) :]
        cut = max(at.rfind("."), at.rfind("["))
        at = at[: max(cut, 0)]
    return field


def _refused(path: str, kind: str) -> UnsupportedContent:
    return UnsupportedContent(
        f"{path} is of the kind {kind!r}, which no provider of this model can be given: send text, an image, "
        "audio or a file in a form of this API, or ask a model whose provider speaks this API itself.",
        param=path,
    )


def _opaque(request: ChatRequest) -> dict[str, str]:
    """Paths of parts that only one dialect knows, by the names that encoders declare them with."""
    found: dict[str, str] = {}
    for message in request.messages:
        for part in message.parts:
            if isinstance(part, Opaque):
                path = f"messages[].{part.name}"
                if part.name.startswith("content."):
                    path = f"messages[].content[].{part.name.removeprefix('content.')}"
                elif part.dialect != _RESPONSES:  # whose whole items stand among the messages
                    path = f"messages[].content[].{part.name}"
                found |= {part.name: path, f"messages[].{part.name}": path}
    return found


def _state(request: ChatRequest, behind: str, target: Target) -> list[Loss]:
    """State and citations that do not reach the model, as far as the encoder does not say so itself."""
    losses = Losses()
    for message in request.messages:
        for part in message.parts:
            if _is_lost_state(part, request.dialect, behind, target):
                call = isinstance(part, ToolCall)
                field = "messages[].tool_calls[].signature" if call else _SIGNED
                losses.add(field, "it is state of another provider's model")
            if isinstance(part, Text) and part.citations and behind not in _TELL_CITATIONS:
                losses.add("messages[].annotations", "citations of earlier answers are not sent back")
    return losses.found


def _is_lost_state(part: Part, front: str, behind: str, target: Target) -> bool:
    """Whether a part holds a signature that stays behind.

    What a client's own dialect keeps of itself in a part, its decoder tells (``ChatRequest.beside``).
    """
    if isinstance(part, Opaque | ToolResult) or behind in _TELL_SIGNATURES:
        return False
    if not isinstance(part, Text | ToolCall) or part.signature is None or part.origin in (None, behind):
        return False
    if part.origin != _GEMINI:
        return part.origin != front and not (part.origin or "").startswith(f"{_CHAT}/")
    return not (behind == _CHAT and isinstance(part, ToolCall) and "signatures" in target.knows)
