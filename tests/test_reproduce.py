"""The plans of experiments.reproduce: from nothing, resumed, and with wrong options."""

import dataclasses
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments import claims, cli, markdown, publish, reproduce, results, stored
from experiments.plans import PLANS, Plan, Training
from experiments.reproduce import Options
from lsg_jax import load_run
from lsg_jax.config import Config

RESULTS = Path(__file__).parents[1] / "results"

SMALL = ("--model=resnet8", "--train-examples=128")
# python -c PLAN ARGUMENTS...: the command with a shorter plan.
PLAN = f"""
from experiments import cli, plans, reproduce
trainings = (plans.Training("digits-none", 200, {(*SMALL, "--gate=none")}),)
plans.PLANS["digits"] = plans.Plan("digits", trainings)
cli.main(lambda: reproduce.reproduce(cli.parse(reproduce.Options, "A plan.")))
"""

REPORTS = " of training left, and reports: a minute each, a quarter of an hour with attacks"


@pytest.fixture
def small_plan(monkeypatch):
    trainings = (
        Training("first", 2, (*SMALL, "--gate=none")),
        Training("second", 2, (*SMALL, "--gate=learned"), "first", cost=3.0),
    )
    monkeypatch.setitem(PLANS, "small", Plan("digits", trainings, summary="tradeoff"))
    return trainings


@pytest.mark.parametrize(("asked", "done"), [(0, True), (83, True), (84, True), (85, False)])
def test_a_comparison_with_fewer_images_attacked_is_made_again(tmp_path, asked, done):
    parts = ("measured", "claims", "alone", "untold", "effects", "arms", "schemes", "curves")
    content = {part: {} for part in parts} | {"version": stored.VERSIONS["tradeoff"], "runs": {"runs/a": {}}}
    file = tmp_path / "tradeoff-x.json"
    file.write_text(json.dumps(content | {"command": "python -m experiments.tradeoff runs/a --attack-images=84"}))
    assert reproduce._is_of(file, [Path("runs/a")], asked) == done
    file.write_text(json.dumps(content | {"command": "python -m experiments.tradeoff runs/a"}))
    assert reproduce._is_of(file, [Path("runs/a")], asked) == (asked == 0)


def test_a_plan_goes_from_nothing_to_the_page_and_then_has_nothing_to_do(small_plan, tmp_path, monkeypatch, capfd):
    asked = []
    run = reproduce._command

    def command(name, *arguments):
        asked.append(name)
        if name == "report":  # its own tests are elsewhere
            against = [Path(each).name for each in arguments[1:] if str(each).startswith("--against=")]
            networks = [arguments[0].name, *against]
            reported = {"version": stored.VERSIONS["report"], "networks": networks, "claims": {}}
            reported["trained"] = {name: {"model": "x", "gate": "none"} for name in reported["networks"]}
            (arguments[0] / "report.json").write_text(json.dumps(reported))
        elif name == "publish":
            publish.publish(publish.Options(*arguments))
        elif name == "results":
            results.write(results.Options(folder=Path(arguments[0].removeprefix("--folder="))))
        elif name == "tradeoff":
            assert list(arguments[:2]) == [tmp_path / "results" / "runs" / name for name in ("first", "second")]
            interval = {"mean": 0.5, "low": None, "high": None}
            found = {"by seed": {"0": 0.5}, "mean": interval, "difference": interval, "holds": None}
            content = {
                "version": stored.VERSIONS["tradeoff"],
                "command": "x",
                "measured": "x",
                "claims": {},
                "effects": {"accuracy": "x", "density": "x"},
                "arms": {"none": {"x": found}},
                "schemes": [],
                "untold": [],
                "alone": [],
                "curves": [],
                "runs": dict.fromkeys(map(str, arguments[:2])),
            }
            Path(arguments[-1].removeprefix("--output=")).write_text(json.dumps(content))
        else:
            run(name, *arguments)

    monkeypatch.setattr(reproduce, "_command", command)
    options = Options(("small",), runs=tmp_path / "runs", results=tmp_path / "results")
    reproduce.reproduce(options)
    assert asked == ["digits", "publish", "report", "results"] * 2 + ["tradeoff", "results"]
    for name, networks in (("first", ["first"]), ("second", ["second", "first"])):
        assert stored.read(tmp_path / "results" / "runs" / name / "report.json")["networks"] == networks
    assert "an unknown time of training left" in capfd.readouterr().out
    for name in ("first", "second"):
        copy = load_run(tmp_path / "results" / "runs" / name)
        assert copy.history == load_run(tmp_path / "runs" / name).history
        assert len(copy.history) == 2
        assert f"[{name}](runs/{name})" in (tmp_path / "results" / "README.md").read_text()
    asked.clear()
    reproduce.reproduce(options)
    assert not asked
    assert "tradeoff-small.json is there already" in capfd.readouterr().out
    comparison = tmp_path / "results" / "tradeoff-small.json"
    comparison.write_text(comparison.read_text().replace("second", "another"))
    reproduce.reproduce(options)
    assert asked == ["results", "results", "tradeoff", "results"]
    asked.clear()
    report = tmp_path / "results" / "runs" / "second" / "report.json"
    older = report.read_text().replace(f'"version": {stored.VERSIONS["report"]}', '"version": 1')
    few = json.loads(report.read_text())
    few["claims"]["attacks"] = {"title": "", "numbers": {"second": {"one pixel": {"images": 4}}}}
    for text, images in ((older, 0), ("{", 0), (report.read_text(), 5), (json.dumps(few), 5)):
        report.write_text(text)
        attacked = small_plan[1]._replace(attack_images=images)
        monkeypatch.setitem(PLANS, "small", Plan("digits", (small_plan[0], attacked), summary="tradeoff"))
        reproduce.reproduce(options)
    assert asked == ["results", "report", "results"] * 4


def test_a_plan_of_several_seeds_trains_them_together_and_keeps_the_comparison(small_plan, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setitem(PLANS, "small", Plan("digits", small_plan, seeds=2, kept=False, summary="tradeoff"))
    monkeypatch.setattr(reproduce, "_command", lambda *arguments: asked.append(arguments))
    reproduce.reproduce(Options(("small",), runs=tmp_path / "runs", results=tmp_path / "results"))
    assert [arguments[0] for arguments in asked] == ["digits", "digits", "tradeoff", "results"]
    assert all("--seeds=2" in arguments for arguments in asked[:2])
    runs = [tmp_path / "runs" / name / seed for name in ("first", "second") for seed in ("seed0", "seed1")]
    assert list(asked[2][1:5]) == runs


def test_the_network_that_plans_start_from_is_among_the_results(runs, small_plan, tmp_path, monkeypatch):
    asked = []
    public = dataclasses.replace(load_run(runs / "none"), history=[], environment={})
    monkeypatch.setattr(reproduce, "import_torch", {tmp_path / "public.safetensors": public}.get)
    monkeypatch.setattr(reproduce, "_command", lambda *arguments: asked.append(arguments))
    monkeypatch.setitem(PLANS, "small", PLANS["small"]._replace(pretrained=True))
    options = Options(("small",), tmp_path / "public.safetensors", runs=tmp_path / "runs", results=tmp_path / "results")
    reproduce.reproduce(options)
    copy = tmp_path / "results" / "runs" / "public"
    assert load_run(copy).imported
    assert asked[0] == ("report", copy, "--attack-images=0")
    assert f"--init={tmp_path / 'public.safetensors'}" in asked[1]


def test_twenty_gates_are_counted_in(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(reproduce, "_command", lambda *arguments: asked.append(arguments))
    reproduce.reproduce(Options(("digits-gates",), runs=tmp_path / "runs", results=tmp_path / "results"))
    assert [arguments[0] for arguments in asked] == ["digits", "ownership", "results"]
    assert "--seeds=20" in asked[0]
    assert list(asked[1][1:21]) == [tmp_path / "runs" / "digits-gates" / f"seed{seed}" for seed in range(20)]
    assert asked[1][21:] == (f"--output={tmp_path / 'results' / 'ownership-digits-gates.json'}",)


def test_a_plan_that_is_stopped_waits_until_its_training_is_saved(tmp_path):
    folders = [f"--runs={tmp_path / 'runs'}", f"--results={tmp_path / 'results'}"]
    process = subprocess.Popen([sys.executable, "-c", PLAN, "digits", *folders], stdout=subprocess.PIPE, text=True)
    metrics = tmp_path / "runs" / "digits-none" / "metrics.jsonl"
    while not metrics.exists() or not metrics.read_text():
        assert process.poll() is None
        time.sleep(0.1)
    process.terminate()
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 143
    assert re.search(r"digits-none +0 of 200 epochs", out)
    history = load_run(tmp_path / "runs" / "digits-none").history
    assert 1 <= len(history) < 200


def test_the_time_left_is_counted_by_hand(small_plan, tmp_path):
    (tmp_path / "first" / "seed0").mkdir(parents=True)
    lines = [json.dumps({"seconds": seconds}) for seconds in (50.0, 70.0)]
    (tmp_path / "first" / "seed0" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    again = Plan("digits", (*small_plan, Training("third", 5, ())), cost=2.0)
    plans = {"small": Plan("digits", small_plan), "again": again}
    shown = reproduce.progress(plans, tmp_path, now="second").splitlines()
    assert [" ".join(line.split()) for line in shown[:-1]] == [
        *("small: 1 of 2 runs trained", "second 0 of 2 epochs, now"),
        *("again: 1 of 3 runs trained", "third 0 of 5 epochs"),
    ]
    # 120 s for 2 epochs of cost 1; 2 epochs of cost 3 are left and 5 of cost 2: 960 s.
    assert shown[-1] == f"about 16 minutes{REPORTS}"


def test_a_line_that_was_cut_does_not_count_and_a_published_run_is_done(small_plan, tmp_path):
    runs, copies = tmp_path / "runs", tmp_path / "copies"
    for folder, text in ((runs / "first", '{"seconds": 60}\n{"sec'), (copies / "second", '{"seconds": 60}\n' * 2)):
        folder.mkdir(parents=True)
        (folder / "metrics.jsonl").write_text(text)
    # 180 s for 1 epoch of cost 1 and 2 of cost 3; 1 of cost 1 is left: 26 s.
    shown = reproduce.progress({"small": Plan("digits", small_plan)}, runs, copies).splitlines()
    assert [" ".join(line.split()) for line in shown[:-1]] == ["small: 1 of 2 runs trained", "first 1 of 2 epochs"]
    assert shown[-1] == f"about 0 minutes{REPORTS}"


def test_every_training_of_every_plan_is_a_configuration(monkeypatch):
    for plan in PLANS.values():
        names = [training.name for training in plan.trainings]
        assert len(set(names)) == len(names)
        for training in plan.trainings:
            assert training.control is None or names.index(training.control) < names.index(training.name)
            assert training.start is None or names.index(training.start) < names.index(training.name)
            init = [] if training.start is None else [f"--init={training.start}"]
            monkeypatch.setattr(sys, "argv", ["train", *training.options, *init, f"--epochs={training.epochs}"])
            config = cli.parse(Config, "A test.", Config())
            assert config.gate == "none" or config.optimizer.epochs % config.lsg.period == 1


def test_the_committed_figures_are_of_the_committed_runs():
    compared = 0
    for file in RESULTS.glob("figures/**/*.json"):
        for name, numbers in json.loads(file.read_text())["numbers"].items():
            report = RESULTS / "runs" / name / "report.json"
            if report.is_file() and file.stem != "convergence":  # whose numbers depend on the network beside it
                measured = claims.flat(stored.read(report)["claims"][file.stem]["numbers"][name])
                shown = {each: value for each, value in claims.flat(numbers).items() if isinstance(value, float | int)}
                shown = {each: value for each, value in shown.items() if "the other's" not in each}
                assert shown == pytest.approx({each: measured[each] for each in shown}, rel=1e-4)  # measured twice
                compared += len(shown)
    assert compared > 100 or not RESULTS.is_dir()


def test_the_committed_page_of_results_is_what_the_files_say():
    folder = RESULTS
    if not (folder / "runs").is_dir():
        pytest.skip("no runs are committed")
    assert (folder / "README.md").read_text() == results.page(results.read(folder))
    assert results._UNEXPLAINED not in results.page(results.read(folder))
    assert all((folder / name).is_file() for name in ("verdicts.png", "verdicts-seeds.png"))
    commands = subprocess.check_output(["make", "--dry-run", "results-cifar10"], cwd=folder.parent, text=True)
    shown = re.search(r"experiments.results --tables ((.*\\\n)*.*)", commands)[1].replace("\\", "").split()
    assert {"stated-cifar10-learned", "stated-paper-resnet20-learned", "effects-finetune"} <= set(shown)
    assert "with the sparsity term" in results.page(results.read(folder))  # Figure 3, by figures/gates.json
    for name in shown:
        page = markdown.page_of(name, folder.parent).read_text()
        assert markdown.insert(page, name, results.table(folder, name)) == page
