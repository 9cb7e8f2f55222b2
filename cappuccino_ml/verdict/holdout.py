"""A holdout is read once: the first reading is stored under the study's key and answers every later question."""

import io
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout
from numpy.typing import NDArray

from cappuccino_ml.core import (
    LakeError,
    Settings,
    artifact_folder,
    digest,
    file_sha256,
    is_done,
    read_json,
    write_bytes,
    write_json,
)

Times = NDArray[np.datetime64]

_RETURNS, _READING, _LOCK = "returns.parquet", "reading.json", ".lock"
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class Reading(Settings):
    """Facts of the first reading of a holdout, as they were known then."""

    study: str
    data: str  # digest of the identity of source and universe
    first: datetime  # open of the first holdout bar, UTC
    last: datetime
    bars: int
    policies: tuple[str, ...]
    trials: int  # completed trials of this study
    trials_so_far: int  # of all studies on the same data, this one included, whether or not they came to a verdict
    unfinished_studies: int = 0  # of those, how many had read no holdout
    champion: str | None = None  # key of the model in the column of that name
    fresh: bool
    fresh_bars: int  # bars that no earlier study had read
    earlier_studies: tuple[str, ...]  # whose holdouts overlap this one
    sha256: str


class HoldoutLedger:
    """All readings of holdouts, one folder per study. Two processes may ask at once; one reads, the other waits."""

    def __init__(self, folder: Path, *, timeout_s: float = 600.0) -> None:
        self._folder = folder
        self._timeout_s = timeout_s

    def read(
        self,
        *,
        study: str,
        data: dict[str, Any],
        timestamps: Times,
        trials: int,
        compute: Callable[[], pd.DataFrame],
        measured: Mapping[str, int] | None = None,
        champion: str | None = None,
    ) -> tuple[Reading, pd.DataFrame]:
        """The holdout returns of `study`; `compute` runs only if no one has asked before.

        Args:
            study: the study's key.
            data: identity of source and universe (JSON). Studies with equal identity share bars; leave out what
                does not change which bars they are.
            timestamps: open times [K] of the holdout bars, ascending, UTC.
            trials: completed trials of this study.
            compute: gives returns per bar, a column per policy, K rows in the order of `timestamps`.
            measured: trials by study on the same data, those that never came to a verdict included.
            champion: key of the champion, if there is one.

        Returns:
            The reading and the stored frame, indexed by timestamp.

        Raises:
            LakeError: the study has read another holdout before, or the stored file was altered, or another process
                holds the ledger too long.
            ValueError: the key, the timestamps or what `compute` gave is malformed.
        """
        if not _KEY.fullmatch(study):
            raise ValueError(f"study key {study!r} must be letters, digits, '-' and '_'")
        times = timestamps.astype("datetime64[us]")
        if times.ndim != 1 or times.size == 0 or not (np.diff(times) > np.timedelta64(0, "us")).all():
            raise ValueError(f"holdout timestamps of shape {times.shape} must be a non-empty, ascending list")
        if trials < 0:
            raise ValueError(f"a study cannot have {trials} trials")
        identity = digest(data)
        with self._locked():
            if is_done(self._folder / study):
                reading = self._reading(study)
                asked = (identity, _utc(times[0]), _utc(times[-1]), times.size)
                if asked != (reading.data, reading.first, reading.last, reading.bars):
                    raise LakeError(
                        f"study {study} has read {reading.bars} bars from {reading.first:%Y-%m-%dT%H:%MZ} and asks for "
                        f"{times.size} from {asked[1]:%Y-%m-%dT%H:%MZ} or other data; a new holdout is a new study."
                    )
            else:
                self._store(
                    study,
                    identity=identity,
                    times=times,
                    trials=trials,
                    frame=compute(),
                    measured=measured or {},
                    champion=champion,
                )
            return self._stored(study)

    def recall(self, study: str) -> tuple[Reading, pd.DataFrame] | None:
        """What `study` has read, None if it has read nothing: asking costs no freshness, because nothing is computed.

        Raises:
            LakeError: the stored file was altered.
        """
        if not _KEY.fullmatch(study) or not is_done(self._folder / study):
            return None
        return self._stored(study)

    def readings(self) -> tuple[Reading, ...]:
        """All readings, in the order of their studies' keys."""
        if not self._folder.is_dir():
            return ()
        return tuple(self._reading(path.name) for path in sorted(self._folder.glob("[!.]*")) if is_done(path))

    def _store(
        self,
        study: str,
        *,
        identity: str,
        times: Times,
        trials: int,
        frame: pd.DataFrame,
        measured: Mapping[str, int],
        champion: str | None,
    ) -> None:
        if len(frame) != times.size or frame.columns.empty or not np.isfinite(frame.to_numpy(dtype=np.float64)).all():
            raise ValueError(
                f"holdout returns of shape {frame.shape} must be finite with {times.size} rows and a column per policy"
            )
        same = [reading for reading in self.readings() if reading.data == identity]
        taken = np.zeros(times.size, dtype=bool)
        earlier = []
        for reading in same:
            overlap = (times >= _naive(reading.first)) & (times <= _naive(reading.last))
            taken |= overlap
            earlier += [reading.study] if overlap.any() else []
        # A study's folder may be gone, its reading not; a study without a reading has its folder only.
        read = {reading.study: reading.trials for reading in same}
        others = {key for key in (*read, *measured) if key != study}
        counted = sum(max(read.get(key, 0), measured.get(key, 0)) for key in others)
        columns: dict[str, Any] = {"timestamp": pd.DatetimeIndex(times).tz_localize("UTC")}
        columns |= {str(name): frame[name].to_numpy(dtype=np.float64) for name in frame.columns}
        buffer = io.BytesIO()
        pd.DataFrame(columns).to_parquet(buffer, index=False)
        with artifact_folder(self._folder / study) as aside:
            write_bytes(aside / _RETURNS, buffer.getvalue())
            write_json(
                aside / _READING,
                Reading(
                    study=study,
                    data=identity,
                    first=_utc(times[0]),
                    last=_utc(times[-1]),
                    bars=times.size,
                    policies=tuple(map(str, frame.columns)),
                    trials=trials,
                    trials_so_far=trials + counted,
                    unfinished_studies=len(others - set(read)),
                    champion=champion,
                    fresh=not earlier,
                    fresh_bars=int((~taken).sum()),
                    earlier_studies=tuple(earlier),
                    sha256=file_sha256(aside / _RETURNS),
                ),
            )

    def _reading(self, study: str) -> Reading:
        return Reading.model_validate(read_json(self._folder / study / _READING))

    def _stored(self, study: str) -> tuple[Reading, pd.DataFrame]:
        reading, path = self._reading(study), self._folder / study / _RETURNS
        if not path.is_file() or file_sha256(path) != reading.sha256:
            raise LakeError(
                f"{path} is not the file that study {study} stored; restore it, a holdout is not read twice."
            )
        return reading, pd.read_parquet(path).set_index("timestamp")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self._folder / _LOCK, timeout=self._timeout_s):
                yield
        except Timeout as error:
            raise LakeError(
                f"{self._folder} was locked for {self._timeout_s:.0f} s; wait for the other reading to end."
            ) from error


def _utc(moment: np.datetime64) -> datetime:
    return cast(datetime, moment.astype("datetime64[us]").item()).replace(tzinfo=UTC)


def _naive(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
