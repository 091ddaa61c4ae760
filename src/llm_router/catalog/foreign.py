"""The catalogue in the shapes of the other APIs' own model lists.

https://docs.anthropic.com/en/api/models-list and https://ai.google.dev/api/models
"""

from __future__ import annotations

from collections.abc import Sequence

from llm_router.domain.model import Model

_METHODS = {
    "chat": ("generateContent", "streamGenerateContent", "countTokens"),
    "embed": ("embedContent", "batchEmbedContents"),
}
"""What Google calls the operations."""

UNKNOWN_DATE = "1970-01-01"
"""The release date where none is known, as Anthropic's API has it ("may be set to an epoch value")."""


def anthropic_entry(model: Model) -> dict[str, object]:
    """One model as Anthropic's API shows it."""
    return {
        "type": "model",
        "id": model.id,
        "display_name": model.name,
        "created_at": f"{model.released or UNKNOWN_DATE}T00:00:00Z",
        "max_input_tokens": model.context_tokens,
        "max_tokens": model.output_tokens_max,
    }


def anthropic_page(models: Sequence[Model], after_id: str | None, limit: int) -> dict[str, object]:
    """A page of the list, beginning behind ``after_id`` (at the start if that is unknown).

    Only models for chat are in it: the API knows no others.
    """
    page, more = _cut([model for model in models if "chat" in model.operations], after_id, limit)
    return {
        "data": [anthropic_entry(model) for model in page],
        "first_id": page[0].id if page else None,
        "last_id": page[-1].id if page else None,
        "has_more": more,
    }


def gemini_entry(model: Model) -> dict[str, object]:
    """One model as Google's API shows it."""
    return {
        "name": f"models/{model.id}",
        "baseModelId": model.id,
        "version": "1",
        "displayName": model.name,
        "description": f"{model.name} by {model.developer}",
        "inputTokenLimit": model.context_tokens or 0,
        "outputTokenLimit": model.output_tokens_max or 0,
        "supportedGenerationMethods": [m for name in model.operations for m in _METHODS[name]],
        "thinking": model.capabilities.reasoning,
    }


def gemini_page(models: Sequence[Model], page_token: str | None, limit: int) -> dict[str, object]:
    """A page of the list; the token of the next one is the last id of this one."""
    page, more = _cut(models, page_token, limit)
    answer: dict[str, object] = {"models": [gemini_entry(model) for model in page]}
    if more:
        answer["nextPageToken"] = page[-1].id
    return answer


def _cut(models: Sequence[Model], after: str | None, limit: int) -> tuple[Sequence[Model], bool]:
    start = 0
    if after is not None:
        start = next((i + 1 for i, model in enumerate(models) if model.id == after), 0)
    return models[start : start + limit], start + limit < len(models)
