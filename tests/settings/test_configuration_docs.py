"""docs/configuration.md names every key of the file, with its type's default, and no other."""

from __future__ import annotations

import base64
import re
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from llm_router.catalog.snapshot import compile_snapshot, load_builtin
from llm_router.settings import load
from llm_router.settings import schema as tables

DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "[server]": tables.ServerTable,
    "[store]": tables.StoreTable,
    "[timeouts]": tables.TimeoutsTable,
    "[retries]": tables.RetriesTable,
    "[health]": tables.HealthTable,
    "[continuation]": tables.ContinuationTable,
    "[routing]": tables.RoutingTable,
    "[routing.fallbacks]": tables.FallbacksTable,
    '[routing.fallbacks.models."ID"]': tables.ChainsTable,
    "[routing.sticky]": tables.StickyTable,
    '[routing.models."GLOB"]': tables.RuleTable,
    "[routing.tasks.NAME]": tables.TaskTable,
    "[routing.probes]": tables.ProbesTable,
    "[routing.hedging]": tables.HedgingTable,
    "[routing.concurrency]": tables.ConcurrencyTable,
    "[credits]": tables.CreditsTable,
    "[settlement]": tables.SettlementTable,
    "[sessions]": tables.SessionsTable,
    "[sessions.keys.ID]": tables.SessionTable,
    "[limits]": tables.LimitsTable,
    "[counters]": tables.CountersTable,
    "[fetch]": tables.FetchTable,
    "[responses]": tables.ResponsesTable,
    "[side_car]": tables.SideCarTable,
    "[stripe]": tables.StripeTable,
    "[byok]": tables.ByokTable,
    "[oidc]": tables.OidcTable,
    "[alerts]": tables.AlertsTable,
    "[receipts]": tables.ReceiptsTable,
    "[invoices]": tables.InvoicesTable,
    "[[invoices.taxes]]": tables.TaxTable,
    "[invoices.customers.ACCOUNT]": tables.CustomerTable,
    "[presets.NAME]": tables.PresetTable,
    "[experiments.NAME]": tables.ExperimentTable,
    "[[experiments.NAME.arms]]": tables.ArmTable,
    "[experiments.NAME.guard]": tables.GuardTable,
    "[providers.ID]": tables.ProviderTable,
    "[[providers.ID.quirks]]": tables.QuirkTable,
    "[[providers.ID.also]]": tables.WayTable,
    '[models."ID"]': tables.ModelTable,
    '[models."ID".capabilities]': tables.CapabilitiesTable,
    '[models."ID".price]': tables.PriceTable,
    '[models."ID".timeouts]': tables.ModelTimeoutsTable,
    '[[models."ID".deployments]]': tables.DeploymentTable,
}
_HEADING = re.compile(r"^##+ `(\[.+\])`$")
_ROW = re.compile(r"^\| `([a-z0-9_]+)` \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$")


ACCOUNT = (
    '{"type": "service_account", "client_email": "me@p.test", "token_uri": "https://t.test", "private_key": '
    '"-----BEGIN PRIVATE KEY-----\\nMAMCAQA=\\n-----END PRIVATE KEY-----\\n"}'
)


def _documented() -> dict[str, dict[str, str]]:
    """Section -> key -> default as documented."""
    found: dict[str, dict[str, str]] = {}
    section = ""
    for line in DOCS.read_text().splitlines():
        if line.startswith("#"):
            heading = _HEADING.match(line)
            section = heading[1] if heading else ""
        elif section and (row := _ROW.match(line)):
            found.setdefault(section, {})[row[1]] = row[3].strip().strip("`")
    return found


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "needed"
    if field.default_factory is dict:
        return "none"
    match field.default:
        case None:
            return "none"
        case bool() as value:
            return str(value).lower()
        case int() | Decimal() as value:
            return str(value)
        case str() as value:
            return f'"{value}"'
        case ():
            return "[]"
        case tables.Table():
            return "none"
        case other:
            raise AssertionError(f"no way to write the default {other!r}")


def test_every_section_is_documented() -> None:
    assert set(_documented()) == set(SECTIONS)


def test_the_sections_are_all_tables_of_the_schema() -> None:
    declared = {
        cls
        for cls in vars(tables).values()
        if isinstance(cls, type)
        and issubclass(cls, tables.Table)
        and cls not in (tables.Table, tables.FileTable)
    }
    assert declared == set(SECTIONS.values())


@pytest.mark.parametrize("section", SECTIONS)
def test_every_key_is_documented_with_its_default(section: str) -> None:
    fields = {field.name: _default(field) for field in msgspec.structs.fields(SECTIONS[section])}
    assert _documented()[section] == fields


def test_every_example_loads(tmp_path: Path) -> None:
    catalog, file = compile_snapshot(load_builtin()), tmp_path / "router.toml"
    examples = re.findall(r"```toml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert len(examples) == len(SECTIONS) + 4  # Azure has two of its own, Vertex AI and Bedrock one each
    (tmp_path / "acme").write_text("key")
    (tmp_path / "aws").write_text("AKIAEXAMPLEEXAMPLE00:secret")
    for name in ("azure", "entra-token", "stripe", "stripe-webhook", "alerts", "database", "oidc"):
        (tmp_path / name).write_text("key")
    (tmp_path / "service-account.json").write_text(ACCOUNT)
    (tmp_path / "receipts.key").write_text(base64.b64encode(bytes(32)).decode())
    for example in examples:
        text = example.replace("file:/run/secrets/", f"file:{tmp_path}/")
        file.write_text(text)
        settings = load(file, {"OPENAI_EU_KEY": "k", "HOME": "/nowhere"}, catalog)
        if "[[providers.acme." not in text:  # those show a part of a provider alone
            assert settings.warnings == (), "an example is as it should be"
