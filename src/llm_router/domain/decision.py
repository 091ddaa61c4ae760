"""Why an exchange went where it went: what the decision was made of, compactly, beside its record.

A request that asked for one model alone, and got what everybody gets, holds next to nothing here: the rest is
found again from the catalogue, and :attr:`Decision.version` tells whether that still says the same. All others
hold the inputs of each choice, numbers and dice included, so that it can be made again
(:mod:`llm_router.routing.replay`). There is no text of the request in it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from llm_router.domain.limit import LimitState


class Asks(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """How large a request was and what it needed, as the wire measured it; see ``wire.dialect.Inspected``."""

    text_bytes: int = 0
    input_tokens: int = 0
    inputs: int = 1
    images: int = 0
    file_bytes: int = 0
    audio_bytes: int = 0
    output_tokens: int | None = None
    n: int = 1
    needs: tuple[str, ...] = ()
    service_tier: str | None = None


class Weighed(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    rename={
        "deployment": "d", "model": "m", "price_version": "p", "own_key": "o", "cost_pusd": "c", "ttft_ms": "t",
        "tokens_per_s": "s", "in_flight": "b", "error_rate": "e", "weight": "w", "share": "h", "tools": "k",
        "rank": "r", "slow": "l", "doubt": "u", "stuck": "y", "score": "x",
    },
):  # fmt: skip
    """A candidate with all that it was ordered by.

    Attributes:
        model: its public id; price_version: of what the customer pays there.
        cost_pusd, ttft_ms, tokens_per_s, in_flight, error_rate, weight, share, tools: see
            :class:`llm_router.routing.strategies.Facts` and the health of deployments.
        rank: its place in ``provider.order``.
        slow: less fast than was preferred; doubt: why it may not do; stuck: it served the session before.
        score: what the strategy made of it, less is better.
    """

    deployment: str
    model: str
    price_version: str = ""
    own_key: bool = False
    cost_pusd: int | None = None
    ttft_ms: float | None = None
    tokens_per_s: float | None = None
    in_flight: int = 0
    error_rate: float | None = None
    weight: int = 1
    share: float = 1.0
    tools: int = 0
    rank: int | None = None
    slow: bool = False
    doubt: str | None = None
    stuck: bool = False
    score: float | None = None


class Weighing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Candidates that were ordered together, as they stood before, and by what.

    Attributes:
        measured: the strategy saw numbers; False: the order of the catalogue was kept.
        size: class of the input; output_tokens: expected.
        dice: what was thrown, in order.
        first_only: the others were left out, since fallbacks were not allowed.
    """

    strategy: str
    candidates: tuple[Weighed, ...]
    measured: bool = False
    size: int = 0
    output_tokens: int = 0
    dice: tuple[float, ...] = ()
    first_only: bool = False


class Worth(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A model that ``auto`` offered: its first deployment, the quality expected of it and its price."""

    deployment: str
    model: str
    quality: float
    cost_pusd: int
    fits: int = 0


class AutoChoice(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What ``auto`` chose by.

    Attributes:
        rank: share of the operator's requests that gain less from a better model.
        worth_min: quality that a picodollar had to buy; None at dial 0.
        offers: the chosen one first.
        before, after: models that were named in front of ``auto`` and behind it.
    """

    dial: float
    rank: float
    worth_min: float | None = None
    reason: str = ""
    offers: tuple[Worth, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


class Named(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a name of the request came to, where that is not the model of that very id.

    Attributes:
        asked: as it was written; model: the public id of what it stands for.
        via: ``alias`` (another name of it, a dated snapshot), ``developer`` (with its developer's name in
            front, which narrows nothing), ``provider`` (narrowed to that one), ``successor`` (what was asked
            for is past its shutdown).
        provider: the one that it is narrowed to.
    """

    asked: str
    model: str
    via: str
    provider: str | None = None


class LeftOut(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Deployments that were not asked, for one reason."""

    reason: str
    deployments: tuple[str, ...]


class Stood(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """How a candidate stood when it was its turn: of those that were not as usual."""

    deployment: str
    available: bool = True
    share: float = 1.0
    state: str = "closed"
    reason: str | None = None
    back_ms: int | None = None


class KeyBounds(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a key might use: globs of models, ids of providers; None means all. ``whole``: it is all here; longer
    lists are not kept."""

    models: tuple[str, ...] | None = None
    providers: tuple[str, ...] | None = None
    whole: bool = True


class Followed(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Why an attempt was made after others: ``next``, ``fallback``, ``key``, ``repeat``, ``continue``, ``hedge``; and after what wait."""

    why: str
    wait_ms: int = 0


class Decision(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All that was decided about an exchange, and by what.

    Attributes:
        asks: the request in numbers; None of one that was refused before it was measured.
        model: the model string with the preset that it named in place; None if that changed nothing.
        named: what its names came to, but for those that are ids of models.
        routing: its members that speak to the gateway; None if there were none or they were too long to keep.
        version: digest of candidates, prices and rejections where nothing else decided.
        plan: keys of the candidates in order (:func:`key_of`); () where there was one alone.
        weighings: how they were ordered; () if that was never asked.
        most: at most so many were kept.
        session: the request belonged to one that is remembered; stuck: who served it before and came first.
        fallbacks: what might follow the plan, by the kind of failure.
        stood: of the candidates, before the first attempt, those that were not as usual; dice: thrown for them.
        followed: of each attempt but the first; stopped: why no other was made.
        limits: where the payer stood with its limits at admission.
        key: what the key might use; None: all.
        hold_pusd: what was reserved; None if nothing was. output_cap: the output limit that the credit covers.
    """

    asks: Asks | None = None
    model: str | None = None
    named: tuple[Named, ...] = ()
    routing: dict[str, Any] | None = None
    version: str = ""
    strategy: str = ""
    plan: tuple[str, ...] = ()
    weighings: tuple[Weighing, ...] = ()
    most: int | None = None
    auto: AutoChoice | None = None
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()
    session: bool = False
    stuck: str | None = None
    fallbacks: dict[str, tuple[str, ...]] = {}
    stood: tuple[Stood, ...] = ()
    dice: tuple[float, ...] = ()
    followed: tuple[Followed, ...] = ()
    stopped: str | None = None
    limits: tuple[LimitState, ...] = ()
    key: KeyBounds | None = None
    hold_pusd: int | None = None
    output_cap: int | None = None


OWN = "#own"


def key_of(deployment: str, own_key: bool) -> str:
    """How a candidate is named in a decision: its deployment, marked if it is called with the account's own key."""
    return deployment + OWN if own_key else deployment
