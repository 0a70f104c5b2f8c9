"""What one waits for: the import, and the first step of training, each in a process of its own.

torch.compile is left out: its first step takes many times as long as any other's, unless a cache from an earlier
process helps.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.suite.row import DLCORE, Contestant, Enter, Row, Unavailable

__all__ = ["rows"]

# What training takes: the library and, where it has none of its own, Optax.
IMPORTS = {
    DLCORE: "import jax, jax.numpy as jnp, optax\nfrom dlcore import losses, models, train",
    "Flax": "import jax, jax.numpy as jnp, optax\nimport flax.linen as nn",
    "Flax NNX": "import jax, jax.numpy as jnp, optax\nfrom flax import nnx",
    "Equinox": "import jax, jax.numpy as jnp, optax\nimport equinox as eqx",
    "Haiku": "import jax, jax.numpy as jnp, optax\nimport haiku as hk",
    "Keras": "import keras",
    "PyTorch": "import torch",
}
NEEDS = {
    "Flax": "flax", "Flax NNX": "flax", "Equinox": "equinox", "Haiku": "haiku", "Keras": "keras", "PyTorch": "torch",
}  # fmt: skip

DATA = """
import numpy as np
random = np.random.default_rng(0)
x = random.standard_normal((32, 64)).astype(np.float32)
y = random.integers(10, size=32).astype(np.int32)
"""

# Of a model that is a pair of functions, `init` and `apply`.
OPTAX = """
        optimizer = optax.adam(1e-3)
        params = model.init(jax.random.key(0), x)
        opt_state = optimizer.init(params)

        def step(params, opt_state, x, y):
            def objective(params):
                return optax.softmax_cross_entropy_with_integer_labels(model.apply(params, x), y).mean()

            loss, gradients = jax.value_and_grad(objective)(params)
            updates, opt_state = optimizer.update(gradients, opt_state, params)
            return optax.apply_updates(params, updates), opt_state, loss

        params, opt_state, loss = jax.jit(step, donate_argnums=(0, 1))(params, opt_state, x, y)
        print(float(loss))
"""

# An MLP 64–128–128–10 with the library's own first parameters, and one step of Adam.
STEPS = {
    DLCORE: """
        model, optimizer = models.mlp((128, 128, 10)), optax.adam(1e-3)
        state = train.make_state(jax.random.key(0), model, optimizer, x)
        step = jax.jit(train.make_step(model, losses.softmax_cross_entropy, optimizer), donate_argnums=0)
        state, metrics = step(state, (x, y))
        print(float(metrics["loss"]))
    """,
    "Flax": """
        model = nn.Sequential([nn.Dense(128), nn.relu, nn.Dense(128), nn.relu, nn.Dense(10)])
    """
    + OPTAX,
    "Flax NNX": """
        rngs = nnx.Rngs(0)
        model = nnx.Sequential(
            nnx.Linear(64, 128, rngs=rngs), nnx.relu, nnx.Linear(128, 128, rngs=rngs), nnx.relu,
            nnx.Linear(128, 10, rngs=rngs),
        )
        optimizer = nnx.Optimizer(model, optax.adam(1e-3), wrt=nnx.Param)

        @nnx.jit
        def step(model, optimizer, x, y):
            def objective(model):
                return optax.softmax_cross_entropy_with_integer_labels(model(x), y).mean()

            loss, gradients = nnx.value_and_grad(objective)(model)
            optimizer.update(model, gradients)
            return loss

        print(float(step(model, optimizer, x, y)))
    """,
    "Equinox": """
        model = eqx.nn.MLP(64, 10, 128, 2, key=jax.random.key(0))
        optimizer = optax.adam(1e-3)
        opt_state = optimizer.init(eqx.filter(model, eqx.is_inexact_array))

        @eqx.filter_jit(donate="all")
        def step(model, opt_state, x, y):
            def objective(model):
                return optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()

            loss, gradients = eqx.filter_value_and_grad(objective)(model)
            updates, opt_state = optimizer.update(gradients, opt_state, eqx.filter(model, eqx.is_inexact_array))
            return eqx.apply_updates(model, updates), opt_state, loss

        model, opt_state, loss = step(model, opt_state, x, y)
        print(float(loss))
    """,
    "Haiku": """
        model = hk.without_apply_rng(hk.transform(lambda x: hk.nets.MLP((128, 128, 10))(x)))
    """
    + OPTAX,
    "Keras": """
        layers = keras.layers
        model = keras.Sequential([
            keras.Input((64,)), layers.Dense(128, "relu"), layers.Dense(128, "relu"), layers.Dense(10),
        ])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.Adam(1e-3), loss, jit_compile=True)
        print(float(model.train_on_batch(x, y)))
    """,
    "PyTorch": """
        model = torch.nn.Sequential(
            torch.nn.Linear(64, 128), torch.nn.ReLU(), torch.nn.Linear(128, 128), torch.nn.ReLU(),
            torch.nn.Linear(128, 10),
        )
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        loss = torch.nn.functional.cross_entropy(model(torch.from_numpy(x)), torch.from_numpy(y).long())
        loss.backward()
        optimizer.step()
        print(float(loss.detach()))
    """,
}


def rows(size: str) -> list[Row]:
    chosen = list(IMPORTS) if size == "full" else [DLCORE, "Equinox"]
    return [
        Row(
            name="import",
            shape="what training takes, a whole process",
            enter={name: _enter(name, IMPORTS[name]) for name in chosen},
            check=_nothing_to_compare,
            kind="whole",
        ),
        Row(
            name="first step of training",
            shape="MLP 64–128–128–10, a whole process: import, build, compile, one step",
            enter={name: _enter(name, IMPORTS[name] + DATA + textwrap.dedent(STEPS[name])) for name in chosen},
            check=_like_a_first_loss,
            kind="whole",
            bound="of JAX' kind, tracing and compiling; PyTorch's eager mode compiles nothing",
        ),
    ]


def _enter(name: str, code: str) -> Enter:
    def enter() -> Contestant:
        if name in NEEDS and find_spec(NEEDS[name]) is None:
            raise Unavailable(f"{name} is not installed")
        environment = {key: value for key, value in os.environ.items() if "CACHE_DIR" not in key}
        environment["KERAS_BACKEND"] = "jax"

        def run() -> Any:
            done = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
            )
            return done.stdout

        # Once, so that bytecode is compiled and files are in memory for everyone.
        start = time.perf_counter()
        run()
        return Contestant(run, lambda out: [np.array(out.split(), float)], None, time.perf_counter() - start)

    return enter


def _nothing_to_compare(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert found[0].size == expected[0].size == 0, "an import that prints"


def _like_a_first_loss(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    """Ten classes and parameters of each library's own drawing: somewhat above log 10."""
    for (loss,) in (*found, *expected):
        assert 2 < loss < 4, f"the first loss is {loss}"
