"""Commands on signing in at an issuer of OpenID Connect."""

from __future__ import annotations

from llm_router.cli.grammar import Command, Option, View

ROLES = ("owner", "admin", "developer", "billing", "viewer")

SSO = (
    Command(
        "sso show",
        "where people sign in at an issuer, and who decides that",
        operation="sso.show",
        view=View(
            "",
            (
                ("Source", "source"),
                ("Issuer", "issuer"),
                ("Client", "client_id"),
                ("Secret", "client_secret_set"),
                ("Button", "name"),
                ("Scopes", "scopes"),
                ("Account", "account"),
                ("Groups in", "groups_claim"),
                ("Roles", "roles"),
                ("Role of others", "default_role"),
                ("Operators", "operators"),
                ("Domains", "domains"),
                ("Addresses are verified", "emails_verified"),
                ("Changed", "changed"),
                ("Problem", "problem"),
            ),
            "",
        ),
    ),
    Command(
        "sso set",
        "have people sign in at an issuer from now on",
        run="sso:set_issuer",
        operation="sso.set",
        prints="prints what `sso show` prints",
        options=(
            Option("issuer", "its address, exactly as its tokens name it", metavar="URL"),
            Option("client_id", "what it knows the gateway by", metavar="CLIENT"),
            Option(
                "--secret",
                "the client's secret stands on standard input",
                more="The client's secret stands on standard input. Without it, the one of before stays for the same client of the same issuer.",
                action="store_true",
                apart="secret",
            ),
            Option("--no-secret", "it has none", action="store_true", apart="secret"),
            Option("--name", "what people read on the button (SSO)"),
            Option("--scopes", "what is asked for (openid email profile)"),
            Option("--account", "in which groups give roles (default)"),
            Option("--groups-claim", "of the token that lists groups (groups)", metavar="CLAIM"),
            Option(
                "--role", "of a group; may be repeated", metavar="GROUP=ROLE", action="append", default=[]
            ),
            Option(
                "--default-role",
                "of who is in none of them (nobody new is let in)",
                choices=ROLES,
                metavar="ROLE",
            ),
            Option(
                "--operators",
                "a group whose people run the gateway; may be repeated",
                metavar="GROUP",
                action="append",
                default=[],
            ),
            Option(
                "--domain",
                "e-mail addresses of it may sign in (any); may be repeated",
                metavar="DOMAIN",
                action="append",
                default=[],
            ),
            Option(
                "--emails-verified",
                "it has verified all addresses, though it does not say so",
                action="store_true",
            ),
        ),
    ),
    Command(
        "sso test",
        "ask an issuer whether one can sign in there",
        run="sso:test",
        operation="sso.test",
        prints="prints `ok`, `issuer`, `checks`",
        options=(Option("--issuer", "another one than that which holds", metavar="URL"),),
    ),
    Command(
        "sso remove",
        "forget the issuer that was set",
        operation="sso.remove",
        done="People do not sign in at that issuer any more. Sessions that they began go on.",
    ),
)
