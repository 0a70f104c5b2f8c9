"""`dlcore gradcheck`, run as people run it, and the descriptions of arguments."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore.app.errors import FailureError, UsageError
from dlcore.app.gradients import argument, load_function, prove

COMMAND = [sys.executable, "-c", "from dlcore.cli import main; main()", "gradcheck"]
MINE = """
import jax, jax.numpy as jnp

@jax.custom_vjp
def cube(x):
    return x**3

cube.defvjp(lambda x: (x**3, x), lambda x, dy: (2.99 * x**2 * dy,))

def net(params, x, *, power=2.0):
    return jnp.tanh(x @ params["kernel"]) ** power

class Holder:
    @staticmethod
    def inside(x):
        return jnp.sin(x)
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a user's own module, that one has gone to."""
    (tmp_path / "mine.py").write_text(MINE)
    np.save(tmp_path / "x.npy", np.ones((2, 3)))
    np.savez(tmp_path / "params.npz", kernel=np.eye(3))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop("mine", None)


def run(folder, *arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=300, cwd=folder)


def test_a_proven_gradient_prints_its_table_and_exits_with_0(folder):
    done = run(folder, "dlcore.nn:softmax", "--args", "float32[5,4]")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1].split()[:2] == ["x", "pass"]
    assert "pass, in float64; key data (0, 0)" in done.stdout


def test_a_wrong_rule_in_ones_own_module_exits_with_1_and_is_named(folder):
    done = run(folder, "mine:cube", "--args", "float32[3]", "--seed", "4")
    assert (done.returncode, done.stderr) == (1, "")
    assert "wrong, in float64; key data (0, 4)" in done.stdout
    assert "the rule gives" in done.stdout


def test_every_kind_of_mistake_is_one_line_and_exit_status_2_or_1(folder):
    for arguments, status, words in (
        (("dlcore.nn:sofmax", "float32[3]"), 2, "Is it one of soft_shrink"),
        (("no.such:function", "1.0"), 2, "no module no"),
        (("dlcore.nn:softmax", "float32[3"), 2, "no description of an argument"),
        (("jax.numpy:argmax", "float32[3]"), 1, "no gradient of anything else"),
        (("dlcore.nn:softmax", "int32[3]"), 1, "at least one floating argument"),
    ):
        done = run(folder, *arguments)
        assert done.returncode == status, done
        assert len(done.stderr.splitlines()) == 1
        assert words in done.stderr
        assert done.stdout == ""


def test_arguments_options_modes_and_orders_reach_the_check(folder):
    report = prove(
        "mine:net", ["@params.npz", "@x.npy"], ["power=3.0"], modes="forward", order=2, seed=1
    )  # fmt: skip
    assert list(report.leaves) == ["params/kernel", "x", "params/kernel, order 2", "x, order 2"]
    assert report.passed
    assert list(report.leaves["x"].modes) == ["forward"]
    assert prove("mine:Holder.inside", ["0.5"], [], modes="reverse", order=1, seed=0).passed
    assert prove("mine:cube", ["[0.5, 2]"], [], modes="reverse", order=1, seed=0).verdict == "wrong"
    drops = prove("dlcore.nn:dropout", ["key:7", "float16[6]"], ["rate=0.5"], modes="reverse,forward", order=1, seed=0)
    assert drops.passed


def test_a_description_is_an_array_a_key_a_file_or_a_literal(folder, rng):
    x = argument("float32[5,4]", rng)
    assert (x.shape, x.dtype) == ((5, 4), jnp.float32)
    assert 0.2 < x.std() < 3
    assert argument("bfloat16[]", rng).shape == ()
    assert argument("float64[2]", rng).dtype == jnp.float64
    assert (argument("float32[3]=-1.5", rng) == -1.5).all()
    ids = argument("int32[100]<7", rng)
    assert ids.dtype == jnp.int32
    assert set(ids.tolist()) == set(range(7))
    assert argument("bool[4]", rng).dtype == bool
    assert jnp.iscomplexobj(argument("complex64[2]", rng))
    assert jnp.array_equal(jax.random.key_data(argument("key:3", rng)), jnp.array([0, 3], jnp.uint32))
    assert argument("(2, 2)", rng) == (2, 2)
    assert argument("SAME", rng) == "SAME"
    assert argument("None", rng) is None
    assert isinstance(argument("3", rng), int)
    assert argument("[1.5, 2]", rng).tolist() == [1.5, 2.0]
    nested = argument('{"a": "float32[2]", "b": [0.5], "c": ("key", 1)}', rng)
    assert (nested["a"].shape, nested["b"].shape, nested["c"][1]) == ((2,), (1,), 1)
    assert argument("@x.npy", rng).shape == (2, 3)
    assert list(argument("@params.npz", rng)) == ["kernel"]


@pytest.mark.parametrize(
    "text", ["float32[3", "float33[3]", "float32[-1]", "float32[2]<3", "x y", "@nothing.npy", "float32[2]=much"]
)
def test_a_description_that_makes_no_sense_is_refused(text, rng):
    with pytest.raises(UsageError, match=r"--args"):
        argument(text, rng)


def test_a_function_that_is_none_is_refused():
    with pytest.raises(UsageError, match=r"package\.module:function is expected"):
        load_function("dlcore.nn.softmax")
    with pytest.raises(UsageError, match="is no function, but a str"):
        load_function("dlcore:__version__")
    with pytest.raises(UsageError, match="--modes backward"):
        prove("dlcore.nn:relu", ["float32[2]"], [], modes="backward", order=1, seed=0)
    with pytest.raises(UsageError, match="--option rate"):
        prove("dlcore.nn:relu", ["float32[2]"], ["rate"], modes="reverse", order=1, seed=0)
    with pytest.raises(FailureError, match=r"jax\.numpy:log: `f` came as a function that returns NaN"):
        prove("jax.numpy:log", ["float32[2]=-1"], [], modes="reverse", order=1, seed=0)
