"""Three checkers of gradients over the same planted errors and the same right functions.

python -m benchmarks.gradcheck [--only NAME]

Each runs as its documentation says, with its default tolerances and steps:

- dlcore: `dlcore.gradcheck.check(f, *args)`, which works in float64 whatever comes in.
- JAX: `jax.test_util.check_grads(f, args, order=1)`, forward and reverse, on float32 arrays, and on float64 arrays
  under `jax.enable_x64`.
- PyTorch: `torch.autograd.gradcheck`, float64 as it asks for, with `check_forward_ad=True`, over a
  `torch.autograd.Function` whose forward, backward and jvp call the compiled JAX function, its vjp and its jvp.

A function with a `custom_vjp` has no forward derivative; all three check its reverse one alone. What the peers cannot
take is done for them: integers, booleans, keys and the containers of pytrees are closed over, so that both get a flat
list of floating arrays. dlcore gets the arguments as they stand. A run that ends in another error than the checker's
own mismatch is counted as `cannot run`: neither found nor a false alarm. So is dlcore's `inconclusive`. A checker
that rejects whatever stands at a kink finds every error there; `told apart` counts the errors that it found in
functions whose right form it does not reject. With --only (a part of a kind or a name) nothing is stored.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax.test_util import check_grads
from torch.autograd.gradcheck import GradcheckError

from benchmarks.gradient_controls.correct import Correct, correct
from benchmarks.gradient_controls.planted import Control, controls
from benchmarks.timing import store
from dlcore import gradcheck

Function = Callable[..., Any]
# Each function with what every checker said of it.
Outcomes = list[tuple[Any, dict[str, str]]]
# One of these, or "cannot run: <why>".
REJECTED, ACCEPTED, INCONCLUSIVE = "rejected", "accepted", "inconclusive"


def flatten(function: Function, args: tuple[Any, ...], dtype: Any) -> tuple[Function, list[Any]]:
    """The function of the floating leaves alone, which are given back as arrays of the dtype."""
    leaves, tree = jax.tree.flatten(args)
    moving = [_floating(leaf) for leaf in leaves]

    def flat(*values: Any) -> Any:
        # check_grads evaluates on NumPy's arrays, which lack what JAX' own have.
        given = map(jnp.asarray, values)
        merged = [next(given) if moves else leaf for leaf, moves in zip(leaves, moving, strict=True)]
        return function(*jax.tree.unflatten(tree, merged))

    return flat, [jnp.asarray(leaf, dtype) for leaf, moves in zip(leaves, moving, strict=True) if moves]


def _floating(leaf: Any) -> bool:
    return isinstance(leaf, float) or bool(jnp.issubdtype(leaf.dtype, np.floating))


def by_dlcore(function: Function, args: tuple[Any, ...], modes: tuple[str, ...]) -> str:
    verdict = gradcheck.check(function, *args, modes=modes).verdict
    return {"wrong": REJECTED, "pass": ACCEPTED, "inconclusive": INCONCLUSIVE}[verdict]


def by_jax(function: Function, args: tuple[Any, ...], modes: tuple[str, ...], *, dtype: str) -> str:
    with jax.enable_x64(dtype == "float64"):
        flat, leaves = flatten(function, args, dtype)
        try:
            check_grads(flat, leaves, order=1, modes=["fwd", "rev"] if "forward" in modes else ["rev"])
        except AssertionError as error:
            if "Not equal to tolerance" not in str(error):
                raise
            return REJECTED
    return ACCEPTED


def by_torch(function: Function, args: tuple[Any, ...], modes: tuple[str, ...]) -> str:
    with jax.enable_x64(True):
        flat, leaves = flatten(function, args, np.float64)
        tensors = [torch.tensor(np.array(leaf), requires_grad=True) for leaf in leaves]
        try:
            torch.autograd.gradcheck(torch_function(flat), tensors, check_forward_ad="forward" in modes)
        except GradcheckError:
            return REJECTED
    return ACCEPTED


def torch_function(function: Function) -> Function:
    """JAX' values, vjp and jvp of a function of arrays as one `torch.autograd.Function`."""

    def flat(*leaves: Any) -> Any:
        return tuple(jax.tree.leaves(function(*leaves)))

    value = jax.jit(flat)
    pull = jax.jit(lambda leaves, cotangents: jax.vjp(flat, *leaves)[1](cotangents))
    push = jax.jit(lambda leaves, tangents: jax.jvp(flat, leaves, tangents)[1])

    def numbers(tensors: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(tensor.detach().numpy() for tensor in tensors)

    def tensors(arrays: Iterable[Any]) -> tuple[Any, ...]:
        return tuple(torch.from_numpy(np.array(array)) for array in arrays)

    class Wrapped(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *leaves: Any) -> Any:
            ctx.save_for_backward(*leaves)
            ctx.save_for_forward(*leaves)
            return tensors(value(*numbers(leaves)))

        @staticmethod
        def backward(ctx: Any, *cotangents: Any) -> Any:
            return tensors(pull(numbers(ctx.saved_tensors), numbers(cotangents)))

        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            # An argument without a tangent comes as None.
            leaves = ctx.saved_tensors
            given = (torch.zeros_like(leaf) if t is None else t for leaf, t in zip(leaves, tangents, strict=True))
            return tensors(push(numbers(leaves), numbers(given)))

    return Wrapped.apply


CHECKERS: dict[str, Function] = {
    "dlcore": by_dlcore,
    "jax float32": lambda *given: by_jax(*given, dtype="float32"),
    "jax float64": lambda *given: by_jax(*given, dtype="float64"),
    "torch": by_torch,
}


def run(cases: Iterable[Control | Correct], seconds: dict[str, float]) -> Outcomes:
    """What each checker says of each function; the seconds it took are added up."""
    outcomes = []
    for case in cases:
        said = {}
        for name, checker in CHECKERS.items():
            start = time.perf_counter()
            try:
                said[name] = checker(case.function, case.args, getattr(case, "modes", ("reverse", "forward")))
            except Exception as error:
                said[name] = f"cannot run: {type(error).__name__}: {str(error).strip().splitlines()[0][:160]}"
            seconds[name] += time.perf_counter() - start
        outcomes.append((case, said))
        print(f"{case.name}: " + ", ".join(f"{name} {text}" for name, text in said.items()), flush=True)
    return outcomes


def table(outcomes: Outcomes, group: str, rejected: str) -> list[dict[str, Any]]:
    """A row for each kind: how many there are, and how many each checker rejected, left open or could not run."""
    rows = []
    for kind in dict.fromkeys(case.kind for case, _ in outcomes):
        said = [each for case, each in outcomes if case.kind == kind]
        rows.append(
            {
                group: kind,
                "count": len(said),
                rejected: {name: sum(each[name] == REJECTED for each in said) for name in CHECKERS},
                "inconclusive": {"dlcore": sum(each["dlcore"] == INCONCLUSIVE for each in said)},
                "cannot run": {name: sum(each[name].startswith("cannot") for each in said) for name in CHECKERS},
            }
        )
    return rows


def told_apart(planted: Outcomes, right: Outcomes, kind: str) -> dict[str, int]:
    """How many errors of a kind each checker found without rejecting the right form, where that is among the right."""
    rejects = {(case.function, id(case.args)): said for case, said in right}

    def apart(control: Control, said: dict[str, str], name: str) -> bool:
        of_truth = rejects.get((control.truth, id(control.args)), {})
        return said[name] == REJECTED and of_truth.get(name) != REJECTED

    return {name: sum(apart(case, said, name) for case, said in planted if case.kind == kind) for name in CHECKERS}


def names(outcomes: Outcomes, verdict: str) -> dict[str, list[str]]:
    return {name: [case.name for case, said in outcomes if said[name] == verdict] for name in CHECKERS}


def measure(only: str = "") -> dict[str, Any]:
    def wanted(cases: Iterable[Any]) -> list[Any]:
        return [case for case in cases if only in case.name or only in case.kind]

    seconds = dict.fromkeys(CHECKERS, 0.0)
    planted, right = run(wanted(controls()), seconds), run(wanted(correct()), seconds)
    return {
        "torch": torch.__version__,
        "planted": [
            {**row, "told apart": told_apart(planted, right, row["kind"])} for row in table(planted, "kind", "found")
        ],
        "correct": table(right, "group", "alarms"),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
        "missed": names(planted, ACCEPTED),
        "alarms": names(right, REJECTED),
        "inconclusive": names(planted + right, INCONCLUSIVE)["dlcore"],
        "cannot run": {
            name: {case.name: said[name] for case, said in planted + right if said[name].startswith("cannot")}
            for name in CHECKERS
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="NAME", default="", help="a part of a kind or a name; nothing is stored")
    only = parser.parse_args().only
    rows = measure(only)
    if only:
        print(rows)
    else:
        store("gradcheck", rows)


if __name__ == "__main__":
    main()
