"""The endpoints of conversation objects.

https://platform.openai.com/docs/api-reference/conversations
"""

from __future__ import annotations

from urllib.parse import unquote

from llm_router.domain.errors import RouterError
from llm_router.edge.gateway import Gateway
from llm_router.edge.http import Request, Send
from llm_router.edge.responses import DIALECT, account_of, answer, page_of
from llm_router.edge.routes import Handler, Route


async def _body(gateway: Gateway, request: Request) -> tuple[bytes, str]:
    """The body, and whose it is.

    Raises:
        MissingApiKey, InvalidApiKey, PayloadTooLarge: as their names say.
    """
    body, key = await gateway.read(request, DIALECT)
    if isinstance(key, RouterError):
        raise key
    return body, key.account


async def create(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/conversations."""
    body, account = await _body(gateway, request)
    await answer(gateway, send, await gateway.responses.kept.conversations.create(account, body))


async def retrieve(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/conversations/{id}."""
    account = await account_of(gateway, request)
    found = await gateway.responses.kept.conversations.get(account, unquote(parameters["id"]))
    await answer(gateway, send, found)


async def update(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/conversations/{id}: its metadata."""
    body, account = await _body(gateway, request)
    kept = gateway.responses.kept.conversations
    await answer(gateway, send, await kept.update(account, unquote(parameters["id"]), body))


async def delete(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """DELETE /v1/conversations/{id}: with its items, for good."""
    account = await account_of(gateway, request)
    gone = await gateway.responses.kept.conversations.delete(account, unquote(parameters["id"]))
    await answer(gateway, send, gone)


async def add(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """POST /v1/conversations/{id}/items."""
    body, account = await _body(gateway, request)
    kept = gateway.responses.kept.conversations
    await answer(gateway, send, await kept.add(account, unquote(parameters["id"]), body))


async def items(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/conversations/{id}/items: by pages, the newest first."""
    account = await account_of(gateway, request)
    kept, wanted = gateway.responses.kept.conversations, page_of(request)
    found = await kept.items(
        account,
        unquote(parameters["id"]),
        limit=wanted.limit,
        descending=wanted.descending,
        after=wanted.after,
    )
    await answer(gateway, send, found)


async def item(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/conversations/{id}/items/{item}."""
    account = await account_of(gateway, request)
    kept = gateway.responses.kept.conversations
    found = await kept.item(account, unquote(parameters["id"]), unquote(parameters["item"]))
    await answer(gateway, send, found)


async def remove(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """DELETE /v1/conversations/{id}/items/{item}."""
    account = await account_of(gateway, request)
    kept = gateway.responses.kept.conversations
    found = await kept.remove(account, unquote(parameters["id"]), unquote(parameters["item"]))
    await answer(gateway, send, found)


def _row(method: str, path: str, handler: Handler, summary: str) -> Route:
    return Route(
        method=method, path=f"/v1/conversations{path}", handler=handler, summary=summary, dialect=DIALECT
    )


CONVERSATION_ROUTES = (
    _row("POST", "", create, "Make a conversation."),
    _row("GET", "/{id}/items/{item}", item, "An item of a conversation."),
    _row("DELETE", "/{id}/items/{item}", remove, "Delete an item of a conversation."),
    _row("GET", "/{id}/items", items, "The items of a conversation."),
    _row("POST", "/{id}/items", add, "Add items to a conversation."),
    _row("GET", "/{id}", retrieve, "A conversation."),
    _row("POST", "/{id}", update, "Change the metadata of a conversation."),
    _row("DELETE", "/{id}", delete, "Delete a conversation."),
)
