"""The table ``[oidc]``: an issuer at which people sign in."""

from __future__ import annotations

from urllib.parse import urlsplit

from llm_router.domain.account import Role
from llm_router.engine.oidc import OidcRules
from llm_router.settings.payments import LOCAL_HOSTS, SecretReader
from llm_router.settings.problems import Problems
from llm_router.settings.result import OidcSettings
from llm_router.settings.schema import OidcTable


def oidc_settings(table: OidcTable, secrets: SecretReader, problems: Problems) -> OidcSettings | None:
    """None where no issuer is named."""
    if table.issuer is None:
        if table.client_id is not None:
            problems.add(("oidc", "issuer"), "is missing: client_id needs it")
        return None
    if table.client_id is None:
        problems.add(("oidc", "client_id"), "is missing: the issuer gives one to the gateway")
    found = urlsplit(table.issuer)
    if found.scheme != "https" and not (found.scheme == "http" and found.hostname in LOCAL_HOSTS):
        problems.add(("oidc", "issuer"), "must be https:// unless it is on this machine")
    if "openid" not in table.scopes.split():
        problems.add(("oidc", "scopes"), 'must name "openid"')
    rules = OidcRules(
        name=table.name,
        issuer=table.issuer,
        client_id=table.client_id or "",
        scopes=table.scopes,
        account=table.account,
        groups_claim=table.groups_claim,
        roles={group: Role(name) for group, name in table.roles.items()},
        default_role=None if table.default_role is None else Role(table.default_role),
        operators=table.operators,
        domains=tuple(each.strip().lower().removeprefix("@") for each in table.domains),
        emails_verified=table.emails_verified,
    )
    secret = table.client_secret
    return OidcSettings(
        rules=rules,
        client_secret=None if secret is None else secrets.secret(secret, ("oidc", "client_secret")),
    )
