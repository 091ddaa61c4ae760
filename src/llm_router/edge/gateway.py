"""The ASGI application: route, guard, answer. The one place where an unforeseen exception is caught."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import traceback
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from llm_router.domain.errors import (
    ClientError,
    MethodNotAllowed,
    NotFound,
    Overloaded,
    PayloadTooLarge,
    RouterError,
    ServerError,
)
from llm_router.domain.key import Key
from llm_router.edge.bounds import Guards
from llm_router.edge.dashboard import page, wants_page
from llm_router.edge.guard import USE, check_key
from llm_router.edge.http import AsgiClient, Receive, Request, Scope, Send, answer_json, whole_reply
from llm_router.edge.routes import Route, RouteTable
from llm_router.engine.admit import Call, authenticate
from llm_router.engine.background import Background
from llm_router.engine.comparing import Comparing
from llm_router.engine.exchange import Engine
from llm_router.engine.papers import Papers
from llm_router.engine.refusing import stopping
from llm_router.engine.replays import HEADER, Replays, Serve
from llm_router.engine.tracks import error_head
from llm_router.engine.treasury import Treasury
from llm_router.routing.pressure import BATCH_ROOM
from llm_router.wire.bounds import check_objects
from llm_router.wire.dialect import Dialect, Front, Spoken
from llm_router.wire.heads import Head, Headers, fields, lines

if TYPE_CHECKING:
    from llm_router.edge.api.app import Api

GEMINI_KEY = "key"
"""The query parameter in which Gemini's clients may send their key."""

STOP_S = 5.0
"""How long exchanges that are ended may take to say so."""


class Gateway:
    """What the handlers work with.

    Attributes:
        body_bytes_max: cap of a request body, checked before anything else is known of it.
        exchanges_max: inference requests served at the same time; more are refused at once.
        ready: answers whether requests can be served now; the reason if not.
        guards: what a connection may take, and who is connected.
        treasury: credits, vouchers, payments; None where the store has no room for them.
        replays: requests that are answered once however often they are sent; None likewise.
        papers: receipts, reports, statements; None likewise.
        trusted_proxies: ranges of addresses whose X-Forwarded-For is believed.
        api: accounts and administration, under /api/v1; None: there is none.
    """

    def __init__(
        self,
        engine: Engine,
        responses: Background,
        routes: RouteTable,
        *,
        body_bytes_max: int,
        exchanges_max: int,
        ready: Callable[[], str | None],
        guards: Guards,
        treasury: Treasury | None = None,
        papers: Papers | None = None,
        replays: Replays | None = None,
        trusted_proxies: tuple[str, ...] = (),
        api: Api | None = None,
    ) -> None:
        self.engine = engine
        self.responses = responses
        self.comparing = Comparing(engine)
        self.routes = routes
        self.treasury = treasury
        self.papers = papers
        self.replays = replays
        self.trusted_proxies = trusted_proxies
        self.api = api
        self.body_bytes_max = body_bytes_max
        self.exchanges_max = exchanges_max
        self.guards = guards
        self.exchanges = 0
        self.tasks: set[asyncio.Task[object]] = set()
        self.places: dict[bytes, object] = {}  # the fast lane's: what request targets stand for
        self._reading: set[asyncio.Task[object]] = set()
        self._stopped = False
        self._common: tuple[Headers, str] = ([], "")
        self.ready = ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        method = "GET" if request.method == "HEAD" else request.method
        route, parameters, methods = self.routes.find(method, request.path)
        if self.api is not None and (route is None or request.path == "/") and wants_page(request):
            await page(request, send)
            return
        if route is None:
            route, parameters = await self._elsewhere(request, send, methods)
            if route is None:
                return
        try:
            if route.operation is not None:
                await self.infer(route, request, send, parameters)
            else:
                await route.handler(self, request, send, parameters)
        except PayloadTooLarge as error:
            await self.answer_error(route.dialect, error, send, unread=request)
        except RouterError as error:
            await self.answer_error(_spoken(request, route), error, send)
        except ConnectionError:
            pass
        except Exception:
            report(request.method, request.path)
            await self.answer_error(_spoken(request, route), unforeseen(), send)

    async def _elsewhere(
        self, request: Request, send: Send, methods: set[str]
    ) -> tuple[Route | None, dict[str, str]]:
        """Answer what the API of administration knows, or nobody. Inference under /api/v1, where OpenRouter's
        clients look for it, is that under /v1: its row is returned."""
        path = request.path
        if path.startswith(("/v1/keys/", "/v1/keys", "/v1/key")):
            path = "/api" + path
        if not path.startswith("/api/v1/"):
            await self._no_route(request, send, methods)
            return None, {}
        try:
            if self.api is not None and await self.api.serve(self, request, send, path):
                return None, {}
        except PayloadTooLarge as error:
            await self.answer_error("openai_chat", error, send, unread=request)
            return None, {}
        except RouterError as error:
            await self.answer_error("openai_chat", error, send)
            return None, {}
        except ConnectionError:
            return None, {}
        except Exception:
            report(request.method, request.path)
            await self.answer_error("openai_chat", unforeseen(), send)
            return None, {}
        request.path = path.removeprefix("/api")
        route, parameters, methods = self.routes.find(
            "GET" if request.method == "HEAD" else request.method, request.path
        )
        if route is None:
            await self._no_route(request, send, methods)
        return route, parameters

    async def infer(self, route: Route, request: Request, send: Send, parameters: dict[str, str]) -> None:
        """Serve an inference route, unless too many are being served."""
        if self.exchanges >= self.exchanges_max:
            raise Overloaded(
                f"This gateway serves {self.exchanges_max} requests at the same time, its limit. Retry shortly.",
                retry_after_s=1.0,
            )
        if self.engine.watch.pressure.refuses(batch=False):
            raise _late()
        task = asyncio.current_task()
        assert task is not None
        self.exchanges += 1
        self.tasks.add(task)
        try:
            await self._infer(route, request, send, parameters)
        finally:
            self.tasks.discard(task)
            self.exchanges -= 1

    def has_room(self) -> bool:
        """Whether one more inference request may be served beyond doubt."""
        return (
            self.exchanges < self.exchanges_max
            and self.engine.watch.pressure.part <= 0.0
            and not self._stopped
        )

    def common_lines(self, headers: Headers) -> str:
        """What the server says in every reply (the list is another one when it changes), as lines."""
        if headers is not self._common[0]:
            self._common = (headers, lines(headers))
        return self._common[1]

    async def stop(self) -> None:
        """End the exchanges that still run; return when they have told their clients, or at the latest
        after STOP_S."""
        self._stopped = True
        self.engine.stop()
        for task in self._reading:
            task.cancel()
        await self._arrived()
        if self.tasks:
            await asyncio.wait(self.tasks, timeout=STOP_S)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self.responses.close()

    async def _arrived(self) -> None:
        """Wait for what is on the fast lane and about to be answered."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_S):
                await self.engine.express.empty()

    async def _infer(self, route: Route, request: Request, send: Send, parameters: dict[str, str]) -> None:
        """Read the body, hand the call to the engine, watch the client."""
        started_us = self.engine.clock.monotonic_us()
        body, key = await self.read(request, route.dialect)
        self._check_batch(key)
        call = self.call(
            request,
            body,
            started_us,
            operation=route.operation or "",
            dialect=route.dialect,
            model=parameters.get("model"),
            stream=route.stream,
            key=key,
        )
        client = AsgiClient(send)
        serve: Serve = self.comparing.serve if route.compares else self.engine.serve
        if call.dialect.name == "openai_responses":
            serve = self.responses.serve
        try:
            if self.replays is not None and HEADER in call.headers:
                await self.watched(request, self.replays.serve(call, request.path, client, serve))
            else:
                await self.watched(request, serve(call, client))
        except RouterError:
            raise
        except Exception:
            report(request.method, request.path)
            if not client.started:  # else the server cuts the connection: no answer that looks whole
                await self.answer_error(route.dialect, unforeseen(), send)

    def _check_batch(self, key: Key | ClientError) -> None:
        """Leave the last places to those who wait for their answers.

        Raises:
            Overloaded: the key is a batch's, and there is much to do.
        """
        if isinstance(key, ClientError) or key.priority != "batch":
            return
        if self.exchanges > BATCH_ROOM * self.exchanges_max or self.engine.watch.pressure.refuses(batch=True):
            raise _late()

    async def watched(self, request: Request, work: Coroutine[Any, Any, object]) -> None:
        """Do the work, as long as the client is there."""
        task = asyncio.current_task()
        assert task is not None
        watcher = asyncio.ensure_future(self._watch(request, task))
        try:
            await work
        except asyncio.CancelledError:
            if not watcher.done():  # the server is stopping, not the client leaving
                raise
            task.uncancel()
        finally:
            watcher.cancel()

    async def _watch(self, request: Request, task: asyncio.Task[object]) -> None:
        await request.gone()
        if self.engine.left(task):
            task.cancel()

    async def key_of(self, request: Request, permission: str, parameter: str | None = None) -> Key:
        """The key of a request without a body, if it is for what is asked.

        ``parameter``: of the query, where the key may stand too.

        Raises:
            MissingApiKey, InvalidApiKey, Forbidden
        """
        return await self._asker(request, credential(request, parameter), permission)

    async def _asker(self, request: Request, found: bytes | None, permission: str) -> Key:
        """The key that was ``found`` in a request; without one, that of whoever has signed in.

        Raises:
            ClientError
        """
        engine = self.engine
        if found is None and self.api is not None:
            visitor = await self.api.visitor(request, permission)
            if visitor is not None:
                return visitor
        key = await authenticate(engine.keyring, found, engine.clock.now_ms())
        if key.scopes is not None or key.ip_ranges is not None:
            check_key(key, request, permission, self.trusted_proxies)
        return key

    async def read(
        self, request: Request, dialect: str, permission: str = USE
    ) -> tuple[bytes, Key | ClientError]:
        """The request's body, and its key or why it has none. Of a caller whose key is not valid nothing is read: it will be refused
        whatever it says, and must not keep others waiting until it has said it.

        Raises:
            PayloadTooLarge, UnsupportedEncoding, RequestTimeout, InvalidRequest, ConnectionError: see
                ``Request.body`` and ``check_objects``.
            Overloaded: the gateway stops.
        """
        request.check_head(self.body_bytes_max)
        found = credential(request, self.dialect(dialect).key_parameter)
        try:
            key = await self._asker(request, found, permission)
        except ClientError as error:
            return b"", error
        task = asyncio.current_task()
        assert task is not None
        self._reading.add(task)
        try:
            body = await request.body(self.body_bytes_max, self.guards.bounds.body_s)
        except asyncio.CancelledError:
            if not self._stopped:
                raise
            task.uncancel()
            raise stopping() from None
        finally:
            self._reading.discard(task)
        check_objects(body)
        return body, key

    def call(
        self,
        request: Request,
        body: bytes,
        started_us: int,
        *,
        operation: str,
        dialect: str,
        model: str | None,
        stream: bool | None,
        key: Key | ClientError | None = None,
    ) -> Call:
        """What the request asks of the engine. ``model`` and ``stream`` are those of its path."""
        spoken = self.dialect(dialect)
        return Call(
            operation=operation,
            dialect=spoken,
            body=body,
            credential=credential(request, spoken.key_parameter) if key is None else None,
            headers=request.headers,
            started_us=started_us,
            path_model=None if model is None else unquote(model),
            path_stream=stream,
            json_array=spoken.name == "gemini_generate"
            and stream is True
            and request.parameter("alt") != "sse",
            key=key,
        )

    def dialect(self, name: str) -> Spoken:
        """The dialect of a route: one that clients speak."""
        dialect = self.engine.dialects[name]
        assert isinstance(dialect, Dialect | Front)
        return dialect

    async def answer_error(
        self, dialect: str, error: RouterError, send: Send, *, unread: Request | None = None
    ) -> None:
        """Send an error outside of an exchange, in the route's dialect.

        ``unread``: a request whose body is not wanted, after which the connection closes.
        """
        headers, body = self._error(dialect, error)
        await answer_json(send, error.status, body, headers, unread=unread)

    def refusal(
        self, error: RouterError, method: str, target: bytes, headers: list[tuple[bytes, bytes]]
    ) -> bytes:
        """The whole reply to what the server refuses before it is a request, in the words of the API whose
        request it would have been. ``target`` and ``headers``: as far as they came."""
        path, _, query = target.partition(b"?")
        scope = {"method": method, "path": "", "raw_path": path, "query_string": query, "headers": headers}
        request = Request(scope, _nothing_more)
        route = self.routes.find(method, request.path)[0]
        head, body = self._error(_spoken(request, route), error)
        return whole_reply(error.status, head, body)

    def _error(self, dialect: str, error: RouterError) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """Headers and body of an error that is told outside of an exchange."""
        request_id = self.engine.new_id()
        spoken = self.dialect(dialect)
        head = Head(request_id=request_id, at_ms=self.engine.clock.now_ms(), limits=error.limits)
        headers = fields(spoken.head(head) + error_head(error))
        return headers, spoken.encode_error(error, request_id)

    async def _no_route(self, request: Request, send: Send, methods: set[str]) -> None:
        shown = request.path[:200]
        error: RouterError
        if methods and not _names_verb(request):
            allowed = ", ".join(sorted(methods))
            error = MethodNotAllowed(f"{request.method} is not allowed for {shown}. Use {allowed}.")
            error.headers = (("allow", allowed),)
        else:
            error = NotFound(f"There is no {request.method} {shown}. {_ELSEWHERE[_spoken(request)]}")
        await self.answer_error(_spoken(request), error, send)


async def _nothing_more() -> dict[str, object]:
    return {"type": "http.disconnect"}


def _names_verb(request: Request) -> bool:
    """Whether the path asks for a method of a model (``models/x:verb``), which is no other way of reading it."""
    return request.method == "POST" and ":" in request.path.rpartition("/")[2]


def _spoken(request: Request, route: Route | None = None) -> str:
    """The dialect of an error: the route's own; where several APIs share the path, or where there is no
    such path, that of the API whose clients send such requests."""
    if route is not None and not route.shared:
        return route.dialect
    if request.path.startswith("/v1beta/") or "x-goog-api-key" in request.headers or _has_key(request):
        return "gemini_generate"
    if request.path.startswith("/v1/messages") or "anthropic-version" in request.headers:
        return "anthropic_messages"
    return "openai_chat"


def _has_key(request: Request) -> bool:
    """Whether a key stands in the query alone, as only Gemini's clients send it."""
    return (
        b"key=" in request.query and credential(request) is None and request.parameter(GEMINI_KEY) is not None
    )


_ELSEWHERE = {
    "openai_chat": "The OpenAI-compatible API begins at /v1, for example POST /v1/chat/completions and GET /v1/models.",
    "anthropic_messages": "Of Anthropic's API there are POST /v1/messages, POST /v1/messages/count_tokens and "
    "GET /v1/models; files and batches are not offered.",
    "gemini_generate": "Of Gemini's API there are models (list, get) with generateContent, streamGenerateContent, "
    "countTokens, embedContent and batchEmbedContents; files and cached contents are not offered.",
}
"""What there is, for whoever asked for what there is not."""


def credential(request: Request, parameter: str | None = None) -> bytes | None:
    """The API key of a request: a bearer token, or the header that other vendors' clients send.

    ``parameter``: one of the query that is looked at too (Gemini's clients may send their key there).
    """
    found = bearer(request.headers)
    if found is not None or parameter is None:
        return found
    text = request.parameter(parameter)
    return None if text is None else text.encode("utf-8", "replace")


def bearer(headers: Mapping[str, str]) -> bytes | None:
    """The API key in a request's headers."""
    text = headers.get("authorization")
    if text is not None:
        scheme, _, token = text.partition(" ")
        return token.strip().encode("latin-1") if scheme.lower() == "bearer" else b"?"
    for name in ("x-api-key", "x-goog-api-key", "api-key"):
        if name in headers:
            return headers[name].strip().encode("latin-1")
    return None


def _late() -> Overloaded:
    """What requests are told that are turned away so that the others are answered in time."""
    return Overloaded("This gateway has more to do than it can in time. Retry shortly.", retry_after_s=2.0)


def unforeseen() -> ServerError:
    return ServerError("The gateway met an unforeseen error; it was reported to its operator.")


def report(method: str, path: str) -> None:
    """Tell the operator of a bug: the traceback without request data."""
    error = sys.exception()
    lines = traceback.format_exception(error) if error is not None else []
    print(f"unforeseen error in {method} {path}", "".join(lines), file=sys.stderr)
