"""Settings: frozen, typed, unknown keys refused, each default written once."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from cappuccino_ml.core.errors import ConfigurationError
from cappuccino_ml.core.files import read_json


class Settings(BaseModel):
    """Base of every configuration class."""

    model_config = ConfigDict(frozen=True, extra="forbid")


SomeSettings = TypeVar("SomeSettings", bound=Settings)


def read_settings(cls: type[SomeSettings], path: Path) -> SomeSettings:
    """Read `cls` from a JSON file.

    Raises:
        ConfigurationError: the file is missing, or has a wrong or unknown key; the message names it.
    """
    if not path.is_file():
        raise ConfigurationError(f"{path} does not exist; {cls.__name__} is read from that JSON file.")
    try:
        return cls.model_validate(read_json(path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or cls.__name__
        raise ConfigurationError(f"{path}: {where}: {first['msg']} (got {first['input']!r}).") from error
