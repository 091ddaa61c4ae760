"""The auto router of a process: the shipped weights, what was learned here, and the way in."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from llm_router.routing.auto.artefact import Artefact
from llm_router.routing.auto.choose import Choice, Offer, choose
from llm_router.routing.auto.features import read_prompt
from llm_router.routing.auto.local import Head, LocalHeads, local_buckets, unpack_outcome
from llm_router.routing.auto.scoring import Score, score
from llm_router.routing.auto.traffic import Sample, Traffic


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that was read: what is expected of models, and what of it is needed to learn from its outcome.

    ``buckets``: numbers of hashed words, of the system's beginning too; :func:`local.local_buckets` makes of
    them what heads work with.
    """

    score: Score
    buckets: tuple[int, ...]


class _State(msgspec.Struct, frozen=True, kw_only=True):
    """What is stored. Of another artefact only the outcomes' counts would fit, so nothing of it is read."""

    artefact: str
    samples: tuple[Sample, ...] = ()
    heads: dict[str, Head] = {}


class _Here:
    """What was learned, of one prompt."""

    __slots__ = ("_buckets", "_heads")

    def __init__(self, heads: LocalHeads, buckets: Sequence[int]) -> None:
        self._heads = heads
        self._buckets = buckets

    def quality(self, model: str, shipped: float) -> float:
        return self._heads.quality(self._buckets, model, shipped)


class AutoRouter:
    """Reads prompts, chooses models, learns. In memory; :meth:`dump` and :meth:`restore` keep it."""

    def __init__(self, artefact: Artefact) -> None:
        self.artefact = artefact
        self.traffic = Traffic(artefact.header.gains)
        self.heads = LocalHeads()
        self.changes = 0  # since the last dump

    def read(self, prompt: str, system: str = "") -> Read:
        """Read the last message of the user, and the beginning of what the system says: the latter
        counts for what is learned here alone, since the training data has none."""
        features = read_prompt(prompt)
        own = features.buckets
        if system:
            own = (*own, *read_prompt(system).buckets)
        return Read(score=score(self.artefact, features), buckets=own)

    def choose(self, read: Read, offers: Sequence[Offer], dial: float) -> Choice:
        """Order the offers. Nothing changes by it: call :meth:`made` once the request is really made."""
        learned = _Here(self.heads, local_buckets(read.buckets)) if self.heads.heads else None
        return choose(
            read.score, offers, dial=dial, traffic=self.traffic, learned=learned, buckets=read.buckets
        )

    def made(self, choice: Choice) -> None:
        """The request is made: it belongs to the operator's traffic."""
        if choice.sample is not None:
            self.traffic.add(choice.sample)
            self.changes += 1

    def observe(self, features: bytes, model: str, tier: int | None, label: float) -> None:
        """Learn how well a model answered a prompt.

        Args:
            features: of :meth:`Choice.features`, as they were kept with the request.
            tier: the model's quality tier.
            label: 1 good .. 0 bad (feedback, errors, requests that had to be repeated).

        Raises:
            ValueError: the features are none.
        """
        score, buckets = unpack_outcome(features)
        self.heads.observe(buckets, model, label, score.quality(tier))
        self.changes += 1

    def dump(self) -> bytes:
        """What was learned, as JSON. It holds no text. Who restores it decides as this one does from now on."""
        self.changes = 0
        self.traffic.refresh()
        state = _State(
            artefact=self.artefact.header.version, samples=self.traffic.samples, heads=self.heads.heads
        )
        return msgspec.json.encode(state)

    def restore(self, data: bytes) -> bool:
        """Go on from what was stored; False if that cannot be read or belongs to another artefact."""
        try:
            state = msgspec.json.decode(data, type=_State)
        except msgspec.MsgspecError:
            return False
        if state.artefact != self.artefact.header.version:
            return False
        self.traffic = Traffic(self.artefact.header.gains, state.samples)
        self.heads = LocalHeads(dict(state.heads))
        return True
