"""Words of Ollama's native chat. https://docs.ollama.com/api/chat"""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.wire.events import Finish

NAME = "ollama_chat"

_FINISH: Mapping[str, Finish] = {
    "stop": Finish.STOP,
    "tool_calls": Finish.TOOL_CALLS,
    "length": Finish.LENGTH,
    "load": Finish.STOP,  # the model was loaded, or unloaded, and asked nothing
    "unload": Finish.STOP,
}


def finish_of(native: str | None, *, calls: bool) -> Finish:
    """The canonical finish. ``calls``: the reply holds tool calls, which end in ``stop`` here."""
    finish = _FINISH.get((native or "").lower(), Finish.STOP)
    if finish is Finish.LENGTH:
        return finish
    return Finish.TOOL_CALLS if calls else Finish.STOP
