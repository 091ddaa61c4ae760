"""The same dialect on both sides: the client's own bytes with only the needed members changed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from llm_router.wire.asked import Tree
from llm_router.wire.dialect import Fetched, Inspected, Target
from llm_router.wire.dialects.openai_responses.options import cap_output, drop_sampling, keep_nothing
from llm_router.wire.dialects.openai_responses.seal import PREFIX, strip_seals
from llm_router.wire.dialects.openai_responses.words import kind_of
from llm_router.wire.loss import Loss
from llm_router.wire.media import data_url
from llm_router.wire.quirks import apply_quirks
from llm_router.wire.routed import strip
from llm_router.wire.verbatim import encode


def edit_request(
    inspected: Inspected, target: Target, fetched: Mapping[str, Fetched]
) -> tuple[bytes, tuple[Loss, ...]]:
    """The request for ``target``: every member that needs no change keeps its bytes.

    Changed are the model, what a quirk says, media that had to be fetched, reasoning of another dialect's
    provider, which is taken out, and what is to be stored, where the gateway keeps that itself.
    """
    tree = cast(Tree, inspected.tree)
    body: dict[str, Any] = {**tree.raw, "model": target.model}
    strip(body, router=target.provider if "routing" in target.knows else None)
    if inspected.stream:
        body["stream"] = True
    losses: list[Loss] = []
    items = tree.body.get("input")
    if isinstance(items, list):
        if PREFIX.encode() in bytes(tree.raw["input"]):
            items, lost = strip_seals(items)
            if lost:
                why = "reasoning goes back only to the provider it came from"
                losses.append(Loss(field="input[].reasoning", why=why))
        if fetched:
            items = [_inline_item(item, fetched) for item in items]
        if items is not tree.body["input"]:
            body["input"] = items
    if inspected.keeps_state:
        keep_nothing(body, target)
    losses += drop_sampling(body, target)
    cap_output(body, target)
    losses += apply_quirks(body, target.quirks, *target.names)
    return encode(body), tuple(losses)


def _inline_item(item: dict[str, Any], fetched: Mapping[str, Fetched]) -> dict[str, Any]:
    name = "content" if kind_of(item) == "message" else "output"
    content = item.get(name)
    if not isinstance(content, list):
        return item
    return {**item, name: [_inline(part, fetched) for part in content]}


def _inline(part: Any, fetched: Mapping[str, Fetched]) -> Any:
    """A content part with the bytes of what was fetched in place of its URL."""
    if not isinstance(part, dict):
        return part
    for url, data in (("image_url", "image_url"), ("file_url", "file_data")):
        found = fetched.get(part[url]) if isinstance(part.get(url), str) else None
        if found is not None:
            rest = {name: value for name, value in part.items() if name != url}
            if data == "file_data":
                rest.setdefault("filename", "document.pdf")
            return {**rest, data: data_url(found.media_type, found.data)}
    return part
