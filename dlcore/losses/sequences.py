"""Losses on sequences whose alignment is not known."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import _checks
from dlcore._typing import Array, ArrayLike
from dlcore.losses._validate import classes, poison

__all__ = ["ctc"]


def ctc(
    logits: ArrayLike,
    logit_paddings: ArrayLike,
    labels: ArrayLike,
    label_paddings: ArrayLike,
    *,
    blank_id: int = 0,
    log_epsilon: float = -1e5,
) -> Array:
    """Connectionist temporal classification: the cost of a sequence of labels under all its alignments.

        L = −log Σ_a Π_t softmax(z_t)[a_t]

    over the paths a of one class for each frame that become the labels when repetitions are merged and then blanks are
    left out. It is `optax.ctc_loss`, with its arguments looked at.

    Args:
      logits: z, (B, T, K), floating, finite.
      logit_paddings: (B, T), floating or integers: 1 for a frame that is padding, 0 for others.
      labels: (B, N) integers in [0, K), without blanks.
      label_paddings: (B, N): 1 for a label that is padding, 0 for others, which come first.
      blank_id: the class of the blank.
      log_epsilon: a negative number that stands for log 0.

    Returns:
      L: (B,), in the dtype of `logits`; computed in float32 or wider. More labels than an alignment has room for cost
      −log_epsilon and more, which stands for infinity. A label outside [0, K), or a blank among them, gives NaN.

    Raises:
      ValueError: if shapes do not fit, `blank_id` is no class, or `log_epsilon` is not negative.
      TypeError: if `logits` are not floating, or `labels` not integers.

    Gradient: smooth.

    Example:
      >>> import jax.numpy as jnp
      >>> from dlcore import losses
      >>> labels, nothing = jnp.array([[1]]), jnp.zeros((1, 1))
      >>> losses.ctc(jnp.zeros((1, 1, 2)), nothing, labels, nothing)
      Array([0.6931472], dtype=float32)

    Source: Graves, Fernández, Gomez & Schmidhuber 2006, "Connectionist temporal classification".
    """
    name = "losses.ctc"
    z, kept = classes(name, "logits", logits)
    if z.ndim != 3:
        raise _checks.value_error(name, "logits", _checks.describe(z), "(batch, frames, classes)", "Add the axes.")
    batch, frames, k = z.shape
    y = _checks.integers(name, "labels", labels, "Labels are numbers of classes.")
    if y.ndim != 2 or y.shape[0] != batch:
        raise _checks.value_error(name, "labels", f"shape {y.shape}", f"({batch}, labels)", "Pad all to one length.")
    blank = _checks.integer(name, "blank_id", blank_id, low=0)
    if blank >= k:
        raise _checks.value_error(name, "blank_id", blank, f"one of the {k} classes", "The blank is a class too.")
    least = _checks.number(name, "log_epsilon", log_epsilon)
    if least >= 0:
        raise _checks.value_error(name, "log_epsilon", log_epsilon, "a negative number", "−10⁵ by default.")
    gaps = _paddings(name, "logit_paddings", logit_paddings, (batch, frames), z)
    ends = _paddings(name, "label_paddings", label_paddings, y.shape, z)
    valid = ((y >= 0) & (y < k) & (y != blank)) | (ends == 1)
    y = jnp.where(valid, y, 0)
    # Optax multiplies labels and paddings of several dtypes.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        values = optax.ctc_loss(z, gaps, y, ends, blank_id=blank, log_epsilon=least)
    return poison(values.astype(z.dtype), valid.all(-1)).astype(kept)


def _paddings(name: str, argument: str, value: ArrayLike, shape: tuple[int, ...], z: Array) -> Array:
    found = _checks.array(name, argument, value)
    if found.shape != shape:
        raise _checks.value_error(
            name, argument, f"shape {found.shape}", f"{shape}, one for each entry", "1 is padding, 0 is not."
        )
    if not (jnp.issubdtype(found.dtype, np.number) or found.dtype == np.bool_):
        raise _checks.type_error(name, argument, _checks.describe(found), "zeros and ones", "1 is padding, 0 is not.")
    return found.astype(z.dtype)
