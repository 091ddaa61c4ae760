"""The endpoints of an account's money in a running gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from gateway_kit import Gateway


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    gateway = Gateway(tmp_path_factory.mktemp("credits"), "--sandbox", config="[credits]\nstarting = 5\n")
    yield gateway
    assert gateway.stop() == 0


def post(gateway: Gateway, path: str, body: object, key: str | None = None) -> Any:
    return gateway.send("POST", path, json.dumps(body).encode(), key=key)


def test_credits_entries_and_vouchers(gateway: Gateway) -> None:
    asked = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hello"}]}
    cost = post(gateway, "/v1/chat/completions", asked).json["usage"]["cost"]
    assert cost > 0
    [made] = gateway.command("vouchers.create", amount="10")["vouchers"]
    redeemed = post(gateway, "/v1/credits/redeem", {"code": made["code"].lower()})
    assert (redeemed.status, redeemed.json["amount"]) == (200, 10)
    again = post(gateway, "/v1/credits/redeem", {"code": made["code"]})
    assert (again.status, again.error["code"]) == (400, "voucher_refused")
    unknown = post(gateway, "/v1/credits/redeem", {"code": "x"})
    assert (unknown.status, unknown.error["code"]) == (404, "voucher_not_found")
    assert post(gateway, "/v1/credits/redeem", {"code": 5}).error["param"] == "code"
    adjusted = gateway.command("credits.adjust", amount="-1", reason="test", actor="ann")
    assert adjusted["note"] == "test (by ann)"
    data = gateway.get("/v1/credits").json["data"]
    assert data == {
        "total_credits": 14,
        "total_usage": cost,
        "credits_remaining": 14 - cost,
        "held": 0,
        "owed": 0,
    }
    page = gateway.get("/v1/credits/entries?limit=2").json
    assert [row["amount"] for row in page["data"]] == [-1, 10]
    assert page["has_more"]
    rest = gateway.get(f"/v1/credits/entries?limit=2&after={page['last_id']}").json
    assert [row["amount"] for row in rest["data"]] == [-cost, 5]
    assert not rest["has_more"]
    for unknown in ("credit:none", "", "%00"):
        refused = gateway.get(f"/v1/credits/entries?after={unknown}")
        assert (refused.status, refused.error["param"]) == (400, "after"), unknown


def test_nobody_reads_them_without_a_key(gateway: Gateway) -> None:
    for path in ("/v1/credits", "/v1/credits/entries"):
        assert gateway.get(path, key="sk-lr-wrong").status == 401
    assert post(gateway, "/v1/credits/redeem", {"code": "x"}, key="").status == 401
    assert gateway.get("/v1/credits/entries?limit=0").error["param"] == "limit"


def test_own_references_cannot_be_given_by_operators(gateway: Gateway) -> None:
    for ref in ("pay:ord_1:1", "voucher:vou_1"):
        with pytest.raises(Exception, match="ref may not begin"):
            gateway.command("credits.add", amount="1", ref=ref)
