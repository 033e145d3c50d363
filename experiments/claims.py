"""What the commands of the paper's claims share: what a claim is, and how one is written."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from experiments import cli
from experiments.network import Network, open_networks
from lsg_jax import files
from lsg_jax.analysis import comparison
from lsg_jax.config import Unset


class Picture(NamedTuple):
    """A figure of a claim.

    Attributes:
      draw: returns the figure.
      caption: what to look for in it.
      arrays: what it shows, by title.
    """

    draw: Callable[[], Figure]
    caption: str
    arrays: dict[str, Any]


class Claim(NamedTuple):
    """One claim of the paper, measured.

    Attributes:
      name: of the files it is written to.
      title: which claim it is.
      caption: what was measured, and how.
      numbers: what was measured, by network, as JSON takes it.
      pictures: by the names of their files.
    """

    name: str
    title: str
    caption: str
    numbers: dict[str, Any]
    pictures: dict[str, Picture]


@dataclass(frozen=True)
class Options:
    """Which networks to look at."""

    run: Path
    """The run folder."""
    against: Unset[Path] = None
    """A second run folder, to compare with."""
    data_dir: Unset[Path] = None
    """The TFDS data directory to read from (default: the one it was trained from)."""
    output: Unset[Path] = None
    """The folder for the pictures and the numbers (default: figures/ in the run folder)."""


def less(measure: str) -> str:
    """Returns what the difference of a measure from the other network's is called."""
    return f"{measure} less the other's"


def over_images(ours: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Returns the mean difference of two networks on the same images, bool[N] or f[N], with its 95 % interval.

    NaN does not count.
    """
    counted = ~(np.isnan(ours) | np.isnan(other))
    if not counted.any():
        return comparison.Interval(np.nan, np.nan, np.nan)._asdict()
    if ours.dtype == bool:
        return comparison.paired_interval(ours[counted], other[counted])._asdict()
    return comparison.interval(ours[counted] - other[counted])._asdict()


def ends(difference: Mapping[str, float | None], digits: str = ".4f") -> str:
    """Returns the interval of a difference in brackets, "" of one value alone, which has none."""
    low, high = difference["low"], difference["high"]
    return "" if low is None or math.isnan(low) else f" ({low:+{digits}} to {high:+{digits}})"


def to_json(content: Any, indent: int | None = 1) -> str:
    """Returns ``content`` as JSON: arrays to five decimals, null for NaN, which is what a class without images has."""
    return json.dumps(_plain(content), indent=indent, allow_nan=False) + "\n"


def _plain(content: Any) -> Any:
    if isinstance(content, dict):
        return {name: _plain(value) for name, value in content.items()}
    if isinstance(content, np.ndarray):
        content = (np.round(content.astype(np.float64), 5) if content.dtype.kind == "f" else content).tolist()
    if isinstance(content, list):
        return list(map(_plain, content))
    return None if isinstance(content, float) and math.isnan(content) else content


def flat(numbers: dict[str, Any], before: str = "") -> dict[str, Any]:
    """Returns nested numbers by one name each."""
    found: dict[str, Any] = {}
    for name, value in numbers.items():
        found |= flat(value, f"{before}{name}: ") if isinstance(value, dict) else {before + name: value}
    return found


def rows(numbers: dict[str, Any]) -> list[list[Any]]:
    """Returns the rows of a table of numbers, its heads first: a column a network, '' where one has no such number."""
    columns = {name: flat(found) for name, found in numbers.items()}
    names = dict.fromkeys(name for column in columns.values() for name in column)
    return [["", *columns], *([name, *(column.get(name, "") for column in columns.values())] for name in names)]


def write(claim: Claim, folder: Path) -> None:
    """Writes NAME.json and the pictures."""
    content = to_json({"title": claim.title, "caption": claim.caption, "numbers": claim.numbers})
    files.publish_text(folder / f"{claim.name}.json", content)
    for name, picture in claim.pictures.items():
        cli.save_figure(picture.draw(), folder / f"{name}.png")


def run(measure: Callable[[list[Network]], Claim], options: Options) -> None:
    """Measures a claim, prints its numbers and writes its files."""
    networks = open_networks(options.run, options.against, options.data_dir)
    folder = cli.output_folder(options.run, options.output, "figures")
    cli.check_writable(folder)
    claim = measure(networks)
    write(claim, folder)
    for name, numbers in claim.numbers.items():
        print(name)
        _print(numbers, "  ")
    for name in claim.pictures:
        print(folder / f"{name}.png")


def main(measure: Callable[[list[Network]], Claim], description: str) -> None:
    """The whole of a claim's command."""
    cli.main(lambda: run(measure, cli.parse(Options, description)))


def _print(numbers: dict[str, Any], indent: str) -> None:
    for name, value in numbers.items():
        if isinstance(value, dict):
            print(f"{indent}{name}")
            _print(value, indent + "  ")
        elif isinstance(value, float):
            print(f"{indent}{name:34s}{value:10.4f}")
        elif isinstance(value, int | str):
            print(f"{indent}{name:34s}{value!s:>10s}")
