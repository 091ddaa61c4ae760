"""What the configuration falls back to: other models, by the kind of failure, for all or some requests."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

KINDS = ("general", "context", "content_policy")
"""Of chains: for any failure; for prompts that are too long; for refusals by policy."""


class Chains(msgspec.Struct, frozen=True, kw_only=True):
    """Names of models by the kind of failure. None: nothing is said; (): none."""

    general: tuple[str, ...] | None = None
    context: tuple[str, ...] | None = None
    content_policy: tuple[str, ...] | None = None

    def of(self, kind: str) -> tuple[str, ...] | None:
        match kind:
            case "context":
                return self.context
            case "content_policy":
                return self.content_policy
        return self.general


class FallbackRules(msgspec.Struct, frozen=True, kw_only=True):
    """The chains of all requests, and those of some models, keys and presets.

    Attributes:
        models: by public id of the model that was asked for first; keys: by id of the API key; presets:
            by name.
    """

    every: Chains = Chains()
    models: Mapping[str, Chains] = MappingProxyType({})
    keys: Mapping[str, Chains] = MappingProxyType({})
    presets: Mapping[str, Chains] = MappingProxyType({})

    @property
    def empty(self) -> bool:
        """Whether nothing is fallen back to. Ask it first: it costs nothing."""
        return not (self.models or self.keys or self.presets) and self.every == Chains()

    def chain(self, kind: str, *, model: str, key: str, preset: str | None) -> tuple[str, ...]:
        """The models that follow a failure of a kind: what is said for the preset, else the key, the model,
        all. Where nothing is said for a special kind, the general chain is meant."""
        said = [self.presets.get(preset) if preset is not None else None, self.keys.get(key)]
        said += [self.models.get(model), self.every]
        for wanted in (kind, "general"):
            for chains in said:
                if chains is not None and (names := chains.of(wanted)) is not None:
                    return names
        return ()
