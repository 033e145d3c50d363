"""Arms against their controls: intervals by hand, and the command on tiny runs."""

import dataclasses
import json
from pathlib import Path

import jax
import numpy as np
import pytest
import scipy.stats

from experiments import attacks, convergence, results, summarize, tables, tradeoff, verdicts
from experiments.network import open_networks
from lsg_jax import data, load_run, plots, save_run
from lsg_jax.analysis.comparison import Interval, compare, interval, linearized_ratio, paired_interval, share_interval
from lsg_jax.config import Config, DataConfig, GateConfig, OptimizerConfig
from lsg_jax.training import loop


def test_an_interval_by_hand():
    # Student's t of 2 degrees of freedom at 97.5 % is 0.95 sqrt(2 / (1 - 0.95**2)); the sample's deviation is 1.
    half = 0.95 * np.sqrt(2 / (1 - 0.95**2)) / np.sqrt(3)
    np.testing.assert_allclose(interval(np.array([1.0, 2.0, 3.0])), (2, 2 - half, 2 + half), rtol=1e-9)
    assert interval(np.array([5.0, 5.0])) == (5, 5, 5)


def test_the_interval_of_a_share_is_wilsons():
    found = share_interval(np.array([True] * 7 + [False] * 43))
    n, share, z = 50, 0.14, 1.959963984540054
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    np.testing.assert_allclose(found, (share, middle - half, middle + half))


def test_intervals_hold_the_mean_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = [low <= 3 <= high for _, low, high in (interval(rng.normal(3, 2, size=4)) for _ in range(2000))]
    assert np.mean(held) == pytest.approx(0.95, abs=0.015)


def test_intervals_hold_a_ratio_of_means_as_often_as_they_say():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(2000):
        whole = rng.uniform(0.5, 1.5, size=200)
        part = whole * rng.uniform(0, 1, size=200)
        mean, low, high = interval(linearized_ratio(part, whole))
        assert mean == pytest.approx(part.mean() / whole.mean())
        held.append(low <= 0.5 <= high)
    assert 0.93 < np.mean(held) < 0.97


def test_intervals_of_shares_hold_the_difference_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for count in (10, 40, 300):
        held = []
        for _ in range(2000):
            ours = rng.random(count) < 0.9
            other = np.where(rng.random(count) < 0.7, ours, rng.random(count) < 0.8)  # alike on most images
            mean, low, high = paired_interval(ours, other)
            assert mean == pytest.approx(ours.mean() - other.mean())
            held.append(low <= 0.9 - (0.7 * 0.9 + 0.3 * 0.8) <= high)
        assert np.mean(held) > 0.94
    assert np.mean(held) < 0.97  # of few images they say too little rather than too much


def test_intervals_of_shares_by_hand():
    ours, other = np.array([1, 1, 1, 1], bool), np.array([1, 1, 0, 0], bool)
    # Wilson of 4 in 4 and 2 in 4; no correlation is known where one is constant.
    z = scipy.stats.norm.ppf(0.975)
    all_low = 4 / (4 + z**2)
    half_low, half_high = ((2 + z**2 / 2 + sign * z * np.sqrt(1 + z**2 / 4)) / (4 + z**2) for sign in (-1, 1))
    found = paired_interval(ours, other)
    assert found.mean == 0.5
    assert found.low == pytest.approx(0.5 - np.hypot(1 - all_low, half_high - 0.5))
    assert found.high == pytest.approx(0.5 + 0.5 - half_low)
    swapped = paired_interval(other, ours)
    assert list(swapped) == pytest.approx([-0.5, -found.high, -found.low])
    pairs = np.repeat([[1, 1], [1, 0], [0, 1]], [36, 12, 2], axis=0).astype(bool)  # of Newcombe (1998)
    assert list(paired_interval(*pairs.T)) == pytest.approx([0.2, 0.0569, 0.3404], abs=5e-5)
    with pytest.raises(ValueError, match=r"an array bool\[4\], got bool\[3\]"):
        paired_interval(ours, other[:3])


def test_one_value_has_no_interval():
    found = interval(np.array([0.25]))
    assert found.mean == 0.25
    assert np.isnan([found.low, found.high]).all()


@pytest.mark.parametrize(
    ("values", "got"), [([], r"float64\[0\]"), ([1.0, np.nan], "nan"), ([[1.0]], r"float64\[1, 1\]")]
)
def test_what_has_no_mean_is_refused(values, got):
    with pytest.raises(ValueError, match=f"an interval's values must be .*, got {got}$"):
        interval(np.array(values))


def test_differences_are_those_of_the_same_seeds():
    control = {0: {"x": 1.0}, 1: {"x": 2.0}, 2: {"x": 100.0}}
    found = compare({1: {"x": 2.5}, 0: {"x": 1.25}}, control)["x"]
    assert found.mean.mean == pytest.approx(1.875)
    # The differences 0.5 and 0.25; Student's t of one degree of freedom at 97.5 % is tan(0.475 pi).
    half = np.tan(0.475 * np.pi) * np.sqrt(2) * 0.125 / np.sqrt(2)
    np.testing.assert_allclose(found.difference, (0.375, 0.375 - half, 0.375 + half), rtol=1e-9)
    assert compare(control, control)["x"].difference == (0, 0, 0)
    with pytest.raises(ValueError, match="no seed 3"):
        compare({3: {"x": 1.0}}, control)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("arms")
    dataset = data.load("digits", train_examples=128)
    for name, gate, weight, seeds in (
        ("plain", "none", 0, 2),
        ("lsg", "learned", 0, 2),
        ("silent", "learned", 2, 1),
    ):
        config = Config(
            model="tiny",
            gate=gate,
            data=DataConfig(dataset="digits", train_examples=128),
            optimizer=OptimizerConfig(epochs=2, batch_size=64),
            lsg=GateConfig(silence_weight=float(weight)),
        ).resolve(128, 10, 4)
        for seed in range(seeds):
            loop.fit(dataclasses.replace(config, seed=seed), dataset, folder / f"{name}{seed}")
    return folder


def test_arms_are_told_apart_and_compared(runs, tmp_path, capsys):
    folders = tuple(runs / name for name in ("lsg0", "silent0", "plain1", "lsg1", "plain0"))
    tradeoff.write(tradeoff.Options(folders, output=tmp_path / "t.json"))
    written = json.loads((tmp_path / "t.json").read_text())
    silent = written["runs"][str(runs / "silent0")]
    assert silent["command"] == summarize.command(load_run(runs / "silent0").config)
    assert "--silence-weight=2.0" in silent["command"]
    assert silent["environment"]["jax"] == jax.__version__
    numbers = written["arms"]
    assert list(numbers) == ["none", "learned", "learned, silence-weight 2"]
    claim = "accuracy within half a point of the plain network's"
    assert [list(numbers[arm][claim]["by seed"]) for arm in numbers] == [["0", "1"], ["0", "1"], ["0"]]
    (network,) = open_networks(runs / "silent0", None, None)
    (control,) = open_networks(runs / "plain0", None, None)
    ours, theirs = (each.run.history[-1]["test_accuracy"] for each in (network, control))
    accuracy = numbers["learned, silence-weight 2"][claim]
    assert accuracy["difference"] == {"mean": pytest.approx(ours - theirs, abs=1e-9), "low": None, "high": None}
    assert accuracy["holds"] is None
    assert written["claims"][claim].startswith("0.9062 against 0.9046; ")
    assert [each for each in written["claims"] if each.startswith("Phi")] == [
        "Phi is lower (converged, a = 1 on the density)"
    ]
    silent = tables.arms_table(written).splitlines()[2].split(" | ")[-1]
    assert silent == f"{ours:.4f} ({ours - theirs:+.4f}) |"
    both = [load_run(runs / name).history[-1]["test_accuracy"] for name in ("plain0", "plain1")]
    row = tables.arms_table(written).splitlines()[2]
    assert f"| {np.mean(both):.4f} ± {np.std(both, ddof=1):.4f} |" in row
    low, high = (numbers["learned"][claim]["difference"][end] for end in ("low", "high"))
    told = "yes" if low >= -0.005 else "no" if high < -0.005 else "cannot tell"
    assert f", {told} ({low:+.4f} to {high:+.4f}) |" in row
    assert written["measured"] == "tiny on digits, 2 epochs of 128 images from scratch; on the 360 test images"
    short = tables.effects_table(written).splitlines()
    assert short[0].startswith("| arm | seeds | accuracy | C_IC | ")
    assert short[-1].startswith(f"| learned, silence-weight 2 | 1 | {ours:.4f} ({ours - theirs:+.4f}) | ")
    assert f" ({low:+.4f} to {high:+.4f}) | " in short[-2]
    assert (tmp_path / "t.png").stat().st_size > 10_000
    assert "none, 2 seeds" in capsys.readouterr().out
    assert written["curves"] == [["learned", "learned, silence-weight 2"]]
    drawn = tradeoff.picture(written).axes[0].containers[2]
    assert drawn.lines[0].get_xydata()[0][0] == pytest.approx(100 * (ours - theirs))
    assert drawn.lines[0].get_markerfacecolor() == "white"
    (tmp_path / "t.json").rename(tmp_path / "tradeoff-t.json")
    results.write(results.Options(tmp_path))
    assert (tmp_path / "tradeoff-t.png").read_bytes() == (tmp_path / "t.png").read_bytes()


def test_attacks_are_a_claim_over_seeds_where_they_are_asked_for(runs, quick_attacks, tmp_path):
    folders = tuple(runs / name for name in ("plain0", "plain1", "lsg0", "lsg1"))
    tradeoff.write(tradeoff.Options(folders, output=tmp_path / "t.json", attack_images=20))
    written = json.loads((tmp_path / "t.json").read_text())
    assert written["command"].endswith(" --attack-images=20 --attack-budget=short")
    rates = written["arms"]["learned"]["one pixel attack: success rate is lower"]
    (network,) = open_networks(runs / "lsg1", None, None)
    alone = attacks.measure([network], 20).numbers["lsg1"]["one pixel"]
    assert alone["images"] == 20
    assert rates["by seed"]["1"] == alone["success rate"]
    assert rates["difference"]["low"] <= rates["difference"]["mean"] <= rates["difference"]["high"]
    assert "local search attack: success rate is lower" in tables.arms_table(written)


def test_schemes_are_compared_over_the_seeds_that_both_have(runs):
    (network,) = open_networks(runs / "lsg0", None, None)

    def trained(scheme, seed, accuracies):
        config = dataclasses.replace(network.run.config, scheme=scheme, seed=seed)
        history = [{"test_accuracy": accuracy} for accuracy in accuracies]
        return dataclasses.replace(network, run=dataclasses.replace(network.run, config=config, history=history))

    arms = {
        "alternating": {
            0: trained("alternate", 0, [0.5, 1.0, 0.9, 1.0]),  # at 0.95 from the fourth epoch on
            1: trained("alternate", 1, [0.5, 0.8, 0.7, 0.75]),  # never at 0.95 times the other's 0.9
            2: trained("alternate", 2, [0.0, 0.0, 0.0, 0.0]),
        },
        "joint": {1: trained("joint", 1, [0.5, 0.9, 0.9, 0.9]), 0: trained("joint", 0, [0.9, 0.96, 1.0, 0.98])},
        "learned otherwise": {0: trained("alternate", 0, [1.0])},
    }
    other = arms["learned otherwise"][0].run
    lsg = dataclasses.replace(other.config.lsg, period=2)
    changed = dataclasses.replace(other, config=dataclasses.replace(other.config, lsg=lsg))
    arms["learned otherwise"][0] = dataclasses.replace(network, run=changed)
    assert tradeoff.twins(arms) == [("alternating", "joint")]
    found = convergence.compare_schemes(arms["alternating"], arms["joint"])
    assert found["seeds"] == [0, 1]
    assert found["never at the level"] == {"alternating": 1, "joint": 0}
    speed, drops = found["measures"].values()
    assert (speed["alternating"], speed["joint"], speed["difference"]["mean"]) == ([4, 5], [2, 2], 2.5)
    assert drops["alternating"] == pytest.approx([0.1, 0.1])
    assert drops["joint"] == pytest.approx([0.02, 0])
    half = np.tan(0.475 * np.pi) * 0.5  # Student's t of one degree of freedom, times that deviation of the mean
    assert speed["difference"]["low"] == pytest.approx(2.5 - half)
    assert np.isnan(
        convergence.compare_schemes({0: arms["alternating"][0]}, arms["joint"])["measures"]["drops in all"][
            "difference"
        ]["low"]
    )


def test_arms_are_named_by_what_is_no_default_whatever_the_others_have(runs):
    network = open_networks(runs / "lsg0", None, None)[0]
    longer = dataclasses.replace(network.run.config.optimizer, epochs=31)

    def trained(gate, scheme="alternate", weight=None, target=None):
        lsg = GateConfig(sparsity_weight=weight, sparsity_target=target)
        config = dataclasses.replace(network.run.config, gate=gate, scheme=scheme, optimizer=longer, lsg=lsg)
        run = dataclasses.replace(network.run, config=config.resolve(128, 10, 4))
        return dataclasses.replace(network, run=run)

    networks = [trained("none"), trained("learned"), trained("learned", "joint"), trained("learned", "joint", 3.0)]
    weights = [each.run.config.lsg.sparsity_weight for each in networks]
    assert len(set(weights)) == 4
    found = ["none", "learned", "learned, scheme joint", "learned, scheme joint, sparsity-weight 3"]
    assert list(tradeoff.arms(networks)) == found
    assert list(tradeoff.arms([networks[0], networks[3]])) == [found[0], found[3]]
    arms = tradeoff.arms([*networks, trained("learned", "joint", target=8.0)])
    denser = "learned, scheme joint, sparsity-target 8"
    assert list(arms)[-1] == denser
    assert tradeoff.curves(arms) == [[found[2], found[3]], [found[2], denser]]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("lsg0", "lsg1"), "there is no control to compare with"),
        (("lsg1", "plain0"), "learned has seed 1, and the control has not"),
        (("lsg0", "plain0", "plain0"), r"same settings \(none\) and seed 0"),
        (("lsg0",), "name a run and its control at least, got 1"),
    ],
)
def test_what_cannot_be_compared_is_refused(runs, tmp_path, names, said):
    with pytest.raises(ValueError, match=said):
        tradeoff.write(tradeoff.Options(tuple(runs / name for name in names), output=tmp_path / "t.json"))
    assert not list(tmp_path.iterdir())


def test_other_images_are_refused(runs):
    ours, control = (open_networks(runs / name, None, None)[0] for name in ("lsg0", "plain0"))
    test = control.dataset.test
    flipped = control.dataset._replace(test=test._replace(images=test.images[:, ::-1]))
    other = dataclasses.replace(control, load=lambda: flipped)
    tradeoff._check_images((Path("a"), Path("b")), [ours, control])
    with pytest.raises(ValueError, match="b and a were measured on different images; compare them apart"):
        tradeoff._check_images((Path("a"), Path("b")), [ours, other])


def test_another_budget_is_no_control(runs):
    networks = [open_networks(runs / name, None, None)[0] for name in ("lsg0", "plain0")]
    config = networks[0].run.config
    longer = dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, epochs=3))
    changed = dataclasses.replace(networks[0], run=dataclasses.replace(networks[0].run, config=longer))
    with pytest.raises(ValueError, match=r"differ in epochs \(3, 2\)"):
        tradeoff.arms([changed, networks[1]])


def test_the_start_must_be_the_same_but_for_a_tightened_gate(runs):
    networks = [open_networks(runs / name, None, None)[0] for name in ("lsg0", "plain0")]

    def starting(network, gate, init):
        config = dataclasses.replace(network.run.config, gate=gate, init=Path(init), lsg=GateConfig())
        run = dataclasses.replace(network.run, config=config.resolve(128, 10, 4))
        return dataclasses.replace(network, run=run)

    control = starting(networks[1], "none", "plain")
    with pytest.raises(ValueError, match=r"differ in init \(lsg, plain\)"):
        tradeoff.arms([starting(networks[0], "learned", "lsg"), control])
    tightened = starting(networks[0], "tightened", "lsg")
    assert list(tradeoff.arms([tightened, control])) == ["none", "tightened"]
    with pytest.raises(ValueError, match="was trained before, and the control was not"):
        tradeoff.arms([tightened, networks[1]])


def test_the_picture_has_each_arm_where_it_lies():
    losses = {"none": Interval(0, 0, 0), "learned": Interval(-0.01, -0.02, 0)}
    nan = float("nan")
    figure = plots.tradeoff(losses, {"MIS": {"none": Interval(0.1, 0.1, 0.1), "learned": Interval(0.2, nan, nan)}}, [])
    axis, unused = figure.axes
    assert not unused.axison
    places = [container.lines[0].get_xydata()[0].tolist() for container in axis.containers]
    assert places == [[0, 0.1], [-1, 0.2]]
    labels = axis.get_xlabel(), axis.get_ylabel()
    assert labels == ("accuracy less the control's (points)", "MIS, less the control's")
    across, down = axis.containers[1].lines[2]
    assert across.get_segments()[0][:, 0].tolist() == pytest.approx([-2, 0])
    assert down.get_segments()[0][:, 1].tolist() == pytest.approx([0.2, 0.2])


def test_a_claim_is_judged_by_the_interval_of_what_it_compares():
    control = {0: 0.08, 1: 0.10, 2: 0.12, 3: 0.09, 4: 0.11}  # half of Student's interval: 2.7764 * 0.015811 / sqrt(5)

    def judged(row, *ours):
        return verdicts.over_seeds(row, dict(enumerate(ours)), control)

    ratio = verdicts.Row("1.7 times", "", (), lambda ours, control: ours - 1.7 * control)
    assert judged(ratio, *5 * [0.17 + 1.7 * 0.0197]) is True
    assert judged(ratio, *5 * [0.17 + 1.7 * 0.0196]) is None
    assert judged(ratio, *5 * [0.17 - 1.7 * 0.0196]) is None
    assert judged(ratio, *5 * [0.17 - 1.7 * 0.0197]) is False
    assert judged(ratio, *(1.7 * each + 0.001 for each in control.values())) is True
    assert judged(ratio, 0.5) is None
    below = verdicts.Row("above 0", "", (), lambda ours, control: ours - control, tells=lambda control: control > 0.1)
    assert judged(below, *5 * [0.5]) is None
    assert verdicts.over_seeds(below, {1: 0.5, 2: 0.501}, {1: 0.12, 2: 0.121}) is True
    assert verdicts.over_seeds(below, {1: 0.5, 2: 0.501}, {1: 0.1, 2: 0.13}) is None
    alone = verdicts.Row("at most 0.05", "", (), lambda ours, control: 0.05 - ours, alone=True)
    assert judged(alone, 0.01, 0.03) is None
    assert judged(alone, 0.03, 0.031, 0.029) is True
    assert judged(alone, 0.09, 0.091, 0.089) is False
    assert judged(alone, 0.05, 0.05, 0.05) is None


def test_arms_that_differ_in_one_number_lie_on_a_curve(runs):
    (network,) = open_networks(runs / "lsg0", None, None)

    def trained(gate="learned", **settings):
        lsg = GateConfig(**{"silence_weight": 0.0, **settings})
        config = dataclasses.replace(network.run.config, gate=gate, lsg=lsg).resolve(128, 10, 4)
        return {0: dataclasses.replace(network, run=dataclasses.replace(network.run, config=config))}

    arms = {
        "none": trained("none"),
        "fixed": trained("fixed"),
        "strong": trained(silence_weight=2.0),
        "learned": trained(),
        "weak": trained(silence_weight=0.5),
        "both": trained(silence_weight=2.0, complement_weight=1.0),
    }
    curves = tradeoff.curves(arms)
    assert sorted(curves) == [["learned", "weak", "strong"], ["strong", "both"]]
    alone = {name: arms[name] for name in ("none", "learned", "both")}
    assert tradeoff.curves(alone) == [["learned", "both"]]
    doubled = {"double": trained(silence_weight=4.0, complement_weight=2.0)}
    assert ["learned", "both", "double"] in tradeoff.curves(doubled | arms)
    assert ["both", "double"] in tradeoff.curves(doubled | {"both": arms["both"]})
    figure = plots.tradeoff(
        {arm: interval(np.array([-0.01 * index])) for index, arm in enumerate(arms)},
        {"MIS": {arm: interval(np.array([float(index)])) for index, arm in enumerate(arms)}},
        [["learned", "weak", "strong"]],
    )
    (line,) = [line for line in figure.axes[0].lines if len(line.get_xydata()) == 3]
    np.testing.assert_allclose(line.get_xydata(), [(-3, 3), (-4, 4), (-2, 2)])


def test_an_unfinished_run_and_a_wrong_output_are_refused(runs, tmp_path):
    for output in (tmp_path, tmp_path / "x.png"):
        with pytest.raises(ValueError, match=r"must be a file that ends in \.json"):
            tradeoff.write(tradeoff.Options((runs / "lsg0", runs / "plain0"), output=output))
    run = load_run(runs / "lsg0")
    save_run(dataclasses.replace(run, history=run.history[:1]), tmp_path / "cut")
    with pytest.raises(ValueError, match="cut has 1 of 2 epochs; finish it first"):
        tradeoff.write(tradeoff.Options((tmp_path / "cut", runs / "plain0"), output=tmp_path / "t.json"))
