"""What the gateway and the child process of the local model tell each other, one line each."""

from __future__ import annotations

import msgspec


class ServeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What the child needs to know.

    Attributes:
        port: 0 takes a free one.
        temperature: of requests that do not say; None leaves it to llama.cpp.
        chat_template: in place of the file's own.
        output_tokens_max: bound of every answer.
    """

    path: str
    model_id: str
    key: str
    port: int
    threads: int
    context_tokens: int
    temperature: float | None = None
    chat_template: str | None = None
    output_tokens_max: int | None = None


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The child's one line of output. ``error`` set: it could not start, and ends.

    Attributes:
        context_tokens: of a request, as the server reports it.
        tools: whether the model's chat template can express tools and their calls.
    """

    address: str = ""
    context_tokens: int = 0
    tools: bool = False
    parallel_tools: bool = False
    vision: bool = False
    error: str | None = None
