"""Every recorded reply of every API, as every client reads it: streamed and whole, cut anywhere.

The wire alone, without sockets; test_chat_through_gateway.py and test_matrix_through_gateway.py send
recordings through a running gateway.
"""

from __future__ import annotations

import functools

import pytest
from carry import CLIENTS
from judge import judge
from kit import DIALECTS, FOLDER, Recording, load

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recordings are not beside the project")
PAIRS = [pytest.param(client, api, id=f"{client}<-{api}") for client in CLIENTS for api in DIALECTS]


@functools.cache
def recordings() -> list[Recording]:
    return load("dev", "reported")


def faults(client: str, api: str, **how: bool | int) -> list[str]:
    return [
        f"{recording.id} {'streamed' if stream else 'whole'}: {'; '.join(found)[:400]}"
        for recording in recordings()
        if recording.api == api
        for stream in (False, True)
        if (found := judge(recording, client, stream=stream, **how))
    ]


@pytest.mark.parametrize(("client", "api"), PAIRS)
def test_every_recording_reaches_every_client(client: str, api: str) -> None:
    wrong = faults(client, api)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("api", DIALECTS)
def test_a_gemini_client_may_ask_for_an_array(api: str) -> None:
    wrong = faults("gemini", api, json_array=True, step=4096)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("step", [1, 7])
def test_short_recordings_may_be_cut_anywhere(client: str, step: int) -> None:
    short = [r for r in recordings() if r.stream and len(r.data) < 6000]
    wrong = [f"{r.id}: {found}" for r in short if (found := judge(r, client, stream=True, step=step))]
    assert not wrong, "\n".join(wrong)
