"""The operator's commands on customers' own provider keys."""

from __future__ import annotations

from llm_router.domain.errors import InvalidRequest, NotFound
from llm_router.engine.intake import ERROR_SECRET_CHARS_MIN, SECRET_CHARS_MIN
from llm_router.engine.operator import DEFAULT_ACCOUNT, Arguments, Context, Result, account_name
from llm_router.engine.own_keys import OwnKeyVault


class SetOwnKey(Arguments, frozen=True, kw_only=True):
    """``byok.set``. ``fallback``: the gateway's keys may serve the account where its own does not."""

    provider: str
    secret: str
    account: str = DEFAULT_ACCOUNT
    fallback: bool = False

    def __repr__(self) -> str:
        return f"SetOwnKey(account={self.account!r}, provider={self.provider!r}, ***)"


class ListOwnKeys(Arguments, frozen=True, kw_only=True):
    """``byok.list``."""

    account: str | None = None


class RemoveOwnKey(Arguments, frozen=True, kw_only=True):
    """``byok.remove``."""

    provider: str
    account: str = DEFAULT_ACCOUNT


async def set_own_key(arguments: SetOwnKey, context: Context) -> Result:
    """Keep an account's own key at a provider. It is never shown again.

    Raises:
        NotFound: there is no such provider.
        InvalidRequest: it is no key for it.
    """
    account = account_name(arguments.account)
    provider = context.snapshot().providers.get(arguments.provider)
    if provider is None:
        raise NotFound(f"there is no provider '{arguments.provider[:100]}'", param="provider")
    await _vault(context).set(account, provider, arguments.secret, fallback=arguments.fallback)
    result: Result = {
        "account": account,
        "provider": provider.id,
        "fallback": arguments.fallback,
        "set": True,
    }
    warnings = []
    if not await context.keyring.of_account(account, "", 1):
        warnings.append(f"the account '{account}' has no API key yet; llm-router keys list shows who has")
    if 0 < len(arguments.secret.strip()) < SECRET_CHARS_MIN:
        warnings.append(
            f"the key is short: if the provider repeats it, it is taken out of answers from {SECRET_CHARS_MIN} "
            f"characters on, of errors from {ERROR_SECRET_CHARS_MIN}"
        )
    if warnings:
        result["warnings"] = warnings
    return result


async def list_own_keys(arguments: ListOwnKeys, context: Context) -> Result:
    """Which accounts have keys of their own, and where; without the keys."""
    account = None if arguments.account is None else account_name(arguments.account)
    return {"byok": await _vault(context).listed(account)}


async def remove_own_key(arguments: RemoveOwnKey, context: Context) -> Result:
    """Delete a key.

    Raises:
        NotFound: there is none.
    """
    account = account_name(arguments.account)
    await _vault(context).remove(account, arguments.provider)
    return {"account": account, "provider": arguments.provider, "removed": True}


def _vault(context: Context) -> OwnKeyVault:
    vault = None if context.treasury is None else context.treasury.own_keys
    if vault is None:
        raise InvalidRequest("this gateway keeps no provider keys of accounts", code="not_supported")
    return vault
