"""Simulated embeddings: the same text has the same vector, and texts that share words lie close."""

from __future__ import annotations

import json
import math
import urllib.error
import urllib.request
from typing import Any

import pytest

from llm_router.sandbox.embedding import vector
from llm_router.sandbox.server import RunningSandbox


def post(sandbox: RunningSandbox, path: str, body: Any) -> Any:
    request = urllib.request.Request(
        sandbox.base_url + path,
        json.dumps(body).encode(),
        {"authorization": "Bearer x", "x-goog-api-key": "x", "content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        return json.loads(reply.read())


def near(one: tuple[float, ...], two: tuple[float, ...]) -> float:
    return math.fsum(a * b for a, b in zip(one, two, strict=True))


def test_vectors_are_of_length_one_and_show_what_texts_share() -> None:
    cats, dogs, tax = (
        vector(text, 256)
        for text in ("My cat sleeps all day.", "The cat sleeps.", "Pay the income tax in May.")
    )
    assert math.isclose(near(cats, cats), 1, rel_tol=1e-6)
    assert near(cats, dogs) > near(cats, tax) + 0.2
    assert vector("!?", 8) == vector("!?", 8) != vector("--", 8)
    assert len(vector((1, 2), 3)) == 3


def test_each_form_gives_the_same_vectors(sandbox: RunningSandbox) -> None:
    expected = list(vector("Hello", 8))
    found = post(sandbox, "/openai/v1/embeddings", {"model": "m", "input": "Hello", "dimensions": 8})
    assert found["data"][0]["embedding"] == expected
    assert set(found["usage"]) == {"prompt_tokens", "total_tokens"}
    item = {"content": {"parts": [{"text": "Hello"}]}, "outputDimensionality": 8}
    assert post(sandbox, "/gemini/v1beta/models/m:embedContent", item)["embedding"]["values"] == expected
    batch = post(sandbox, "/gemini/v1beta/models/m:batchEmbedContents", {"requests": [item, item]})
    assert [e["values"] for e in batch["embeddings"]] == [expected] * 2
    predict = {"instances": [{"content": "Hello"}], "parameters": {"outputDimensionality": 8}}
    found = post(sandbox, "/gemini/v1beta/m:predict", predict)["predictions"][0]["embeddings"]
    assert (found["values"], found["statistics"]["token_count"]) == (expected, 2)
    titan = post(sandbox, "/bedrock/model/amazon.titan/invoke", {"inputText": "Hello", "dimensions": 8})
    assert (titan["embedding"], titan["inputTextTokenCount"]) == (expected, 2)
    ollama = post(sandbox, "/ollama/api/embed", {"model": "m", "input": ["Hello"], "dimensions": 8})
    assert (ollama["embeddings"], ollama["prompt_eval_count"]) == ([expected], 2)
    cohere = {"model": "m", "texts": ["Hello"], "input_type": "search_query", "output_dimension": 8}
    for path in ("/openai/v2/embed", "/cohere/v2/embed", "/bedrock/model/cohere.embed/invoke"):
        assert post(sandbox, path, cohere)["embeddings"]["float"] == [expected]


@pytest.mark.parametrize(
    ("body", "status"),
    [({"model": "m", "input": ""}, 400), ({"model": "m", "input": "[[error 503]] hello"}, 503)],
)
def test_wrong_requests_and_orders(sandbox: RunningSandbox, body: Any, status: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        post(sandbox, "/openai/v1/embeddings", body)
    assert refused.value.code == status
    refused.value.close()
