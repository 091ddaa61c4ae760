"""What can be done has its way in: each operation by the API, too, or a reason why it has none there."""

from __future__ import annotations

import msgspec

from llm_router.edge.api.offer import GiveCredit, MakeExperiment
from llm_router.edge.api.routes import API_TABLE
from llm_router.edge.api.table import read_body
from llm_router.engine.operations import OPERATIONS

BY_API = {
    "accounts.change": "PATCH accounts/{account}",
    "accounts.create": "POST accounts",
    "accounts.list": "GET accounts",
    "alerts.add": "POST gateway/alerts",
    "alerts.change": "PATCH gateway/alerts/{name}",
    "alerts.list": "GET gateway/alerts",
    "alerts.remove": "DELETE gateway/alerts/{name}",
    "alerts.show": "GET gateway/alerts/{name}",
    "alerts.try": "POST gateway/alerts/{name}/test",
    "audit.check": "GET gateway/audit/check",
    "audit.list": "GET gateway/audit",
    "bodies.delete": "POST content/delete",
    "bodies.read": "GET exchanges/{id}/content",
    "bodies.set": "PUT content/rule",
    "bodies.show": "GET content",
    "bodies.unset": "DELETE content/rule",
    "budgets.list": "GET budgets",
    "budgets.remove": "DELETE budgets/{id}",
    "budgets.set": "POST budgets",
    "byok.list": "GET provider-keys",
    "byok.remove": "DELETE provider-keys/{id}",
    "byok.set": "PUT provider-keys/{id}",
    "credits.add": "POST gateway/credits",
    "credits.auto": "PUT gateway/credits/auto",
    "credits.adjust": "POST gateway/credits/adjust",
    "credits.show": "GET credits",
    "deployments": "GET health",
    "exchanges.list": "GET exchanges",
    "forget": "POST content/forget",
    "experiments.create": "POST experiments",
    "experiments.list": "GET experiments",
    "experiments.report": "GET experiments/{id}",
    "experiments.show": "GET experiments/{id}",
    "experiments.stop": "POST experiments/{id}/stop",
    "explain": "GET exchanges/{id}",
    "invitations.list": "GET invitations",
    "invitations.remove": "DELETE invitations/{invitation}",
    "keys.change": "PATCH keys/{hash}",
    "keys.create": "POST keys",
    "keys.list": "GET keys",
    "keys.revoke": "DELETE keys/{hash}",
    "keys.rotate": "POST keys/{hash}/rotate",
    "keys.show": "GET keys/{hash}",
    "limits.list": "GET limits",
    "limits.remove": "DELETE limits/{id}",
    "limits.set": "POST limits",
    "members.change": "PATCH members/{person}",
    "members.invite": "POST invitations",
    "members.list": "GET members",
    "members.remove": "DELETE members/{person}",
    "payments.list": "GET gateway/payments",
    "people.change": "PATCH gateway/people/{person}",
    "people.list": "GET gateway/people",
    "people.reset": "POST password/forgot",
    "presets.create": "POST presets",
    "presets.delete": "DELETE presets/{preset}",
    "presets.list": "GET presets",
    "presets.show": "GET presets/{preset}",
    "presets.versions": "GET presets/{preset}",
    "prices.history": "GET models/{id}/prices",
    "prices.list": "GET gateway/prices",
    "prices.publish": "POST gateway/prices",
    "prices.show": "GET gateway/prices",
    "providers.list": "GET gateway/providers",
    "providers.remove_key": "DELETE gateway/providers/{id}/key",
    "providers.set_key": "PUT gateway/providers/{id}/key",
    "receipts.export": "GET exchanges/{id}/receipt",
    "requests.end": "DELETE requests/{id}",
    "requests.list": "GET requests",
    "routes.rehearse": "POST gateway/routes/test",
    "settings.change": "PATCH gateway/settings",
    "settings.show": "GET gateway/settings",
    "sso.remove": "DELETE gateway/sso",
    "sso.set": "PUT gateway/sso",
    "sso.show": "GET gateway/sso",
    "sso.test": "POST gateway/sso/test",
    "statements.list": "GET statements",
    "statements.show": "GET statements/{month}",
    "teams.create": "POST teams",
    "teams.list": "GET teams",
    "teams.remove": "DELETE teams/{team}",
    "usage.export": "GET usage/export",
    "usage.show": "GET usage",
    "vouchers.create": "POST gateway/vouchers",
    "vouchers.list": "GET gateway/vouchers",
    "vouchers.redeem": "POST credits/redeem",
    "vouchers.revoke": "DELETE gateway/vouchers/{id}",
}

ELSEWHERE = {
    "bodies.rotate": "secrets of the machine are changed on it",
    "config.reload": "the file that it reads is on the machine",
    "models": "GET /v1/models",
    "people.set_up": "the link that makes the first operator is told on the machine alone",
    "receipts.keys": "GET /.well-known/llm-router-receipts.json",
    "receipts.rotate": "secrets of the machine are changed on it",
    "reconcile.attempts": "it reads bills that are files",
    "statements.issue": "it is done by the gateway itself when a month is over",
}

OF_PEOPLE_ALONE = (
    "sign-", "set-up", "sign-up", "join", "password/", "me/", "accounts/{account}/leave", "public/", "openapi.json",
    "credits/ways", "credits/top-up",
)  # fmt: skip
"""Beginnings of what people in a browser and keys ask about themselves: commands have no self."""

IN_PARTS = {
    "GET accounts/{account}", "GET members/{person}", "GET teams/{team}", "GET invitations/{invitation}",
    "GET gateway/people/{person}", "GET credits/entries", "GET exchanges/live", "GET audit", "GET audit/export",
    "GET gateway/audit/export", "GET gateway/usage", "GET statements/{month}/file", "DELETE exchanges/{id}/content",
    "GET credits/auto", "GET models/status",
}  # fmt: skip
"""Rows that are a part of what a command shows, or another form of it."""


def rows() -> set[str]:
    return {f"{route.method} {route.path.removeprefix('/api/v1/')}" for route in API_TABLE.routes}


def test_every_operation_has_its_row_of_the_api_or_a_reason() -> None:
    assert set(OPERATIONS) - set(BY_API) - set(ELSEWHERE) == set()
    assert set(BY_API) & set(ELSEWHERE) == set()
    assert (set(BY_API) | set(ELSEWHERE)) - set(OPERATIONS) == set()
    assert set(BY_API.values()) - rows() == set()


def test_every_row_of_the_api_is_the_way_to_an_operation_or_of_people_alone() -> None:
    left = rows() - set(BY_API.values()) - IN_PARTS - {"GET me", "PATCH me", "GET key"}
    assert {row for row in left if not row.partition(" ")[2].startswith(OF_PEOPLE_ALONE)} == set()
    assert rows() >= IN_PARTS


def test_numbers_of_a_body_that_go_on_as_they_are_stay_numbers():
    arm = b'{"name": "e", "of": "m", "arms": [{"name": "a", "parameters": {"temperature": 0.5}}]}'
    body = read_body(arm, MakeExperiment)
    assert msgspec.json.encode(body.arms[0].parameters) == b'{"temperature":0.5}'
    given = read_body(b'{"account": "a", "amount": 1234567.123456789012}', GiveCredit)
    assert given.amount.text == "1234567.123456789012"
