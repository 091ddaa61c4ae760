"""The operator's commands by name. The same whether a gateway runs or not.

A running gateway answers them through its control socket, the command line by itself when none
runs; both call :func:`dispatch`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import msgspec

from llm_router.catalog.listing import models_page
from llm_router.domain.account import COMMAND_LINE, Actor, Intent
from llm_router.domain.errors import InvalidRequest, LedgerUnavailable, RouterError
from llm_router.engine import (
    alerting,
    bodying,
    budgeting,
    credits,
    experimenting,
    explanation,
    gateway_keys,
    housekeeping,
    key_changes,
    keys,
    limiting,
    looking,
    own_keying,
    presets,
    price_history,
    pricing,
    receipting,
    reconciling,
    rehearsing,
    sso,
    standings,
    stating,
    topping,
    under_way,
    using,
    visiting,
    vouching,
)
from llm_router.engine.auditing import act_begun, act_of, is_read, state_before
from llm_router.engine.operator import Arguments, Context, Nothing, Result, read


async def dispatch(
    command: str, arguments: Mapping[str, object], context: Context, by: Actor = COMMAND_LINE
) -> Result:
    """Run a command by its name. What changes something stands in the audit log when this returns, and in the
    directory as an intent from before it is done: a crash between the two leaves a trace, which is logged later.

    Raises:
        InvalidRequest: there is no such command, or its arguments are wrong.
        RouterError: what the command itself raises.
    """
    found = OPERATIONS.get(command)
    if found is None:
        raise InvalidRequest(f"this gateway knows no command '{command[:100]}'; is it of another version?")
    kind, run = found
    wanted = read(kind, arguments)
    context = msgspec.structs.replace(context, by=by)
    if context.directory is None or is_read(command):
        return await run(wanted, context)
    before, now_ms = await state_before(command, arguments, context, OPERATIONS), context.clock.now_ms()
    intent = Intent(id=context.new_id("int"), act=act_begun(command, arguments, before, by, now_ms))
    if not await context.directory.write([intent], [], []):
        raise LedgerUnavailable("The audit log cannot be written. Try again shortly.", retry_after_s=5)
    place = [("intent", intent.id)]
    try:
        result = await run(wanted, context)
    except LedgerUnavailable:
        raise  # whether it was done is not known: the intent stays, and says so
    except RouterError:
        with suppress(LedgerUnavailable):
            await context.directory.write([], place, [])
        raise
    act = act_of(command, arguments, before, result, by, context.clock.now_ms())
    with suppress(
        LedgerUnavailable
    ):  # it is done, and who asked needs the answer; the intent stays and is logged
        if not await context.directory.write([], place, [act]):
            await context.directory.write([], [], [act])  # it took so long that it was logged as not known
    return result


Operate = Callable[[str, bytes, Actor], Awaitable[bytes]]
"""Runs a command with arguments in JSON, wherever the stores are; its result is JSON.

Raises:
    RouterError: what the command raises.
"""


async def operated(command: str, arguments: bytes, by: Actor, context: Context) -> bytes:
    """Run a command whose arguments are JSON; return the JSON of its result, amounts exact."""
    values: dict[str, object] = msgspec.json.decode(arguments)
    return msgspec.json.encode(await dispatch(command, values, context, by))


async def list_models(arguments: Nothing, context: Context) -> Result:
    """The body of ``GET /v1/models``."""
    return models_page(context.snapshot(), context.active(), context.configured().successors)


async def reload_config(arguments: Nothing, context: Context) -> Result:
    """Have the running gateway read its configuration again.

    Raises:
        InvalidRequest: no gateway runs, or the configuration has problems (the old one stays).
    """
    if context.reload is None:
        raise InvalidRequest(
            "no gateway runs on this data folder; it reads its configuration when it starts",
            code="not_running",
        )
    return dict(await context.reload())


# A command's function takes the arguments of the kind beside it.
OPERATIONS: dict[str, tuple[type[Arguments], Callable[[Any, Context], Awaitable[Result]]]] = {
    "keys.create": (keys.CreateKey, keys.create_key),
    "keys.list": (keys.ListKeys, keys.list_keys),
    "keys.show": (keys.NamedKey, keys.show_key),
    "keys.change": (key_changes.ChangeKey, key_changes.change_key),
    "keys.rotate": (key_changes.RotateKey, key_changes.rotate_key),
    "keys.revoke": (keys.RevokeKey, keys.revoke_key),
    "people.list": (Nothing, visiting.list_people),
    "people.set_up": (Nothing, visiting.setup_link),
    "people.reset": (visiting.ResetPassword, visiting.reset_link),
    "accounts.list": (Nothing, housekeeping.list_accounts),
    "accounts.create": (housekeeping.MakeAccount, housekeeping.create_account),
    "accounts.change": (housekeeping.ChangeAccount, housekeeping.change_account),
    "members.list": (housekeeping.OfAccount, housekeeping.list_members),
    "members.change": (housekeeping.ChangeMember, housekeeping.change_member),
    "members.remove": (housekeeping.NamedMember, housekeeping.remove_member),
    "members.invite": (housekeeping.Invite, housekeeping.invite),
    "invitations.list": (housekeeping.OfAccount, housekeeping.list_invitations),
    "invitations.remove": (housekeeping.NamedRow, housekeeping.remove_invitation),
    "teams.list": (housekeeping.OfAccount, housekeeping.list_teams),
    "teams.create": (housekeeping.MakeTeam, housekeeping.create_team),
    "teams.remove": (housekeeping.NamedRow, housekeeping.remove_team),
    "people.change": (housekeeping.ChangePerson, housekeeping.change_person),
    "settings.show": (Nothing, housekeeping.show_settings),
    "settings.change": (housekeeping.ChangeSettings, housekeeping.change_settings),
    "audit.list": (housekeeping.ListActs, housekeeping.list_acts),
    "audit.check": (Nothing, housekeeping.check_acts),
    "credits.add": (credits.AddCredits, credits.add_credits),
    "credits.show": (credits.ShowCredits, credits.show_credits),
    "credits.adjust": (vouching.Adjust, vouching.adjust),
    "vouchers.create": (vouching.CreateVouchers, vouching.create_vouchers),
    "vouchers.list": (Nothing, vouching.list_vouchers),
    "vouchers.revoke": (vouching.RevokeVoucher, vouching.revoke_voucher),
    "vouchers.redeem": (vouching.RedeemVoucher, vouching.redeem_voucher),
    "byok.set": (own_keying.SetOwnKey, own_keying.set_own_key),
    "byok.list": (own_keying.ListOwnKeys, own_keying.list_own_keys),
    "byok.remove": (own_keying.RemoveOwnKey, own_keying.remove_own_key),
    "credits.auto": (topping.SetAuto, topping.set_auto),
    "payments.list": (vouching.ListPayments, vouching.list_payments),
    "providers.list": (gateway_keys.ListProviders, gateway_keys.list_providers),
    "providers.set_key": (gateway_keys.SetProviderKey, gateway_keys.set_provider_key),
    "providers.remove_key": (gateway_keys.RemoveProviderKey, gateway_keys.remove_provider_key),
    "budgets.set": (budgeting.SetBudget, budgeting.set_budget),
    "budgets.list": (budgeting.ListBudgets, budgeting.list_budgets),
    "budgets.remove": (budgeting.RemoveBudget, budgeting.remove_budget),
    "presets.create": (presets.CreatePreset, presets.create_preset),
    "presets.list": (Nothing, presets.list_presets),
    "presets.show": (presets.NamedPreset, presets.show_preset),
    "presets.versions": (presets.NamedPreset, presets.preset_versions),
    "presets.delete": (presets.NamedPreset, presets.delete_preset),
    "experiments.create": (experimenting.CreateExperiment, experimenting.create_experiment),
    "experiments.list": (Nothing, experimenting.list_experiments),
    "experiments.show": (experimenting.NamedExperiment, experimenting.show_experiment),
    "experiments.stop": (experimenting.NamedExperiment, experimenting.stop_experiment),
    "experiments.report": (experimenting.NamedExperiment, experimenting.report_experiment),
    "limits.set": (limiting.SetLimit, limiting.set_limit),
    "limits.list": (limiting.ListLimits, limiting.list_limits),
    "limits.remove": (limiting.RemoveLimit, limiting.remove_limit),
    "prices.publish": (pricing.PublishPrices, pricing.publish_prices),
    "prices.list": (Nothing, pricing.list_prices),
    "prices.show": (pricing.ShowPrices, pricing.show_prices),
    "prices.history": (price_history.ShowHistory, price_history.show_history),
    "receipts.export": (receipting.ExportReceipts, receipting.export_receipts),
    "receipts.keys": (Nothing, receipting.receipt_keys),
    "receipts.rotate": (Nothing, receipting.rotate_keys),
    "exchanges.list": (looking.ListExchanges, looking.list_exchanges),
    "requests.list": (under_way.ListUnderWay, under_way.list_under_way),
    "requests.end": (under_way.EndOne, under_way.end_one),
    "usage.show": (using.ShowUsage, using.show_usage),
    "usage.export": (using.ExportUsage, using.export_usage),
    "statements.show": (stating.ShowStatement, stating.show_statement),
    "statements.issue": (stating.IssueStatements, stating.issue_statements),
    "statements.list": (stating.ListStatements, stating.list_statements),
    "reconcile.attempts": (reconciling.ListAttempts, reconciling.list_attempts),
    "alerts.list": (Nothing, alerting.list_alerts),
    "alerts.show": (alerting.NamedAlert, alerting.show_alert),
    "alerts.add": (alerting.AddAlert, alerting.add_alert),
    "alerts.change": (alerting.ChangeAlert, alerting.change_alert),
    "alerts.remove": (alerting.NamedAlert, alerting.remove_alert),
    "alerts.try": (alerting.NamedAlert, alerting.try_alert),
    "routes.rehearse": (rehearsing.RehearseRoutes, rehearsing.rehearse_routes),
    "sso.show": (Nothing, sso.show_sso),
    "sso.set": (sso.SetSso, sso.set_sso),
    "sso.remove": (Nothing, sso.remove_sso),
    "sso.test": (sso.TestSso, sso.test_sso),
    "bodies.show": (bodying.ShowBodies, bodying.show_bodies),
    "bodies.set": (bodying.SetBodies, bodying.set_bodies),
    "bodies.unset": (bodying.UnsetBodies, bodying.unset_bodies),
    "bodies.read": (bodying.ReadBody, bodying.read_body),
    "bodies.delete": (bodying.DeleteBodies, bodying.delete_bodies),
    "bodies.rotate": (bodying.RotateBodies, bodying.rotate_bodies),
    "explain": (explanation.Explain, explanation.explain),
    "forget": (credits.Forget, credits.forget),
    "models": (Nothing, list_models),
    "deployments": (standings.ListDeployments, standings.list_deployments),
    "config.reload": (Nothing, reload_config),
}
