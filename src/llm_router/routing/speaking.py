"""Which of its dialects a provider is spoken to in: the client's own where that can take the request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

import msgspec

from llm_router.domain.model import Deployment, Provider, Way


class Spoken(NamedTuple):
    """A deployment as it is called: its provider with one way only, and the wire format there."""

    deployment: Deployment
    provider: Provider
    format: str


def serves(patterns: Sequence[str], *names: str) -> bool:
    """Whether glob patterns take an upstream model of any of these names; one that begins with ``!``
    excludes. None take all."""
    wanted = [pattern for pattern in patterns if not pattern.startswith("!")]
    if any(fnmatchcase(name, p[1:]) for p in patterns if p.startswith("!") for name in names):
        return False
    return not wanted or any(fnmatchcase(name, pattern) for pattern in wanted for name in names)


def speak(
    deployment: Deployment,
    provider: Provider,
    front: str,
    needs: frozenset[str],
    formats: Mapping[str, str] | None = None,
) -> Spoken | None:
    """Choose the way in which a provider is spoken to for a request; None if no way has the operation.

    Of the ways that serve the model, the deployment's own dialect decides if it names one; else the
    client's format ``front`` is taken where it is spoken and lacks nothing that the request needs; else
    one that draws such requests; else the provider's first. The provider comes back with that way's address, auth and quirks as its own.

    Args:
        formats: the wire format of the operation by dialect, where it is not the dialect itself.
    """
    first: Spoken | None = None
    drawn = False
    for way in _able(_ways(deployment, provider), deployment, needs):
        dialect = provider.dialect if way is None else way.dialect
        format_ = dialect if formats is None else formats.get(dialect)
        if format_ is None:
            continue
        fits = format_ == front and (way is None or not needs.intersection(way.lacks))
        draws = not drawn and way is not None and bool(needs.intersection(way.draws))
        if fits or draws or first is None:
            found = Spoken(*_called(deployment, provider, way), format_)
            if fits:
                return found
            first, drawn = found, draws
    return first


def _ways(deployment: Deployment, provider: Provider) -> list[Way | None]:
    """The ways that serve the deployment, the best first; None is the provider's first dialect."""
    named, names = deployment.dialect, deployment.names
    if named is not None:
        if named == provider.dialect:
            return [None]
        of_dialect = [way for way in provider.also if way.dialect == named]
        serving: list[Way | None] = [way for way in of_dialect if serves(way.serves, *names)]
        return serving or [of_dialect[0] if of_dialect else _unlisted(provider, named)]
    ways: list[Way | None] = [None] if serves(provider.serves, *names) else []
    ways += [way for way in provider.also if not way.named_only and serves(way.serves, *names)]
    return ways or [None]


def _able(ways: list[Way | None], deployment: Deployment, needs: frozenset[str]) -> list[Way | None]:
    """Without the provider's first dialect, where the model calls no tools in it but may in another."""
    if "tools" not in needs or not toolless(deployment):
        return ways
    return [way for way in ways if way is not None] or ways


def toolless(deployment: Deployment) -> bool:
    """Whether the deployment declares that it calls no tools in its provider's first dialect."""
    return deployment.capabilities is not None and not deployment.capabilities.tools


def _unlisted(provider: Provider, dialect: str) -> Way:
    """A dialect that only the deployment names: all is as for the provider's first."""
    return Way(
        dialect=dialect,
        placement=provider.placement,
        quirks=provider.quirks,
        takes_urls=provider.takes_urls,
        knows=provider.knows,
    )


def _called(deployment: Deployment, provider: Provider, way: Way | None) -> tuple[Deployment, Provider]:
    if way is None:
        return deployment, provider
    if deployment.capabilities is not None and toolless(deployment) and deployment.dialect is None:
        # That was said of the first dialect; this is another one.
        can = msgspec.structs.replace(deployment.capabilities, tools=True, parallel_tools=True)
        deployment = msgspec.structs.replace(deployment, capabilities=can)
    if way.upstream != "{model}":
        name = way.upstream.replace("{model}", deployment.upstream_model)
        deployment = msgspec.structs.replace(deployment, upstream_model=name)
    return deployment, as_only(provider, way)


def as_only(provider: Provider, way: Way) -> Provider:
    """The provider as if that way were its only one. Quirks and knowledge are the way's alone."""
    own_name = way.auth is not None or way.auth_name is not None
    return msgspec.structs.replace(
        provider,
        dialect=way.dialect,
        base_url=provider.base_url if way.base_url is None else way.base_url,
        placement=way.placement,
        auth=provider.auth if way.auth is None else way.auth,
        auth_name=way.auth_name if own_name else provider.auth_name,
        headers=provider.headers if way.headers is None else way.headers,
        query=provider.query if way.query is None else way.query,
        quirks=way.quirks,
        takes_urls=way.takes_urls,
        knows=way.knows,
        serves=way.serves,
        also=(),
    )
