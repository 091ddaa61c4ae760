"""What a hostile reply costs in memory, and that it is given back when the exchange is over."""

from __future__ import annotations

import gc
import tracemalloc

import pytest
from engine_kit import World, answer, ask, model, run

from llm_router.wire.framing.sse import EVENT_BYTES_MAX

MB = 1024 * 1024
START = b'{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"'
END = b'"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'

HOSTILE = {
    "no reply": (False, [b"[" + b"1," * 4 * MB, b"1]"]),
    "objects": (False, [b'{"choices":[' + b"{}," * 4 * MB, b"{}]}"]),
    "no UTF-8": (False, [START + b"\xff" * 30 * MB, END]),
    "objects as a stream": (True, [b'{"choices":[' + b"{}," * 4 * MB, b"{}]}"]),
    "no UTF-8 as a stream": (True, [START + b"\xff" * 30 * MB, END]),
    "one event of objects": (True, [b"data: " + b'{"choices":[' + b"{}," * 4 * MB, b"{}]}\n\n"]),
    "one line": (True, [b"data: " + b"x" * EVENT_BYTES_MAX, b"x" * MB]),
}


@pytest.mark.parametrize(("streamed", "pieces"), HOSTILE.values(), ids=list(HOSTILE))
def test_a_hostile_reply_is_refused_at_a_bounded_cost_and_let_go(streamed: bool, pieces: list[bytes]) -> None:
    async def main() -> None:
        world = World(model("m", "p1"), reply_bytes_max=64 * MB)
        world.upstream.scripts["p1"] = [answer(*pieces)]
        gc.collect()
        gc.disable()
        tracemalloc.start()
        try:
            await world.serve(ask("m", stream=streamed))
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
            gc.enable()
        assert world.client.error["code"] == "upstream_malformed"
        world.check()
        assert peak < 3 * 64 * MB
        assert kept < MB

    run(main())
