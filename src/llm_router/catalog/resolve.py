"""From what a client wrote to a model and its deployments, by dictionary look-ups alone.

Names are tried from the most to the least definite, and the first that fits wins:

1. a public id; 2. an alias or a dated snapshot; 3. ``developer/name`` of a model of that developer, which
asks for the model at whoever serves it, a provider of that name first; 4. ``provider/name`` and
``provider/upstream name``, which narrow it to that provider; 5. a provider's own name of a model, with or
without its organisation; 6. all of these in lower case.

Developers and their own providers share names. ``openai/gpt-5`` means the model, as its developer is
written in front of it everywhere else, so that it can be served when OpenAI's service fails; ``azure/gpt-5``
means the provider, since Azure has not made the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches
from typing import Literal, NamedTuple

import msgspec

from llm_router.domain.errors import ModelNotFound
from llm_router.domain.model import Deployment, Model

NAME_CHARS_SHOWN = 100
"""How much of an unknown name is repeated in the error: names are untrusted."""

SWAPPED_CHARS_MAX = 3
"""Ids whose length differs by more are not compared letter by letter, which is slow."""

SUCCESSORS_MAX = 8
"""How far a chain of successors is followed."""

Via = Literal["id", "alias", "developer", "provider", "successor"]


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a model name.

    Attributes:
        model: the model that will answer. It differs from the one asked for only when ``via`` is
            "successor": the asked one is past its shutdown and nobody serves it any more.
        deployments: those that may serve it, preferred first. ``upstream_model`` is the dated
            snapshot's where one was asked for and the provider has it.
        asked: the name as the client wrote it.
        via: how the name led there: ``developer``: its prefix is the developer's name and narrows nothing;
            ``provider``: its prefix narrows it to a provider.
    """

    model: Model
    deployments: tuple[Deployment, ...]
    asked: str
    via: Via


class Name(NamedTuple):
    """What one name stands for. ``pinned``: deployment id -> the provider's name of the snapshot."""

    model: str
    pinned: Mapping[str, str] = {}


class Found(NamedTuple):
    """What a text means. ``host``: the provider that it names; it is the only one that may serve the model,
    unless it is named as the ``developer``.
    """

    name: Name
    host: str | None = None
    developer: bool = False


class NameIndex:
    """All names of a catalogue. Built once, then only read."""

    __slots__ = ("_folded", "_hosts", "_slugs", "_strong", "_upstream", "_weak")

    def __init__(
        self,
        *,
        strong: Mapping[str, Name],
        upstream: Mapping[tuple[str, str], Name],
        slugs: Mapping[str, frozenset[str]],
        hosts: Mapping[str, str],
    ) -> None:
        """
        Args:
            strong: ids, aliases and dated snapshots.
            upstream: (provider, upstream name) -> name.
            slugs: model id -> developer names for ``developer/name``.
            hosts: provider id or its alias -> provider id.
        """
        self._strong = strong
        self._upstream = upstream
        self._slugs = slugs
        self._hosts = hosts
        self._weak = _weak_names(upstream)
        self._folded = _folded(strong, self._weak)

    def find(self, text: str) -> Found | None:
        """The meaning of a text; None if it is unknown."""
        found = self._find(text, self._strong)
        if found is not None:
            return found
        name = self._weak.get(text)
        if name is not None:
            return Found(name)
        return self._find(text.lower(), self._folded)

    def misplaced(self, text: str) -> tuple[str, str] | None:
        """The provider that a name is narrowed to and the model behind it, which that provider does not serve."""
        head, slash, tail = text.partition("/")
        host = self.host(head) if slash else None
        if host is None:
            return None
        name = self._strong.get(tail) or self._folded.get(tail.lower())
        return None if name is None else (host, name.model)

    def host(self, name: str) -> str | None:
        """The id of the provider of that id or alias."""
        return self._hosts.get(name) or self._hosts.get(name.lower())

    def _find(self, text: str, names: Mapping[str, Name]) -> Found | None:
        head, slash, tail = text.partition("/")
        whole = names.get(text)
        if not slash:
            return None if whole is None else Found(whole)
        name, host = whole or names.get(tail), self._hosts.get(head)
        if name is not None and head in self._slugs.get(name.model, ()):
            return Found(name, host, True)
        if whole is not None:
            return Found(whole)
        if host is None:
            return None
        own = self._upstream.get((host, tail))
        if own is not None:
            return Found(own, host, head in self._slugs.get(own.model, ()))
        return None if name is None else Found(name, host)


def _weak_names(upstream: Mapping[tuple[str, str], Name]) -> dict[str, Name]:
    """Providers' own names, whole and without their organisation, where only one model bears them."""
    names: dict[str, Name | None] = {}
    for (_, text), name in upstream.items():
        for form in {text, text.rpartition("/")[2]}:
            if form in names:
                known = names[form]
                if known is not None and known.model == name.model:
                    pinned = {**known.pinned, **name.pinned}
                    names[form] = Name(name.model, pinned)
                else:
                    names[form] = None
            else:
                names[form] = name
    return {text: name for text, name in names.items() if name is not None}


def _folded(strong: Mapping[str, Name], weak: Mapping[str, Name]) -> dict[str, Name]:
    names: dict[str, Name] = {}
    for source in (strong, weak):
        for text, name in source.items():
            names.setdefault(text.lower(), name)
    return names


class Ends(NamedTuple):
    """Model ids on the day of the snapshot. ``ended``: past the developer's shutdown; ``dead``: and
    served by nobody else.
    """

    ended: frozenset[str]
    dead: frozenset[str]


def resolve(
    index: NameIndex, models: Mapping[str, Model], ends: Ends, asked: str, active: Collection[str] | None
) -> Resolved | None:
    """Find the model and the deployments for a name; None if the name is unknown.

    Args:
        active: providers that can be called now; None counts all of them. It decides only whether
            a model past its shutdown is handed on to its successor.
    """
    found = index.find(asked)
    if found is None:
        return None
    name, host, developer = found
    model = models[name.model]
    narrowed = host is not None and not developer
    deployments = tuple(_pin(d, name.pinned) for d in model.deployments if not narrowed or d.provider == host)
    if not deployments:
        return None  # that provider does not serve it
    if developer:
        deployments = tuple(sorted(deployments, key=lambda each: each.provider != host))
    if not narrowed and model.id in ends.ended and not _serves(model, ends, active):
        heir = _heir(models, ends, model, active)
        if heir is not None:
            return Resolved(model=heir, deployments=heir.deployments, asked=asked, via="successor")
    via: Via = (
        "developer" if developer else "provider" if narrowed else "id" if asked == model.id else "alias"
    )
    return Resolved(model=model, deployments=deployments, asked=asked, via=via)


def _pin(deployment: Deployment, pinned: Mapping[str, str]) -> Deployment:
    upstream = pinned.get(deployment.id)
    if upstream is None or upstream == deployment.upstream_model:
        return deployment
    return msgspec.structs.replace(deployment, upstream_model=upstream)


def _serves(model: Model, ends: Ends, active: Collection[str] | None) -> bool:
    if model.id in ends.dead:
        return False
    return active is None or any(d.provider in active for d in model.deployments)


def _heir(
    models: Mapping[str, Model], ends: Ends, model: Model, active: Collection[str] | None
) -> Model | None:
    """The first successor that can be called; else, for a dead model, the first that is alive."""
    alive: Model | None = None
    heir = model
    for _ in range(SUCCESSORS_MAX):
        if heir.successor is None:
            break
        heir = models[heir.successor]
        if _serves(heir, ends, active):
            return heir
        if alive is None and heir.id not in ends.dead:
            alive = heir
    return alive if model.id in ends.dead else None


def nearest(ids: Iterable[str], asked: str, count: int) -> tuple[str, ...]:
    """The ``count`` ids most like a name: those that begin with it, then by shared letter pairs; where
    that finds little, by the letters in their order, which sees through swapped ones.
    """
    text = asked[-NAME_CHARS_SHOWN:].rpartition("/")[2].lower()
    wanted = _pairs(text)
    if not wanted:
        return ()
    names = list(ids)
    scored = []
    for id_ in names:
        folded = id_.lower()
        have = _pairs(folded)
        score = 2 * len(wanted & have) / (len(wanted) + len(have))
        if folded.startswith(text) and len(text) > 2:
            score += 1
        if score > 0.3:
            scored.append((-score, len(id_), id_))
    best = tuple(id_ for _, _, id_ in sorted(scored)[:count])
    if scored and min(scored)[0] < -0.5:
        return best
    similar = [id_ for id_ in names if abs(len(id_) - len(text)) <= SWAPPED_CHARS_MAX]
    close = get_close_matches(text, similar, n=count, cutoff=0.6)
    return tuple(dict.fromkeys([*close, *best]))[:count]


def _pairs(text: str) -> frozenset[str]:
    return frozenset(text[i : i + 2] for i in range(len(text) - 1))


def not_served(asked: str, provider: str, model: Model, near: tuple[str, ...]) -> ModelNotFound:
    """The error for a model at a provider that does not serve it: who does, and what that provider has like it."""
    served = tuple(dict.fromkeys(d.provider for d in model.deployments))
    by = f"served by {_listed(served)}" if served else "served by nobody here"
    hint = f"; the nearest that {provider} serves: {', '.join(near)}" if near else ""
    return ModelNotFound(
        f"'{asked[:NAME_CHARS_SHOWN]}' is not available: {provider} does not serve {model.id}. "
        f"It is {by}{hint}.",
        param="model",
        details={"nearest": list(near), "served_by": list(served)},
    )


SERVED_SHOWN = 5
"""Providers named in an error; of many the rest as a number."""


def _listed(names: tuple[str, ...]) -> str:
    shown, rest = names[:SERVED_SHOWN], len(names) - SERVED_SHOWN
    return ", ".join(shown) + (f" and {rest} more" if rest > 0 else "")


def not_found(asked: str, near: tuple[str, ...]) -> ModelNotFound:
    """The error for an unknown name, with the nearest known ones."""
    shown = asked if len(asked) <= NAME_CHARS_SHOWN else asked[:NAME_CHARS_SHOWN] + "..."
    hint = f"Nearest: {', '.join(near)}." if near else "GET /v1/models lists the models."
    return ModelNotFound(
        f"Model '{shown}' is not available. {hint}", param="model", details={"nearest": list(near)}
    )
