"""Single filters, by hand."""

import numpy as np

from lsg_jax import plots
from lsg_jax.analysis.filters import evidence, logit_shares, spotlight, top_images


def test_top_images_by_hand():
    features = np.array([[1.0, 5], [3, 5], [2, 9]])
    assert top_images(features, 2).tolist() == [[1, 2], [2, 0]]
    assert top_images(features, 7).shape == (2, 3)


def test_evidence_by_hand_sums_to_the_logits():
    # Filter 0 is class 0's, filters 1 and 2 are class 1's, filter 3 is shared, filter 4 is held by none.
    gate = np.array([[1.0, 0.2, 0, 1, 0.4], [0, 1, 0.6, 1, 0.4]])
    features, kernel = np.array([2.0, 3, 1, 5, 10]), np.array([[1.0, -1], [0, 2], [4, 1], [1, 1], [0.5, 0.1]])
    found = evidence(features, kernel, gate, 0.5)
    np.testing.assert_allclose(found, [[2, -2], [4, 7], [10, 6]])
    np.testing.assert_allclose(found.sum(axis=0), features @ kernel)


def test_shares_in_a_logit_by_hand():
    # Class 0 has images (1, 2) and (3, 0): means (2, 1); times the weights (1, -2) they are 2 and -2. Class 1 has
    # none, class 2 has (0, 4): 0 and 4 times 3.
    features, labels = np.array([[1.0, 2], [3, 0], [0, 4]]), np.array([0, 0, 2])
    shares = logit_shares(features, labels, np.array([[1.0, 5, 7], [-2, 5, 3]]))
    np.testing.assert_allclose(shares, [[0.5, 0, 0], [-0.5, 0, 1]])


def test_a_spotlight_by_hand():
    images, maps = np.full((2, 2, 2, 1), 200, np.uint8), np.array([[[0.0, 4], [2, 4]], [[1, 1], [1, 1]]])
    found = spotlight(images, maps)[..., 0]
    assert found.tolist() == [[[40, 200], [120, 200]], [[80, 80], [80, 80]]]
    assert spotlight(images, 0 * maps).max() == 40
    assert spotlight(images, -1 - maps).max() == 40
    larger = images.repeat(2, axis=1)
    np.testing.assert_array_equal(spotlight(larger, np.where(maps > 0, maps, -9)), spotlight(larger, maps))
    assert spotlight(np.full((1, 8, 8, 3), 100, np.uint8), np.ones((1, 2, 2))).min() == 100


def test_the_pictures_show_what_they_are_given():
    images = np.arange(6, dtype=np.uint8).repeat(64).reshape(2, 3, 8, 8, 1)
    figure = plots.filter_images(images, ("filter 4", "filter 9"), [["a", "b", "c"], ["d", "e", "f"]])
    assert [axis.get_title() for axis in figure.axes] == list("abcdef")
    assert figure.axes[3].get_ylabel() == "filter 9"
    assert np.all(figure.axes[5].images[0].get_array() == 5)

    rows = np.array([[1.0, 0], [0, 2], [0.5, 0.5]])
    (axis,) = plots.evidence(rows, ("cat", "dog"), (0, 1)).axes
    assert [each.get_text() for each in axis.get_yticklabels()] == ["cat's filters", "dog's filters", "other filters"]
    widths = [[bar.get_width() for bar in bars] for bars in axis.containers]
    assert widths == [[1, 0, 0.5], [0, 2, 0.5]]
    assert [each.get_text() for each in axis.get_legend().get_texts()] == ["to the logit of cat", "to that of dog"]
