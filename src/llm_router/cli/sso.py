"""The commands on signing in at an issuer."""

from __future__ import annotations

import argparse

from llm_router.cli.output import note, print_json, print_table, printable, text_of
from llm_router.cli.own_keys import SECRET_BYTES_MAX
from llm_router.domain.errors import InvalidRequest


def set_issuer(arguments: argparse.Namespace) -> int:
    """The client's secret comes from standard input: an argument would stand in the shell's history."""
    from llm_router.cli.world import run_command

    values: dict[str, object] = {
        "issuer": arguments.issuer,
        "client_id": arguments.client_id,
        "roles": dict(map(_role, arguments.role)),
        "operators": arguments.operators,
        "domains": arguments.domain,
        "emails_verified": arguments.emails_verified,
    }
    for name in ("name", "scopes", "account", "groups_claim", "default_role"):
        value = getattr(arguments, name)
        if value is not None:
            values[name] = value
    if arguments.secret:
        values["secret"] = _read_secret()
    elif arguments.no_secret:
        values["secret"] = ""
    result = run_command(arguments, "sso.set", values)
    if arguments.json:
        print_json(result)
        return 0
    print(f"People can sign in at {printable(str(result['issuer']))} from now on.")
    note("Have it know the address PUBLIC_URL" + str(result["redirect_path"]))
    note("Whether it does all that is needed: llm-router sso test")
    return 0


def test(arguments: argparse.Namespace) -> int:
    """Ask the issuer; 1 if something is wrong."""
    from llm_router.cli.world import run_command

    values = {} if arguments.issuer is None else {"issuer": arguments.issuer}
    result = run_command(arguments, "sso.test", values)
    if arguments.json:
        print_json(result)
        return 0 if result["ok"] else 1
    rows = [
        (each["check"], "ok" if each["ok"] else "WRONG", printable(each["problem"] or each["found"] or "-"))
        for each in text_of(result)["checks"]
    ]
    print_table(("CHECK", "", "WHAT"), rows, frozenset())
    return 0 if result["ok"] else 1


def _role(text: str) -> tuple[str, str]:
    """
    Raises:
        InvalidRequest: it is not GROUP=ROLE.
    """
    group, _, role = text.rpartition("=")
    if not group or not role:
        raise InvalidRequest("--role must be GROUP=ROLE", param="role")
    return group, role


def _read_secret() -> str:
    """What the issuer gave the gateway; asked for, unseen, on a terminal."""
    import getpass
    import sys

    if sys.stdin.isatty():
        return getpass.getpass("Client secret: ")
    return sys.stdin.read(SECRET_BYTES_MAX).strip()
