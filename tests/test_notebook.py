"""The stored notebook: its outputs are those of one run from top to bottom, and tell nothing of the machine."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "analysis.ipynb"


def test_it_was_run_from_top_to_bottom_without_an_error():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(output["output_type"] in ("stream", "display_data") for output in outputs)
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5
    assert not [output for output in outputs if output.get("name") == "stderr"]


def test_it_names_no_folder_of_the_machine_it_was_run_on():
    assert not re.search(r"/(home|root|work|tmp|Users)/", NOTEBOOK.read_text())


def test_the_readmes_badge_leads_to_the_repository_that_the_notebook_names():
    (repository,) = re.findall(r'REPOSITORY = \\"(.*?)\\"', NOTEBOOK.read_text())
    assert re.fullmatch(r"(?:[\w-]+/[\w.-]+)?", repository)
    place = f"{repository}/blob/main/notebooks/analysis.ipynb" if repository else ""
    readme = (ROOT / "README.md").read_text()
    assert re.findall(r"badge\.svg\)\]\((.*)\)", readme) == [f"https://colab.research.google.com/github/{place}"]
    assert ("has no public address yet" in readme) == (not repository)


def test_it_takes_a_run_of_other_data(runs, monkeypatch, capsys):
    cells = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]
    program = "\n".join("".join(cell["source"]) for cell in cells)
    program = re.sub(r"^( *)[!%].*$", r"\1pass", program, flags=re.MULTILINE)  # what only IPython understands
    for name, run in (("RUN", "learned"), ("CONTROL", "none")):
        program, found = re.subn(rf'^{name} = ".*"$', f"{name} = {str(runs / run)!r}", program, flags=re.MULTILINE)
        assert found == 1
    monkeypatch.chdir(NOTEBOOK.parent)
    exec(program, {})
    said = capsys.readouterr().out
    assert "tiny on digits, gate learned, 4 epochs" in said
    assert said.count("mutual information score") == 2
