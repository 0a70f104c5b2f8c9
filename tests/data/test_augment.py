import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlcore import data


def shifted(image, i, j):
    """y[h, w] = x[h + i, w + j], zeros outside, written as a loop."""
    result = np.zeros_like(image)
    height, width, _ = image.shape
    for h, w in itertools.product(range(height), range(width)):
        if 0 <= h + i < height and 0 <= w + j < width:
            result[h, w] = image[h + i, w + j]
    return result


def shifts_of(before, after, far):
    """The (i, j) by which each image was moved; the images must tell all shifts apart."""
    found = []
    for x, y in zip(np.asarray(before), np.asarray(after), strict=True):
        fits = [ij for ij in itertools.product(range(-far, far + 1), repeat=2) if np.array_equal(y, shifted(x, *ij))]
        assert len(fits) == 1, f"{len(fits)} shifts explain this image"
        found.append(fits[0])
    return found


def images(count, height=4, width=5, channels=2, dtype=np.float32):
    """Images with a number of its own in each place, so that every shift shows."""
    return np.arange(1, count * height * width * channels + 1, dtype=dtype).reshape(count, height, width, channels)


@pytest.mark.parametrize("pixels", [0, 1, 2, 3])
def test_each_image_is_moved_by_one_whole_shift_of_its_own(pixels, key):
    x = images(20)
    y = data.random_shift(key, x, pixels=pixels)
    found = shifts_of(x, y, pixels)
    assert len(set(found)) > 1 or pixels == 0
    assert y.dtype == x.dtype


def test_one_pixel_is_the_default(key):
    x = images(20)
    assert {abs(step) for shift in shifts_of(x, data.random_shift(key, x), 1) for step in shift} == {0, 1}


@pytest.mark.parametrize("pixels", [1, 2])
def test_all_shifts_come_about_equally_often(pixels, key):
    count, kinds = 3000, (2 * pixels + 1) ** 2
    x = np.zeros((count, 5, 5, 1), np.float32)
    x[:, 2, 2] = 1
    y = np.asarray(data.random_shift(key, x, pixels=pixels))
    # the one at (2, 2) goes to (2 - i, 2 - j)
    places = y.reshape(count, 25).argmax(-1)
    assert (y.sum((1, 2, 3)) == 1).all()
    often = np.bincount(places, minlength=25).reshape(5, 5)[2 - pixels : 3 + pixels, 2 - pixels : 3 + pixels]
    assert often.sum() == count
    assert np.abs(often - count / kinds).max() < 5 * (count / kinds * (1 - 1 / kinds)) ** 0.5


def test_the_same_key_gives_the_same_shifts_and_another_key_others(seed):
    x = images(30)
    first, again, other = (data.random_shift(jax.random.key(s), x) for s in (seed, seed, seed + 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float16, jnp.bfloat16, np.bool_])
def test_the_dtype_is_kept(dtype, key):
    x = (np.arange(2 * 3 * 3) % 2).reshape(2, 3, 3, 1).astype(dtype)
    y = data.random_shift(key, x)
    assert (y.dtype, y.shape) == (dtype, x.shape)


def test_a_shift_beyond_the_image_leaves_zeros(seed):
    y = data.random_shift(jax.random.key(seed), images(200, 2, 2, 1), pixels=50)
    assert (np.asarray(y).reshape(200, 4) == 0).all(-1).mean() > 0.9


def test_no_image_is_no_image(key):
    assert data.random_shift(key, np.ones((0, 3, 3, 1))).shape == (0, 3, 3, 1)


def test_it_compiles_to_the_same_and_maps_over_batches(key):
    x = images(6)
    expected = data.random_shift(key, x)
    np.testing.assert_array_equal(jax.jit(data.random_shift)(jax.random.clone(key), x), expected)
    keys = jax.random.split(jax.random.clone(key), 2)
    both = jax.vmap(data.random_shift)(keys, jnp.stack([x, x]))
    assert not np.array_equal(both[0], both[1])
    for one in both:
        shifts_of(x, one, 1)


def test_the_gradient_moves_back(seed):
    x = jnp.asarray(images(6))
    y, back = jax.vjp(lambda x: data.random_shift(jax.random.key(seed), x), x)
    cotangent = images(6)[::-1].copy()
    expected = [shifted(dy, -i, -j) for dy, (i, j) in zip(cotangent, shifts_of(x, y, 1), strict=True)]
    np.testing.assert_array_equal(back(jnp.asarray(cotangent))[0], np.stack(expected))
    _, forward = jax.jvp(lambda x: data.random_shift(jax.random.key(seed), x), (x,), (x,))
    np.testing.assert_array_equal(forward, y)


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("key", None, ValueError),
        ("key", 0, TypeError),
        ("key", jax.random.PRNGKey(0), TypeError),
        ("images", np.ones((3, 3, 1)), ValueError),
        ("images", np.ones((2, 1, 3, 3, 1)), ValueError),
        ("images", [[[[1.0]]]], TypeError),
        ("images", None, TypeError),
        ("pixels", -1, ValueError),
        ("pixels", 1.0, TypeError),
        ("pixels", None, TypeError),
    ],
)
def test_a_wrong_argument_is_refused(argument, value, error, key):
    given = {"key": key, "images": np.ones((2, 3, 3, 1)), "pixels": 1, argument: value}
    with pytest.raises(error, match=rf"dlcore\.data\.random_shift: `{argument}` came as"):
        data.random_shift(given["key"], given["images"], pixels=given["pixels"])
