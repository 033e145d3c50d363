"""The page of results: what its files say, which claims hold, and why others do not."""

import dataclasses
import json
import re
import shutil
from functools import partial
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from experiments import (
    attacks,
    claims,
    convergence,
    ownership,
    report,
    results,
    stored,
    summarize,
    table1,
    tables,
    verdicts,
)
from experiments.masking import LOST
from experiments.network import open_networks
from lsg_jax import load_run, save_run
from lsg_jax.analysis.comparison import Interval


def write_comparison(folder, **parts):
    empty = {name: {} for name in ("claims", "effects", "arms", "runs")} | {
        "schemes": [],
        "untold": [],
        "alone": [],
        "curves": [],
    }
    content = {"version": stored.VERSIONS["tradeoff"], "command": "x", "measured": "y"} | empty | parts
    (folder / "tradeoff-z.json").write_text(json.dumps(content))


def test_results_page_states_what_the_files_hold(runs, quick_attacks, tmp_path, monkeypatch):
    for name in ("learned", "none"):
        save_run(load_run(runs / name), tmp_path / "runs" / name)
    report.report(report.Options(tmp_path / "runs" / "learned", tmp_path / "runs" / "none", attack_images=4))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Path("README.md").write_text("above\n<!-- learned -->\nstale\n<!-- /learned -->\nbelow\n")
    results.write(results.Options(tmp_path, tables=("learned",)))
    with pytest.raises(ValueError, match="none is no comparison, count or claim in"):
        results.write(results.Options(tmp_path, tables=("none",)))
    page = (tmp_path / "README.md").read_text()
    last = load_run(runs / "learned").history[-1]
    assert f"| {last['test_accuracy']:.4f} | {last['lsg_test_accuracy']:.4f} |" in page
    ours, control = (line for line in page.splitlines() if line.startswith("| [") and "](runs/" in line)
    assert ours.endswith(" | [report](runs/learned/report.html) |")
    assert control.endswith(" |  |")
    measured = json.loads((tmp_path / "runs" / "learned" / "report.json").read_text())
    ours, control = (measured["claims"]["correlation"]["numbers"][name]["C_IC"] for name in ("learned", "none"))
    overview, *_, detail = (line for line in page.splitlines() if line.startswith("| C_IC is"))
    holds = "no" if ours > control else "cannot tell" if control <= 0 else "yes" if ours <= 0.62 * control else "no"
    assert overview == f"| C_IC is at most 0.62 of the plain network's | {holds} |"
    assert detail.endswith(f"| {ours:.4f} | {control:.4f} | {holds} |")
    shown = Path("README.md").read_text()
    assert detail in shown.splitlines()
    assert (shown.splitlines()[0], shown.splitlines()[-1], "stale" in shown) == ("above", "below", False)


def test_results_page_says_where_there_was_nothing_to_measure(runs, tmp_path):
    for name in ("learned", "none"):
        save_run(load_run(runs / name), tmp_path / "runs" / name)
    file = tmp_path / "runs" / "learned" / "report.json"
    networks = open_networks(runs / "learned", runs / "none", None)
    found = {each.name: {"numbers": each.numbers} for each in (measure(networks) for measure in report.MEASURES)}
    found["similarity"]["numbers"]["learned"]["true positives"]["share on the diagonal"] = float("nan")
    trained = {name: {"model": "tiny", "gate": name} for name in ("learned", "none")}
    content = {"version": stored.VERSIONS["report"], "networks": ["learned", "none"], "trained": trained}
    file.write_text(claims.to_json(content | {"claims": found}))
    claims.write(convergence.measure(networks), tmp_path / "figures")
    results.write(results.Options(tmp_path))
    assert (tmp_path / "verdicts.png").stat().st_size > 10_000
    assert not (tmp_path / "verdicts-seeds.png").exists()
    page = (tmp_path / "README.md").read_text()
    ours, control = (each.run.history[-1]["test_accuracy"] for each in networks)
    head = "|  | learned | none |\n| --- | --- | --- |\n| epochs | 4 | 4 |\n"
    assert f"{head}| accuracy, last epoch | {ours:.4f} | {control:.4f} |" in page
    assert results.table(tmp_path, "convergence") in page
    overview, detail = (line for line in page.splitlines() if "gate row more (share on the diagonal)" in line)
    assert overview.endswith(" | no images to tell by |")
    assert detail.endswith("| no images to tell by |")
    assert "|  |" in detail
    assert "attack: " not in page


def _nats(network):
    logits = network.logits.astype(np.float64)
    return np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(logits)), network.labels]


def test_what_is_counted_over_images_is_judged_at_both_ends_of_its_difference(runs, quick_attacks):
    networks = open_networks(runs / "learned", runs / "none", None)
    measures = *report.MEASURES, partial(attacks.measure, count=3)
    content = json.loads(claims.to_json(report.content_of(networks, [each(networks) for each in measures])))
    numbers = content["claims"]["table1"]["numbers"]
    right = [network.logits.argmax(1) == network.labels for network in networks]
    gained, lost = np.sum(right[0] & ~right[1]), np.sum(right[1] & ~right[0])
    count = len(networks[0].labels)
    found = numbers["learned"]["accuracy less the other's"]
    assert found["mean"] == pytest.approx((gained - lost) / count)
    chance = scipy.stats.binomtest(int(gained), int(gained + lost)).pvalue  # McNemar's exact test
    assert (found["low"] <= 0 <= found["high"]) == (chance > 0.05)
    differences = np.diff([_nats(network) for network in reversed(networks)], axis=0)[0]
    nats = scipy.stats.ttest_1samp(differences, 0).confidence_interval()
    found = numbers["learned"]["cross entropy less the other's"]
    assert list(found.values()) == pytest.approx([differences.mean(), *nats])
    assert not {"accuracy less the other's", "cross entropy less the other's"} & set(numbers["none"])
    shown = [f"{numbers[name]['accuracy']:.4f}" for name in ("learned", "none")]
    for low, high, said in ((-0.004, 0.01, "yes"), (-0.0051, 0.01, "cannot tell"), (-0.02, -0.0051, "no")):
        numbers["learned"]["accuracy less the other's"] = {"mean": 0.0, "low": low, "high": high}
        (line,) = (each for each in tables.claims_table(content).splitlines() if "within half a point" in each)
        assert line.endswith(f"| {shown[0]} ({low:+.4f} to {high:+.4f}) | {shown[1]} | {said} |")

    attacked = content["claims"]["attacks"]["numbers"]
    for name, low, high, said in (
        ("one pixel", -0.2, -0.001, "yes"),
        ("one pixel", -0.2, 0.001, "cannot tell"),
        ("local search", 0.001, 0.2, "no"),
    ):
        rates = [attacked[network][name]["success rate"] for network in ("learned", "none")]
        difference = attacked["learned"][name]["success rate less the other's"]
        assert difference["mean"] == pytest.approx(rates[0] - rates[1])
        difference |= {"low": low, "high": high}
        (line,) = (each for each in tables.claims_table(content).splitlines() if each.startswith(f"| {name}"))
        assert line.endswith(f"| {rates[0]:.4f} ({low:+.4f} to {high:+.4f}) (short budget) | {rates[1]:.4f} | {said} |")
    attacked["learned"]["one pixel"]["success rate less the other's"] = {"mean": 1.0, "low": None, "high": None}
    (line,) = (each for each in tables.claims_table(content).splitlines() if each.startswith("| one pixel"))
    assert line.endswith("| cannot tell |")  # of one image
    whole, short = (tables.claims_table(content, stated=stated).splitlines() for stated in (False, True))
    assert [line for line in whole[2:] if re.search(r"\d", line.split(" | ")[1])] == short[2:]
    assert len(short) == 2 + 10 < len(whole)


@pytest.mark.parametrize(
    ("ours", "control", "said"),
    [
        (0.06, 0.1, "yes"),
        (0.063, 0.1, "no"),
        (-0.02, 0.1, "yes"),
        (-0.02, -0.01, "cannot tell"),  # lower than what no ratio can be taken of
        (-0.005, -0.01, "no"),  # not even lower, though less than -0.0062
        (0.01, 0.0, "no"),
    ],
)
def test_a_ratio_to_what_is_not_above_0_cannot_hold(ours, control, said):
    numbers = {name: {"C_IC": value} for name, value in (("gated", ours), ("plain", control))}
    content = {
        "networks": ["gated", "plain"],
        "trained": {name: {"model": "resnet20"} for name in numbers},
        "claims": {"masking": {"numbers": {"gated": {}}}, "correlation": {"numbers": numbers}},
    }
    (row,) = (each for each in verdicts.rows(content) if each.claim.startswith("C_IC is at most"))
    assert verdicts.verdict(row, content) == said


def test_table_2_has_each_fixed_gate_from_scratch_and_a_ratio_where_there_is_one(runs, tmp_path):
    learned = load_run(runs / "learned")
    settings = {
        "above": {"gate": "fixed", "scheme": "joint"},
        "below": {"gate": "fixed"},
        "finetuned": {"gate": "fixed", "init": Path("public.th")},
        "learned": {},
        "negative": {"gate": "fixed"},
    }
    for name, changed in settings.items():
        config = dataclasses.replace(learned.config, **changed)
        save_run(dataclasses.replace(learned, config=config), tmp_path / "runs" / name)
        ours, control = -0.02 if name == "negative" else 0.05, -0.01 if name == "below" else 0.1
        content = {
            "version": stored.VERSIONS["report"],
            "networks": [name, "plain"],
            "trained": {name: {"model": "alexnet", "gate": config.gate}, "plain": {"model": "alexnet", "gate": "none"}},
            "claims": {"masking": {"numbers": {name: {}}}, "correlation": {}},
        }
        others = {row.place[-1]: 0.1 for row in verdicts.rows(content) if row.place[0] == "correlation"}
        content["claims"]["correlation"] = {
            "numbers": {name: others | {"C_IC": ours}, "plain": others | {"C_IC": control}}
        }
        (tmp_path / "runs" / name / "report.json").write_text(json.dumps(content))
    assert results.table(tmp_path, "table2").splitlines()[2:] == [
        "| above | tiny | joint | 0.0684 (fixed gate) against 0.1224 | 0.0500 | 0.1000 | 0.50 | yes |",
        "| below | tiny | alternate | 0.0684 (fixed gate) against 0.1224 | 0.0500 | -0.0100 |  | no |",
        "| negative | tiny | alternate | 0.0684 (fixed gate) against 0.1224 | -0.0200 | 0.1000 |  | yes |",
    ]


def test_ownership_over_runs_is_counted_by_hand(runs, tmp_path):
    first = load_run(runs / "learned")
    other = np.zeros(first.gate.shape, np.float32)
    other[3], other[4, :2] = 1, 1
    for name, gate in (("first", first.gate), ("other", jnp.asarray(other))):
        save_run(dataclasses.replace(first, gate=gate), tmp_path / name)
    folders = tmp_path / "first", tmp_path / "other"
    ownership.count(ownership.Options(folders, tmp_path / "ownership.json"))
    written = json.loads((tmp_path / "ownership.json").read_text())
    holds = np.stack([np.asarray(first.gate) >= 0.5, other >= 0.5])
    holders = holds.sum(1, keepdims=True)
    shared = (holders > 1).sum((1, 2))
    alone = (holds & (holders == 1)).sum(2)
    numbers = written["thresholds"]["0.5"]
    assert numbers["shared"] == {"mean": shared.mean(), "std": pytest.approx(shared.std(ddof=1))}
    assert [numbers["by class"][str(each)]["mean"] for each in range(10)] == alone.mean(0).tolist()
    assert numbers["a class alone"]["mean"] == pytest.approx(alone.mean())
    assert list(written["runs"]) == list(map(str, folders))
    for described, gate in zip(written["runs"].values(), (first.gate, other), strict=True):
        assert described["command"] == summarize.command(first.config)
        assert described["environment"] == first.environment
        np.testing.assert_allclose(described["gate"], gate, atol=5.1e-6)
    assert written["measured"] == "2 learned gates of tiny on digits"
    assert "| 0.5 |" in tables.ownership_table(written)
    elsewhere = dataclasses.replace(first, config=dataclasses.replace(first.config, init=Path("public.th")))
    save_run(elsewhere, tmp_path / "elsewhere")
    folders_of_both = tmp_path / "elsewhere", tmp_path / "other"
    ownership.count(ownership.Options(folders_of_both, tmp_path / "ownership-of-both.json"))
    measured = json.loads((tmp_path / "ownership-of-both.json").read_text())["measured"]
    assert measured == "2 learned gates of tiny on digits, from public.th, which differ in init"
    (tmp_path / "alone").mkdir()
    shutil.copy(tmp_path / "ownership.json", tmp_path / "alone" / "ownership-x.json")
    assert tables.ownership_table(written) in results.page(results.read(tmp_path / "alone"))
    for wrong, said in (
        ((folders[0],), "name two run folders or more, none twice"),
        ((folders[0], folders[0]), "name two run folders or more, none twice"),
        ((folders[0], runs / "none"), "learns no gate to count in"),
    ):
        with pytest.raises(ValueError, match=said):
            ownership.count(ownership.Options(wrong, tmp_path / "ownership.json"))


def test_the_page_says_why_a_claim_does_not_hold_and_misses_a_reason(runs, tmp_path):
    for name in ("learned", "none"):
        save_run(load_run(runs / name), tmp_path / "runs" / name)
    report.report(report.Options(tmp_path / "runs" / "learned", tmp_path / "runs" / "none", attack_images=0))
    (tmp_path / "notes.json").write_text(json.dumps({"a claim": "unused"}))
    page = results.page(results.read(tmp_path))
    told = [line for line in page.split("## Where a claim")[1].splitlines() if line.startswith("- **")]
    _, detail = page.split("## learned against none")
    verdicts_of = {line.split(" | ")[0].removeprefix("| "): line.split(" | ")[-1] for line in detail.splitlines()}
    failing = {claim: verdict[:-2] for claim, verdict in verdicts_of.items() if verdict in ("no |", "cannot tell |")}
    assert set(failing.values()) == {"no", "cannot tell"}
    assert told == [f"- **{claim}** ({verdict}: learned). not explained yet" for claim, verdict in failing.items()]
    (tmp_path / "notes.json").write_text(json.dumps(dict.fromkeys(failing, "because.")))
    assert "not explained yet" not in results.page(results.read(tmp_path))


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("runs/learned/metrics.jsonl", '{"epoch": 0}\n{"epo', "holds no JSON object where one belongs: '{\"epo'"),
        ("runs/learned/config.json", "[]", "holds no JSON object where one belongs: '[]'; make it again"),
        ("figures/gates.json", "{", "holds no JSON object where one belongs: '{'; make it again"),
        ("figures/convergence.json", '{"title": "", "caption": ""}', "has no 'numbers'; make it again with"),
        ("notes.json", "[]", "holds no JSON object where one belongs: '[]'; make it again"),
    ],
)
def test_a_file_of_results_that_is_damaged_is_named(runs, tmp_path, file, content, said):
    save_run(load_run(runs / "learned"), tmp_path / "runs" / "learned")
    (tmp_path / "figures").mkdir()
    failed = {"by seed": {"0": 0.5, "1": 0.5}, "mean": {"mean": 0.5}, "difference": {"mean": 0, "low": 0, "high": 0}}
    arms = {"none": {"a claim": failed | {"holds": None}}, "both": {"a claim": failed | {"holds": False}}}
    write_comparison(tmp_path, claims={"a claim": ""}, arms=arms)
    (tmp_path / "notes.json").write_text("{}")
    assert "- **a claim** (no: y, z: both (2 seeds)). not explained yet" in results.page(results.read(tmp_path))
    (tmp_path / file).write_text(content)
    with pytest.raises(ValueError, match=re.escape(f"{tmp_path / file} {said}")):
        results.page(results.read(tmp_path))


def test_other_versions_files_of_results_are_named(runs, tmp_path):
    save_run(load_run(runs / "learned"), tmp_path / "runs" / "learned")
    imported = dataclasses.replace(load_run(runs / "none"), history=[], environment={})
    save_run(imported, tmp_path / "runs" / "imported")
    assert "imported" not in results.page(results.read(tmp_path))
    older = tmp_path / "runs" / "imported" / "report.json"
    older.write_text("{}")
    assert "| imported, trained elsewhere |  |  |  |  |  |  |  |  |\n" in results.page(results.read(tmp_path))
    older.unlink()
    (tmp_path / "tradeoff-x.json").write_text('{"command": "x"}')
    (tmp_path / "runs" / "learned" / "report.json").write_text('{"networks": ["a", "b"], "claims": {}}')
    (tmp_path / "ownership-x.json").write_text("null")
    page = results.page(results.read(tmp_path))
    for file in ("ownership-x.json", "tradeoff-x.json", "runs/learned/report.json"):
        assert f"\n{file} was not written by this version; make it again.\n" in page
    for name in ("learned", "tradeoff-x", "effects-x"):
        with pytest.raises(ValueError, match="was not written by this version"):
            results.table(tmp_path, name)
    (tmp_path / "tradeoff-x.json").write_text(json.dumps({"version": stored.VERSIONS["tradeoff"], "command": "x"}))
    assert "\ntradeoff-x.json has no 'measured'; make it again with experiments.tradeoff.\n" in results.page(
        results.read(tmp_path)
    )


def test_an_imported_network_has_its_row_by_its_report(runs, tmp_path):
    imported = tmp_path / "runs" / "public"
    save_run(dataclasses.replace(load_run(runs / "none"), history=[], environment={}), imported)
    report.report(report.Options(imported, attack_images=0))
    (network,) = open_networks(imported, None, None)
    accuracy, nats = np.mean(network.logits.argmax(1) == network.labels), _nats(network).mean()
    page = results.page(results.read(tmp_path))
    measured = f"{accuracy:.4f} |  | {nats:.4f} |  | [report](runs/public/report.html) |"
    assert (
        f"| [public](runs/public) | digits | tiny | none | imported, trained elsewhere |  |  |  | {measured}\n" in page
    )


def test_numbers_in_numbers_and_missing_ones_have_their_rows():
    table = tables.numbers_table({"a": {"x": {"y": 0.5}, "n": 3}, "b": {"z": "never"}})
    rows = ["|  | a | b |", "| --- | --- | --- |", "| x: y | 0.5000 |  |", "| n | 3 |  |", "| z |  | never |"]
    assert table.splitlines() == rows


def test_figure_3_needs_a_sparse_gate_and_a_dense_one_without_the_term():
    found = verdicts.of_sparsity("a against b", 0.1, 0.9)
    assert (found.measured, found.ours, found.holds) == ("a against b", "0.1000 against 0.9000", True)
    assert not verdicts.of_sparsity("a against b", 0.2, 0.9).holds
    assert not verdicts.of_sparsity("a against b", 0.1, 0.11).holds


@pytest.mark.parametrize(
    ("epochs", "difference", "said", "holds"),
    [
        (([22], [19]), (3, None, None), "22 against 19", None),
        (([19], [31]), (-12, None, None), "19 against 31", None),
        (([4, 6], [9, 9]), (-4, -5.5, -2.5), "5 against 9 (-5.5 to -2.5)", True),
        (([4, 6], [5, 6]), (-0.5, -3, 2), "5 against 5.5 (-3 to +2)", None),
        (([9, 9], [4, 6]), (4, 2.5, 5.5), "9 against 5 (+2.5 to +5.5)", False),
    ],
)
def test_footnote_1_is_judged_by_speed_and_by_stability(epochs, difference, said, holds):
    numbers = dict(zip(("alternating", "joint"), epochs, strict=True))
    sooner = numbers | {"difference": dict(zip(("mean", "low", "high"), difference, strict=True))}
    drops = {"alternating": [0.1], "joint": [0.2], "difference": {"mean": -0.1, "low": -0.15, "high": -0.05}}
    found = {"measures": {"epoch from which on it stays there": sooner, "drops in all": drops}}
    found["never at the level"] = {"alternating": 0, "joint": 0}
    speed, stability = verdicts.of_schemes("a against b", found)
    assert (speed.ours, speed.holds) == (said, holds)
    assert (stability.ours, stability.holds) == ("0.1 against 0.2 (-0.15 to -0.05)", True)


def test_a_tenth_is_5_to_15_percent_of_each_class():
    def judged(*ends):
        class_alone = [Interval((low + high) / 2, low, high) for low, high in ends]
        return verdicts.of_ownership("many gates", class_alone, class_alone[-1])

    alone, shared = judged((5, 6), (14, 15))
    assert (alone.ours, alone.holds, shared.ours, shared.holds) == (
        "5.5 to 14.5 %",
        True,
        "14.5 % (14.0 to 15.0)",
        True,
    )
    assert [found.holds for found in judged((5, 6), (14, 15.1))] == [None, None]
    assert [found.holds for found in judged((15.1, 16), (4, 20))] == [False, None]
    assert [found.holds for found in judged((4, 20), (2, 4.9))] == [False, False]


def test_the_page_judges_training_and_many_networks_by_its_files(runs, tmp_path):
    trained = load_run(runs / "learned")
    without = dataclasses.replace(
        trained.config,
        lsg=dataclasses.replace(trained.config.lsg, sparsity_weight=0.0),
        optimizer=dataclasses.replace(trained.config.optimizer, epochs=3),
    )
    none = load_run(runs / "none").config
    for name, config, densities in (
        ("learned", trained.config, (1, 0.5, 0.11, 0.2)),
        ("without", without, (1, 0.9, 0.8)),
    ):
        history = [line | {"density": each} for line, each in zip(trained.history, densities, strict=False)]
        save_run(dataclasses.replace(trained, config=config, history=history), tmp_path / "runs" / name)
    save_run(dataclasses.replace(trained, config=none), tmp_path / "runs" / "none")
    gates = dict.fromkeys(("learned", "removed", "without", "none"))
    (tmp_path / "figures").mkdir()
    content = {"title": "gates", "caption": "", "numbers": gates}
    (tmp_path / "figures" / "gates.json").write_text(json.dumps(content))
    told = {"alternating": [4], "joint": [3], "difference": {"mean": 1, "low": 0.5, "high": 1.5}}
    equal = {"alternating": [0.1, 0.3], "joint": [0.2, 0.2], "difference": {"mean": 0, "low": -0.9, "high": 0.9}}
    measures = {"epoch from which on it stays there": told, "drops in all": equal}
    schemes = [
        {"alternating": "learned", "joint": "learned, scheme joint", "seeds": seeds, "measures": measures}
        | {"never at the level": {"alternating": 0, "joint": len(seeds) - 1}}
        for seeds in ([0], [0, 1])
    ]
    write_comparison(tmp_path, measured="y; on z", schemes=schemes, untold=["a claim"])
    ownership.count(ownership.Options((runs / "learned", tmp_path / "runs" / "without"), tmp_path / "ownership-x.json"))
    (tmp_path / "notes.json").write_text("{}")
    page = results.page(results.read(tmp_path))
    found = page.split("## Claims about training and about many networks")[1].split("## Runs")[0].splitlines()
    lines = [line.split(" | ", 2)[2] for line in found if line.startswith("| ")][2:]
    one, two = (f"y: learned against learned, scheme joint{seeds}" for seeds in ("", " (2 seeds)"))
    assert lines[:5] == [
        "learned against without, both after 3 epochs | 0.1100 against 0.8000 | yes |",
        f"{one} | 4 against 3 (+0.5 to +1.5) | no |",
        f"{one} | 0.2 against 0.2 (-0.9 to +0.9) | cannot tell |",
        f"{two} | 4 against 3 (1 never) (+0.5 to +1.5) | no |",
        f"{two} | 0.2 against 0.2 (-0.9 to +0.9) | cannot tell |",
    ]
    assert [line.split(" | ")[0] for line in lines[5:]] == 2 * [
        "2 learned gates of tiny on digits, which differ in epochs, sparsity-weight"
    ]
    assert page.count("- **alternating epochs") == 2
    assert f"from an earlier epoch on** (no: {one}, {two}). not explained yet" in page
    paired = "Phi is lower after the training's budget of updates of G"
    assert f"Not told of, as the control's figure depends on the arm beside it: {paired}. Nor, as " in page
    assert " Nor, as not every network here has images to tell by: a claim.\n" in page
    assert f"(drops in all)** (cannot tell: {one}, {two}). not explained yet" in page


def test_the_first_table_has_the_arms_named_and_those_effects(tmp_path):
    def of(value):
        numbers = {"by seed": {"0": value}, "mean": {"mean": value}, "difference": {"mean": value - 1}}
        return numbers | {"difference": numbers["difference"] | {"low": None, "high": None}}

    arms = {arm: {"x": of(1 + i), "y": of(2 + i)} for i, arm in enumerate(["none", "learned", "fixed"])}
    content = {"arms": arms, "effects": {"accuracy": "x", "C_IC": "y"}}
    table = tables.effects_table(content, {"none": "the control", "fixed": "a gate"}, ["accuracy"]).splitlines()
    assert table[0] == "| arm | seeds | accuracy |"
    assert table[2:] == ["| the control | 1 | 1.0000 |", "| a gate | 1 | 3.0000 (+2.0000) |"]
    assert len(tables.effects_table(content).splitlines()) == 5
    write_comparison(tmp_path, arms=arms)
    (tmp_path / "tradeoff-z.json").rename(tmp_path / "tradeoff-finetune.json")
    with pytest.raises(ValueError, match=r"tradeoff-finetune\.json has no arm 'learned, scheme joint, s"):
        results.table(tmp_path, "headline")


def test_a_run_on_other_images_has_its_row(runs, tmp_path):
    run = load_run(runs / "learned")
    mine = dataclasses.replace(run.config, data=dataclasses.replace(run.config.data, dataset="mine"))
    save_run(dataclasses.replace(run, config=mine), tmp_path / "runs" / "mine")
    assert "| [mine](runs/mine) | mine | tiny | learned | " in results.page(results.read(tmp_path))
    assert summarize.command(mine) == "a program of its own, on mine (lsg_jax.training.loop.fit)"


def test_arms_with_several_seeds_have_their_verdicts_at_a_glance(tmp_path):
    def of(holds, *seeds):
        interval = {"mean": 0.5, "low": None, "high": None}
        return {"by seed": dict.fromkeys(seeds, 0.5), "mean": interval, "difference": interval, "holds": holds}

    arms = {"none": of(None, "0", "1"), "both": of(None, "0", "1"), "single": of(True, "0")}
    judged = {"claims": {"a claim": ""}, "arms": {arm: {"a claim": found} for arm, found in arms.items()}}
    write_comparison(tmp_path, **judged)
    page = results.page(results.read(tmp_path))
    ((name, figure),) = results.glance(results.read(tmp_path)).items()
    (axis,) = figure.axes
    assert [each.get_offsets().tolist() for each in axis.collections] == [[], [], [], [[0, 0]], []]
    assert name == "verdicts-seeds.png"
    assert f"({name})" in page
    assert "| claim | y, z: both (2 seeds) |\n| --- | --- |\n| a claim | cannot tell |\n" in page
    assert "not kept here" not in page
    write_comparison(tmp_path, **judged, runs={"runs/both/seed0": {"command": "x"}})
    unkept = "The runs themselves, a megabyte each, are not kept here; the command of each is among the numbers."
    assert unkept in results.page(results.read(tmp_path))


@pytest.mark.parametrize(
    ("alone", "of_control", "holds", "said"),
    [
        (["a claim"], True, True, "yes, the control too"),
        (["a claim"], None, True, "yes"),
        (["a claim"], True, False, "no"),
        (["another"], True, True, "yes"),
    ],
)
def test_a_claim_that_is_judged_alone_tells_where_it_holds_of_the_control_too(tmp_path, alone, of_control, holds, said):
    interval = {"mean": 0.5, "low": None, "high": None}
    found = {"by seed": {"0": 0.5, "1": 0.5}, "mean": interval, "difference": interval}
    arms = {"none": {"a claim": found | {"holds": of_control}}, "both": {"a claim": found | {"holds": holds}}}
    write_comparison(tmp_path, claims={"a claim": ""}, arms=arms, alone=alone)
    page = results.page(results.read(tmp_path))
    assert f"| claim | y, z: both (2 seeds) |\n| --- | --- |\n| a claim | {said} |\n" in page
    assert f"| a claim |  | 0.5000 ± 0.0000 | 0.5000 ± 0.0000, {said} (+0.5000) |\n" in page


@pytest.mark.parametrize(
    ("ours", "control", "said"),
    [(0.04, 0.2, "yes"), (0.04, 0.03, "yes, the control too"), (0.06, 0.03, "no"), (0.04, None, "yes")],
)
def test_one_network_that_is_judged_alone_does_so_likewise(ours, control, said):
    left = {"gated": ours, "plain": control}
    numbers = {name: {"gate": {"without own filters": each}} for name, each in left.items()}
    content = {
        "networks": ["gated", "plain"],
        "trained": {name: {"model": "resnet20"} for name in numbers},
        "claims": {"masking": {"numbers": {"gated": {}}}, "specificity": {"numbers": numbers}},
    }
    (row,) = (each for each in verdicts.rows(content) if each.claim.endswith("own filters is at most 0.05"))
    assert verdicts.verdict(row, content) == said


@pytest.mark.parametrize(
    ("ends", "control", "said"),
    [
        ((-0.01, 0.019), (0.1, 0.09, 0.11), "yes"),
        ((-0.01, 0.019), (0.01, 0.001, 0.019), "yes, the control too"),
        ((-0.01, 0.019), (0.01, 0.001, 0.04), "yes"),
        ((-0.01, 0.019), (None, None, None), "yes"),
        ((0.01, 0.03), (0.1, 0.09, 0.11), "cannot tell"),
        ((0.021, 0.05), (0.1, 0.09, 0.11), "no"),
    ],
)
def test_a_figure_with_an_interval_of_its_own_is_judged_at_both_ends_of_it(ends, control, said):
    def mask(lost, ends):
        shared = {"share of their images still recognised": 0.1, "filters removed": 5}
        return {"without filters of cat": shared | {LOST: lost, f"{LOST}, from": ends[0], f"{LOST}, to": ends[1]}}

    control, *others = control
    numbers = {"gated": mask(0.005, ends), "plain": mask(control, others)}
    less = claims.less("share of their images still recognised")
    numbers["gated"]["without filters of cat"][less] = {"mean": 0, "low": -0.1, "high": 0.1}
    content = {
        "networks": ["gated", "plain"],
        "trained": {name: {"model": "resnet20"} for name in numbers},
        "claims": {"masking": {"numbers": numbers}},
    }
    (row,) = (each for each in verdicts.rows(content) if "no other class loses 0.02" in each.claim)
    assert verdicts.verdict(row, content) == said


_LOWER, _HIGHER, _RATIO = ((0.4, 0.5), (0.5, 0.4)), ((0.5, 0.4), (0.4, 0.5)), ((0.1, 0.1648), (0.11, 0.1648))
_LEFT = (0.049, 0.3), (0.051, 0.3)
HOLDS_AND_DOES_NOT = {
    "accuracy within half a point of the plain network's": ((0.896, 0.9), (0.894, 0.9)),
    "cross entropy is not higher than the plain network's (nats an image)": _LOWER,
    "the gate is sparse (L1 norm / C K at most 0.12)": ((0.119, 0.4757), (0.1742, 0.4757)),
    "the gate is sparser than that solved for the plain network's Phi (at most 0.37 of its density)": (
        (0.1742, 0.4757),
        (0.18, 0.4757),
    ),
    "Phi is lower (converged, a = 1 on the density)": ((0.2203, 0.8234), (0.8234, 0.2203)),
    verdicts.PAIRED: ((0.2203, 0.8234), (0.8234, 0.2203)),
    "without filters of cat: fewer images of these classes are still recognised": _LOWER,
    "without filters of cat: no other class loses 0.02 of its recall (the one that loses most)": (
        (0.019, 0.1),
        (0.021, 0.1),
    ),
    "true positives resemble their gate row more (share on the diagonal)": _HIGHER,
    "true positives resemble their gate row more than false negatives do, by more (difference of the shares)": _HIGHER,
    "false negatives resemble most, of other gate rows, that of the class they are most taken for, more often "
    "(share of the classes)": _HIGHER,
    "activation maps are more precise (insertion area, relative; more is better)": _HIGHER,
    "activation maps are more precise (deletion area, relative; less is better)": _LOWER,
    "activation maps are more concentrated (share of the image with 90 % of the map)": _LOWER,
    "C_IC is at most 0.62 of the plain network's": _RATIO,
    "beyond the paper: C_IC of different filters is at most 0.62 of the plain network's": _RATIO,
    "beyond the paper: C_IC of absolute correlations is at most 0.62 of the plain network's": _RATIO,
    "fewer correlated pairs of filters (share above 0.1)": _LOWER,
    "fewer correlated pairs of filters (share above 0.3)": _LOWER,
    "fewer correlated pairs of filters of different classes (share above 0.1)": _LOWER,
    "fewer correlated pairs of filters of different classes (share above 0.3)": _LOWER,
    "cluster centres look more like the gate (cosine)": _HIGHER,
    "beyond the paper: clusters agree better with the classes (adjusted Rand index)": _HIGHER,
    "beyond the paper: centres of clusters of unit-length features look more like the gate (cosine)": _HIGHER,
    "beyond the paper: clusters of unit-length features agree better with the classes (adjusted Rand index)": _HIGHER,
    "one pixel attack: success rate is lower": ((0.02, 0.14), (0.14, 0.02)),
    "local search attack: success rate is lower": ((0.02, 0.15), (0.15, 0.02)),
    "beyond the paper: mutual information score is at least 1.7 times the plain network's": (
        (0.188, 0.11),
        (0.186, 0.11),
    ),
    "beyond the paper: accuracy without a class's own filters is at most 0.05": _LEFT,
    "beyond the paper: accuracy without a class's own filters by the tightened gate is at most 0.05": _LEFT,
    "beyond the paper: accuracy without a class's own filters by the gate solved for Phi is at most 0.05": _LEFT,
}


def test_every_claim_holds_on_its_own_side():
    measured = "table1", "masking", "similarity", "localization", "correlation", "clustering", "attacks", "specificity"
    networks = "gated", "plain"
    content = {
        "networks": networks,
        "trained": {name: {"model": "resnet20"} for name in networks},
        "claims": {each: {"numbers": {"gated": {"without filters of cat": {}}}} for each in measured},
    }
    rows = verdicts.rows(content)
    assert {row.claim for row in rows} == set(HOLDS_AND_DOES_NOT)
    for row in rows:
        claim, *outer, name = row.place
        for figures, said in zip(HOLDS_AND_DOES_NOT[row.claim], ("yes", "no"), strict=True):
            numbers = {}
            for network, value in zip(networks, figures, strict=True):
                beside = {name: value, f"{name}, from": value, f"{name}, to": value}
                difference = figures[0] - figures[1]
                beside[claims.less(name)] = dict.fromkeys(("mean", "low", "high"), difference)
                for each in reversed(outer):
                    beside = {each: beside}
                numbers[network] = beside
            assert (row.claim, verdicts.verdict(row, content | {"claims": {claim: {"numbers": numbers}}})) == (
                row.claim,
                said,
            )


def test_a_report_that_lacks_a_number_is_named_with_it(runs, tmp_path):
    networks = open_networks(runs / "learned", runs / "none", None)
    save_run(load_run(runs / "learned"), tmp_path / "runs" / "learned")
    content = json.loads(claims.to_json(report.content_of(networks, [table1.measure(networks)])))
    del content["claims"]["table1"]["numbers"]["learned"]["Phi"]["Phi"]
    file = tmp_path / "runs" / "learned" / "report.json"
    file.write_text(json.dumps(content))
    results.write(results.Options(tmp_path))
    assert "runs/learned/report.json has no 'Phi'; make it again" in (tmp_path / "README.md").read_text()


def test_figure_3_compares_a_gate_with_the_term_with_one_without_it(runs, tmp_path):
    run = load_run(runs / "learned")

    def findings(*weights):
        names = []
        for number, weight in enumerate(weights):
            lsg = dataclasses.replace(run.config.lsg, sparsity_weight=weight)
            names.append(f"run{number}")
            saved = dataclasses.replace(run, config=dataclasses.replace(run.config, lsg=lsg))
            save_run(saved, tmp_path / str(weights) / "runs" / names[-1])
        claim = claims.Claim("gates", "", "", {name: {} for name in names}, {})
        claims.write(claim, tmp_path / str(weights) / "figures")
        return results._findings(tmp_path / str(weights), {}, {})

    assert [found.measured.split()[0] for found in findings(6.2, 0.0)] == ["run0"]
    assert findings(6.2, 20.0) == []
