"""Keys of providers that the gateway keeps itself, put over those of file and environment."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from llm_router.settings.result import Settings
from llm_router.settings.secrets import Secret


def with_stored_keys(settings: Settings, keys: Mapping[str, str]) -> Settings:
    """The settings with these keys by provider, each in place of what file and environment say.

    A provider that the file switches off stays off; a key of one that is not there any more waits.
    """
    known = {provider.id for provider in settings.providers} - settings.disabled
    own = {id_: Secret(text) for id_, text in keys.items() if id_ in known}
    if not own:
        return settings
    return msgspec.structs.replace(
        settings,
        provider_keys={**settings.provider_keys, **own},
        key_pools={id_: pool for id_, pool in settings.key_pools.items() if id_ not in own},
        inactive={id_: reason for id_, reason in settings.inactive.items() if id_ not in own},
    )
