"""The list of models, in three shapes."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from llm_router.conformance.api import ANTHROPIC, APIS, GEMINI, OPENAI
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.checks.basics import UNKNOWN, refused
from llm_router.conformance.transport import Reply

_suite = Suite("http", "models", f"{OPENAI}/models")
check = _suite.check
LIST = "/v1/models"
OPENAI_APIS = {"chat", "responses", "embeddings"}


def _get(case: Case, api: str, path: str) -> Reply:
    """
    Raises:
        Skipped: the target is not checked for any API whose clients ask so.
    """
    askers = OPENAI_APIS if api == "chat" else {api}
    case.skip_unless(askers & set(case.target.apis), f"{APIS[api].title} is not checked")
    return case.ask(api, None, method="GET", path=path)


def _page(case: Case, api: str, path: str, member: str) -> list[dict[str, Any]]:
    reply = _get(case, api, path)
    if reply.status in (400, 401, 403, 404, 405):
        case.skip(f"there is no list in the form of {APIS[api].title}")
    case.expect(reply.ok and isinstance(reply.json, dict), "a list", f"{reply.status} {reply.text}")
    found = reply.json.get(member)
    case.expect(isinstance(found, list) and found, f"a list '{member}' that is not empty", reply.json)
    return [entry for entry in found if isinstance(entry, dict)]


@check("list", "GET /v1/models is a list of models", "Clients offer their users a choice.")
def openai_list(case: Case) -> None:
    entries = _page(case, "chat", LIST, "data")
    assert case.last is not None
    case.equal("object", case.last.json.get("object"), "list")
    for entry in entries:
        case.text("id", entry.get("id"))
        case.equal("object of an entry", entry.get("object"), "model")


@check("list-created", "each entry has created and owned_by", "OpenAI's client declares them.", should=True)
def openai_created(case: Case) -> None:
    for entry in _page(case, "chat", LIST, "data"):
        case.count("created", entry.get("created"))
        case.text("owned_by", entry.get("owned_by"))


@check("list-unique", "no id occurs twice", "A choice by id must be one.")
def openai_unique(case: Case) -> None:
    ids = [entry.get("id") for entry in _page(case, "chat", LIST, "data")]
    case.expect(
        len(ids) == len(set(ids)), "ids that differ", sorted({str(i) for i in ids if ids.count(i) > 1})
    )


@check("list-auth", "the list needs a key", "It says what the account may use.", should=True)
def openai_auth(case: Case) -> None:
    reply = case.ask("chat", None, method="GET", path=LIST, headers=())
    case.expect(reply.status in (401, 403), "status 401", reply.status)


@check("get", "a listed model can be got by its id", "Clients look a model up before they use it.")
def openai_get(case: Case) -> None:
    entry = _page(case, "chat", LIST, "data")[0]
    reply = _get(case, "chat", f"{LIST}/{quote(entry['id'], safe='')}")
    case.expect(reply.ok, "the model", f"{reply.status} {reply.text}")
    case.equal("id", reply.json.get("id"), entry["id"])
    case.equal("object", reply.json.get("object"), "model")


@check("get-unknown", "an unknown model is 404", "Clients look a model up before they use it.")
def openai_get_unknown(case: Case) -> None:
    refused(case, APIS["chat"], _get(case, "chat", f"{LIST}/{UNKNOWN}"), (404,))


@check("slash", "an id with a slash in it can be looked up", "Many ids have the form developer/model.")
def slash(case: Case) -> None:
    reply = _get(case, "chat", f"{LIST}/no-such/{UNKNOWN}")
    refused(case, APIS["chat"], reply, (404,))


@check("anthropic-list", "the list has Anthropic's shape for Anthropic's clients", "They parse only that.",
       source=f"{ANTHROPIC}/models-list")  # fmt: skip
def anthropic_list(case: Case) -> None:
    entries = _page(case, "messages", LIST, "data")
    assert case.last is not None
    case.skip_unless("has_more" in case.last.json, "there is no list in the form of Anthropic messages")
    for entry in entries:
        case.equal("type of an entry", entry.get("type"), "model")
        case.text("id", entry.get("id"))
        case.text("display_name", entry.get("display_name"))
        case.text("created_at", entry.get("created_at"))
    for name, entry in (("first_id", entries[0]), ("last_id", entries[-1])):
        case.equal(name, case.last.json.get(name), entry["id"])


@check("anthropic-limit", "Anthropic's list obeys its limit, and says that there is more", "It is read by pages.",
       source=f"{ANTHROPIC}/models-list")  # fmt: skip
def anthropic_limit(case: Case) -> None:
    anthropic_list(case)
    entries = _page(case, "messages", LIST, "data")
    case.skip_unless(len(entries) > 1, "there is only one model")
    page = _page(case, "messages", f"{LIST}?limit=1", "data")
    case.equal("number of entries", len(page), 1)
    assert case.last is not None
    case.equal("has_more", case.last.json.get("has_more"), True)
    following = _page(case, "messages", f"{LIST}?limit=1&after_id={quote(page[0]['id'], safe='')}", "data")
    case.equal("id of the second page", following[0]["id"], entries[1]["id"])


@check("anthropic-get", "a model has Anthropic's shape for Anthropic's clients", "They parse only that.",
       source=f"{ANTHROPIC}/models")  # fmt: skip
def anthropic_get(case: Case) -> None:
    anthropic_list(case)
    entry = _page(case, "messages", LIST, "data")[0]
    reply = _get(case, "messages", f"{LIST}/{quote(entry['id'], safe='')}")
    case.expect(reply.ok, "the model", f"{reply.status} {reply.text}")
    case.equal("type", reply.json.get("type"), "model")
    case.equal("id", reply.json.get("id"), entry["id"])


@check(
    "gemini-list",
    "/v1beta/models has Gemini's shape",
    "Google's clients parse only that.",
    source=f"{GEMINI}/models",
)
def gemini_list(case: Case) -> None:
    for entry in _page(case, "gemini", "/v1beta/models", "models"):
        name = case.text("name", entry.get("name"))
        case.expect(name.startswith("models/"), 'a name that begins with "models/"', name)
        methods = entry.get("supportedGenerationMethods")
        case.expect(isinstance(methods, list), "supportedGenerationMethods", methods)


@check("gemini-pages", "Gemini's list obeys pageSize and goes on with pageToken", "It is read by pages.",
       source=f"{GEMINI}/models")  # fmt: skip
def gemini_pages(case: Case) -> None:
    whole = _page(case, "gemini", "/v1beta/models", "models")
    case.skip_unless(len(whole) > 1, "there is only one model")
    page = _page(case, "gemini", "/v1beta/models?pageSize=1", "models")
    case.equal("number of entries", len(page), 1)
    assert case.last is not None
    token = case.text("nextPageToken", case.last.json.get("nextPageToken"))
    following = _page(
        case, "gemini", f"/v1beta/models?pageSize=1&pageToken={quote(token, safe='')}", "models"
    )
    case.equal("name of the second page", following[0]["name"], whole[1]["name"])


@check(
    "gemini-get", "a model has Gemini's shape", "Google's clients parse only that.", source=f"{GEMINI}/models"
)
def gemini_get(case: Case) -> None:
    entry = _page(case, "gemini", "/v1beta/models", "models")[0]
    reply = _get(case, "gemini", f"/v1beta/{quote(entry['name'], safe='/')}")
    case.expect(reply.ok, "the model", f"{reply.status} {reply.text}")
    case.equal("name", reply.json.get("name"), entry["name"])


CHECKS = _suite.checks
