"""Ollama's counts to disjoint buckets. https://docs.ollama.com/api/usage

``prompt_eval_count`` includes ``prompt_eval_cached_count``, ``eval_count`` includes thinking. Counts
that are 0 are left out; older servers left out the prompt's too when all of it was cached, so that
without it the usage is unknown.
"""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.domain.usage import Usage, token_count
from llm_router.wire.events import UsageSeen


def read_usage(message: Mapping[str, object], *, empty: bool) -> UsageSeen | None:
    """The usage that the last message tells; None if it tells none.

    ``empty``: the reply held nothing, so that a missing count of output is a zero.
    """
    asked, said = message.get("prompt_eval_count"), message.get("eval_count")
    if asked is None or (said is None and not empty):
        return None
    read, written = token_count(asked), 0 if said is None else token_count(said)
    if read is None or written is None:
        return UsageSeen(usage=None)
    cached = min(token_count(message.get("prompt_eval_cached_count")) or 0, read)
    return UsageSeen(usage=Usage(input_tokens=read - cached, cache_read_tokens=cached, output_tokens=written))
