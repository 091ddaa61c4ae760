"""The configuration file as it is written: one struct a table. This is the only list of its keys.

Names end in their unit. Numbers with a fraction are :class:`~decimal.Decimal`, exactly as typed.
``None`` means that the key is absent; what that stands for is said in ``docs/configuration.md``.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

import msgspec

from llm_router.billing.policy import (
    Drain,
    OnAbsurd,
    OnCut,
    OnEmpty,
    OnExcess,
    OnFailed,
    OnGone,
    OnGoneBefore,
    OnNoUsage,
    OnZero,
)
from llm_router.domain.model import AuthScheme, EditKind, Knowledge, OnUnpricedTools, SuccessorRule
from llm_router.routing.continuing import Mode
from llm_router.routing.hedging import HedgeMode
from llm_router.routing.query import Quantization
from llm_router.routing.rules import StrategyName
from llm_router.routing.strategies import TaskStrategy

Count = Annotated[int, msgspec.Meta(ge=1, le=10**9)]
Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]
Bytes = Annotated[int, msgspec.Meta(ge=1024, le=2**31)]
Seconds = Annotated[Decimal, msgspec.Meta(extra={"above": 0, "max": 86_400})]
Pause = Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 86_400})]
Dollars = Annotated[Decimal, msgspec.Meta(extra={"min": 0})]
Amount = Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 4_600_000, "text": True})]
Dial = Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 10})]
RoleName = Literal["owner", "admin", "developer", "billing", "viewer"]
Modality = Literal["text", "image", "audio", "video", "file"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file."""


class ServerTable(Table, frozen=True, kw_only=True):
    host: str = "127.0.0.1"
    port: Port = 4040
    data_dir: str | None = None
    body_bytes_max: Bytes = 32 * 1024 * 1024
    header_bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=16 * 1024 * 1024)] = 64 * 1024
    headers_max: Annotated[int, msgspec.Meta(ge=10, le=100_000)] = 200
    head_s: Seconds = Decimal(30)
    body_s: Seconds = Decimal(120)
    unread_s: Seconds = Decimal(60)
    keep_alive_s: Seconds = Decimal(75)
    connections_max: Count = 10_000
    connections_per_address_max: Count = 5_000
    heartbeat_s: Pause = Decimal(15)
    drain_s: Seconds = Decimal(30)
    concurrency_max: Count = 1000
    lag_max_s: Pause = Decimal(2)
    access_log: bool = True
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    public_url: str | None = None
    trusted_proxies: tuple[str, ...] = ()


class StoreTable(Table, frozen=True, kw_only=True):
    url: str | None = None
    password: str | None = None


class TimeoutsTable(Table, frozen=True, kw_only=True):
    connect_s: Seconds = Decimal(5)
    first_byte_s: Seconds = Decimal(60)
    idle_s: Seconds = Decimal(30)
    whole_s: Seconds | None = None
    total_s: Seconds = Decimal(600)


class RetriesTable(Table, frozen=True, kw_only=True):
    attempts_max: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    repeats_max: Annotated[int, msgspec.Meta(ge=0, le=10)] = 2
    budget_percent: Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 100})] = Decimal(20)
    reserve: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 10
    backoff_s: Seconds = Decimal("0.5")
    backoff_max_s: Seconds = Decimal(8)
    wait_max_s: Pause = Decimal(10)


class HealthTable(Table, frozen=True, kw_only=True):
    enabled: bool = True
    failures_max: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 5
    error_percent_max: Annotated[Decimal, msgspec.Meta(extra={"above": 0, "max": 100})] = Decimal(50)
    calls_min: Count = 20
    window_s: Seconds = Decimal(60)
    open_s: Seconds = Decimal(10)
    open_max_s: Seconds = Decimal(300)
    slow_start_s: Pause = Decimal(30)
    ejected_percent_max: Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 100})] = Decimal(50)


class ChainsTable(Table, frozen=True, kw_only=True):
    general: tuple[str, ...] | None = None
    context: tuple[str, ...] | None = None
    content_policy: tuple[str, ...] | None = None


class FallbacksTable(ChainsTable, frozen=True, kw_only=True):
    models: dict[str, ChainsTable] = {}
    keys: dict[str, ChainsTable] = {}
    presets: dict[str, ChainsTable] = {}


class ProbesTable(Table, frozen=True, kw_only=True):
    deployments: tuple[str, ...] = ()
    interval_s: Seconds = Decimal(30)


class ConcurrencyTable(Table, frozen=True, kw_only=True):
    enabled: bool = True
    least: Count = 4
    most: dict[str, Count] = {}
    latency_factor: Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 100})] = Decimal(2)
    queue_max: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 32
    wait_max_s: Pause = Decimal(1)


class ContinuationTable(Table, frozen=True, kw_only=True):
    mode: Mode = "equal"
    times_max: Annotated[int, msgspec.Meta(ge=1, le=10)] = 2
    models: dict[str, Mode] = {}
    keys: dict[str, Mode] = {}
    presets: dict[str, Mode] = {}


class ModelTimeoutsTable(Table, frozen=True, kw_only=True):
    connect_s: Seconds | None = None
    first_byte_s: Seconds | None = None
    idle_s: Seconds | None = None
    whole_s: Seconds | None = None
    total_s: Seconds | None = None


class StickyTable(Table, frozen=True, kw_only=True):
    ttl_s: Pause = Decimal(600)
    entries_max: Count = 10_000


class RuleTable(Table, frozen=True, kw_only=True):
    strategy: StrategyName | None = None
    dial: Dial | None = None


class TaskTable(Table, frozen=True, kw_only=True):
    models: tuple[str, ...] = ()
    strengths: tuple[str, ...] = ()
    sees: tuple[Modality, ...] = ()
    reasoning: bool = False
    open_weights: bool = False
    tier_min: Annotated[int, msgspec.Meta(ge=1, le=5)] | None = None
    strategy: TaskStrategy = "auto"
    dial: Dial | None = None


class HedgingTable(Table, frozen=True, kw_only=True):
    mode: HedgeMode = "off"
    percentile: Annotated[Decimal, msgspec.Meta(extra={"min": 50, "max": Decimal("99.9")})] = Decimal(95)
    extra_percent_max: Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 100})] = Decimal(5)
    models: dict[str, HedgeMode] = {}
    keys: dict[str, HedgeMode] = {}
    presets: dict[str, HedgeMode] = {}


class RoutingTable(Table, frozen=True, kw_only=True):
    strategy: StrategyName = "priority"
    candidates_max: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8
    sticky: StickyTable = StickyTable()
    models: dict[str, RuleTable] = {}
    keys: dict[str, RuleTable] = {}
    dial: Dial | None = None
    auto_models: tuple[str, ...] = ()
    tasks: dict[str, TaskTable] = {}
    fallbacks: FallbacksTable = FallbacksTable()
    probes: ProbesTable = ProbesTable()
    hedging: HedgingTable = HedgingTable()
    concurrency: ConcurrencyTable = ConcurrencyTable()
    single_flight: HedgeMode = "off"
    successors: SuccessorRule = "any"


class PresetTable(Table, frozen=True, kw_only=True):
    models: tuple[str, ...] = ()
    system: str | None = None
    parameters: dict[str, Any] = {}
    provider: dict[str, Any] = {}
    dial: Dial | None = None
    description: str | None = None


class ArmTable(Table, frozen=True, kw_only=True):
    name: str
    weight: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 1
    model: str | None = None
    system: str | None = None
    parameters: dict[str, Any] = {}
    provider: dict[str, Any] = {}
    dial: Dial | None = None


class GuardTable(Table, frozen=True, kw_only=True):
    requests_min: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20
    margin: Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 1})] = Decimal(0)


class ExperimentTable(Table, frozen=True, kw_only=True):
    of: str
    kind: Literal["ab", "canary", "shadow"] = "ab"
    arms: tuple[ArmTable, ...]
    sticky: Literal["user", "session", "key", "request"] = "user"
    share: Annotated[Decimal, msgspec.Meta(extra={"above": 0, "max": 1})] = Decimal(1)
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 4
    billed: Literal["operator", "customer"] = "operator"
    guard: GuardTable = GuardTable()
    description: str | None = None


class CreditsTable(Table, frozen=True, kw_only=True):
    starting: Amount = Decimal(5)
    hold_output_tokens: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 16_384
    hold_wait_s: Pause = Decimal(5)
    charge_on_error: Literal["none", "delivered"] | None = None


class SettlementTable(Table, frozen=True, kw_only=True):
    failed: OnFailed = "free"
    cut: OnCut = "free"
    gone_before: OnGoneBefore = "free"
    gone: OnGone = "delivered"
    no_usage: OnNoUsage = "counted"
    zero: OnZero = "exact"
    absurd: OnAbsurd = "counted"
    empty: OnEmpty = "free"
    excess: OnExcess = "available"
    unpriced_tools: OnUnpricedTools = "auto"
    drain: Drain = "auto"
    drain_max: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 100
    drain_s: Seconds = Decimal(120)
    drain_bytes_max: Bytes = 16 * 1024 * 1024


class SessionTable(Table, frozen=True, kw_only=True):
    max_cost: Amount | None = None
    max_steps: Count | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=1, le=10**12)] | None = None
    repeats: Annotated[int, msgspec.Meta(ge=0, le=100_000)] = 25


class SessionsTable(SessionTable, frozen=True, kw_only=True):
    keys: dict[str, SessionTable] = {}


class LimitsTable(Table, frozen=True, kw_only=True):
    requests_per_minute: Count | None = None
    tokens_per_minute: Count | None = None
    concurrency: Count | None = None


class CountersTable(Table, frozen=True, kw_only=True):
    url: str | None = None
    timeout_s: Annotated[Decimal, msgspec.Meta(extra={"above": 0, "max": 10})] = Decimal("0.1")
    local_share: Annotated[Decimal, msgspec.Meta(extra={"above": 0, "max": 1})] = Decimal(1)


class FetchTable(Table, frozen=True, kw_only=True):
    enabled: bool = True
    bytes_max: Bytes = 20 * 1024 * 1024
    timeout_s: Seconds = Decimal(15)
    allow_hosts: tuple[str, ...] = ()


class ResponsesTable(Table, frozen=True, kw_only=True):
    store: bool = True
    retention_days: Annotated[int, msgspec.Meta(ge=1, le=3650)] = 30
    bytes_max: Annotated[int, msgspec.Meta(ge=1024, le=2**40)] = 1024 * 1024 * 1024
    background_max: Count = 100


class SideCarTable(Table, frozen=True, kw_only=True):
    enabled: bool = True
    ttl_s: Annotated[int, msgspec.Meta(ge=1, le=31_536_000)] = 7 * 86_400
    bytes_max: Bytes = 256 * 1024 * 1024


class StripeTable(Table, frozen=True, kw_only=True):
    key: str | None = None
    webhook_secrets: tuple[str, ...] = ()
    success_url: str | None = None
    cancel_url: str | None = None
    amount_min: Amount = Decimal(5)
    amount_max: Amount = Decimal(1000)
    by_keys: bool = True
    tolerance_s: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 300
    base_url: str = "https://api.stripe.com"


class ByokTable(Table, frozen=True, kw_only=True):
    enabled: bool = True
    fee_percent: Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 100})] = Decimal(0)
    fee_request: Annotated[Decimal, msgspec.Meta(extra={"min": 0, "max": 10})] = Decimal(0)


class OidcTable(Table, frozen=True, kw_only=True):
    issuer: str | None = None
    client_id: str | None = None
    client_secret: str | None = None
    name: str = "SSO"
    scopes: str = "openid email profile"
    groups_claim: str = "groups"
    account: str = "default"
    roles: dict[str, RoleName] = {}
    default_role: RoleName | None = None
    operators: tuple[str, ...] = ()
    domains: tuple[str, ...] = ()
    emails_verified: bool = False
    allow_hosts: tuple[str, ...] = ()


class AlertsTable(Table, frozen=True, kw_only=True):
    low_balance: Amount | None = None
    webhook_url: str | None = None
    webhook_secret: str | None = None
    allow_hosts: tuple[str, ...] = ()
    mail_to: tuple[str, ...] = ()
    mail_from: str | None = None
    smtp_host: str | None = None
    smtp_port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_user: str | None = None
    smtp_password: str | None = None


class ReceiptsTable(Table, frozen=True, kw_only=True):
    key_file: str | None = None


class TaxTable(Table, frozen=True, kw_only=True):
    name: str
    percent: Decimal


class CustomerTable(Table, frozen=True, kw_only=True):
    address: tuple[str, ...] = ()
    tax_id: str | None = None
    note: str | None = None
    taxes: tuple[TaxTable, ...] | None = None


class InvoicesTable(Table, frozen=True, kw_only=True):
    issuer: tuple[str, ...] = ()
    tax_id: str | None = None
    prefix: str = "INV-"
    taxes_included: bool = False
    note: str | None = None
    taxes: tuple[TaxTable, ...] = ()
    customers: dict[str, CustomerTable] = {}


class QuirkTable(Table, frozen=True, kw_only=True):
    edit: EditKind
    field: str
    why: str
    source: str = ""
    to: str | None = None
    value: Any = None
    min: Decimal | None = None
    max: Decimal | None = None
    models: tuple[str, ...] = ()
    when: str | None = None
    lossless: bool = False


class WayTable(Table, frozen=True, kw_only=True):
    dialect: str
    base_url: str | None = None
    placement: str | None = None
    auth: AuthScheme | None = None
    auth_name: str | None = None
    serves: tuple[str, ...] = ()
    takes_urls: tuple[Literal["image", "audio", "video", "file"], ...] | None = None
    knows: tuple[Knowledge, ...] = ()
    quirks: tuple[QuirkTable, ...] = ()


class ProviderTable(Table, frozen=True, kw_only=True):
    enabled: bool = True
    name: str | None = None
    extends: str | None = None
    dialect: str | None = None
    placement: str | None = None
    base_url: str | None = None
    parameters: dict[str, str] | None = None
    query: dict[str, str] | None = None
    auth: AuthScheme | None = None
    auth_name: str | None = None
    key: str | None = None
    keys: tuple[str, ...] = ()
    key_weights: tuple[Annotated[int, msgspec.Meta(ge=1, le=1000)], ...] = ()
    key_required: bool | None = None
    headers: dict[str, str] | None = None
    takes_urls: tuple[Literal["image", "audio", "video", "file"], ...] | None = None
    bills_abandoned: bool | None = None
    data_collection: Literal["allow", "deny"] | None = None
    zero_retention: bool | None = None
    regions: tuple[str, ...] | None = None
    knows: tuple[Knowledge, ...] | None = None
    serves: tuple[str, ...] | None = None
    price: Decimal | None = None
    tools: dict[str, Dollars] = {}
    quirks: tuple[QuirkTable, ...] = ()
    also: tuple[WayTable, ...] | None = None


class CapabilitiesTable(Table, frozen=True, kw_only=True):
    input_modalities: tuple[Modality, ...] | None = None
    tools: bool | None = None
    parallel_tools: bool | None = None
    json_object: bool | None = None
    json_schema: bool | None = None
    reasoning: bool | None = None
    reasoning_levels: tuple[Effort, ...] | None = None
    sampling: bool | None = None
    streaming: bool | None = None


class PriceTable(Table, frozen=True, kw_only=True):
    """US dollars per million tokens (``_per_mtok``) or per piece (``_usd``)."""

    input_per_mtok: Dollars
    output_per_mtok: Dollars
    cache_read_per_mtok: Dollars | None = None
    cache_write_per_mtok: Dollars | None = None
    cache_write_1h_per_mtok: Dollars | None = None
    input_audio_per_mtok: Dollars | None = None
    output_audio_per_mtok: Dollars | None = None
    reasoning_per_mtok: Dollars | None = None
    web_search_usd: Dollars | None = None
    request_usd: Dollars | None = None


class DeploymentTable(Table, frozen=True, kw_only=True):
    provider: str
    upstream_model: str | None = None
    base_model: str | None = None
    dialect: str | None = None
    price: PriceTable | Decimal | None = None
    context_tokens: Count | None = None
    output_tokens_max: Count | None = None
    quantization: Quantization | None = None
    weight: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] | None = None


class ModelTable(Table, frozen=True, kw_only=True):
    name: str | None = None
    family: str | None = None
    developer: str | None = None
    context_tokens: Count | None = None
    output_tokens_max: Count | None = None
    aliases: tuple[str, ...] | None = None
    operations: tuple[Literal["chat", "embed"], ...] | None = None
    capabilities: CapabilitiesTable | None = None
    price: PriceTable | Decimal | None = None
    timeouts: ModelTimeoutsTable | None = None
    deployments: tuple[DeploymentTable, ...] = ()


class FileTable(Table, frozen=True, kw_only=True):
    """The whole file."""

    server: ServerTable = ServerTable()
    store: StoreTable = StoreTable()
    timeouts: TimeoutsTable = TimeoutsTable()
    retries: RetriesTable = RetriesTable()
    health: HealthTable = HealthTable()
    continuation: ContinuationTable = ContinuationTable()
    routing: RoutingTable = RoutingTable()
    credits: CreditsTable = CreditsTable()
    settlement: SettlementTable = SettlementTable()
    sessions: SessionsTable = SessionsTable()
    limits: LimitsTable = LimitsTable()
    counters: CountersTable = CountersTable()
    fetch: FetchTable = FetchTable()
    responses: ResponsesTable = ResponsesTable()
    side_car: SideCarTable = SideCarTable()
    stripe: StripeTable = StripeTable()
    byok: ByokTable = ByokTable()
    alerts: AlertsTable = AlertsTable()
    oidc: OidcTable = OidcTable()
    receipts: ReceiptsTable = ReceiptsTable()
    invoices: InvoicesTable = InvoicesTable()
    presets: dict[str, PresetTable] = {}
    experiments: dict[str, ExperimentTable] = {}
    providers: dict[str, ProviderTable] = {}
    models: dict[str, ModelTable] = {}
