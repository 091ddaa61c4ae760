"""All rows of the API."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from llm_router.edge.api.alerts import ALERT_ROUTES
from llm_router.edge.api.content import CONTENT_ROUTES
from llm_router.edge.api.house import HOUSE_ROUTES
from llm_router.edge.api.keys import KEY_ROUTES
from llm_router.edge.api.logs import LOG_ROUTES
from llm_router.edge.api.me import ME_ROUTES
from llm_router.edge.api.members import MEMBER_ROUTES
from llm_router.edge.api.money import MONEY_ROUTES
from llm_router.edge.api.offer import OFFER_ROUTES
from llm_router.edge.api.openapi import describe
from llm_router.edge.api.presets import PRESET_ROUTES
from llm_router.edge.api.prices import PRICE_ROUTES
from llm_router.edge.api.public import PUBLIC_ROUTES
from llm_router.edge.api.rehearsals import REHEARSAL_ROUTES
from llm_router.edge.api.running import RUNNING_ROUTES
from llm_router.edge.api.sso import SSO_ROUTES
from llm_router.edge.api.table import ApiRoute, ApiTable, Ask


async def openapi(ask: Ask) -> dict[str, Any]:
    """This description."""
    return _described()


@lru_cache(maxsize=1)
def _described() -> dict[str, Any]:
    return describe(API_TABLE.routes)


API_TABLE = ApiTable(
    (
        *ME_ROUTES,
        *KEY_ROUTES,
        *MEMBER_ROUTES,
        *MONEY_ROUTES,
        *LOG_ROUTES,
        *CONTENT_ROUTES,
        *ALERT_ROUTES,
        *SSO_ROUTES,
        *REHEARSAL_ROUTES,
        *RUNNING_ROUTES,
        *HOUSE_ROUTES,
        *PRESET_ROUTES,
        *PRICE_ROUTES,
        *PUBLIC_ROUTES,
        *OFFER_ROUTES,
        ApiRoute(
            method="GET",
            path="/api/v1/openapi.json",
            handler=openapi,
            summary="The description of this API in OpenAPI 3.1.",
            who="anybody",
            fixed=True,
        ),
    )
)
