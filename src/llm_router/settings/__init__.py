"""The configuration: one TOML file, checked strictly, under environment and command line."""

from llm_router.settings.announcement import Announcement, LocalModel
from llm_router.settings.load import (
    SANDBOX_FOLDER,
    Place,
    find_config,
    laid_over,
    load,
    load_place,
    parse_text,
)
from llm_router.settings.problems import ConfigError
from llm_router.settings.reload import needs_restart, refused_reload, refused_restart, reload_lines
from llm_router.settings.result import (
    CreditSettings,
    FetchSettings,
    ServeOptions,
    ServerSettings,
    Settings,
)
from llm_router.settings.secrets import Secret

__all__ = [
    "SANDBOX_FOLDER",
    "Announcement",
    "ConfigError",
    "CreditSettings",
    "FetchSettings",
    "LocalModel",
    "Place",
    "Secret",
    "ServeOptions",
    "ServerSettings",
    "Settings",
    "find_config",
    "laid_over",
    "load",
    "load_place",
    "needs_restart",
    "parse_text",
    "refused_reload",
    "refused_restart",
    "reload_lines",
]
