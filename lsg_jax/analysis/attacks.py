"""Two black-box attacks (appendix E, Table 3).

An attack sees a network only through ``probabilities``, a traceable function from images f32[M, H, W, channels], uint8
images divided by 255, to f32[M, C]. It should be given images that the network classifies correctly
(``classifier.correct``). Images are attacked one after another and each stops once it is fooled, so the largest array
holds the candidates of one image. Its random choices depend on the key and its position alone: a larger budget repeats
a smaller one and goes on.
"""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from lsg_jax import checks
from lsg_jax.analysis.classifier import as_pytree, num_classes

Probabilities = Callable[[jax.Array], jax.Array]

_BLOCK = 64


class Attack(NamedTuple):
    """What an attack made of N images.

    Attributes:
      images: uint8[N, H, W, channels], adversarial where ``success``, elsewhere the last attempt.
      success: bool[N], whether the network misclassifies the image.
      queries: i32[N], images given to the network until the first success or the end of the budget.
      pixels: i32[N], how many pixels differ from the original in any channel.
    """

    images: jax.Array
    success: jax.Array
    queries: jax.Array
    pixels: jax.Array


class _Evolution(NamedTuple):
    candidates: jax.Array
    fitness: jax.Array
    fooled: jax.Array
    generation: jax.Array


class _Search(NamedTuple):
    image: jax.Array
    neighborhood: jax.Array
    resting: jax.Array
    success: jax.Array
    queries: jax.Array
    rounds: jax.Array


def _checked(attack: Callable[..., Attack]) -> Callable[..., Attack]:
    """Checks what an attack is given before it is traced, when that can be seen; ranges it checks itself."""
    options_of = inspect.signature(attack).parameters

    @wraps(attack)
    def checked(
        probabilities: Probabilities, images: jax.Array, labels: jax.Array, key: jax.Array, **options: Any
    ) -> Attack:
        network = as_pytree(probabilities)
        checks.array("images", images, jnp.uint8, "N", "H", "W", "channels")
        checks.class_labels(labels, num_classes(network, images.shape), len(images))
        checks.key(key)
        for name, value in options.items():
            if isinstance(default := options_of[name].default, float):
                checks.number(name, value)
            elif value != default:
                checks.whole(name, value, 0)
        return attack(network, images, labels, key, **options)

    return checked


@_checked
@partial(jax.jit, static_argnames=("population", "generations"))
def one_pixel(
    probabilities: Probabilities,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    *,
    population: int = 400,
    generations: int = 100,
    scale: float = 0.5,
) -> Attack:
    """The non-targeted one-pixel attack of Su, Vargas and Sakurai (2019): differential evolution without crossover.

    A candidate is a row, a column and a level for each channel. Rows and columns start uniform, levels Gaussian with
    mean 128 and standard deviation 127. In every generation candidate i competes with x_r1 + scale (x_r2 - x_r3), for
    three different members of the population drawn at random; the one with the lower probability of the label stays.
    A candidate outside the image or the levels 0 to 255 is moved to their border, of which the paper says nothing. The
    search stops at the first candidate, in order, that the network misclassifies, since success is what is counted; the
    paper goes on until the label's probability is below 5 %. Candidates of a generation that make the same image count
    as a query each, as in the paper, but the network runs on it once.

    Args:
      probabilities: the network, see the module.
      images: uint8[N, H, W, channels].
      labels: i[N], the true classes.
      key: a ``jax.random`` key.
      population: candidates, 400 in the paper, at least 3.
      generations: at most so many follow the initial one, 100 in the paper; an image costs at most
        population * (generations + 1) queries.
      scale: F.

    Raises:
      ValueError: on fewer than 3 candidates, a negative number of generations, images that are not uint8, or a label
        that is no class.
    """
    if population < 3 or generations < 0:
        raise ValueError(f"population must be at least 3 and generations at least 0, got {population}, {generations}")
    height, width, channels = images.shape[1:]
    limits = jnp.asarray([height - 1, width - 1, *[255] * channels], jnp.float32)

    def attack(image, label, key):
        def paint(candidate):
            row, column, *levels = candidate
            return image.at[row, column].set(jnp.stack(levels).astype(jnp.uint8))

        def ask(candidates):
            return probabilities(_scaled(jax.vmap(paint)(candidates)))

        def advance(state):
            first, second, third = _three_members(jax.random.fold_in(key, state.generation), population)
            parents = state.candidates
            children = jnp.clip(parents[first] + scale * (parents[second] - parents[third]), 0, limits)
            candidates = jnp.where(state.generation == 0, parents, children)
            distinct, which = jnp.unique(_whole(candidates), axis=0, return_inverse=True, size=population)
            found = _in_blocks(ask, distinct, which.max() + 1)[which]
            fitness, fooled = found[:, label], jnp.argmax(found, axis=1) != label
            better = fooled | (fitness <= state.fitness)
            return _Evolution(
                jnp.where(better[:, None], candidates, parents),
                jnp.where(better, fitness, state.fitness),
                fooled,
                state.generation + 1,
            )

        place_key, level_key = jax.random.split(jax.random.fold_in(key, 0))
        places = jax.random.randint(place_key, (population, 2), 0, jnp.asarray([height, width])).astype(jnp.float32)
        levels = 128 + 127 * jax.random.normal(level_key, (population, channels))
        start = _Evolution(
            jnp.clip(jnp.concatenate([places, levels], axis=1), 0, limits),
            jnp.full(population, jnp.inf),
            jnp.zeros(population, bool),
            jnp.zeros((), jnp.int32),
        )
        end = lax.while_loop(lambda state: ~jnp.any(state.fooled) & (state.generation <= generations), advance, start)
        success, first = jnp.any(end.fooled), jnp.argmax(end.fooled)
        best = end.candidates[jnp.where(success, first, jnp.argmin(end.fitness))]
        queries = population * end.generation - jnp.where(success, population - 1 - first, 0)
        return paint(_whole(best)), success, queries.astype(jnp.int32)

    return _attack_each(attack, images, labels, key)


@_checked
@partial(
    jax.jit,
    static_argnames=(
        *("factor", "half_side", "per_round", "misses"),
        *("rounds", "start_share", "rest", "max_candidates"),
    ),
)
def local_search(
    probabilities: Probabilities,
    images: jax.Array,
    labels: jax.Array,
    key: jax.Array,
    *,
    probe: float = 1.0,
    factor: float = 1.5,
    half_side: int = 5,
    per_round: int = 5,
    misses: int = 1,
    rounds: int = 150,
    start_share: float = 0.1,
    rest: int = 30,
    max_candidates: int | None = None,
) -> Attack:
    """LocSearchAdv of Narodytska and Kasiviswanathan (2016): greedy local search over a few pixels a round.

    Levels are mapped to I in [-1/2, 1/2]. A round sets each pixel of the neighbourhood alone to p sign(I) in every
    channel, and takes the t pixels where that leaves the least probability of the label. Those are multiplied by r,
    and moved by 1 into the range where they leave it. The next neighbourhood is the squares around them. The search
    succeeds when the label is not among the k most probable classes.

    The values of r, d, t, R, k, the first share and the rest are the paper's. Its p varies by a rule that it does not
    give in full; here p is constant. Its value is the least of those that the paper tries for single pixels: Foolbox,
    which has the same range of I, takes 10, which found less. Probes exceed the legal range, as in the paper; the image
    that they lead to does not, and is rounded to whole levels in every round. The search ends early where every pixel
    of the neighbourhood rests.

    Args:
      probabilities: the network, see the module; it is also asked about values outside [0, 1].
      images: uint8[N, H, W, channels].
      labels: i[N], the true classes.
      key: a ``jax.random`` key.
      probe: p.
      factor: r, in [0, 2].
      half_side: d, half the side of a square.
      per_round: t, pixels changed in a round.
      misses: k.
      rounds: R, at most so many.
      start_share: of the pixels, drawn at random, form the first neighbourhood (one pixel at least).
      rest: a changed pixel is left alone for so many rounds.
      max_candidates: where a neighbourhood has more pixels, so many are drawn at random (None: no limit; Foolbox's is
        128). A round costs at most so many queries and one more.

    Raises:
      ValueError: on values out of range, images that are not uint8, or a label that is no class.
    """
    height, width = images.shape[1:3]
    slots = height * width if max_candidates is None else min(height * width, max_candidates)
    if min(half_side, rounds, rest) < 0 or min(per_round, misses, slots) < 1:
        raise ValueError(
            "half_side, rounds and rest must not be negative and per_round, misses and max_candidates be at least 1, "
            f"got {half_side}, {rounds}, {rest}, {per_round}, {misses}, {max_candidates}"
        )
    if not (0 <= factor <= 2 and 0 <= start_share <= 1):
        raise ValueError(f"factor must lie in [0, 2] and start_share in [0, 1], got {factor} and {start_share}")
    start_pixels = max(1, int(start_share * height * width))

    def attack(image, label, key):
        def misclassified(image):
            found = probabilities(_scaled(image)[None])[0]
            return ~jnp.any(lax.top_k(found, misses)[1] == label)

        def score(image, pixels, count):
            """Returns the label's probability after a probe of each pixel i[slots], f32[slots], inf from ``count``."""
            values = _scaled(image).reshape(height * width, -1)
            probed = 0.5 + probe * jnp.sign(values - 0.5)

            def ask(chosen):
                batch = jax.vmap(lambda pixel: values.at[pixel].set(probed[pixel]))(chosen)
                return probabilities(batch.reshape(-1, *image.shape))[:, label]

            scores = _in_blocks(ask, pixels, count)
            return jnp.where(jnp.arange(slots) < count, scores, jnp.inf)

        def advance(search):
            eligible = (search.neighborhood & (search.resting == 0)).ravel()
            noise = jax.random.uniform(jax.random.fold_in(key, search.rounds + 1), eligible.shape)
            pixels = jnp.argsort(jnp.where(eligible, noise, 2.0))[:slots]
            count = jnp.minimum(jnp.sum(eligible), slots)
            scores = score(search.image, pixels, count)
            best = jnp.argsort(scores)[:per_round]
            changed = jnp.zeros(height * width, bool).at[pixels[best]].set(best < count).reshape(height, width)
            image = jnp.where(changed[..., None], _cyclic(search.image, factor), search.image)
            side = 2 * half_side + 1
            return _Search(
                image,
                lax.reduce_window(changed, False, lax.bitwise_or, (side, side), (1, 1), "SAME"),
                jnp.where(changed, rest, jnp.maximum(search.resting - 1, 0)),
                misclassified(image),
                search.queries + count + 1,
                search.rounds + 1,
            )

        order = jnp.argsort(jax.random.uniform(jax.random.fold_in(key, 0), (height * width,)))
        none = jnp.zeros((), jnp.int32)
        end = lax.while_loop(
            lambda search: (
                ~search.success & (search.rounds < rounds) & jnp.any(search.neighborhood & (search.resting == 0))
            ),
            advance,
            _Search(
                image,
                (order < start_pixels).reshape(height, width),
                jnp.zeros((height, width), jnp.int32),
                jnp.array(False),
                none,
                none,
            ),
        )
        return end.image, end.success, end.queries

    return _attack_each(attack, images, labels, key)


def _attack_each(attack, images, labels, key):
    """Attacks image after image in one program: an image's candidates are a batch, and each search ends by itself."""
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(len(images)))
    found, success, queries = lax.map(lambda example: attack(*example), (images, labels, keys))
    return Attack(found, success, queries, jnp.sum(jnp.any(found != images, axis=-1), axis=(1, 2)))


def _in_blocks(ask: Callable[[jax.Array], jax.Array], items: jax.Array, count: jax.Array) -> jax.Array:
    """Returns ``ask(items)``, asked a block at a time: of all blocks after the first ``count`` items it holds zeros."""
    size = -(-len(items) // -(-len(items) // _BLOCK))
    found = jax.eval_shape(ask, items)

    def add(index, found):
        at = jnp.minimum(index * size, len(items) - size)
        block = ask(lax.dynamic_slice_in_dim(items, at, size))
        return lax.dynamic_update_slice_in_dim(found, block, at, 0)

    return lax.fori_loop(0, -(-count // size), add, jnp.zeros(found.shape, found.dtype))


def _whole(candidates: jax.Array) -> jax.Array:
    return jnp.round(candidates).astype(int)


def _scaled(images: jax.Array) -> jax.Array:
    return images.astype(jnp.float32) / 255


def _three_members(key: jax.Array, population: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns three positions i[population] each, different from each other and otherwise uniform."""
    draws = jax.random.randint(key, (3, population), 0, population - jnp.arange(3)[:, None])
    first, second, third = draws[0], draws[1] + 1, draws[2] + 1
    third += third >= second
    return first, (first + second) % population, (first + third) % population


def _cyclic(levels: jax.Array, factor: float) -> jax.Array:
    """Multiplies I = levels / 255 - 1/2 by ``factor``, cyclically in [-1/2, 1/2]; uint8 to uint8 (CYCLIC, rounded)."""
    moved = factor * (levels.astype(jnp.float32) - 127.5)
    moved = moved - 255 * (moved > 127.5) + 255 * (moved < -127.5)
    return jnp.round(moved + 127.5).astype(jnp.uint8)
