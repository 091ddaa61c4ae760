"""The official clients' second opinion on recorded replies, each read the way it was recorded."""

from __future__ import annotations

import functools
import warnings

import pytest
from carry import CLIENTS, carry
from judge import compare, expectation, is_native
from kit import DIALECTS, FOLDER, Recording, load
from official import hear

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the recordings are not beside the project")
EVERY = 6
"""One recording in so many; which ones moves with the client, so that they differ."""


@functools.cache
def recordings() -> list[Recording]:
    return load("dev")


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("api", DIALECTS)
def test_official_clients_read_the_same(client: str, api: str) -> None:
    wrong = []
    for number, recording in enumerate(r for r in recordings() if r.api == api):
        if number % EVERY != list(CLIENTS).index(client) % EVERY:
            continue
        carried = carry(recording, client, stream=recording.stream)
        native = is_native(recording, client)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # pydantic, at items newer than the client
            heard = hear(client, carried, stream=recording.stream, native=native)
        found = compare(recording, expectation(recording), heard, client)
        wrong += [f"{recording.id}: {'; '.join(found)}"] if found else []
    assert not wrong, "\n".join(wrong)
