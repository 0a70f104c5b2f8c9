"""Gradients proven against finite differences that know their own error."""

from dlcore.gradcheck.checker import assert_gradients, check
from dlcore.gradcheck.report import LeafReport, Report

__all__ = ["LeafReport", "Report", "assert_gradients", "check"]
