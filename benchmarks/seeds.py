"""``python -m benchmarks.seeds``: how long eight seeds of digits take as one program, against one seed.

What is committed, HEAD, is measured. Writes ``results/benchmarks/seeds.json`` and the table in a page.
"""

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import commands, results, turns
from experiments import cli, markdown


def table(measured: dict[str, Any]) -> str:
    """Returns the Markdown table of what the command measured."""
    eight, one = (measured["seconds"][name] for name in ("eight", "one"))
    return markdown.table(
        commands.HEADS, [commands.row("`experiments.digits --seeds=8`, against one seed", eight, one)]
    )


def main() -> None:
    options = cli.parse(turns.Options, __doc__ or "")
    markdown.page_of("seeds")
    with tempfile.TemporaryDirectory() as folder:
        one = partial(commands.Stage(Path(folder), now="HEAD").seconds, "-m", "experiments.digits")
        seconds = turns.in_turn({"eight": partial(one, "--seeds=8"), "one": one}, options.pairs)
    measured = {
        "command": f"python -m benchmarks.seeds --pairs={options.pairs}",
        "seconds": seconds,
    }
    results.write("seeds", results.origin() | measured, table(measured))


if __name__ == "__main__":
    cli.main(main)
