"""Where settings come from: the command line, then the environment, then the TOML file, then the defaults; the first
that speaks wins.

A setting ``listen`` of the concern ``server`` is ``[server] listen = …`` in the file, and ENTREPOT_SERVER_LISTEN in the
environment.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource
from pydantic_settings.exceptions import SettingsError as _SourceError

from entrepot.settings.concerns import (
    CanarySettings,
    DiskSettings,
    LogSettings,
    NodeSettings,
    PublicationSettings,
    ScrubSettings,
    ServerSettings,
    SigningSettings,
    UploadSettings,
)
from entrepot.settings.limits import LimitSettings

ENV_PREFIX = "ENTREPOT_"
FILE_NAME = "entrepot.toml"
HIDDEN = "[hidden]"


class SettingsError(Exception):
    """A setting is wrong. The message has one line per mistake, ``concern.name: what is wrong``, and never a secret."""


class Settings(BaseSettings):
    """All settings, one member per concern. Immutable."""

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_nested_delimiter="_", env_nested_max_split=1, extra="forbid", frozen=True
    )

    server: ServerSettings = Field(default_factory=ServerSettings)
    upload: UploadSettings = Field(default_factory=UploadSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    disk: DiskSettings = Field(default_factory=DiskSettings)
    signing: SigningSettings = Field(default_factory=SigningSettings)
    publication: PublicationSettings = Field(default_factory=PublicationSettings)
    scrub: ScrubSettings = Field(default_factory=ScrubSettings)
    node: NodeSettings = Field(default_factory=NodeSettings)
    canary: CanarySettings = Field(default_factory=CanarySettings)
    logs: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def for_testing(cls, data_folder: Path, **concerns: Mapping[str, Any]) -> Self:
        """Settings for a test: free ports, Ed25519, small pools; the environment is not read.

        ``concerns`` are changes by concern: ``for_testing(folder, upload={"upload_bytes_max": 10})``.
        """
        made: dict[str, Any] = {}
        for name, kind in _kinds().items():
            changes = dict(concerns.pop(name, {}))
            if name == "server":
                changes.setdefault("data_folder", data_folder)
            made[name] = kind.for_testing(**changes)
        if concerns:
            raise TypeError(f"no such concern: {', '.join(concerns)}")
        return cls.model_construct(**made)


def _kinds() -> dict[str, Any]:
    return {name: field.annotation for name, field in Settings.model_fields.items()}


def load(config_file: Path | None = None, command_line: Mapping[str, Mapping[str, Any]] | None = None) -> Settings:
    """Read the settings.

    Args: ``config_file`` the TOML file that was asked for; None: ``entrepot.toml`` in the data folder, if there is one;
    ``command_line`` values by concern and name (``{"server": {"listen": "…"}}``), those that were given only.
    Raises SettingsError for a file that is missing or malformed, an unknown name, or a value that cannot be.
    """
    given: dict[str, Any] = {concern: dict(values) for concern, values in (command_line or {}).items() if values}
    path = _file(config_file, given)

    class _Sourced(Settings):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            if path is None:
                return (init_settings, env_settings)
            file = TomlConfigSettingsSource(settings_cls, path)
            _refuse_no_tables(file.toml_data)
            return (init_settings, env_settings, file)

    try:
        _refuse_unknown_environment()
        return _Sourced(**given)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None  # the original holds the values, secrets too
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from None
    except _SourceError as error:
        raise SettingsError(str(error)) from None
    except RecursionError:
        where = "the environment" if path is None else f"{path} or the environment"
        raise SettingsError(f"{where}: a value is nested too deeply") from None


def _file(asked: Path | None, given: Mapping[str, Any]) -> Path | None:
    if asked is not None:
        if not asked.is_file():
            raise SettingsError(f"{asked}: there is no such settings file")
        return asked
    folder = given.get("server", {}).get("data_folder") or os.environ.get(f"{ENV_PREFIX}SERVER_DATA_FOLDER")
    path = Path(folder or ServerSettings.model_fields["data_folder"].default) / FILE_NAME
    return path if path.is_file() else None


def _refuse_unknown_environment() -> None:
    """A misspelt ENTREPOT_SERVER_LISTN must not be passed over in silence; ENTREPOT_URL and others that name no concern
    are not ours.
    """
    for variable in os.environ:
        concern, _, name = variable.removeprefix(ENV_PREFIX).lower().partition("_")
        kind = _kinds().get(concern)
        if variable.startswith(ENV_PREFIX) and kind is not None and name and name not in kind.model_fields:
            raise SettingsError(f"{variable}: there is no setting {concern}.{name}")


def _refuse_no_tables(file: Mapping[str, Any]) -> None:
    """A ``[[server]]`` must not be passed over in silence, as it would be where the command line has a setting of the
    concern.
    """
    for concern, value in file.items():
        if concern in _kinds() and not isinstance(value, Mapping):
            raise SettingsError(f"{concern}: it is a table: write [{concern}], and its settings below that")


def _explain(error: ValidationError) -> str:
    lines = []
    for mistake in error.errors(include_url=False, include_input=False, include_context=False):
        place = ".".join(str(part) for part in mistake["loc"])
        unknown = mistake["type"] == "extra_forbidden"
        text = "there is no such setting" if unknown else mistake["msg"].removeprefix("Value error, ")
        lines.append(f"{place}: {text}")
    return "\n".join(lines)


def effective(settings: Settings) -> dict[str, dict[str, Any]]:
    """The settings as they are in force, by concern and name, JSON-able, secrets hidden; what `entrepot config`
    prints.
    """
    shown: dict[str, dict[str, Any]] = {}
    for concern in _kinds():
        values: BaseModel = getattr(settings, concern)
        shown[concern] = {name: _show(getattr(values, name)) for name in type(values).model_fields}
    server = settings.server
    shown["server"]["public_url"] = server.url
    shown["server"]["admin_listen"] = "{}:{}".format(*server.admin_address)
    return shown


def _show(value: object) -> object:
    if isinstance(value, SecretStr):
        return HIDDEN
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
