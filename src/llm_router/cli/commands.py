"""What each command does, and the one place where failures become words."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import msgspec

from llm_router.cli.output import UNREADABLE, note, print_error, print_json
from llm_router.domain.errors import RouterError

FAILURE, USAGE, INTERRUPTED = 1, 2, 130


def run(arguments: argparse.Namespace) -> int:
    """Run a parsed command; explain its failure, if it fails, in one line that says what to do."""
    as_json = getattr(arguments, "json", False)
    try:
        return _command(arguments)(arguments)
    except RouterError as error:
        print_error(error.code, error.message, error.details, as_json=as_json)
        if error.code == UNREADABLE:
            return USAGE
    except BrokenPipeError:
        raise  # whoever read the output is gone: there is nobody to explain it to
    except OSError as error:
        print_error("system_error", _say_system_error(error), as_json=as_json)
    except KeyboardInterrupt:
        return INTERRUPTED
    return FAILURE


def _command(arguments: argparse.Namespace) -> Callable[[argparse.Namespace], int]:
    match (arguments.command, getattr(arguments, "action", None)):
        case ("serve", _):
            from llm_router.cli.serve import serve

            return serve
        case ("sandbox", _):
            from llm_router.cli.serve import sandbox

            return sandbox
        case ("local", _):
            from llm_router.cli.serve import pull_local

            return pull_local
        case ("conformance", _):
            from llm_router.cli.conformance import conformance

            return conformance
        case ("print-config", _):
            from llm_router.cli.print_config import print_config

            return print_config
        case ("eval-router" | "calibrate-router" as name, _):
            from llm_router.cli import auto_router

            return auto_router.eval_router if name == "eval-router" else auto_router.calibrate_router
        case ("models", _):
            from llm_router.cli.models import list_models

            return list_models
        case ("deployments", _):
            from llm_router.cli.deployments import list_deployments

            return list_deployments
        case ("explain", _):
            from llm_router.cli.explain import explain

            return explain
        case ("routes", _):
            from llm_router.cli.routes import try_routes

            return try_routes
        case ("config", "check"):
            from llm_router.cli.config import check

            return check
        case ("forget", _):
            return forget
        case ("prices", action):
            from llm_router.cli import prices

            return {
                "publish": prices.publish_prices,
                "list": prices.list_prices,
            }.get(str(action), prices.show_prices)
        case ("ledger", "verify"):
            from llm_router.cli.ledger import verify_ledger

            return verify_ledger
        case ("ledger", "orphans"):
            from llm_router.cli.orphans import list_orphans

            return list_orphans
        case ("reconcile", _):
            from llm_router.cli.reconcile import reconcile

            return reconcile
        case ("statements", action):
            from llm_router.cli import statements

            return {
                "show": statements.show,
                "export": statements.export,
                "issue": statements.issue,
                "list": statements.list_issued,
            }[str(action)]
        case ("usage", action):
            from llm_router.cli import usage

            return usage.export if action == "export" else usage.show
        case ("receipts", action):
            from llm_router.cli import receipts

            return {"export": receipts.export, "keys": receipts.show_keys, "rotate": receipts.rotate}[
                str(action)
            ]
        case ("migrate", _):
            from llm_router.cli.migrate import migrate

            return migrate
        case ("experiments", action):
            from llm_router.cli import experiments

            return experiments.ACTIONS[str(action)]
        case ("presets", action):
            from llm_router.cli import presets

            return presets.ACTIONS[str(action)]
        case ("limits", action):
            from llm_router.cli import limits

            return {"set": limits.set_limit, "list": limits.list_limits, "remove": limits.remove_limit}[
                str(action)
            ]
        case ("budgets", action):
            from llm_router.cli import budgets

            return {"set": budgets.set_budget, "list": budgets.list_budgets, "remove": budgets.remove_budget}[
                str(action)
            ]
        case ("vouchers", action):
            from llm_router.cli import vouchers

            return {
                "create": vouchers.create,
                "list": vouchers.show,
                "revoke": vouchers.revoke,
                "redeem": vouchers.redeem,
            }[str(action)]
        case ("people", action):
            from llm_router.cli import people

            return {"list": people.show, "set-up": people.set_up, "reset": people.reset}[str(action)]
        case ("byok", action):
            from llm_router.cli import own_keys

            return {"set": own_keys.set_key, "list": own_keys.list_keys, "remove": own_keys.remove_key}[
                str(action)
            ]
        case ("payments", _):
            from llm_router.cli import vouchers

            return vouchers.show_payments
        case ("credits", "auto"):
            from llm_router.cli import vouchers

            return vouchers.set_auto
        case ("credits", "adjust"):
            from llm_router.cli import vouchers

            return vouchers.adjust
        case (command, action):
            return _OPERATIONS[str(command), str(action)]


def _say_system_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


def create_key(arguments: argparse.Namespace) -> int:
    """The key alone on standard output, so that a script can take it; the rest beside it."""
    from llm_router.cli.world import run_command

    models = None
    if arguments.models is not None:
        models = [name.strip() for name in arguments.models.split(",") if name.strip()]
    made = run_command(
        arguments,
        "keys.create",
        {
            "name": arguments.name,
            "account": arguments.account,
            "team": arguments.team,
            "user": arguments.user,
            "expires": arguments.expires,
            "models": models,
            "requests_per_minute": arguments.rpm,
            "tokens_per_minute": arguments.tpm,
            "concurrency": arguments.concurrency,
            "usage_chunk": not arguments.no_usage_chunk,
            "strict": arguments.strict,
            "priority": "batch" if arguments.batch else "interactive",
        },
    )
    if arguments.json:
        print_json(made)
        return 0
    print(made["key"])
    note(f'{made["id"]} "{made["name"]}" spends from the account {made["account"]}: {_dollars(made)} left.')
    if made["expires"] is not None:
        note(f"It expires at {made['expires']}.")
    note("It is shown this once; only its hash is stored.")
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    from llm_router.cli.output import print_table
    from llm_router.cli.world import run_command

    result = run_command(arguments, "keys.list", {})
    keys = result["keys"]
    assert isinstance(keys, list), "the command's own result"
    if arguments.json:
        print_json(result)
    elif not keys:
        note("There is no key yet; make one: llm-router keys create --name NAME")
    else:
        columns = ("ID", "NAME", "KEY", "ACCOUNT", "STATUS", "CREATED", "EXPIRES", "MODELS", "LIMITS")
        print_table(columns, [_key_row(key) for key in keys])
    return 0


def _key_row(key: dict[str, object]) -> tuple[str, ...]:
    models, limits = key["models"], key["limits"]
    assert isinstance(limits, dict), "the command's own result"
    short = {"requests_per_minute": "rpm", "tokens_per_minute": "tpm", "concurrency": "at once"}
    return (
        str(key["id"]),
        str(key["name"]),
        f"{key['prefix']}...",
        str(key["account"]),
        str(key["status"]),
        str(key["created"])[:10],
        "never" if key["expires"] is None else str(key["expires"])[:16].replace("T", " "),
        ", ".join(models) if isinstance(models, list) else "all",
        ", ".join(f"{limits[name]} {word}" for name, word in short.items() if limits[name] is not None)
        or "-",
    )


def revoke_key(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "keys.revoke", {"id": arguments.id})
    if arguments.json:
        print_json(result)
    else:
        print(f'{result["id"]} "{result["name"]}" is revoked.')
    return 0


def add_credits(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values = {"amount": arguments.amount, "account": arguments.account, "ref": arguments.ref}
    if arguments.reason is not None:
        values["reason"] = arguments.reason
    result = run_command(arguments, "credits.add", values)
    if arguments.json:
        print_json(result)
        return 0
    if result.get("booked") is False:
        note(f"Nothing was added: the reference {result['ref']} was booked already.")
    print(f"The account {result['account']} has {_dollars(result)} left.")
    _note_debt(result)
    warnings = result.get("warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        note(f"Note: {warning}")
    return 0


def show_credits(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "credits.show", {"account": arguments.account})
    if arguments.json:
        print_json(result)
    else:
        print(f"The account {result['account']} has {_dollars(result)} left.")
        _note_debt(result)
    return 0


def forget(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "forget", {"account": arguments.account})
    if arguments.json:
        print_json(result)
    else:
        print(f"The state of earlier turns that was kept for {result['account']} is deleted.")
    return 0


def reload_config(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "config.reload", {})
    if arguments.json:
        print_json(result)
        return 0
    print("The gateway works with the new configuration.")
    warnings = result.get("warnings")
    for warning in warnings if isinstance(warnings, list) else ():
        note(f"Warning: {warning}")
    return 0


def _note_debt(result: dict[str, object]) -> None:
    if "owed" in result:
        note(
            f"It owes {_dollars(result, 'owed')} of payments that were taken back, and is blocked until that is paid: "
            "what is added pays it first, within seconds."
        )


def _dollars(result: dict[str, object], name: str = "credits_remaining") -> str:
    """An amount of a result for people: exact, with cents at least."""
    amount = result[name]
    text = bytes(amount).decode() if isinstance(amount, msgspec.Raw) else str(amount)
    whole, _, part = text.partition(".")
    return f"${whole}.{part.ljust(2, '0')}"


_OPERATIONS: dict[tuple[str, str], Callable[[argparse.Namespace], int]] = {
    ("keys", "create"): create_key,
    ("keys", "list"): list_keys,
    ("keys", "revoke"): revoke_key,
    ("credits", "add"): add_credits,
    ("credits", "show"): show_credits,
    ("config", "reload"): reload_config,
}
