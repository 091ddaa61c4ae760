"""The settings a gateway runs with: what the file, the environment and the command line came to."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from llm_router.billing.own_keys import OwnKeyFee
from llm_router.billing.policy import SettlementPolicy
from llm_router.billing.statements import Issuer
from llm_router.domain.key import Limits
from llm_router.domain.model import Model, Provider
from llm_router.domain.session import SessionLimits
from llm_router.engine.oidc import OidcRules
from llm_router.ports import Deadlines
from llm_router.routing.chains import FallbackRules
from llm_router.routing.concurrency import ConcurrencyRules
from llm_router.routing.continuing import Continuing
from llm_router.routing.health import HealthRules, ProbeRules
from llm_router.routing.retry import RetryRules
from llm_router.routing.rules import RoutingRules
from llm_router.settings.secrets import Secret


class ServeOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What ``llm-router serve`` was told on the command line; None where it was not told.

    Attributes:
        sandbox: answer from simulated upstreams, with keys and credits of their own.
        faults: a file of faults that the simulated upstreams commit, or the name of a preset.
        local: serve the small model of this machine; local_gguf: from that file.
    """

    host: str | None = None
    port: int | None = None
    data_dir: Path | None = None
    config: Path | None = None
    sandbox: bool = False
    faults: str | None = None
    local: bool = False
    local_gguf: Path | None = None
    workers: int | None = None


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the gateway listens and what it bounds.

    Attributes:
        data_dir: the folder of the store.
        shared_dir: the folder of what real use and the sandbox share (model files); else the same.
        header_bytes_max, headers_max: of a request's head, in bytes and in fields.
        head_s, body_s: how long a client may take to send these.
        unread_s: how long it may leave unread what it is sent.
        keep_alive_s: how long a connection stays open between two requests.
        connections_max, connections_per_address_max: open at the same time, of all workers together.
        heartbeat_s: silence in a stream after which a comment is sent; 0 = never.
        lag_max_s: so late may a process be before it turns requests away; 0 = however late.
        drain_s: how long a stopping server lets open exchanges finish.
        concurrency_max: exchanges at the same time, of all keys together.
        access_log: one line a request on standard error.
        workers: processes that serve requests.
        public_url: under which people reach the gateway, without a slash at its end; None: where it listens.
        trusted_proxies: ranges of addresses whose X-Forwarded-For is believed.
    """

    host: str
    port: int
    data_dir: Path
    shared_dir: Path
    body_bytes_max: int
    header_bytes_max: int
    headers_max: int
    head_s: float
    body_s: float
    unread_s: float
    keep_alive_s: float
    connections_max: int
    connections_per_address_max: int
    heartbeat_s: float
    lag_max_s: float
    drain_s: float
    concurrency_max: int
    access_log: bool
    workers: int
    public_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A database that several gateways share; ``url`` holds no password."""

    url: str
    password: Secret | None


class CreditSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the balance begins and is used.

    Attributes:
        starting_pusd: booked once, for the account of the very first key.
        hold_output_tokens: output reserved for a request that names no limit.
        hold_wait_s: how long a request waits for credit that others hold.
    """

    starting_pusd: int
    hold_output_tokens: int
    hold_wait_s: float


class CounterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where limits are counted.

    Attributes:
        url: of the server that all nodes share; None: in this process's memory.
        timeout_s: after which the gateway decides without it.
        local_share: what one node admits of each limit while the server is away.
    """

    url: Secret | None = None
    timeout_s: float = 0.1
    local_share: float = 1.0


class FetchSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Fetching media from URLs that clients name.

    Attributes:
        allow_hosts: hosts that may be fetched although their address is not public.
    """

    enabled: bool
    bytes_max: int
    timeout_s: float
    allow_hosts: tuple[str, ...]


class ResponseSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Keeping responses for the clients of the Responses API.

    Attributes:
        bytes_max: of all of them together.
        background_max: made in the background at the same time.
    """

    store: bool
    retention_days: int
    bytes_max: int
    background_max: int


class SideCarSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of the models' turns that clients do not send back."""

    enabled: bool
    ttl_s: int
    bytes_max: int


class StripeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Top-ups by Stripe.

    Attributes:
        webhook_secrets: any of them may sign events; without one none is taken.
        cents_min, cents_max: of one payment.
        by_keys: API keys may make payments.
        tolerance_s: how far the time of a signature may be from the clock.
    """

    key: Secret
    webhook_secrets: tuple[Secret, ...]
    success_url: str
    cancel_url: str
    cents_min: int
    cents_max: int
    by_keys: bool
    tolerance_s: int
    base_url: str

    @property
    def livemode(self) -> bool:
        """Whether the key is one for real money: https://docs.stripe.com/keys"""
        return self.key.reveal().startswith(("sk_live_", "rk_live_"))


class OidcSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An issuer at which people sign in."""

    rules: OidcRules
    client_secret: Secret | None


class AlertSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told of what. A webhook needs url and secret, mail a host, a sender and somebody to get it.

    Attributes:
        low_pusd: a balance below it is told of; None is never.
        allow_hosts: hosts of webhooks that need not be public.
    """

    low_pusd: int | None
    webhook_url: str | None
    webhook_secret: Secret | None
    allow_hosts: tuple[str, ...]
    mail_to: tuple[str, ...]
    mail_from: str | None
    smtp_host: str | None
    smtp_port: int
    smtp_security: str
    smtp_user: str | None
    smtp_password: Secret | None


class PaperSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How receipts are signed and invoices issued.

    Attributes:
        receipt_keys: the file of the keys; None for the one in the data folder.
    """

    receipt_keys: Path | None = None
    issuer: Issuer = Issuer()


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that an operator configures, checked and resolved.

    Attributes:
        path: the configuration file; None if there is none.
        own_keys: what requests with an account's own provider key cost; None where there are none.
        store: the shared database; None for the file in the data folder.
        stripe: None where no key of Stripe is named.
        providers: all of them: the catalogue's with the file's changes, then the file's own.
        sessions, sessions_by_key: ceilings of a session, and those of the sessions of some keys.
        timeouts_by_model: deadlines of the models that have their own.
        settlement: who pays in which case.
        provider_keys: credentials by provider id; key_pools: of providers with several, all of them, and
            how often each is used beside the others.
        inactive: why a provider cannot be called, by id; all others are active.
        disabled: ids of the providers that the file switches off; all of them are inactive too.
        models: those that the file changes or adds, whole.
        warnings: what is allowed but probably not meant. No secrets.
    """

    path: Path | None
    server: ServerSettings
    timeouts: Deadlines
    timeouts_by_model: Mapping[str, Deadlines]
    retries: RetryRules
    health: HealthRules
    continuing: Continuing
    fallbacks: FallbackRules
    routing: RoutingRules
    probes: ProbeRules
    concurrency: ConcurrencyRules
    credits: CreditSettings
    settlement: SettlementPolicy
    sessions: SessionLimits
    sessions_by_key: Mapping[str, SessionLimits]
    limits: Limits
    counters: CounterSettings
    fetch: FetchSettings
    responses: ResponseSettings
    side_car: SideCarSettings
    stripe: StripeSettings | None
    own_keys: OwnKeyFee | None
    alerts: AlertSettings
    oidc: OidcSettings | None = None
    oidc_hosts: tuple[str, ...] = ()
    providers: tuple[Provider, ...]
    provider_keys: Mapping[str, Secret]
    key_pools: Mapping[str, tuple[Secret, ...]]
    key_weights: Mapping[str, tuple[int, ...]]
    inactive: Mapping[str, str]
    models: tuple[Model, ...]
    warnings: tuple[str, ...] = ()
    store: StoreSettings | None = None
    disabled: frozenset[str] = frozenset()
    papers: PaperSettings = PaperSettings()

    @property
    def active(self) -> tuple[str, ...]:
        """Ids of the providers that can be called."""
        return tuple(p.id for p in self.providers if p.id not in self.inactive)
