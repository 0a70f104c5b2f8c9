"""The folder of a run: written as the run goes, readable whenever it stops."""

from __future__ import annotations

import dataclasses
import json
import os
import time
from pathlib import Path
from typing import Any

from dlcore import train
from dlcore._typing import PyTree
from dlcore.app.errors import FailureError, UsageError

__all__ = ["RunFolder"]

README = """\
A run of `dlcore train`.

config.json               what was asked for, and the versions it ran on
metrics.jsonl             one line an epoch
params.safetensors        the parameters after the last epoch, by leaf path; the model's state beside them
result.json               how it ended: status "running", "done", "interrupted" or "failed", and the figures
learning_curves.png, confusion_matrix.png, mistakes.png, kernels.png
"""


class RunFolder:
    """Writes a run's files; each appears whole or not at all, except metrics.jsonl, which grows by whole lines."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UsageError(f"--out {path}: this folder is not empty; name another one, or remove it.")
            (path / "README.txt").write_text(README)
            (path / "metrics.jsonl").touch()
        except OSError as error:
            raise FailureError(f"--out {path}: the folder cannot be written ({error.strerror}).") from error

    @staticmethod
    def default(config: Any) -> Path:
        """A new name under `runs/`, with the time in it."""
        stem = f"{time.strftime('%Y%m%d-%H%M%S')}-{config.data}-{config.model}-seed{config.seed}"
        candidates = (Path("runs") / (stem + (f"-{n}" if n else "")) for n in range(1000))
        return next(path for path in candidates if not path.exists())

    def write_config(self, config: Any, versions: dict[str, str]) -> None:
        """Writes config.json."""
        self._json("config.json", {**dataclasses.asdict(config), "versions": versions})

    def write_result(self, result: dict[str, Any]) -> None:
        """Writes result.json."""
        self._json("result.json", result)

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Adds a line to metrics.jsonl."""
        with self._failing(), (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")

    def read_metrics(self) -> list[dict[str, Any]]:
        """All lines of metrics.jsonl."""
        return [json.loads(line) for line in (self.path / "metrics.jsonl").read_text().splitlines()]

    def save_params(self, params: PyTree, model_state: PyTree) -> None:
        """Writes params.safetensors."""
        with self._failing():
            train.save(self.path / "params.safetensors", {"params": params, "model_state": model_state})

    def _json(self, name: str, value: Any) -> None:
        partial = self.path / f".{name}.partial"
        with self._failing():
            partial.write_text(json.dumps(value, indent=2) + "\n")
            os.replace(partial, self.path / name)

    def _failing(self) -> _Writing:
        return _Writing(self.path)


class _Writing:
    """Turns an error of the file system into the user's terms."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if isinstance(error, OSError):
            raise FailureError(f"{self.path}: writing failed ({error.strerror}).") from error
