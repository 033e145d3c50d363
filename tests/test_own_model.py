"""The example of a gate in somebody's own training: as short as the README says, and it works."""

import runpy
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "own_model.py"


def test_another_model_is_gated_in_at_most_40_lines(capsys):
    assert len(EXAMPLE.read_text().splitlines()) <= 40
    left = runpy.run_path(str(EXAMPLE))
    params, gate = left["trained"]
    assert left["accuracy"] > 0.97
    assert gate.sum() < 0.15 * gate.size
    assert (gate.max(axis=0) == 1).all()
    gated = left["Network"]().apply(params, left["images"], gate[left["labels"]])
    assert (gated.argmax(1) == left["labels"]).mean() > 0.99
    assert "accuracy 0.9" in capsys.readouterr().out
