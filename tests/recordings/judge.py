"""Whether what a strict client read is what the recording says."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType
from typing import Any

import client_gemini
import client_messages
import client_responses
import strict_client
from carry import CLIENTS, Carried, carry
from expected import Expected, arguments, expect
from expected_more import expect_more
from expected_others import expect_other
from kit import DIALECTS, Recording
from strict_client import Read

READERS: dict[str, ModuleType] = {
    "chat": strict_client,
    "messages": client_messages,
    "responses": client_responses,
    "gemini": client_gemini,
}


def expectation(recording: Recording) -> Expected:
    """What the recording says, read without the product's code."""
    return expect_other(recording.raw) or expect_more(recording) or expect(recording.raw)


def is_native(recording: Recording, client: str) -> bool:
    """Whether client and provider speak one dialect, so that the provider's own members stay."""
    return DIALECTS[recording.api] == CLIENTS[client]


def read(carried: Carried, client: str, *, stream: bool, native: bool) -> Read:
    """What the client makes of what reached it."""
    reader = READERS[client]
    if carried.status >= 400:
        found: Read = reader.read_error(carried.status, carried.data)
        return found
    options = {} if client == "chat" else {"native": native}
    found = (reader.read_stream if stream else reader.read_whole)(carried.data, **options)
    if client == "chat" and found.usage is not None:
        cached = (found.usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        found.counts = (found.usage.get("prompt_tokens"), found.usage.get("completion_tokens"), cached)
    return found


def judge(
    recording: Recording, client: str, *, stream: bool, step: int = 61, json_array: bool = False
) -> list[str]:
    """The faults of one recording for one client; none if all is right."""
    try:
        carried = carry(recording, client, stream=stream, step=step, json_array=json_array)
        got = read(carried, client, stream=stream, native=is_native(recording, client))
    except Exception as error:
        return [f"unreadable: {error!r:.300}"]
    return compare(recording, expectation(recording), got, client)


def compare(recording: Recording, expected: Expected, got: Read, client: str) -> list[str]:
    found = list(got.faults)
    if expected.status != 200:
        if got.status != expected.status:
            found.append(f"status {got.status} instead of {expected.status}")
        return found
    if expected.broken:
        native = got.choices.get(0, {}).get("native") if is_native(recording, client) else None
        if got.error is None and native is None:
            found.append("the provider's error was not told")
        return found
    if got.error is not None or got.status != 200:
        found.append(f"an error where the provider answered: {got.status} {got.error!r:.300}")
        return found
    one = client in ("messages", "responses")  # their replies hold one answer
    for index, answer in expected.choices.items():
        if index and one:
            continue
        if index not in got.choices:
            found.append(f"choice {index} is missing")
            continue
        found += _choice(recording, answer, got.choices[index], client)
    if not one and set(got.choices) - set(expected.choices):
        found.append(f"choices {sorted(got.choices)} instead of {sorted(expected.choices)}")
    return found + _counts(expected, got)


def _choice(recording: Recording, answer: Any, got: dict[str, Any], client: str) -> list[str]:
    found = []
    said, refused = answer.text, answer.refusal
    if client in ("messages", "gemini"):  # they have no place of its own for a refusal
        said, refused = said + refused, ""
    if got["text"] != said:
        found.append(f"text {got['text'][:80]!r} instead of {said[:80]!r}")
    if (got["refusal"] or "") != refused:
        found.append(f"refusal {got['refusal']!r} instead of {refused!r}")
    if "".join(got["reasoning"].split()) != "".join(answer.reasoning.split()):
        found.append(f"reasoning {got['reasoning'][:80]!r} instead of {answer.reasoning[:80]!r}")
    calls = [(name, arguments(text)) for name, text, _ in got["calls"]]
    if not _same_calls(calls, answer.calls, client):
        found.append(f"calls {calls!r:.300} instead of {answer.calls!r:.300}")
    if len({id_ for _, _, id_ in got["calls"]}) != len(got["calls"]):
        found.append("two calls with one id")
    finish = "tool_calls" if got.get("finish") == "function_call" else got.get("finish")
    if answer.refusal and client == "messages" and answer.finish == "stop":
        answer = replace(answer, finish="content_filter")  # its reason to stop is "refusal"
    if answer.finish is not None and finish != answer.finish:
        found.append(f"finish {got.get('finish')} instead of {answer.finish}")
    return found


def _same_calls(calls: list[tuple[str, Any]], wanted: list[tuple[str, Any]], client: str) -> bool:
    """Whether the calls are those. Where arguments must be an object, cut ones cannot be said as they are."""
    if len(calls) != len(wanted):
        return False
    objects = client in ("messages", "gemini")
    return all(
        name == wanted_name
        and (
            values == wanted_values
            or (objects and not isinstance(wanted_values, dict) and isinstance(values, dict))
        )
        for (name, values), (wanted_name, wanted_values) in zip(calls, wanted, strict=True)
    )


def _counts(expected: Expected, got: Read) -> list[str]:
    if expected.prompt_tokens is None or got.counts is None:
        return []
    found = []
    wanted = (expected.prompt_tokens, expected.completion_tokens)
    if got.counts[:2] != wanted:
        found.append(f"usage {got.counts[:2]} instead of {wanted}")
    if expected.cached_tokens and got.counts[2] != expected.cached_tokens:
        found.append(f"cached {got.counts[2]} instead of {expected.cached_tokens}")
    return found
