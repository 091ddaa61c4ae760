"""What a reload replaces: one frozen value. Each exchange works with the state it began with."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from llm_router.billing.own_keys import OwnKeyFee
from llm_router.billing.policy import SettlementPolicy
from llm_router.catalog.snapshot import Snapshot
from llm_router.domain.key import Limits
from llm_router.domain.session import SessionLimits
from llm_router.ports import Deadlines
from llm_router.routing.chains import FallbackRules
from llm_router.routing.concurrency import ConcurrencyRules
from llm_router.routing.continuing import Continuing
from llm_router.routing.health import HealthRules, ProbeRules
from llm_router.routing.key_ring import PoolKey
from llm_router.routing.retry import RetryRules
from llm_router.routing.rules import RoutingRules


class State(msgspec.Struct, frozen=True, kw_only=True):
    """Everything an operator configures that an exchange needs.

    Attributes:
        provider_keys: secret by provider id; never logged, removed from every upstream text.
        key_pools: of providers with several keys, all of them.
        active: ids of providers that can be called: they have a key, or need none.
        deadlines_by_model: those of models that have their own.
        retries: how hard an exchange is tried; health: when a deployment is passed over;
            concurrency: how many calls it takes at a time.
        probes: deployments that the gateway asks by itself.
        fallbacks: models that follow when those asked for have failed.
        routing: how deployments and models are chosen.
        continuing: whether answers that break off are gone on with.
        hold_output_tokens: output reserved for a request that names no limit.
        hold_wait_s: how long a request waits for credit that others hold.
        sessions, sessions_by_key: ceilings of a session, and those of the sessions of some keys.
        settlement: who pays in which case.
        heartbeat_s: silence in a stream after which a comment is sent; 0 = never.
        own_key_fee: what requests with a customer's own provider key cost.
        lag_max_s: so late may a process be before it turns requests away; 0 = however late.
        reply_bytes_max: cap of a whole reply of a provider.
    """

    snapshot: Snapshot
    provider_keys: Mapping[str, str]
    active: frozenset[str]
    key_pools: Mapping[str, tuple[PoolKey, ...]] = MappingProxyType({})
    deadlines: Deadlines = Deadlines()
    deadlines_by_model: Mapping[str, Deadlines] = MappingProxyType({})
    retries: RetryRules = RetryRules()
    health: HealthRules = HealthRules()
    concurrency: ConcurrencyRules = ConcurrencyRules()
    fallbacks: FallbackRules = FallbackRules()
    routing: RoutingRules = RoutingRules()
    probes: ProbeRules = ProbeRules()
    continuing: Continuing = Continuing()
    default_limits: Limits = Limits()
    hold_output_tokens: int = 16384
    hold_wait_s: float = 5.0
    settlement: SettlementPolicy = SettlementPolicy()
    sessions: SessionLimits = SessionLimits()
    sessions_by_key: Mapping[str, SessionLimits] = MappingProxyType({})
    heartbeat_s: float = 15.0
    lag_max_s: float = 2.0
    reply_bytes_max: int = 64 * 1024 * 1024
    fetch_media: bool = True
    own_key_fee: OwnKeyFee = OwnKeyFee()

    def deadlines_for(self, model: str) -> Deadlines:
        """The deadlines of a model's calls."""
        return (
            self.deadlines_by_model.get(model, self.deadlines) if self.deadlines_by_model else self.deadlines
        )
