"""The commands of the paper's claims and the report, on two tiny runs."""

import dataclasses
import html.parser
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import (
    attacks,
    claims,
    cli,
    convergence,
    gates,
    localization,
    masking,
    ownership,
    report,
    results,
    table1,
)
from lsg_jax import data, load_run, save_run


@pytest.fixture
def quick_attacks(monkeypatch):
    monkeypatch.setitem(attacks.BUDGETS, "one pixel", {"population": 8, "generations": 1})
    monkeypatch.setitem(attacks.BUDGETS, "local search", {"rounds": 2, "max_candidates": 8})


class Page(html.parser.HTMLParser):
    """Collects what a page would fetch, and its tags."""

    def __init__(self):
        super().__init__()
        self.links, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]


def test_the_report_is_one_page_that_fetches_nothing(runs, quick_attacks, tmp_path, capsys):
    hostile = dataclasses.replace(load_run(runs / "learned"), class_names=("<script>alert(1)</script>", *"123456789"))
    other = dataclasses.replace(load_run(runs / "none"), class_names=hostile.class_names)
    save_run(hostile, tmp_path / "hostile")
    save_run(other, tmp_path / "other")
    report.report(report.Options(tmp_path / "hostile", tmp_path / "other", attack_images=4))
    page = Page()
    page.feed((tmp_path / "hostile" / "report.html").read_text())
    assert page.tags.count("script") == 2  # the explorer's data and its program
    assert all(link.startswith(("data:", "#")) for link in page.links)
    assert page.tags.count("section") == len(report.MEASURES) + 2 == page.tags.count("h2")  # and attacks, explorer
    measured = json.loads((tmp_path / "hostile" / "report.json").read_text())
    assert measured["networks"] == ["hostile", "other"]
    accuracy = measured["claims"]["table1"]["numbers"]["hostile"]["accuracy"]
    assert accuracy == pytest.approx(hostile.history[-1]["test_accuracy"])
    assert measured["claims"]["table1"]["numbers"]["hostile"]["cross entropy"] == pytest.approx(
        hostile.history[-1]["test_cross_entropy"], rel=1e-4
    )
    assert "Table 1" in capsys.readouterr().out


def test_an_output_that_is_a_file_is_refused_before_anything_is_measured(runs, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("mine")
    monkeypatch.setattr(report, "MEASURES", ())
    with pytest.raises(NotADirectoryError, match="choose another --output"):
        report.report(report.Options(runs / "learned", output=file, attack_images=1))
    monkeypatch.setattr(sys, "argv", ["masking", f"--run={runs / 'learned'}", f"--output={file}"])
    with pytest.raises(SystemExit) as stop:
        claims.main(lambda networks: pytest.fail("measured"), masking.__doc__)
    assert stop.value.code == 2
    assert file.read_text() == "mine"


def test_results_page_states_what_the_files_hold(runs, quick_attacks, tmp_path, monkeypatch):
    for name in ("learned", "none"):
        save_run(load_run(runs / name), tmp_path / "runs" / name)
    report.report(report.Options(tmp_path / "runs" / "learned", tmp_path / "runs" / "none", attack_images=4))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("README.md").write_text("above\n<!-- learned -->\nstale\n<!-- /learned -->\nbelow\n")
    results.write(results.Options(tmp_path, readme=("learned",)))
    with pytest.raises(ValueError, match="none has no report against a control"):
        results.write(results.Options(tmp_path, readme=("none",)))
    page = (tmp_path / "README.md").read_text()
    last = load_run(runs / "learned").history[-1]
    assert f"| {last['test_accuracy']:.4f} | {last['lsg_test_accuracy']:.4f} |" in page
    measured = json.loads((tmp_path / "runs" / "learned" / "report.json").read_text())
    ours, control = (measured["claims"]["correlation"]["numbers"][name]["C_IC"] for name in ("learned", "none"))
    (line,) = (line for line in page.splitlines() if line.startswith("| C_IC is"))
    holds = "cannot tell" if control <= 0 else "yes" if ours <= 0.62 * control else "no"
    assert line.endswith(f"| {ours:.4f} | {control:.4f} | {holds} |")
    shown = Path("README.md").read_text()
    assert line in shown.splitlines()
    assert (shown.splitlines()[0], shown.splitlines()[-1], "stale" in shown) == ("above", "below", False)


def test_results_page_says_where_there_was_nothing_to_measure(runs, tmp_path):
    for name in ("learned", "none"):
        save_run(load_run(runs / name), tmp_path / "runs" / name)
    file = tmp_path / "runs" / "learned" / "report.json"
    networks = claims.open_networks(runs / "learned", runs / "none", None)
    found = {each.name: {"numbers": each.numbers} for each in (measure(networks) for measure in report.MEASURES)}
    found["similarity"]["numbers"]["learned"]["true positives"]["share on the diagonal"] = float("nan")
    file.write_text(claims.to_json({"networks": ["learned", "none"], "claims": found}))
    claims.write(convergence.measure(networks), tmp_path / "figures")
    results.write(results.Options(tmp_path))
    page = (tmp_path / "README.md").read_text()
    ours, control = (each.run.history[-1]["test_accuracy"] for each in networks)
    head = "| | learned | none |\n| --- | --- | --- |\n| epochs | 4 | 4 |\n"
    assert f"{head}| accuracy, last epoch | {ours:.4f} | {control:.4f} |" in page
    assert results.readme_table(tmp_path, "convergence") in page
    (line,) = (line for line in page.splitlines() if "true positives" in line)
    assert line.endswith("| no images to tell by |")
    assert "|  |" in line
    assert "attack" not in page


@pytest.mark.parametrize("claim", [attacks, localization])
def test_networks_that_agree_on_no_image_are_named(runs, claim):
    networks = claims.open_networks(runs / "learned", runs / "none", None)
    wrong = np.eye(10, dtype=np.float32)[(networks[0].labels + 1) % 10]
    networks[1].__dict__["logits"] = wrong
    with pytest.raises(ValueError, match="no test image is classified correctly by learned and none"):
        claim.measure(networks)


@pytest.mark.parametrize(("high", "said"), [(0.19, "yes"), (0.21, "intervals overlap")])
def test_attack_rates_differ_where_their_intervals_part(runs, high, said):
    def rates(value, low, high):
        rate = {"success rate": value, **dict(zip(attacks.INTERVAL, (low, high), strict=True))}
        return {name: rate for name in attacks.ATTACKS}

    networks = claims.open_networks(runs / "learned", runs / "none", None)
    found = {each.name: {"numbers": each.numbers} for each in (measure(networks) for measure in report.MEASURES)}
    found["attacks"] = {"numbers": {"learned": rates(0.1, 0.05, high), "none": rates(0.3, 0.2, 0.4)}}
    table = results.claims_table({"networks": ["learned", "none"], "claims": found})
    lines = [line for line in table.splitlines() if "attack" in line]
    assert len(lines) == 2
    for line in lines:
        assert line.endswith(f"| 0.1000 (0.0500 to {high:.4f}) | 0.3000 (0.2000 to 0.4000) | {said} |")


def test_a_claim_alone_writes_its_picture_and_numbers(runs, tmp_path, monkeypatch, capsys):
    arguments = [f"--run={runs / 'learned'}", f"--against={runs / 'none'}", f"--output={tmp_path}"]
    monkeypatch.setattr(sys, "argv", ["masking", *arguments])
    claims.main(masking.measure, masking.__doc__)
    assert (tmp_path / "masking.png").stat().st_size > 10_000
    numbers = json.loads((tmp_path / "masking.json").read_text())["numbers"]
    run, dataset = load_run(runs / "learned"), data.load("digits")
    removed = np.asarray(run.gate)[0] > cli.THRESHOLD
    classifier = run.params["classifier"]
    features = np.where(removed, 0, run.features(dataset.test.images))
    predicted = (features @ classifier["kernel"] + classifier["bias"]).argmax(1)
    recall = np.mean(predicted[dataset.test.labels == 0] == 0)
    assert numbers["learned"]["without filters of 0"]["recall of these classes after"] == pytest.approx(recall)
    assert "filters removed" in capsys.readouterr().out


def test_a_plain_network_is_given_the_gate_that_is_solved_for_phi(runs):
    (network,) = claims.open_networks(runs / "none", None, None)
    assert network.gate.min() < 1
    np.testing.assert_array_equal(network.gate, network.solved.gate)
    assert table1.measure([network]).numbers["none"]["L1 norm"] == pytest.approx(float(network.solved.density))
    assert gates.measure([network]).numbers["none"]["density"] == 1


def test_networks_that_cannot_be_compared_are_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="same folder name"):
        claims.open_networks(runs / "none", runs / "none", None)
    few = dataclasses.replace(load_run(runs / "none"), class_names=tuple("abcdefghij"))
    save_run(few, tmp_path / "few")
    with pytest.raises(ValueError, match="different images"):
        claims.open_networks(runs / "none", tmp_path / "few", None)


def test_ownership_over_runs_is_counted_by_hand(runs, tmp_path):
    ownership.count(ownership.Options((runs / "learned", runs / "learned"), tmp_path / "ownership.json"))
    numbers = json.loads((tmp_path / "ownership.json").read_text())
    holds = np.asarray(load_run(runs / "learned").gate) >= 0.5
    assert numbers["threshold 0.5"]["shared"] == {"mean": float(np.sum(holds.sum(0) > 1)), "std": 0.0}
    alone = [int(np.sum(holds[each] & (holds.sum(0) == 1))) for each in range(10)]
    assert [numbers["threshold 0.5"]["by class"][str(each)]["mean"] for each in range(10)] == alone
    with pytest.raises(ValueError, match="at least two run folders"):
        ownership.count(ownership.Options((runs / "learned",), tmp_path / "ownership.json"))


def test_a_class_without_images_is_null_in_json():
    written = claims.to_json({"recall": {"a": float("nan"), "b": 0.5}, "rows": [float("nan"), 1]})
    assert json.loads(written, parse_constant=pytest.fail) == {"recall": {"a": None, "b": 0.5}, "rows": [None, 1]}
