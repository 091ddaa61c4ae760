"""Every recording of the chat APIs, answered by the running gateway to a strict client of the Responses API.

Those of the API itself are asked for with their recorded requests.
"""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import client_responses
import pytest
from judge import compare, expectation, is_native
from kit import FOLDER, Recording, load
from serving import gateway_for, replaying

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the recordings are not beside the project"),
]
ELSEWHERE = ("previous_response_id", "conversation", "prompt", "background")
"""Members of recorded requests that name what only the recording's own account had."""


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    """(port, key) of a gateway with one provider and one model for each recording."""
    rows = [(recording.id, recording.dialect) for recording in load("dev")]
    with replaying() as replay, gateway_for(rows, replay, tmp_path_factory.mktemp("gateway")) as found:
        yield found


def request_of(recording: Recording) -> dict[str, Any]:
    body: dict[str, Any] = {"input": "Hello"}
    recorded = (recording.raw.get("request") or {}).get("body")
    if recording.api == "responses" and isinstance(recorded, dict) and recorded.get("input"):
        body = {name: value for name, value in recorded.items() if name not in ELSEWHERE}
    return {**body, "model": recording.id, "stream": recording.stream, "store": True}


def ask(gateway: tuple[int, str], method: str, path: str, body: object = None) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway[0], timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {gateway[1]}"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    reply = connection.getresponse()
    data = reply.read()
    connection.close()
    return reply.status, data


def faults(gateway: tuple[int, str], recording: Recording) -> list[str]:
    body, native = request_of(recording), is_native(recording, "responses")
    status, data = ask(gateway, "POST", "/v1/responses", body)
    if status >= 400:
        return compare(
            recording, expectation(recording), client_responses.read_error(status, data), "responses"
        )
    reader = client_responses.read_stream if body["stream"] else client_responses.read_whole
    found = compare(recording, expectation(recording), reader(data, native=native), "responses")
    told = _last(data) if body["stream"] else json.loads(data)
    if told["store"] is not True:
        found.append(f"store {told['store']}")
    if json.loads(ask(gateway, "GET", f"/v1/responses/{told['id']}")[1]) != told:
        found.append("what is kept is not what was told")
    return found


def background_faults(gateway: tuple[int, str], recording: Recording) -> list[str]:
    """The same, made in the background and streamed; then its events are read again."""
    native, expected = is_native(recording, "responses"), expectation(recording)
    body = {**request_of(recording), "stream": True, "background": True}
    status, data = ask(gateway, "POST", "/v1/responses", body)
    if status != 200:
        return [] if status == 400 == expected.status else [f"status {status}: {data!r:.200}"]
    read, told = client_responses.read_stream(data, native=native), _last(data)
    if expected.status != 200:
        found = [*read.faults, *([] if told["status"] == "failed" else [f"status {told['status']}"])]
    else:
        found = compare(recording, expected, read, "responses")
    path = f"/v1/responses/{told['id']}"
    if json.loads(ask(gateway, "GET", path)[1]) != told:
        found.append("what is kept is not what was told")
    if ask(gateway, "GET", path + "?stream=true")[1] != data:
        found.append("the stream is another one when it is read again")
    return found


def _last(data: bytes) -> Any:
    return json.loads(data.rstrip().rpartition(b"data: ")[2])["response"]


@pytest.mark.parametrize("way", ["kept", "background"])
def test_every_recording_reaches_a_strict_responses_client(gateway: tuple[int, str], way: str) -> None:
    kit = load("dev")

    def one(recording: Recording) -> tuple[str, list[str]]:
        try:
            if way == "background":
                return recording.id, background_faults(gateway, recording)
            return recording.id, faults(gateway, recording)
        except Exception as error:
            return recording.id, [f"unreadable: {error!r}"]

    with ThreadPoolExecutor(4) as pool:
        wrong = {id_: found for id_, found in pool.map(one, kit) if found}
    report = "\n".join(f"{id_}: {'; '.join(found)[:400]}" for id_, found in wrong.items())
    assert not wrong, f"{len(wrong)} of {len(kit)} recordings are not right:\n{report}"
