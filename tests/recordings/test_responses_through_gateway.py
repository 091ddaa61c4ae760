"""Every recording of the chat APIs, answered by the running gateway to a strict client of the Responses API.

Those of the API itself are asked for with their recorded requests.
"""

from __future__ import annotations

import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import client_responses
import pytest
from judge import compare, expectation, is_native
from kit import Recording, recording_of
from test_chat_through_gateway import RECORDINGS, recordings
from test_chat_through_gateway import gateway as gateway  # the fixtures
from test_chat_through_gateway import replay as replay

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RECORDINGS.is_dir(), reason="the recordings are not beside the project"),
]
ELSEWHERE = ("previous_response_id", "conversation", "prompt", "background")
"""Members of recorded requests that name what only the recording's own account had."""


def request_of(recording: Recording, *, stored: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"input": "Hello"}
    recorded = (recording.raw.get("request") or {}).get("body")
    if recording.api == "responses" and isinstance(recorded, dict) and recorded.get("input"):
        body = {name: value for name, value in recorded.items() if name not in ELSEWHERE}
    stream = "stream" in recording.raw["tags"]
    return {**body, "model": recording.id, "stream": stream, "store": stored}


def ask(gateway: tuple[int, str], method: str, path: str, body: object = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway[0], timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {gateway[1]}"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, data


def faults(gateway: tuple[int, str], recording: Recording, *, stored: bool) -> list[str]:
    body, native = request_of(recording, stored=stored), is_native(recording, "responses")
    status, data = ask(gateway, "POST", "/v1/responses", body)
    if status >= 400:
        return compare(
            recording, expectation(recording), client_responses.read_error(status, data), "responses"
        )
    reader = client_responses.read_stream if body["stream"] else client_responses.read_whole
    found = compare(recording, expectation(recording), reader(data, native=native), "responses")
    told = _last(data) if body["stream"] else json.loads(data)
    if told["store"] is not stored:
        found.append(f"store {told['store']}")
    kept_status, kept = ask(gateway, "GET", f"/v1/responses/{told['id']}")
    if stored and json.loads(kept) != told:
        found.append("what is kept is not what was told")
    if not stored and kept_status != 404:
        found.append("kept although it was not to be")
    return found


def _last(data: bytes) -> Any:
    return json.loads(data.rstrip().rpartition(b"data: ")[2])["response"]


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "unstored"])
def test_every_recording_reaches_a_strict_responses_client(gateway: tuple[int, str], stored: bool) -> None:
    kit = [recording_of(raw) for raw in recordings()]

    def one(recording: Recording) -> tuple[str, list[str]]:
        try:
            return recording.id, faults(gateway, recording, stored=stored)
        except Exception as error:
            return recording.id, [f"unreadable: {error!r}"]

    with ThreadPoolExecutor(4) as pool:
        wrong = {id_: found for id_, found in pool.map(one, kit) if found}
    report = "\n".join(f"{id_}: {'; '.join(found)[:400]}" for id_, found in wrong.items())
    assert not wrong, f"{len(wrong)} of {len(kit)} recordings are not right:\n{report}"
