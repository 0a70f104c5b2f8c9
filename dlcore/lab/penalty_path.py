"""The notes say: under L1 weights drop dead to zero one by one as λ grows, under L2 they only shrink.

Seen on scikit-learn's diabetes data (442 patients, ten columns of unit norm), where the order is known: Efron, Hastie,
Johnstone & Tibshirani 2004, "Least angle regression", figure 1.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import _checks, penalties
from dlcore._typing import Array
from dlcore.lab.result import Result

__all__ = ["events", "penalty_path", "verdict"]

QUESTION = "Do weights under L1 become exactly zero, one by one, as λ grows, and do those under L2 only shrink?"
# Decades of λ below the one at which all lasso weights are zero, and the strengths among which events are looked for.
DECADES, FINE = 4, 4000
STEPS = 4000

Paths = dict[str, np.ndarray]
Solve = Callable[[Array], penalties.Penalty]
METHODS: dict[str, Solve] = {
    "L1": penalties.l1,
    "elastic net": lambda strength: penalties.elastic_net(0.5 * strength, 0.25 * strength),
    "L2": penalties.l2,
}


def penalty_path(*, points: int = 80) -> Result:
    """The coefficients of linear models of the diabetes data over λ, for L1, L2 and both.

        ½ mean((y − X ω)²) + value(ω),   value λ Σ |ω|,  λ Σ ω²,  or half of the first and a quarter of the second

    Args:
      points: how many strengths are drawn and put into the numbers.

    Returns:
      A `Result`; its table says which weight leaves zero, or falls back to it, at which λ.

    Raises:
      ValueError, TypeError: if `points` is no whole number of at least 2.
      ModuleNotFoundError: if scikit-learn, of the extra `app`, is not installed.

    Source: Tibshirani 1996; Zou & Hastie 2005; Efron, Hastie, Johnstone & Tibshirani 2004.
    """
    _checks.integer("lab.penalty_path", "points", points, low=2)
    from sklearn.datasets import load_diabetes

    data = load_diabetes()
    x, y, names = data.data, data.target - data.target.mean(), list(data.feature_names)
    largest = float(np.abs(x.T @ y).max()) / len(y)
    fine = np.geomspace(largest * 10.0**-DECADES, largest, FINE)
    drawn = np.linspace(0, FINE - 1, points).round().astype(int)
    paths = {method: _solve(x, y, fine, make) for method, make in METHODS.items()}
    happened = events(fine, paths["L1"], names)
    numbers: dict[str, Any] = {
        "features": names,
        "largest |Xᵀy|": largest * len(y),
        "strengths": fine[drawn].tolist(),
        "coefficients": {method: path[drawn].tolist() for method, path in paths.items()},
        "zeros": {method: (path[drawn] == 0).sum(1).tolist() for method, path in paths.items()},
        "events": happened,
        "largest violation of optimality": {
            method: _violation(x, y, fine, path, method) for method, path in paths.items()
        },
    }
    rows = tuple(
        (f"{e['strength']:.5g}", e["feature"], e["event"], str(e["weights that are not zero"])) for e in happened
    )
    return Result(
        "penalty-path", QUESTION, verdict(paths, happened), numbers,
        ("λ", "feature", "under L1 it", "weights that are not zero"), rows,
        lambda figure: _draw(figure, fine[drawn], {method: path[drawn] for method, path in paths.items()}, names),
    )  # fmt: skip


def events(strengths: np.ndarray, path: np.ndarray, names: list[str]) -> list[dict[str, Any]]:
    """What enters and leaves as λ falls, each with the λ between two strengths at which it does."""
    found = []
    alive = path != 0
    for high, low in pairwise(range(len(strengths) - 1, -1, -1)):
        for feature in np.flatnonzero(alive[high] != alive[low]):
            found.append(
                {
                    "strength": float(np.sqrt(strengths[high] * strengths[low])),
                    "feature": names[feature],
                    "number": int(feature) + 1,
                    "event": "enters" if alive[low, feature] else "leaves",
                    "weights that are not zero": int(alive[low].sum()),
                }
            )
    return found


def verdict(paths: Paths, happened: list[dict[str, Any]]) -> str:
    """One sentence on each penalty, from the numbers."""
    entered = dict.fromkeys(event["number"] for event in happened if event["event"] == "enters")
    left = [event["number"] for event in happened if event["event"] == "leaves"]
    dead = int((paths["L1"][-1] == 0).sum())
    order = ", ".join(map(str, entered))
    alone = "one by one" if len({event["strength"] for event in happened}) == len(happened) else "some of them together"
    first = (
        f"Under L1 {dead} of {paths['L1'].shape[1]} weights are exactly zero at the largest λ; as it falls they leave "
        f"zero {alone}, in the order {order}"
        + (f" ({', '.join(map(str, left))} falls back on the way)." if left else ".")
    )
    zeros = int((paths["L2"] == 0).sum())
    sizes = np.linalg.norm(paths["L2"], axis=1)
    growing = int((np.diff(np.abs(paths["L2"]), axis=0) > 0).any(0).sum())
    shrink = "only shrink" if (np.diff(sizes) < 0).all() else "do not only shrink"
    none = "none is ever zero" if zeros == 0 else f"{zeros} are zero"
    single = f" (as a vector: {growing} of them grow for a while)" if growing else ""
    return f"{first} Under L2 {none}: they {shrink}{single}, to {100 * sizes[-1] / sizes[0]:.2g} % of their length."


def _solve(x: np.ndarray, y: np.ndarray, strengths: np.ndarray, make: Solve) -> np.ndarray:
    """The weights for every strength, (strengths, features), from one compiled call in float64."""
    gram, moment = x.T @ x / len(y), x.T @ y / len(y)
    spectrum = np.linalg.eigvalsh(gram)
    step = 1 / spectrum[-1]
    # Nesterov's momentum for a strongly convex loss.
    slow = np.sqrt(spectrum[0] / spectrum[-1])
    momentum = (1 - slow) / (1 + slow)
    with jax.enable_x64(True):
        g, m = jnp.asarray(gram), jnp.asarray(moment)

        def solve(strength: Array) -> Array:
            penalty = make(strength)

            def advance(_: Any, carry: tuple[Array, Array]) -> tuple[Array, Array]:
                now, before = carry
                ahead = now + momentum * (now - before)
                return penalty.prox({"kernel": ahead - step * (g @ ahead - m)}, step)["kernel"], now

            start = jnp.zeros_like(m)
            return jax.lax.fori_loop(0, STEPS, advance, (start, start))[0]

        return np.asarray(jax.jit(jax.vmap(solve))(jnp.asarray(strengths)))


def _violation(x: np.ndarray, y: np.ndarray, strengths: np.ndarray, path: np.ndarray, method: str) -> float:
    """By how much the conditions of a minimum are missed at most, relative to the largest λ."""
    l1 = {"L1": 1.0, "elastic net": 0.5, "L2": 0.0}[method] * strengths[:, None]
    l2 = {"L1": 0.0, "elastic net": 0.25, "L2": 1.0}[method] * strengths[:, None]
    slope = (path @ x.T - y) @ x / len(y) + 2 * l2 * path
    missed = np.where(path == 0, np.maximum(np.abs(slope) - l1, 0), np.abs(slope + l1 * np.sign(path)))
    return float(missed.max() / strengths[-1])


def _draw(figure: Any, strengths: np.ndarray, paths: Paths, names: list[str]) -> None:
    """A panel for each penalty: coefficients over λ, crosses where one is exactly zero."""
    figure.set_size_inches(13, 4.2)
    panels = figure.subplots(1, len(paths), sharey=True)
    for panel, (method, path) in zip(panels, paths.items(), strict=True):
        for feature, name in enumerate(names):
            line = panel.plot(strengths, path[:, feature], lw=1.2)[0]
            dead = path[:, feature] == 0
            panel.plot(strengths[dead], path[dead, feature], "x", ms=3, color=line.get_color())
            panel.annotate(
                name, (strengths[0], path[0, feature]), xytext=(-4, 0), textcoords="offset points",
                ha="right", va="center", fontsize=7, color=line.get_color(),
            )  # fmt: skip
        panel.set_xscale("log")
        panel.set_xlim(strengths[0] / 2.5, strengths[-1] * 1.3)
        panel.set_xlabel("λ")
        panel.set_title(method, loc="left")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("coefficient; × where it is exactly 0")
