"""The endpoints of feedback on answers."""

from __future__ import annotations

from urllib.parse import unquote

from llm_router.domain.errors import NotFound, RouterError
from llm_router.edge.gateway import Gateway
from llm_router.edge.guard import USAGE
from llm_router.edge.http import Request, Send, answer_json
from llm_router.edge.routes import Route
from llm_router.engine.feedback import feedback_entry, give, given_to, read_given
from llm_router.ports import TreasuryBooks

DIALECT = "openai_chat"

BODY_BYTES_MAX = 64 * 1024


def _books(gateway: Gateway) -> TreasuryBooks:
    if gateway.treasury is None:
        raise NotFound("The store of this gateway keeps no feedback.")
    return gateway.treasury.books


async def post(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/generations/{id}/feedback: say what an answer was worth; again replaces it."""
    engine, books = gateway.engine, _books(gateway)
    request.check_head(BODY_BYTES_MAX)
    body, key = await gateway.read(request, DIALECT)
    if isinstance(key, RouterError):
        raise key
    feedback = await give(engine, books, key, unquote(parameters["id"]), read_given(body))
    await answer_json(send, 200, feedback_entry(feedback))


async def get(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/generations/{id}/feedback."""
    engine, books = gateway.engine, _books(gateway)
    key = await gateway.key_of(request, USAGE)
    found = await given_to(engine, books, key, unquote(parameters["id"]))
    await answer_json(send, 200, feedback_entry(found))


FEEDBACK_ROUTES = (
    Route(
        method="POST",
        path="/v1/generations/{id}/feedback",
        handler=post,
        summary="Say what an answer was worth.",
    ),
    Route(
        method="GET",
        path="/v1/generations/{id}/feedback",
        handler=get,
        summary="What was said of an answer.",
    ),
)
