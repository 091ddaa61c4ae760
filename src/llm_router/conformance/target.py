"""What is judged: where it is, its credential and models; every request goes through here."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from llm_router.conformance.api import APIS, Api, Json, dump
from llm_router.conformance.transport import Clock, Connection, NoReply, Reply, Request, tls_context

AGENT = "llm-router-conformance"
RETRIES = 3
WAIT_S_MAX = 20.0
"""A target that says "too many requests" is asked again, after no longer than this."""

BUSY = (429, 503, 529)


@dataclass
class Spent:
    """What the run cost, as far as the target says so."""

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: str | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, reply: Reply) -> None:
        from decimal import Decimal

        usage = _usage(reply)
        with self._lock:
            self.requests += 1
            self.input_tokens += _first(usage, "prompt_tokens", "input_tokens", "promptTokenCount")
            self.output_tokens += _first(usage, "completion_tokens", "output_tokens", "candidatesTokenCount")
            cost = usage.get("cost")
            if isinstance(cost, int | float) and not isinstance(cost, bool):
                self.cost_usd = str(Decimal(self.cost_usd or 0) + Decimal(repr(cost)))


def _first(usage: Json, *names: str) -> int:
    return next((usage[name] for name in names if isinstance(usage.get(name), int)), 0)


def _usage(reply: Reply) -> Json:
    """The last usage object of a reply, streamed or not."""
    from llm_router.conformance import sse

    objects = sse.parse(reply.body).objects if reply.media_type == "text/event-stream" else [reply.json]
    for value in reversed(objects):
        if not isinstance(value, dict):
            continue
        inner = value.get("response")
        for holder in (value, inner if isinstance(inner, dict) else {}):
            usage = holder.get("usage") or holder.get("usageMetadata")
            if isinstance(usage, dict):
                return usage
    return {}


class _Memo:
    """A reply that several checks look at, asked for once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.reply: Reply | NoReply | None = None


class Target:
    """A gateway or provider.

    Attributes:
        models: by API; limit: the member of chat that limits its output tokens; apis: those that
            are checked; first: the API through
            which the checks of the transport go.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        models: dict[str, str],
        timeout_s: float,
        clock: Clock,
        sleep: Callable[[float], None],
        environ: dict[str, str],
    ) -> None:
        parts = urlsplit(base_url if "//" in base_url else f"http://{base_url}")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.prefix = parts.path.rstrip("/").removesuffix("/v1").removesuffix("/v1beta")
        self.key = key
        self.models = dict(models)
        self.limit = "max_tokens"
        self.apis: tuple[str, ...] = tuple(models)
        self.first = next(iter(models), "chat")
        self.spent = Spent()
        self.timeout_s = timeout_s
        self._clock, self._sleep = clock, sleep
        self._context = tls_context(parts.scheme, environ)
        self._memos: dict[tuple[object, ...], _Memo] = {}
        self._lock = threading.Lock()

    def plain(self, api: str, **members: Any) -> Json:
        """The API's small request, with members over it."""
        return {**APIS[api].plain(self.models.get(api, ""), self.limit), **members}

    def auth(self, api: Api, key: str | None = None) -> tuple[tuple[str, str], ...]:
        """The credential in the API's own form, and the headers that go with it."""
        return ((api.header, f"{api.scheme}{self.key if key is None else key}"), *api.extra)

    def request(
        self,
        api: str,
        body: object,
        *,
        stream: bool = False,
        method: str = "POST",
        path: str | None = None,
        headers: tuple[tuple[str, str], ...] | None = None,
        kind: str | None = "application/json",
        more: tuple[tuple[str, str], ...] = (),
        model: str | None = None,
        close: bool = True,
    ) -> Request:
        """Write a request.

        Args:
            headers: in place of the credential; more: beside it.
            kind: the content type; None leaves it out.
            model: in place of the run's, for APIs that have it in the path.
        """
        row = APIS[api]
        name = self.models.get(api, "") if model is None else model
        sent = None if body is None else dump(row.streamed(body) if stream else body)
        lines = [*(self.auth(row) if headers is None else headers), *more]
        lines += [("Content-Type", kind)] if kind is not None and sent is not None else []
        lines += [("User-Agent", AGENT), ("Accept", "*/*")]
        lines += [("Connection", "close")] if close else []
        where = self.prefix + (row.path(name, stream=stream) if path is None else path)
        return Request(method=method, path=where, headers=tuple(lines), body=sent)

    def ask(
        self, api: str, body: object, *, stream: bool = False, fresh: bool = False, **options: Any
    ) -> Reply:
        """Send a request (``options`` of :meth:`request`) and read its reply; the same one is sent once.

        Raises:
            NoReply: there was none.
        """
        request = self.request(api, body, stream=stream, **options)
        if fresh:
            return self._patiently(request)
        with self._lock:
            memo = self._memos.setdefault(
                (request.method, request.path, request.headers, request.body), _Memo()
            )
        with memo.lock:
            if memo.reply is None:
                try:
                    memo.reply = self._patiently(request)
                except NoReply as error:
                    memo.reply = error
            if isinstance(memo.reply, NoReply):
                raise memo.reply
            return memo.reply

    def _patiently(self, request: Request) -> Reply:
        for number in range(RETRIES):
            reply = self.once(request)
            if reply.status not in BUSY or number == RETRIES - 1:
                break
            said = reply.header("retry-after") or ""
            self._sleep(min(float(said) if said.isdecimal() else 2.0**number, WAIT_S_MAX))
        return reply

    def once(self, request: Request, *, stop_after: int | None = None) -> Reply:
        with self.connect() as connection:
            connection.send(request)
            reply = connection.read(request, stop_after=stop_after)
        self.spent.add(reply)
        return reply

    @contextlib.contextmanager
    def connect(self) -> Iterator[Connection]:
        """A connection of one's own.

        Raises:
            NoReply: nobody answers.
        """
        connection = Connection(
            self.origin, timeout_s=self.timeout_s, clock=self._clock, context=self._context
        )
        try:
            yield connection
        finally:
            connection.close()
