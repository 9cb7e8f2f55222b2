"""Every error a user can meet, on one page. Each message is one sentence: the value, the limit, the way out."""


class CappuccinoError(Exception):
    """Base of all expected errors; the command line prints it as one sentence and exits with 1."""


class ConfigurationError(CappuccinoError):
    """A setting or environment variable is wrong."""


class DataError(CappuccinoError):
    """Bars or features are not what they must be."""


class SourceError(CappuccinoError):
    """An exchange or broker could not be reached, refused, or answered with something else than was asked for."""


class LakeError(CappuccinoError):
    """The lake cannot be read or written as asked."""


class SchemaMismatch(CappuccinoError):  # noqa: N818 - the name users know
    """Two artefacts were made with different feature schemas; names both sides."""


class CheckpointError(CappuccinoError):
    """A stored model is incomplete, altered or does not fit."""


class TradingError(CappuccinoError):
    """The trader must not go on."""
