"""What was said in an exchange, for the key that said it: ``/v1/generations/{id}/content``."""

from __future__ import annotations

from urllib.parse import unquote

import msgspec

from llm_router.access.permissions import of_scopes
from llm_router.domain.account import Actor
from llm_router.domain.errors import Forbidden, NotFound
from llm_router.edge.gateway import Gateway
from llm_router.edge.guard import USAGE, address_of
from llm_router.edge.http import Request, Send, answer_json
from llm_router.edge.routes import Route
from llm_router.engine.bodying import kept_content

READ = "content:read"


async def content(gateway: Gateway, request: Request, send: Send, parameters: dict[str, str]) -> None:
    """GET /v1/generations/{id}/content: request and answer, as they are kept.

    A key reads what was said with it. What was said with others of its account takes a key that administers, and
    stands in the audit log.
    """
    kept = await kept_of(gateway, request, unquote(parameters["id"]))
    await answer_json(send, 200, msgspec.json.encode(kept))


async def kept_of(gateway: Gateway, request: Request, id_: str) -> dict[str, object]:
    """What is kept of an exchange, for the key that asks; members may be raw.

    Raises:
        NotFound, Forbidden
    """
    engine = gateway.engine
    key = await gateway.key_of(request, USAGE)
    record = await engine.books.generation(key.account, id_)
    if record is None:
        raise NotFound("There is no such generation for this API key. Use the x-generation-id of a reply.")
    if record.key == key.id and engine.bodies is not None:
        return await kept_content(engine.bodies.store, key.account, record.id, engine.clock)
    if READ not in of_scopes(key.scopes):
        raise Forbidden(
            "Another key of this account made that generation. To read what was said takes a key with the scope "
            "admin.",
            details={"permission": READ},
        )
    if gateway.api is None:
        raise NotFound("Nothing is kept by this gateway.")
    by = Actor(id=key.id, name=key.name, ip=address_of(request, gateway.trusted_proxies))
    found = await gateway.api.desk.run("bodies.read", by, {"account": key.account, "id": record.id})
    return dict(found)


CONTENT_ROUTES = (
    Route(
        method="GET",
        path="/v1/generations/{id}/content",
        handler=content,
        summary="What was said in an exchange, where its account keeps it.",
    ),
)
