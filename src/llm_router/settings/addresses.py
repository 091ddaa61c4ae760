"""Addresses of providers: what their operator names in them, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

import msgspec

from llm_router.domain.model import Parameter, Provider, Way
from llm_router.settings.problems import KeyPath, Problems, unknown
from llm_router.settings.schema import ProviderTable
from llm_router.settings.secrets import fill_placeholders

_NAMED = re.compile(r"\{([a-z][a-z0-9_]*)\}")


def parameter_names(provider: Provider) -> set[str]:
    """The names in braces of all its addresses."""
    urls = [provider.base_url, *(way.base_url for way in provider.also if way.base_url is not None)]
    return {name for url in urls for name in _NAMED.findall(url)}


def check_parameters(provider: Provider, table: ProviderTable, path: KeyPath, problems: Problems) -> None:
    """Report values for names that no address has, and names that nobody can give a value to."""
    known = {parameter.name for parameter in provider.parameters}
    named = parameter_names(provider)
    given = _table_of(table)
    for name, value in given.items():
        if name not in known | named:
            problems.add((*path, "parameters", name), unknown("parameter", name, known | named))
        elif not value.strip() or any(c <= " " or c > "~" or c in "\\?#@{}" for c in value.strip()):
            problems.add((*path, "parameters", name), "must be a word of an address, without spaces")
    for name in sorted(named - known - set(given)):
        problems.add((*path, "parameters", name), f"is missing: the address needs it for {{{name}}}")


def fill(
    provider: Provider, table: ProviderTable | None, environ: Mapping[str, str]
) -> tuple[Provider, tuple[str, ...]]:
    """The provider with whole addresses, and what the operator has to set for that, in words."""
    given = {name: text.strip().rstrip("/") for name, text in _table_of(table).items()}
    values = _values(provider.parameters, given, environ)
    base_url, missing = _filled(provider, provider.base_url, values, environ)
    ways: list[Way] = []
    for way in provider.also:
        if way.base_url is None:
            ways.append(way)
            continue
        url, lacking = _filled(provider, way.base_url, values, environ)
        if (
            not lacking or missing
        ):  # without its own address the provider is called nowhere but in the sandbox
            ways.append(msgspec.structs.replace(way, base_url=url))
    return msgspec.structs.replace(provider, base_url=base_url, also=tuple(ways)), missing


def _table_of(table: ProviderTable | None) -> Mapping[str, str]:
    return {} if table is None or table.parameters is None else table.parameters


def _values(
    parameters: Collection[Parameter], given: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    values = dict(given)
    for parameter in parameters:
        if parameter.name in values:
            continue
        if parameter.of is None:
            found = (environ.get(name, "").strip().rstrip("/") for name in parameter.env)
            value = next((text for text in found if text), parameter.default)
        else:
            base = values.get(parameter.of)
            default = (parameter.default or "").replace(f"{{{parameter.of}}}", base or "")
            value = None if base is None else parameter.cases.get(base, default)
        if value is not None:
            values[parameter.name] = value
    return values


def _filled(
    provider: Provider, url: str, values: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[str, tuple[str, ...]]:
    """The address, and what it lacks: variables by name, parameters with all the ways to set them."""
    url, lacking = fill_placeholders(url, environ)
    missing = list(lacking)
    for name in dict.fromkeys(_NAMED.findall(url)):
        if name in values:
            url = url.replace(f"{{{name}}}", values[name])
        else:
            missing += [_wanted(provider, name)]
    return url, tuple(dict.fromkeys(missing))


def _wanted(provider: Provider, name: str) -> str:
    known = {parameter.name: parameter for parameter in provider.parameters}
    parameter = known.get(name)
    while parameter is not None and parameter.of is not None:
        parameter = known.get(parameter.of)
    place = f"parameters.{parameter.name if parameter is not None else name} under [providers.{provider.id}]"
    if parameter is None or not parameter.env:
        return place
    return f"{' or '.join(parameter.env)} ({parameter.what}; or {place})"
