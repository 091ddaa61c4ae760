"""Embeddings: what fronts refuse, how formats translate, and vectors that keep every bit."""

from __future__ import annotations

import base64
import contextlib
import json
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_router.domain.errors import ClientError, InvalidRequest, UnsupportedContent, UpstreamError
from llm_router.domain.model import Quirk
from llm_router.domain.usage import Usage
from llm_router.wire.dialect import Bill, ReplyContext, Target
from llm_router.wire.embeddings import bedrock, cohere, gemini, ollama, openai, vertex
from llm_router.wire.embeddings.vectors import read_vector, to_base64
from llm_router.wire.operations import FORMATS, PROVIDER_DIALECTS

BILL = Bill(usage=Usage(input_tokens=9), cost_pusd=180_000, credits_remaining_pusd=10**12)
float32s = st.lists(st.floats(-1e3, 1e3, width=32), min_size=1, max_size=40)


def target(provider: str = "openai", **members: Any) -> Target:
    return Target(provider=provider, model="up-1", dialect="x", **members)


def context(**members: Any) -> ReplyContext:
    return ReplyContext(reply_id="", model="m", created_s=0, **members)


def asked(**members: Any) -> Any:
    return openai.inspect(json.dumps({"model": "m", "input": "a", **members}).encode(), None, None)


def packed(values: list[float], kind: str = "f") -> str:
    return base64.b64encode(struct.pack(f"<{len(values)}{kind}", *values)).decode()


def reply(*vectors: Any, **members: Any) -> bytes:
    data = [{"object": "embedding", "index": i, "embedding": v} for i, v in enumerate(vectors)]
    usage = {"prompt_tokens": 9, "total_tokens": 9}
    return json.dumps({"object": "list", "data": data, "model": "up-1", "usage": usage, **members}).encode()


@pytest.mark.parametrize(
    ("members", "param"),
    [
        ({"input": ""}, "input"), ({"input": []}, "input"), ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 1]}, "input[1]"), ({"input": [1, "a"]}, "input"), ({"input": [-1]}, "input"),
        ({"input": [1.5]}, "input"), ({"input": [[]]}, "input[0]"), ({"input": [[1], "a"]}, "input[1]"),
        ({"input": {"text": "a"}}, "input"), ({"input": None}, "input"), ({"input": [True]}, "input"),
        ({"input": ["a"] * 2049}, "input"), ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"), ({"dimensions": 1.5}, "dimensions"), ({"model": ""}, "model"),
        ({"user": 1}, "user"), ({"input_type": "image"}, "input_type"),
    ],
)  # fmt: skip
def test_a_bad_request_is_refused_with_the_member_that_is_wrong(members: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(**members)
    assert refused.value.param == param


@pytest.mark.parametrize(
    ("given_", "inputs", "tokens"),
    [
        ("héllo", ("héllo",), 0),
        (["a", "b"], ("a", "b"), 0),
        ([1, 2, 3], ((1, 2, 3),), 3),
        ([[1, 2], [3]], ((1, 2), (3,)), 3),
    ],
)
def test_the_four_forms_of_input(given_: Any, inputs: tuple[Any, ...], tokens: int) -> None:
    found = asked(input=given_)
    assert openai.decode_request(found).inputs == inputs
    assert (found.inputs, found.input_tokens) == (len(inputs), tokens)


def test_the_same_format_changes_nothing_but_the_model() -> None:
    body = b'{"model":"m", "input":["a"],"x":1.50,"encoding_format":"base64"}'
    sent, losses = openai.edit_request(openai.inspect(body, None, None), target(), {})
    members = msgspec.json.decode(sent, type=dict[str, msgspec.Raw])
    assert bytes(members.pop("model")) == b'"up-1"'
    assert {n: bytes(v) for n, v in members.items()} == {
        "input": b'["a"]', "x": b"1.50", "encoding_format": b'"base64"',
    }  # fmt: skip
    assert losses == ()


def test_declared_edits_of_the_provider_apply() -> None:
    quirk = Quirk(edit="rename", field="dimensions", to="output_dimension", why="w")
    sent, _ = openai.edit_request(asked(dimensions=8), target("mistral", quirks=(quirk,)), {})
    assert json.loads(sent)["output_dimension"] == 8


def test_what_is_written_for_chats_alone_is_not_written() -> None:
    effort = Quirk(edit="set", field="reasoning_effort", value=msgspec.Raw(b'"none"'), why="w")
    kind = Quirk(edit="default", field="input_type", value=msgspec.Raw(b'"passage"'), why="w")
    sent, _ = openai.edit_request(asked(), target(quirks=(effort, kind)), {})
    assert json.loads(sent) == {"model": "up-1", "input": "a", "input_type": "passage"}


def test_what_the_vectors_are_for() -> None:
    query = asked(input_type="query", input=["a", "b"])
    sent, losses = openai.edit_request(query, target("voyage"), {})
    assert (json.loads(sent)["input_type"], losses) == ("query", ())
    sent, losses = openai.edit_request(query, target("openai"), {})
    assert "input_type" not in json.loads(sent)
    assert [loss.field for loss in losses] == ["input_type"]
    sent, losses = cohere.encode_request(openai.decode_request(query), target("cohere"))
    assert (json.loads(sent)["input_type"], losses) == ("search_query", ())
    sent, _ = cohere.encode_request(openai.decode_request(asked()), target("cohere"))
    assert json.loads(sent)["input_type"] == "search_document"
    sent, _ = gemini.encode_request(openai.decode_request(query), target("google"))
    assert [r["taskType"] for r in json.loads(sent)["requests"]] == ["RETRIEVAL_QUERY"] * 2


@pytest.mark.parametrize("form", [gemini.DIALECT, cohere.DIALECT, ollama.DIALECT])
def test_tokens_are_refused_where_only_text_is_taken(form: Any) -> None:
    with pytest.raises(UnsupportedContent, match="not tokens"):
        form.encode_request(openai.decode_request(asked(input=[1, 2])), target())


@pytest.mark.parametrize(("form", "most"), [(gemini.DIALECT, 100), (cohere.DIALECT, 96)])
def test_larger_batches_than_the_provider_takes_are_refused(form: Any, most: int) -> None:
    form.encode_request(openai.decode_request(asked(input=["a"] * most)), target())
    with pytest.raises(UnsupportedContent, match=f"at most {most}"):
        form.encode_request(openai.decode_request(asked(input=["a"] * (most + 1))), target())


@given(float32s)
def test_vectors_keep_every_bit_in_either_encoding(values: list[float]) -> None:
    text = to_base64(values)
    assert text == packed(values)
    assert list(read_vector(json.dumps(text).encode(), len(values))) == values
    wish = {"encoding_format": msgspec.Raw(b'"base64"')}
    out = json.loads(openai.PassedReply(reply(values), context(echo=wish)).finish(BILL))
    assert out["data"][0]["embedding"] == text
    sized = {"dimensions": msgspec.Raw(b"%d" % len(values))}
    out = json.loads(openai.PassedReply(reply(text), context(echo=sized)).finish(BILL))
    assert out["data"][0]["embedding"] == values


def test_right_bytes_stay_as_they_are() -> None:
    body = b'{"object":"list","data":[{"object":"embedding","index":0,"embedding":[1.50, -2e-3]}],"usage":{"prompt_tokens":3,"total_tokens":3},"x":1e0}'
    out = openai.PassedReply(body, context()).finish(BILL)
    assert b"[1.50, -2e-3]" in out
    assert b'"x":1e0' in out
    usage = json.loads(out)["usage"]
    assert (usage["prompt_tokens"], usage["cost"], usage["credits_remaining"]) == (9, 1.8e-7, 1)


@pytest.mark.parametrize("kind", ["d", "b"])
def test_base64_of_other_numbers_is_recognised(kind: str) -> None:
    values = [n * 37 % 256 - 128 for n in range(256)] if kind == "b" else [0.1, -0.25, 1 / 3, 0.7]
    found = read_vector(json.dumps(packed(values, kind)).encode(), None)
    assert list(found) == values
    minute = [0.25, -3.1e-33, *([0.125, -0.5] * 20), 0.0, 3.3e-33]
    assert read_vector(json.dumps(packed(minute)).encode(), None)[2:-1] == tuple(minute[2:-1])
    halves = [0.0016326904296875, 0.5, -0.25]
    assert list(read_vector(json.dumps(packed(halves, "d")).encode(), None)) == halves


def test_vectors_come_in_the_order_of_the_inputs() -> None:
    data = [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}]
    body = json.dumps({"data": data}).encode()
    assert openai.decode_reply(body).vectors == ((1.0,), (2.0,))
    out = json.loads(openai.PassedReply(body, context(inputs=2)).finish(BILL))
    assert [(d["index"], d["embedding"], d["object"]) for d in out["data"]] == [
        (0, [1], "embedding"), (1, [2], "embedding"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{}", b'{"data":null}', b'{"data":[{}]}', reply(["a"]), reply("%%%"), reply(""), reply(None),
        reply([1.0], [2.0]), reply(), reply([]), reply([1, "2"]), reply([1, None]), reply([1, {}]), reply([1, True]), b'{"error":{"message":"no"}}', reply({"a": 1}), reply([[1.0]]),
    ],
)  # fmt: skip
def test_a_reply_that_is_none_is_an_upstream_error(body: bytes) -> None:
    with pytest.raises(UpstreamError):
        openai.PassedReply(body, context())


def test_missing_usage_is_not_zero() -> None:
    assert openai.decode_reply(reply([1.0], usage=None)).usage is None
    assert openai.decode_reply(reply([1.0], usage={"prompt_tokens": 0})).usage == Usage()
    odd = openai.decode_reply(reply([1.0], usage={"prompt_tokens": -4}))
    assert (odd.usage, odd.flags) == (None, ("usage_invalid",))


# -- Gemini in front ---------------------------------------------------------------------------------

TEXT = {"parts": [{"text": "a"}, {"text": "b"}]}


def single(**members: Any) -> Any:
    return gemini.inspect_one(json.dumps({"content": TEXT, **members}).encode(), "m", None)


def test_a_single_request_goes_up_as_a_batch_of_itself() -> None:
    body = b'{"content":{"parts":[{"text":"a"}]}, "taskType":"CLUSTERING","x":1.0}'
    found = gemini.inspect_one(body, "models/m", None)
    sent, losses = gemini.edit_request(found, target("google"), {})
    assert (
        sent
        == b'{"requests":[{"content":{"parts":[{"text":"a"}]},"taskType":"CLUSTERING","x":1.0,"model":"models/up-1"}]}'
    )
    assert losses == ()
    answer = b'{"embeddings":[{"values":[1.50,2]}],"usageMetadata":{"promptTokenCount":3}}'
    out = gemini.PassedReply(answer, context(echo=found.echo)).finish(BILL)
    assert b'"embedding":{"values":[1.50,2]}' in out
    assert json.loads(out)["usageMetadata"]["promptTokenCount"] == 9


def test_gemini_in_front_of_others() -> None:
    found = single(taskType="RETRIEVAL_QUERY", title="T", outputDimensionality=4)
    request = gemini.decode_request(found)
    sent, losses = openai.encode_request(request, target())
    assert json.loads(sent) == {"model": "up-1", "input": ["a\nb"], "dimensions": 4}
    assert [loss.field for loss in losses] == ["taskType", "title"]
    sent, losses = cohere.encode_request(request, target("cohere"))
    assert json.loads(sent)["output_dimension"] == 4
    assert [loss.field for loss in losses] == ["title"]
    out, _ = gemini.encode_reply(openai.decode_reply(reply([0.5])), context(echo=found.echo), BILL)
    assert json.loads(out)["embedding"] == {"values": [0.5]}


@pytest.mark.parametrize(
    "members",
    [
        {"content": {}},
        {"content": {"parts": []}},
        {"content": None},
        {"taskType": "X"},
        {"outputDimensionality": 0},
    ],
)
def test_a_bad_gemini_request_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        single(**members)
    with pytest.raises(InvalidRequest):
        gemini.inspect_batch(json.dumps({"requests": [{"content": TEXT, **members}]}).encode(), "m", None)


def test_pictures_are_refused_since_nobody_knows_their_price() -> None:
    with pytest.raises(UnsupportedContent):
        single(content={"parts": [{"inlineData": {"mimeType": "image/png", "data": "x"}}]})


def test_replies_of_cohere_and_ollama() -> None:
    meta = {"billed_units": {"input_tokens": 7}}
    typed = cohere.decode_reply(json.dumps({"embeddings": {"float": [[1, 2]]}, "meta": meta}).encode())
    plain = cohere.decode_reply(json.dumps({"embeddings": [[1, 2]]}).encode())
    assert (typed.vectors, typed.usage) == (((1.0, 2.0),), Usage(input_tokens=7))
    assert (plain.vectors, plain.usage) == (((1.0, 2.0),), None)
    found = ollama.decode_reply(b'{"model":"e","embeddings":[[0.5]],"prompt_eval_count":3}')
    assert (found.vectors, found.usage) == (((0.5,),), Usage(input_tokens=3))


def test_vertex_predict_serves_embeddings_alone() -> None:
    assert vertex.NAME in PROVIDER_DIALECTS
    assert vertex.NAME not in FORMATS["chat"]


def test_vertex_predicts() -> None:
    request = gemini.decode_request(single(taskType="CLUSTERING", title="T", outputDimensionality=4))
    sent, losses = vertex.encode_request(request, target("vertex"))
    assert json.loads(sent) == {
        "instances": [{"content": "a\nb", "task_type": "CLUSTERING", "title": "T"}],
        "parameters": {"outputDimensionality": 4},
    }
    assert losses == ()
    prediction = {"embeddings": {"values": [0.5], "statistics": {"token_count": 3, "truncated": False}}}
    found = vertex.decode_reply(json.dumps({"predictions": [prediction, prediction]}).encode())
    assert (found.vectors, found.usage) == (((0.5,), (0.5,)), Usage(input_tokens=6))
    gemini_model = Target(provider="vertex", model="gemini-embedding-001", dialect="x")
    with pytest.raises(UnsupportedContent, match="at most 1"):
        vertex.encode_request(openai.decode_request(asked(input=["a", "b"])), gemini_model)


def test_bedrock_speaks_the_form_of_the_vendor() -> None:
    titan = Target(provider="bedrock", model="amazon.titan-embed-text-v2:0", dialect="x")
    request = openai.decode_request(asked(dimensions=256, user="u"))
    sent, losses = bedrock.encode_request(request, titan)
    assert json.loads(sent) == {"inputText": "a", "dimensions": 256}
    assert [loss.field for loss in losses] == ["user"]
    for given_ in (["a", "b"], [1, 2]):
        with pytest.raises(UnsupportedContent):
            bedrock.encode_request(openai.decode_request(asked(input=given_)), titan)
    with pytest.raises(UnsupportedContent):
        bedrock.encode_request(request, target("bedrock"))
    found = bedrock.decode_reply(b'{"embedding":[0.5,1],"inputTextTokenCount":3}')
    assert (found.vectors, found.usage) == (((0.5, 1.0),), Usage(input_tokens=3))
    v4 = Target(provider="bedrock", model="us.cohere.embed-v4:0", dialect="x")
    sent, _ = bedrock.encode_request(openai.decode_request(asked(input=["a", "b"])), v4)
    assert json.loads(sent) == {
        "texts": ["a", "b"], "input_type": "search_document", "embedding_types": ["float"],
    }  # fmt: skip
    assert bedrock.decode_reply(b'{"embeddings":{"float":[[1]]},"id":"x"}').usage is None


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "data",
                    "embedding",
                    "embeddings",
                    "index",
                    "usage",
                    "prompt_tokens",
                    "values",
                    "float",
                    "meta",
                    "input",
                    "requests",
                    "content",
                    "parts",
                    "text",
                    "model",
                    "dimensions",
                    "error",
                    "message",
                    "usageMetadata",
                    "promptTokenCount",
                    "prompt_eval_count",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
garbage = st.binary(max_size=60) | values.map(lambda value: json.dumps(value).encode())


@settings(max_examples=300)
@given(garbage)
def test_no_reply_and_no_request_raises_anything_unforeseen(body: bytes) -> None:
    for form in (
        openai.DIALECT,
        gemini.DIALECT,
        cohere.DIALECT,
        ollama.DIALECT,
        bedrock.DIALECT,
        vertex.DIALECT,
    ):
        with contextlib.suppress(UpstreamError):
            form.decode_reply(body)
        form.decode_error(400, {}, body)
    for passed in (openai.PassedReply, gemini.PassedReply):
        with contextlib.suppress(UpstreamError):
            passed(body, context()).finish(BILL)
    for front in (openai.DIALECT, gemini.DIALECT, gemini.ONE):
        with contextlib.suppress(ClientError):
            found = front.inspect(body, "m", None)
            front.encode_request(front.decode_request(found), target())


@pytest.mark.parametrize(
    ("form", "base", "url"),
    [
        (openai.DIALECT, "https://h/v1", "https://h/v1/embeddings"),
        (gemini.DIALECT, "https://h/v1beta", "https://h/v1beta/models/e:batchEmbedContents"),
        (cohere.DIALECT, "https://h/compatibility/v1", "https://h/v2/embed"),
        (cohere.DIALECT, "https://h/v2", "https://h/v2/embed"),
        (bedrock.DIALECT, "https://h", "https://h/model/e/invoke"),
        (
            vertex.DIALECT,
            "https://h/publishers/google/models",
            "https://h/publishers/google/models/e:predict",
        ),
        (ollama.DIALECT, "http://h:1/v1", "http://h:1/api/embed"),
    ],
)
def test_addresses(form: Any, base: str, url: str) -> None:
    assert form.upstream_url(base, "embed", "e", False) == url
