"""The features bar by bar: equal to `latest_features`, at a cost that does not grow, from a state that can be saved."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import SafetensorError

from cappuccino_ml.bars.grid import bar_step, hour_text, off_grid
from cappuccino_ml.bars.panel import BarPanel
from cappuccino_ml.bars.universe import Universe
from cappuccino_ml.core import (
    DataError,
    LakeError,
    SchemaMismatch,
    Settings,
    code_version,
    read_settings,
    write_bytes,
    write_json,
)
from cappuccino_ml.features.indicators import require_valid
from cappuccino_ml.features.running import Memory, fresh_memory, mean_of_last, next_raw
from cappuccino_ml.features.schema import FEATURES, FeatureSchema
from cappuccino_ml.features.stationary import PRICE_REFERENCE_BARS, VOLUME_REFERENCE_BARS, relative_to_means

Floats = NDArray[np.float64]

STATE = "state.json"
LAYOUT = "1"  # raise it whenever the saved numbers change their meaning


class StateFacts(Settings):
    """What state.json says about the numbers beside it. Times are bar opens, UTC."""

    feature_schema: FeatureSchema
    schema_hash: str
    layout: str
    first_bar: datetime
    last_bar: datetime
    code: str  # of the room that wrote it; for the record, `layout` and the schema's version decide
    memory: str  # name of the safetensors file, after its content
    sha256: str


class RecursiveFeatures:
    """A stream of bars of one universe: takes in the bar just closed, gives its features.

    Started at the same first bar it gives `latest_features(panel)` row by row: the same rows of NaN, values to 1e-8
    (RSI, CCI, DX and those without an average to the last bit; MACD and ATR differ by TA-Lib's fused multiply-adds,
    about 1e-15). Raw prices and volumes are the bars' own. Filled bars are ordinary rows.

    Started later, after a window of `CONTEXT_BARS` bars, it agrees with the whole history to 1e-8 while prices move.
    Averages decay evenly while they stand still: RSI, DX and the ATR shift then remember what came before a standstill
    of any length, so a window that begins inside one does not know it.
    """

    def __init__(self, universe: Universe) -> None:
        self._universe = universe
        self._memory: Memory = fresh_memory(len(universe.tickers))
        self._first: np.datetime64 | None = None
        self._bars = 0

    @property
    def schema(self) -> FeatureSchema:
        """The meaning of the last two axes of what `update` and `extend` give."""
        return FeatureSchema.of(self._universe)

    @property
    def bars(self) -> int:
        """Bars taken in since the first one."""
        return self._bars

    @property
    def last_bar(self) -> np.datetime64 | None:
        """Open time of the last bar taken in, UTC; none before the first."""
        return None if self._first is None else self._first + (self._bars - 1) * bar_step(self._universe)

    def update(self, bar: BarPanel, *, raw: bool = False) -> Floats:
        """Take in one closed bar: a panel of one row, `panel.slice(t, t + 1)`.

        Returns:
            float64 [N, 14], stationary, or the raw indicators if `raw`; NaN while something has not seen enough bars.

        Raises:
            DataError: not one row, a value that cannot be, or not the next bar on the grid; the state stays as it was.
            SchemaMismatch: bars of another universe.
        """
        if len(bar) != 1:
            raise DataError(f"update takes 1 bar but was given {len(bar)}; use extend for more.")
        features: Floats = self.extend(bar, raw=raw)[0]
        return features

    def extend(self, panel: BarPanel, *, raw: bool = False) -> Floats:
        """Take in the rows of `panel` one after the other; all are checked before the first changes anything.

        Returns:
            float64 [T, N, 14], as `update` gives them.

        Raises:
            DataError: a value that cannot be, or rows that are not the next ones on the grid.
            SchemaMismatch: bars of another universe.
        """
        self.schema.require_same(FeatureSchema.of(panel.universe), what="the panel of bars")
        require_valid(panel)
        features = np.empty((*panel.close.shape, len(FEATURES)))
        if len(panel) == 0:
            return features
        self._require_next(panel)
        if self._first is None:
            self._first = panel.timestamps[0].astype("datetime64[us]")
        rows = np.stack([panel.open, panel.high, panel.low, panel.close, panel.volume], axis=1).astype(np.float64)
        for row, bar in enumerate(rows):
            indicators = next_raw(self._memory, row=self._bars, bar=bar)
            self._bars += 1
            features[row] = indicators if raw else self._stationary(indicators, bar)
        return features

    def save(self, folder: Path) -> None:
        """Write the state: a safetensors file, then state.json, which names it; then the former file goes.

        Whenever it is interrupted, `folder` holds the former state or this one. The same state gives the same bytes.

        Raises:
            DataError: no bar was taken in yet.
            LakeError: the disk refuses.
        """
        last = self.last_bar
        if self._first is None or last is None:
            raise DataError("a feature state without bars cannot be saved; give it at least one bar.")
        data = safetensors.numpy.save(self._memory)
        sha256 = hashlib.sha256(data).hexdigest()
        name = f"memory-{sha256[:16]}.safetensors"
        write_bytes(folder / name, data)
        facts = StateFacts(
            feature_schema=self.schema,
            schema_hash=self.schema.hash,
            layout=LAYOUT,
            first_bar=_moment(self._first),
            last_bar=_moment(last),
            code=code_version("features"),
            memory=name,
            sha256=sha256,
        )
        write_json(folder / STATE, facts)
        for former in folder.glob("memory-*.safetensors"):
            if former.name != name:
                former.unlink(missing_ok=True)

    @classmethod
    def load(cls, folder: Path, *, expected: FeatureSchema) -> "RecursiveFeatures":
        """Read what `save` wrote; the stream goes on bit by bit as if it had never stopped.

        Args:
            folder: holds state.json and the file it names.
            expected: the schema the caller needs.

        Raises:
            SchemaMismatch: saved with another schema, definition or layout than wanted or computed here; names both.
            ConfigurationError: state.json is absent or has unknown keys.
            LakeError: the numbers are absent, altered or incomplete.
        """
        facts = read_settings(StateFacts, folder / STATE)
        what = f"the feature state in {folder}"
        if facts.layout != LAYOUT:
            raise SchemaMismatch(
                f"{what} has layout {facts.layout}, but this code reads {LAYOUT}; build it again from bars."
            )
        expected.require_same(facts.feature_schema, what=what)
        stream = cls(facts.feature_schema.universe)
        stream.schema.require_same(facts.feature_schema, what=what)
        stream._memory = _read_memory(folder / facts.memory, facts=facts, like=stream._memory)
        first, last = (np.datetime64(moment.replace(tzinfo=None), "us") for moment in (facts.first_bar, facts.last_bar))
        stream._first, stream._bars = first, int((last - first) // bar_step(stream._universe)) + 1
        return stream

    def _require_next(self, panel: BarPanel) -> None:
        times, step = panel.timestamps.astype("datetime64[us]"), bar_step(self._universe)
        last = self.last_bar
        if last is None and off_grid(times[:1], self._universe).any():
            raise DataError(
                f"the first bar opens at {hour_text(times[0])}, which is off the {self._universe.timeframe} grid; "
                "align the bars."
            )
        wanted = (times[0] if last is None else last + step) + np.arange(len(times)) * step
        wrong = times != wanted
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                f"the bar at {hour_text(times[row])} is not the next one, which opens at {hour_text(wanted[row])}; "
                "align fills holes, and bars already taken in must be left out."
            )

    def _stationary(self, raw: Floats, bar: Floats) -> Floats:
        return relative_to_means(
            raw,
            bars=list(bar),
            mean_close=mean_of_last(self._memory["close"], bars=PRICE_REFERENCE_BARS),
            mean_volume=mean_of_last(self._memory["volume"], bars=VOLUME_REFERENCE_BARS),
        )


def _read_memory(path: Path, *, facts: StateFacts, like: Memory) -> Memory:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LakeError(f"cannot read {path}: {error.strerror}; build the feature state again from bars.") from error
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != facts.sha256:
        raise LakeError(
            f"{path} has sha256 {sha256[:12]}, but {STATE} says {facts.sha256[:12]}; "
            "build the feature state again from bars."
        )
    try:
        memory: Memory = safetensors.numpy.load(data)
    except SafetensorError as error:
        raise LakeError(f"{path} is not a safetensors file ({error}); build the state again from bars.") from error
    found = {name: (values.shape, str(values.dtype)) for name, values in memory.items()}
    wanted = {name: (values.shape, str(values.dtype)) for name, values in like.items()}
    if found != wanted:
        name = sorted(set(found.items()) ^ set(wanted.items()))[0][0]
        raise LakeError(
            f"{path} holds {name} as {found.get(name, 'nothing')}, but {wanted.get(name, 'nothing')} is needed; "
            "build the feature state again from bars."
        )
    # load gives read-only views of the bytes
    return {name: np.array(values) for name, values in memory.items()}


def _moment(time: np.datetime64) -> datetime:
    moment: datetime = time.astype("datetime64[us]").item()
    return moment.replace(tzinfo=UTC)
