"""Providers of the file over those of the catalogue."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping
from urllib.parse import urlsplit

import msgspec

from llm_router.domain.model import Provider, Quirk, Way
from llm_router.settings.addresses import check_parameters
from llm_router.settings.check import json_value
from llm_router.settings.prices import read_tools
from llm_router.settings.problems import KeyPath, Problems, dotted, nearest, unknown
from llm_router.settings.schema import ProviderTable, QuirkTable, WayTable
from llm_router.wire.placement import PLACEMENTS

_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_PLACEHOLDER = re.compile(r"\{env:[A-Za-z_][A-Za-z0-9_]*\}")
_PATH = re.compile(r"^(?:[a-z]+://)?[^/]*")
"""Of an address, all before its path."""

_VALUE = re.compile(r"[ -~]*")
_CREDENTIALS = frozenset(
    {"authorization", "proxy-authorization", "cookie", "x-api-key", "api-key", "x-goog-api-key"}
)
_RESERVED = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "upgrade", "te", "trailer"}
)
URLS_TAKEN = {
    "openai_chat": ("image", "audio", "video", "file"),
    "openai_responses": ("image", "file"),
    "anthropic_messages": ("image", "file"),
}
"""Media whose URLs the API of a dialect takes, for a provider that is not known: its own word is the
truth. Of the others the gateway fetches the bytes."""

_NEEDS = {
    "rename": {"to"},
    "move": {"to"},
    "set": {"value"},
    "default": {"value"},
    "replace": {"value"},
    "limit": {"max"},
}
"""What a quirk must say beside its field, by its edit."""

_DIRECT = (
    "name", "dialect", "placement", "auth", "auth_name", "key_required", "headers", "query", "takes_urls",
    "knows", "serves", "bills_abandoned",
    "data_collection", "zero_retention", "regions",
)  # fmt: skip


def merge_providers(
    tables: Mapping[str, ProviderTable],
    known: Mapping[str, Provider],
    dialects: Collection[str],
    problems: Problems,
) -> dict[str, Provider]:
    """All providers by id: the known ones with their changes, then the file's own."""
    merged = dict(known)
    for id_, table in tables.items():
        path: KeyPath = ("providers", id_)
        base = _base(id_, table, known, path, problems)
        if base is None:
            continue
        _check(table, dialects, path, problems)
        provider = _apply(base, table, path, problems)
        _check_auth(provider, table, path, problems)
        _check_placement(provider.placement, provider.dialect, (*path, "placement"), problems)
        check_parameters(provider, table, path, problems)
        merged[id_] = provider
    return merged


def _base(
    id_: str, table: ProviderTable, known: Mapping[str, Provider], path: KeyPath, problems: Problems
) -> Provider | None:
    """What the table changes: the known provider, the one it extends, or a blank."""
    if id_ in known:
        if table.extends is not None:
            problems.add((*path, "extends"), f"{id_} is known already; leave this key out to change it")
        return known[id_]
    if not _ID.fullmatch(id_):
        problems.add(path, "a provider's id consists of lower-case letters, digits and . _ -")
        return None
    extended = known.get(table.extends) if table.extends is not None else None
    as_extended = extended is not None and bool(table.parameters) and bool(extended.parameters)
    if table.base_url is None and not as_extended and not problems.touch(*path, "base_url"):
        # A single key under a misspelt id is the usual way here, so name the id that was meant.
        problems.add(
            (*path, "base_url"), f"is missing for a provider that is not known ({nearest(id_, known)})"
        )
    blank = Provider(
        id=id_, name=id_, base_url="", takes_urls=URLS_TAKEN.get(table.dialect or "openai_chat", ())
    )
    if table.extends is None:
        return blank
    if table.extends not in known:
        problems.add((*path, "extends"), unknown("provider", table.extends, known))
        return blank
    # Neither its name nor the variables of its key: that key belongs to its own address alone. Nor its
    # address, but where that has parameters and the file names others.
    return msgspec.structs.replace(
        known[table.extends],
        id=id_,
        name=id_,
        base_url=known[table.extends].base_url if as_extended else "",
        also=known[table.extends].also if as_extended else (),
        parameters=tuple(
            msgspec.structs.replace(parameter, env=()) for parameter in known[table.extends].parameters
        ),
        env=(),
        docs_url=None,
        developer=None,
        key_required=True,
    )


def _apply(base: Provider, table: ProviderTable, path: KeyPath, problems: Problems) -> Provider:
    changes = {name: getattr(table, name) for name in _DIRECT if getattr(table, name) is not None}
    if table.base_url is not None:
        changes["base_url"] = table.base_url.rstrip("/")
    if table.headers is not None:
        changes["headers"] = {name.lower(): value for name, value in table.headers.items()}
    if table.auth in ("bearer", "sigv4", "google", "none"):
        changes["auth_name"] = table.auth_name
    if table.auth == "none" and table.key_required is None:
        changes["key_required"] = False
    if table.dialect is not None and table.dialect != base.dialect and table.placement is None:
        changes["placement"] = None
    if table.also is not None:
        changes["also"] = tuple(
            _way(way, place, problems) for place, way in problems.numbered((*path, "also"), table.also)
        )
    elif table.dialect not in (None, base.dialect):
        changes["also"] = ()  # what is spoken there is said anew
    elif table.base_url is not None:
        changes["also"] = _moved_ways(base, changes["base_url"], path, problems)
    if table.tools:
        changes["tools"] = {**base.tools, **read_tools(table.tools, (*path, "tools"), problems)}
    numbered = problems.numbered((*path, "quirks"), table.quirks)
    quirks = [read_quirk(quirk, place, problems) for place, quirk in numbered]
    changes["quirks"] = (*base.quirks, *quirks)
    return msgspec.structs.replace(base, **changes)


def _moved_ways(base: Provider, base_url: str, path: KeyPath, problems: Problems) -> tuple[Way, ...]:
    """The further dialects of a known provider whose address is another one now: what stands before it
    (a proxy, a region of its own) speaks them as the provider does, each at the place it has there."""
    ways: list[Way] = []
    for way in base.also:
        url = None if way.base_url is None else _moved(way.base_url, base.base_url, base_url)
        if way.base_url is None or url is not None:
            ways.append(msgspec.structs.replace(way, base_url=url))
        else:
            problems.warn(
                f"{dotted(path)}: {way.dialect} is not spoken there any more, since its address does not "
                f"follow from this base_url; write [[{dotted((*path, 'also'))}]] with it, or also = []"
            )
    return tuple(ways)


def _moved(url: str, old: str, new: str) -> str | None:
    """An address beside ``old`` as it is beside ``new``; None if nothing tells."""
    if url == old or url.startswith(f"{old}/"):
        return new + url.removeprefix(old)
    old_path, new_path = _PATH.sub("", old), _PATH.sub("", new)
    root = old.removesuffix(old_path)
    if not new_path.endswith(old_path) or not (url == root or url.startswith(f"{root}/")):
        return None
    return new.removesuffix(old_path) + url.removeprefix(root)


def _way(table: WayTable, path: KeyPath, problems: Problems) -> Way:
    """A further dialect of the file's."""
    _check_placement(table.placement, table.dialect, (*path, "placement"), problems)
    if table.base_url is not None and (wrong := wrong_base_url(table.base_url)):
        problems.add((*path, "base_url"), wrong)
    if table.auth in ("header", "query") and table.auth_name is None:
        problems.add((*path, "auth_name"), f'is missing: auth = "{table.auth}" needs its name')
    quirks = problems.numbered((*path, "quirks"), table.quirks)
    taken = URLS_TAKEN.get(table.dialect, ()) if table.takes_urls is None else table.takes_urls
    return Way(
        dialect=table.dialect,
        base_url=None if table.base_url is None else table.base_url.rstrip("/"),
        placement=table.placement,
        auth=table.auth,
        auth_name=table.auth_name,
        serves=table.serves,
        takes_urls=taken,
        knows=table.knows,
        quirks=tuple(read_quirk(quirk, place, problems) for place, quirk in quirks),
    )


def _check_placement(name: str | None, dialect: str, path: KeyPath, problems: Problems) -> None:
    if name is None:
        return
    place = PLACEMENTS.get(name)
    if place is None:
        problems.add(path, unknown("placement", name, PLACEMENTS))
    elif dialect not in place.dialects:
        problems.add(path, f"belongs to the dialect {' or '.join(place.dialects)}, not to {dialect}")


def _check(table: ProviderTable, dialects: Collection[str], path: KeyPath, problems: Problems) -> None:
    if table.dialect is not None and table.dialect not in dialects:
        problems.add((*path, "dialect"), unknown("dialect", table.dialect, dialects))
    for place, way in problems.numbered((*path, "also"), table.also or ()):
        if way.dialect not in dialects:
            problems.add((*place, "dialect"), unknown("dialect", way.dialect, dialects))
    if table.base_url is not None and (wrong := wrong_base_url(table.base_url)):
        problems.add((*path, "base_url"), wrong)
    if table.price is not None and table.price != 0:
        problems.add((*path, "price"), "may only be 0 (its models are free); a price stands at a model")
    for name, value in (table.headers or {}).items():
        if wrong := _wrong_header(name, value):
            problems.add((*path, "headers", name), wrong)


def wrong_base_url(url: str) -> str | None:
    """What is wrong with a base URL; None if nothing is. ``{env:NAME}`` may stand in it."""
    if any(c <= " " or c > "~" or c == "\\" for c in url):
        return "must hold no spaces and only ASCII characters"
    try:
        parts = urlsplit(_PLACEHOLDER.sub("env", url))
        port = parts.port
    except ValueError:
        return "is not a URL"
    if url.startswith("{env:"):
        return None
    if parts.scheme not in ("http", "https"):
        return 'must begin with "https://" or "http://"'
    if parts.username is not None or parts.password is not None:
        return 'must hold no user name or password; use key = "env:NAME"'
    if parts.query or parts.fragment or "?" in url or "#" in url:
        return "must end with its path: no query or fragment"
    if port == 0:
        return "has a port that does not exist"
    return None if parts.hostname else "names no host"


def in_the_open(url: str) -> bool:
    """Whether credentials sent to that URL cross a network unencrypted."""
    parts = urlsplit(url)
    if parts.scheme != "http":
        return False
    host = parts.hostname or ""
    if host == "localhost" or ("." not in host and ":" not in host):
        return False  # this machine, or a name of a container network
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    return not (address.is_loopback or address.is_private)


def _wrong_header(name: str, value: str) -> str | None:
    lower = name.lower()
    if not _TOKEN.fullmatch(name):
        return "is not the name of a header"
    if lower in _CREDENTIALS:
        return 'holds a credential: write it as key = "env:NAME", with auth = "header" and auth_name'
    if lower in _RESERVED:
        return "is set by the gateway itself"
    if not _VALUE.fullmatch(value):
        return "must be one line of ASCII characters"
    return None


def _check_auth(provider: Provider, table: ProviderTable, path: KeyPath, problems: Problems) -> None:
    named = provider.auth in ("header", "query")
    if named and provider.auth_name is None and not problems.touch(*path, "auth_name"):
        problems.add((*path, "auth_name"), f'is missing: auth = "{provider.auth}" needs its name')
    if table.auth_name is not None and not named and provider.auth != "sigv4":
        problems.add((*path, "auth_name"), f'has no meaning with auth = "{provider.auth}"')
    if named and provider.auth_name is not None and not _TOKEN.fullmatch(provider.auth_name):
        problems.add((*path, "auth_name"), "is not a name of a header or query parameter")
    if provider.auth == "sigv4" and provider.auth_name is not None and not _ID.fullmatch(provider.auth_name):
        problems.add((*path, "auth_name"), 'is not a region such as "us-east-1"')
    if provider.auth == "none" and table.key is not None:
        problems.add((*path, "key"), 'has no meaning with auth = "none"')
    _check_keys(provider, table, path, problems)
    if provider.auth == "none" and table.key_required:
        problems.add((*path, "key_required"), 'cannot be true with auth = "none"')


def _check_keys(provider: Provider, table: ProviderTable, path: KeyPath, problems: Problems) -> None:
    if table.keys and provider.auth == "none":
        problems.add((*path, "keys"), 'has no meaning with auth = "none"')
    if table.keys and table.key is not None:
        problems.add((*path, "keys"), "stands beside key; write all of them in keys")
    if len(set(table.keys)) < len(table.keys):
        problems.add((*path, "keys"), "names a key twice")
    if table.key_weights and len(table.key_weights) != len(table.keys):
        problems.add((*path, "key_weights"), f"must have as many numbers as keys ({len(table.keys)})")


def read_quirk(table: QuirkTable, path: KeyPath, problems: Problems) -> Quirk:
    """The quirk; what does not belong to its edit, or is missing for it, is reported."""
    needs = _NEEDS.get(table.edit, set())
    takes = needs | ({"min", "max"} if table.edit == "clamp" else set())
    given = {name for name in ("to", "value", "min", "max") if getattr(table, name) is not None}
    for name in sorted(needs - given):
        if not problems.touch(*path, name):
            problems.add((*path, name), f'is missing: edit = "{table.edit}" needs it')
    for name in sorted(given - takes):
        problems.add((*path, name), f'has no meaning with edit = "{table.edit}"')
    if table.edit == "clamp" and not given & takes and not any(problems.touch(*path, n) for n in takes):
        problems.add(path, 'edit = "clamp" needs min, max or both')
    if table.min is not None and table.max is not None and table.min > table.max:
        problems.add((*path, "min"), f"is greater than max ({table.max})")
    if table.edit == "replace" and table.value is not None and not isinstance(table.value, dict):
        problems.add((*path, "value"), 'is a table of words such as { required = "auto" }')
    for name, dotted_path in (("field", table.field), ("to", table.to)):
        if dotted_path is not None and not all(dotted_path.split(".")):
            problems.add((*path, name), 'is not a path such as "stream_options.include_usage"')
    value = None
    if table.value is not None:
        try:
            value = json_value(table.value)
        except ValueError as error:
            problems.add((*path, "value"), str(error))
    return Quirk(
        edit=table.edit,
        field=table.field,
        why=table.why,
        source=table.source,
        to=table.to,
        value=value,
        min=None if table.min is None else float(table.min),
        max=None if table.max is None else float(table.max),
        models=table.models,
        when=table.when,
        lossless=table.lossless,
    )
