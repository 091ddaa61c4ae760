"""All commands: one row each, from which the parser, the help texts, docs/cli.md and what runs are made."""

from __future__ import annotations

from collections.abc import Mapping

from llm_router.cli.grammar import Command
from llm_router.cli.rows.alerts import ALERTS
from llm_router.cli.rows.bodies import BODIES
from llm_router.cli.rows.house import HOUSE
from llm_router.cli.rows.money import MONEY
from llm_router.cli.rows.papers import PAPERS
from llm_router.cli.rows.people import PEOPLE
from llm_router.cli.rows.routing import ROUTING
from llm_router.cli.rows.running import RUNNING
from llm_router.cli.rows.sso import SSO

COMMANDS: tuple[Command, ...] = (*RUNNING, *PEOPLE, *HOUSE, *MONEY, *ROUTING, *PAPERS, *BODIES, *ALERTS, *SSO)

BY_NAME: Mapping[str, Command] = {command.name: command for command in COMMANDS}

GROUPS: Mapping[str, str] = {
    "keys": "make, list, change and revoke API keys",
    "credits": "add and show credits",
    "vouchers": "make and redeem codes that bring credit",
    "payments": "show what was paid",
    "byok": "keys of accounts of their own at providers",
    "people": "who may sign in",
    "accounts": "make, list and change accounts",
    "members": "who is in an account, and as what",
    "invitations": "memberships that were offered",
    "teams": "parts of an account",
    "providers": "who runs the models, and the gateway's own keys there",
    "settings": "what is decided for all accounts",
    "audit": "who did what",
    "budgets": "bound what parts of an account may spend",
    "limits": "bound how many requests and tokens parts of an account have",
    "presets": "save models, parameters and wishes under a name",
    "experiments": "split traffic into arms, and compare them",
    "routes": "try requests on a configuration, without sending them",
    "config": "check the configuration, or have it read again",
    "prices": "say what customers pay",
    "ledger": "prove the books",
    "usage": "what was used, and what it cost",
    "statements": "statements and invoices of an account's months",
    "receipts": "signed receipts of what was booked",
    "logs": "the newest requests of an account, and what was said in them",
    "alerts": "how the operator hears of what goes wrong",
    "sso": "signing in at an issuer of OpenID Connect",
    "bodies": "what accounts have kept of requests and answers",
    "local": "the small model on this machine",
}
"""What is said of the first words that have actions."""
