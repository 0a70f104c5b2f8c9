"""Errors that end a command: one message, one exit status, no traceback."""

from __future__ import annotations

__all__ = ["FailureError", "UsageError"]


class UsageError(Exception):
    """What was asked for cannot be done as asked: exit status 2."""


class FailureError(Exception):
    """What was asked for did not work out: exit status 1."""
