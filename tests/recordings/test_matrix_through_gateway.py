"""A seeded sample of the recordings, of every API, through the running gateway to every client."""

from __future__ import annotations

import http.client
import json
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from carry import CLIENTS, Carried
from judge import compare, expectation, is_native, read
from kit import FOLDER, Recording, load
from serving import gateway_for, replaying

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the recordings are not beside the project"),
]
SAMPLE = int(os.environ.get("LLM_ROUTER_RECORDINGS_SAMPLE", "60"))


@pytest.fixture(scope="module")
def sample() -> list[Recording]:
    found = load("dev")
    chosen = random.Random(20261122).sample(found, min(SAMPLE, len(found)))
    others = [
        next(r for r in found if r.api == api) for api in {r.api for r in found} - {r.api for r in chosen}
    ]
    return chosen + others


@pytest.fixture(scope="module")
def gateway(sample: list[Recording], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, str]]:
    rows = [(recording.id, recording.dialect) for recording in sample]
    with replaying() as replay, gateway_for(rows, replay, tmp_path_factory.mktemp("gateway")) as found:
        yield found


def request_of(recording: Recording, client: str) -> tuple[str, dict[str, Any]]:
    """(path, body) of a plain question, streamed if the answer was."""
    said = [{"role": "user", "content": "Hello"}]
    plain: dict[str, Any] = {"model": recording.id, "stream": recording.stream}
    match client:
        case "chat":
            return "/v1/chat/completions", {**plain, "messages": said}
        case "messages":
            return "/v1/messages", {**plain, "messages": said, "max_tokens": 64}
        case "responses":
            return "/v1/responses", {**plain, "input": said, "store": False}
    action = "streamGenerateContent?alt=sse" if recording.stream else "generateContent"
    contents = [{"role": "user", "parts": [{"text": "Hello"}]}]
    return f"/v1beta/models/{recording.id}:{action}", {"contents": contents}


def ask(gateway: tuple[int, str], recording: Recording, client: str) -> list[str]:
    path, body = request_of(recording, client)
    connection = http.client.HTTPConnection("127.0.0.1", gateway[0], timeout=30)
    headers = {"content-type": "application/json", "authorization": f"Bearer {gateway[1]}"}
    connection.request("POST", path, json.dumps(body), headers)
    reply = connection.getresponse()
    carried = Carried(reply.status, reply.read())
    connection.close()
    try:
        got = read(carried, client, stream=recording.stream, native=is_native(recording, client))
    except Exception as error:
        return [f"unreadable: {error!r:.300} {carried.data[:300]!r}"]
    return compare(recording, expectation(recording), got, client)


@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_reads_what_was_recorded(
    gateway: tuple[int, str], sample: list[Recording], client: str
) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda recording: (recording.id, ask(gateway, recording, client)), sample))
    wrong = [f"{id_}: {'; '.join(found)[:400]}" for id_, found in results if found]
    assert not wrong, f"{len(wrong)} of {len(sample)} are not right:\n" + "\n".join(wrong)
