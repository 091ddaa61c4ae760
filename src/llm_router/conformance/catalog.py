"""All checks, in the order of the report."""

from __future__ import annotations

from llm_router.conformance.api import APIS as _APIS
from llm_router.conformance.case import Check
from llm_router.conformance.checks import (
    basics,
    chat,
    chat_content,
    chat_stream,
    chat_tools,
    embeddings,
    gemini,
    gemini_stream,
    http,
    messages,
    messages_stream,
    models,
    parameters,
    responses,
    responses_stream,
)

HTTP = "http"
"""Checks of the transport and the list of models, through whichever API is there."""

APIS = tuple(_APIS)
TITLES = {HTTP: "HTTP and models", **{name: api.title for name, api in _APIS.items()}}

ALL_CHECKS: tuple[Check, ...] = tuple(
    check
    for api in (HTTP, *APIS)
    for module in (
        basics, http, models, parameters, chat, chat_content, chat_stream, chat_tools, messages,
        messages_stream, responses, responses_stream, gemini, gemini_stream, embeddings,
    )
    for check in module.CHECKS
    if check.api == api
)  # fmt: skip
