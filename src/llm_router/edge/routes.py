"""The route table: one row an endpoint."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import msgspec

from llm_router.domain import late
from llm_router.edge.http import Request, Send

if TYPE_CHECKING:
    from llm_router.edge.gateway import Gateway

Handler = Callable[["Gateway", Request, Send, dict[str, str]], Awaitable[None]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One endpoint.

    Attributes:
        path: exact, or with ``{name}`` for one or more characters (a model id may hold slashes).
        dialect: the client dialect of its errors, and of the operation if it is one.
        operation: set for inference routes.
        stream: what the path says of streaming, where it does (Gemini); None where the body says it.
        shared: several APIs have this path; errors take the form of the one whose client asks.
        compares: several models are asked at the same time.
        summary: one line for the documentation.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    dialect: str = "openai_chat"
    operation: str | None = None
    stream: bool | None = None
    shared: bool = False
    compares: bool = False


class RouteTable:
    """Finds the row of a request: exact paths by one look-up, the others by pattern in order."""

    def __init__(self, routes: tuple[Route, ...]) -> None:
        self.routes = routes
        self._exact: dict[tuple[str, str], Route] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        self._methods: dict[str, set[str]] = {}
        for route in routes:
            if "{" in route.path:
                pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^?#]{1,300})", route.path)
                self._patterns.append((late.compile(pattern), route))
            else:
                self._exact[(route.method, route.path)] = route
                self._methods.setdefault(route.path, set()).add(route.method)

    def find(self, method: str, path: str) -> tuple[Route | None, dict[str, str], set[str]]:
        """The route and its path parameters; else the methods that the path does take (may be empty)."""
        route = self._exact.get((method, path))
        if route is not None:
            return route, {}, set()
        methods = set(self._methods.get(path, ()))
        for pattern, candidate in self._patterns:
            match = pattern.fullmatch(path)
            if match is not None:
                if candidate.method == method:
                    return candidate, match.groupdict(), set()
                methods.add(candidate.method)
        return None, {}, methods
