"""The stored notebook: its outputs are those of one run from top to bottom, and tell nothing of the machine."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "analysis.ipynb"


def code_cells():
    return [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def test_it_was_run_from_top_to_bottom_without_an_error():
    cells = code_cells()
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


def test_the_figures_it_shows_are_those_of_the_reports():
    program = "\n".join("".join(cell["source"]) for cell in code_cells())
    printed = "".join("".join(output.get("text", "")) for cell in code_cells() for output in cell["outputs"])
    (opened,) = re.findall(r'^RUN = "results/runs/(.*)"$', program, re.MULTILINE)
    (control,) = re.findall(r'^CONTROL = "results/runs/(.*)"$', program, re.MULTILINE)
    report = json.loads((ROOT / "results" / "runs" / opened / "report.json").read_text())
    for name in (opened, control):
        measured = {claim: report["claims"][claim]["numbers"][name] for claim in report["claims"]}
        figures = {
            "Phi": measured["table1"]["Phi"]["Phi"],
            "C_IC": measured["correlation"]["C_IC"],
            "mutual information score": measured["specificity"]["mutual information score"],
        }
        assert name + "".join(f"\n{measure:26s}{figure:.4f}" for measure, figure in figures.items()) in printed


@pytest.mark.parametrize(("control", "measured"), [("~/none", 2), (None, 1)])
def test_it_takes_a_run_of_other_data(runs, control, measured, monkeypatch, capsys):
    program = "\n".join("".join(cell["source"]) for cell in code_cells())
    program = re.sub(r"^( *)[!%].*$", r"\1pass", program, flags=re.MULTILINE)  # what only IPython understands
    for name, run in (("RUN", "~/learned"), ("CONTROL", control)):
        program, found = re.subn(rf'^{name} = ".*"$', f"{name} = {run!r}", program, flags=re.MULTILINE)
        assert found == 1
    monkeypatch.setenv("HOME", str(runs))
    monkeypatch.chdir(NOTEBOOK.parent)
    exec(program, {})
    said = capsys.readouterr().out
    assert "tiny on digits, gate learned, 4 epochs" in said
    assert said.count("mutual information score") == measured
