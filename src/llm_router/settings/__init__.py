"""The configuration: one TOML file, checked strictly, under environment and command line."""

from llm_router.settings.load import DIALECTS, Place, find_config, load, load_place
from llm_router.settings.problems import ConfigError
from llm_router.settings.result import (
    CreditSettings,
    FetchSettings,
    ServeOptions,
    ServerSettings,
    Settings,
)
from llm_router.settings.secrets import Secret

__all__ = [
    "DIALECTS",
    "ConfigError",
    "CreditSettings",
    "FetchSettings",
    "Place",
    "Secret",
    "ServeOptions",
    "ServerSettings",
    "Settings",
    "find_config",
    "load",
    "load_place",
]
