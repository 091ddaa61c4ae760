#!/usr/bin/env python3
"""LLM Router client: many language models behind one API and one key. One file, standard library only.

As a library::

    from llm_router_client import LLMRouterClient

    client = LLMRouterClient()
    reply = client.chat("gpt-5-mini", [{"role": "user", "content": "Say hello."}])
    if "error" in reply:
        print(reply["error"]["code"], reply["error"]["message"])
    else:
        print(reply["choices"][0]["message"]["content"], reply["usage"]["cost"])

As a command::

    python3 llm_router_client.py chat -m gpt-5-mini --message "Say hello."

The environment variable ``AISA_API_KEY`` holds the key, ``LLM_ROUTER_BASE_URL`` the gateway's address (else
the gateway of this machine). Python 3.9 or later. Whatever goes wrong on the way is returned as
``{"error": {"code", "message", ...}}``; only :meth:`LLMRouterClient.chat_stream` raises it.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import random
import re
import socket
import ssl
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

__all__ = ["LLMRouterClient", "LLMRouterError", "StreamResult"]
__version__ = "0.1.0"

DEFAULT_BASE_URL = "http://127.0.0.1:4040/v1"
RETRY_STATUSES = frozenset({408, 409, 429, 500, 502, 503, 504, 529})
"""Replies after which the same request may be sent again, unless ``x-should-retry`` says otherwise."""

RETRY_AFTER_S_MAX = 60.0
"""If the gateway asks for a longer pause, its error goes to the caller at once."""

CONNECT_S_MAX = 10.0
COMPARE_THREADS = 8
REPLY_BYTES_MAX = 64 * 1024 * 1024
IMAGE_BYTES_MAX = 20 * 1024 * 1024
READ_BYTES = 64 * 1024

Message = Mapping[str, Any]


class LLMRouterError(RuntimeError):
    """A request failed.

    Attributes:
        code: the gateway's own (``model_not_found``, ``insufficient_credits``, ...), ``http_502`` and the like
            where an error reply has none, ``NETWORK_ERROR`` (no reply came, or none that can be used),
            ``STREAM_ERROR`` (a stream began and broke) or ``INVALID_INPUT`` (nothing was sent).
        status: HTTP status of an error reply, else None.
        body: the ``error`` member of the gateway's reply, or {}.
        retry_after: seconds to wait before another try, if the gateway said so.
        partial, partial_text: what a broken stream brought, in the form of a reply, and its text.
    """

    def __init__(self, code: str, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.body: dict[str, Any] = {}
        self.retry_after: float | None = None
        self.repeatable = False  # whether the same request may safely be sent again
        self.unsent = False  # no connection was made
        self.partial: dict[str, Any] | None = None
        self.partial_text = ""

    def __str__(self) -> str:
        return self.message

    def as_dict(self) -> dict[str, Any]:
        """The form in which :meth:`LLMRouterClient.chat` returns it."""
        facts = _given(status=self.status, retry_after=self.retry_after)
        known = {"code": self.code, "message": self.message, **facts}
        return {"error": {**known, **self.body, **known}, **_given(partial=self.partial)}


@dataclass(frozen=True)
class StreamResult:
    """What a stream was, to be read after its end as ``client.last_stream``.

    Attributes:
        complete: its end mark came; False if it broke or was left early.
        usage: token counts, ``cost`` and ``credits_remaining`` (US dollars); {} if none came.
        tool_calls: put together, as in a reply that is not streamed.
        reply: all of it, in the form of a reply that is not streamed.
    """

    complete: bool
    id: str | None
    model: str | None
    text: str
    reasoning: str
    tool_calls: list[dict[str, Any]]
    finish_reason: str | None
    usage: dict[str, Any]
    cost: float | None
    credits_remaining: float | None
    reply: dict[str, Any]


class LLMRouterClient:
    """Talks to a gateway with an OpenAI-compatible API.

    Args:
        api_key: else the environment variable ``AISA_API_KEY``.
        base_url: with or without ``/v1`` at its end; else ``LLM_ROUTER_BASE_URL``, else the local gateway.
        timeout: seconds that a call may take in all: its retries, pauses and a whole stream included.
        max_retries: further tries after failures that allow them: no connection, 408, 409, 429 and 5xx.
        idle_timeout: seconds that a stream may be silent (the gateway sends signs of life).

    Raises:
        ValueError: there is no usable key, or another argument is wrong; the text says what to change.
    """

    def __init__(
        self,
        api_key: str | None = None,
        base_url: str | None = None,
        timeout: float = 600.0,
        max_retries: int = 2,
        idle_timeout: float = 120.0,
    ) -> None:
        if not (timeout > 0 and idle_timeout > 0 and max_retries >= 0):
            raise ValueError("timeout and idle_timeout must be more than 0 seconds, max_retries 0 or more")
        key = _check_key(api_key if api_key is not None else os.environ.get("AISA_API_KEY", ""))
        url = base_url or os.environ.get("LLM_ROUTER_BASE_URL", "").strip() or DEFAULT_BASE_URL
        self._http = _Http(key, _check_base_url(url), timeout, idle_timeout, max_retries)
        self.last_stream: StreamResult | None = None
        self._compares = True  # until the gateway turns out to be older, or another service

    def chat(
        self,
        model: str,
        messages: Sequence[Message],
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_p: float | None = None,
        stream: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Ask for a completion and return the reply as it came, or a dict with ``error``.

        With ``stream`` the answer travels as a stream, which survives long waits, and is put together here;
        one that breaks off gives ``{"error": ..., "partial": what came}``. ``kwargs`` (tools, functions,
        response_format, reasoning_effort, ...) go to the gateway unchanged.
        """
        options = {**_given(temperature=temperature, max_tokens=max_tokens, top_p=top_p), **kwargs}
        try:
            if not stream:
                return self._http.json("/chat/completions", "choices", _request(model, messages, options))
            collector = _Collector()
            for _ in self._stream(model, messages, options, collector):
                pass
            return collector.reply()
        except LLMRouterError as error:
            return error.as_dict()

    def chat_stream(
        self, model: str, messages: Sequence[Message], **kwargs: Any
    ) -> Generator[str, None, None]:
        """Yield the text of the answer in pieces as they come; ``last_stream`` tells the rest afterwards.

        Raises:
            LLMRouterError: the request failed, or the stream broke: what came is not the whole answer.
        """
        self.last_stream = None
        collector = _Collector()
        try:
            yield from self._stream(model, messages, kwargs, collector)
        finally:
            self.last_stream = collector.result()

    def vision(self, model: str, image_url: str, prompt: str, **kwargs: Any) -> dict[str, Any]:
        """Ask about an image: an https or data URL, or a file of this machine. Returns as :meth:`chat`."""
        try:
            image = {"type": "image_url", "image_url": {"url": _image_url(image_url)}}
        except LLMRouterError as error:
            return error.as_dict()
        content = [{"type": "text", "text": prompt}, image]
        return self.chat(model, [{"role": "user", "content": content}], **kwargs)

    def compare_models(self, models: Sequence[str], message: str, **kwargs: Any) -> dict[str, dict[str, Any]]:
        """Put one question to several models at the same time; one that is named twice is asked once.

        The gateway compares them itself if it can, so that credit for all of them is there before any is asked;
        else each is asked by a chat of its own.

        Returns:
            ``{model: result}`` in the order of ``models``. A result is ``{"success": True, "response",
            "latency", "tokens", "cost"}`` or ``{"success": False, "error", "latency"}``: latency in seconds,
            cost in US dollars, ``error`` as :meth:`chat` has it.
        """
        names = list(dict.fromkeys(models))
        messages = [{"role": "user", "content": message}]

        def ask(model: str) -> dict[str, Any]:
            began = time.monotonic()
            reply = self.chat(model, messages, **kwargs)
            return _compared(reply, time.monotonic() - began)

        if self._compares and _comparable(names) and not kwargs.keys() & {"model", "messages", "models"}:
            began = time.monotonic()
            try:
                lanes = self._compare(names, messages, kwargs)
            except LLMRouterError as error:
                failed, took = error.as_dict(), time.monotonic() - began
                return {name: _compared(failed, took) for name in names}
            if lanes is not None:
                return {name: _lane_result(lanes.get(name.strip(), {})) for name in names}
        return _in_parallel(ask, names)

    def _compare(
        self, names: Sequence[str], messages: Sequence[Message], options: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]] | None:
        """The lanes of a comparison by the gateway, by model; None if what answers there makes none."""
        options = {
            name: value for name, value in options.items() if value is not None or name not in _OPTIONAL
        }
        body = _json_body({"models": names, "messages": messages, **options, "stream": False})
        try:
            lanes = self._http.json("/compare", "lanes", body, once=True)["lanes"]
        except LLMRouterError as error:
            if error.unsent:
                return None  # each chat will try again
            if error.status is None or error.status not in (200, 404, 405, 501):
                raise
            if error.status == 200 and error.body:
                raise
            self._compares = False
            return None
        return {str(lane.get("model")): lane for lane in _dicts(lanes)}

    def list_models(self, include_unavailable: bool = False) -> dict[str, Any]:
        """The models that can be called now, by family, or a dict with ``error``.

        Returns:
            ``{family: [{"id", "name", "context_length", "max_output_tokens", "price_per_mtok": {"input",
            "output"}, "input_modalities", "tools", "reasoning", "strengths", "quality_tier", "status"}]}``:
            US dollars per million tokens, None where the gateway does not say. ``include_unavailable`` adds
            models that were shut down or whose providers the gateway has no key for.
        """
        try:
            data = self._http.json("/models", "data")["data"]
        except LLMRouterError as error:
            return error.as_dict()
        families: dict[str, Any] = {}
        for model in _dicts(data):
            ended = model.get("status") == "shutdown" or model.get("available") is False
            if include_unavailable or not ended:
                family = str(model.get("family") or model.get("owned_by") or "other")
                families.setdefault(family, []).append(_model_entry(model))
        return families

    def estimate(
        self, models: str | Sequence[str], messages: Sequence[Message], **kwargs: Any
    ) -> dict[str, Any]:
        """What a chat would cost, before it is sent, or a dict with ``error``. Nothing is charged.

        Args:
            models: one model, or a list of them.
            kwargs: as for :meth:`chat`: ``max_tokens``, ``tools`` and the rest count too.

        Returns:
            of one model ``{"model", "cost": {"min", "expected", "max"}, "affordable", ...}`` in US dollars; of
            a list ``{"data": [...]}`` of such, where a model that cannot be asked has ``error``.
        """
        try:
            if isinstance(models, str):
                return self._http.json("/estimate?api=chat", "cost", _request(models, messages, kwargs))
            if not models:
                raise LLMRouterError("INVALID_INPUT", "There is no model to estimate for: name at least one.")
            options = {**kwargs, "models": list(models)}
            return self._http.json("/estimate?api=chat", "data", _request(models[0], messages, options))
        except LLMRouterError as error:
            return error.as_dict()

    def generation(self, id: str) -> dict[str, Any]:
        """The gateway's record of a request (attempts, tokens, cost lines), by the ``id`` of its reply."""
        try:
            return self._http.json("/generations/" + urllib.parse.quote(id, safe=""), "id")
        except LLMRouterError as error:
            return error.as_dict()

    def _stream(
        self, model: str, messages: Sequence[Message], options: Mapping[str, Any], collector: _Collector
    ) -> Iterator[str]:
        """Run a stream through the collector and yield its text. An error takes along what came."""
        wanted = {"stream_options": {"include_usage": True}, **options, "stream": True}
        try:
            body = _request(model, messages, wanted)
            with self._http.send("/chat/completions", body, stream=True) as reply:
                for event, data in _events(_lines(reply.pieces())):
                    if data.strip() == "[DONE]":
                        collector.complete = True
                        return
                    text = collector.add(reply.chunk(event, data))
                    if text:
                        yield text
                raise reply.broken("ended before the answer was complete")
        except LLMRouterError as error:
            if collector.began:
                error.partial, error.partial_text = collector.reply(), collector.result().text
            raise


# HTTP


class _KeyProblem(ValueError):
    """There is no key, or none that can be sent."""


def _check_key(key: str) -> str:
    key = key.strip()
    if not key:
        raise _KeyProblem("No API key: set the environment variable AISA_API_KEY, or pass api_key.")
    if not re.fullmatch(r"[!-~]+", key):  # anything else would not survive in a header
        raise _KeyProblem("The API key holds blanks or characters that no key has: check AISA_API_KEY.")
    return key


def _check_base_url(url: str) -> urllib.parse.SplitResult:
    """The address with ``/v1`` at its end, without user name and password; ValueError if it is none."""
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(url.strip())
        host, path = parts.netloc.rpartition("@")[2], parts.path.rstrip("/")
        path = path if path.endswith("/v1") else path + "/v1"
        whole = parts.hostname and parts.port != 0 and not parts.query + parts.fragment
        if parts.scheme in ("http", "https") and whole and re.fullmatch(r"[!-~]+", host + path):
            return urllib.parse.SplitResult(parts.scheme, host, path, "", "")
    raise ValueError("The base URL must look like http://127.0.0.1:4040/v1: check LLM_ROUTER_BASE_URL.")


class _Http:
    """One gateway: connects, sends, retries, and turns all that goes wrong into LLMRouterError."""

    def __init__(
        self, key: str, base: urllib.parse.SplitResult, timeout_s: float, idle_s: float, retries_max: int
    ) -> None:
        self.key = key
        self.base = base
        self.origin = f"{base.scheme}://{base.netloc}"
        self.timeout_s = timeout_s
        self.idle_s = idle_s
        self.retries_max = retries_max

    def json(self, path: str, member: str, body: bytes | None = None, once: bool = False) -> dict[str, Any]:
        """The JSON object that answers; one without ``member`` is no answer. ``once``: do not try again to
        connect."""
        with self.send(path, body, once=once) as reply:
            return reply.json(member)

    def send(self, path: str, body: bytes | None, stream: bool = False, once: bool = False) -> _Reply:
        """Send a request (POST if it has a body), again where that is safe; return a reply that is no error."""
        deadline = time.monotonic() + self.timeout_s
        tries = 0
        while True:
            try:
                return self._try(path, body, stream, max(deadline - time.monotonic(), 0.001))
            except LLMRouterError as error:
                long = error.retry_after is not None and error.retry_after > RETRY_AFTER_S_MAX
                if long or not error.repeatable or tries >= self.retries_max or (once and error.unsent):
                    raise
                pause_s = _pause_s(error.retry_after, tries)
                if time.monotonic() + pause_s >= deadline:
                    raise
            tries += 1
            time.sleep(pause_s)

    def _try(self, path: str, body: bytes | None, stream: bool, left_s: float) -> _Reply:
        connection, target, headers = self._connection(self.base.path + path, min(CONNECT_S_MAX, left_s))
        headers["Authorization"] = f"Bearer {self.key}"
        headers["Content-Type"] = "application/json"
        headers["User-Agent"] = f"llm-router-client/{__version__}"
        headers["Connection"] = "close"
        try:
            connection.connect()
        except (OSError, UnicodeError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreachable(error) from None
        reply = _Reply(self, connection, left_s, self.idle_s if stream else left_s)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it may have refused at once
                connection.request("GET" if body is None else "POST", target, body, headers)
            reply.response = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            with reply:
                raise reply.lost("no answer", error, repeatable=body is None) from None
        if not 200 <= reply.response.status < 300:
            with reply:
                raise reply.failure()
        return reply

    def _connection(
        self, path: str, timeout_s: float
    ) -> tuple[http.client.HTTPConnection, str, dict[str, str]]:
        """A connection, direct or by the proxy that the system names; the request target; proxy headers."""
        secure, host, port = self.base.scheme == "https", self.base.hostname or "", self.base.port
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        named = urllib.request.getproxies()
        address = named.get(self.base.scheme) or named.get("all")
        loopback = host in ("localhost", "::1") or host.startswith("127.")
        if not address or loopback or urllib.request.proxy_bypass(host):
            return kind(host, port, timeout=timeout_s), path, {}
        with contextlib.suppress(ValueError):
            proxy = urllib.parse.urlsplit(address if "://" in address else "http://" + address)
            if proxy.scheme == "http" and proxy.hostname:
                connection = kind(proxy.hostname, proxy.port or 80, timeout=timeout_s)
                headers = _proxy_headers(proxy)
                if not secure:
                    return connection, self.origin + path, headers
                connection.set_tunnel(host, port, headers)
                return connection, path, {}
        raise LLMRouterError("NETWORK_ERROR", "The proxy of this system is no http:// proxy: see NO_PROXY.")

    def _unreachable(self, error: Exception) -> LLMRouterError:
        """Nothing was sent: another try is safe, and of use unless the name or the certificate is wrong."""
        text = (
            f"No gateway can be reached at {self.origin} ({_explain(error)}). "
            "Start one with 'llm-router serve', or set LLM_ROUTER_BASE_URL to the address of yours."
        )
        failure = LLMRouterError("NETWORK_ERROR", text)
        failure.unsent = True
        unknown = isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN
        failure.repeatable = not (unknown or isinstance(error, (UnicodeError, ssl.SSLCertVerificationError)))
        return failure


def _proxy_headers(proxy: urllib.parse.SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    secret = urllib.parse.unquote(f"{proxy.username}:{proxy.password or ''}")
    return {"Proxy-Authorization": "Basic " + base64.b64encode(secret.encode()).decode()}


class _Reply:
    """A request under way on an open connection, cut when its time is over, wherever it then waits."""

    response: http.client.HTTPResponse

    def __init__(
        self, sender: _Http, connection: http.client.HTTPConnection, left_s: float, silence_s: float
    ) -> None:
        self._http = sender
        self._connection = connection
        self._socket = connection.sock
        self._socket.settimeout(silence_s)
        self._expired = False
        self._timer = threading.Timer(left_s, self._expire)
        self._timer.daemon = True
        self._timer.start()

    def _expire(self) -> None:
        self._expired = True
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # under TLS, which may be in use

    def __enter__(self) -> _Reply:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._connection.close()
        if hasattr(self, "response"):
            self.response.close()

    def json(self, member: str) -> dict[str, Any]:
        """The body of a good reply: an object with ``member`` and without an error."""
        value = _dict(_parse(self._body()))
        if value.get("error"):
            raise self._error(value)
        value.pop("error", None)  # some servers write "error": null
        if member not in value:
            text = f"What answers at {self._http.origin} is no LLM Router: check LLM_ROUTER_BASE_URL."
            raise LLMRouterError("NETWORK_ERROR", text, self.response.status)
        return value

    def failure(self) -> LLMRouterError:
        """The error that a reply of another status than 2xx is."""
        headers, status = self.response.headers, self.response.status
        body = ""
        with contextlib.suppress(LLMRouterError):  # the status says enough
            body = self._body()
        error = self._error(_parse(body))
        if 300 <= status < 400:
            error.message = f"{self._http.origin} sends on to another address: set LLM_ROUTER_BASE_URL to it."
        error.retry_after = _retry_after_s(headers.get)
        asked = headers.get("x-should-retry")
        error.repeatable = asked == "true" or (asked != "false" and status in RETRY_STATUSES)
        return error

    def pieces(self) -> Iterator[bytes]:
        """The body of a stream as it comes."""
        try:
            while True:
                piece = self.response.read1(READ_BYTES)
                if not piece:
                    break
                yield piece
        except (OSError, http.client.HTTPException) as error:
            raise self.broken(f"broke off ({self._why(error)})") from None
        if self._expired:
            raise self.broken(f"broke off ({self._why()})")

    def chunk(self, event: str, data: str) -> dict[str, Any]:
        """The chunk that an event of a stream holds, unless it is an error, or nothing of use."""
        value = _parse(data)
        if event == "error" or _dict(value).get("error"):
            error = self._error(value if isinstance(value, dict) else {"error": data})
            error.code, error.status = str(error.body.get("code") or "STREAM_ERROR"), None
            raise error
        if not isinstance(value, dict):
            raise self.broken("holds a piece that is no JSON object")
        return value

    def broken(self, how: str) -> LLMRouterError:
        return LLMRouterError("STREAM_ERROR", f"The stream {how}: what came of it is not the whole answer.")

    def lost(self, what: str, error: Exception | None = None, repeatable: bool = False) -> LLMRouterError:
        why = f"There is {what} from {self._http.origin} ({self._why(error)})."
        failure = LLMRouterError("NETWORK_ERROR", f"{why} The request may have been charged all the same.")
        failure.repeatable = repeatable
        return failure

    def _why(self, error: Exception | None = None) -> str:
        return f"the time of {self._http.timeout_s:g} s is over" if self._expired else _explain(error)

    def _body(self) -> str:
        """The whole body of a reply that is not streamed."""
        body = bytearray()
        try:
            while len(body) <= REPLY_BYTES_MAX:
                piece = self.response.read(READ_BYTES)
                if not piece:
                    break
                body += piece
        except (OSError, http.client.HTTPException) as error:
            raise self.lost("only a part of a reply", error) from None
        if self._expired or self.response.length or len(body) > REPLY_BYTES_MAX:  # length: what is still due
            raise self.lost("only a part of a reply")
        return body.decode("utf-8", "replace")

    def _error(self, value: Any) -> LLMRouterError:
        """An error body in whatever form: OpenAI's, or a text, or something that no gateway sent."""
        status = self.response.status
        said = json.dumps(_dict(value).get("error")).replace(self._http.key, "***")  # some repeat the key
        error = json.loads(said)
        body = _dict(error)
        plain = f"{self._http.origin} answered with status {status} and without an explanation."
        message = body.get("message") or (error if error and isinstance(error, str) else plain)
        failure = LLMRouterError(
            str(body.get("code") or body.get("type") or f"http_{status}"), str(message), status
        )
        failure.body = body
        return failure


def _explain(error: Exception | None) -> str:
    """What went wrong on the wire, in words."""
    if isinstance(error, socket.timeout):
        return "it is silent"
    if error is None or isinstance(error, (http.client.RemoteDisconnected, http.client.IncompleteRead)):
        return "it closed the connection"
    if isinstance(error, http.client.HTTPException):
        return "what it sends is not HTTP"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _retry_after_s(header: Callable[[str], str | None]) -> float | None:
    """The pause that a reply asks for, if it does so in seconds or milliseconds."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        text = header(name) or ""
        if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
            return float(text) / unit
    return None


def _pause_s(asked_s: float | None, tries: int) -> float:
    """How long to wait: as asked and a little more, else twice as long each time; with jitter."""
    jitter = random.random()  # noqa: S311  spreads clients, guards nothing
    if asked_s is not None:
        return asked_s + 0.25 * jitter
    return min(0.5 * 2.0**tries, 8.0) * (0.5 + 0.5 * jitter)


def _parse(text: str) -> Any:
    """JSON, or None if it is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _request(model: str, messages: Sequence[Message], options: Mapping[str, Any]) -> bytes:
    """The body of a chat request."""
    return _json_body({"model": model, "messages": messages, **options})


def _json_body(members: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(members, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise LLMRouterError("INVALID_INPUT", f"The request cannot be written as JSON: {error}.") from None


# Streams


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """The lines of a byte stream, whatever ends them (LF, CR LF or CR) and wherever it is cut."""
    rest = b""
    for piece in pieces:
        *lines, rest = re.split(rb"\r\n|\n|\r(?!\Z)", rest + piece)
        for line in lines:
            yield line.decode("utf-8", "replace")
        if len(rest) > REPLY_BYTES_MAX:
            raise LLMRouterError("STREAM_ERROR", "The stream holds a line without an end.")
    yield rest.rstrip(b"\r").decode("utf-8", "replace")


def _events(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Server-sent events as (event, data): https://html.spec.whatwg.org/multipage/server-sent-events.html

    One that the end of the stream cuts short is given out too: it may be an end mark without its blank line.
    """
    event, data = "", []
    for line in lines:
        name, _, value = line.lstrip("\ufeff").partition(":")
        value = value[1:] if value.startswith(" ") else value
        if name == "data":
            data.append(value)
        elif name == "event":
            event = value
        elif not line:
            if any(data):
                yield event, "\n".join(data)
            event, data = "", []
    if any(data):
        yield event, "\n".join(data)


class _Collector:
    """Folds the chunks of a stream into the reply that it would have been otherwise."""

    def __init__(self) -> None:
        self.began = False
        self.complete = False
        self._head: dict[str, Any] = {"object": "chat.completion"}
        self._choices: dict[int, dict[str, Any]] = {}
        self._usage: dict[str, Any] = {}

    def add(self, chunk: Mapping[str, Any]) -> str:
        """Take a chunk and return the text that it adds to the first choice."""
        self.began = True
        for name, value in chunk.items():
            if name not in ("choices", "usage") and value is not None:
                self._head.setdefault(name, value)
        self._usage = _dict(chunk.get("usage")) or self._usage
        text = ""
        for part in _dicts(chunk.get("choices")):
            index = part["index"] if isinstance(part.get("index"), int) else 0
            fresh = {"index": index, "message": {"role": "assistant", "content": None}, "finish_reason": None}
            choice = self._choices.setdefault(index, fresh)
            delta = _dict(part.get("delta"))
            _fold(choice["message"], delta)
            _fold(choice, _given(logprobs=part.get("logprobs"), finish_reason=part.get("finish_reason")))
            if index == 0 and isinstance(delta.get("content"), str):
                text += delta["content"]
        return text

    def reply(self) -> dict[str, Any]:
        """What came so far, as a reply that is not streamed."""
        choices = [choice for _, choice in sorted(self._choices.items())]
        for choice in choices:
            for call in _dicts(choice["message"].get("tool_calls")):
                call.pop("index", None)
        return {**self._head, "choices": choices, **_given(usage=self._usage or None)}

    def result(self) -> StreamResult:
        reply = self.reply()
        first = self._choices.get(0, {})
        message = _dict(first.get("message"))
        return StreamResult(
            complete=self.complete,
            id=reply.get("id"),
            model=reply.get("model"),
            text=_text(reply),
            reasoning=message.get("reasoning_content") or message.get("reasoning") or "",
            tool_calls=_dicts(message.get("tool_calls")),
            finish_reason=first.get("finish_reason"),
            usage=self._usage,
            cost=self._usage.get("cost"),
            credits_remaining=self._usage.get("credits_remaining"),
            reply=reply,
        )


_WHOLE = frozenset({"index", "id", "type", "role", "name", "format", "signature", "finish_reason"})
"""Members of a delta that come whole, maybe more than once; all other texts come in pieces."""


def _fold(into: dict[str, Any], delta: Mapping[str, Any]) -> None:
    """Add a delta: texts are joined, objects folded, elements of lists matched by their ``index``."""
    for name, value in delta.items():
        have = into.get(name)
        if value is None or (value == "" and have is not None):
            into.setdefault(name, value)
        elif isinstance(value, str) and isinstance(have, str) and name not in _WHOLE:
            into[name] = have + value
        elif isinstance(value, dict):
            into[name] = have if isinstance(have, dict) else {}
            _fold(into[name], value)
        elif isinstance(value, list):
            into[name] = have if isinstance(have, list) else []
            _fold_list(into[name], value)
        else:
            into[name] = value


def _fold_list(into: list[Any], items: Iterable[Any]) -> None:
    for item in items:
        index = _dict(item).get("index")
        known = [have for have in _dicts(into) if index is not None and have.get("index") == index]
        if known:
            _fold(known[0], item)
        else:
            into.append(dict(item) if isinstance(item, dict) else item)


# Values, images, threads


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(reply: Mapping[str, Any]) -> str:
    """The text of the first choice, "" if it has none."""
    choices = _dicts(reply.get("choices"))
    content = _dict(choices[0].get("message")).get("content") if choices else None
    return content if isinstance(content, str) else ""


def _model_entry(model: Mapping[str, Any]) -> dict[str, Any]:
    """What one needs to choose a model, of all that the gateway tells of it."""
    prices, able = _dict(model.get("price_per_mtok")), _dict(model.get("capabilities"))
    return {
        **{name: model.get(name) for name in ("id", "name", "context_length", "max_output_tokens")},
        "price_per_mtok": {"input": prices.get("input"), "output": prices.get("output")},
        "input_modalities": _dict(model.get("architecture")).get("input_modalities"),
        **{name: able.get(name) for name in ("tools", "reasoning")},
        **{name: model.get(name) for name in ("strengths", "quality_tier", "status")},
    }


_IMAGE_TYPES = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))


def _image_url(image: str) -> str:
    """An http, https or data URL as it is; an image file as a data URL, its type told by its first bytes."""
    if re.match(r"https?://|data:", image, re.IGNORECASE):
        return image
    try:
        path = Path(image).expanduser()
        if not path.is_file():
            raise LLMRouterError("INVALID_INPUT", f"'{image}' is no file, and no https or data URL.")
        with path.open("rb") as file:
            data = file.read(IMAGE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise LLMRouterError("INVALID_INPUT", f"'{image}' cannot be read: {why}.") from None
    if len(data) > IMAGE_BYTES_MAX:
        raise LLMRouterError("INVALID_INPUT", f"'{image}' is larger than {IMAGE_BYTES_MAX >> 20} MiB.")
    kind = next((kind for start, kind in _IMAGE_TYPES if data.startswith(start)), None)
    kind = "webp" if data[:4] == b"RIFF" and data[8:12] == b"WEBP" else kind
    if kind is None:
        raise LLMRouterError("INVALID_INPUT", f"'{image}' is no PNG, JPEG, GIF or WebP image.")
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


COMPARED_MAX = 16
"""Models that the gateway compares in one request."""

_OPTIONAL = frozenset({"temperature", "max_tokens", "top_p"})
"""Members that are left out where they are None, as in a chat."""


def _comparable(names: Sequence[Any]) -> bool:
    """Whether the gateway takes the models in one request, and tells them apart."""
    if not all(isinstance(name, str) and name.strip() for name in names):
        return False
    return 2 <= len(names) <= COMPARED_MAX and len({name.strip() for name in names}) == len(names)


def _compared(reply: Mapping[str, Any], latency_s: float) -> dict[str, Any]:
    """A chat's reply as the result of its model."""
    latency = round(latency_s, 3)
    if "error" in reply:
        return {"success": False, "error": reply["error"], "latency": latency}
    usage = _dict(reply.get("usage"))
    facts = {"latency": latency, "tokens": usage.get("total_tokens"), "cost": usage.get("cost")}
    return {"success": True, "response": _text(reply), **facts}


def _lane_result(lane: Mapping[str, Any]) -> dict[str, Any]:
    """A lane of a comparison as the result of its model."""
    took_ms = lane.get("latency_ms")
    latency_s = took_ms / 1000 if isinstance(took_ms, (int, float)) else 0.0
    if lane.get("success") is True:
        return _compared(_dict(lane.get("response")), latency_s)
    told, status = _dict(lane.get("error")), lane.get("status")
    error = LLMRouterError(
        str(told.get("code") or "NETWORK_ERROR"),
        str(told.get("message") or "The gateway tells nothing of this model."),
        status if isinstance(status, int) and status >= 400 else None,
    )
    error.body = told
    return _compared(error.as_dict(), latency_s)


def _in_parallel(work: Callable[[str], dict[str, Any]], items: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Work on each item in a thread, not many at a time; as daemons, so that Ctrl-C waits for none."""
    turn = threading.Semaphore(COMPARE_THREADS)
    futures: dict[str, Future[dict[str, Any]]] = {item: Future() for item in items}

    def run(item: str) -> None:
        with turn:
            try:
                futures[item].set_result(work(item))
            except BaseException as error:  # raised again where the result is asked for
                futures[item].set_exception(error)

    for item in items:
        threading.Thread(target=run, args=(item,), daemon=True).start()
    while wait(futures.values(), timeout=0.5).not_done:
        pass  # an endless wait could miss a Ctrl-C
    return {item: future.result() for item, future in futures.items()}


# Command line


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are JSON."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        raise SystemExit(_show(LLMRouterError("INVALID_INPUT", message).as_dict()))


def _parser() -> _Parser:
    parser = _Parser(
        prog="llm_router_client.py",
        description="Many language models behind one API and one key (AISA_API_KEY). Prints JSON.",
        epilog='A failure ends with status 1 and {"error": {"code", "message"}}.',
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    chat = commands.add_parser("chat", help="ask a model")
    chat.add_argument("-m", "--model", required=True)
    asked = chat.add_mutually_exclusive_group(required=True)
    asked.add_argument("--message", metavar="TEXT", help="what the user says")
    asked.add_argument(
        "--messages", metavar="JSON", help="a list of messages, @FILE, or - for standard input"
    )
    chat.add_argument("-s", "--system", metavar="TEXT", help="instructions that go before all messages")
    chat.add_argument("-t", "--temperature", type=float)
    chat.add_argument("--max-tokens", type=int, metavar="N")
    chat.add_argument("--stream", action="store_true", help="print text as it comes, usage on standard error")

    vision = commands.add_parser("vision", help="ask about an image")
    vision.add_argument("-m", "--model", required=True)
    vision.add_argument("-i", "--image", required=True, help="https or data URL, or a file")
    vision.add_argument("-p", "--prompt", required=True, metavar="TEXT")
    vision.add_argument("--max-tokens", type=int, metavar="N")

    compare = commands.add_parser("compare", help="ask several models at the same time")
    compare.add_argument("--models", required=True, metavar="A,B,C")
    compare.add_argument("-m", "--message", required=True, metavar="TEXT")

    estimate = commands.add_parser("estimate", help="what a question would cost, without asking it")
    estimate.add_argument("--models", required=True, metavar="A,B,C")
    estimate.add_argument("-m", "--message", required=True, metavar="TEXT")
    estimate.add_argument("--max-tokens", type=int, metavar="N")

    commands.add_parser("models", help="list the models that can be called, by family")
    return parser


def _run(client: LLMRouterClient, words: argparse.Namespace) -> int:
    """Do what a command line says and return the exit status."""
    if words.command == "chat":
        options = _given(temperature=words.temperature, max_tokens=words.max_tokens)
        if words.stream:
            return _show_stream(client, words.model, _messages(words), options)
        return _show(client.chat(words.model, _messages(words), **options))
    if words.command == "vision":
        options = _given(max_tokens=words.max_tokens)
        return _show(client.vision(words.model, words.image, words.prompt, **options))
    if words.command in ("compare", "estimate"):
        names = [name.strip() for name in words.models.split(",") if name.strip()]
        if not names:
            raise LLMRouterError("INVALID_INPUT", "--models names no model: write names with commas between.")
        if words.command == "estimate":
            asked = [{"role": "user", "content": words.message}]
            return _show(client.estimate(names, asked, **_given(max_tokens=words.max_tokens)))
        results = client.compare_models(names, words.message)
        if any(result["success"] for result in results.values()):
            return _show(results)
        return _show({"error": results[names[0]]["error"], "results": results})
    return _show_models(client.list_models())


def _messages(words: argparse.Namespace) -> list[Any]:
    """The messages of ``--system`` and of ``--message`` or ``--messages``."""
    system = [] if words.system is None else [{"role": "system", "content": words.system}]
    if words.message is not None:
        return [*system, {"role": "user", "content": words.message}]
    source = words.messages
    try:
        data = source.encode("utf-8", "surrogateescape")
        if source == "-":
            data = sys.stdin.buffer.read()
        elif source.startswith("@"):
            data = Path(source[1:]).expanduser().read_bytes()
        value = json.loads(data.decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise LLMRouterError("INVALID_INPUT", f"--messages cannot be read as JSON: {error}.") from None
    if not isinstance(value, list) or not value or _dicts(value) != value:
        form = '[{"role": "user", "content": "..."}]'
        raise LLMRouterError("INVALID_INPUT", f"--messages must hold a list of messages such as {form}.")
    return [*system, *value]


def _show(result: Mapping[str, Any]) -> int:
    """Print a result and return the exit status that belongs to it."""
    print(json.dumps(result, ensure_ascii=False, indent=2), flush=True)
    return 1 if "error" in result else 0


def _show_models(families: Mapping[str, Any]) -> int:
    """As JSON with one model a line, so that line tools can pick among them."""
    if "error" in families:
        return _show(families)
    lists = (f"{_line(name)}: [\n{_rows(models)}\n]" for name, models in families.items())
    print("{\n" + ",\n".join(lists) + "\n}", flush=True)
    return 0


def _show_stream(client: LLMRouterClient, model: str, messages: list[Any], options: dict[str, Any]) -> int:
    """Print text as it comes. If it breaks off, the last line says so: text above it is not the whole answer."""
    wrote = False
    try:
        with contextlib.closing(client.chat_stream(model, messages, **options)) as pieces:
            for piece in pieces:
                print(piece, end="", flush=True)
                wrote = True
    except LLMRouterError as error:
        error.partial = None  # it is printed already
        if not wrote:
            return _show(error.as_dict())
        print("\n" + _line(error.as_dict()), flush=True)
        print(_line(error.as_dict()), file=sys.stderr)
        return 1
    print(flush=True)
    facts = {name: getattr(client.last_stream, name) for name in ("id", "model", "finish_reason", "usage")}
    print(_line(facts), file=sys.stderr)
    return 0


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _rows(values: Iterable[Any]) -> str:
    return ",\n".join(f"  {_line(value)}" for value in values)


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    for stream in (sys.stdout, sys.stderr):  # Windows writes other encodings unless told
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    try:
        arguments = _parser().parse_args(words)
        try:
            return _run(LLMRouterClient(), arguments)
        except LLMRouterError as error:
            return _show(error.as_dict())
        except ValueError as error:
            code = "AUTH_ERROR" if isinstance(error, _KeyProblem) else "INVALID_INPUT"
            return _show(LLMRouterError(code, str(error)).as_dict())
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


if __name__ == "__main__":
    sys.exit(main())
