"""The client's own bytes for a provider that speaks the same dialect.

The model stands in the URL, so that mostly nothing is changed. What is named here is: the token
cap, media that had to be fetched, and the provider's declared quirks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from llm_router.wire.dialect import Fetched, Inspected, Target
from llm_router.wire.dialects.gemini_generate.inspect import Tree
from llm_router.wire.dialects.gemini_generate.members import (
    camel,
    listed,
    member,
    object_of,
    raw_of,
    value_of,
)
from llm_router.wire.loss import Loss
from llm_router.wire.quirks import apply_quirks
from llm_router.wire.routed import strip

_ESCAPED = re.compile(rb"\\u00[4-7]")
"""An escaped letter: nobody needs it, and it may stand in the name of a member."""


def edit_request(
    inspected: Inspected, target: Target, fetched: Mapping[str, Fetched]
) -> tuple[bytes, tuple[Loss, ...]]:
    """The client's body with only the named members changed; untouched values keep their bytes."""
    tree = inspected.tree
    assert isinstance(tree, Tree)
    before = object_of(tree.body) or {}
    wrapped = object_of(before.get("generateContentRequest")) if "contents" not in before else None
    body: dict[str, Any] = dict(wrapped if wrapped is not None else before)
    strip(body)
    if "model" in body:
        body["model"] = raw_of(_model(target.model))
    if fetched:
        _inline(body, tree.value, fetched)
    losses: list[Loss] = []
    cap = target.output_tokens_cap
    if cap is not None and inspected.output_tokens is None:
        if target.output_tokens_max is not None:
            cap = min(cap, target.output_tokens_max)
        _config(body)["maxOutputTokens"] = cap
    elif _exceeds(inspected.output_tokens, target.output_tokens_max):
        _config(body)["maxOutputTokens"] = target.output_tokens_max
        losses.append(
            Loss(
                field="generationConfig.maxOutputTokens", why=f"this model writes {target.output_tokens_max}"
            )
        )
    if target.quirks:
        body, lost = _with_quirks(body, target)
        losses += lost
    if body == before and not _may_repeat(tree.body, before):
        return tree.body, tuple(losses)
    for name in ("generationConfig", "generation_config"):
        if isinstance(body.get(name), msgspec.Raw):
            body[name] = object_of(body[name]) or body[name]
    return msgspec.json.encode(body), tuple(losses)


def _may_repeat(body: bytes, members: dict[str, Any]) -> bool:
    """Whether a member may stand there twice, of which the provider could read another one than we do.

    It then goes out once. A name in some text, or an escaped letter, is enough to look no closer.
    """
    config = object_of(members.get("generationConfig", members.get("generation_config"))) or {}
    names = (*members, *config)
    return _ESCAPED.search(body) is not None or any(body.count(b'"%b"' % name.encode()) > 1 for name in names)


def _exceeds(asked: int | None, most: int | None) -> bool:
    return asked is not None and most is not None and asked > most


def _model(model: str) -> str:
    return model if "/" in model else f"models/{model}"


def _with_quirks(body: dict[str, Any], target: Target) -> tuple[dict[str, Any], list[Loss]]:
    """The provider's edits, which know camelCase only. What none of them touches stays as it was."""
    spelled = {camel(name): value for name, value in body.items()}
    if "generationConfig" in spelled:
        _config(spelled)
    before = {name: dict(value) if isinstance(value, dict) else value for name, value in spelled.items()}
    losses = apply_quirks(spelled, target.quirks, *target.names)
    return (spelled if spelled != before else body), losses


def _config(body: dict[str, Any]) -> dict[str, Any]:
    """generationConfig as an object whose values keep their bytes, under the client's spelling."""
    name = "generation_config" if "generation_config" in body else "generationConfig"
    config = body.get(name)
    found = config if isinstance(config, dict) else object_of(config) or {}
    members: dict[str, Any] = {camel(key): value for key, value in found.items()}
    body[name] = members
    return members


def _inline(body: dict[str, Any], value: dict[str, Any], fetched: Mapping[str, Fetched]) -> None:
    """Put fetched bytes in the place of their URLs."""
    contents = value_of(raw_of(listed(member(value, "contents"))))
    for content in contents:
        for part in listed(content.get("parts")):
            _swap(part, fetched)
            answer = member(part, "functionResponse")
            for inner in listed(answer.get("parts")) if isinstance(answer, dict) else []:
                _swap(inner, fetched)
    body["contents"] = contents


def _swap(part: object, fetched: Mapping[str, Fetched]) -> None:
    if not isinstance(part, dict):
        return
    file = member(part, "fileData")
    found = fetched.get(member(file, "fileUri")) if isinstance(file, dict) else None
    if found is None:
        return
    part.pop("fileData", None)
    part.pop("file_data", None)
    part["inlineData"] = {"mimeType": found.media_type, "data": found.data}
