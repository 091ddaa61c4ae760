"""What holds for every API: credentials, bodies, models, and the form of errors."""

from __future__ import annotations

from collections.abc import Callable

from llm_router.conformance.api import APIS, Api, Json, message_of
from llm_router.conformance.case import Case, Check, Suite, show
from llm_router.conformance.transport import Reply

WRONG_KEY = "sk-wrong-0123456789abcdefghijklmnopqrstuvwxyz"
UNKNOWN = "no-such-model-xyzzy"
RFC_HTTP = "https://www.rfc-editor.org/rfc/rfc9110"
RFC_JSON = "https://www.rfc-editor.org/rfc/rfc8259"

Run = Callable[[Case], None]


def refused(case: Case, api: Api, reply: Reply, statuses: tuple[int, ...]) -> None:
    """The reply is an error with one of these statuses, in the API's own form."""
    case.expect(
        reply.status in statuses,
        f"status {' or '.join(map(str, statuses))}",
        f"{reply.status} {show(reply.text)}",
        reply,
    )
    well_formed(case, api, reply)


def well_formed(case: Case, api: Api, reply: Reply) -> None:
    faults = api.error_faults(reply)
    case.expect(not faults, f"an error in the form of {api.title}", "; ".join(faults), reply)
    case.expect(
        reply.media_type == "application/json",
        "content-type application/json",
        reply.header("content-type"),
        reply,
    )


def _auth(suite: Suite, api: Api) -> None:
    def plain(case: Case) -> Json:
        return case.target.plain(api.name)

    def missing(case: Case) -> None:
        refused(case, api, case.ask(api.name, plain(case), headers=api.extra), api.unauthorized)

    def wrong(case: Case) -> None:
        reply = case.ask(api.name, plain(case), headers=case.target.auth(api, WRONG_KEY))
        refused(case, api, reply, api.wrong_key)

    def hidden(case: Case) -> None:
        reply = case.ask(api.name, plain(case), headers=case.target.auth(api, WRONG_KEY))
        case.expect(WRONG_KEY not in reply.text, "an error without the key in it", reply.text, reply)

    def empty(case: Case) -> None:
        headers = ((api.header, api.scheme.strip()), *api.extra)
        refused(case, api, case.ask(api.name, plain(case), headers=headers), (*api.wrong_key, 403))

    def cased(case: Case) -> None:
        headers = tuple((name.swapcase(), value) for name, value in case.target.auth(api))
        case.expect(
            case.ask(api.name, plain(case), headers=headers).ok, "success", case.last and case.last.text
        )

    def bearer(case: Case) -> None:
        headers = (("Authorization", f"bearer {case.target.key}"), *api.extra)
        reply = case.ask(api.name, plain(case), headers=headers)
        if api.scheme == "" and reply.status in (400, 401, 403):
            case.skip(f"{api.title} may be without bearer keys")
        case.expect(reply.ok, "success", f"{reply.status} {reply.text}", reply)

    def first(case: Case) -> None:
        reply = case.ask(api.name, b"{", headers=api.extra)
        refused(case, api, reply, api.unauthorized)

    suite.add(
        "auth-missing", "a request without a key is refused", "Anybody could spend the account.", missing
    )
    suite.add("auth-wrong", "a wrong key is refused", "Anybody could spend the account.", wrong)
    suite.add("auth-hidden", "a refused key is not repeated in full", "Errors land in logs.", hidden)
    suite.add("auth-empty", "an empty key is refused", "An unset variable must be noticed.", empty)
    suite.add(
        "auth-header-case", "the header of the key has any case", "HTTP/2 proxies send small letters.", cased,
        source=f"{RFC_HTTP}#section-5.1",
    )  # fmt: skip
    suite.add(
        "auth-bearer", "the word bearer has any case", "Clients differ.", bearer,
        source=f"{RFC_HTTP}#section-11.1",
    )  # fmt: skip
    suite.add(
        "auth-before-body", "the key is looked at before the body", "Strangers learn nothing of the parser.",
        first, should=True,
    )  # fmt: skip


_BODIES: tuple[tuple[str, str, bytes, str], ...] = (
    ("malformed", "broken JSON is refused", b'{"model": ', "A client's bug must be told apart from a fault."),
    ("empty", "an empty body is refused", b"", "A client's bug must be told apart from a fault."),
    ("array", "a body that is a list is refused", b"[]", "Members cannot be found in it."),
    ("string", "a body that is a string is refused", b'"hello"', "Members cannot be found in it."),
    ("null", "a body that is null is refused", b"null", "Members cannot be found in it."),
    (
        "trailing",
        "something behind the JSON is refused",
        b"{} {}",
        "Two requests in one are a smuggler's trick.",
    ),
    ("not-utf8", "bytes that are not UTF-8 are refused", b'{"model": "\xff\xfe"}', "Text would be changed."),
    ("nesting", "10,000 open brackets are refused", b"[" * 10_000, "A parser's stack must not overflow."),
)


def _bodies(suite: Suite, api: Api) -> None:
    for name, title, body, why in _BODIES:

        def run(case: Case, body: bytes = body) -> None:
            refused(case, api, case.ask(api.name, body), (400, 413, 422) if body[:2] == b"[[" else (400,))

        suite.add(f"body-{name}", title, why, run, source=RFC_JSON)

    def not_a_number(case: Case) -> None:
        refused(case, api, case.ask(api.name, b'{"temperature": NaN}'), (400,))

    def charset(case: Case) -> None:
        reply = case.ask(api.name, case.target.plain(api.name), kind="application/json; charset=utf-8")
        case.expect(reply.ok, "success", f"{reply.status} {reply.text}", reply)

    def unknown_member(case: Case) -> None:
        member = "x_conformance_unknown"
        reply = case.ask(api.name, case.target.plain(api.name, **{member: True}))
        if reply.status in (400, 422):
            case.expect(member in reply.text, "a refusal that names the member", reply.text, reply)
        else:
            case.expect(reply.ok, "success, or 400", f"{reply.status} {reply.text}", reply)

    def media_type(case: Case) -> None:
        reply = case.ask(api.name, b"model=x", kind="application/x-www-form-urlencoded")
        refused(case, api, reply, (400, 415, 422))

    suite.add("body-nan", "NaN is refused", "It is not JSON.", not_a_number, source=RFC_JSON)
    suite.add("body-charset", "a charset behind the content type is taken", "Many clients send it.", charset)
    suite.add("body-form", "a form is refused", "It is not JSON.", media_type)
    suite.add(
        "body-unknown-member", "an unknown member is tolerated or named", "APIs gain members every month.",
        unknown_member,
    )  # fmt: skip


def _models(suite: Suite, api: Api) -> None:
    def unknown_reply(case: Case) -> Reply:
        body = case.target.plain(api.name)
        if "model" in body:
            body["model"] = UNKNOWN
        return case.ask(api.name, body, model=UNKNOWN)

    def unknown(case: Case) -> None:
        refused(case, api, unknown_reply(case), (404,))

    def named(case: Case) -> None:
        reply = unknown_reply(case)
        case.expect(UNKNOWN in message_of(reply), f"a message that names {UNKNOWN}", message_of(reply), reply)

    suite.add("model-unknown", "an unknown model is 404", "Clients fall back to another model then.", unknown)
    suite.add(
        "model-named", "the error names the unknown model", "One letter is often wrong.", named, should=True
    )
    if api.name == "gemini":
        return
    for name, value, title in (
        ("missing", None, "a request without a model is refused"),
        ("number", 5, "a model that is a number is refused"),
        ("empty", "", "an empty model is refused"),
    ):

        def run(case: Case, value: object = value) -> None:
            body = case.target.plain(api.name, model=value)
            if value is None:
                del body["model"]
            refused(case, api, case.ask(api.name, body), (400, 404) if value == "" else (400,))

        suite.add(f"model-{name}", title, "A client's bug must be told apart from a fault.", run)


def _routes(suite: Suite, api: Api) -> None:
    def method(case: Case) -> None:
        reply = case.ask(api.name, None, method="PUT")
        case.expect(reply.status in (404, 405), "status 405 (or 404)", f"{reply.status} {reply.text}", reply)
        well_formed(case, api, reply)

    def allow(case: Case) -> None:
        reply = case.ask(api.name, None, method="PUT")
        case.skip_unless(reply.status == 405, "the target answers 404 where it takes another method")
        case.expect("POST" in (reply.header("allow") or ""), "allow: POST", reply.headers, reply)

    def offered(case: Case) -> None:
        case.answer(api.name, case.target.plain(api.name))

    suite.add("offered", "a plain request succeeds", "Nothing else can be checked otherwise.", offered)
    suite.add("method", "another method is 405", "A client's bug must be told apart from a fault.", method)
    suite.add(
        "method-allow", "405 names the methods that are allowed", "HTTP demands it.", allow,
        source=f"{RFC_HTTP}#section-15.5.6",
    )  # fmt: skip


def _replies(suite: Suite, api: Api) -> None:
    def content_type(case: Case) -> None:
        reply = case.answer(api.name, case.target.plain(api.name))
        case.equal("content type", reply.media_type, "application/json")
        case.expect(isinstance(reply.json, dict), "a JSON object", reply.text)

    def framing(case: Case) -> None:
        reply = case.answer(api.name, case.target.plain(api.name))
        case.expect(not reply.faults, "sound HTTP framing", "; ".join(reply.faults))
        case.expect(not reply.header("content-encoding"), "no compression unasked", reply.headers)

    def request_id(case: Case) -> None:
        reply = case.answer(api.name, case.target.plain(api.name))
        names = [name for name, _ in reply.headers if "request-id" in name or "generation-id" in name]
        case.expect(names, "a header with an id of the request", [name for name, _ in reply.headers])

    suite.add("reply-type", "the reply is a JSON object, and says so", "Clients parse by it.", content_type)
    suite.add("reply-framing", "the reply is framed soundly, uncompressed", "Strict clients stop.", framing)
    suite.add("reply-id", "the reply's headers hold an id", "Support asks for it.", request_id, should=True)


def _checks() -> tuple[Check, ...]:
    found: list[Check] = []
    for api in APIS.values():
        suite = Suite(api.name, "basics", api.source)
        for part in (_routes, _auth, _bodies, _models, _replies):
            part(suite, api)
        found += suite.checks
    return tuple(found)


CHECKS = _checks()
