"""What every room needs: alerts, errors, settings, hashing, whole-or-nothing files, clocks, seeds."""

from cappuccino_ml.core.alerts import Alert, Alerts, AllAlerts, FileAlerts, LogAlerts, WebhookAlerts
from cappuccino_ml.core.clock import Clock, ManualClock, SystemClock
from cappuccino_ml.core.errors import (
    CappuccinoError,
    CheckpointError,
    ConfigurationError,
    DataError,
    LakeError,
    SchemaMismatch,
    SourceError,
    TradingError,
)
from cappuccino_ml.core.files import artifact_folder, is_done, mark_done, read_json, write_bytes, write_json
from cappuccino_ml.core.hashing import canonical_json, code_version, digest, file_sha256
from cappuccino_ml.core.seeding import derive_seed
from cappuccino_ml.core.settings import Settings, read_settings

__all__ = [
    "Alert",
    "Alerts",
    "AllAlerts",
    "CappuccinoError",
    "CheckpointError",
    "Clock",
    "ConfigurationError",
    "DataError",
    "FileAlerts",
    "LakeError",
    "LogAlerts",
    "ManualClock",
    "SchemaMismatch",
    "Settings",
    "SourceError",
    "SystemClock",
    "TradingError",
    "WebhookAlerts",
    "artifact_folder",
    "canonical_json",
    "code_version",
    "derive_seed",
    "digest",
    "file_sha256",
    "is_done",
    "mark_done",
    "read_json",
    "read_settings",
    "write_bytes",
    "write_json",
]
