"""What the audit log says that something was done to."""

from __future__ import annotations

from typing import Any

import pytest

from llm_router.domain.account import Actor
from llm_router.engine.auditing import act_of

ADA = Actor(id="usr_1", name="ada@example.com")


@pytest.mark.parametrize(
    ("command", "arguments", "result", "told"),
    [
        ("bodies.delete", {"id": None, "account": "acme", "everything": True}, {"id": None}, "acme"),
        ("bodies.delete", {"id": "gen-1", "account": "acme"}, {}, "gen-1"),
        ("bodies.set", {"account": "acme", "key": "key_1"}, {}, "key_1"),
        ("bodies.set", {"account": "acme", "key": None}, {}, "acme"),
        ("credits.adjust", {"account": "acme", "amount": "-1"}, {"account": "acme"}, "acme"),
        ("vouchers.redeem", {"account": "acme", "code": "secret"}, {"voucher": "vou_1"}, "vou_1"),
        ("vouchers.create", {"count": 1}, {"vouchers": [{"id": "vou_1"}]}, "vou_1"),
        ("vouchers.create", {"count": 2}, {"vouchers": [{"id": "vou_1"}, {"id": "vou_2"}]}, "2 vouchers"),
        ("sso.test", {"issuer": "https://id.example"}, {"ok": True}, "https://id.example"),
        ("keys.create", {"name": "k", "account": "acme"}, {"id": "key_1", "key": "sk-lr-x"}, "key_1"),
        ("receipts.rotate", {}, {}, ""),
    ],
)
def test_an_act_names_what_it_was_done_to(
    command: str, arguments: dict[str, Any], result: dict[str, Any], told: str
) -> None:
    act = act_of(command, arguments, [], result, ADA, 0)
    assert act.object == told
    assert "secret" not in f"{act}"
    assert "sk-lr-x" not in f"{act}"
