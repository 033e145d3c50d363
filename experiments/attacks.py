"""Table 3 for any run: the one-pixel and the local search attack."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from experiments import claims, paper
from experiments.claims import Claim, Network
from lsg_jax import plots
from lsg_jax.analysis import attacks
from lsg_jax.analysis.attacks import Attack

IMAGES, BLOCK, SHOWN = 500, 50, 6
INTERVAL = "95 % interval, from", "95 % interval, to"
ONE_PIXEL = {"population": 400, "generations": 5}
LOCAL_SEARCH = {"rounds": 10, "max_candidates": 128}
ATTACKS: dict[str, Callable[..., Attack]] = {"one pixel": attacks.one_pixel, "local search": attacks.local_search}
BUDGETS: dict[str, dict[str, int]] = {"one pixel": ONE_PIXEL, "local search": LOCAL_SEARCH}


def measure(networks: list[Network], count: int = IMAGES) -> Claim:
    """Returns both attacks' success on the first ``count`` test images that all networks classify correctly."""
    first = networks[0]
    chosen = attacks.correct(first.labels, *(network.logits for network in networks))[:count]
    claims.check_agreed(chosen, networks)
    images, labels, names = first.images[chosen], first.labels[chosen], first.run.class_names
    numbers: dict[str, Any] = {network.name: {} for network in networks}
    figures = {}
    for network in networks:
        for name, attack in ATTACKS.items():
            found = _in_blocks(attack, network, images, labels, f"{network.name}, {name}", BUDGETS[name])
            rate = attacks.success_rate(np.asarray(found.success))
            numbers[network.name][name] = {
                "success rate": rate.value,
                **dict(zip(INTERVAL, (rate.low, rate.high), strict=True)),
                "images": rate.total,
                "median queries": float(np.median(found.queries)),
                "mean pixels changed": float(np.mean(found.pixels[found.success])) if found.success.any() else 0.0,
            }
            fooled = np.flatnonzero(found.success)[:SHOWN]
            if len(fooled):
                after = network.run.logits(found.images[fooled]).argmax(1)
                figures[f"attacks-{network.name}-{name.replace(' ', '-')}"] = plots.attack_examples(
                    images[fooled],
                    np.asarray(found.images)[fooled],
                    [names[each] for each in labels[fooled]],
                    [names[each] for each in after],
                )
    return Claim(
        "attacks",
        "Table 3: black-box attacks",
        f"Success rate on the first {len(chosen)} test images that every network here classifies correctly, with a "
        f"95 % Wilson interval. One pixel: differential evolution with {ONE_PIXEL['population']} candidates and "
        f"{ONE_PIXEL['generations']} generations (Su et al. use 100). Local search: {LOCAL_SEARCH['rounds']} rounds of "
        f"at most {LOCAL_SEARCH['max_candidates']} candidates (Narodytska and Kasiviswanathan use 150, without a "
        "limit). The claim: the LSG network is fooled far less often. The paper states no budget.",
        numbers | {"the paper's": paper.ATTACKS},
        figures,
    )


def _in_blocks(
    attack: Callable[..., Attack], network: Network, images: np.ndarray, labels: np.ndarray, title: str, budget: Any
) -> Attack:
    """Attacks a block of images at a time, so that progress shows."""
    found = []
    starts = range(0, len(images), BLOCK)
    for start in tqdm(starts, title, unit_scale=BLOCK, unit=" images", leave=False, disable=None):
        key, stop = jax.random.fold_in(jax.random.key(0), start), start + BLOCK
        found.append(attack(network.run.probabilities, images[start:stop], labels[start:stop], key, **budget))
    return jax.tree.map(lambda *parts: jnp.concatenate(parts), *found)


if __name__ == "__main__":
    claims.main(measure, __doc__ or "")
