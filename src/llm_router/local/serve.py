"""The child process: llama.cpp's server inside Python, for as long as the parent lives.

Started as ``python -m llm_router.local.serve``. Its settings come as one line of JSON on standard
input, so that the key is in no argument list; one line of JSON on standard output says that it is
ready, or why not. Standard input stays open for life: when it ends, the parent is gone or wants
the end, and so is this process at once, even after a kill that left the parent no time.
"""

from __future__ import annotations

import os
import sys
import threading
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import msgspec

from llm_router.local.handshake import Ready, ServeSettings

ERRORS_ONLY = 1
PROMPT_CACHE_MIB = 128
"""llama.cpp would keep up to 8 GiB of earlier prompts in memory."""

PROPS_S = 30.0


def main() -> int:
    """Read the settings, start the server, watch the parent."""
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    settings = msgspec.json.decode(line, type=ServeSettings)
    watcher = threading.Thread(target=_end_with_parent, daemon=True)
    watcher.start()
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever llama.cpp prints must not look like the answer
    try:
        server = _start(settings)
        ready = _describe(server.listening_address, settings)
    except (RuntimeError, ImportError, OSError, ValueError, URLError) as error:
        answer.write(msgspec.json.encode(Ready(error=str(error))) + b"\n")
        answer.close()
        return 1
    answer.write(msgspec.json.encode(ready) + b"\n")
    answer.close()
    watcher.join()
    return 0


def _start(settings: ServeSettings) -> Any:
    """llama.cpp's server, loaded and listening.

    Raises:
        RuntimeError: it could not load the model or listen.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings.path
    params.model_alias = {settings.model_id}
    params.hostnames = ["127.0.0.1"]
    params.port = settings.port
    params.api_keys = [settings.key]
    params.n_ctx = settings.context_tokens
    params.n_parallel = 1
    params.cpuparams.n_threads = settings.threads
    params.cpuparams_batch.n_threads = settings.threads
    params.n_threads_http = 4
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.verbosity = ERRORS_ONLY
    params.offline = True
    params.ui = False
    params.endpoint_slots = False
    if settings.temperature is not None:
        params.sampling.temp = settings.temperature
    if settings.chat_template is not None:
        params.chat_template = settings.chat_template
    if settings.output_tokens_max is not None:
        params.n_predict = settings.output_tokens_max
    return xllamacpp.Server(params)


def _describe(address: str, settings: ServeSettings) -> Ready:
    """Ask the server itself what the model can do.

    Raises:
        OSError, ValueError: it does not answer, or not in its own form.
    """
    request = Request(f"{address}/props", headers={"authorization": f"Bearer {settings.key}"})  # noqa: S310
    with urlopen(request, timeout=PROPS_S) as reply:  # noqa: S310  (the loopback)
        props = msgspec.json.decode(reply.read())
    caps = props.get("chat_template_caps", {})
    return Ready(
        address=address,
        context_tokens=int(props["default_generation_settings"]["n_ctx"]),
        tools=caps.get("supports_tools") is True and caps.get("supports_tool_calls") is True,
        parallel_tools=caps.get("supports_parallel_tool_calls") is True,
        vision=props.get("modalities", {}).get("vision") is True,
    )


def _end_with_parent() -> None:
    """Wait for the end of standard input, then end without ceremony."""
    while os.read(0, 1024):
        pass
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
