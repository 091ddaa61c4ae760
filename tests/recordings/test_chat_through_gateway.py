"""Every recording of the chat APIs, answered by the running gateway to a strict OpenAI client.

The provider is the replay server, which sends the recorded bytes cut at awkward places.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from expected import Expected, arguments
from judge import expectation
from kit import recording_of
from serving import gateway_for, replaying
from strict_client import Read, read_error, read_stream, read_whole

RECORDINGS = Path(__file__).parents[3] / "shared" / "recordings"
DIALECTS = {
    "chat_completions": "openai_chat",
    "messages": "anthropic_messages",
    "generate_content": "gemini_generate",
    "stream_generate_content": "gemini_generate",
    "chat_v2": "cohere_chat",
    "ollama_chat": "ollama_chat",
    "responses": "openai_responses",
}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside the project"),
]


def recordings() -> list[dict[str, Any]]:
    rows = json.loads((RECORDINGS / "dev" / "index.json").read_text())
    return [json.loads((RECORDINGS / "dev" / r["file"]).read_text()) for r in rows if r["api"] in DIALECTS]


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """(port, key) of a gateway with one provider and one model for each recording."""
    rows = [(recording["id"], DIALECTS[recording["api"]]) for recording in recordings()]
    with replaying() as replay, gateway_for(rows, replay, tmp_path_factory.mktemp("gateway")) as found:
        yield found


def request_of(recording: dict[str, Any]) -> dict[str, Any]:
    """The client's request: the recorded one if it was in this form, else a plain one of its kind."""
    plain: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello"}]}
    recorded = (recording.get("request") or {}).get("body")
    if recording["api"] == "chat_completions" and isinstance(recorded, dict) and recorded.get("messages"):
        plain = dict(recorded)
    plain["model"] = recording["id"]
    plain["stream"] = "stream" in recording["tags"]
    if not plain["stream"]:
        plain.pop("stream_options", None)
    elif (plain.get("stream_options") or {}).get("include_usage") is False:
        del plain["stream_options"]
    return plain


def ask(gateway: tuple[int, str], body: dict[str, Any]) -> Read:
    connection = http.client.HTTPConnection("127.0.0.1", gateway[0], timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {gateway[1]}"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    if reply.status >= 400:
        return read_error(reply.status, data)
    read = read_stream(data) if body["stream"] else read_whole(data)
    read.status = reply.status
    return read


def faults(recording: dict[str, Any], expected: Expected, read: Read) -> list[str]:
    found = list(read.faults)
    if expected.status != 200:
        if read.status != expected.status:
            found.append(f"status {read.status} instead of {expected.status}")
        return found
    if expected.broken:
        if read.error is None:
            found.append("the provider's error was not told")
        return found  # a failure before any content may be a status, a later one is an error chunk
    if read.error is not None or read.status != 200:
        found.append(f"an error where the provider answered: {read.status} {read.error}")
        return found
    for index, answer in expected.choices.items():
        got = read.choices.get(index)
        if got is None:
            found.append(f"choice {index} is missing")
            continue
        if got["text"] != answer.text:
            found.append(f"text {got['text'][:80]!r} instead of {answer.text[:80]!r}")
        if (got["refusal"] or "") != answer.refusal:
            found.append(f"refusal {got['refusal']!r} instead of {answer.refusal!r}")
        if got["reasoning"].strip() != answer.reasoning.strip():
            found.append(f"reasoning {got['reasoning'][:80]!r} instead of {answer.reasoning[:80]!r}")
        calls = [(name, arguments(text)) for name, text, _ in got["calls"]]
        if calls != answer.calls:
            found.append(f"calls {calls} instead of {answer.calls}")
        if len({id_ for _, _, id_ in got["calls"]}) != len(got["calls"]):
            found.append("two calls with one id")
        finish = "tool_calls" if got["finish"] == "function_call" else got["finish"]
        if answer.finish is not None and finish != answer.finish:
            found.append(f"finish {got['finish']} instead of {answer.finish}")
    if set(read.choices) - set(expected.choices):
        found.append(f"choices {sorted(read.choices)} instead of {sorted(expected.choices)}")
    if expected.prompt_tokens is not None and read.usage is not None:
        told = (read.usage.get("prompt_tokens"), read.usage.get("completion_tokens"))
        if told != (expected.prompt_tokens, expected.completion_tokens):
            found.append(f"usage {told} instead of {(expected.prompt_tokens, expected.completion_tokens)}")
        cached = (read.usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        if expected.cached_tokens and cached != expected.cached_tokens:
            found.append(f"cached {cached} instead of {expected.cached_tokens}")
    return found


def test_every_recording_reaches_a_strict_client(gateway: tuple[int, str]) -> None:
    kit = recordings()

    def one(recording: dict[str, Any]) -> tuple[str, list[str]]:
        try:
            read = ask(gateway, request_of(recording))
        except Exception as error:
            return recording["id"], [f"unreadable: {error!r}"]
        return recording["id"], faults(recording, expectation(recording_of(recording)), read)

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(one, kit))
    wrong = {id_: found for id_, found in results if found}
    report = "\n".join(f"{id_}: {'; '.join(found)[:400]}" for id_, found in wrong.items())
    print(f"{len(kit) - len(wrong)} of {len(kit)} right\n{report}")
    assert not wrong, f"{len(wrong)} of {len(kit)} recordings are not right:\n{report}"
