"""Typed settings, read from a TOML file, the environment and the command line; units in the names.

Importing this package is cheap: pydantic is loaded when a name is first asked for, so that `entrepot --help` and the
client commands, which need no settings, do not pay for it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from entrepot.settings.concerns import (
        CanarySettings,
        DiskSettings,
        LogSettings,
        PublicationSettings,
        ServerSettings,
        SigningSettings,
        UploadSettings,
    )
    from entrepot.settings.limits import LimitSettings
    from entrepot.settings.sources import Settings, SettingsError, effective, load

__all__ = [
    "CanarySettings",
    "DiskSettings",
    "LimitSettings",
    "LogSettings",
    "PublicationSettings",
    "ServerSettings",
    "Settings",
    "SettingsError",
    "SigningSettings",
    "UploadSettings",
    "effective",
    "load",
]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # Not `from entrepot.settings import …`: that would ask this very function for the submodule.
    return getattr(import_module("entrepot.settings.sources"), name)
