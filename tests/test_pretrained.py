"""Checkpoints in PyTorch's layout against a float64 network in NumPy, and training that starts from one."""

import dataclasses
import os
import pickle
import sys
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import lsg_jax
from experiments import cli, digits
from lsg_jax import data, models, pretrained
from lsg_jax.config import Config, GateConfig, OptimizerConfig
from lsg_jax.training import loop

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def state_dict(blocks=1, classes=10, seed=0):
    rng = np.random.default_rng(seed)
    state = {}

    def convolution(name, inputs, outputs):
        state[f"{name}.weight"] = rng.normal(0, 0.5 / np.sqrt(inputs), (outputs, inputs, 3, 3))

    def norm(name, width):
        state[f"{name}.weight"], state[f"{name}.bias"] = rng.normal(1, 0.3, width), rng.normal(0, 0.3, width)
        state[f"{name}.running_mean"], state[f"{name}.running_var"] = rng.normal(size=width), rng.uniform(0, 2, width)
        state[f"{name}.running_var"][0] = 1e-4  # so small that the epsilon shows
        state[f"{name}.num_batches_tracked"] = np.zeros((), np.int64)

    convolution("conv1", 3, 16)
    norm("bn1", 16)
    inputs = 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(blocks):
            for layer in (1, 2):
                convolution(f"layer{stage + 1}.{block}.conv{layer}", inputs, width)
                norm(f"layer{stage + 1}.{block}.bn{layer}", width)
                inputs = width
    state["linear.weight"], state["linear.bias"] = rng.normal(size=(classes, 64)), rng.normal(size=classes)
    return {name: array if array.dtype == np.int64 else array.astype(np.float32) for name, array in state.items()}


def numpy_logits(state, images, blocks=1):
    """PyTorch's definitions, pixel by pixel: padding 1 on every side, y[i, j] from x[s i - 1 : s i + 2, ...]."""
    state = {name: array.astype(np.float64) for name, array in state.items()}

    def convolution(name, maps, stride):
        padded = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
        rows, columns = ((size - 1) // stride + 1 for size in maps.shape[2:])
        out = np.zeros((len(maps), len(state[f"{name}.weight"]), rows, columns))
        for i in range(rows):
            for j in range(columns):
                window = padded[:, :, stride * i : stride * i + 3, stride * j : stride * j + 3]
                out[:, :, i, j] = np.einsum("bihw,oihw->bo", window, state[f"{name}.weight"])
        return out

    def norm(name, maps):
        weight, bias, mean, var = (
            state[f"{name}.{part}"][:, None, None] for part in ("weight", "bias", "running_mean", "running_var")
        )
        return (maps - mean) / np.sqrt(var + 1e-5) * weight + bias

    maps = ((images.astype(np.float64) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    maps = np.maximum(norm("bn1", convolution("conv1", maps, 1)), 0)
    for stage in (1, 2, 3):
        for block in range(blocks):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            shortcut = maps
            if stride == 2:
                quarter = maps.shape[1] // 2
                shortcut = np.pad(maps[:, :, ::2, ::2], ((0, 0), (quarter, quarter), (0, 0), (0, 0)))
            maps = np.maximum(norm(f"{name}.bn1", convolution(f"{name}.conv1", maps, stride)), 0)
            maps = np.maximum(norm(f"{name}.bn2", convolution(f"{name}.conv2", maps, 1)) + shortcut, 0)
    return maps.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"]


def images(count=2, size=32):
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def assert_close(logits, expected):
    np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("blocks", [1, 2])
def test_imported_logits_are_the_definitions(tmp_path, blocks):
    state = state_dict(blocks)
    save_file(state, tmp_path / "net.safetensors")
    run = lsg_jax.import_torch(tmp_path / "net.safetensors")
    assert run.config.model == f"resnet{6 * blocks + 2}"
    assert_close(run.logits(images()), numpy_logits(state, images(), blocks))


def test_odd_sizes_too(tmp_path):
    save_file(state_dict(), tmp_path / "net.safetensors")
    run = dataclasses.replace(lsg_jax.import_torch(tmp_path / "net.safetensors"), image_shape=(9, 9, 3))
    assert_close(run.logits(images(size=9)), numpy_logits(state_dict(), images(size=9)))


def test_an_imported_run_has_an_open_gate_and_no_history(tmp_path):
    for classes, names in ((10, data.cifar10.CLASSES), (3, ("0", "1", "2"))):
        save_file(state_dict(classes=classes), tmp_path / "net.safetensors")
        run = lsg_jax.import_torch(tmp_path / "net.safetensors")
        assert (run.class_names, run.mean, run.std, run.history) == (names, MEAN, STD, [])
        np.testing.assert_array_equal(run.gate, np.ones((classes, 64)))
        assert Config.from_json(run.config.to_json()) == run.config


def test_prefix_counters_and_precision_do_not_matter(tmp_path):
    state = state_dict()
    save_file(state, tmp_path / "plain.safetensors")
    old = {f"module.{name}": array.astype(np.float64) for name, array in state.items() if "tracked" not in name}
    save_file(old, tmp_path / "old.safetensors")
    plain, old = (pretrained.read(tmp_path / f"{name}.safetensors") for name in ("plain", "old"))
    chex.assert_trees_all_equal(plain._asdict(), old._asdict())


def test_the_classifier_may_be_called_fc(tmp_path):
    state = state_dict(classes=3)
    save_file(state, tmp_path / "linear.safetensors")
    state |= {f"fc.{part}": state.pop(f"linear.{part}") for part in ("weight", "bias")}
    save_file(state, tmp_path / "fc.safetensors")
    linear, fc = (pretrained.read(tmp_path / f"{name}.safetensors") for name in ("linear", "fc"))
    chex.assert_trees_all_equal(linear._asdict(), fc._asdict())


def test_110_layers(tmp_path):
    state = state_dict(blocks=18, classes=3)
    assert sum(name.endswith("weight") and array.ndim > 1 for name, array in state.items()) == 110
    save_file(state, tmp_path / "net.safetensors")
    run = lsg_jax.import_torch(tmp_path / "net.safetensors")
    assert run.config.model == "resnet110"
    lsg_jax.export_torch(run, tmp_path / "out.safetensors")
    chex.assert_trees_all_equal(load_file(tmp_path / "out.safetensors"), state)


def without(state, name):
    del state[name]


def with_entry(name, value):
    def change(state):
        state[name] = state[name].copy()
        state[name].flat[3] = value

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: without(s, "layer2.0.bn1.running_mean"), "no tensor layer2.0.bn1.running_mean"),
        (lambda s: without(s, "layer1.0.conv1.weight"), "no tensor layer1.0.conv1.weight"),
        (lambda s: without(s, "linear.bias"), "no tensor linear.bias"),
        (lambda s: s.update({"fc.weight": np.zeros((10, 64))}), "no tensor fc.bias"),
        (lambda s: s.update({"fc.weight": np.zeros((10, 64)), "fc.bias": np.zeros(10)}), "holds linear."),
        (lambda s: s.clear(), "no tensor conv1.weight"),
        (lambda s: s.update({"module.conv1.weight": s.pop("conv1.weight")}), "no tensor conv1.weight"),
        (lambda s: s.update({"layer2.0.shortcut.0.weight": np.zeros(3)}), "layer2.0.shortcut.0.weight"),
        (lambda s: s.update({"layer3.1.conv1.weight": np.zeros(3)}), "layer3.1.conv1.weight"),
        (lambda s: s.update({"layer1.1.conv1.weight": np.zeros(3)}), "no tensor layer1.1.bn1.weight"),
        (lambda s: s.update({"conv1.weight": np.zeros((16, 1, 3, 3))}), "conv1.weight has shape (16, 1, 3, 3), not"),
        (lambda s: s.update({"linear.weight": np.zeros((64, 10))}), "linear.weight has shape (64, 10), not (10, 64)"),
        (lambda s: s.update({"bn1.bias": np.zeros(())}), "bn1.bias has shape (), not (16,)"),
        (lambda s: s.update({"linear.bias": np.zeros(1)}), "linear.bias has 1 entries"),
        (lambda s: s.update({"bn1.bias": np.zeros(16, np.int64)}), "bn1.bias holds int64"),
        (with_entry("layer3.0.conv2.weight", np.nan), "layer3.0.conv2.weight holds a number that is not finite"),
        (with_entry("bn1.weight", np.inf), "bn1.weight holds a number that is not finite"),
        (lambda s: s.update({"bn1.bias": np.full(16, 1e300)}), "bn1.bias holds a number that is not finite"),
        (with_entry("bn1.running_var", -1e-3), "bn1.running_var holds a negative variance"),
    ],
)
def test_what_is_no_such_network_is_named(tmp_path, change, said):
    state = state_dict()
    change(state)
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(ValueError, match=r"net\.safetensors") as error:
        pretrained.read(tmp_path / "net.safetensors")
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_cannot_be_read_is_named(tmp_path, monkeypatch):
    save_file(state_dict(), tmp_path / "net.safetensors")
    content = (tmp_path / "net.safetensors").read_bytes()
    for broken in (b"", content[:5], content[:-100], b"\xff" * 100):
        (tmp_path / "net.safetensors").write_bytes(broken)
        with pytest.raises(OSError, match=r"net\.safetensors cannot be read"):
            pretrained.read(tmp_path / "net.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        pretrained.read(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match=r"must end in .*\.th.*net\.pkl"):
        pretrained.read(tmp_path / "net.pkl")
    (tmp_path / "net.th").write_bytes(content)
    for torch in (None, type(sys)("torch")):
        if torch is not None:
            torch.__version__ = "2.5.1+cpu"
        monkeypatch.setitem(sys.modules, "torch", torch)
        with pytest.raises(ValueError, match=r"net\.th needs PyTorch 2\.6 .* pip install .*\.safetensors"):
            pretrained.read(tmp_path / "net.th")


def test_an_exported_network_is_the_layout_and_the_same_function(tmp_path):
    state = state_dict(blocks=2, classes=3)
    save_file(state, tmp_path / "net.safetensors")
    run = lsg_jax.import_torch(tmp_path / "net.safetensors")
    lsg_jax.export_torch(run, tmp_path / "new" / "out.safetensors")
    exported = load_file(tmp_path / "new" / "out.safetensors")
    chex.assert_trees_all_equal(exported, state)
    assert {name: array.dtype for name, array in exported.items()} == {name: a.dtype for name, a in state.items()}
    with pytest.raises(ValueError, match="must end in"):
        lsg_jax.export_torch(run, tmp_path / "out.npz")
    other = dataclasses.replace(run, config=dataclasses.replace(run.config, model="alexnet"))
    with pytest.raises(ValueError, match="'alexnet'"):
        lsg_jax.export_torch(other, tmp_path / "other.safetensors")
    assert not (tmp_path / "other.safetensors").exists()


def test_another_normalisation_is_given_by_hand(tmp_path):
    save_file(state_dict(), tmp_path / "net.safetensors")
    run = lsg_jax.import_torch(tmp_path / "net.safetensors", mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    moved = (images() / 255 - 0.5) / 0.25 * STD + MEAN
    assert_close(run.logits(images()), numpy_logits(state_dict(), 255 * moved))


@pytest.mark.parametrize("suffix", [".th", ".pt", ".pth"])
def test_pytorch_is_asked_for_tensors_alone(tmp_path, monkeypatch, suffix):
    asked = []

    def load(*arguments, **options):
        asked.append((arguments, options))
        raise pickle.UnpicklingError

    torch = type(sys)("torch")
    torch.__version__, torch.load = "2.6.0+cpu", load
    monkeypatch.setitem(sys.modules, "torch", torch)
    file = tmp_path / f"net{suffix}"
    file.touch()
    with pytest.raises(OSError, match=r"net\.\w+ cannot be read as a PyTorch file that holds tensors alone"):
        pretrained.read(file)
    assert asked == [((file,), {"map_location": "cpu", "weights_only": True})]


class Payload:
    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return Path.touch, (self.file,)


def test_pytorch_files(tmp_path):
    torch = pytest.importorskip("torch")
    save_file(state_dict(), tmp_path / "net.safetensors")
    expected = pretrained.read(tmp_path / "net.safetensors")
    tensors = {f"module.{name}": torch.from_numpy(array) for name, array in state_dict().items()}
    torch.save({"state_dict": tensors, "best_prec1": 90.0}, tmp_path / "net.th")
    chex.assert_trees_all_equal(pretrained.read(tmp_path / "net.th")._asdict(), expected._asdict())
    run = lsg_jax.import_torch(tmp_path / "net.th")
    lsg_jax.export_torch(run, tmp_path / "out.pt")
    exported = torch.load(tmp_path / "out.pt", weights_only=True)
    chex.assert_trees_all_equal({name: tensor.numpy() for name, tensor in exported.items()}, state_dict())
    with (tmp_path / "evil.pt").open("wb") as stream:
        pickle.dump({"state_dict": Payload(tmp_path / "touched")}, stream)
    with pytest.raises(OSError, match=r"evil\.pt cannot be read"):
        pretrained.read(tmp_path / "evil.pt")
    assert not (tmp_path / "touched").exists()
    for content, said in (
        (torch.zeros(3), "no state dictionary"),
        ({"epoch": 3}, "epoch is no dense tensor"),
        ({"linear.bias": torch.zeros(1, dtype=torch.half).expand(10**13)}, "linear.bias is no dense tensor"),
    ):
        torch.save(content, tmp_path / "odd.pt")
        with pytest.raises(ValueError, match=said):
            pretrained.read(tmp_path / "odd.pt")


def test_an_exported_network_gives_pytorch_the_same_logits(tmp_path):
    torch = pytest.importorskip("torch")
    layers, pad = torch.nn, torch.nn.functional.pad

    class Block(layers.Module):
        def __init__(self, inputs, outputs):
            super().__init__()
            self.conv1 = layers.Conv2d(inputs, outputs, 3, outputs // inputs, 1, bias=False)
            self.bn1 = layers.BatchNorm2d(outputs)
            self.conv2 = layers.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
            self.bn2 = layers.BatchNorm2d(outputs)

        def forward(self, maps):
            new = self.bn2(self.conv2(self.bn1(self.conv1(maps)).relu()))
            if new.shape != maps.shape:
                quarter = maps.shape[1] // 2
                maps = pad(maps[:, :, ::2, ::2], (0, 0, 0, 0, quarter, quarter))
            return (new + maps).relu()

    class Network(layers.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = layers.Conv2d(3, 16, 3, 1, 1, bias=False), layers.BatchNorm2d(16)
            self.layer1, self.layer2, self.layer3 = (
                layers.Sequential(Block(*sizes)) for sizes in ((16, 16), (16, 32), (32, 64))
            )
            self.linear = layers.Linear(64, 10)

        def forward(self, maps):
            maps = self.bn1(self.conv1(maps)).relu()
            return self.linear(self.layer3(self.layer2(self.layer1(maps))).mean((2, 3)))

    config, dataset = small_run(None, model="resnet8", gate="learned")
    pictures = data.Split(images(16), dataset.train.labels)
    loop.fit(config, dataset._replace(train=pictures, test=pictures), tmp_path / "run")
    run = lsg_jax.load_run(tmp_path / "run")
    lsg_jax.export_torch(run, tmp_path / "out.pt")
    network = Network().eval()
    network.load_state_dict(torch.load(tmp_path / "out.pt", weights_only=True), strict=True)
    inputs = ((images() / 255 - run.mean) / run.std).transpose(0, 3, 1, 2).astype(np.float32)
    with torch.no_grad():
        np.testing.assert_allclose(run.logits(images()), network(torch.from_numpy(inputs)), rtol=0, atol=1e-4)


def small_run(init, **changes):
    rng = np.random.default_rng(0)
    splits = [data.Split(images(16, 8), rng.integers(0, 10, 16, dtype=np.int32)) for _ in range(2)]
    dataset = data.Dataset(*splits, data.cifar10.CLASSES, (0.1,) * 3, (0.9,) * 3, padding=1, flip=True)
    config = Config(model="tiny", gate="none", init=init, optimizer=OptimizerConfig(epochs=2, batch_size=8))
    config = dataclasses.replace(config, **changes)
    return config.resolve(16, 10, models.create(config.model, 10).num_filters), dataset


class Crash(Exception):
    pass


@pytest.mark.parametrize("seeds", [1, 2])
def test_training_starts_from_the_file_and_goes_on_without_it(tmp_path, monkeypatch, seeds):
    config, dataset = small_run(tmp_path / "net.safetensors")
    (tmp_path / "net.safetensors").touch()  # which ``read`` below stands for
    variables = models.create("tiny", 10).init(jax.random.key(7), np.zeros((1, 8, 8, 3)))
    variables = jax.tree.map(np.asarray, variables)
    there = pretrained.Pretrained("tiny", variables["params"], variables["batch_stats"], 10)
    monkeypatch.setattr(pretrained, "read", lambda path: there)
    whole = loop.fit_seeds(config, dataset, tmp_path / "whole", seeds)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", lambda *_: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            loop.fit_seeds(config, dataset, tmp_path / "cut", seeds)
    monkeypatch.setattr(pretrained, "read", lambda path: pytest.fail("read again"))
    for seed in range(seeds):
        start = lsg_jax.load_run(tmp_path / "cut" / f"seed{seed}")
        assert (start.config.init, start.history, start.mean, start.std) == (config.init, [], MEAN, STD)
        chex.assert_trees_all_equal((start.params, start.batch_stats), (there.params, there.batch_stats))
    resumed = loop.fit_seeds(config, dataset, tmp_path / "cut", seeds)
    for seed in range(seeds):
        assert [line["train_loss"] for line in resumed[seed]] == [line["train_loss"] for line in whole[seed]]
        ours, theirs = (lsg_jax.load_run(tmp_path / name / f"seed{seed}") for name in ("cut", "whole"))
        chex.assert_trees_all_equal(ours.params, theirs.params)
        assert np.abs(ours.logits(images(16, 8)) - start.logits(images(16, 8))).max() > 1e-3


def test_training_starts_from_an_imported_network_that_was_saved(tmp_path):
    save_file(state_dict(), tmp_path / "net.safetensors")
    imported = lsg_jax.import_torch(tmp_path / "net.safetensors")
    lsg_jax.save_run(imported, tmp_path / "public")
    config, dataset = small_run(tmp_path / "public", model="resnet8")
    dataset = dataset._replace(
        train=dataset.train._replace(images=images(16, 32)), test=dataset.test._replace(images=images(16, 32))
    )
    assert len(loop.fit(config, dataset, tmp_path / "run")) == 2
    assert lsg_jax.load_run(tmp_path / "run").mean == MEAN


def test_a_tightened_gate_is_that_of_the_run_before_held_fast(tmp_path, monkeypatch):
    config, dataset = small_run(None, gate="learned")
    loop.fit(config, dataset, tmp_path / "before")
    before = lsg_jax.load_run(tmp_path / "before")
    hand_made = np.full(before.gate.shape, 0.2, np.float32)
    hand_made[1, 0], hand_made[(2, 3), 1], hand_made[4, 2:] = 1, 0.7, 1  # one class's, shared by two, another class's
    lsg_jax.save_run(dataclasses.replace(before, gate=jnp.asarray(hand_made)), tmp_path / "sparse")
    expected = np.zeros_like(hand_made)
    expected[1, 0], expected[:, 1], expected[4, 2:] = 1, 1, 1
    config, dataset = small_run(tmp_path / "sparse", gate="tightened")
    whole = loop.fit(config, dataset, tmp_path / "whole")
    assert [line["path"] for line in whole] == ["std", "lsg"]
    ours = lsg_jax.load_run(tmp_path / "whole")
    np.testing.assert_array_equal(ours.gate, expected)
    assert not np.array_equal(ours.last_kernel, before.last_kernel)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "evaluate", lambda *_: (_ for _ in ()).throw(Crash))
        with pytest.raises(Crash):
            loop.fit(config, dataset, tmp_path / "cut")
    chex.assert_trees_all_equal(lsg_jax.load_run(tmp_path / "cut").params, before.params)
    (tmp_path / "sparse").rename(tmp_path / "gone")
    assert loop.fit(config, dataset, tmp_path / "cut")[-1]["train_loss"] == whole[-1]["train_loss"]
    np.testing.assert_array_equal(lsg_jax.load_run(tmp_path / "cut").gate, expected)


def test_a_gate_that_cannot_be_tightened_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--gate=tightened needs --init RUN, a run with a learned gate"):
        Config(gate="tightened")
    with pytest.raises(ValueError, match=r"--tighten-threshold must be in \(0, 1\], got 1.5"):
        Config(lsg=GateConfig(tighten_threshold=1.5))
    with pytest.raises(FileNotFoundError, match=r"there is no run folder or file --init .*/mistyped"):
        loop.fit(*small_run(tmp_path / "mistyped"), tmp_path / "run")
    loop.fit(*small_run(None), tmp_path / "plain")
    run = lsg_jax.load_run(tmp_path / "plain")
    lsg_jax.save_run(dataclasses.replace(run, history=run.history[:1]), tmp_path / "cut")
    with pytest.raises(ValueError, match="cut has 1 of 2 epochs; finish it first"):
        loop.fit(*small_run(tmp_path / "cut"), tmp_path / "run")
    said = r"checkpoints/1 is a checkpoint after 1 of 2 epochs; name its run, \S+/cut, which has to be finished"
    with pytest.raises(ValueError, match=said):
        loop.fit(*small_run(tmp_path / "cut" / "checkpoints" / "1"), tmp_path / "run")
    config, dataset = small_run(tmp_path / "plain", gate="tightened")
    with pytest.raises(ValueError, match="plain has no learned gate to tighten"):
        loop.fit(config, dataset, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_file_that_does_not_fit_is_refused_before_anything_is_written(tmp_path, monkeypatch, capsys):
    file = tmp_path / "net.safetensors"
    save_file(state_dict(classes=5), file)
    for model, said in (("resnet20", "holds a resnet8, not the resnet20"), ("resnet8", "has 5 classes, .* has 10")):
        config, dataset = small_run(file, model=model)
        with pytest.raises(ValueError, match=said):
            loop.fit(config, dataset, tmp_path / "run")
    with pytest.raises(FileNotFoundError, match=r"none\.safetensors"):
        loop.fit(dataclasses.replace(config, init=tmp_path / "none.safetensors"), dataset, tmp_path / "run")
    save_file(state_dict(), file)
    options = ["--model=resnet8", f"--init={file}", f"--output={tmp_path / 'run'}"]
    monkeypatch.setattr(sys, "argv", ["digits", *options])
    with pytest.raises(SystemExit):
        cli.main(lambda: cli.train(digits.DEFAULT, "A test."))
    assert "takes images of 3 channels, and those of digits have 1" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.slow
@pytest.mark.skipif("RESNET20" not in os.environ, reason="RESNET20 names the public ResNet-20, .th or .safetensors")
def test_a_public_resnet20_on_the_reencoded_test_set():
    """It has 91.78 % on the original images; TFDS_DATA_DIR names the folder of those once re-encoded as JPEG."""
    run, test = lsg_jax.import_torch(os.environ["RESNET20"]), data.load("cifar10").test
    logits = run.logits(test.images).astype(np.float64)
    np.testing.assert_allclose(logits[0, :4], [-3.1246, -3.5949, 2.5250, 8.5727], atol=1e-4)
    assert np.mean(logits.argmax(1) == test.labels) == pytest.approx(0.8103)
    entropy = np.log(np.exp(logits).sum(1)) - logits[np.arange(len(logits)), test.labels]
    assert entropy.mean() == pytest.approx(0.8788, abs=1e-4)
