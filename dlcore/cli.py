"""The command `dlcore`."""

from __future__ import annotations

import sys

__all__ = ["main"]

MISSING = (
    "dlcore: the command needs the packages of the extra 'app' ({name} is missing). In a clone of dlcore: "
    "pip install '.[app]'"
)


def main() -> None:
    """Runs the command; a message and an exit status, 2 for usage and 1 for failure, instead of a traceback."""
    try:
        from dlcore.app.commands import run
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] in ("typer", "rich", "matplotlib", "safetensors", "sklearn"):
            sys.exit(MISSING.format(name=error.name))
        raise
    except KeyboardInterrupt:
        sys.exit("Interrupted.")
    sys.exit(run(sys.argv[1:]))
