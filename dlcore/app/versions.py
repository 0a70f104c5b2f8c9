"""What a run ran on."""

from __future__ import annotations

import os
import platform
from importlib import metadata

import jax

import dlcore

__all__ = ["versions"]


def versions() -> dict[str, str]:
    """Versions, devices and the settings that change numbers."""
    found = {"dlcore": dlcore.__version__, "python": platform.python_version()}
    for package in ("jax", "jaxlib", "numpy", "optax", "chex"):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "not installed"
    found["devices"] = ", ".join(f"{device.platform}:{device.id} ({device.device_kind})" for device in jax.devices())
    found["cores"] = str(os.cpu_count())
    found["matmul precision"] = str(getattr(jax.config, "jax_default_matmul_precision", None) or "default")
    found["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") or "none"
    return found
