"""Ids of tool calls in the form that the provider's model takes.

| models | form | source |
|---|---|---|
| Mistral's, wherever they run | nine letters and digits | https://github.com/langchain-ai/langchain/pull/24668 |
| Claude's | letters, digits, ``_`` and ``-`` | https://docs.claude.com/en/api/messages#body-messages |
| all others | at most 40 characters | https://github.com/microsoft/autogen/issues/6377 |
"""

from __future__ import annotations

import re
from typing import Any

from llm_router.wire.callids import CallIds, IdForm
from llm_router.wire.makers import family_of

_MISTRAL = IdForm(fits=re.compile(r"[a-zA-Z0-9]{9}"), prefix="", chars=9)
_CLAUDE = IdForm(fits=re.compile(r"[a-zA-Z0-9_-]{1,40}"))
_OTHERS = IdForm(fits=re.compile(r".{1,40}", re.DOTALL))
_MISTRALS = re.compile(r"mistral|mixtral|magistral|ministral|codestral|devstral|pixtral|voxtral")


def id_form(provider: str, model: str) -> IdForm:
    """The form of ids at a deployment."""
    if provider == "mistral" or _MISTRALS.search(model.lower()):
        return _MISTRAL
    return _CLAUDE if family_of(model) == "claude" else _OTHERS


def refitted(messages: list[Any], form: IdForm) -> list[Any]:
    """Checked messages of a client with ids in that form; themselves if all of them fit.

    Ids that fit are left alone, also where two calls share one: the client's own provider gave them so.
    """
    if all(form.fits.fullmatch(id_) for message in messages for id_ in _ids(message)):
        return messages
    ids = form.ids()
    return [_message(message, ids) for message in messages]


def _ids(message: dict[str, Any]) -> list[str]:
    found = [call.get("id") for call in _calls(message)]
    if message.get("role") == "tool":
        found.append(message.get("tool_call_id"))
    return [id_ for id_ in found if isinstance(id_, str)]


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    calls = message.get("tool_calls")
    return [call for call in calls if isinstance(call, dict)] if isinstance(calls, list) else []


def _message(message: dict[str, Any], ids: CallIds) -> dict[str, Any]:
    calls = _calls(message)
    if calls:
        new = [
            {**call, "id": ids.of_call(call["id"])} if isinstance(call.get("id"), str) else call
            for call in calls
        ]
        return {**message, "tool_calls": new}
    if message.get("role") == "tool" and isinstance(message.get("tool_call_id"), str):
        return {**message, "tool_call_id": ids.of_result(message["tool_call_id"])}
    return message
