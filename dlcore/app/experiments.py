"""The command `dlcore lab`: an experiment, its table, its verdict and its picture."""

from __future__ import annotations

import json
from pathlib import Path

from dlcore import lab
from dlcore.app.errors import FailureError, UsageError
from dlcore.app.versions import versions

__all__ = ["experiment", "listing"]


def listing() -> str:
    """Every experiment with its question, a line each."""
    width = max(map(len, lab.NAMES))
    return "\n".join(f"{name.ljust(width)}  {question}" for name, question in lab.NAMES.items())


def experiment(name: str, folder: Path) -> lab.Result:
    """Runs it, and writes result.json and the picture into the folder."""
    if name not in lab.NAMES:
        raise UsageError(f"lab {name}: there is no such experiment; there are {', '.join(lab.NAMES)}.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"--out {folder}: this is a file; name a folder.")
    result = lab.run(name)
    record = {
        "name": result.name, "question": result.question, "verdict": result.verdict, "numbers": result.numbers,
        "versions": versions(),
    }  # fmt: skip
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        result.plot(folder / f"{name.replace('-', '_')}.png")
    except OSError as error:
        raise FailureError(f"--out {folder}: the folder cannot be written ({error.strerror}).") from error
    return result
