"""The embedding: a table that is read by row."""

from __future__ import annotations

import jax.numpy as jnp

from dlcore import _checks
from dlcore._typing import Array, ArrayLike, DType, Key, Params
from dlcore.nn import initializers
from dlcore.nn._affine import float_dtype

__all__ = ["embedding", "embedding_init"]


def embedding_init(
    key: Key,
    vocabulary: int,
    features: int,
    *,
    kernel_init: initializers.Initializer | None = None,
    dtype: DType = jnp.float32,
) -> dict[str, Array]:
    """The parameters of `embedding`.

    Args:
      key: a typed PRNG key.
      vocabulary: V, the number of rows.
      features: D, the length of a row.
      kernel_init: draws the table; by default normal with variance 1 / D, so that a row has length about 1.
      dtype: of the parameters.

    Returns:
      `{"kernel": (V, D)}`.

    Raises:
      ValueError, TypeError: if a size is below 1, `dtype` is not floating, or `key` is not one typed key.

    Example:
      >>> import jax, dlcore.nn as nn
      >>> nn.embedding_init(jax.random.key(0), 100, 8)["kernel"].shape
      (100, 8)

    Source: Bengio, Ducharme, Vincent & Jauvin 2003, "A neural probabilistic language model", section 2.
    """
    key = _checks.key("nn.embedding_init", key)
    rows = _checks.integer("nn.embedding_init", "vocabulary", vocabulary, low=1)
    columns = _checks.integer("nn.embedding_init", "features", features, low=1)
    draw = initializers.normal(columns**-0.5) if kernel_init is None else kernel_init
    return {"kernel": draw(key, (rows, columns), float_dtype("nn.embedding_init", dtype))}


def embedding(params: Params, ids: ArrayLike) -> Array:
    """The rows of a table that `ids` name.

        y[…, :] = W[ids[…], :]

    Args:
      params: `{"kernel": W (V, D)}`.
      ids: (*batch,) integers in [0, V).

    Returns:
      y: (*batch, D), in the dtype of the table. An id outside the table, a negative one too, gives a row of
      NaN: never another word's row.

    Raises:
      TypeError: if `ids` are not integers.
      ValueError: if the table is not of rank 2.

    Gradient: row v gets the sum of the cotangents of its uses; ids outside the table give nothing.

    Example:
      >>> import jax.numpy as jnp, dlcore.nn as nn
      >>> nn.embedding({"kernel": jnp.array([[1.0, 2.0], [3.0, 4.0]])}, jnp.array([1, 0, 2]))
      Array([[ 3.,  4.],
             [ 1.,  2.],
             [nan, nan]], dtype=float32)

    Source: Bengio, Ducharme, Vincent & Jauvin 2003, "A neural probabilistic language model", section 2.
    """
    params = _checks.params("nn.embedding", params, required=["kernel"])
    kernel = _checks.floating("nn.embedding", "params['kernel']", params["kernel"])
    if kernel.ndim != 2:
        raise _checks.value_error(
            "nn.embedding",
            "params['kernel']",
            f"shape {kernel.shape}",
            "(vocabulary, features)",
            "Reshape it.",
        )
    rows = _checks.integers("nn.embedding", "ids", ids, "Cast them: ids.astype(jax.numpy.int32).")
    # jnp.take counts negative ids from the end; here they are outside the table like any other.
    inside = (rows >= 0) & (rows < kernel.shape[0])
    taken = jnp.take(kernel, jnp.where(inside, rows, 0), axis=0, mode="clip")
    return jnp.where(inside[..., None], taken, jnp.nan)
