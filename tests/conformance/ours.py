"""dlcore's functions, looked up when they are called: one that is not there yet is counted, not an import error."""

from __future__ import annotations

import importlib
from typing import Any

from tests.conformance.table import NotYetError

__all__ = ["layouts", "losses", "nn"]


class Functions:
    """A module of dlcore whose missing functions say so."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        try:
            return getattr(importlib.import_module(f"dlcore.{self._name}"), name)
        except (ModuleNotFoundError, AttributeError):
            raise NotYetError(f"{self._name}.{name}") from None


nn = Functions("nn")
layouts = Functions("nn.layouts")
losses = Functions("losses")
