"""The record of an exchange: written once, in the transaction that settles it.

Every log line, metric, span and API answer about an exchange is derived from this.
"""

from __future__ import annotations

import msgspec

from llm_router.domain.budget import Payer
from llm_router.domain.decision import Decision
from llm_router.domain.price import CostLine
from llm_router.domain.usage import NO_USAGE, Usage

OUTRUN = "outrun"
"""The outcome of an attempt whose client got another one's answer, which came first."""


class AttemptRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One try of one deployment.

    Attributes:
        outcome: ``delivered``, ``failed``, ``aborted`` (the client left), ``outrun`` (another call of the exchange
            answered first) or ``unknown``.
        status: HTTP status of the provider; None when it never answered.
        error_kind: of :class:`~llm_router.domain.errors.UpstreamKind`, when it failed.
        first_byte_ms: from sending to the first byte of the reply's body.
        byok: it was called with the account's own key.
        key: number and fingerprint of the key, where its provider has several.
        operator_cost_pusd: what this try costs the operator at the provider's own price, by the usage
            that was reported, or else charged; None is unknown.
        operator_cost_estimated: it is what a call that was outrun may have cost: nobody was told.
    """

    deployment: str
    provider: str
    upstream_model: str
    started_ms: int
    duration_ms: int
    outcome: str
    status: int | None = None
    first_byte_ms: int | None = None
    error_kind: str | None = None
    error_message: str | None = None
    upstream_id: str | None = None
    usage: Usage | None = None
    operator_cost_pusd: int | None = None
    operator_cost_estimated: bool = False
    byok: bool = False
    key: str | None = None


class Seam(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A place in an answer where its stream broke off and another one went on.

    Attributes:
        at_chars: characters of text before it.
        cause: why the stream broke, as in :class:`AttemptRecord`.
        provider, model: who went on; None: nobody.
        way: how it was asked: ``prefill``, ``prompt``, ``call`` or ``again``.
    """

    at_chars: int
    cause: str
    provider: str | None = None
    model: str | None = None
    way: str | None = None


class ExchangeRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One client request and its reply, from admission to settlement.

    Attributes:
        id: the exchange id (``gen-...``), also sent in the header ``x-generation-id``.
        reply_id: the ``id`` member of the reply (``chatcmpl-...``).
        asked_model: the model string as the client wrote it; model: the public id it resolved to.
        finish: first choice's finish reason towards the client; native_finish: the provider's own.
        losses: declared losses of the translation, as in the header.
        cost_pusd: what the customer was charged; cost: its lines; price_version: pinned by the hold.
        absorbed_pusd: part of the metered cost above the hold, the balance and the budgets, borne by
            the operator.
        other_prices: versions of the prices of other models that took part, by upstream model.
        comparison: the id (``cmp-...``) of the comparison that it is a lane of.
        decision: what was decided about it and by what; shown by ``/explain`` alone.
        team, user, session: on whose behalf, as the key and the request said.
        tags: what the client, or its key, calls requests of this kind, in their order, to make reports by; tags_over: they
            are more than a day's reports have room for: sums count them under ``(other)``.
        experiment, arm: what it took part in; trial: the run of it, and the group that its figures belong to.
        features: of a request whose model ``auto`` chose: numbers of hashed words, to learn from its rating.
        overhead_ms: of duration_ms, what was not waiting for the provider or the client.
        seams: where the answer broke off and was gone on with.
        status: HTTP status sent to the client (200 for a stream that failed later; see ``error``).
    """

    id: str
    account: str
    key: str
    team: str | None = None
    user: str | None = None
    session: str | None = None
    tags: tuple[str, ...] = ()
    tags_over: bool = False
    operation: str
    dialect: str
    asked_model: str
    model: str | None = None
    deployment: str | None = None
    provider: str | None = None
    reply_id: str | None = None
    created_ms: int
    duration_ms: int = 0
    first_token_ms: int | None = None
    overhead_us: int | None = None
    stream: bool = False
    status: int
    finish: str | None = None
    native_finish: str | None = None
    usage: Usage = NO_USAGE
    cost_pusd: int = 0
    absorbed_pusd: int = 0
    cost: tuple[CostLine, ...] = ()
    price_version: str | None = None
    other_prices: tuple[tuple[str, str], ...] = ()
    attempts: tuple[AttemptRecord, ...] = ()
    losses: tuple[str, ...] = ()
    error_code: str | None = None
    error_message: str | None = None
    client_gone: bool = False
    flags: tuple[str, ...] = ()
    comparison: str | None = None
    experiment: str | None = None
    arm: str | None = None
    trial: str | None = None
    features: bytes | None = None
    seams: tuple[Seam, ...] = ()
    decision: Decision | None = None

    @property
    def payer(self) -> Payer:
        """On whose behalf it spends."""
        return Payer(account=self.account, key=self.key, team=self.team, user=self.user, session=self.session)
