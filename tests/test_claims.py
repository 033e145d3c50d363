"""The commands of the paper's claims and the report, on two tiny runs."""

import base64
import dataclasses
import functools
import html
import html.parser
import itertools
import json
import re
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy.special import logsumexp, softmax

from experiments import (
    alike,
    attacks,
    claims,
    cli,
    clustering,
    correlation,
    gates,
    localization,
    masking,
    report,
    similarity,
    specificity,
    table1,
    verdicts,
)
from experiments.claims import Claim, Picture
from experiments.network import open_networks
from lsg_jax import cache, data, load_run, save_run
from lsg_jax.analysis.comparison import paired_interval
from lsg_jax.analysis.correlation import class_order
from lsg_jax.metrics import filter_correlation


class Page(html.parser.HTMLParser):
    """Collects what a page would fetch or offers to download, its tags, the names of their attributes and its text."""

    def __init__(self):
        super().__init__()
        self.links, self.tags, self.attributes, self.downloads, self.text = [], [], set(), {}, ""

    def handle_data(self, data):
        self.text += data

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes.update(name for name, _ in attributes)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if file := dict(attributes).get("download"):
            encoded = dict(attributes)["href"].removeprefix("data:application/json;base64,")
            self.downloads[file] = json.loads(base64.b64decode(encoded))


def test_the_report_is_one_page_that_fetches_nothing(runs, quick_attacks, monkeypatch, tmp_path, capsys):
    folder, dataset, init = (f"'\"><{tag} hostile=1>x" for tag in ("b", "i", "u"))
    monkeypatch.setitem(data.DATASETS, dataset, data.DATASETS["digits"])

    def save(name, saved):
        run = load_run(runs / name)
        used = dataclasses.replace(run.config.data, dataset=dataset)
        config = dataclasses.replace(run.config, data=used, init=Path(init))
        run = dataclasses.replace(run, config=config, class_names=("<script>alert(1)</script>", *"123456789"))
        save_run(run, tmp_path / saved)
        return run

    hostile, _ = save("learned", folder), save("none", "other")
    report.report(report.Options(tmp_path / folder, tmp_path / "other", attack_images=4))
    page = Page()
    page.feed((tmp_path / folder / "report.html").read_text())
    assert not {"b", "i", "u"} & set(page.tags)
    assert "hostile" not in page.attributes
    assert all(each in page.text for each in (folder, dataset, init))
    assert page.tags.count("script") == 2  # the explorer's data and its program
    assert all(link.startswith(("data:", "#")) for link in page.links)
    sections = len(report.MEASURES) + 3  # and glance, explorer, attacks
    assert page.tags.count("section") == sections == page.tags.count("h2")
    assert page.tags.count("figure") == page.tags.count("figcaption") == page.tags.count("img")
    assert len(page.downloads) == page.tags.count("figure") + sections - 2
    run = load_run(runs / "learned")
    shown = next(iter(page.downloads["masking.json"].values()))
    np.testing.assert_allclose(np.sum(shown, axis=1), 1, atol=1e-4)
    order = class_order(np.asarray(run.gate)).filters
    products = filter_correlation(run.last_kernel)[np.ix_(order, order)]
    assert page.downloads["correlation.json"][folder]["filters"] == order.tolist()
    np.testing.assert_allclose(page.downloads["correlation.json"][folder]["correlation"], products, atol=1e-5)
    np.testing.assert_allclose(next(iter(page.downloads["gates.json"].values())), run.gate, atol=1e-5)
    measured = json.loads((tmp_path / folder / "report.json").read_text())
    assert measured["networks"] == [folder, "other"]
    assert measured["trained"]["other"].items() >= {"model": "tiny", "gate": "none", "epochs trained": 4}.items()
    numbers = measured["claims"]["table1"]["numbers"][folder]
    assert numbers["accuracy"] == pytest.approx(hostile.history[-1]["test_accuracy"])
    assert numbers["cross entropy"] == pytest.approx(hostile.history[-1]["test_cross_entropy"], rel=1e-4)
    assert "Table 1" in capsys.readouterr().out


def test_no_string_of_a_claim_becomes_markup(runs):
    hostile, page = "'\"><b hostile=1>x", Page()
    claim = Claim("claim", hostile, hostile, {hostile: {hostile: hostile}}, {hostile: Picture(Figure, hostile, {})})
    page.feed(report.page(open_networks(runs / "none", None, None), [claim]))
    assert "b" not in page.tags
    assert "hostile" not in page.attributes
    assert f"{hostile}.json" in page.downloads


def test_the_page_begins_with_the_verdict_of_every_claim(runs):
    networks = open_networks(runs / "learned", runs / "none", None)
    found = [measure(networks) for measure in (table1.measure, masking.measure, specificity.measure)]
    content = json.loads(claims.to_json(report.content_of(networks, found)))
    told = {row.claim: verdicts.verdict(row, content) for row in verdicts.rows(content)}
    assert {row.place[0] for row in verdicts.rows(content)} == {"table1", "masking", "specificity"}
    text = report.page(networks, found)
    section = text[text.index('id="glance"') : text.index('id="explorer"')]
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>", section)
    assert {html.unescape(claim): holds for claim, holds in rows} == told
    for word in set(told.values()):
        assert re.search(rf"[?;] {word}: {list(told.values()).count(word)}[;.]", section)
    alone = report.page(networks[:1], found)
    assert "no control is here" in alone[alone.index('id="glance"') : alone.index('id="explorer"')]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"seed": 5}, "seed (0, 5)"),
        ({"epochs": 9}, "epochs (4, 9)"),
        ({"init": Path("b/a.x")}, "init (None, a.x)"),
        ({"history": 3}, "epochs trained (4, 12)"),
        ({"period": 6, "scheme": "joint"}, None),
    ],
)
def test_a_network_that_was_trained_otherwise_is_no_control(runs, changed, said):
    networks = open_networks(runs / "learned", runs / "none", None)
    run = networks[1].run
    config = dataclasses.replace(run.config, **{k: v for k, v in changed.items() if k in ("seed", "init", "scheme")})
    optimizer = dataclasses.replace(config.optimizer, **{k: v for k, v in changed.items() if k == "epochs"})
    lsg = dataclasses.replace(config.lsg, **{k: v for k, v in changed.items() if k == "period"})
    config = dataclasses.replace(config, optimizer=optimizer, lsg=lsg)
    run = dataclasses.replace(run, config=config, history=run.history * changed.get("history", 1))
    networks[1] = dataclasses.replace(networks[1], run=run)
    found = [table1.measure(networks)]
    assert verdicts.has_control(report.content_of(networks, found)) == (said is None)
    page = report.page(networks, found)
    glance = page[page.index('id="glance"') : page.index('id="explorer"')]
    assert ("<table>" in glance) == (said is None)
    assert said is None or f"<p>These differ in more than the gate: {said}." in glance


def test_a_tightened_gate_may_start_from_another_network_but_its_control_from_one_too():
    def differing(*inits):
        gates = "tightened", "none"
        return alike.differences([{"gate": gate, "init": init} for gate, init in zip(gates, inits, strict=True)])

    assert differing("learned", "plain") == {}
    assert differing("learned", None) == {"init": "learned, None"}


def test_a_start_is_told_by_its_name_and_of_an_imported_network_nothing(runs):
    run = load_run(runs / "learned")

    def starting(init):
        return alike.settings(dataclasses.replace(run, config=dataclasses.replace(run.config, init=Path(init))))

    assert not alike.differences([starting("/x/resnet20.th"), starting("results/runs/resnet20")])
    assert alike.differences([starting("runs/learned-a=0.5"), starting("runs/learned-a=0.7")]).keys() == {"init"}
    imported = alike.settings(dataclasses.replace(run, history=[], environment={}))
    assert alike.differences([starting("x"), imported]) == {"epochs trained": "4, unknown"}


def test_an_output_that_is_a_file_is_refused_before_anything_is_measured(runs, tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.write_text("mine")
    monkeypatch.setattr(report, "MEASURES", ())
    with pytest.raises(NotADirectoryError, match="choose another output folder"):
        report.report(report.Options(runs / "learned", output=file, attack_images=1))
    monkeypatch.setattr(sys, "argv", ["masking", f"--run={runs / 'learned'}", f"--output={file}"])
    with pytest.raises(SystemExit) as stop:
        claims.main(lambda networks: pytest.fail("measured"), masking.__doc__)
    assert stop.value.code == 2
    assert file.read_text() == "mine"


@pytest.mark.parametrize("claim", [attacks, localization])
def test_networks_that_agree_on_no_image_are_named(runs, claim):
    networks = open_networks(runs / "learned", runs / "none", None)
    wrong = np.eye(10, dtype=np.float32)[(networks[0].labels + 1) % 10]
    networks[1].__dict__["logits"] = wrong
    with pytest.raises(ValueError, match="no test image is classified correctly by learned and none"):
        claim.measure(networks)


def test_attacks_that_were_stopped_go_on(runs, quick_attacks, monkeypatch, tmp_path):
    networks = open_networks(runs / "learned", runs / "none", None)
    attacked, most, attack = [], 4, attacks.ATTACKS["one pixel"]

    @functools.wraps(attack)
    def counted(probabilities, images, *arguments, **budget):
        if len(attacked) == most:
            raise KeyboardInterrupt
        attacked.append(len(images))
        return attack(probabilities, images, *arguments, **budget)

    def measured():
        attacked.clear()
        return attacks.measure(networks, 5).numbers

    monkeypatch.setitem(attacks.ATTACKS, "one pixel", counted)
    monkeypatch.setitem(attacks.BLOCKS, "short", 3)
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "a file")
    (tmp_path / "a file").touch()  # nothing can be kept
    whole = measured()
    assert attacked == [3, 2, 3, 2]
    monkeypatch.setattr(cache, "folder", lambda: tmp_path / "kept")
    most = 3
    with pytest.raises(KeyboardInterrupt):
        measured()
    assert measured() == whole
    assert attacked == [2]
    damaged, *_ = (tmp_path / "kept" / "attacks").iterdir()
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert measured() == whole
    half = dataclasses.replace(networks[0].run.config, precision="bfloat16")
    networks[0] = dataclasses.replace(networks[0], run=dataclasses.replace(networks[0].run, config=half))
    most = 4
    measured()
    assert attacked == [3, 2]  # what is not the same network is attacked anew


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
    before = run.logits(dataset.test.images).argmax(1)
    lost = [
        np.mean(before[chosen] == label) - np.mean(predicted[chosen] == label)
        for label in range(10)
        for chosen in [dataset.test.labels == label]
    ]
    found = numbers["learned"]["without filters of 0"]
    assert found["recall lost by 0"] == found["recall lost by these classes"] == pytest.approx(lost[0])
    zeros = dataset.test.labels == 0
    assert found["share of their images still recognised"] == pytest.approx(np.mean(predicted[zeros] == 0))
    other = numbers["none"]["without filters of 0"]["share of their images still recognised"]
    difference = found[claims.less("share of their images still recognised")]
    assert difference["mean"] == pytest.approx(found["share of their images still recognised"] - other)
    assert difference["low"] <= difference["mean"] <= difference["high"]
    assert found["most recall lost by another"] == pytest.approx(max(lost[1:]))
    intervals = [
        paired_interval(before[chosen] == label, predicted[chosen] == label, 1 - 0.05 / 9)
        for label in range(1, 10)
        for chosen in [dataset.test.labels == label]
    ]
    assert found["most recall lost by another, from"] == pytest.approx(max(each.low for each in intervals))
    assert found["most recall lost by another, to"] == pytest.approx(max(each.high for each in intervals))
    assert (tmp_path / "masked_recall.png").stat().st_size > 10_000
    assert "filters removed" in capsys.readouterr().out


def test_a_plain_network_is_given_the_gate_that_is_solved_for_phi(runs):
    (network,) = open_networks(runs / "none", None, None)
    assert network.gate.min() < 1
    np.testing.assert_array_equal(network.gate, network.solved.gate)
    assert table1.measure([network]).numbers["none"]["L1 norm"] == pytest.approx(float(network.solved.density))
    assert gates.measure([network]).numbers["none"]["density"] == 1


@pytest.mark.parametrize(("stated", "noted"), [(0.0, False), (0.009, False), (0.011, True), (-0.011, True)])
def test_images_that_do_not_seem_to_be_those_of_the_run_are_noted(runs, tmp_path, capsys, stated, noted):
    run, test = load_run(runs / "none"), data.load("digits").test
    accuracy = np.mean(run.logits(test.images).argmax(1) == test.labels)
    last = run.history[-1] | {"test_accuracy": float(accuracy) + stated}
    save_run(dataclasses.replace(run, history=[*run.history[:-1], last]), tmp_path / "run")
    (network,) = open_networks(tmp_path / "run", None, None)
    assert network.features.shape == (len(test.labels), run.gate.shape[1])
    assert ("another copy of the data set?" in capsys.readouterr().err) == noted


def test_networks_that_cannot_be_compared_are_refused(runs, tmp_path):
    with pytest.raises(ValueError, match="the networks must have different names, got none twice"):
        report.write([*open_networks(runs / "none", None, None), *open_networks(runs / "none", None, None)], tmp_path)
    with pytest.raises(ValueError, match="cannot be compared with itself"):
        open_networks(runs / "none", runs / "none", None)
    holding = dataclasses.replace(load_run(runs / "none").config.data, holdout=100)
    other = load_run(runs / "none")
    save_run(dataclasses.replace(other, config=dataclasses.replace(other.config, data=holding)), tmp_path / "held")
    with pytest.raises(ValueError, match="different images"):
        open_networks(runs / "none", tmp_path / "held", None)
    three = dataclasses.replace(other, class_names=("a", "b", "c"))
    (network,) = open_networks(runs / "none", None, None)
    with pytest.raises(ValueError, match=r"none is a network for images \[16, 16, 1\] of 3 classes, and digits has"):
        print(dataclasses.replace(network, run=three).labels)
    few = dataclasses.replace(load_run(runs / "none"), class_names=tuple("abcdefghij"))
    save_run(few, tmp_path / "few")
    with pytest.raises(ValueError, match="different images"):
        open_networks(runs / "none", tmp_path / "few", None)


def test_networks_of_one_name_are_told_apart_by_the_folders_they_are_in(runs, tmp_path):
    for name in ("learned", "none"):
        save_run(load_run(runs / name), tmp_path / name / "seed0")
    networks = open_networks(tmp_path / "learned" / "seed0", tmp_path / "none" / "seed0", None)
    assert [network.name for network in networks] == ["learned-seed0", "none-seed0"]
    assert networks[0].dataset is networks[1].dataset


def test_nothing_is_written_into_a_checkpoint(runs, monkeypatch, capsys):
    step = max((runs / "learned" / "checkpoints").iterdir(), key=lambda path: int(path.name))
    monkeypatch.setattr(sys, "argv", ["gates", f"--run={step}"])
    with pytest.raises(SystemExit) as stop:
        claims.main(gates.measure, "A test.")
    assert stop.value.code == 2
    assert "is a checkpoint, where nothing else may lie; name a folder with --output" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is a checkpoint"):
        report.report(report.Options(step, attack_images=0))
    load_run(runs / "learned")


@pytest.mark.parametrize("name", ["learned", "none"])
def test_phi_is_the_lowest_of_what_was_found_and_never_above_the_budgets(runs, name):
    (network,) = open_networks(runs / name, None, None)
    found = [float(each.value) for each in network.stationary.values()]
    assert float(network.solved.value) == min(found)
    assert min(found) <= float(network.phi_after(network).value) + 1e-6
    gate = np.asarray(network.solved.gate, np.float64)
    assert min(found) == pytest.approx(entropy(network, gate) + abs(gate.mean() - 0.1), abs=1e-5)


def entropy(network, gate):
    """The cross entropy of the LSG path with ``gate`` in its place."""
    kernel, bias = (each.astype(np.float64) for each in network.linear)
    logits = (network.features * gate[network.labels]) @ kernel + bias
    return np.mean(logsumexp(logits, axis=1) - logits[np.arange(len(logits)), network.labels])


def test_the_budget_of_phi_is_that_of_the_runs_own_training(runs, monkeypatch):
    asked = []
    monkeypatch.setattr("experiments.network.metrics.phi_by_training", lambda *_, **options: asked.append(options))
    learned, plain = open_networks(runs / "learned", runs / "none", None)
    trained = learned.run.config
    own = dataclasses.replace(trained, lsg=dataclasses.replace(trained.lsg, sparsity_weight=0.375, sparsity_target=7.0))
    # A setting of another gate, as a fixed one may have had, is no concern here.
    fixed = dataclasses.replace(trained, gate="fixed", lsg=dataclasses.replace(trained.lsg, shared_filters=14))
    for network, other in ((learned, learned), (plain, learned), (plain, plain)):
        network.phi_after(other)
    for training in (fixed, own):
        learned.phi_after(dataclasses.replace(learned, run=dataclasses.replace(learned.run, config=training)))
    # Epoch 1 of 0 to 3 is gated, with 5 steps of 64 in 320 images.
    assert [options["steps"] for options in asked] == [5, 5, 5, 5, 5]
    assert [options["training_weight"] for options in asked] == [trained.lsg.sparsity_weight] * 4 + [0.375]
    assert [options["training_target"] for options in asked] == [4.0] * 4 + [7.0]
    assert {options["sparsity_target"] for options in asked} == {4.0}
    few = dataclasses.replace(plain, load=lambda: data.load("digits", train_examples=192))
    asked.clear()
    few.phi_after(learned)
    learned.phi_after(few)
    assert [options["steps"] for options in asked] == [5, 3]  # those of the images that it was trained on
    asked.clear()
    for share in (0.05, 0.2, 0.6):
        learned.phi_after(learned, share)
    assert [options["steps"] for options in asked] == [1, 1, 3]


def test_each_network_has_the_images_that_it_was_trained_on(runs, tmp_path):
    none = load_run(runs / "none")
    few = dataclasses.replace(none.config, data=dataclasses.replace(none.config.data, train_examples=128))
    save_run(dataclasses.replace(none, config=few), tmp_path / "few")
    learned, other = open_networks(runs / "learned", tmp_path / "few", None)
    assert [len(each.dataset.train.labels) for each in (learned, other)] == [320, 128]
    np.testing.assert_array_equal(learned.images, other.images)
    both = open_networks(runs / "learned", runs / "none", None)
    assert both[0].dataset is both[1].dataset


def test_the_reported_numbers_are_numpys(runs):
    (network,) = open_networks(runs / "learned", None, None)
    kernel, bias = (each.astype(np.float64) for each in network.linear)
    features, labels, gate = network.features.astype(np.float64), network.labels, network.gate

    def accuracy(kept):
        return np.mean((kept @ kernel + bias).argmax(1) == labels)

    own = gate[labels] >= 0.5
    found = specificity.measure([network]).numbers["learned"]
    assert found["gate"]["all filters"] == accuracy(features)
    assert found["gate"]["own filters only"] == accuracy(features * own)
    assert found["gate"]["without own filters"] == accuracy(features * ~own)
    outside = 1 - gate[labels]
    assert found["silence cost"] == pytest.approx(np.sum(features * outside) / features.sum(), rel=1e-5)
    logits = (features * outside) @ kernel + bias
    expected = np.mean(logsumexp(logits, axis=1) - logits.mean(axis=1))
    assert found["complement cost"] == pytest.approx(expected, rel=1e-5)
    tight = np.where((gate >= 0.5).sum(0) == 1, gate >= 0.5, True)
    assert found["tightened gate"]["density"] == pytest.approx(tight.mean())
    assert found["tightened gate"]["without own filters"] == accuracy(features * ~tight[labels])
    solved = np.asarray(network.solved.gate)
    assert not np.array_equal(solved, gate)
    assert found["gate solved for Phi"]["density"] == pytest.approx(solved.mean())
    assert found["gate solved for Phi"]["without own filters"] == accuracy(features * ~(solved[labels] >= 0.5))
    plain = specificity.measure(open_networks(runs / "none", None, None)).numbers["none"]
    both = specificity.measure(open_networks(runs / "learned", runs / "none", None)).numbers
    assert not [name for name in both["none"] if name.startswith("aim")]
    aims = [value for name, value in both["learned"].items() if name.startswith("aim")]
    score, own = "mutual information score", "gate"
    expected = found[own]["all filters"] - plain[own]["all filters"], found[score] / plain[score]
    assert aims == pytest.approx([*expected, found[own]["without own filters"]])
    assert plain["gate solved for Phi"] == plain["gate"]

    found = similarity.measure([network]).numbers["learned"]
    right = (features @ kernel + bias).argmax(1) == labels
    for name, chosen in (("true positives", right), ("false negatives", ~right)):
        assert found[name]["images"] == chosen.sum()
        products = {c: features[chosen & (labels == c)] @ gate.T for c in np.unique(labels[chosen])}
        share = np.mean([each.mean(0)[c] / each.mean(0).sum() for c, each in products.items()])
        assert found[name]["share on the diagonal"] == pytest.approx(share, rel=1e-4)

    weights = np.asarray(network.run.last_kernel, np.float64).reshape(-1, gate.shape[1])
    weights /= np.linalg.norm(weights, axis=0)
    products = weights.T @ weights
    pairs = products[np.triu_indices(len(products), 1)]
    found = correlation.measure([network]).numbers["learned"]
    for threshold in (0.1, 0.3, 0.5):
        assert found[f"share of pairs above {threshold}"] == pytest.approx(np.mean(pairs > threshold))
        assert found[f"share above {threshold}"] == pytest.approx(np.mean(products > threshold))
    size = found["filters a class (m)"]
    groups = [np.argsort(-features[labels == c].mean(0), kind="stable")[:size] for c in range(10)]
    between = [
        products[k, j] * (k != j)
        for a, b in itertools.permutations(range(10), 2)
        for k, j in itertools.product(groups[a], groups[b])
    ]
    assert found["C_IC of different filters"] == pytest.approx(np.mean(between), abs=1e-6)

    found = localization.measure([network]).numbers["learned"]
    count = found["images of the curves"]
    sure = softmax(network.logits[:count], axis=1)[range(count), labels[:count]]
    assert found["probability of the whole image"] == pytest.approx(sure.mean(), rel=1e-4)
    for name in ("deletion area", "insertion area"):
        assert found[f"{name}, relative"] == pytest.approx(found[name] / sure.mean(), rel=1e-4)
    both = localization.measure(open_networks(runs / "learned", runs / "none", None)).numbers
    assert claims.less("deletion area") not in both["none"]
    for name in ("deletion area", "insertion area, relative"):
        difference = both["learned"][claims.less(name)]
        assert difference["mean"] == pytest.approx(both["learned"][name] - both["none"][name])
        assert difference["low"] < difference["mean"] < difference["high"]


def test_table_1_is_numpys(runs):
    first, second = open_networks(runs / "learned", runs / "none", None)
    lsg = dataclasses.replace(
        first.run.config.lsg, gate_learning_rate=0.5, gate_loss_weight=0.25, sparsity_weight=0.375
    )
    optimizer = dataclasses.replace(first.run.config.optimizer, batch_size=40)
    config = dataclasses.replace(first.run.config, lsg=lsg, optimizer=optimizer)
    first = dataclasses.replace(first, run=dataclasses.replace(first.run, config=config))
    found = table1.measure([first, second]).numbers
    for network in (first, second):
        kernel, bias = (each.astype(np.float64) for each in network.linear)
        features, labels = network.features.astype(np.float64), network.labels
        numbers = found[network.name]
        correct = ((features * network.gate[labels]) @ kernel + bias).argmax(1) == labels
        assert numbers["accuracy, LSG path"] == pytest.approx(correct.mean())
        assert numbers["cross entropy, LSG path"] == pytest.approx(entropy(network, network.gate), rel=1e-5)
        assert numbers["cross entropy"] == pytest.approx(entropy(network, np.ones((10, 4))), rel=1e-5)
        assert numbers["L1 norm"] == pytest.approx(network.gate.mean())
        # Both as the first was trained: one gated epoch of 320 images, so 8 batches of 40.
        gate = np.ones((10, 4))
        for step in range(8):
            key = jax.random.fold_in(jax.random.key(0), step)
            chosen = np.asarray(jax.random.randint(key, (40,), 0, len(labels)))
            rows, of = features[chosen], labels[chosen]
            error = (softmax((rows * gate[of]) @ kernel + bias, axis=1) - np.eye(10)[of]) / 40
            gradient = np.full(gate.shape, 0.375 * np.sign(gate.sum() - 4)) * (gate > 0)
            np.add.at(gradient, of, rows * (error @ kernel.T))
            gate -= 0.5 * 0.25 * gradient
            gate = np.clip(gate / np.abs(gate).max(axis=0), 0, 1)
        numbers = numbers["Phi, training's budget"]
        assert numbers["density"] == pytest.approx(gate.mean(), rel=1e-5)
        assert numbers["Phi"] == pytest.approx(entropy(network, gate) + abs(gate.mean() - 0.1), rel=1e-5)


def test_the_filters_of_a_gate_are_counted(runs):
    (network,) = open_networks(runs / "learned", None, None)
    gate = np.zeros((10, 4), np.float32)
    gate[(2, 1), 0] = 1, 0.25  # of class 2 alone
    gate[7, 1:3] = 1  # of class 7 alone
    gate[(4, 5), 3] = 1, 0.5  # shared
    network = dataclasses.replace(network, run=dataclasses.replace(network.run, gate=jnp.asarray(gate)))
    alone = {f"filters of {label} alone": {2: 1, 7: 2}.get(label, 0) for label in range(10)}
    expected = {"density": pytest.approx(4.75 / 40), "filters shared": 1} | alone
    assert gates.measure([network]).numbers == {"learned": expected}


def test_maps_are_of_the_label_and_a_removed_pixel_is_the_mean(runs):
    (network,) = open_networks(runs / "learned", None, None)
    images, labels = network.images, network.labels
    kernel, pixels = network.linear[0].astype(np.float64), images[0, ..., 0].size
    maps = np.einsum("nhwk,kn->nhw", network.run.feature_maps(images).astype(np.float64), kernel[:, labels])
    maps = maps.reshape(len(maps), pixels)
    found = localization.measure([network]).numbers["learned"]
    positive = -np.sort(-np.maximum(maps[maps.max(axis=1) > 0], 0), axis=1)
    held = np.cumsum(positive, axis=1) / positive.sum(axis=1, keepdims=True)
    assert found["area of 90 % of the map"] == pytest.approx(np.mean((held < 0.9).sum(axis=1) + 1) / pixels, rel=1e-4)
    order = np.argsort(-maps, axis=1, kind="stable")[..., None]
    scaled = images.reshape(len(images), pixels, 1) / 255
    mean = np.full_like(scaled, network.dataset.train.images.mean() / 255)
    for name, kept, put in (("deletion area", scaled, mean), ("insertion area", mean, scaled)):
        curve = []
        for count in range(0, pixels + 1, 8):
            shown, at = kept.copy(), order[:, :count]
            np.put_along_axis(shown, at, np.take_along_axis(put, at, axis=1), axis=1)
            probabilities = softmax(network.run.logits(shown.reshape(images.shape)), axis=1)
            curve.append(probabilities[range(len(labels)), labels].mean())
        assert found[name] == pytest.approx(np.trapezoid(curve, dx=8 / pixels), rel=1e-4)


@pytest.mark.parametrize(("model", "filters"), [("resnet20", 6), ("alexnet", 25)])
def test_c_ic_is_over_as_many_filters_as_the_papers(runs, model, filters):
    (network,) = open_networks(runs / "none", None, None)
    config = dataclasses.replace(network.run.config, model=model)
    wide = dataclasses.replace(network, run=dataclasses.replace(network.run, config=config))
    wide.__dict__["correlation"] = np.eye(256)
    wide.__dict__["features"] = np.random.default_rng(0).uniform(size=(len(network.labels), 256))
    assert correlation.inter_class(wide)["filters a class (m)"] == filters


def test_a_class_without_images_is_null_in_json():
    written = claims.to_json({"recall": {"a": float("nan"), "b": 0.5}, "rows": [float("nan"), 1]})
    assert json.loads(written, parse_constant=pytest.fail) == {"recall": {"a": None, "b": 0.5}, "rows": [None, 1]}


def test_shares_of_pairs_and_clusters_of_directions_against_loops(runs):
    (network,) = open_networks(runs / "learned", None, None)
    owned = np.array([0, 0, 1, 1])
    matrix = np.array([[1, 0.4, 0.2, -0.5], [0.4, 1, 0.35, 0], [0.2, 0.35, 1, 0.05], [-0.5, 0, 0.05, 1]])
    gate = np.zeros((10, 4))
    gate[owned, np.arange(4)] = 1
    network.__dict__.update(correlation=matrix, gate=gate)
    numbers = correlation.measure([network]).numbers["learned"]
    assert numbers["share of pairs above 0.3"] == pytest.approx(2 / 6)
    assert numbers["share of pairs of one class above 0.3"] == pytest.approx(1 / 2)
    assert numbers["share of pairs of different classes above 0.3"] == pytest.approx(1 / 4)
    assert numbers["share of pairs of different classes above 0.1"] == pytest.approx(2 / 4)
    network.__dict__["gate"] = np.ones((10, 4))
    assert np.isnan(correlation.measure([network]).numbers["learned"]["share of pairs of different classes above 0.3"])

    directions = np.eye(10, 12)[network.labels] + 0.01
    network.__dict__.update(
        features=directions * np.exp(5 * np.random.default_rng(0).normal(size=(len(directions), 1)))
    )
    network.__dict__["gate"] = np.eye(10, 12)
    numbers = clustering.measure([network]).numbers["learned"]
    assert numbers["adjusted Rand index"] < 0.5
    assert numbers["features of unit length"]["adjusted Rand index"] == pytest.approx(1)
    assert numbers["features of unit length"]["cosine to the class's gate row"] > 0.99
