"""Errors in each provider's own shape, and in those of others who speak the same form."""

from __future__ import annotations

import calendar
from email.utils import formatdate
from typing import Any

import msgspec

from llm_router.sandbox.faults.kind import Group, Kind, Make, Options, kind
from llm_router.sandbox.faults.steps import (
    Answer,
    Close,
    Pour,
    Send,
    Step,
    Wait,
    begun,
    head,
    instead,
    plain_headers,
)
from llm_router.sandbox.form import Form, Trouble

JSON = "application/json"
_RPC = "type.googleapis.com/google.rpc."


def trouble(status: int, message: str, code: str | None = None) -> Trouble:
    return Trouble(status=status, message=message, code=code)


def told(answer: Answer, what: Trouble, *more: tuple[str, str]) -> list[Step]:
    """An error as the form writes it."""
    extra, body = answer.form.error(what, answer.request_id)
    return instead(answer, what.status, JSON, body, *extra, *more)


def _native(said: dict[str, Trouble]) -> Make:
    def make(answer: Answer, options: Options) -> list[Step]:
        return told(answer, said.get(answer.form.name, said[""]))

    return make


def _status(name: str, about: str, *, group: Group = "status", **said: Trouble) -> Kind:
    forms = {form: what for form, what in said.items() if form != "usual"}
    return kind(name, group, about, _native({"": said["usual"], **forms}))


def _google(status: int, name: str, message: str, **details: Any) -> bytes:
    found = [{"@type": f"{_RPC}{kind_}", **value} for kind_, value in details.items()]
    error = {"code": status, "message": message, "status": name, "details": found}
    return msgspec.json.encode({"error": error})


def _bad_key(answer: Answer, options: Options) -> list[Step]:
    """Gemini answers 400 here. https://ai.google.dev/gemini-api/docs/troubleshooting"""
    if answer.form.name != "gemini":
        text = "The API key is invalid." if answer.form.name != "anthropic" else "invalid x-api-key"
        return told(answer, trouble(401, text, "invalid_api_key"))
    info = {"reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    body = _google(400, "INVALID_ARGUMENT", "API key not valid. Pass a valid API key.", ErrorInfo=info)
    return instead(answer, 400, JSON, body)


def _plain(status: int, content_type: str | None, body: object) -> Make:
    data = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return lambda answer, options: instead(answer, status, content_type, data)


def page(title: str) -> bytes:
    """What proxies say."""
    return f"<html><head><title>{title}</title></head><body><center><h1>{title}</h1></center></body></html>".encode()


def _of_status(answer: Answer, options: Options) -> list[Step]:
    status = options.status if options.status is not None else 500
    return told(answer, trouble(status, f"The fault lab answers {status}."))


def _endless_error(answer: Answer, options: Options) -> list[Step]:
    headers = (*plain_headers(answer.headers, "content-type"), ("content-type", JSON))
    return [Send(head(500, headers)), Send(b'{"error": {"message": "'), Pour(b"x" * 65536)]


def _stalled_error(answer: Answer, options: Options) -> list[Step]:
    headers = (*plain_headers(answer.headers, "content-type"), ("content-type", JSON))
    return [Send(head(500, (*headers, ("content-length", "400")))), Send(b'{"error": '), Wait(None)]


def _cut_error(answer: Answer, options: Options) -> list[Step]:
    headers = (*plain_headers(answer.headers, "content-type"), ("content-type", JSON))
    return [Send(head(503, (*headers, ("content-length", "400")))), Send(b'{"error": {"mess'), Close()]


def _in_200(answer: Answer, options: Options) -> list[Step]:
    """The body of an error under a status that says that all is well."""
    _, body = answer.form.error(trouble(500, "The server had an error."), answer.request_id)
    return instead(answer, 200, JSON, body)


def failure(form: Form, what: Trouble, request_id: str, json_array: bool) -> bytes:
    """An error as the form tells it inside of a stream."""
    return form.failure(form.error(what, request_id)[1], json_array)


def _error_event(answer: Answer, options: Options) -> list[Step]:
    what = Trouble(status=503, message="The model is overloaded.", overloaded=True)
    data = failure(answer.form, what, answer.request_id, answer.json_array)
    if options.events == 0 and answer.json_array:
        data = b"[" + data.lstrip(b",\r\n")
    steps = begun(answer, options.events)
    return [*steps, Send(b"%x\r\n%s\r\n" % (len(data), data)), Send(b"0\r\n\r\n"), Close()]


STATUS_KINDS: tuple[Kind, ...] = (
    kind(
        "status",
        "status",
        "Any status from 400 to 599 in the provider's own form: `status` (500)",
        _of_status,
        "status",
    ),
    _status(
        "invalid-request",
        "400: a member of the request is wrong",
        usual=trouble(400, "Invalid value: 'temperature' must be at most 2.", "invalid_value"),
    ),
    kind(
        "context-length",
        "status",
        "The prompt is too long for the model, in the provider's own words",
        lambda a, o: told(a, a.form.too_long),
    ),
    _status(
        "content-policy",
        "400: the provider's filter refuses the prompt",
        usual=trouble(400, "The prompt was blocked by our content_filter.", "content_policy_violation"),
        anthropic=trouble(400, "Output blocked by content filtering policy: it violates our usage policy."),
    ),
    kind("bad-key", "status", "The gateway's key is wrong: 401, at Gemini 400", _bad_key),
    _status(
        "bad-key-403",
        "The gateway's key is wrong, said with 403",
        usual=trouble(403, "Invalid API key.", "invalid_api_key"),
    ),
    _status(
        "no-permission",
        "403: the key may not use the model",
        usual=trouble(403, "Your account has no access to this model.", "permission_denied"),
    ),
    _status(
        "no-credit",
        "The gateway's account at the provider is empty: 402, at OpenAI 429, at Anthropic 400",
        usual=trouble(402, "Insufficient balance.", "insufficient_balance"),
        openai=trouble(429, "You exceeded your current quota, check your billing.", "insufficient_quota"),
        anthropic=trouble(400, "Your credit balance is too low to access the API."),
    ),
    _status(
        "no-such-model",
        "404: the provider does not know the model",
        usual=trouble(404, "The model 'x' does not exist or you have no access to it.", "model_not_found"),
    ),
    _status(
        "no-such-model-400",
        "The provider does not know the model, and says it with 400",
        usual=trouble(400, "The model 'x' does not exist.", "model_not_found"),
    ),
    _status("not-found", "404 for the path", usual=trouble(404, "Invalid URL (POST /v1/chat/completion).")),
    _status(
        "method-refused",
        "405: what is at the address takes no such request",
        usual=trouble(405, "Method Not Allowed"),
    ),
    _status("request-timeout", "408: the provider waited too long", usual=trouble(408, "Request timed out.")),
    _status("conflict", "409", usual=trouble(409, "The resource is being changed by another request.")),
    _status(
        "gone", "410: the model was withdrawn", usual=trouble(410, "The model has reached its end of life.")
    ),
    _status(
        "too-large", "413: the request is too large", usual=trouble(413, "Request exceeds the maximum size.")
    ),
    _status("unsupported-type", "415", usual=trouble(415, "Unsupported Media Type")),
    _status(
        "unprocessable",
        "422: the request is well formed and not taken",
        usual=trouble(422, "Validation error: 'tools' is not supported by this model."),
    ),
    _status("legal-reasons", "451", usual=trouble(451, "Unavailable For Legal Reasons")),
    _status(
        "server-error", "500", usual=trouble(500, "The server had an error while processing your request.")
    ),
    _status("not-implemented", "501", usual=trouble(501, "This feature is not supported by this server.")),
    _status("bad-gateway", "502", usual=trouble(502, "Bad gateway.")),
    _status("unavailable", "503", usual=trouble(503, "The service is temporarily unavailable.")),
    kind(
        "overloaded",
        "status",
        "The provider's own error for too much load: 503, at Anthropic 529",
        lambda a, o: told(a, Trouble(status=a.form.overloaded_status, message="Overloaded", overloaded=True)),
    ),
    _status("overloaded-500", "Too much load, said with 500", usual=trouble(500, "The model is overloaded.")),
    _status("gateway-timeout", "504", usual=trouble(504, "The upstream timed out.")),
    *(
        kind(
            f"cloudflare-{status}",
            "status",
            f"A page of the proxy before the provider, status {status}: {words}",
            _plain(status, "text/html; charset=UTF-8", page(f"{status}: {words}")),
        )
        for status, words in (
            (520, "Web server returns an unknown error"),
            (522, "Connection timed out"),
            (524, "A timeout occurred"),
            (529, "Site is overloaded"),
        )
    ),
    kind("html-404", "status", "A page of HTML with 404", _plain(404, "text/html", page("404 Not Found"))),
    kind("html-502", "status", "A page of HTML with 502", _plain(502, "text/html", page("502 Bad Gateway"))),
    kind(
        "html-503",
        "status",
        "A page of HTML with 503",
        _plain(503, "text/html", page("503 Service Unavailable")),
    ),
    kind(
        "text-503",
        "status",
        "A line of text with 503, as service meshes write it",
        _plain(503, "text/plain", b"upstream connect error or disconnect/reset before headers"),
    ),
    kind("error-empty", "status", "500 without a body", _plain(500, None, b"")),
    kind(
        "error-string",
        "status",
        "500 whose `error` is a string",
        _plain(500, JSON, {"error": "model crashed"}),
    ),
    kind(
        "error-flat",
        "status",
        "400 whose members stand on top, with a number as text for a code",
        _plain(400, JSON, {"object": "error", "message": "Invalid role.", "type": "invalid", "code": "1500"}),
    ),
    kind(
        "error-code-and-text",
        "status",
        "400 of `code` and `error`, both text",
        _plain(400, JSON, {"code": "invalid-argument", "error": "Argument not supported."}),
    ),
    kind(
        "error-detail",
        "status",
        "422 of `detail`, as web frameworks write it",
        _plain(422, JSON, {"detail": [{"loc": ["body"], "msg": "field required"}]}),
    ),
    kind(
        "error-message",
        "status",
        "500 of `message` alone",
        _plain(500, JSON, {"message": "Internal failure"}),
    ),
    kind(
        "error-list",
        "status",
        "503 in a list",
        _plain(
            503,
            JSON,
            [{"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}],
        ),
    ),
    kind(
        "error-number-code",
        "status",
        "502 whose `code` is a number, with the words of another provider inside",
        _plain(
            502,
            JSON,
            {"error": {"message": "Provider returned error", "code": 502, "metadata": {"raw": "boom"}}},
        ),
    ),
    kind("error-null", "status", "500 whose `error` is null", _plain(500, JSON, {"error": None})),
    kind("error-number", "status", "500 whose body is a number", _plain(500, JSON, 7)),
    kind(
        "error-octets",
        "status",
        "500 in JSON that is said to be application/octet-stream",
        _plain(500, "application/octet-stream", {"error": {"message": "boom"}}),
    ),
    kind(
        "error-not-utf8",
        "status",
        "500 in bytes that are no UTF-8",
        _plain(500, JSON, b'{"error": {"message": "\xff\xfe"}}'),
    ),
    kind("error-endless", "status", "500 whose body never ends", _endless_error),
    kind("error-stalled", "status", "500 whose body begins and stalls", _stalled_error),
    kind("error-cut", "status", "503 whose body is cut", _cut_error),
    kind("error-in-200", "status", "An error's body with the status 200", _in_200),
    kind(
        "error-event",
        "status",
        "An error inside of a stream, after half of it or after `events` events",
        _error_event,
        "events",
        wholes=False,
    ),
    kind(
        "error-first-event",
        "status",
        "An error as the first event of a stream",
        lambda a, o: _error_event(a, Options(events=0)),
        wholes=False,
    ),
)


# Rate limits.

_MESSAGE = "Rate limit reached for requests."


def _bare(form: Form) -> bytes:
    """A 429 in the form's shape that says nothing of a wait."""
    match form.name:
        case "gemini":
            error = {"code": 429, "message": _MESSAGE, "status": "RESOURCE_EXHAUSTED"}
            return msgspec.json.encode({"error": error})
        case _:
            return form.error(trouble(429, _MESSAGE), "req_limited")[1]


def _limited(answer: Answer, *headers: tuple[str, str]) -> list[Step]:
    return instead(answer, 429, JSON, _bare(answer.form), *headers)


def _hinted(answer: Answer, options: Options) -> list[Step]:
    """The wait stands in the body: in Google's RetryInfo, or in the words."""
    seconds = options.seconds_or(2)
    if answer.form.name == "gemini":
        info = {"retryDelay": f"{seconds:g}s"}
        return instead(answer, 429, JSON, _google(429, "RESOURCE_EXHAUSTED", _MESSAGE, RetryInfo=info))
    body = answer.form.error(trouble(429, f"{_MESSAGE} Please try again in {seconds:g}s."), "req_limited")[1]
    return instead(answer, 429, JSON, body)


_BASE_S = calendar.timegm((2026, 1, 5, 12, 0, 0))


def _dated(answer: Answer, options: Options) -> list[Step]:
    """The reply brings its own clock: the wait counts from its ``date``."""
    now, then = formatdate(_BASE_S, usegmt=True), formatdate(_BASE_S + options.seconds_or(2), usegmt=True)
    return _limited(answer, ("date", now), ("retry-after", then))


def _headed(name: str, about: str, *headers: tuple[str, str]) -> Kind:
    return kind(name, "wait", about, lambda a, o: _limited(a, *headers))


WAIT_KINDS: tuple[Kind, ...] = (
    kind(
        "429",
        "wait",
        "429 as the provider writes it, with its usual hint",
        lambda a, o: told(a, Trouble(status=429, message=_MESSAGE, retry_after_s=o.seconds)),
        "seconds",
    ),
    kind("429-no-hint", "wait", "429 that says nothing of a wait", lambda a, o: _limited(a)),
    kind(
        "429-seconds",
        "wait",
        "429 with `retry-after` in `seconds` (2)",
        lambda a, o: _limited(a, ("retry-after", f"{o.seconds_or(2):g}")),
        "seconds",
    ),
    kind(
        "429-ms",
        "wait",
        "429 with `retry-after-ms`: `seconds` (0.25)",
        lambda a, o: _limited(a, ("retry-after-ms", str(int(o.seconds_or(0.25) * 1000)))),
        "seconds",
    ),
    kind(
        "429-date",
        "wait",
        "429 with a date in `retry-after`, `seconds` (2) after its `date`",
        _dated,
        "seconds",
    ),
    kind("429-body", "wait", "429 with the wait in the body alone: `seconds` (2)", _hinted, "seconds"),
    _headed(
        "429-both",
        "429 with `retry-after: 1` and `retry-after-ms: 0`",
        ("retry-after", "1"),
        ("retry-after-ms", "0"),
    ),
    _headed("429-zero", "429 with `retry-after: 0`", ("retry-after", "0")),
    _headed("429-negative", "429 with a negative `retry-after`", ("retry-after", "-5")),
    _headed("429-words", "429 with words for a `retry-after`", ("retry-after", "soon")),
    _headed("429-past", "429 with a date that is over", ("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")),
    _headed("429-hours", "429 that asks to wait six hours", ("retry-after", "21600")),
    _headed(
        "429-reset-headers",
        "429 whose limits tell when they are free again",
        ("x-ratelimit-remaining-requests", "0"),
        ("x-ratelimit-reset-requests", "2s"),
    ),
    kind(
        "429-html",
        "wait",
        "429 as a page of a proxy",
        _plain(429, "text/html", page("429 Too Many Requests")),
    ),
    kind("429-empty", "wait", "429 without a body", _plain(429, None, b"")),
    _status(
        "429-never",
        "429 for a request that is larger than the whole limit: no wait helps",
        group="wait",
        usual=trouble(429, "Request too large for model x on tokens per min: Limit 6000, Requested 9000."),
    ),
    kind(
        "503-seconds",
        "wait",
        "503 with `retry-after` in `seconds` (2)",
        lambda a, o: told(
            a, Trouble(status=503, message="Service Unavailable"), ("retry-after", f"{o.seconds_or(2):g}")
        ),
        "seconds",
    ),
)
