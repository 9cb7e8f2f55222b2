"""Which artefact of each stage is the current one: a pointer per market, moved when an asset is materialized."""

from pathlib import Path

from cappuccino_ml.core import CappuccinoError, is_done, read_json, write_json


class Current:
    """Pointers stage -> folder, in one JSON file each below `root`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def point(self, stage: str, folder: Path) -> None:
        """Make `folder` the current artefact of `stage`."""
        write_json(self._root / f"{stage}.json", {"folder": str(folder)})

    def name_version(self, version: str) -> None:
        """Remember which registered version the current study gave."""
        write_json(self._root / "promoted_model.json", {"version": version})

    def version(self) -> str:
        """The registered version of the current study.

        Raises:
            CappuccinoError: nothing has been registered for this market.
        """
        pointer = self._root / "promoted_model.json"
        if not pointer.is_file():
            raise CappuccinoError(
                f"promoted_model has not been materialized for {self._root.name}; materialize it first."
            )
        return str(read_json(pointer)["version"])

    def has(self, stage: str) -> bool:
        """Whether `stage` was ever materialized for this market."""
        return (self._root / f"{stage}.json").is_file()

    def folder(self, stage: str) -> Path:
        """The current artefact's folder.

        Raises:
            CappuccinoError: the asset has not been materialized for this market, or its folder is gone.
        """
        pointer = self._root / f"{stage}.json"
        if not pointer.is_file():
            raise CappuccinoError(f"{stage} has not been materialized for {self._root.name} yet; materialize it first.")
        folder = Path(read_json(pointer)["folder"])
        if not is_done(folder):
            raise CappuccinoError(f"{folder}, the current {stage}, is gone or unfinished; materialize {stage} again.")
        return folder
