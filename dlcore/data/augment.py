"""Random changes to training images, pure functions of a key: drawn inside the compiled epoch."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, Key

__all__ = ["random_shift"]


def random_shift(key: Key, images: ArrayLike, *, pixels: int = 1) -> Array:
    """Moves each image by whole pixels, up and down, left and right, and fills with zeros.

        y[b, h, w] = x[b, h + i_b, w + j_b],   i_b, j_b ~ Uniform{−pixels, …, pixels}

    Args:
      key: a typed PRNG key.
      images: (B, H, W, C).
      pixels: the farthest shift.

    Returns:
      y in the shape and dtype of `images`.

    Raises:
      ValueError: if `images` is not of rank 4, or `pixels` is negative.
      TypeError: if `key` is raw, or `images` not an array of numbers.

    Gradient: linear in `images`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from dlcore import data
      >>> data.random_shift(jax.random.key(0), jnp.ones((2, 4, 4, 1))).shape
      (2, 4, 4, 1)

    Source: Simard, Steinkraus & Platt 2003, "Best practices for convolutional neural networks".
    """
    name = "data.random_shift"
    key = _checks.key(name, key)
    x = _checks.array(name, "images", images)
    far = _checks.integer(name, "pixels", pixels, low=0)
    if x.ndim != 4:
        raise _checks.value_error(
            name, "images", _checks.describe(x), "(batch, height, width, channels)", "Add the axes that are missing."
        )
    padded = jnp.pad(x, ((0, 0), (far, far), (far, far), (0, 0)))
    starts = jax.random.randint(key, (x.shape[0], 2), 0, 2 * far + 1, jnp.int32)  # one key, one shift, with x64 too

    def cut(image: Array, start: Array) -> Array:
        return lax.dynamic_slice(image, (start[0], start[1], jnp.zeros_like(start[0])), x.shape[1:])

    return jax.vmap(cut)(padded, starts)
