"""Table 3 for any run: the one-pixel and the local search attack."""

import hashlib
import inspect
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import jax
import numpy as np

from experiments import claims, cli, paper
from experiments.claims import Claim, Picture
from experiments.network import Network, check_agreed
from lsg_jax import Run, cache, checks, data, files, models, plots
from lsg_jax.analysis import attacks, comparison
from lsg_jax.analysis.attacks import Attack
from lsg_jax.analysis.classifier import correct
from lsg_jax.run import environment

IMAGES, SHOWN = 500, 6
ATTACKS: dict[str, Callable[..., Attack]] = {"one pixel": attacks.one_pixel, "local search": attacks.local_search}
Budget = Literal["short", "cited"]
BUDGETS: dict[Budget, dict[str, dict[str, int]]] = {
    "short": {
        "one pixel": {"population": 400, "generations": 5},
        "local search": {"rounds": 10, "max_candidates": 128},
    },
    "cited": {"one pixel": {"population": 400, "generations": 100}, "local search": {"rounds": 150}},
}
BLOCKS: dict[Budget, int] = {"short": 50, "cited": 5}  # images between two lines of progress: about a minute's


@dataclass(frozen=True)
class Options(claims.Options):
    """Which networks to attack, on how many images and for how long."""

    attack_images: int = IMAGES
    """How many test images are attacked."""
    attack_budget: Budget = "short"
    """short, which takes minutes a network on a CPU, or cited, that of the papers they are from: hours."""

    def __post_init__(self) -> None:
        checks.whole("--attack-images", self.attack_images, 1)


def measure(networks: list[Network], count: int = IMAGES, budget: Budget = "short") -> Claim:
    """Returns both attacks' success on the first ``count`` test images that all networks classify correctly."""
    first = networks[0]
    chosen = correct(first.labels, *(network.logits for network in networks))[:count]
    check_agreed(chosen, networks)
    images, labels, names = first.images[chosen], first.labels[chosen], first.run.class_names
    numbers: dict[str, Any] = {network.name: {} for network in networks}
    pictures = {}
    for name in ATTACKS:
        succeeded = []
        for network in networks:
            found = _in_blocks(name, network, images, labels, budget)
            succeeded.append(np.asarray(found.success))
            rate = comparison.share_interval(succeeded[-1])
            numbers[network.name][name] = {
                "success rate": rate.mean,
                "95 % interval, from": rate.low,
                "95 % interval, to": rate.high,
                "budget": budget,
                "images": len(images),
                "median queries": float(np.median(found.queries)),
                "mean pixels changed": float(np.mean(found.pixels[found.success])) if found.success.any() else np.nan,
            }
            fooled = np.flatnonzero(found.success)[:SHOWN]
            if len(fooled):
                after = network.run.logits(found.images[fooled]).argmax(1)
                pictures[f"attacks-{network.name}-{name.replace(' ', '-')}"] = Picture(
                    partial(
                        plots.attack_examples,
                        images[fooled],
                        np.asarray(found.images)[fooled],
                        [names[each] for each in labels[fooled]],
                        [names[each] for each in after],
                    ),
                    f"{network.name}, {name}: the first {len(fooled)} images that it fools, and below each the changed "
                    "one with the pixels framed and the class that it is taken for.",
                    {
                        "test images": chosen[fooled],
                        "changed images": np.asarray(found.images)[fooled],
                        "class before": labels[fooled],
                        "class after": after,
                    },
                )
        if len(networks) > 1:
            numbers[first.name][name][claims.less("success rate")] = claims.over_images(*succeeded)
    return Claim(
        "attacks",
        "Table 3: black-box attacks",
        f"Success rate on the first {len(chosen)} test images that every network here classifies correctly, with a "
        "95 % Wilson interval, and beside it the difference from the other network's on the same images, with its own. "
        f"{_stated(budget)} The claim: the LSG network is fooled far less often. The paper "
        "states no budget.",
        numbers | {"the paper's, CIFAR-10": paper.ATTACKS},
        pictures,
    )


def _stated(budget: Budget) -> str:
    one_pixel, local_search = BUDGETS[budget]["one pixel"], BUDGETS[budget]["local search"]
    most = local_search.get("max_candidates")
    limit = "all candidates" if most is None else f"at most {most} candidates"
    return (
        f"One pixel: differential evolution with {one_pixel['population']} candidates and {one_pixel['generations']} "
        "generations (Su et al.: 400 and 100), which ends with the first candidate that is misclassified. Local "
        f"search: {local_search['rounds']} rounds of {limit} (Narodytska and Kasiviswanathan: 150, all), with "
        "a constant perturbation p = 1 where theirs varies."
    )


def _in_blocks(name: str, network: Network, images: np.ndarray, labels: np.ndarray, budget: Budget) -> Attack:
    """Attacks a block of images at a time, says how it goes, and keeps each: what was stopped goes on."""
    attack, options, size = ATTACKS[name], BUDGETS[budget][name], BLOCKS[budget]
    found, fooled, began = [], 0, time.perf_counter()
    for start in range(0, len(images), size):
        key, stop = jax.random.fold_in(jax.random.key(0), start), min(start + size, len(images))
        block = images[start:stop], labels[start:stop]
        file = cache.folder() / "attacks" / f"{_digest(attack, network.run, block, start, options)}.npz"
        if (kept := _read(file)) is None:
            kept = jax.tree.map(np.asarray, attack(network.run.probabilities, *block, key, **options))
            with suppress(OSError):  # a cache that cannot be written only costs time
                files.publish(file, partial(_save, kept))
        found.append(kept)
        fooled += int(kept.success.sum())
        seconds = time.perf_counter() - began
        print(
            f"  {network.name}, {name}: {fooled} of {stop} images fooled, {len(images) - stop} left, {seconds:.0f} s",
            flush=True,
        )
    return jax.tree.map(lambda *parts: np.concatenate(parts), *found)


def _digest(attack: Callable[..., Attack], run: Run, block: tuple[np.ndarray, ...], start: int, budget: Any) -> str:
    """Returns a name for what an attack's result follows from: what is attacked, the programs, and their versions."""
    sources = inspect.getsource(attacks), inspect.getsource(Run), inspect.getsource(data.normalize)
    digest = hashlib.sha256("".join(sources).encode())
    for source in sorted(Path(models.__file__).parent.rglob("*")):
        if source.suffix in (".py", ".h", ".cc"):
            digest.update(source.read_bytes())
    settings = attack.__name__, start, sorted(budget.items()), run.config.model, run.config.precision, environment()
    digest.update(repr(settings).encode())
    for array in (*block, run.mean, run.std, *jax.tree.leaves((run.params, run.batch_stats))):
        digest.update(np.asarray(array).tobytes())
    return digest.hexdigest()


def _save(found: Attack, file: Path) -> None:
    with file.open("wb") as stream:  # savez adds an ending to the name of a file
        np.savez(stream, **found._asdict())


def _read(file: Path) -> Attack | None:
    """Returns what was kept, None where nothing or what cannot be read."""
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            return Attack(**kept)
    except (OSError, ValueError, TypeError, EOFError, BadZipFile):
        return None


def attack(options: Options) -> None:
    """Measures as the options say."""
    claims.run(partial(measure, count=options.attack_images, budget=options.attack_budget), options)


if __name__ == "__main__":
    cli.main(lambda: attack(cli.parse(Options, __doc__ or "")))
