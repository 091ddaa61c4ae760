"""The sandbox as a bare ASGI application: keys, routes, orders and errors around the simulated model."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from llm_router.domain.errors import RouterError
from llm_router.ports import Clock
from llm_router.sandbox import anthropic, bedrock, cohere, embedding, gemini, ollama, openai, responses
from llm_router.sandbox.directives import Fault
from llm_router.sandbox.form import SIMULATED_HEADER, Call, Form, Headers, Trouble
from llm_router.sandbox.metering import PromptCache, meter, prompt_tokens
from llm_router.sandbox.model import simulate
from llm_router.sandbox.prompt import Prompt
from llm_router.sandbox.signature import Objection
from llm_router.sandbox.streaming import Connection, Gone, send_stream
from llm_router.sandbox.tries import Tries
from llm_router.wire.chat import ChatRequest
from llm_router.wire.dialect import Bill, Inspected, ReplyContext
from llm_router.wire.events import Reply

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

BODY_BYTES_MAX = 64 * 1024 * 1024
"""A longer request is answered with 413."""

FORMS: Mapping[str, Form] = {
    module.FORM.name: module.FORM
    for module in (openai, responses, anthropic, gemini, bedrock, cohere, ollama)
}
"""All simulated providers by the first segment of their path."""


_PROVIDERS = frozenset({"openai", "anthropic", "bedrock", "cohere", "ollama"})
"""Forms that are named like their provider."""


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, trouble: Trouble) -> None:
        super().__init__(trouble.message)
        self.trouble = trouble


class Exchange(msgspec.Struct, kw_only=True):
    """One request on its way: who is asked, for what, and what names the place has for ``on NAME``."""

    form: Form
    call: Call
    request_id: str
    names: frozenset[str]


class Sandbox:
    """The ASGI application. ``clock`` dates the replies; everything else is decided by the requests."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._cache = PromptCache()
        self._tries = Tries()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        connection = Connection(receive, send)
        try:
            await self._serve(scope, connection)
        except Gone:
            pass
        finally:
            await connection.close()

    async def _serve(self, scope: Any, connection: Connection) -> None:
        request_id = f"req_{secrets.token_hex(12)}"
        form, provider, path = place(scope["path"])
        if form is None:
            note = "This is the sandbox of LLM Router. Its providers are below "
            note += ", ".join(f"/{form.name}{form.base_path}" for form in FORMS.values()) + "."
            body = msgspec.json.encode({"error": {"message": note}})
            status = 200 if scope["path"] == "/" else 404
            await connection.send_whole(status, (SIMULATED_HEADER, _JSON), body)
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        try:
            call = form.find(scope["method"], path)
            if call is None:
                raise Refused(
                    Trouble(status=404, message=f"Unknown request URL: {scope['method']} {scope['path']}.")
                )
            if not form.has_key(headers, query):
                raise Refused(form.missing_key)
            sent = await connection.read(BODY_BYTES_MAX)
            if sent is None:
                raise Refused(Trouble(status=413, message=f"The request exceeds {BODY_BYTES_MAX} bytes."))
            names = _names(form, provider)
            exchange = Exchange(form=form, call=call, request_id=request_id, names=names)
            await self._answer(exchange, sent, query, connection)
        except Refused as refused:
            extra, text = form.error(refused.trouble, request_id)
            await connection.send_whole(refused.trouble.status, (*_headers(form, request_id), *extra), text)

    async def _answer(
        self, exchange: Exchange, body: bytes, query: dict[str, str], connection: Connection
    ) -> None:
        form, call = exchange.form, exchange.call
        head = _headers(form, exchange.request_id)
        match call.operation:
            case "models":
                await connection.send_whole(200, head, msgspec.json.encode(form.listed()))
            case "model":
                await connection.send_whole(200, head, msgspec.json.encode(form.described(call.model or "")))
            case "count_tokens":
                _, request = _decode(exchange, body, query, counting=True)
                counted = form.counted(prompt_tokens(request))
                await connection.send_whole(200, head, msgspec.json.encode(counted))
            case "embed":
                await self._embed(exchange, body, connection)
            case "chat":
                inspected, request = _decode(exchange, body, query)
                await self._chat(exchange, inspected, request, connection)

    async def _chat(
        self, exchange: Exchange, inspected: Inspected, request: ChatRequest, connection: Connection
    ) -> None:
        form, prompt = exchange.form, Prompt(request)
        faults = self._faults(prompt, exchange.names)
        for kind in ("error", "overloaded", "too-long"):
            if kind in faults and not (faults[kind].mid and inspected.stream):
                raise Refused(_ordered(form, faults[kind]))
        try:
            form.check(request)
        except Objection as bad:
            raise Refused(Trouble(status=400, message=bad.why, param=bad.path)) from bad
        answer = simulate(prompt, empty="empty" in faults)
        usage = None if prompt.directives.no_usage else meter(request, answer, self._cache)
        created_s = self._clock.now_ms() // 1000
        reply_id = form.reply_id(secrets.token_hex(14))
        reply = msgspec.structs.replace(answer.reply, id=reply_id, created_s=created_s, usage=usage)
        context = ReplyContext(
            reply_id=reply_id,
            model=request.model,
            created_s=created_s,
            usage_chunk=inspected.usage_chunk is True,
            legacy_functions=inspected.legacy_functions,
            json_array=inspected.json_array,
            prompt_tokens_estimate=usage.prompt_tokens if usage is not None else 0,
            custom_tools=inspected.custom_tools,
            echo=inspected.echo,
        )
        head = _headers(form, exchange.request_id)
        if inspected.stream:
            trouble = next((_ordered(form, f) for f in faults.values() if f.mid), None)
            failure = form.error(trouble, exchange.request_id)[1] if trouble is not None else None
            slow_s = prompt.directives.slow_s
            await send_stream(connection, form, head, reply, context, faults, failure, slow_s)
        else:
            await _send_whole(connection, form, head, reply, context, faults)

    async def _embed(self, exchange: Exchange, body: bytes, connection: Connection) -> None:
        """Vectors, or what an order in one of the texts says."""
        form = exchange.form
        try:
            asked = embedding.read(exchange.call.format, body, exchange.call.model)
        except RouterError as error:
            raise Refused(Trouble(status=error.status, message=error.message, param=error.param)) from error
        except msgspec.MsgspecError as error:
            raise Refused(Trouble(status=400, message=f"The body is wrong: {error}.")) from error
        faults = self._faults(Prompt(asked.as_chat()), exchange.names)
        for kind in ("error", "overloaded", "too-long"):
            if kind in faults:
                raise Refused(_ordered(form, faults[kind]))
        await _send_faulty(connection, _headers(form, exchange.request_id), embedding.answer(asked), faults)

    def _faults(self, prompt: Prompt, names: frozenset[str]) -> dict[str, Fault]:
        """The ordered faults that concern this place and this try, by kind."""
        found: dict[str, Fault] = {}
        for number, fault in enumerate(prompt.directives.faults):
            if fault.on is not None and fault.on not in names:
                continue
            if prompt.resumption is not None and fault.tries is None:
                continue  # it was obeyed when the answer broke off
            key = prompt.digest + b"%d " % number + ",".join(sorted(names)).encode()
            if fault.tries is None or self._tries.left(key, fault.tries):
                found.setdefault(fault.kind, fault)
        return found


_JSON = ("content-type", "application/json")


def _headers(form: Form, request_id: str) -> Headers:
    return (SIMULATED_HEADER, _JSON, *form.headers(request_id))


def place(path: str) -> tuple[Form | None, str | None, str]:
    """``[/at/PROVIDER]/FORM[/VERSION]/...`` as form, provider and the path below the version."""
    steps = path.strip("/").split("/")
    provider = None
    if len(steps) > 2 and steps[0] == "at":
        provider, steps = steps[1].lower(), steps[2:]
    form = FORMS.get(steps[0])
    if form is None:
        return None, provider, ""
    rest = steps[1:]
    if rest and rest[0] in form.versions:
        rest = rest[1:]
    return form, provider, "/".join(rest)


def _names(form: Form, provider: str | None) -> frozenset[str]:
    """What an order may call the place: its own name, its form's, and its dialect's.

    Where a provider is named like the form that others speak too (Bedrock speaks Anthropic's), the word
    is the provider's, so that an order can strike it and spare those behind it.
    """
    own = {form.dialect.name, form.name} if provider is None else {form.dialect.name, provider}
    return frozenset(own if form.name in _PROVIDERS else own | {form.name})


def _decode(
    exchange: Exchange, body: bytes, query: dict[str, str], *, counting: bool = False
) -> tuple[Inspected, ChatRequest]:
    """Read a request with the dialect's own front side.

    Raises:
        Refused: with the status and parameter that the dialect names.
    """
    dialect, call = exchange.form.dialect, exchange.call
    try:
        if counting:
            body = exchange.form.counting_body(body)
        body, named = _plain_model(exchange.form.readable(body))
        inspected = dialect.inspect(body, call.model, call.stream)
        if call.stream and exchange.form.name == "gemini":
            inspected.json_array = query.get("alt") != "sse"
        request = dialect.decode_request(inspected)
        return inspected, request if named is None else msgspec.structs.replace(request, model=named)
    except RouterError as error:
        raise Refused(Trouble(status=error.status, message=error.message, param=error.param)) from error
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError) as error:
        raise Refused(Trouble(status=400, message=f"The body is not a JSON object: {error}.")) from error


def _plain_model(body: bytes) -> tuple[bytes, str | None]:
    """Put a stand-in where the model's name is one that only its provider takes ("@cf/meta/llama-3").

    The dialects' front side checks names as the gateway's clients may write them.
    """
    tree = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    model = msgspec.json.decode(tree["model"]) if "model" in tree else None
    if not isinstance(model, str) or model[:1].isalnum():
        return body, None
    tree["model"] = msgspec.Raw(b'"simulated"')
    return msgspec.json.encode(tree), model


def _ordered(form: Form, fault: Fault) -> Trouble:
    """The error that an order asks for, in the form's own terms."""
    wait = fault.retry_after_s
    if fault.kind == "too-long":
        return form.too_long
    if fault.kind == "overloaded":
        message = "The simulated provider is overloaded, as the prompt ordered. Try again later."
        return Trouble(status=form.overloaded_status, message=message, retry_after_s=wait, overloaded=True)
    status = fault.status if fault.status is not None else 500
    message = f"The prompt ordered this simulated error {status}."
    return Trouble(status=status, message=message, retry_after_s=wait)


async def _send_whole(
    connection: Connection,
    form: Form,
    head: Headers,
    reply: Reply,
    context: ReplyContext,
    faults: dict[str, Fault],
) -> None:
    bill = Bill(usage=reply.usage, cost_pusd=0, credits_remaining_pusd=0)
    body, _ = form.dialect.encode_reply(reply, context, bill)
    mended = form.mend(msgspec.json.decode(body), context.model, reply.usage is not None)
    await _send_faulty(connection, head, msgspec.json.encode(mended), faults)


async def _send_faulty(connection: Connection, head: Headers, body: bytes, faults: dict[str, Fault]) -> None:
    """Send a whole reply as it was ordered: late, broken, cut, or well."""
    if "stall" in faults:
        await connection.pause(faults["stall"].seconds)
    if "malformed" in faults:
        body = body[: len(body) // 2]
    if "cut" in faults:
        await connection.send_part_of(200, head, body, len(body) // 2)
        return
    await connection.send_whole(200, head, body)
