"""The way of a request of the API: who asks, may they, was it asked before, and then its handler."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote

import msgspec

from llm_router.access.subject import Subject, subject_of_key
from llm_router.domain.account import Actor, Repeat, SignIn
from llm_router.domain.errors import (
    Forbidden,
    IdempotencyConflict,
    IdempotencyMismatch,
    InvalidRequest,
    MethodNotAllowed,
    MissingApiKey,
    RouterError,
    SignInRefused,
)
from llm_router.domain.key import Key
from llm_router.edge.api.cookies import check_origin, cookie_of
from llm_router.edge.api.desk import Desk
from llm_router.edge.api.table import Answer, ApiRoute, ApiTable, Ask, Body, Stream, admit, read_body
from llm_router.edge.api.visitors import visitor_key
from llm_router.edge.gateway import Gateway, credential
from llm_router.edge.guard import LOOK_US, address_of, check_key
from llm_router.edge.http import AsgiClient, Request, Send, answer_json
from llm_router.edge.packing import answer_packed
from llm_router.engine.admit import authenticate
from llm_router.engine.rolls import find

BODY_BYTES_MAX = 1024 * 1024
BODY_S = 30.0
"""A body must have arrived by then."""

REPEAT_MS = 24 * 3_600_000
"""How long the answer to a request with an Idempotency-Key is given again."""

CLAIM_MS = 120_000
"""How long a request may be worked on before who repeats it may begin anew."""

HEADERS = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
]


class Api:
    """Answers everything under /api/v1."""

    def __init__(self, desk: Desk, table: Callable[[], ApiTable]) -> None:
        self.desk = desk
        self.table = table

    async def serve(self, gateway: Gateway, request: Request, send: Send, path: str) -> bool:
        """Answer a request, if the API knows its path; False if it does not.

        Raises:
            RouterError: as the answer is to say.
        """
        route, parameters, methods = self.table().find(request.method, path)
        if route is None and not methods:
            return False
        if route is None:
            allowed = ", ".join(sorted(methods))
            error = MethodNotAllowed(f"{request.method} is not allowed for {path[:200]}. Use {allowed}.")
            error.headers = (("allow", allowed),)
            raise error
        named = {name: unquote(text) for name, text in parameters.items()}
        by = Actor(id="", name="", ip=address_of(request, self.desk.trusted_proxies))
        ask = Ask(self.desk, request, named, by)
        await self._identify(route, ask)
        request.check_head(BODY_BYTES_MAX)
        await admit(route, ask)
        raw = await request.body(BODY_BYTES_MAX, BODY_S) if route.writes else b""
        if route.body is not None:
            ask.body = _read(raw, route)
        value = None if route.writes else await route.handler(ask)
        if isinstance(value, Stream):
            await self._send_pieces(gateway, request, send, value, lambda: self._still(route, ask))
            return True
        status, data, cookies, location = (
            await self._answer(route, ask, raw) if route.writes else _encoded(route, value)
        )
        headers = [*HEADERS, *((b"set-cookie", cookie.encode("latin-1")) for cookie in cookies)]
        if location is not None:
            headers.append((b"location", location.encode("latin-1")))
        if route.writes or status != 200:
            await answer_json(send, status, data, headers)
        else:
            await answer_packed(request, send, data, headers, fixed=route.fixed)
        return True

    async def visitor(self, request: Request, permission: str) -> Key | None:
        """The key that a request of somebody who has signed in stands for, outside of this API; None if nobody has.

        Raises:
            ClientError: see :func:`visitor_key`.
        """
        return await visitor_key(self.desk, request, permission)

    async def _identify(self, route: ApiRoute, ask: Ask) -> None:
        """Find out who asks.

        Raises:
            MissingApiKey, InvalidApiKey, SignInRefused, Forbidden
        """
        request = ask.request
        text = credential(request)
        if text is not None and route.who != "anybody":
            if route.who != "subject":
                raise Forbidden("This is for people who have signed in, and not for API keys.")
            now_ms = self.desk.clock.now_ms()
            key = await authenticate(self.desk.keyring, text, now_ms)
            check_key(key, request, None, self.desk.trusted_proxies)
            self._adopt(ask, subject_of_key(key), None)
            return
        token = cookie_of(request, self.desk.origin)
        if route.writes and (token is not None or route.who == "anybody"):
            check_origin(request, self.desk.origin)
        found = None if token is None else await self.desk.sign_ins.subject(token)
        if found is not None and (route.pending or not found[1].pending):
            self._adopt(ask, *found)
        elif found is not None and route.who != "anybody":
            raise SignInRefused("A second factor is still to be given.", code="second_factor_required")
        elif route.who != "anybody":
            if token is not None:
                raise SignInRefused("This session has ended: sign in again.", code="session_ended")
            raise MissingApiKey("Sign in, or send an API key as 'Authorization: Bearer <key>'.")

    def _adopt(self, ask: Ask, subject: Subject, sign_in: SignIn | None) -> None:
        ask.who, ask.sign_in = subject, sign_in
        ask.by = Actor(id=subject.id, name=subject.name, ip=ask.by.ip)

    async def _answer(
        self, route: ApiRoute, ask: Ask, raw: bytes
    ) -> tuple[int, bytes, tuple[str, ...], str | None]:
        key = ask.request.headers.get("idempotency-key")
        if key is None or not route.once or ask.who is None:
            return await _handled(route, ask)
        if not 1 <= len(key) <= 255:
            raise InvalidRequest("'Idempotency-Key' must have 1 to 255 characters.", param="idempotency-key")
        return await self._once(route, ask, raw, key)

    async def _once(
        self, route: ApiRoute, ask: Ask, raw: bytes, key: str
    ) -> tuple[int, bytes, tuple[str, ...], str | None]:
        """Answer a request that may come again, once.

        Raises:
            IdempotencyConflict: the same is being worked on.
            IdempotencyMismatch: another request had that key.
        """
        directory, now_ms = self.desk.directory, self.desk.clock.now_ms()
        id_ = self._mark("repeat", ask.subject.id, key)
        query = ask.request.query.decode("latin-1")
        said = self._mark("request", ask.request.method, ask.request.path, query, raw.hex())
        old = await find(directory, Repeat, id_)
        living = old is not None and old.expires_ms > now_ms
        if living and old is not None:
            if old.request != said:
                raise IdempotencyMismatch("Another request was sent with this Idempotency-Key.")
            body = self.desk.unseal(id_, old.body) if old.status else None
            if body is None:
                raise IdempotencyConflict("The same request is being worked on.", retry_after_s=1)
            return old.status, body, (), None
        version = 1 if old is None else old.version + 1
        claim = Repeat(id=id_, request=said, expires_ms=now_ms + CLAIM_MS, version=version)
        if not await directory.write([claim], [], []):
            raise IdempotencyConflict("The same request is being worked on.", retry_after_s=1)
        try:
            answer = await _handled(route, ask)
        except BaseException:
            await directory.write([], [("repeat", id_)], [])
            raise
        kept = msgspec.structs.replace(
            claim,
            status=answer[0],
            body=self.desk.seal(id_, answer[1]),
            expires_ms=now_ms + REPEAT_MS,
            version=version + 1,
        )
        await directory.write([kept], [], [])
        return answer

    async def _still(self, route: ApiRoute, ask: Ask) -> bool:
        """Whether who asked may still read what is sent: nobody signed them out, disabled or removed them meanwhile,
        or revoked their key."""
        again = Ask(self.desk, ask.request, ask.parameters, ask.by)
        try:
            await self._identify(route, again)
            await admit(route, again)
        except RouterError:
            return False
        return again.account == ask.account and again.subject.id == ask.subject.id

    async def _send_pieces(
        self,
        gateway: Gateway,
        request: Request,
        send: Send,
        stream: Stream,
        still: Callable[[], Awaitable[bool]],
    ) -> None:
        """Send an answer in pieces. What fails before the first is an answer of its own, what breaks off later is cut.

        Raises:
            RouterError: nothing was sent.
        """
        first = await anext(stream.pieces)
        client, now_us = AsgiClient(send), self.desk.clock.monotonic_us
        headers = [*HEADERS, (b"content-type", stream.content_type.encode())]
        if stream.filename is not None:
            named = f'attachment; filename="{stream.filename}"'
            headers.append((b"content-disposition", named.encode("latin-1")))

        async def work() -> None:
            await client.start(200, headers)
            try:
                if first:
                    await client.send(first)
                looked_us = now_us()
                async for piece in stream.pieces:
                    if stream.over is not None or now_us() - looked_us >= LOOK_US:
                        if not await still():
                            if stream.over is None:
                                raise ConnectionError(
                                    "the answer broke off: who asked may not read it any more"
                                )
                            await client.send(stream.over)
                            break
                        looked_us = now_us()
                    await client.send(piece)
            except RouterError as error:
                raise ConnectionError("the answer broke off") from error
            finally:
                await stream.pieces.aclose()
            await client.finish()

        await gateway.watched(request, work())

    def _mark(self, what: str, *parts: str) -> str:
        """What stands for these where requests are remembered: without the installation's secret nobody can try out
        which request it was."""
        return self.desk.mark(what, msgspec.json.encode(parts))


async def _handled(route: ApiRoute, ask: Ask) -> tuple[int, bytes, tuple[str, ...], str | None]:
    return _encoded(route, await route.handler(ask))


def _encoded(route: ApiRoute, value: object) -> tuple[int, bytes, tuple[str, ...], str | None]:
    answer = value if isinstance(value, Answer) else Answer(value=value)
    status = route.status if answer.status is None else answer.status
    return status, msgspec.json.encode(answer.value), answer.cookies, answer.location


def _read(raw: bytes, route: ApiRoute) -> Any:
    """
    Raises:
        InvalidRequest: the body is not what the row takes.
    """
    assert route.body is not None
    try:
        return read_body(raw, route.body)
    except msgspec.ValidationError as error:
        text = f"The request body is wrong: {error}."
        at = _MEMBER.search(str(error))
        raise InvalidRequest(
            text + _members_for(str(error), route.body), param=None if at is None else at[1]
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise InvalidRequest("The request body is not valid JSON.") from None


_MEMBER = re.compile(r" - at `\$\.([a-z_]+)")
"""Where in a body something is wrong."""

_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
"""What is said of a member of the body itself; of one further inside, where it stands is said behind it."""


def _members_for(problem: str, body: type[Body]) -> str:
    """What to send in place of a member that nobody knows; nothing for other problems."""
    found = _UNKNOWN.fullmatch(problem)
    if found is None:
        return ""
    known = [field.encode_name for field in msgspec.structs.fields(body)]
    near = get_close_matches(found[1][:100], known, n=1)
    meant = f" Did you mean '{near[0]}'?" if near else ""
    return f"{meant} Its members are: {', '.join(known)}." if known else " It takes no members."
