"""The sizes of a WaveNet, its receptive field, and the checks that its functions share."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from dlcore import _checks
from dlcore._typing import Array, ArrayLike

__all__ = ["Conditions", "WaveNetConfig", "check_condition", "check_config", "receptive_field"]


class WaveNetConfig(NamedTuple):
    """The sizes of a WaveNet: whole numbers, so that it is hashable and static under `jax.jit`.

    Attributes:
      classes: K, how many values a token has.
      stacks: S, how often the dilations start again at 1.
      layers_per_stack: L; their dilations are 1, 2, 4, …, 2^(L − 1).
      kernel_size: k, the taps of each dilated convolution.
      residual_channels: R, the width between layers.
      dilation_channels: D, the width of the gated unit.
      skip_channels: the width of the sum over layers and of the hidden layer behind it.
      global_features: G, the width of a condition that holds for a whole sequence; 0 for none.
      local_features: F, the width of a condition for each time step; 0 for none.

    Example:
      >>> import dlcore.nn as nn
      >>> nn.WaveNetConfig(stacks=1)._replace(classes=64).classes
      64

    Source: van den Oord et al. 2016, "WaveNet: a generative model for raw audio".
    """

    classes: int = 256
    stacks: int = 3
    layers_per_stack: int = 10
    kernel_size: int = 2
    residual_channels: int = 32
    dilation_channels: int = 32
    skip_channels: int = 256
    global_features: int = 0
    local_features: int = 0


class Conditions(NamedTuple):
    """The conditions apart, with one batch axis: (B, G) and (B, time, F), or None where there is none."""

    whole: Array | None = None
    local: Array | None = None


def receptive_field(config: WaveNetConfig) -> int:
    """How many tokens a logit depends on: those at t − R + 1, …, t.

        R = 1 + S (k − 1) (1 + 2 + … + 2^(L − 1)) = 1 + S (k − 1) (2^L − 1)

    The front layer looks at one token, and so counts once: see `wavenet`.

    Args:
      config: a `WaveNetConfig`.

    Returns:
      R, a Python int: 1,024 for kernels of 2 and dilations 1, …, 512; 3,070 for three such stacks.

    Raises:
      ValueError, TypeError: if `config` is no `WaveNetConfig` of whole numbers in range.

    Gradient: none; that of `wavenet` is zero in tokens further back.

    Example:
      >>> import dlcore.nn as nn
      >>> nn.receptive_field(nn.WaveNetConfig(stacks=1)), nn.receptive_field(nn.WaveNetConfig())
      (1024, 3070)

    Source: van den Oord et al. 2016, "WaveNet: a generative model for raw audio", section 2.1.
    """
    check_config("nn.receptive_field", config)
    return 1 + config.stacks * (config.kernel_size - 1) * (2**config.layers_per_stack - 1)


def check_config(function: str, config: Any) -> WaveNetConfig:
    """A `WaveNetConfig` whose fields are whole numbers in range."""
    if not isinstance(config, WaveNetConfig):
        raise _checks.type_error(
            function, "config", _checks.describe(config), "a WaveNetConfig", "For example nn.WaveNetConfig(classes=64)."
        )
    for name, value in config._asdict().items():
        _checks.integer(function, f"config.{name}", value, low=0 if name.endswith("_features") else 1)
    return config


def check_condition(
    function: str, condition: Any, config: WaveNetConfig, batch: tuple[int, ...], time: int, like: Array
) -> Conditions:
    """The conditions that `config` asks for, in the dtype of `like`, with the batch axes made one."""
    # What each is called, its width, and the axes before the features.
    wanted = {
        name: (width, axes)
        for name, width, axes in (
            ("global", config.global_features, batch),
            ("local", config.local_features, (*batch, time)),
        )
        if width
    }
    given: Mapping[str, ArrayLike]
    if isinstance(condition, Mapping):
        if set(condition) != set(wanted):
            raise _checks.value_error(
                function, "condition", f"a dict with {list(condition)}", f"{list(wanted)}, as the config says",
                "global_features and local_features choose them.",
            )  # fmt: skip
        given = condition
    elif condition is None and not wanted:
        given = {}
    elif condition is None or len(wanted) != 1:
        raise _checks.value_error(
            function, "condition", _checks.describe(condition),
            {0: "None", 1: f"the {''.join(wanted)} condition"}.get(len(wanted), "a dict with 'global' and 'local'"),
            "global_features and local_features of the config say which conditions there are.",
        )  # fmt: skip
    else:
        given = dict.fromkeys(wanted, condition)
    found: dict[str, Array] = {}
    for name, (width, axes) in wanted.items():
        x = _checks.floating(function, "condition", given[name])
        _checks.same_dtype(function, like, "condition", x)
        if x.shape != (*axes, width):
            raise _checks.value_error(
                function, "condition", f"{_checks.describe(x)} for {name!r}", f"shape {(*axes, width)}",
                "Nothing is broadcast; the local condition has one row for each token that is read.",
            )  # fmt: skip
        found[name] = x.reshape((math.prod(batch), *x.shape[len(batch) :]))
    return Conditions(found.get("global"), found.get("local"))
