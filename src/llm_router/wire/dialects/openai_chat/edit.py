"""The same dialect on both sides: the client's own bytes with only the needed members changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from llm_router.wire.asked import Tree
from llm_router.wire.callids import IdForm
from llm_router.wire.dialect import Fetched, Inspected, Target
from llm_router.wire.dialects.openai_chat.callids import id_form, refitted
from llm_router.wire.dialects.openai_chat.decode import GATEWAY_ONLY, reasoning_asked
from llm_router.wire.dialects.openai_chat.legacy import modern
from llm_router.wire.dialects.openai_chat.options import finish_body
from llm_router.wire.dialects.openai_chat.parts import DIALECT_NAMES, NAME
from llm_router.wire.dialects.openai_chat.quick import quick_edit
from llm_router.wire.dialects.openai_chat.thinking import ALL_WORDS, foreign_words, thinking_members
from llm_router.wire.loss import Loss
from llm_router.wire.media import data_url
from llm_router.wire.routed import strip
from llm_router.wire.verbatim import encode


def edit_request(
    inspected: Inspected, target: Target, fetched: Mapping[str, Fetched]
) -> tuple[bytes, tuple[Loss, ...]]:
    """The request for ``target``: every member that needs no change keeps its bytes.

    Changed are the model, ``stream`` and ``include_usage``, what a quirk says, media that had to be
    fetched, the legacy style where it is not known, reasoning of another dialect's provider, and ids
    of calls that the provider does not take.
    """
    if inspected.plain:
        return quick_edit(inspected, target)
    tree = cast(Tree, inspected.tree)
    body: dict[str, Any] = dict(tree.raw)
    body["model"] = target.model
    routes = "routing" in target.knows
    strip(body, router=target.provider if routes else None)
    for name in () if routes else GATEWAY_ONLY:
        body.pop(name, None)
    if inspected.stream:
        body["stream"] = True
        options = tree.members.get("stream_options") or {}
        if options.get("include_usage") is not True:
            body["stream_options"] = {**options, "include_usage": True}
    losses: list[Loss] = []
    form = id_form(target.provider, target.model)
    if tree.ids is None or fetched or not all(map(form.fits.fullmatch, tree.ids)):
        _edit_messages(body, tree, target, fetched, form, losses)
    foreign = foreign_words(body, target)
    asked = reasoning_asked(tree.members) if foreign else None
    if asked is not None:
        body = {name: value for name, value in body.items() if name not in ALL_WORDS}
        body |= thinking_members(asked, target, losses)
    losses += finish_body(body, target)
    return encode(body), tuple(losses)


def _edit_messages(
    body: dict[str, Any],
    tree: Tree,
    target: Target,
    fetched: Mapping[str, Fetched],
    form: IdForm,
    losses: list[Loss],
) -> None:
    """Change in ``body`` what the provider would not take in messages."""
    messages = _messages(tree, target, fetched, losses)
    if messages is not None:
        body["messages"] = messages
    if "functions" not in target.knows:
        modern(tree.body, body)
    if b'"tool_call' in bytes(tree.raw["messages"]) or isinstance(body["messages"], list):
        held = body["messages"] if isinstance(body["messages"], list) else tree.body["messages"]
        refit = refitted(held, form)
        if refit is not held:
            body["messages"] = refit


def _messages(
    tree: Tree, target: Target, fetched: Mapping[str, Fetched], losses: list[Loss]
) -> list[dict[str, Any]] | None:
    """The messages with what had to be changed in them; None if nothing had to."""
    raw = bytes(tree.raw["messages"])
    developer = "developer" not in target.knows and b'"developer"' in raw
    foreign = b'"reasoning_details"' in raw
    signed = b'"extra_content"' in raw and "signatures" not in target.knows
    if not (developer or foreign or signed or fetched):
        return None
    old = tree.body["messages"]
    new = [_message(message, developer, fetched, losses) for message in old]
    if signed:
        new = [_unsigned(message) for message in new]
    return new if any(now is not before for now, before in zip(new, old, strict=True)) else None


def _message(
    message: dict[str, Any], developer: bool, fetched: Mapping[str, Fetched], losses: list[Loss]
) -> dict[str, Any]:
    if developer and message["role"] == "developer":
        message = {**message, "role": "system"}
    details = message.get("reasoning_details")
    if isinstance(details, list) and any(map(_is_foreign, details)):
        loss = Loss(
            field="messages.reasoning_details", why="reasoning goes back only to the provider it came from"
        )
        if loss not in losses:
            losses.append(loss)
        dropped = ("reasoning_details", "reasoning_content")
        message = {name: value for name, value in message.items() if name not in dropped}
    content = message.get("content")
    if fetched and isinstance(content, list):
        parts = [_part(part, fetched) for part in content]
        if any(now is not before for now, before in zip(parts, content, strict=True)):
            message = {**message, "content": parts}
    return message


def _unsigned(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose calls carry no signature of Gemini, which no other provider takes."""
    calls = message.get("tool_calls")
    if not calls or not any("extra_content" in call for call in calls):
        return message
    bare = [{name: value for name, value in call.items() if name != "extra_content"} for call in calls]
    return {**message, "tool_calls": bare}


def _is_foreign(detail: object) -> bool:
    """Whether a reasoning detail was made by a provider of another dialect."""
    return isinstance(detail, dict) and detail.get("format") in DIALECT_NAMES and detail["format"] != NAME


def _part(part: dict[str, Any], fetched: Mapping[str, Fetched]) -> dict[str, Any]:
    kind = part["type"]
    holder = part.get(kind)
    if kind in ("image_url", "video_url"):
        url = holder.get("url") if isinstance(holder, dict) else holder
        found = fetched.get(url) if isinstance(url, str) else None
        if found is None:
            return part
        rest = holder if isinstance(holder, dict) else {}
        return {**part, kind: {**rest, "url": data_url(found.media_type, found.data)}}
    if kind == "file" and isinstance(holder, dict):
        url = holder.get("file_data") or holder.get("url")
        found = fetched.get(url) if isinstance(url, str) else None
        if found is None:
            return part
        rest = {name: value for name, value in holder.items() if name != "url"}
        return {**part, kind: {**rest, "file_data": data_url(found.media_type, found.data)}}
    return part
