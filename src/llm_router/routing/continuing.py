"""Whether, where and how often an answer that broke off is gone on with."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Literal

import msgspec

from llm_router.domain.errors import RouterError, UpstreamError, UpstreamKind
from llm_router.routing.plan import Candidate

Mode = Literal["off", "on", "equal"]
MODES: tuple[Mode, ...] = ("off", "on", "equal")


class Continuing(msgspec.Struct, frozen=True, kw_only=True):
    """What an operator sets.

    Attributes:
        mode: "equal": only with the model that began; "on": with any of the plan.
        times_max: how often one answer is gone on with.
        models: the mode by patterns of public model ids; the first one that fits counts.
        keys: the mode by id of the API key; presets: by name.
    """

    mode: Mode = "equal"
    times_max: int = 2
    models: tuple[tuple[str, Mode], ...] = ()
    keys: Mapping[str, Mode] = MappingProxyType({})
    presets: Mapping[str, Mode] = MappingProxyType({})

    def mode_for(self, model: str | None, *, key: str | None = None, preset: str | None = None) -> Mode:
        """The mode where the request says nothing: what is said for its preset, else its key, its model, all."""
        if preset is not None and preset in self.presets:
            return self.presets[preset]
        if key is not None and key in self.keys:
            return self.keys[key]
        if model is None or not self.models:
            return self.mode
        return next((mode for pattern, mode in self.models if fnmatchcase(model, pattern)), self.mode)


_NEVER = {
    UpstreamKind.INVALID_REQUEST,
    UpstreamKind.CONTEXT_LENGTH,
    UpstreamKind.CONTENT_POLICY,
    UpstreamKind.PAYLOAD,
    UpstreamKind.OBJECT,
}
"""What the request or the answer itself is to blame for: another model would meet it too, or must not try."""


def may_go_on(error: UpstreamError) -> bool:
    """Whether a stream that ended so may be gone on with elsewhere."""
    return error.kind not in _NEVER or error.suspected is not None


def follower(
    candidates: Sequence[Candidate],
    broke: Candidate,
    error: RouterError,
    tried: Collection[str],
    equal: Collection[str],
) -> Candidate | None:
    """Who goes on: of the deployments that may (``equal``), the next one of the plan that was not tried yet;
    when all were, one that was, the one that broke last of all. One that fell silent is not asked again: it
    may still work on the answer, and bill it."""
    fit = [candidate for candidate in candidates if candidate.deployment.id in equal]
    fresh = [c for c in fit if c.deployment.id not in tried and c.deployment.id != broke.deployment.id]
    other = [c for c in fit if c.deployment.id != broke.deployment.id]
    silent = isinstance(error, UpstreamError) and error.kind is UpstreamKind.TIMEOUT
    same = [] if silent else [c for c in fit if c.deployment.id == broke.deployment.id]
    return next(iter((*fresh, *other, *same)), None)
