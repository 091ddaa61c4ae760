"""OpenAI embeddings."""

from __future__ import annotations

import base64
import math
import struct
from typing import Any

from llm_router.conformance.api import OPENAI, Json
from llm_router.conformance.case import Case, Suite
from llm_router.conformance.transport import Reply

_suite = Suite("embeddings", "vectors", f"{OPENAI}/embeddings")
check = _suite.check
NEAR = 1e-3
"""Providers round: the same text twice is the same vector within this."""

APPLE, CAR, FRUIT = "a ripe red apple", "the engine of a fast car", "a juicy red fruit"


def ask(case: Case, input_: object = None, *, feature: str = "", **members: Any) -> Reply:
    body = case.target.plain("embeddings", **members)
    if input_ is not None:
        body["input"] = input_
    return case.answer("embeddings", body, feature=feature)


def entries(case: Case, reply: Reply) -> list[Json]:
    found = reply.json.get("data") if isinstance(reply.json, dict) else None
    case.expect(isinstance(found, list) and found and isinstance(found[0], dict), "a list 'data'", reply.text)
    assert isinstance(found, list)
    return found


def vectors(case: Case, reply: Reply) -> list[list[float]]:
    found = []
    for entry in entries(case, reply):
        vector = entry.get("embedding")
        numbers = isinstance(vector, list) and all(
            isinstance(v, int | float) and math.isfinite(v) for v in vector
        )
        case.expect(numbers and vector, "a list of numbers", entry)
        assert isinstance(vector, list)
        found.append(vector)
    return found


def same(a: list[float], b: list[float]) -> bool:
    return len(a) == len(b) and cosine(a, b) > 1 - NEAR


def cosine(a: list[float], b: list[float]) -> float:
    lengths = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


@check("object", 'object is "list"', "Clients tell replies apart by it.")
def object_(case: Case) -> None:
    case.equal("object", ask(case).json.get("object"), "list")


@check("entry", 'one text makes one entry of object "embedding", index 0', "Clients read data[0].")
def entry(case: Case) -> None:
    found = entries(case, ask(case))
    case.equal("number of entries", len(found), 1)
    case.equal("object", found[0].get("object"), "embedding")
    case.equal("index", found[0].get("index"), 0)


@check("floats", "a vector is a list of numbers", "It is what was asked for.")
def floats(case: Case) -> None:
    vector = vectors(case, ask(case))[0]
    case.expect(any(vector) and len(vector) > 1, "a vector that is not zero", vector[:5])


@check("model", "model says who answered", "Vectors of two models do not compare.")
def model(case: Case) -> None:
    case.text("model", ask(case).json.get("model"))


@check("usage", "usage holds prompt_tokens and total_tokens", "Users pay by them.")
def usage(case: Case) -> None:
    found = ask(case).json.get("usage")
    case.expect(isinstance(found, dict), "a usage object", found)
    prompt = case.count("prompt_tokens", found.get("prompt_tokens"))
    case.expect(prompt > 0, "more than 0", prompt)
    case.equal("total_tokens", found.get("total_tokens"), prompt)


@check("float-format", "encoding_format float is the default", "Clients without numpy send it.")
def float_format(case: Case) -> None:
    found = vectors(case, ask(case, encoding_format="float"))[0]
    case.expect(same(found, vectors(case, ask(case))[0]), "the same vector", found[:5])


@check("base64", "base64 holds the same vector, as 32-bit floats", "OpenAI's client asks for it always.")
def base64_(case: Case) -> None:
    text = entries(case, ask(case, encoding_format="base64", feature="base64"))[0].get("embedding")
    case.expect(isinstance(text, str), "a text in base64", text)
    raw = base64.b64decode(str(text), validate=True)
    found = list(struct.unpack(f"<{len(raw) // 4}f", raw[: len(raw) // 4 * 4]))
    case.expect(same(found, vectors(case, ask(case))[0]), "the same vector", found[:5])


@check("batch", "a list of texts makes an entry each", "Documents are embedded by the hundred.")
def batch(case: Case) -> None:
    found = entries(case, ask(case, [APPLE, CAR, FRUIT]))
    case.equal("indexes", [e.get("index") for e in found], [0, 1, 2])


@check("batch-order", "the entries are in the order of the texts", "Vectors would be of other documents.")
def batch_order(case: Case) -> None:
    batched = vectors(case, ask(case, [APPLE, CAR, FRUIT]))
    for number, text in enumerate((APPLE, CAR, FRUIT)):
        single = vectors(case, ask(case, text))[0]
        best = max(
            range(3), key=lambda n: cosine(batched[n], single) if len(batched[n]) == len(single) else -1
        )
        case.equal(f"entry nearest to text {number}", best, number)


@check("batch-one", "a list of one text is like the text", "Clients always send lists.")
def batch_one(case: Case) -> None:
    case.expect(
        same(vectors(case, ask(case, [APPLE]))[0], vectors(case, ask(case, APPLE))[0]), "the same", "another"
    )


@check("batch-same", "the same text twice makes the same vector", "Searches depend on it.")
def batch_same(case: Case) -> None:
    first, second = vectors(case, ask(case, [APPLE, APPLE]))
    case.expect(same(first, second), "two equal vectors", [first[:3], second[:3]])


@check("lengths", "all vectors are of one length", "Stores refuse others.")
def lengths(case: Case) -> None:
    found = {len(vector) for vector in vectors(case, ask(case, [APPLE, CAR, FRUIT]))}
    case.expect(len(found) == 1, "one length", sorted(found))


@check("batch-usage", "three texts count more than one", "Users pay by it.")
def batch_usage(case: Case) -> None:
    one = ask(case, APPLE).json["usage"]["prompt_tokens"]
    three = ask(case, [APPLE, CAR, FRUIT]).json["usage"]["prompt_tokens"]
    case.expect(three > one, f"more than {one}", three)


@check("dimensions", "dimensions are obeyed", "Stores are made for one size.")
def dimensions(case: Case) -> None:
    whole = len(vectors(case, ask(case))[0])
    small = min(64, whole)
    found = len(vectors(case, ask(case, dimensions=small, feature="dimensions"))[0])
    case.equal("length", found, small)


@check("tokens", "a list of tokens is taken", "LangChain sends it.")
def tokens(case: Case) -> None:
    found = vectors(case, ask(case, [791, 4062, 14198], feature="tokens"))
    case.equal("number of vectors", len(found), 1)


@check("tokens-batch", "a list of lists of tokens is taken", "LangChain sends it.")
def tokens_batch(case: Case) -> None:
    found = vectors(case, ask(case, [[791, 4062], [14198]], feature="tokens"))
    case.equal("number of vectors", len(found), 2)


@check("unicode", "text of any script is taken", "Users write in their own language.")
def unicode(case: Case) -> None:
    vectors(case, ask(case, ["你好", "مرحبا", "👩‍👩‍👧‍👦"]))


@check("user", "user is taken", "Abuse is traced by it.")
def user(case: Case) -> None:
    ask(case, user="conformance")


@check("empty", "an empty text is no failure of the server", "Documents have empty pages.")
def empty(case: Case) -> None:
    reply = case.ask("embeddings", case.target.plain("embeddings", input=""))
    case.expect(reply.status < 500, "an answer or a refusal", f"{reply.status} {reply.text}")


CHECKS = _suite.checks
