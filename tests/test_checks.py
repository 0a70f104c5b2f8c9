import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import _checks, losses

KEY = jax.random.key(0)
ONE = jnp.ones(())
W = {"kernel": 1, "bias": 2}

# (what is called with the function's name "f", the error, words that its message must hold)
REFUSALS = {
    "array: a list": (lambda: _checks.array("f", "x", [1.0, 2.0]), TypeError, ["`x`", "list", "asarray"]),
    "array: None": (lambda: _checks.array("f", "x", None), TypeError, ["`x`", "None"]),
    "array: a string": (lambda: _checks.array("f", "x", "1"), TypeError, ["`x`", "'1'"]),
    "array: a NumPy string": (lambda: _checks.array("f", "x", np.str_("1")), TypeError, ["`x`"]),
    "array: objects": (lambda: _checks.array("f", "x", np.array([None])), TypeError, ["`x`", "object"]),
    "array: a key": (lambda: _checks.array("f", "x", KEY), TypeError, ["`x`", "key"]),
    "array: complex": (lambda: _checks.array("f", "x", jnp.ones(2, complex)), TypeError, ["`x`", "complex", ".real"]),
    "array: a spec": (lambda: _checks.array("f", "x", jax.ShapeDtypeStruct((2,), np.float32)), TypeError, ["`x`"]),
    "array: too large": (lambda: _checks.array("f", "x", 2**40), ValueError, ["`x`", "1099511627776"]),
    "floating: integers": (lambda: _checks.floating("f", "x", np.arange(3)), TypeError, ["`x`", "int", "astype"]),
    "floating: booleans": (lambda: _checks.floating("f", "x", np.ones(3, bool)), TypeError, ["`x`", "bool"]),
    "floating: eight bits": (
        lambda: _checks.floating("f", "x", jnp.ones(2, jnp.float8_e4m3fn)),
        TypeError,
        ["`x`", "float8_e4m3fn"],
    ),
    "key: None": (lambda: _checks.key("f", None), ValueError, ["`key`", "None", "jax.random.key(seed)"]),
    "key: raw": (lambda: _checks.key("f", jax.random.PRNGKey(0)), TypeError, ["`key`", "raw key", "wrap_key_data"]),
    "key: raw in NumPy": (lambda: _checks.key("f", np.zeros(2, np.uint32)), TypeError, ["`key`", "raw key"]),
    "key: a seed": (lambda: _checks.key("f", 0), TypeError, ["`key`", "int 0"]),
    "key: several": (
        lambda: _checks.key("f", jax.random.split(jax.random.key(0), 3)),
        ValueError,
        ["`key`", "(3,)", "vmap"],
    ),
    "booleans: numbers": (
        lambda: _checks.booleans("f", "where", jnp.ones(2)),
        TypeError,
        ["`where`", "float32 of shape (2,)", "booleans"],
    ),
    "mask: a size that does not fit": (
        lambda: _checks.mask("f", "where", jnp.ones((3, 2), bool), jnp.ones((4, 2))),
        ValueError,
        ["`where`", "(3, 2)", "(4, 2)", "axes of size 1"],
    ),
    "integers: floats": (
        lambda: _checks.integers("f", "ids", jnp.ones(2), "Cast them."),
        TypeError,
        ["`ids`", "float32 of shape (2,)", "integers", "Cast them."],
    ),
    "integer: a float": (lambda: _checks.integer("f", "n", 2.0, low=1), TypeError, ["`n`", "float 2.0"]),
    "integer: a boolean": (lambda: _checks.integer("f", "n", True, low=1), TypeError, ["`n`", "bool True"]),
    "integer: an array": (lambda: _checks.integer("f", "n", jnp.ones((), int), low=1), TypeError, ["`n`", "static"]),
    "integer: too small": (lambda: _checks.integer("f", "n", 0, low=1), ValueError, ["`n`", "0", "1 or more"]),
    "number: a string": (lambda: _checks.number("f", "n", "1"), TypeError, ["`n`", "'1'"]),
    "number: a boolean": (lambda: _checks.number("f", "n", False), TypeError, ["`n`", "bool False"]),
    "number: an array": (lambda: _checks.number("f", "n", ONE), TypeError, ["`n`", "float(...)"]),
    "number: NaN": (lambda: _checks.number("f", "n", float("nan")), ValueError, ["`n`", "nan", "finite"]),
    "number: inf": (lambda: _checks.number("f", "n", float("inf")), ValueError, ["`n`", "inf", "finite"]),
    "number: below": (lambda: _checks.number("f", "n", -1, low=0), ValueError, ["`n`", "-1", "at least 0"]),
    "number: at an open bound": (lambda: _checks.number("f", "n", 0.0, above=0), ValueError, ["`n`", "above 0"]),
    "scalar: a vector": (lambda: _checks.scalar("f", "n", jnp.ones(2)), TypeError, ["`n`", "(2,)", "vmap"]),
    "scalar: an integer array": (lambda: _checks.scalar("f", "n", np.ones((), int)), TypeError, ["`n`", "int64"]),
    "scalar: below": (lambda: _checks.scalar("f", "n", -1.0, low=0), ValueError, ["`n`", "-1.0", "at least 0"]),
    "fraction: per cent": (lambda: _checks.fraction("f", "rate", 50), ValueError, ["`rate`", "50", "percent"]),
    "fraction: negative": (lambda: _checks.fraction("f", "rate", -1e-9), ValueError, ["`rate`", "[0, 1]"]),
    "fraction: NaN": (lambda: _checks.fraction("f", "rate", float("nan")), ValueError, ["`rate`", "nan"]),
    "one_of: another": (lambda: _checks.one_of("f", "mode", "c", "ab"), ValueError, ["`mode`", "'c'", "'a', 'b'"]),
    "one_of: no word": (lambda: _checks.one_of("f", "mode", ["a"], ["a"]), ValueError, ["`mode`", "list"]),
    "spatial: a string": (lambda: _checks.spatial("f", "strides", "12", 2), TypeError, ["`strides`", "'12'"]),
    "spatial: a float": (lambda: _checks.spatial("f", "strides", 2.0, 2), TypeError, ["`strides`", "2.0"]),
    "spatial: too many": (lambda: _checks.spatial("f", "strides", (1, 2, 3), 2), ValueError, ["`strides`", "3", "2"]),
    "spatial: zero": (lambda: _checks.spatial("f", "strides", (1, 0), 2), ValueError, ["`strides`", "1 or more"]),
    "spatial: a float inside": (lambda: _checks.spatial("f", "strides", (1, 2.0), 2), TypeError, ["`strides`"]),
    "axes: a string": (lambda: _checks.axes("f", "axes", "-2", 4), TypeError, ["`axes`", "'-2'"]),
    "axes: none": (lambda: _checks.axes("f", "axes", (), 4), TypeError, ["`axes`", "()"]),
    "axes: channels": (lambda: _checks.axes("f", "axes", (-2, -1), 4), ValueError, ["`axes`", "channels"]),
    "axes: positive": (lambda: _checks.axes("f", "axes", 1, 4), ValueError, ["`axes`", "Count from the end"]),
    "axes: too far": (lambda: _checks.axes("f", "axes", -5, 4), ValueError, ["`axes`", "-5", "-4"]),
    "axes: twice": (lambda: _checks.axes("f", "axes", (-2, -2), 4), ValueError, ["`axes`", "distinct"]),
    "params: an array": (
        lambda: _checks.params("f", ONE, required=["kernel"]),
        TypeError,
        ["`params`", "init function"],
    ),
    "params: missing": (lambda: _checks.params("f", {}, required=["kernel"]), ValueError, ["`params`", "kernel"]),
    "params: unknown": (
        lambda: _checks.params("f", {**W, "gain": 3}, required=["kernel"], optional=["bias"]),
        ValueError,
        ["`params`", "gain", "bias"],
    ),
    "feature_axis: width": (
        lambda: _checks.feature_axis("f", jnp.ones((2, 3)), 4, "params['kernel']"),
        ValueError,
        ["`x`", "(2, 3)", "4", "params['kernel']"],
    ),
    "feature_axis: rank 0": (lambda: _checks.feature_axis("f", ONE, 1, "w", argument="z"), ValueError, ["`z`", "()"]),
    "same_shape": (
        lambda: _checks.same_shape("f", "a", jnp.ones(3), "b", jnp.ones((3, 1))),
        ValueError,
        ["`b`", "(3,)", "(3, 1)", "broadcast"],
    ),
    "same_dtype": (
        lambda: _checks.same_dtype("f", ONE, "bias", jnp.ones((), jnp.bfloat16)),
        TypeError,
        ["`bias`", "bfloat16", "float32", "astype"],
    ),
    "labels: floats": (
        lambda: _checks.labels("f", "y", np.ones(3), (3,), "logits"),
        TypeError,
        ["`y`", "probabilities", "astype"],
    ),
    "labels: booleans": (lambda: _checks.labels("f", "y", np.ones(3, bool), (3,), "logits"), TypeError, ["`y`"]),
    "labels: a column": (
        lambda: _checks.labels("f", "y", np.ones((3, 1), int), (3,), "logits"),
        ValueError,
        ["`y`", "(3, 1)", "(3,)", "logits"],
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_what_is_wrong_is_refused_with_the_function_the_argument_and_a_mend(name):
    call, error, words = REFUSALS[name]
    with pytest.raises(error, match=r"^dlcore\.f: `\w+` came as .*; expected .*\. \S") as caught:
        call()
    assert [word for word in words if word not in str(caught.value)] == []


def test_every_public_check_that_can_refuse_has_a_refusal_here():
    refuse_nothing = {"describe", "type_error", "value_error"}
    assert {name.split(":")[0] for name in REFUSALS} == set(_checks.__all__) - refuse_nothing


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (np.ones((8, 3), np.float32), "float32 of shape (8, 3)"),
        (jax.ShapeDtypeStruct((2,), jnp.bfloat16), "bfloat16 of shape (2,)"),
        (np.float64(2), "float64 of shape ()"),
        (3, "int 3"),
        ("same", "str 'same'"),
        (None, "NoneType None"),
    ],
)
def test_a_value_is_described_by_its_dtype_and_shape_or_its_repr(value, text):
    assert _checks.describe(value) == text


def test_a_long_value_is_described_shortly():
    assert len(_checks.describe(list(range(1000)))) < 80


@pytest.mark.parametrize("value", [True, 3, 2.5, np.float32(2), np.arange(3), np.ones(2, bool), jnp.ones((2, 0))])
def test_numbers_and_arrays_of_them_are_arrays(value):
    result = _checks.array("f", "x", value)
    assert isinstance(result, jax.Array)
    np.testing.assert_array_equal(result, value)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_each_floating_dtype_is_kept(dtype, x64):
    assert _checks.floating("f", "x", jnp.ones(2, dtype)).dtype == dtype


def test_a_python_float_is_floating():
    assert _checks.floating("f", "x", 1.5) == 1.5


def test_arrays_are_checked_under_a_trace_and_cost_no_operation():
    def run(key, x, y):
        _checks.key("f", key)
        _checks.same_shape("f", "x", _checks.floating("f", "x", x), "y", _checks.array("f", "y", y))
        _checks.feature_axis("f", x, 3, "w")
        _checks.labels("f", "y", y, (2, 3), "x")
        _checks.scalar("f", "x", x[0, 0], low=5.0)
        return x

    jaxpr = jax.make_jaxpr(run)(KEY, jnp.ones((2, 3)), jnp.ones((2, 3), int))
    plain = jax.make_jaxpr(lambda key, x, y: (x[0, 0], x)[1])(KEY, jnp.ones((2, 3)), jnp.ones((2, 3), int))
    assert len(jaxpr.eqns) == len(plain.eqns)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_a_typed_key_of_any_implementation_is_a_key(impl):
    key = jax.random.key(0, impl=impl)
    assert _checks.key("f", key) is key


def test_static_values_come_back_as_python_ones():
    found = [
        _checks.integer("f", "n", np.int64(3), low=3),
        _checks.number("f", "n", 3, low=3),
        _checks.number("f", "n", np.float32(0.5), above=0),
        _checks.fraction("f", "rate", 1),
        _checks.fraction("f", "rate", 0.0),
        _checks.scalar("f", "n", 2, low=0),
    ]
    assert found == [3, 3.0, 0.5, 1.0, 0.0, 2.0]
    assert [type(value) for value in found] == [int, float, float, float, float, float]


def test_a_traced_scalar_is_let_through_as_it_is():
    assert _checks.scalar("f", "n", ONE, low=5.0) is ONE


def test_spatial_repeats_an_int_and_keeps_a_tuple():
    assert _checks.spatial("f", "window", 3, 2) == (3, 3)
    assert _checks.spatial("f", "window", [1, np.int32(2)], 2) == (1, 2)
    assert _checks.spatial("f", "padding", 0, 3, low=0) == (0, 0, 0)
    assert _checks.spatial("f", "window", 3, 0) == ()


def test_axes_are_sorted():
    assert _checks.axes("f", "axes", (-2, -4, -3), 4) == (-4, -3, -2)
    assert _checks.axes("f", "axes", -2, 2) == (-2,)


@pytest.mark.parametrize(
    ("dtype", "wide"),
    [("int8", "int32"), ("uint8", "int32"), ("uint16", "int32"), ("uint32", "uint32"), ("int64", "int64")],
)
def test_narrow_integers_are_widened_and_keep_their_values(dtype, wide, x64):
    edge = np.array([np.iinfo(dtype).min, np.iinfo(dtype).max], dtype)
    found = _checks.integers("f", "x", jnp.asarray(edge), "Cast it.")
    assert found.dtype == wide
    np.testing.assert_array_equal(found, edge)


def test_a_64_bit_number_of_numpy_stays_out_of_range_where_jax_has_32_bits():
    """2³² + 1 cut to 32 bits would be class 1."""
    found = _checks.integers("f", "y", np.array([2**32 + 1, -(2**32), 5]), "Cast them.")
    assert found.tolist() == [2**31 - 1, -(2**31), 5]
    loss = losses.softmax_cross_entropy(jnp.zeros((2, 3)), np.array([2**32 + 1, 1]))
    assert np.isnan(loss).tolist() == [True, False]


def test_one_of_and_params_and_labels_hand_the_value_back():
    assert _checks.one_of("f", "mode", "a", ["a", "b"]) == "a"
    assert _checks.params("f", W, required=["kernel"], optional=["bias", "gain"]) is W
    np.testing.assert_array_equal(_checks.labels("f", "y", np.array([1, 2], np.uint8), (2,), "logits"), [1, 2])
