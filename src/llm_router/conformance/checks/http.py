"""The transport: connections, framing, concurrency, clients that leave."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor

from llm_router.conformance.api import APIS, message_of
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.basics import UNKNOWN, well_formed
from llm_router.conformance.transport import NoReply, Reply, Request, encode

RFC = "https://www.rfc-editor.org/rfc/rfc9112"
_suite = Suite("http", "transport", RFC)
check = _suite.check
AT_ONCE = 6


def _bad(case: Case, model: str, *, close: bool = False) -> Request:
    """A request that costs nothing and whose error names the model."""
    first = case.target.first
    body = case.target.plain(first)
    if "model" in body:
        body["model"] = model
    return case.target.request(first, body, model=model, close=close)


def _names(case: Case, reply: Reply, model: str) -> None:
    said = re.search(rf"{UNKNOWN}(-\w+)?", message_of(reply))
    case.skip_unless(said or reply.status >= 400, "the target answers for any model")
    case.expect(400 <= reply.status < 500, "a refusal", f"{reply.status} {reply.text}", reply)
    case.expect(said is None or said[0] == model, f"an error of {model}", reply.text, reply)


@check(
    "keep-alive",
    "a connection serves several requests",
    "A handshake a request is slow and dear.",
    should=True,
)
def keep_alive(case: Case) -> None:
    with case.target.connect() as connection:
        for number in range(3):
            request = _bad(case, f"{UNKNOWN}-{number}")
            connection.send(request)
            reply = connection.read(request)
            case.expect(not reply.faults, "sound framing", "; ".join(reply.faults), reply)
            _names(case, reply, f"{UNKNOWN}-{number}")


@check("pipelining", "requests sent in one go are answered in order", "A mix-up shows users each other's answers.",
       source=f"{RFC}#section-9.3.2")  # fmt: skip
def pipelining(case: Case) -> None:
    requests = [_bad(case, f"{UNKNOWN}-{letter}") for letter in "abc"]
    with case.target.connect() as connection:
        host = case.target.origin.partition("://")[2]
        connection.send_bytes(b"".join(encode(request, host) for request in requests))
        for number, request in enumerate(requests):
            try:
                reply = connection.read(request)
            except NoReply:
                case.expect(number, "an answer to the first request at least", "none")
                return  # a server may close behind any answer
            _names(case, reply, f"{UNKNOWN}-{'abc'[number]}")


@check(
    "concurrent-errors", "errors of concurrent requests do not mix", "Users would see each other's answers."
)
def concurrent_errors(case: Case) -> None:
    names = [f"{UNKNOWN}-{number}" for number in range(AT_ONCE)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        replies = list(pool.map(lambda name: case.target.once(_bad(case, name, close=True)), names))
    for name, reply in zip(names, replies, strict=True):
        _names(case, reply, name)


@check(
    "concurrent-replies", "concurrent replies are whole and have ids of their own", "Records would be lost."
)
def concurrent_replies(case: Case) -> None:
    first = case.target.first
    with ThreadPoolExecutor(3) as pool:
        body = case.target.plain(first)
        replies = list(pool.map(lambda _: case.target.ask(first, body, fresh=True), range(3)))
    for reply in replies:
        case.expect(reply.ok and not reply.faults, "a whole reply", f"{reply.status} {reply.faults}", reply)
    ids = [reply.json.get("id") or reply.json.get("responseId") for reply in replies]
    case.skip_unless(all(ids), "its replies have no ids")
    case.expect(len(set(ids)) == len(ids), "an id of its own for each", ids)


@check("connection-close", "connection: close is obeyed", "Clients that wait for the end hang.",
       source=f"{RFC}#section-9.6")  # fmt: skip
def connection_close(case: Case) -> None:
    request = _bad(case, UNKNOWN, close=True)
    with case.target.connect() as connection:
        connection.send(request)
        reply = connection.read(request)
        case.expect(connection.closed(), "the connection closed behind the reply", "it stays open", reply)


@check("chunked-request", "a chunked request body is taken", "Clients that stream their body send it so.",
       source=f"{RFC}#section-7.1")  # fmt: skip
def chunked_request(case: Case) -> None:
    whole = _bad(case, UNKNOWN, close=True)
    body = whole.body or b""
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:7], body[7:])) + b"0\r\n\r\n"
    request = Request(
        method="POST",
        path=whole.path,
        body=chunks,
        headers=(*whole.headers, ("Transfer-Encoding", "chunked")),
    )
    reply = case.target.once(request)
    understood = reply.ok or reply.status == 404 or UNKNOWN in message_of(reply)
    case.expect(understood, "the body understood", f"{reply.status} {reply.text}", reply)


@check("expect-continue", "expect: 100-continue is answered", "curl sends it with large bodies and waits.",
       source="https://www.rfc-editor.org/rfc/rfc9110#section-10.1.1")  # fmt: skip
def expect_continue(case: Case) -> None:
    whole = _bad(case, UNKNOWN, close=True)
    body = whole.body or b""
    head = Request(
        method="POST", path=whole.path, body=None,
        headers=(*whole.headers, ("Content-Length", str(len(body))), ("Expect", "100-continue")),
    )  # fmt: skip
    with case.target.connect() as connection:
        connection.send(head)
        connection.send_bytes(body)  # a client may go on without waiting
        reply = connection.read(head)
    case.expect(reply.status < 500 and reply.status != 417, "the request answered", reply.status, reply)


@check("two-lengths", "a request with two different lengths is refused", "Requests could be smuggled in.",
       source=f"{RFC}#section-6.3")  # fmt: skip
def two_lengths(case: Case) -> None:
    whole = _bad(case, UNKNOWN, close=True)
    size = len(whole.body or b"")
    headers = (*whole.headers, ("Content-Length", str(size)), ("Content-Length", str(size + 5)))
    _refused_framing(case, Request(method="POST", path=whole.path, headers=headers, body=whole.body))


@check("length-and-coding", "a request with a length and a coding does not pass as two",
       "Requests could be smuggled in.", source=f"{RFC}#section-6.3")  # fmt: skip
def length_and_coding(case: Case) -> None:
    whole = _bad(case, UNKNOWN, close=False)
    headers = (*whole.headers, ("Content-Length", "5"), ("Transfer-Encoding", "chunked"))
    request = Request(
        method="POST", path=whole.path, headers=headers, body=b"0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n"
    )
    with case.target.connect() as connection:
        try:
            connection.send(request)
            reply = connection.read(request)
        except NoReply:
            return  # closed without a word: refused
        case.expect(reply.status >= 400, "a refusal", f"{reply.status} {reply.text}", reply)


def _refused_framing(case: Case, request: Request) -> None:
    try:
        reply = case.target.once(request)
    except NoReply:
        return
    case.expect(
        reply.status == 400, "status 400, or the connection closed", f"{reply.status} {reply.text}", reply
    )


@check("http-1.0", "HTTP/1.0 is answered", "Old health checks and proxies speak it.", should=True)
def old_http(case: Case) -> None:
    path = case.target.prefix + "/v1/models"
    request = Request(method="GET", path=path, headers=(), body=None)
    with case.target.connect() as connection:
        host = case.target.origin.partition("://")[2]
        connection.send_bytes(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
        reply = connection.read(request)
    case.expect(reply.status < 500, "a reply", f"{reply.status} {reply.text}", reply)


@check("unknown-path", "an unknown path is 404, in JSON", "Clients show the error's message.")
def unknown_path(case: Case) -> None:
    first = case.target.first
    start = "/v1beta" if first == "gemini" else "/v1"
    reply = case.ask(first, None, method="GET", path=f"{start}/no/such/path")
    case.equal("status", reply.status, 404)
    well_formed(case, APIS[first], reply)


@check("path-case", "paths are case-sensitive", "Rules of a proxy in front could be passed by.", should=True)
def path_case(case: Case) -> None:
    reply = case.ask("chat", None, method="GET", path="/V1/MODELS", headers=())
    case.expect(reply.status in (401, 403, 404), "status 404", reply.status)


@check("traversal", "dots in the path lead nowhere", "Rules of a proxy in front could be passed by.")
def traversal(case: Case) -> None:
    reply = case.ask("chat", None, method="GET", path="/v1/../../../../etc/passwd", headers=())
    case.expect("root:" not in reply.text, "no file", reply.text)
    case.expect(400 <= reply.status < 500, "a refusal", reply.status)


@check("head", "HEAD has no body", "Clients would read it as the next reply.",
       source="https://www.rfc-editor.org/rfc/rfc9110#section-9.3.2")  # fmt: skip
def head(case: Case) -> None:
    request = case.target.request("chat", None, method="HEAD", path="/v1/models", close=True)
    with case.target.connect() as connection:
        connection.send(request)
        reply = connection.read(request)
        case.expect(reply.status < 500, "no failure", reply.status, reply)
        case.expect(connection.closed(), "nothing behind the head", "bytes", reply)


@check("options", "OPTIONS is no failure", "Browsers ask before they send.")
def options(case: Case) -> None:
    headers = (("Origin", "https://example.org"), ("Access-Control-Request-Method", "POST"))
    reply = case.ask("chat", None, method="OPTIONS", path="/v1/chat/completions", headers=headers)
    case.expect(reply.status < 500, "no failure", f"{reply.status} {reply.text}")


@check(
    "query", "unknown query parameters are tolerated", "Claude Code sends ?beta=true, Azure ?api-version=."
)
def query(case: Case) -> None:
    reply = case.ask("chat", None, method="GET", path="/v1/models?beta=true&x=1")
    case.expect(reply.ok or reply.status == 404, "the same as without", f"{reply.status} {reply.text}")


@check("disconnect", "a client that leaves in mid-stream harms nobody", "One client would stop the others.")
def disconnect(case: Case) -> None:
    first = case.target.first
    case.skip_unless(APIS[first].streams, "the API has no streams")
    request = case.target.request(first, case.target.plain(first), stream=True)
    case.target.once(request, stop_after=1)
    after = _bad(case, UNKNOWN, close=True)
    reply = case.target.once(after)
    case.expect(reply.status < 500, "the next request answered", f"{reply.status} {reply.text}", reply)


@check(
    "half-request", "a client that leaves in mid-request harms nobody", "One client would stop the others."
)
def half_request(case: Case) -> None:
    whole = _bad(case, UNKNOWN, close=True)
    host = case.target.origin.partition("://")[2]
    with case.target.connect() as connection:
        connection.send_bytes(encode(whole, host)[:-5])
    reply = case.target.once(whole)
    case.expect(reply.status < 500, "the next request answered", f"{reply.status} {reply.text}", reply)


@check("error-length", "an error has a length or an end", "Clients wait for more.")
def error_length(case: Case) -> None:
    request = _bad(case, UNKNOWN)
    with case.target.connect() as connection:
        connection.send(request)
        reply = connection.read(request)
    known = reply.header("content-length") or reply.header("transfer-encoding")
    case.expect(known or reply.header("connection") == "close", "a framed body", reply.headers, reply)


@check("many-headers", "fifty more headers are tolerated", "Proxies and tracing add theirs.")
def many_headers(case: Case) -> None:
    more = tuple((f"X-Trace-{number}", "0123456789abcdef") for number in range(50))
    reply = case.ask("chat", None, method="GET", path="/v1/models", more=more)
    case.expect(reply.status not in (400, 431) and reply.status < 500, "the same as without", reply.status)


CHECKS = _suite.checks
