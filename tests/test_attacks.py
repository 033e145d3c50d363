"""Both attacks on toy networks, against every one-pixel change, a NumPy copy of the algorithm, and what was asked."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback
from scipy.special import softmax

from lsg_jax import plots
from lsg_jax.analysis import attacks
from lsg_jax.analysis.classifier import correct

KEY = jax.random.key(0)


def linear(seed, size, channels, *, classes=3, scale, bias):
    """Returns a linear classifier for JAX and the same in float64 for NumPy."""
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=(size * size * channels, classes)) * scale
    offsets = bias * rng.normal(size=classes)

    def traced(images):
        return jax.nn.softmax((images.reshape(len(images), -1) - 0.5) @ jnp.asarray(weights) + jnp.asarray(offsets))

    def exact(images):
        return softmax((np.asarray(images, np.float64).reshape(len(images), -1) - 0.5) @ weights + offsets, axis=1)

    return traced, exact


def bump(images):
    """Knows class 1 by one pixel near level 110 alone; everything else is class 0, more surely so further from it."""
    distance = jnp.abs(255 * images[:, 2, 3, 0] - 110) + 3 * jnp.abs(255 * images[:, 1, 1, 0] - 30)
    return jnp.stack([jax.nn.sigmoid((distance - 12) / 50), jax.nn.sigmoid((12 - distance) / 50)], axis=1)


def random_images(seed, count, size, channels):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, channels)).astype(np.uint8)


def one_pixel_changes(image, levels):
    """Returns the image with each pixel set to each combination of levels."""
    changed = []
    for row, column in np.ndindex(image.shape[:2]):
        for values in itertools.product(levels, repeat=image.shape[2]):
            changed.append(image.copy())
            changed[-1][row, column] = values
    return np.array(changed)


def recorded(probabilities):
    """Returns the classifier and a list that gets every batch of images it is asked about."""
    asked = []

    def spy(images):
        io_callback(lambda batch: asked.append(np.array(batch)), None, images, ordered=True)
        return probabilities(images)

    return spy, asked


@pytest.mark.parametrize(("channels", "levels"), [(1, range(256)), (3, (0, 255))])
def test_one_pixel_succeeds_where_an_exhaustive_search_does(channels, levels):
    # The margins of a linear network are largest at the corners of the cube of levels, so with three channels those do.
    traced, exact = linear(1, 4, channels, scale=0.3, bias=1.5)
    images = random_images(0, 40, 4, channels)
    labels = exact(images / 255).argmax(axis=1)
    found = attacks.one_pixel(traced, images, labels, KEY, population=100, generations=40)
    possible = []
    for image, label in zip(images, labels, strict=True):
        reached = exact(one_pixel_changes(image, levels) / 255)
        possible.append(np.max(np.delete(reached, label, axis=1).max(axis=1) - reached[:, label]))
    success = np.asarray(found.success)
    assert success[np.array(possible) > 0.02].all()
    assert not success[np.array(possible) < -1e-6].any()
    assert 5 < success.sum() < 35
    predicted = exact(np.asarray(found.images) / 255).argmax(axis=1)
    np.testing.assert_array_equal(success, predicted != labels)
    differing = np.any(np.asarray(found.images) != images, axis=3).sum(axis=(1, 2))
    assert differing.max() == 1
    np.testing.assert_array_equal(found.pixels, differing)


def test_one_pixel_finds_levels_inside_the_range():
    images = np.zeros((3, 4, 4, 1), np.uint8)
    images[:, 1, 1] = 30
    images[2, 1, 1] = 60
    labels = np.zeros(3, int)
    found = attacks.one_pixel(bump, images, labels, KEY, population=100, generations=40)
    assert found.success.tolist() == [True, True, False]
    for image in np.asarray(found.images)[:2]:
        assert abs(int(image[2, 3, 0]) - 110) < 12
        assert image[1, 1, 0] == 30
    assert int(found.queries[2]) == 100 * 41
    assert not np.array_equal(found.images[0], found.images[1])  # each image has its own random numbers


def numpy_one_pixel(exact, image, label, key, *, population, generations):
    """Differential evolution in NumPy, with the random numbers of the attack on the first of some images."""
    key = jax.random.fold_in(key, 0)
    height, width, channels = image.shape
    place_key, level_key = jax.random.split(jax.random.fold_in(key, 0))
    places = jax.random.randint(place_key, (population, 2), 0, jnp.asarray([height, width]))
    levels = 128 + 127 * jax.random.normal(level_key, (population, channels))
    candidates, fitness = np.concatenate([places, levels], axis=1).astype(np.float32), np.full(population, np.inf)
    limits = np.array([height - 1, width - 1, *[255] * channels], np.float32)
    for generation in range(generations + 1):
        children = candidates
        if generation:
            drawn = attacks._three_members(jax.random.fold_in(key, generation), population)
            first, second, third = (candidates[np.asarray(each)] for each in drawn)
            children = first + np.float32(0.5) * (second - third)
        children = np.clip(children, 0, limits)
        for place, child in enumerate(children):
            row, column, *values = np.round(child).astype(int)
            changed = image.copy()
            changed[row, column] = values
            answer = exact(changed[None] / 255)[0]
            if answer.argmax() != label:
                return changed, True, population * generation + place + 1
            if answer[label] <= fitness[place]:
                candidates[place], fitness[place] = child, answer[label]
    best = np.round(candidates[fitness.argmin()]).astype(int)
    changed = image.copy()
    changed[best[0], best[1]] = best[2:]
    return changed, False, population * (generations + 1)


@pytest.mark.parametrize("population", [12, 150])
def test_one_pixel_is_differential_evolution(population):
    traced, exact = linear(3, 4, 3, scale=0.4, bias=1.0)
    images = random_images(5, 8, 4, 3)
    labels = exact(images / 255).argmax(axis=1)
    fooled = []
    for image, label in zip(images, labels, strict=True):
        found = attacks.one_pixel(traced, image[None], label[None], KEY, population=population, generations=15)
        expected, success, queries = numpy_one_pixel(exact, image, label, KEY, population=population, generations=15)
        np.testing.assert_array_equal(found.images[0], expected)
        assert (bool(found.success[0]), int(found.queries[0])) == (success, queries)
        fooled.append(success)
    assert 0 < sum(fooled) < len(images)


def test_one_pixel_runs_the_network_once_on_equal_candidates():
    spy, asked = recorded(lambda images: jnp.tile(jnp.asarray([1.0, 0.0]), (len(images), 1)))
    image = np.full((1, 1, 2, 1), 7, np.uint8)  # has 512 different candidates
    found = attacks.one_pixel(spy, image, np.zeros(1, int), KEY, population=6400, generations=0)
    jax.effects_barrier()
    assert int(found.queries[0]) == 6400
    queries = np.round(255 * np.concatenate(asked)).astype(int)
    distinct = {query.tobytes() for query in queries}
    assert 256 < len(distinct) <= len(queries) < len(distinct) + 64


def test_one_pixel_starts_uniform_and_gaussian():
    spy, asked = recorded(lambda images: jnp.tile(jnp.asarray([1.0, 0.0]), (len(images), 1)))
    grey = np.full((1, 4, 6, 3), 7, np.uint8)
    attacks.one_pixel(spy, grey, np.zeros(1, int), KEY, population=4000, generations=0)
    jax.effects_barrier()
    first = np.concatenate(asked)
    changed = np.any(np.round(255 * first) != 7, axis=3)
    assert np.abs(changed.mean(axis=0) * 24 - 1).max() < 0.25
    levels = np.round(255 * first[changed])
    # Phi(-128 / 127) = 0.157 of the levels are below 0, and as many above 255; the median is 128.
    assert np.mean(levels == 0) == pytest.approx(0.157, abs=0.02)
    assert np.mean(levels == 255) == pytest.approx(0.157, abs=0.02)
    assert np.median(levels) == pytest.approx(128, abs=5)


def test_three_members_differ_and_are_uniform():
    keys = jax.random.split(KEY, 3000)
    members = np.stack(jax.vmap(lambda key: jnp.stack(attacks._three_members(key, 4)))(keys), axis=1).reshape(3, -1).T
    counts = {triple: 0 for triple in itertools.permutations(range(4), 3)}
    for triple in members:
        counts[tuple(triple)] += 1
    assert min(counts.values()) > 400
    assert max(counts.values()) < 600


def test_without_a_difference_the_population_only_copies():
    traced, _ = linear(3, 4, 1, scale=0.1, bias=1.0)
    image = random_images(6, 1, 4, 1)
    label = np.asarray(traced(image / 255)).argmax(axis=1)
    spy, asked = recorded(traced)
    attacks.one_pixel(spy, image, label, KEY, population=10, generations=20, scale=0.0)
    jax.effects_barrier()
    generations = [{query.tobytes() for query in batch} for batch in asked]  # 10 candidates are one batch
    assert len(generations) == 21
    assert len(generations[0]) == 10
    assert set.union(*generations) == generations[0]
    assert len(generations[-1]) <= 2


def numpy_local_search(exact, image, label, *, probe, factor, half_side, per_round, misses, rounds, rest):
    """Algorithm 3 in float64, starting from every pixel."""
    height, width = image.shape[:2]
    levels = image.astype(np.float64)
    neighborhood = set(np.ndindex(height, width))
    changed_in = {}
    queries = 0
    for current in range(rounds):
        usable = [at for at in sorted(neighborhood) if current - changed_in.get(at, -(10**6)) > rest]
        if not usable:
            return levels, False, queries
        scores = []
        for at in usable:
            centered = levels / 255 - 0.5
            centered[at] = probe * np.sign(centered[at])
            scores.append(exact(centered[None] + 0.5)[0, label])
        best = [usable[i] for i in np.argsort(scores)[:per_round]]
        for at in best:
            changed_in[at] = current
            for channel in range(image.shape[2]):
                value = factor * (levels[at][channel] / 255 - 0.5)
                value += float(value < -0.5) - float(value > 0.5)
                levels[at][channel] = np.rint(255 * (value + 0.5))
        queries += len(usable) + 1
        answer = exact(levels[None] / 255)[0]
        if label not in np.argsort(-answer)[:misses]:
            return levels, True, queries
        neighborhood = {
            (a, b)
            for a, b in np.ndindex(height, width)
            if any(abs(a - row) <= half_side and abs(b - column) <= half_side for row, column in best)
        }
    return levels, False, queries


@pytest.mark.parametrize(
    ("size", "options"),
    [
        (4, {"half_side": 1, "per_round": 2, "misses": 1, "rounds": 6, "rest": 2, "probe": 2.0, "factor": 1.5}),
        (4, {"half_side": 3, "per_round": 5, "misses": 2, "rounds": 40, "rest": 30, "probe": 0.4, "factor": 1.7}),
        (12, {"half_side": 2, "per_round": 3, "misses": 1, "rounds": 20, "rest": 3, "probe": 10.0, "factor": 1.75}),
    ],
)
def test_local_search_is_the_papers_algorithm(size, options):
    traced, exact = linear(2, size, 3, classes=4, scale=1.6 / size, bias=0.1)
    images = random_images(2, 12, size, 3)
    labels = exact(images / 255).argmax(axis=1)
    found = attacks.local_search(traced, images, labels, KEY, start_share=1.0, **options)
    expected = [numpy_local_search(exact, *pair, **options) for pair in zip(images, labels, strict=True)]
    for i, (levels, success, queries) in enumerate(expected):
        np.testing.assert_array_equal(found.images[i], levels)
        assert bool(found.success[i]) == success
        assert int(found.queries[i]) == queries
        assert int(found.pixels[i]) == np.any(levels != images[i], axis=2).sum()
    assert 0 < np.sum(found.success) < len(images)


def test_local_search_fools_where_every_way_does_and_not_where_none_can():
    """Each of 4 pixels is changed once at most, so that there are 16 images and 24 ways to go through them."""
    outcomes = set()
    for seed in range(6):
        traced, exact = linear(seed, 2, 1, classes=3, scale=1.5, bias=0.5)
        images = random_images(seed, 12, 2, 1)
        labels = exact(images / 255).argmax(axis=1)
        options = {"half_side": 2, "per_round": 1, "misses": 1, "rounds": 4, "rest": 10, "factor": 1.5}
        found = attacks.local_search(traced, images, labels, KEY, start_share=1.0, **options)
        for index, (image, label) in enumerate(zip(images, labels, strict=True)):
            value = 1.5 * (image.astype(np.float64) / 255 - 0.5)
            cyclic = np.rint(255 * (value + (value < -0.5) - (value > 0.5) + 0.5))
            reached = {
                pixels: np.where(np.isin(np.arange(4), pixels).reshape(2, 2, 1), cyclic, image)
                for count in range(5)
                for pixels in itertools.combinations(range(4), count)
            }
            fools = {pixels: exact(each[None] / 255)[0].argmax() != label for pixels, each in reached.items()}
            every_way = all(
                any(fools[tuple(sorted(order[:count]))] for count in range(1, 5))
                for order in itertools.permutations(range(4))
            )
            success = bool(found.success[index])
            outcomes.add((every_way, any(fools.values()), success))
            if every_way or not any(fools.values()):
                assert success == every_way
            if success:
                assert any(
                    fools[pixels] and np.array_equal(each, found.images[index]) for pixels, each in reached.items()
                )
    assert {(True, True, True), (False, False, False)} <= outcomes


def test_local_search_draws_its_first_pixels_and_its_candidates():
    traced, exact = linear(0, 10, 1, scale=1e-3, bias=1.0)
    images = random_images(3, 30, 10, 1) // 4  # dark enough that every change shows
    labels = exact(images / 255).argmax(axis=1)
    one = attacks.local_search(traced, images, labels, KEY, rounds=1, per_round=3, start_share=0.07)
    assert set(np.asarray(one.queries)) == {7 + 1}
    assert set(np.asarray(one.pixels)) == {3}
    places = np.any(np.asarray(one.images) != images, axis=(0, 3))
    assert places.sum() > 40  # 90 changed pixels, drawn anew for every image
    few = attacks.local_search(traced, images, labels, KEY, rounds=4, max_candidates=5, start_share=1.0, rest=0)
    assert set(np.asarray(few.queries)) == {4 * (5 + 1)}
    none = attacks.local_search(traced, images, labels, KEY, rounds=4, start_share=0.0, half_side=0, rest=3)
    assert set(np.asarray(none.queries)) == {2}  # the one pixel rests, so the search ends
    assert set(np.asarray(none.pixels)) == {1}


def test_local_search_probes_beyond_the_range_and_changes_within():
    traced, _ = linear(1, 4, 1, scale=0.01, bias=1.0)
    image = random_images(4, 1, 4, 1)
    spy, asked = recorded(traced)
    label = np.asarray(traced(image / 255)).argmax(axis=1)
    attacks.local_search(spy, image, label, KEY, rounds=1, probe=10.0, start_share=1.0)
    jax.effects_barrier()
    probes = asked[0]
    assert probes.shape == (16, 4, 4, 1)
    changed = np.abs(probes - image / 255) > 1e-4
    assert (changed.sum(axis=(1, 2, 3)) == 1).all()
    originals = np.broadcast_to(image, probes.shape)[changed]
    np.testing.assert_allclose(probes[changed], np.where(originals > 127, 10.5, -9.5), rtol=1e-6)
    assert asked[1].shape == (1, 4, 4, 1)
    assert 0 <= asked[1].min() <= asked[1].max() <= 1


def test_a_larger_budget_goes_on_where_a_smaller_one_ended():
    traced, exact = linear(1, 4, 1, scale=0.3, bias=1.5)
    images = random_images(0, 20, 4, 1)
    labels = exact(images / 255).argmax(axis=1)
    for attack, budget in ((attacks.one_pixel, "generations"), (attacks.local_search, "rounds")):
        options = {"population": 12} if budget == "generations" else {"start_share": 0.3, "rest": 0}
        small, large = (attack(traced, images, labels, KEY, **options, **{budget: most}) for most in (1, 12))
        early = np.asarray(small.success)
        assert 0 < early.sum() < len(images)
        assert (np.asarray(large.queries) > small.queries)[~early].all()
        for before, after in zip(small, large, strict=True):
            np.testing.assert_array_equal(np.asarray(before)[early], np.asarray(after)[early])
        other = attack(traced, images, labels, jax.random.key(1), **options, **{budget: 1})
        assert not np.array_equal(other.images, small.images)


def test_correct_wants_every_network_to_agree():
    labels = np.array([0, 1, 1, 0])
    first = np.array([[2, 1], [0, 3], [0, 3], [1, 4]])
    second = np.array([[5, 1], [3, 0], [0, 3], [4, 1]])
    assert correct(labels, first, second).tolist() == [0, 2]
    assert correct(labels, first).tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        (attacks.one_pixel, {"population": 2}, "at least 3"),
        (attacks.one_pixel, {"generations": -1}, "-1"),
        (attacks.local_search, {"per_round": 0}, "at least 1"),
        (attacks.local_search, {"max_candidates": 0}, "at least 1"),
        (attacks.local_search, {"factor": 2.5}, r"\[0, 2\].*2.5"),
        (attacks.local_search, {"start_share": 1.5}, r"\[0, 1\].*1.5"),
    ],
)
def test_attacks_refuse_budgets_that_make_no_sense(attack, options, message):
    with pytest.raises(ValueError, match=message):
        attack(bump, np.zeros((1, 4, 4, 1), np.uint8), np.zeros(1, int), KEY, **options)


def test_attacks_refuse_other_images():
    for images, said in (
        (np.zeros((1, 4, 4, 1)), "must be an array uint8"),
        (np.zeros((2, 4, 4, 1), np.uint8), "labels"),
    ):
        with pytest.raises(ValueError, match=said):
            attacks.one_pixel(bump, images, np.zeros(1, int), KEY)


def test_attack_examples_frame_the_changed_pixels():
    images = random_images(0, 2, 4, 3)
    adversarial = images.copy()
    adversarial[0, 1, 2] ^= 255
    adversarial[1, 0, 0] ^= 1
    adversarial[1, 3, 3, 1] ^= 1
    figure = plots.attack_examples(images, adversarial, ["cat", "dog"], ["dog", "ship"])
    framed = [{patch.get_xy() for patch in axis.patches} for axis in figure.axes]
    assert framed == [set(), set(), {(1, 0)}, {(-1, -1), (2, 2)}]
    assert [axis.get_title() for axis in figure.axes] == ["cat", "dog", "dog (1 pixel)", "ship (2 pixels)"]
