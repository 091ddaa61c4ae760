"""The commands on vouchers and payments, and adjustments of credits by hand."""

from __future__ import annotations

import argparse

from llm_router.cli.output import note, print_json, print_table, printable, text_of


def create(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values = {
        "amount": arguments.amount,
        "count": arguments.count,
        "expires": arguments.expires,
        "note": arguments.note,
    }
    result = run_command(arguments, "vouchers.create", values)
    if arguments.json:
        print_json(result)
        return 0
    for made in text_of(result)["vouchers"]:
        print(made["code"])
    note(f"Each brings ${text_of(result)['amount']}. The codes are shown this once and stored nowhere.")
    return 0


def show(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "vouchers.list", {})
    if arguments.json:
        print_json(result)
        return 0
    rows = [
        (
            v["id"],
            f"${v['amount']}",
            v["status"],
            v["account"] or "-",
            v["created"][:10],
            "never" if v["expires"] is None else v["expires"][:10],
            printable(v["note"] or "-"),
        )
        for v in text_of(result)["vouchers"]
    ]
    if not rows:
        note("There is no voucher yet; make one: llm-router vouchers create --amount 10")
        return 0
    print_table(
        ("ID", "AMOUNT", "STATUS", "ACCOUNT", "CREATED", "EXPIRES", "NOTE"), rows, frozenset({"AMOUNT"})
    )
    return 0


def revoke(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "vouchers.revoke", {"id": arguments.id})
    if arguments.json:
        print_json(result)
    else:
        print(f"{result['id']} is withdrawn.")
    return 0


def redeem(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values = {"code": arguments.code, "account": arguments.account}
    result = run_command(arguments, "vouchers.redeem", values)
    if arguments.json:
        print_json(result)
    else:
        shown = text_of(result)
        print(
            f"${shown['amount']} added. The account {shown['account']} has ${shown['credits_remaining']} left."
        )
    return 0


def adjust(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values = {name: getattr(arguments, name) for name in ("amount", "account", "reason", "actor", "ref")}
    result = run_command(arguments, "credits.adjust", values)
    if arguments.json:
        print_json(result)
        return 0
    shown = text_of(result)
    if not shown["booked"]:
        note(f"Nothing was booked: the reference {shown['ref']} was booked already.")
    print(f"The account {shown['account']} has ${shown['credits_remaining']} left.")
    return 0


def show_payments(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    result = run_command(arguments, "payments.list", {"account": arguments.account})
    if arguments.json:
        print_json(result)
        return 0
    rows = [
        (
            p["id"],
            p["account"],
            p["via"],
            f"${p['amount']}",
            p["status"],
            f"${p['booked']}",
            f"${p['owed']}",
            p["created"][:16].replace("T", " "),
            printable(p["payment"] or "-"),
        )
        for p in text_of(result)["payments"]
    ]
    if not rows:
        note("Nothing was ordered yet.")
        return 0
    columns = ("ID", "ACCOUNT", "VIA", "AMOUNT", "STATUS", "BOOKED", "OWED", "CREATED", "PAYMENT")
    print_table(columns, rows, frozenset({"AMOUNT", "BOOKED", "OWED"}))
    return 0


def set_auto(arguments: argparse.Namespace) -> int:
    from llm_router.cli.world import run_command

    values = {name: getattr(arguments, name) for name in ("account", "threshold", "amount", "every", "off")}
    result = run_command(arguments, "credits.auto", values)
    if arguments.json:
        print_json(result)
        return 0
    auto = text_of(result)["auto_topup"]
    if auto is None:
        print(f"The account {result['account']} is not topped up by itself.")
    elif auto["enabled"]:
        print(
            f"Below ${auto['threshold']} the account {result['account']} is topped up by ${auto['amount']}."
        )
    else:
        print(
            f"The account {result['account']} is not topped up by itself any more: {printable(auto['disabled'])}"
        )
    return 0
