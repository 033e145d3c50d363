"""Activation maps, their curves and areas, and the choice of examples, against NumPy loops and hand-computed cases."""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import softmax

from lsg_jax import models, plots
from lsg_jax.analysis import localization


def numpy_maps(feature_maps, kernel, classes, size):
    """The weighted sum, then bilinear interpolation between pixel centres, constant beyond the outermost ones."""
    count, height, width, _ = feature_maps.shape
    small = np.zeros((count, height, width))
    for n, i, j in np.ndindex(small.shape):
        small[n, i, j] = np.dot(feature_maps[n, i, j].astype(np.float64), kernel[:, classes[n]].astype(np.float64))
    large = np.zeros((count, *size))
    for n, i, j in np.ndindex(large.shape):
        y = np.clip((i + 0.5) * height / size[0] - 0.5, 0, height - 1)
        x = np.clip((j + 0.5) * width / size[1] - 0.5, 0, width - 1)
        top, left = int(y), int(x)
        bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
        upper = (1 - (x - left)) * small[n, top, left] + (x - left) * small[n, top, right]
        lower = (1 - (x - left)) * small[n, bottom, left] + (x - left) * small[n, bottom, right]
        large[n, i, j] = (1 - (y - top)) * upper + (y - top) * lower
    return large


def test_class_activation_maps_are_the_weighted_sum_enlarged():
    rng = np.random.default_rng(0)
    feature_maps, kernel = rng.normal(size=(3, 4, 2, 5)).astype(np.float32), rng.normal(size=(5, 6)).astype(np.float32)
    classes = np.array([5, 0, 5])
    found = localization.class_activation_maps(feature_maps, kernel, classes, (16, 6))
    np.testing.assert_allclose(found, numpy_maps(feature_maps, kernel, classes, (16, 6)), atol=1e-5)
    assert float(found.min()) < 0


def test_the_mean_of_a_map_and_the_bias_give_the_logit():
    model = models.create("tiny", 7)
    images = jax.random.normal(jax.random.key(1), (4, 6, 6, 3))
    variables = model.init(jax.random.key(0), images)
    classifier = variables["params"]["classifier"]
    classifier["bias"] = jnp.arange(7.0)
    classes = np.array([3, 6, 0, 3])
    maps = localization.class_activation_maps(
        model.apply(variables, images, method="feature_maps"), classifier["kernel"], classes, (6, 6)
    )
    logits = model.apply(variables, images)[np.arange(4), classes]
    np.testing.assert_allclose(maps.mean((1, 2)) + classes, logits, atol=1e-5)


def test_for_display_runs_from_zero_to_one():
    maps = np.array([[[-1.0, 1.0], [0.0, 3.0]], [[2.0, 2.0], [2.0, 2.0]]])
    np.testing.assert_allclose(localization.for_display(maps), [[[0, 0.5], [0.25, 1]], [[0, 0], [0, 0]]])


def test_mass_area_counts_the_fewest_pixels():
    maps = np.zeros((4, 2, 5))
    maps[0] = 3.0  # nine of ten equal pixels hold 90 %
    maps[1, 1, 2] = 0.25  # one pixel holds everything
    maps[2].flat[:4] = 5, 4, 1, -100  # 5 + 4 of 10
    maps[3] = -1.0
    np.testing.assert_allclose(localization.mass_area(maps), [0.9, 0.1, 0.2, np.nan])
    np.testing.assert_allclose(localization.mass_area(maps, 0.91)[:3], [1.0, 0.1, 0.3])
    np.testing.assert_allclose(localization.mass_area(maps, 0.5)[:3], [0.5, 0.1, 0.1])


WEIGHTS = np.random.default_rng(3).normal(size=(4 * 5 * 2, 3))


def toy(images):
    return jax.nn.softmax(images.reshape(len(images), -1) @ jnp.asarray(WEIGHTS, jnp.float32))


def numpy_curves(images, maps, classes, fill, counts):
    deletion, insertion = np.zeros((2, len(images), len(counts)))
    for n, (image, plan, label) in enumerate(zip(images, maps, classes, strict=True)):
        order = sorted(np.ndindex(plan.shape), key=lambda at: (-plan[at], at))
        for step, count in enumerate(counts):
            removed, inserted = image / 255, np.broadcast_to(fill, image.shape).copy()
            for at in order[:count]:
                removed[at], inserted[at] = fill, image[at] / 255
            deletion[n, step] = softmax(removed.ravel() @ WEIGHTS)[label]
            insertion[n, step] = softmax(inserted.ravel() @ WEIGHTS)[label]
    return deletion, insertion


def test_deletion_and_insertion_follow_the_order_of_the_map():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 4, 5, 2)).astype(np.uint8)
    maps = rng.integers(-2, 3, (5, 4, 5)).astype(np.float32)  # with ties and negative values
    classes, fill = np.array([0, 1, 2, 0, 1]), (0.25, 0.5)
    found = localization.deletion_insertion(toy, images, maps, classes, fill=fill, steps=8, batch_size=2)
    counts = [0, 2, 5, 8, 10, 12, 15, 18, 20]
    np.testing.assert_allclose(found.shares, np.array(counts) / 20)
    deletion, insertion = numpy_curves(images, maps, classes, fill, counts)
    np.testing.assert_allclose(found.deletion, deletion, atol=1e-5)
    np.testing.assert_allclose(found.insertion, insertion, atol=1e-5)
    for area, curve in ((found.deletion_area, deletion), (found.insertion_area, insertion)):
        heights = (curve[:, :-1] + curve[:, 1:]) / 2
        expected = sum((counts[step + 1] - counts[step]) / 20 * heights[:, step] for step in range(8))
        np.testing.assert_allclose(area, expected, atol=1e-5)


def test_median_examples_are_right_for_all_and_typical():
    labels = np.array([0, 0, 0, 0, 2, 2, 2, 1])
    # The probability of the label; the next class has the rest.
    first = np.array([0.875, 0.75, 0.5625, 0.625, 0.875, 0.5, 0.625, 0.875])
    second = np.array([0.5625, 0.9375, 0.75, 0.25, 0.625, 0.875, 0.75, 0.25])

    def spread(confidence):
        found = np.zeros((8, 3))
        found[np.arange(8), labels] = confidence
        found[np.arange(8), (labels + 1) % 3] = 1 - confidence
        return found

    # The means: class 0 has 0.71875, 0.84375, 0.65625 and one that a network misses; class 1 has none; class 2 has 0.75
    # and 0.6875, equally far from their median, of which the first is taken.
    assert localization.median_examples(labels, spread(first), spread(second)).tolist() == [0, 4]
    # The first network alone: the median of class 0 is 0.6875, equally far from 0.75 and 0.625.
    assert localization.median_examples(labels, spread(first)).tolist() == [1, 7, 4]


def test_figures_show_every_example_and_area():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 4, 5, 3)).astype(np.uint8)
    maps = {"STD": rng.uniform(size=(3, 4, 5)), "LSG": rng.uniform(size=(3, 4, 5))}
    probabilities = {"STD": np.array([0.1, 0.2, 0.3]), "LSG": np.array([0.4, 0.5, 0.6])}
    figure = plots.activation_maps(images, maps, probabilities, ["cat", "dog", "ship"])
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert titles == [
        "cat",
        "STD\n0.10",
        "LSG\n0.40",
        "dog",
        "STD\n0.20",
        "LSG\n0.50",
        "ship",
        "STD\n0.30",
        "LSG\n0.60",
    ]
    titled = [axis for axis in figure.axes if axis.get_title()]
    for example, panel in np.ndindex(3, 2):
        shown = titled[3 * example + 1 + panel].images[1].get_array()
        np.testing.assert_array_equal(shown, maps[("STD", "LSG")[panel]][example])
    curves = localization.Curves(
        np.array([0, 0.5, 1]), np.array([[1, 0, 0], [1, 1, 0.0]]), np.ones((2, 3)), np.array([0.25, 0.75]), np.ones(2)
    )
    left, right = plots.deletion_insertion_curves({"STD": curves}).axes
    np.testing.assert_allclose(left.lines[0].get_xydata(), [[0, 1], [50, 0.5], [100, 0]])
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["STD: area 0.500"]
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["STD: area 1.000"]
