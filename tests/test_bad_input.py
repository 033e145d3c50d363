"""Bad input, by table: every command answers in one line with status 2, every public function with a ValueError.

Both name the value, and neither leaves anything behind.
"""

import contextlib
import dataclasses
import hashlib
import importlib
import inspect
import io
import json
import operator
import os
import pickle
import pkgutil
import re
import runpy
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import lsg_jax
from experiments import report
from experiments.network import Network
from lsg_jax import data, gates, losses, metrics, models, plots, schedule
from lsg_jax.analysis import (
    attacks,
    classifier,
    clustering,
    comparison,
    convergence,
    correlation,
    filters,
    localization,
    masking,
    ownership,
    similarity,
    specificity,
)
from lsg_jax.config import Config, DataConfig, GateConfig, OptimizerConfig, OutputConfig
from lsg_jax.training import loop
from tests.conftest import tiny_run
from tests.small_cifar10 import prepare

TRAINING = [
    ("--epochs=0", "--epochs must be a whole number of at least 1, got 0"),
    ("--epochs=-3", "at least 1, got -3"),
    ("--epochs=1000000000000", "--epochs must be fewer than 2**31 steps in all, 22 an epoch, got 1000000000000"),
    ("--seeds=4000000000", "--seeds must be at most 1000, got 4000000000"),
    ("--model=resnet600000002", "unknown model 'resnet600000002'"),
    ("--output=~nosuchuser/run", "~nosuchuser/run: there is no home folder of that name"),
    ("--epochs=1.5", "--epochs must be a whole number, got '1.5'"),
    ("--train-examples=some", "--train-examples must be a whole number, got 'some'"),
    ("--sparsity-weight=strong", "--sparsity-weight must be a number, got 'strong'"),
    ("--epochs=many", "--epochs must be a whole number, got 'many'"),
    ("--epochs=", "--epochs must be a whole number, got"),
    ("--batch-size=0", "--batch-size must be a whole number of at least 1, got 0"),
    ("--batch-size=100000", "--batch-size must be at most the 1437 training examples, got 100000"),
    ("--learning-rate=0", "--learning-rate must be a positive number, got 0"),
    ("--learning-rate=-0.1", "got -0.1"),
    ("--learning-rate=nan", "got nan"),
    ("--learning-rate=inf", "got inf"),
    ("--learning-rate=fast", "--learning-rate must be a number, got 'fast'"),
    ("--momentum=1", "--momentum must be in [0, 1), got 1"),
    ("--momentum=-0.1", "got -0.1"),
    ("--momentum=nan", "got nan"),
    ("--weight-decay=-1", "--weight-decay must be a number of at least 0, got -1"),
    ("--weight-decay=nan", "got nan"),
    ("--schedule=linear", "unknown --schedule 'linear'; choose one of: "),
    ("--gate=maybe", "unknown --gate 'maybe'; choose one of: "),
    ("--gate=", "unknown --gate ''; choose one of: "),
    ("--scheme=both", "unknown --scheme 'both'; choose one of: "),
    ("--precision=float16", "unknown --precision 'float16'; choose one of: "),
    ("--model=resnet21", "unknown model 'resnet21'; choose one of: alexnet, resnet20"),
    ("--model=", "unknown model ''; choose one of: "),
    ("--seed=-1", "--seed must be a whole number of at least 0, got -1"),
    ("--seed=4294967296", "--seed must be a whole number below 2**32, got 4294967296"),
    ("--seeds=0", "--seeds must be a whole number of at least 1, got 0"),
    ("--gate-learning-rate=0", "--gate-learning-rate must be a positive number, got 0"),
    ("--gate-loss-weight=0", "--gate-loss-weight must be a positive number, got 0"),
    ("--sparsity-weight=-1", "--sparsity-weight must be a number of at least 0, got -1"),
    ("--sparsity-target=1", "--sparsity-target must be in [K, C K] = [64, 640], got 1"),
    ("--sparsity-target=641", "[64, 640], got 641"),
    ("--sparsity-target=nan", "--sparsity-target must be a finite number, got nan"),
    ("--silence-weight=-1", "--silence-weight must be a number of at least 0, got -1"),
    ("--complement-weight=inf", "--complement-weight must be a number of at least 0, got inf"),
    ("--gate=none --scheme=joint", "--scheme must be alternate with --gate=none, which has no gated epochs, got joint"),
    ("--gate=none --silence-weight=1", "--silence-weight makes no difference with --gate=none; leave it out, got 1.0"),
    (
        "--gate=none --complement-weight=1",
        "--complement-weight makes no difference with --gate=none; leave it out, got 1.0",
    ),
    ("--period=0", "--period must be a whole number of at least 1, got 0"),
    ("--phase=3", "--phase must be a whole number in [0, 2], got 3"),
    ("--phase=-1", "--phase must be a whole number in [0, 2], got -1"),
    ("--gate-init=0", "--gate-init must be in (0, 1], got 0"),
    ("--gate-init=1.1", "got 1.1"),
    ("--tighten-threshold=0", "--tighten-threshold must be in (0, 1], got 0"),
    ("--gate=fixed --shared-filters=5", "--shared-filters must be such that 64 minus it divides by 10 classes"),
    ("--gate=fixed --shared-filters=-6", "got -6"),
    ("--gate=tightened", "--gate=tightened needs --init RUN"),
    ("--holdout=-1", "--holdout must be a whole number of at least 0, got -1"),
    ("--holdout=1437", "--holdout of digits must be a whole number in [0, 1436], got 1437"),
    ("--train-examples=0", "--train-examples must be a whole number of at least 1, got 0"),
    ("--train-examples=1438", "--train-examples of digits must be a whole number in [1, 1437], got 1438"),
    ("--checkpoint-every=0", "--checkpoint-every must be a whole number of at least 1, got 0"),
    ("--data-dir={tmp}/empty", "leave out --data-dir"),
    ("--output={tmp}/file", "file is a file, not a folder"),
    ("--output={tmp}/file/below", "file is a file, not a folder"),
    ("--output={tmp}/link", "is a file, not a folder"),
    ("--output={tmp}/loop", "loop is a link that leads nowhere, not a folder; choose another output folder"),
    ("--output={tmp}/dangling/below", "dangling is a link that leads nowhere, not a folder"),
    ("--output=README.md", "error: README.md is a file, not a folder; choose another output folder"),
    ("--init={tmp}/nothing", "nothing"),
    ("--init=runs/digits-learned-learning-rate=0.05", "there is no run folder or file --init runs/digits-learned-lea"),
    ("--init={tmp}/empty", "empty"),
    ("--init=none.th", "there is no run folder or file --init none.th"),
    ("--init={tmp}/file", "must end in .safetensors, .th, .pt, .pth, got "),
    ("--init={tmp}/pickle.th", "pickle.th"),
    ("--init={tmp}/pickle.safetensors", "pickle.safetensors"),
    ("--init={tmp}/escape.pt", "escape.pt"),
    ("--init={tmp}/newer.pt", "newer.pt cannot be read as a PyTorch file (NotImplementedError)"),
    ("--init={tmp}/bomb.pt", "which no checkpoint of PyTorch's does"),
    ("--init={tmp}/cut.safetensors", "cut.safetensors"),
    ("--coordinator=nowhere", "--coordinator must be HOST:PORT or auto, got nowhere"),
    ("--coordinator=host:99999", "--coordinator must be HOST:PORT or auto, got host:99999"),
    ("--coordinator=host:80", "with a --coordinator, --processes must be a whole number of at least 1, got None"),
    ("--coordinator=auto --processes=2", "--processes must be left out unless --coordinator names a host, got 2"),
    ("--coordinator=a:1 --processes=2 --process=2", "--process must be a whole number in [0, 1], got 2"),
    ("--processes=2", "--processes must be left out unless --coordinator names a host, got 2"),
    ("--process=0", "--process must be left out unless --coordinator names a host, got 0"),
    ("--epcohs=3", "--epcohs"),
    ("three", "three"),
]
OTHER_RUNS = (
    ("unfinished", "unfinished has 1 of 4 epochs; finish it first"),
    ("imported", "imported was trained elsewhere, and nothing is known of its training; name another run"),
)
CLAIMS = (
    *("table1", "gates", "masking", "similarity", "localization"),
    *("correlation", "clustering", "specificity", "convergence", "attacks"),
)
COMMANDS = [
    *(("experiments.digits", arguments, said) for arguments, said in TRAINING),
    ("experiments.cifar10", "--data-dir={tmp}/half", "half"),
    ("experiments.cifar10", "--data-dir={tmp}/file", "file"),
    ("experiments.cifar10", "--data-dir={tmp}/nothing", "nothing"),
    ("experiments.cifar10", "--data-dir={tmp}/loop", "loop is not a folder; --data-dir must be a TFDS folder"),
    ("experiments.cifar10", "--data-dir={tmp}/cut-records", "cut-records/cifar10/3.0.2 cannot be read as CIFAR-10"),
    ("experiments.cifar10", "--data-dir={tmp}/no-records", "no-records/cifar10/3.0.2 cannot be read as CIFAR-10"),
    *((f"experiments.{claim}", "--run={tmp}/nothing", "there is no run folder") for claim in CLAIMS),
    *((f"experiments.{claim}", "", "missing option: --run") for claim in CLAIMS),
    ("experiments.table1", "--run={tmp}/empty", "empty is not a run folder"),
    ("experiments.table1", "--run={tmp}/file", "file is not a run folder"),
    ("experiments.table1", "--run={tmp}/loop", "there is no run folder"),
    ("experiments.table1", "--run=not/here", "error: there is no run folder not/here; train one, or name another"),
    ("experiments.table1", "--run={tmp}/half-saved", "half-saved holds no complete checkpoint"),
    ("experiments.table1", "--run={tmp}/cut", "cut"),
    ("experiments.table1", "--run={tmp}/a_run/checkpoints/7", "there is no run folder"),
    ("experiments.masking", "--run={tmp}/a_run --against={tmp}/nothing", "there is no run folder"),
    ("experiments.masking", "--run={tmp}/a_run --against={tmp}/a_run", "cannot be compared with itself"),
    ("experiments.masking", "--run={tmp}/a_run --output={tmp}/file", "file is a file, not a folder"),
    ("experiments.masking", "--run={tmp}/a_run --data-dir={tmp}/empty", "leave out --data-dir"),
    ("experiments.report", "", "missing option: PATH"),
    ("experiments.report", "{tmp}/nothing", "there is no run folder"),
    (
        "experiments.report",
        "{tmp}/a_run --attack-images=-1",
        "--attack-images must be a whole number of at least 0",
    ),
    (
        "experiments.tradeoff",
        "{tmp}/a_run {tmp}/a_run --attack-images=-1",
        "--attack-images must be a whole number of at least 0",
    ),
    ("experiments.report", "{tmp}/a_run --attack-images=few", "--attack-images must be a whole number, got 'few'"),
    ("experiments.report", "{tmp}/a_run --output={tmp}/file", "file is a file, not a folder"),
    ("experiments.report", "{tmp}/a_run --attack-budget=long", "error: invalid choice 'long' for argument"),
    ("experiments.table1", "--run", "error: Missing value for argument '--run'"),
    (
        "experiments.attacks",
        "--run={tmp}/a_run --attack-images=0",
        "--attack-images must be a whole number of at least",
    ),
    ("experiments.attacks", "--run={tmp}/a_run --attack-budget=long", "--attack-budget"),
    ("experiments.publish", "{tmp}/a_run", "missing option: PATH"),
    ("experiments.publish", "{tmp}/nothing {tmp}/copy", "there is no run folder"),
    ("experiments.publish", "{tmp}/a_run {tmp}/empty", "empty exists already"),
    ("experiments.publish", "{tmp}/a_run {tmp}/loop", "loop exists already"),
    ("experiments.publish", "{tmp}/a_run README.md", "error: README.md exists already; remove it or choose another"),
    ("experiments.publish", "{tmp}/a_run {tmp}/file/copy", "file"),
    ("experiments.publish", "{tmp}/unfinished {tmp}/copy", "unfinished has 1 of 4 epochs; finish it first"),
    *(
        (f"experiments.{command}", f"{{tmp}}/a_run {{tmp}}/{name} {option}", said)
        for command, option in (
            ("ownership", "--output={tmp}/o.json"),
            ("summarize", "--name=x"),
            ("tradeoff", "--output={tmp}/o.json"),
        )
        for name, said in OTHER_RUNS
    ),
    ("experiments.ownership", "{tmp}/a_run --output={tmp}/o.json", "name two run folders or more, none twice"),
    (
        "experiments.ownership",
        "{tmp}/a_run {tmp}/a_run --output={tmp}/o.json",
        "name two run folders or more, none twice; got",
    ),
    ("experiments.ownership", "{tmp}/a_run --output={tmp}/o.png", "--output must be a file that ends in .json"),
    ("experiments.tradeoff", "{tmp}/a_run --output={tmp}/o.json", "name a run and its control at least, got 1"),
    ("experiments.tradeoff", "{tmp}/a_run {tmp}/nothing --output={tmp}/o.json", "there is no run folder"),
    (
        "experiments.tradeoff",
        "{tmp}/a_run {tmp}/a_run --output={tmp}/empty",
        "--output must be a file that ends in .json",
    ),
    ("experiments.results", "--folder={tmp}/empty", "holds no runs"),
    ("experiments.results", "--folder={tmp}/nothing", "holds no runs"),
    ("experiments.summarize", "{tmp}/nothing --name=x", "there is no run folder"),
    ("experiments.summarize", "{tmp}/a_run {tmp}/a_run --name=x", "a run is named twice"),
    ("experiments.summarize", "{tmp}/a_run --name=x --by colour", "--by knows no setting 'colour'"),
    (
        "experiments.summarize",
        "{tmp}/a_run {tmp}/plain --name=x --by model",
        "plain differs from the others in --gate; name that in --by or leave the run out",
    ),
    (
        "experiments.reproduce",
        "everything",
        "choose one or more of: digits, cifar10, scratch, finetune, seeds, digits-gates, ",
    ),
    (
        "experiments.reproduce",
        "finetune",
        "--init goes with the plans finetune and weights, and only with them; got finetune and",
    ),
    ("experiments.reproduce", "digits --init=w.th", "and only with them; got digits and w.th"),
    ("experiments.reproduce", "digits digits", "name one plan or more, and none twice; got digits digits"),
    ("experiments.reproduce", "", "name one plan or more, and none twice; got none"),
    ("experiments.reproduce", "digits finetune --init=w.th", "w.th"),
    *(
        (f"benchmarks.{name}", f"--pairs=0 {needed}", "--pairs must be a whole number of at least 1, got 0")
        for name, needed in (
            *(("cpu", ""), ("gpu", ""), ("seeds", "")),
            *(("commands", "--before=HEAD"), ("metrics", "--run={tmp}/a_run")),
        )
    ),
    ("benchmarks.commands", "", "missing option: --before"),
    ("benchmarks.commands", "--before=nosuch", "git knows no revision 'nosuch'; give one of `git log`"),
    ("benchmarks.commands", "--before=--list", "git knows no revision '--list'; give one of `git log`"),
    (
        "benchmarks.cpu",
        "--torch-python={tmp}/file",
        "--torch-python must be a Python that has PyTorch, and there is no",
    ),
    ("benchmarks.cpu", "--torch-python=", "and there is no ''"),
    ("benchmarks.cpu", "--only=speed", "unknown --only 'speed'; choose one of: matrix-product, resnet20-std, "),
    ("benchmarks.cpu", "--steps=0", "--steps must be a whole number of at least 1, got 0"),
    ("benchmarks.cpu", "--loader-workers=0", "--loader-workers must be a whole number of at least 1, got 0"),
    ("benchmarks.cpu", "--data-dir={tmp}/cut-records", "cut-records/cifar10/3.0.2 cannot be read as CIFAR-10"),
    ("benchmarks.gpu", "--epochs=0", "--epochs must be a whole number of at least 1, got 0"),
    ("benchmarks.gpu", "--output={tmp}/empty", "empty exists, and resuming it would not take its full time; give"),
    ("benchmarks.gpu", "--output={tmp}/file/below", "file is a file, not a folder; choose another output folder"),
    ("benchmarks.gpu", "--smoke=yes", "Unrecognized options: yes"),
    ("benchmarks.metrics", "--run={tmp}/nothing", "there is no run folder"),
    ("benchmarks.metrics", "--run={tmp}/a_run", "a_run was trained on digits; name a run of CIFAR-10"),
    ("benchmarks.profile", "--model=resnet32", "unknown --model 'resnet32'; choose one of: resnet20, alexnet"),
    ("benchmarks.seeds", "", "has a part marked <!-- seeds -->; run this in the project's folder"),
    ("tests.faults", "--only=x", "--only cannot be 'x'; choose among: SIGKILL, SIGTERM, "),
]
augmentation = importlib.import_module("lsg_jax.data.augment")  # ``data.augment`` is its function
RNG = np.random.default_rng(0)
FEATURES, LABELS = RNG.random((6, 4)).astype(np.float32), np.array([0, 1, 2, 0, 1, 2])
KERNEL, BIAS, GATE = np.ones((4, 3), np.float32), np.zeros(3, np.float32), np.eye(3, 4, dtype=np.float32)
IMAGES, MAPS = np.zeros((6, 8, 8, 3), np.uint8), np.ones((6, 8, 8), np.float32)
CLASSIFIED, LOGITS = (FEATURES, LABELS, KERNEL, BIAS, GATE), np.ones((6, 3), np.float32)
KEY, WEIGHTS, NAMES = jax.random.key(0), losses.Weights(1.0, 1.0, 4.0), ("cat", "dog", "ship")
TURNS = {"gate": "learned", "scheme": "alternate", "period": 3, "phase": 1}
INTERVAL = comparison.Interval(0.0, -1.0, 1.0)
DATASET = data.Dataset(*[data.Split(IMAGES, LABELS)] * 2, NAMES, (0.5,) * 3, (0.25,) * 3, padding=1, flip=True)
CONFIG = Config(model="resnet8", optimizer=OptimizerConfig(batch_size=2)).resolve(6, 3, 64)
RUN = lsg_jax.Run(CONFIG, {}, {}, GATE, NAMES, (8, 8, 3), [], DATASET.mean, DATASET.std)
NETWORK = Network("net", RUN, lambda: DATASET)


def changed(arguments, place, value):
    return [value if index == place else argument for index, argument in enumerate(arguments)]


def uniform(images):
    return jnp.full((len(images), 3), 1 / 3)


def solve(features=FEATURES, labels=LABELS, kernel=KERNEL, **options):
    return metrics.phi(features, labels, kernel, BIAS, **{"sparsity_weight": 1, "sparsity_target": 4} | options)


def solve_by_training(features=FEATURES, key=KEY, **options):
    training = {"training_weight": 1, "training_target": 4, "learning_rate": 0.1, "batch_size": 2, "steps": 1}
    options = {"sparsity_weight": 1, "sparsity_target": 4} | training | options
    return metrics.phi_by_training(features, LABELS, KERNEL, BIAS, key, **options)


def fit(**changes):
    return loop.fit(CONFIG, DATASET._replace(**changes), Path("run"))


def attack(**options):
    return attacks.one_pixel(uniform, IMAGES, LABELS, KEY, **options)


def reported(**changes):
    return report.write([NETWORK, dataclasses.replace(NETWORK, **{"name": "other"} | changes)], Path("report"))


def masked(place, value):
    return masking.mask_classes(*changed(CLASSIFIED, place, value), [0], 0.5)


FUNCTIONS = {
    "gates.init: text": (lambda: gates.init("3", 4), "got '3' x 4"),
    "gates.fixed: share": (lambda: gates.fixed(3, 1.5, 0), "per_class=1.5"),
    "gates.rows: label": (lambda: gates.rows(jnp.asarray(GATE), jnp.array([0, 7])), r"in \[0, 2\], got 0 to 7"),
    "gates.rows: float labels": (
        lambda: gates.rows(jnp.asarray(GATE), jnp.zeros(2)),
        r"labels must be an array integer\[\.\.\.\], got float32\[2\]",
    ),
    "gates.project: nan": (lambda: gates.project(jnp.asarray(GATE * np.nan)), "a gate must be finite, got nan"),
    "gates.project: whole numbers": (
        lambda: gates.project(jnp.ones((3, 4), int)),
        r"a gate must be an array floating\[\.\.\., C, K\], got int32\[3, 4\]",
    ),
    "gates.tighten: inf": (lambda: gates.tighten(jnp.asarray(GATE) + jnp.inf, 0.5), "a gate must be finite, got inf"),
    "losses.cross_entropy: label": (lambda: losses.cross_entropy(jnp.ones((2, 3)), jnp.array([0, 7])), "got 0 to 7"),
    "losses.cross_entropy: shapes": (
        lambda: losses.cross_entropy(jnp.ones((2, 3)), jnp.array([0])),
        r"labels must be an array integer\[2\], got int32\[1\]",
    ),
    "losses.std_cost: float labels": (lambda: losses.std_cost(jnp.ones((2, 3)), jnp.zeros(2)), "got float32"),
    "metrics.accuracy: shapes": (
        lambda: metrics.accuracy(jnp.ones((2, 3)), jnp.array([1])),
        r"labels must be an array integer\[2\], got int32\[1\]",
    ),
    "models.create: number": (lambda: models.create(3, 10), "unknown model 3"),
    "models.create: classes": (lambda: models.create("resnet20", 10.5), "at least 2 classes, got 10.5"),
    "data.load: part": (lambda: data.load("digits", train_examples=10.5), "got 10.5"),
    **{
        f"Config: {part}": (lambda part=part: Config(**{part: "x"}), f"{part} must be of type {kind}, got 'x'")
        for part, kind in (
            ("data", "DataConfig"),
            ("optimizer", "OptimizerConfig"),
            ("lsg", "GateConfig"),
            ("run", "OutputConfig"),
        )
    },
    "Config: model": (lambda: Config(model=["resnet20"]), "--model must be of type str"),
    "Config: data set": (lambda: Config(data=DataConfig(3)), "--dataset must be of type str, got 3"),
    "Config: init": (lambda: Config(init=3), "--init must be of type Path, got 3"),
    "Config: coordinator": (
        lambda: Config(run=OutputConfig(coordinator=3)),
        "--coordinator must be of type str, got 3",
    ),
    "Config: shared": (lambda: Config(lsg=GateConfig(shared_filters="a")), "--shared-filters must be a whole number"),
    "Config: target": (
        lambda: Config(lsg=GateConfig(sparsity_target="a")),
        "--sparsity-target must be a finite number",
    ),
    "Config.resolve: examples": (
        lambda: Config().resolve(None, 3, 64),
        "the number of examples must be a whole number",
    ),
    "Config.resolve: classes": (
        lambda: Config().resolve(500, "ab", 64),
        "the number of classes must be a whole number",
    ),
    "Config: epochs": (lambda: Config(optimizer=OptimizerConfig(epochs=1.5)), "--epochs must be a whole .* got 1.5"),
    "Config: rate": (lambda: Config(optimizer=OptimizerConfig(learning_rate="0.1")), "--learning-rate must be a posit"),
    "Config: phase": (
        lambda: Config(lsg=GateConfig(phase=0.5)),
        r"--phase must be a whole number in \[0, 2\], got 0.5",
    ),
    "lsg_jax.load_run: nothing": (lambda: lsg_jax.load_run(None), "a path is needed, got None"),
    "schedule.path: scheme": (
        lambda: schedule.path(0, gate="learned", scheme="Joint", period=3, phase=1),
        "unknown scheme 'Joint'; choose one of: alternate, joint",
    ),
    "schedule.gated_epochs: scheme": (
        lambda: schedule.gated_epochs(9, gate="none", scheme="both", period=3, phase=1),
        "unknown scheme 'both'",
    ),
    "schedule.learning_rate: name": (
        lambda: schedule.learning_rate("linear", 0.1, 100),
        "unknown schedule 'linear'; choose one of: cosine, step",
    ),
    "lsg_jax.import_torch: std": (
        lambda: lsg_jax.import_torch("w.th", std=(1.0, 0.0, 1.0)),
        "std must be 3 finite numbers above 0",
    ),
    "lsg_jax.import_torch: mean": (
        lambda: lsg_jax.import_torch("w.th", mean=(0.5,)),
        r"mean must be 3 finite .* got \(0.5,\)",
    ),
    "lsg_jax.import_torch: nan": (lambda: lsg_jax.import_torch("w.th", mean=(0.5, 0.5, np.nan)), "got .*nan"),
    "similarity.dominance: shape": (
        lambda: similarity.dominance(similarity.Similarity(np.ones((2, 3)), np.ones(2))),
        r"similarities must be an array real\[C, C\], got float64\[2, 3\]",
    ),
    "similarity.dominance: negative": (
        lambda: similarity.dominance(similarity.Similarity(np.array([[1.0, -0.5], [0, 1]]), np.ones(2))),
        "at least 0, got -0.5",
    ),
    "similarity.dominance_gap: matrices": (
        lambda: similarity.dominance_gap((np.ones((2, 2)), np.ones((2, 2)))),
        "what is measured must be of type Similarities, got ",
    ),
    "filters.spotlight: maps": (
        lambda: filters.spotlight(IMAGES, MAPS[:2]),
        r"maps must be an array real\[6, H', W'\], got float32\[2, 8, 8\]",
    ),
    "filters.spotlight: one map": (
        lambda: filters.spotlight(IMAGES, MAPS[0]),
        r"maps must be an array real\[6, H', W'\], got float32\[8, 8\]",
    ),
    "comparison.paired_interval: shapes": (
        lambda: comparison.paired_interval(np.ones(2, bool), np.ones(3, bool)),
        r"the other must be an array bool\[2\], got bool\[3\]",
    ),
    "lsg_jax.save_run: nothing": (lambda: lsg_jax.save_run(None, None), "the run must be of type Run, got None"),
    "lsg_jax.import_torch: one mean": (
        lambda: lsg_jax.import_torch("w.th", mean=0.5),
        "mean must be 3 finite numbers, got 0.5",
    ),
    "metrics.phi: text": (lambda: solve(sparsity_weight="1"), "sparsity_weight must be a finite number .* got '1'"),
    "metrics.phi: s is an array": (lambda: solve(sparsity_target=jnp.float32(400)), r"\[4, 12\], got .*400"),
    "metrics.phi: a": (
        lambda: solve(sparsity_weight=-1),
        "sparsity_weight must be a finite number of at least 0, got -1",
    ),
    "metrics.phi: s": (
        lambda: solve(sparsity_target=13),
        r"sparsity_target must be a number in \[K, C K\] = \[4, 12\], got 13",
    ),
    "metrics.phi: s is nan": (lambda: solve(sparsity_target=float("nan")), r"\[4, 12\], got nan"),
    "metrics.phi: kernel": (lambda: solve(kernel=KERNEL * np.inf), "the classifier's kernel must be finite, got inf"),
    "gates.init: no class": (lambda: gates.init(0, 4), "got 0 x 4"),
    "gates.init: value": (lambda: gates.init(3, 4, 1.5), r"\(0, 1\], got 1.5"),
    "gates.init: nan": (lambda: gates.init(3, 4, float("nan")), "got nan"),
    "gates.fixed: none": (lambda: gates.fixed(3, 0, 0), "per_class=0, shared=0"),
    "gates.fixed: negative": (lambda: gates.fixed(3, 2, -1), "shared=-1"),
    "gates.tighten: threshold": (lambda: gates.tighten(jnp.asarray(GATE), 0.0), "got 0.0"),
    "gates.ownership: threshold": (lambda: gates.ownership(jnp.asarray(GATE), 1.1), "got 1.1"),
    "gates.projection: no gate": (lambda: gates.projection().update(GATE, None), "needs the gate"),
    "models.create: name": (lambda: models.create("resnet", 10), "unknown model 'resnet'"),
    "models.create: one class": (lambda: models.create("resnet20", 1), "at least 2 classes, got 1"),
    "models.create: precision": (
        lambda: models.create("resnet20", 10, precision="float16"),
        "unknown precision 'float16'; choose one of: float32, bfloat16",
    ),
    "data.load: name": (lambda: data.load("mnist"), "unknown data set 'mnist'"),
    "data.load: holdout": (lambda: data.load("digits", holdout=2000), "got 2000"),
    "data.load: none left": (lambda: data.load("digits", train_examples=1437, holdout=1), r"\[1, 1436\]"),
    "Config: unknown field": (lambda: Config.from_json({"colour": "red"}), "not a configuration of this version"),
    "metrics.phi: shapes": (
        lambda: solve(kernel=KERNEL.T),
        r"the classifier's kernel must be an array floating\[4, C\], got float32\[3, 4\]",
    ),
    "metrics.phi: nan": (lambda: solve(FEATURES * np.nan), "features must be finite, got nan"),
    "metrics.phi: label": (lambda: solve(labels=LABELS + 1), r"labels must lie in \[0, 2\], got 1 to 3"),
    "metrics.phi: negative label": (lambda: solve(labels=LABELS - 1), "got -1 to 1"),
    "lsg_jax.load_run: user": (lambda: lsg_jax.load_run("~nosuchuser/run"), "no home folder of that name"),
    "metrics.phi: gate": (
        lambda: solve(gate=jnp.ones((1, 4))),
        r"a gate must be an array floating\[3, 4\], got float32\[1, 4\]",
    ),
    "metrics.phi: gate is nan": (lambda: solve(gate=jnp.asarray(GATE * np.nan)), "a gate must be finite, got nan"),
    "metrics.phi: no image": (
        lambda: solve(FEATURES[:0], LABELS[:0]),
        r"features must be an array floating\[N, K\], got float32\[0, 4\]",
    ),
    "metrics.phi: float labels": (lambda: solve(labels=LABELS + 0.5), r"float64\[6\]"),
    "metrics.mutual_information_score: one image": (
        lambda: metrics.mutual_information_score(FEATURES[:1], LABELS[:1]),
        "at least 2 images",
    ),
    "metrics.mutual_information_score: nan": (
        lambda: metrics.mutual_information_score(FEATURES * np.nan, LABELS),
        "finite",
    ),
    "metrics.mutual_information: shape": (
        lambda: metrics.mutual_information(FEATURES[:, 0], LABELS),
        r"features must be an array real\[N, K\], got float32\[6\]",
    ),
    "metrics.mutual_information: labels": (
        lambda: metrics.mutual_information(FEATURES, LABELS[:2]),
        r"labels must be an array integer\[6\], got int64\[2\]",
    ),
    "metrics.mutual_information_score: float labels": (
        lambda: metrics.mutual_information_score(FEATURES, LABELS + 0.5),
        "float64",
    ),
    "metrics.mutual_information_score: neighbours": (
        lambda: metrics.mutual_information_score(FEATURES, LABELS, 0),
        "neighbors must be a whole number of at least 1, got 0",
    ),
    "metrics.filter_correlation: shape": (
        lambda: metrics.filter_correlation(np.ones((3, 3, 4))),
        r"a convolution's kernel must be an array real\[h, w, I, K\], got float64\[3, 3, 4\]",
    ),
    "metrics.filter_correlation: nan": (
        lambda: metrics.filter_correlation(np.full((3, 3, 2, 4), np.nan)),
        "a convolution's kernel must be finite, got nan",
    ),
    "metrics.inter_class_correlation: filters": (
        lambda: metrics.inter_class_correlation(np.eye(4), FEATURES, LABELS, 5),
        r"\[1, 4\], got 5",
    ),
    "metrics.inter_class_correlation: no filter": (
        lambda: metrics.inter_class_correlation(np.eye(4), FEATURES, LABELS, 0),
        r"\[1, 4\], got 0",
    ),
    "metrics.inter_class_correlation: negative label": (
        lambda: metrics.inter_class_correlation(np.eye(4), FEATURES, LABELS - 1, 1),
        "at least 0, got -1",
    ),
    "metrics.inter_class_correlation: float labels": (
        lambda: metrics.inter_class_correlation(np.eye(4), FEATURES, LABELS + 0.5, 1),
        "float64",
    ),
    "metrics.inter_class_correlation: labels": (
        lambda: metrics.inter_class_correlation(np.eye(4), FEATURES, LABELS[:1], 1),
        r"labels must be an array integer\[6\], got int64\[1\]",
    ),
    "metrics.inter_class_correlation: no image": (
        lambda: metrics.inter_class_correlation(np.eye(4), FEATURES[:0], LABELS[:0], 1),
        r"features must be an array real\[N, K\], got float32\[0, 4\]",
    ),
    "metrics.inter_class_correlation: shape": (
        lambda: metrics.inter_class_correlation(np.eye(3), FEATURES, LABELS, 1),
        r"\[3, 3\]",
    ),
    "metrics.inter_class_correlation: one class": (
        lambda: metrics.inter_class_correlation(np.eye(4), FEATURES, 0 * LABELS, 1),
        "at least 2 classes",
    ),
    "masking.related_filters: class": (
        lambda: masking.related_filters(GATE, [3], 0.5),
        r"classes must lie in \[0, 2\], got 3 to 3",
    ),
    "masking.related_filters: negative class": (
        lambda: masking.related_filters(GATE, [-1, 0], 0.5),
        r"classes must lie in \[0, 2\], got -1 to 0",
    ),
    "masking.related_filters: threshold": (lambda: masking.related_filters(GATE, [0], 1.0), r"\[0, 1\), got 1.0"),
    "masking.related_filters: negative threshold": (lambda: masking.related_filters(GATE, [0], -0.1), "got -0.1"),
    "masking.related_filters: nan": (
        lambda: masking.related_filters(GATE * np.nan, [0], 0.5),
        "a gate must be finite, got nan",
    ),
    "masking.mask_classes: no class": (
        lambda: masking.mask_classes(*CLASSIFIED, [], 0.5),
        r"classes must be an array integer\[one or more\], got float64\[0\]",
    ),
    "masking.mask_classes: label": (lambda: masked(1, LABELS + 1), r"\[0, 2\], got 1 to 3"),
    "masking.mask_classes: kernel": (
        lambda: masked(2, KERNEL.T),
        r"the classifier's kernel must be an array real\[4, C\], got float32\[3, 4\]",
    ),
    "masking.mask_classes: bias": (
        lambda: masked(3, BIAS[None]),
        r"the classifier's bias must be an array real\[3\], got float32\[1, 3\]",
    ),
    "masking.mask_classes: gate": (
        lambda: masked(4, GATE.T),
        r"a gate must be an array real\[3, 4\], got float32\[4, 3\]",
    ),
    "masking.mask_classes: nan": (lambda: masked(0, FEATURES * np.nan), "features must be finite, got nan"),
    "masking.mask_classes: kernel is nan": (
        lambda: masked(2, KERNEL * np.nan),
        "the classifier's kernel must be finite, got nan",
    ),
    "masking.mask_classes: bias is inf": (
        lambda: masked(3, BIAS + np.inf),
        "the classifier's bias must be finite, got inf",
    ),
    "masking.mask_classes: gate is nan": (lambda: masked(4, GATE * np.nan), "a gate must be finite, got nan"),
    "specificity.specificity: labels": (
        lambda: specificity.specificity(*changed(CLASSIFIED, 1, LABELS.astype(float)), 0.5),
        "float64",
    ),
    "specificity.specificity: threshold": (lambda: specificity.specificity(*CLASSIFIED, 0.0), "got 0.0"),
    "specificity.specificity: large threshold": (
        lambda: specificity.specificity(*CLASSIFIED, 1.5),
        r"\(0, 1\], got 1.5",
    ),
    "similarity.similarities: gate": (lambda: similarity.similarities(FEATURES, LABELS, LABELS, GATE.T), r"\[4, 3\]"),
    "similarity.similarities: predicted": (
        lambda: similarity.similarities(FEATURES, LABELS, LABELS[:2], GATE),
        r"\[2\]",
    ),
    "similarity.similarities: label": (
        lambda: similarity.similarities(FEATURES, LABELS + 1, LABELS, GATE),
        "got 1 to 3",
    ),
    "similarity.similarities: gate is nan": (
        lambda: similarity.similarities(FEATURES, LABELS, LABELS, GATE * np.nan),
        "a gate must be finite, got nan",
    ),
    "similarity.confusion_agreement: no similarity": (
        lambda: similarity.confusion_agreement(np.eye(3), LABELS, LABELS),
        "must be of type Similarity",
    ),
    "similarity.confusion_agreement: class": (
        lambda: similarity.confusion_agreement(similarity.Similarity(np.eye(2), np.ones(2)), LABELS, LABELS),
        r"\[0, 1\]",
    ),
    "similarity.confused_pairs: class": (lambda: similarity.confused_pairs(LABELS, LABELS, 2), r"\[0, 1\]"),
    "similarity.confused_pairs: negative class": (
        lambda: similarity.confused_pairs(LABELS, LABELS - 1, 3),
        r"predicted classes must lie in \[0, 2\], got -1 to 1",
    ),
    "similarity.confused_pairs: shapes": (
        lambda: similarity.confused_pairs(LABELS, LABELS[:1], 3),
        r"predicted classes must be an array integer\[6\], got int64\[1\]",
    ),
    "clustering.cluster: gate": (lambda: clustering.cluster(FEATURES, LABELS, GATE.T), r"\[4, 3\]"),
    "clustering.cluster: one class": (
        lambda: clustering.cluster(FEATURES, 0 * LABELS, GATE[:1]),
        "the gate must have from 2 to N=6 classes, got 1",
    ),
    "clustering.cluster: few images": (
        lambda: clustering.cluster(FEATURES[:2], LABELS[:2], GATE),
        "the gate must have from 2 to N=2 classes, got 3",
    ),
    "clustering.cluster: gate is nan": (
        lambda: clustering.cluster(FEATURES, LABELS, GATE * np.nan),
        "a gate must be finite",
    ),
    "correlation.class_order: shape": (lambda: correlation.class_order(np.ones(3)), r"\[3\]"),
    "correlation.owners: nan": (lambda: correlation.owners(GATE * np.nan), "a gate must be finite, got nan"),
    "correlation.ratio_above: empty": (
        lambda: correlation.ratio_above(np.ones((0, 0)), np.ones(1)),
        r"correlations must be an array real\[\.\.\., K\], got float64\[0, 0\]",
    ),
    "ownership.ownership_statistics: one gate": (
        lambda: ownership.ownership_statistics(GATE[None], [0.5]),
        "at least 2 gates are needed, got 1",
    ),
    "ownership.ownership_statistics: a gate alone": (
        lambda: ownership.ownership_statistics(GATE, [0.5]),
        r"a stack of gates must be an array floating\[M, C, K\], got float32\[3, 4\]",
    ),
    "ownership.ownership_statistics: threshold": (
        lambda: ownership.ownership_statistics(np.stack([GATE] * 2), [0.5, 1.5]),
        r"\(0, 1\], got 1.5",
    ),
    "ownership.ownership_statistics: thresholds": (
        lambda: ownership.ownership_statistics(np.stack([GATE] * 2), []),
        r"thresholds must be an array real\[T\], got \[\]",
    ),
    "convergence.convergence: shape": (
        lambda: convergence.convergence(np.ones((1, 2)), 0.5),
        r"a curve of accuracy must be an array real\[E\], got float64\[1, 2\]",
    ),
    "comparison.interval: nan": (lambda: comparison.interval(np.array([1.0, np.nan])), "nan"),
    "comparison.compare: seed": (lambda: comparison.compare({1: {"x": 1.0}}, {0: {"x": 1.0}}), "no seed 1"),
    "localization.mass_area: mass": (lambda: localization.mass_area(MAPS, 0.0), "got 0.0"),
    "localization.mass_area: large mass": (lambda: localization.mass_area(MAPS, 1.1), r"\(0, 1\], got 1.1"),
    "localization.deletion_insertion: images": (
        lambda: localization.deletion_insertion(uniform, IMAGES / 255, MAPS, LABELS, fill=(0, 0, 0)),
        r"images must be an array uint8\[N, H, W, channels\], got float64\[6, 8, 8, 3\]",
    ),
    "localization.deletion_insertion: no step": (
        lambda: localization.deletion_insertion(uniform, IMAGES, MAPS, LABELS, fill=(0, 0, 0), steps=0),
        r"steps must be a whole number in \[1, 64\], got 0",
    ),
    "localization.deletion_insertion: steps": (
        lambda: localization.deletion_insertion(uniform, IMAGES, MAPS, LABELS, fill=(0, 0, 0), steps=65),
        r"steps must be a whole number in \[1, 64\], got 65",
    ),
    "localization.deletion_insertion: maps": (
        lambda: localization.deletion_insertion(uniform, IMAGES, MAPS[:, :4], LABELS, fill=(0, 0, 0)),
        r"maps must be an array floating\[6, 8, 8\], got float32\[6, 4, 8\]",
    ),
    "localization.deletion_insertion: no image": (
        lambda: localization.deletion_insertion(uniform, IMAGES[:0], MAPS[:0], LABELS[:0], fill=(0, 0, 0)),
        r"images must be an array uint8\[N, H, W, channels\], got uint8\[0, 8, 8, 3\]",
    ),
    "localization.deletion_insertion: fill": (
        lambda: localization.deletion_insertion(uniform, IMAGES, MAPS, LABELS, fill=(0,)),
        r"fill must be an array real\[3\], got \(0,\)",
    ),
    "localization.deletion_insertion: class": (
        lambda: localization.deletion_insertion(uniform, IMAGES, MAPS, LABELS + 1, fill=(0, 0, 0)),
        r"in \[0, 2\], got 1 to 3",
    ),
    "localization.median_examples: labels": (
        lambda: localization.median_examples(LABELS[:2], np.ones((6, 3))),
        r"logits must be an array real\[2, C\], got float64\[6, 3\]",
    ),
    "localization.median_examples: class": (
        lambda: localization.median_examples(LABELS - 1, np.ones((6, 3))),
        "got -1 to 1",
    ),
    "localization.class_activation_maps: classes": (
        lambda: localization.class_activation_maps(np.ones((6, 2, 2, 4)), KERNEL, LABELS[:2], (8, 8)),
        r"classes must be an array integer\[6\], got int64\[2\]",
    ),
    "localization.class_activation_maps: class": (
        lambda: localization.class_activation_maps(np.ones((6, 2, 2, 4)), KERNEL, LABELS + 1, (8, 8)),
        r"in \[0, 2\], got 1 to 3",
    ),
    "attacks.one_pixel: label": (
        lambda: attacks.one_pixel(uniform, IMAGES, LABELS + 1, jax.random.key(0)),
        r"labels must lie in \[0, 2\], got 1 to 3",
    ),
    "attacks.local_search: images": (
        lambda: attacks.local_search(uniform, IMAGES / 255, LABELS, jax.random.key(0)),
        r"images must be an array uint8",
    ),
    "attacks.one_pixel: a list of images": (
        lambda: attacks.one_pixel(uniform, [IMAGES], LABELS, KEY),
        r"images must be an array uint8\[N, H, W, channels\], got \[",
    ),
    "attacks.one_pixel: a list of labels": (
        lambda: attacks.one_pixel(uniform, IMAGES, LABELS.tolist(), KEY),
        "labels must be an array integer",
    ),
    "attacks.one_pixel: key": (lambda: attacks.one_pixel(uniform, IMAGES, LABELS, 0), "a key of jax.random is needed"),
    "attacks.one_pixel: fraction": (lambda: attack(population=10.5), "population must be a whole number .* got 10.5"),
    "attacks.one_pixel: scale": (lambda: attack(scale="a"), "scale must be a finite number, got 'a'"),
    "attacks.one_pixel: one probability": (
        lambda: attacks.one_pixel(lambda images: images.mean((1, 2, 3)), IMAGES, LABELS, KEY),
        r"must return an array \[N, C\] for N images",
    ),
    "attacks.one_pixel: values": (
        lambda: attacks.one_pixel(lambda images: np.asarray(images), IMAGES, LABELS, KEY),
        "must be a function that JAX can trace",
    ),
    "attacks.local_search: text": (
        lambda: attacks.local_search(uniform, IMAGES, LABELS, KEY, rounds="a"),
        "rounds must be a whole number of at least 0, got 'a'",
    ),
    "localization.deletion_insertion: values": (
        lambda: localization.deletion_insertion(
            lambda images: np.asarray(images), IMAGES, MAPS, LABELS, fill=(0, 0, 0)
        ),
        "must be a function that JAX can trace",
    ),
    "models.create: list": (lambda: models.create(["resnet20"], 10), r"unknown model \['resnet20'\]"),
    "attacks.one_pixel: population": (lambda: attack(population=2), "got 2"),
    "attacks.one_pixel: generations": (lambda: attack(generations=-1), "-1"),
    "comparison.share_interval: none": (
        lambda: comparison.share_interval(np.zeros(0, bool)),
        r"a share's values must be an array bool\[N\], got bool\[0\]",
    ),
    "classifier.num_classes: one probability": (
        lambda: classifier.num_classes(lambda images: images.mean((1, 2, 3)), IMAGES.shape),
        r"must return an array \[N, C\] for N images",
    ),
    "classifier.correct: shapes": (
        lambda: classifier.correct(LABELS, np.ones((5, 3))),
        r"logits must be an array real\[6, C\], got float64\[5, 3\]",
    ),
    "filters.top_images: count": (
        lambda: filters.top_images(FEATURES, 0),
        "count must be a whole number of at least 1, got 0",
    ),
    "filters.top_images: negative count": (lambda: filters.top_images(FEATURES, -1), "-1"),
    "filters.evidence: gate": (lambda: filters.evidence(FEATURES[0], KERNEL, GATE.T, 0.5), r"\[4, 3\]"),
    "filters.evidence: features": (
        lambda: filters.evidence(FEATURES, KERNEL, GATE, 0.5),
        r"features must be an array real\[K\], got float32\[6, 4\]",
    ),
    "filters.evidence: nan": (
        lambda: filters.evidence(FEATURES[0] * np.nan, KERNEL, GATE, 0.5),
        "features must be finite",
    ),
    "filters.evidence: kernel is nan": (
        lambda: filters.evidence(FEATURES[0], KERNEL * np.nan, GATE, 0.5),
        "the classifier's kernel must be finite, got nan",
    ),
    "filters.logit_shares: label": (lambda: filters.logit_shares(FEATURES, LABELS + 1, KERNEL), "1 to 3"),
    "filters.logit_shares: kernel": (
        lambda: filters.logit_shares(FEATURES, LABELS, KERNEL[:3]),
        r"the classifier's kernel must be an array real\[4, C\], got float32\[3, 3\]",
    ),
    "filters.logit_shares: nan": (
        lambda: filters.logit_shares(FEATURES, LABELS, KERNEL * np.nan),
        "the classifier's kernel must be finite, got nan",
    ),
    "gates.rows: nothing": (lambda: gates.rows(None, LABELS), r"a gate must be an array floating\[C, K\], got None"),
    "gates.rows: one axis": (
        lambda: gates.rows(GATE[0], LABELS),
        r"a gate must be an array floating\[C, K\], got float32\[4\]",
    ),
    "gates.rows: several gates": (
        lambda: gates.rows(np.stack([GATE] * 2), LABELS),
        r"a gate must be an array floating\[C, K\], got float32\[2, 3, 4\]",
    ),
    "gates.rows: nan": (lambda: gates.rows(GATE * np.nan, LABELS), "a gate must be finite, got nan"),
    "gates.rows: a list of labels": (
        lambda: gates.rows(jnp.asarray(GATE), [0, 1]),
        r"labels must be an array integer\[\.\.\.\], got \[0, 1\]",
    ),
    "gates.project: text": (lambda: gates.project("x"), r"a gate must be an array floating\[\.\.\., C, K\], got 'x'"),
    "gates.project: one axis": (
        lambda: gates.project(GATE[0]),
        r"a gate must be an array floating\[\.\.\., C, K\], got float32\[4\]",
    ),
    "gates.project: no class": (
        lambda: gates.project(GATE[:0]),
        r"a gate must be an array floating\[\.\.\., C, K\], got float32\[0, 4\]",
    ),
    "gates.projection: one axis": (
        lambda: gates.projection().update(GATE[0], None, GATE[0]),
        r"a gate must be an array floating\[\.\.\., C, K\], got float32\[4\]",
    ),
    "gates.tighten: nothing": (
        lambda: gates.tighten(None, 0.5),
        r"a gate must be an array floating\[\.\.\., C, K\], got None",
    ),
    "gates.ownership: one axis": (
        lambda: gates.ownership(GATE[0], 0.5),
        r"a gate must be an array floating\[\.\.\., C, K\], got float32\[4\]",
    ),
    "gates.density: nothing": (
        lambda: gates.density(None),
        r"a gate must be an array floating\[\.\.\., C, K\], got None",
    ),
    "gates.density: one axis": (
        lambda: gates.density(GATE[0]),
        r"a gate must be an array floating\[\.\.\., C, K\], got float32\[4\]",
    ),
    "gates.density: no filter": (
        lambda: gates.density(GATE[:, :0]),
        r"a gate must be an array floating\[\.\.\., C, K\], got float32\[3, 0\]",
    ),
    "gates.density: nan": (lambda: gates.density(GATE * np.nan), "a gate must be finite, got nan"),
    "gates.density: whole numbers": (
        lambda: gates.density(GATE.astype(int)),
        r"a gate must be an array floating\[\.\.\., C, K\], got int64\[3, 4\]",
    ),
    "losses.cross_entropy: no example": (
        lambda: losses.cross_entropy(LOGITS[:0], LABELS[:0]),
        r"logits must be an array floating\[B, C\], got float32\[0, 3\]",
    ),
    "losses.cross_entropy: nan": (
        lambda: losses.cross_entropy(LOGITS * np.nan, LABELS),
        "logits must be finite, got nan",
    ),
    "losses.cross_entropy: whole numbers": (
        lambda: losses.cross_entropy(LOGITS.astype(int), LABELS),
        r"logits must be an array floating\[B, C\], got int64\[6, 3\]",
    ),
    "losses.std_cost: nothing": (
        lambda: losses.std_cost(None, LABELS),
        r"logits must be an array floating\[B, C\], got None",
    ),
    "losses.sparsity: nan": (lambda: losses.sparsity(GATE * np.nan, 4.0), "a gate must be finite, got nan"),
    "losses.sparsity: one axis": (
        lambda: losses.sparsity(GATE[0], 4.0),
        r"a gate must be an array floating\[C, K\], got float32\[4\]",
    ),
    "losses.sparsity: text": (
        lambda: losses.sparsity(GATE, "4"),
        "the sparsity target must be a finite number, got '4'",
    ),
    "losses.sparsity: target is nan": (
        lambda: losses.sparsity(GATE, np.nan),
        "the sparsity target must be a finite number, got nan",
    ),
    "losses.sparsity: several targets": (
        lambda: losses.sparsity(GATE, np.ones(2)),
        r"the sparsity target must be a finite number, got array\(\[1\., 1\.\]\)",
    ),
    "losses.lsg_cost: nothing": (
        lambda: losses.lsg_cost(LOGITS, LABELS, GATE, None),
        "weights must be of type Weights, got None",
    ),
    "losses.lsg_cost: weight": (
        lambda: losses.lsg_cost(LOGITS, LABELS, GATE, WEIGHTS._replace(gate_loss_weight=np.inf)),
        "gate_loss_weight must be a finite number, got inf",
    ),
    "losses.lsg_cost: gate": (
        lambda: losses.lsg_cost(LOGITS, LABELS, GATE[0], WEIGHTS),
        r"a gate must be an array floating\[C, K\], got float32\[4\]",
    ),
    "losses.joint_cost: gated logits": (
        lambda: losses.joint_cost(LOGITS, LOGITS[:2], LABELS, GATE, WEIGHTS),
        r"labels must be an array integer\[2\], got int64\[6\]",
    ),
    "losses.joint_cost: target": (
        lambda: losses.joint_cost(LOGITS, LOGITS, LABELS, GATE, WEIGHTS._replace(sparsity_target="4")),
        "the sparsity target must be a finite number, got '4'",
    ),
    "losses.others: nothing": (
        lambda: losses.others(None),
        r"rows of a gate must be an array floating\[B, K\], got None",
    ),
    "losses.silence: shapes": (
        lambda: losses.silence(FEATURES, GATE),
        r"rows of a gate must be an array floating\[6, 4\], got float32\[3, 4\]",
    ),
    "losses.silence: nan": (lambda: losses.silence(FEATURES * np.nan, FEATURES), "features must be finite, got nan"),
    "losses.silence: rows are nan": (
        lambda: losses.silence(FEATURES, FEATURES * np.nan),
        "rows of a gate must be finite, got nan",
    ),
    "losses.complement: one axis": (
        lambda: losses.complement(BIAS),
        r"logits must be an array floating\[B, C\], got float32\[3\]",
    ),
    "losses.complement: nan": (lambda: losses.complement(LOGITS * np.nan), "logits must be finite, got nan"),
    "models.constructor: name": (
        lambda: models.constructor("resnet21"),
        "unknown model 'resnet21'; choose one of: ",
    ),
    "data.checked: nothing": (lambda: data.checked(None), "the data set must be of type Dataset, got None"),
    "data.load: a list": (
        lambda: data.load(["digits"]),
        r"unknown data set \['digits'\]; choose one of: cifar10, digits",
    ),
    "data.augment: no key": (
        lambda: data.augment(None, IMAGES, padding=1, flip=True),
        r"a key of jax\.random is needed, got None",
    ),
    "data.augment: keys": (
        lambda: data.augment(jax.random.split(KEY), IMAGES, padding=1, flip=True),
        r"a key of jax\.random is needed, got key<fry>\[2\]",
    ),
    "data.augment: one image": (
        lambda: data.augment(KEY, IMAGES[0], padding=1, flip=True),
        r"images must be an array number\[B, H, W, channels\], got uint8\[8, 8, 3\]",
    ),
    "data.augment: padding": (
        lambda: data.augment(KEY, IMAGES, padding=-1, flip=True),
        "padding must be a whole number of at least 0, got -1",
    ),
    "data.augment: flip": (
        lambda: data.augment(KEY, IMAGES, padding=1, flip="yes"),
        "flip must be of type bool, got 'yes'",
    ),
    "augmentation.random_crop: images": (
        lambda: augmentation.random_crop(KEY, IMAGES, 1),
        r"an image must be an array number\[H, W, channels\], got uint8\[6, 8, 8, 3\]",
    ),
    "augmentation.random_crop: padding": (
        lambda: augmentation.random_crop(KEY, IMAGES[0], 1.5),
        r"padding must be a whole number of at least 0, got 1\.5",
    ),
    "augmentation.random_flip: key": (
        lambda: augmentation.random_flip(3, IMAGES[0]),
        r"a key of jax\.random is needed, got 3",
    ),
    "loop.fit: no configuration": (
        lambda: loop.fit(None, DATASET, Path("run")),
        "the configuration must be of type Config, got None",
    ),
    "loop.fit: small images": (
        lambda: loop.fit(
            Config(model="alexnet", optimizer=OptimizerConfig(batch_size=2)).resolve(6, 3, 256),
            DATASET._replace(train=data.Split(IMAGES[:, :3], LABELS), test=data.Split(IMAGES[:, :3], LABELS)),
            Path("run"),
        ),
        "--model=alexnet takes images of at least 4x4, got 3x8",
    ),
    "loop.fit: no folder": (lambda: loop.fit(CONFIG, DATASET, None), "a path is needed, got None"),
    "loop.fit: no data": (
        lambda: loop.fit(CONFIG, None, Path("run")),
        "the data set must be of type Dataset, got None",
    ),
    "loop.fit: more labels than images": (
        lambda: fit(train=data.Split(IMAGES, np.append(LABELS, LABELS))),
        r"training labels must be an array integer\[6\], got int64\[12\]",
    ),
    "loop.fit: no images": (
        lambda: fit(train=data.Split(IMAGES[:0], LABELS[:0])),
        r"training images must be an array uint8\[N, H, W, channels\], got uint8\[0, 8, 8, 3\]",
    ),
    "loop.fit: no test images": (
        lambda: fit(test=data.Split(IMAGES[:0], LABELS[:0])),
        r"test images must be an array uint8\[N, 8, 8, 3\], got uint8\[0, 8, 8, 3\]",
    ),
    "loop.fit: one channel left out": (
        lambda: fit(train=data.Split(IMAGES[..., 0], LABELS), test=data.Split(IMAGES[..., 0], LABELS)),
        r"training images must be an array uint8\[N, H, W, channels\], got uint8\[6, 8, 8\]",
    ),
    "loop.fit: floating-point images": (
        lambda: fit(train=data.Split(IMAGES / 255, LABELS)),
        r"training images must be an array uint8\[N, H, W, channels\], got float64\[6, 8, 8, 3\]",
    ),
    "loop.fit: nan": (
        lambda: fit(train=data.Split(IMAGES * np.nan, LABELS)),
        r"training images must be an array uint8\[N, H, W, channels\], got float64\[6, 8, 8, 3\]",
    ),
    "loop.fit: smaller test images": (
        lambda: fit(test=data.Split(IMAGES[:, :4], LABELS)),
        r"test images must be an array uint8\[N, 8, 8, 3\], got uint8\[6, 4, 8, 3\]",
    ),
    "loop.fit: float labels": (
        lambda: fit(test=data.Split(IMAGES, LABELS / 1)),
        r"test labels must be an array integer\[6\], got float64\[6\]",
    ),
    "loop.fit: label": (
        lambda: fit(train=data.Split(IMAGES, LABELS + 1)),
        r"training labels must lie in \[0, 2\], got 1 to 3",
    ),
    "loop.fit: negative label": (
        lambda: fit(test=data.Split(IMAGES, LABELS - 1)),
        r"test labels must lie in \[0, 2\], got -1 to 1",
    ),
    "loop.fit: split": (
        lambda: fit(train=(IMAGES, LABELS)),
        r"the training split must be of type Split, got \(array",
    ),
    "loop.fit: text for classes": (lambda: fit(class_names="abc"), "class_names must be one or more texts, got 'abc'"),
    "loop.fit: one mean": (lambda: fit(mean=(0.5,)), r"mean must be 3 finite numbers, got \(0\.5,\)"),
    "loop.fit: mean is nan": (
        lambda: fit(mean=(0.5, 0.5, np.nan)),
        r"mean must be 3 finite numbers, got \(0\.5, 0\.5, nan\)",
    ),
    "loop.fit: std": (
        lambda: fit(std=(1.0, 0.0, 1.0)),
        r"std must be 3 finite numbers above 0, got \(1\.0, 0\.0, 1\.0\)",
    ),
    "loop.fit: padding": (lambda: fit(padding=-1), "padding must be a whole number of at least 0, got -1"),
    "loop.fit: flip": (lambda: fit(flip=None), "flip must be of type bool, got None"),
    "loop.fit_seeds: no configuration": (
        lambda: loop.fit_seeds(None, DATASET, Path("run"), 2),
        "the configuration must be of type Config, got None",
    ),
    "loop.fit_seeds: no seed": (
        lambda: loop.fit_seeds(CONFIG, DATASET, Path("run"), 0),
        "--seeds must be a whole number of at least 1, got 0",
    ),
    "loop.fit_seeds: half a seed": (
        lambda: loop.fit_seeds(CONFIG, DATASET, Path("run"), 1.5),
        r"--seeds must be a whole number of at least 1, got 1\.5",
    ),
    "loop.fit_seeds: no folder": (lambda: loop.fit_seeds(CONFIG, DATASET, None, 2), "a path is needed, got None"),
    "loop.fit_seeds: no test images": (
        lambda: loop.fit_seeds(CONFIG, DATASET._replace(test=data.Split(IMAGES[:0], LABELS[:0])), Path("run"), 2),
        r"test images must be an array uint8\[N, 8, 8, 3\], got uint8\[0, 8, 8, 3\]",
    ),
    "lsg_jax.save_run: no path": (lambda: lsg_jax.save_run(RUN, None), "a path is needed, got None"),
    "lsg_jax.export_torch: nothing": (
        lambda: lsg_jax.export_torch(None, "out.safetensors"),
        "the run must be of type Run, got None",
    ),
    "lsg_jax.export_torch: no path": (lambda: lsg_jax.export_torch(RUN, None), "a path is needed, got None"),
    "lsg_jax.export_torch: ending": (
        lambda: lsg_jax.export_torch(RUN, "out.onnx"),
        r"a checkpoint's name must end in \.safetensors, \.th, \.pt, \.pth, got out\.onnx",
    ),
    "lsg_jax.export_torch: model": (
        lambda: lsg_jax.export_torch(dataclasses.replace(RUN, config=Config(model="alexnet")), "out.safetensors"),
        "only residual networks can be exported, and the run's model is 'alexnet'",
    ),
    "schedule.path: epoch": (lambda: schedule.path(-1, **TURNS), "epoch must be a whole number of at least 0, got -1"),
    "schedule.path: gate": (
        lambda: schedule.path(0, **TURNS | {"gate": "some"}),
        "unknown gate 'some'; choose one of: learned, fixed, tightened, none",
    ),
    "schedule.path: period": (
        lambda: schedule.path(0, **TURNS | {"period": 0}),
        "period must be a whole number of at least 1, got 0",
    ),
    "schedule.path: phase": (
        lambda: schedule.path(0, **TURNS | {"phase": 3}),
        r"phase must be a whole number in \[0, 2\], got 3",
    ),
    "schedule.gated_epochs: epochs": (
        lambda: schedule.gated_epochs(1.5, **TURNS),
        r"epochs must be a whole number of at least 0, got 1\.5",
    ),
    "schedule.gated_epochs: phase": (
        lambda: schedule.gated_epochs(9, **TURNS | {"phase": None}),
        r"phase must be a whole number in \[0, 2\], got None",
    ),
    "schedule.sparsity_weight: steps": (
        lambda: schedule.sparsity_weight(None, 0.1, 1.0),
        "gated_steps must be a whole number of at least 0, got None",
    ),
    "schedule.sparsity_weight: rate": (
        lambda: schedule.sparsity_weight(100, 0, 1.0),
        "gate_learning_rate must be a positive number, got 0",
    ),
    "schedule.sparsity_weight: weight": (
        lambda: schedule.sparsity_weight(100, 0.1, "1"),
        "gate_loss_weight must be a positive number, got '1'",
    ),
    "schedule.learning_rate: peak": (
        lambda: schedule.learning_rate("step", np.nan, 100),
        "the peak must be a positive number, got nan",
    ),
    "schedule.learning_rate: steps": (
        lambda: schedule.learning_rate("cosine", 0.1, 0),
        "total_steps must be a whole number of at least 1, got 0",
    ),
    "metrics.accuracy: nan": (lambda: metrics.accuracy(LOGITS * np.nan, LABELS), "logits must be finite, got nan"),
    "metrics.accuracy: no example": (
        lambda: metrics.accuracy(LOGITS[:0], LABELS[:0]),
        r"logits must be an array floating\[B, C\], got float32\[0, 3\]",
    ),
    "metrics.sums: label": (
        lambda: metrics.sums(LOGITS, LABELS + 1, FEATURES[:, 0]),
        r"labels must lie in \[0, 2\], got 1 to 3",
    ),
    "metrics.sums: weights": (
        lambda: metrics.sums(LOGITS, LABELS, FEATURES),
        r"weights must be an array floating\[6\], got float32\[6, 4\]",
    ),
    "metrics.sums: no weights": (
        lambda: metrics.sums(LOGITS, LABELS, None),
        r"weights must be an array floating\[6\], got None",
    ),
    "metrics.phi: nothing": (lambda: solve(None), r"features must be an array floating\[N, K\], got None"),
    "metrics.phi: tolerance": (lambda: solve(tolerance="small"), "tolerance must be a finite number, got 'small'"),
    "metrics.phi: steps": (lambda: solve(max_steps=1.5), r"max_steps must be a whole number of at least 0, got 1\.5"),
    "metrics.phi_by_training: features": (
        lambda: solve_by_training(FEATURES[0]),
        r"features must be an array floating\[N, K\], got float32\[4\]",
    ),
    "metrics.phi_by_training: rate": (
        lambda: solve_by_training(learning_rate=0),
        "learning_rate must be a positive number, got 0",
    ),
    "metrics.phi_by_training: a of the updates": (
        lambda: solve_by_training(training_weight=np.nan),
        "training_weight must be a finite number, got nan",
    ),
    "metrics.phi_by_training: batch": (
        lambda: solve_by_training(batch_size=0),
        "batch_size must be a whole number of at least 1, got 0",
    ),
    "metrics.phi_by_training: steps": (
        lambda: solve_by_training(steps=-1),
        "steps must be a whole number of at least 0, got -1",
    ),
    "metrics.phi_by_training: key": (lambda: solve_by_training(key=None), r"a key of jax\.random is needed, got None"),
    "metrics.mutual_information: seed": (
        lambda: metrics.mutual_information(FEATURES, LABELS, seed=-1),
        r"seed must be a whole number in \[0, 4294967295\], got -1",
    ),
    "metrics.mutual_information_score: text": (
        lambda: metrics.mutual_information_score(FEATURES.astype(str), LABELS),
        r"features must be an array real\[N, K\], got <U32\[6, 4\]",
    ),
    "metrics.mutual_information_score: no filter": (
        lambda: metrics.mutual_information_score(FEATURES[:, :0], LABELS),
        r"features must be an array real\[N, K\], got float32\[6, 0\]",
    ),
    "metrics.filter_correlation: no input": (
        lambda: metrics.filter_correlation(np.zeros((3, 3, 0, 4))),
        r"a convolution's kernel must be an array real\[h, w, I, K\], got float64\[3, 3, 0, 4\]",
    ),
    "metrics.inter_class_correlation: nan": (
        lambda: metrics.inter_class_correlation(np.eye(4) * np.nan, FEATURES, LABELS, 1),
        "the correlation matrix must be finite, got nan",
    ),
    "metrics.inter_class_correlation: half a filter": (
        lambda: metrics.inter_class_correlation(np.eye(4), FEATURES, LABELS, 1.5),
        r"filters_per_class must be a whole number in \[1, 4\], got 1\.5",
    ),
    "classifier.check: bias": (
        lambda: classifier.check(*changed(CLASSIFIED, 3, None)),
        r"the classifier's bias must be an array real\[3\], got None",
    ),
    "classifier.correct: no network": (
        lambda: classifier.correct(LABELS),
        "the logits of at least 1 network are needed, got none",
    ),
    "classifier.correct: nan": (lambda: classifier.correct(LABELS, LOGITS * np.nan), "logits must be finite, got nan"),
    "classifier.as_pytree: nothing": (
        lambda: classifier.as_pytree(None),
        "a function from images to probabilities is needed, got None",
    ),
    "masking.related_filters: half a class": (
        lambda: masking.related_filters(GATE, [0.5], 0.5),
        r"classes must be an array integer\[one or more\], got float64\[1\]",
    ),
    "masking.related_filters: one axis": (
        lambda: masking.related_filters(GATE[0], [0], 0.5),
        r"a gate must be an array real\[C, K\], got float32\[4\]",
    ),
    "masking.related_filters: text": (
        lambda: masking.related_filters(GATE, [0], "0.5"),
        r"the threshold must be a number in \[0, 1\), got '0\.5'",
    ),
    "masking.mask_classes: text": (
        lambda: masking.mask_classes(*CLASSIFIED, ["a"], 0.5),
        r"classes must be an array integer\[one or more\], got <U1\[1\]",
    ),
    "similarity.similarities: no class is predicted": (
        lambda: similarity.similarities(FEATURES, LABELS, LABELS + 1, GATE),
        r"predicted classes must lie in \[0, 2\], got 1 to 3",
    ),
    "similarity.dominance: nothing": (
        lambda: similarity.dominance(None),
        "what is measured must be of type Similarity, got None",
    ),
    "similarity.dominance: nan": (
        lambda: similarity.dominance(similarity.Similarity(np.full((2, 2), np.nan), np.ones(2))),
        "similarities must be finite, got nan",
    ),
    "similarity.confused_pairs: no class": (
        lambda: similarity.confused_pairs(LABELS, LABELS, 0),
        "num_classes must be a whole number of at least 1, got 0",
    ),
    "localization.class_activation_maps: nothing": (
        lambda: localization.class_activation_maps(None, KERNEL, LABELS, (8, 8)),
        r"feature maps must be an array floating\[N, H', W', K\], got None",
    ),
    "localization.class_activation_maps: nan": (
        lambda: localization.class_activation_maps(np.full((6, 2, 2, 4), np.nan), KERNEL, LABELS, (8, 8)),
        "feature maps must be finite, got nan",
    ),
    "localization.class_activation_maps: size": (
        lambda: localization.class_activation_maps(np.ones((6, 2, 2, 4)), KERNEL, LABELS, (-8, 8)),
        "size must be at least 0, got -8 to 8",
    ),
    "localization.for_display: one map": (
        lambda: localization.for_display(MAPS[0]),
        r"maps must be an array floating\[N, H, W\], got float32\[8, 8\]",
    ),
    "localization.for_display: nan": (lambda: localization.for_display(MAPS * np.nan), "maps must be finite, got nan"),
    "localization.mass_area: nan": (lambda: localization.mass_area(MAPS * np.nan), "maps must be finite, got nan"),
    "localization.mass_area: no map": (
        lambda: localization.mass_area(MAPS[:0]),
        r"maps must be an array real\[N, H, W\], got float32\[0, 8, 8\]",
    ),
    "localization.mass_area: text": (
        lambda: localization.mass_area(MAPS, "0.9"),
        r"mass must be a number in \(0, 1\], got '0\.9'",
    ),
    "localization.deletion_insertion: no network": (
        lambda: localization.deletion_insertion(None, IMAGES, MAPS, LABELS, fill=(0, 0, 0)),
        "a function from images to probabilities is needed, got None",
    ),
    "localization.deletion_insertion: nan": (
        lambda: localization.deletion_insertion(uniform, IMAGES, MAPS * np.nan, LABELS, fill=(0, 0, 0)),
        "maps must be finite, got nan",
    ),
    "localization.deletion_insertion: batch": (
        lambda: localization.deletion_insertion(uniform, IMAGES, MAPS, LABELS, fill=(0, 0, 0), batch_size=0),
        "batch_size must be a whole number of at least 1, got 0",
    ),
    "localization.median_examples: nan": (
        lambda: localization.median_examples(LABELS, LOGITS * np.nan),
        "logits must be finite, got nan",
    ),
    "localization.median_examples: no network": (
        lambda: localization.median_examples(LABELS),
        "the logits of at least 1 network are needed, got none",
    ),
    "ownership.ownership_statistics: nan": (
        lambda: ownership.ownership_statistics(np.stack([GATE] * 2) * np.nan, [0.5]),
        "a stack of gates must be finite, got nan",
    ),
    "correlation.owners: nothing": (
        lambda: correlation.owners(None),
        r"a gate must be an array real\[C, K\], got None",
    ),
    "correlation.pairs: one axis": (
        lambda: correlation.pairs(GATE[0]),
        r"a gate must be an array real\[C, K\], got float32\[4\]",
    ),
    "correlation.ratio_above: nan": (
        lambda: correlation.ratio_above(np.eye(4) * np.nan, np.ones(1)),
        "correlations must be finite, got nan",
    ),
    "correlation.ratio_above: text": (
        lambda: correlation.ratio_above(np.eye(4), "0.5"),
        r"thresholds must be an array real\[T\], got '0\.5'",
    ),
    "clustering.cluster: repeats": (
        lambda: clustering.cluster(FEATURES, LABELS, GATE, repeats=0),
        "repeats must be a whole number of at least 1, got 0",
    ),
    "clustering.cluster: seed": (
        lambda: clustering.cluster(FEATURES, LABELS, GATE, seed=-1),
        r"seed must be a whole number in \[0, 4294967295\], got -1",
    ),
    "clustering.unit_rows: nan": (lambda: clustering.unit_rows(FEATURES * np.nan), "a matrix must be finite, got nan"),
    "convergence.convergence: level": (
        lambda: convergence.convergence(np.ones(3), "high"),
        "the level must be a finite number, got 'high'",
    ),
    "comparison.interval: text": (
        lambda: comparison.interval("1"),
        r"an interval's values must be an array real\[S\], got '1'",
    ),
    "data.channel_statistics: floats": (
        lambda: data.channel_statistics(IMAGES / 255),
        r"images must be an array uint8\[N, H, W, channels\], got float64\[6, 8, 8, 3\]",
    ),
    "comparison.interval_of: one": (
        lambda: comparison.interval_of(0.5, 0.1, 1),
        "count must be a whole number of at least 2, got 1",
    ),
    "comparison.interval_of: percent": (
        lambda: comparison.interval_of(0.5, 0.1, 3, 95),
        r"confidence must be a number in \(0, 1\), got 95",
    ),
    "comparison.share_interval: shares": (
        lambda: comparison.share_interval(np.array([0.5])),
        r"a share's values must be an array bool\[N\], got float64\[1\]",
    ),
    "comparison.paired_interval: nothing": (
        lambda: comparison.paired_interval(None, np.ones(3, bool)),
        r"ours must be an array bool\[N\], got array\(None, dtype=object\)",
    ),
    "comparison.compare: no measures": (
        lambda: comparison.compare({0: None}, {0: None}),
        "seed 0 of the arm must be of type Mapping, got None",
    ),
    "comparison.compare: the control's measures": (
        lambda: comparison.compare({0: {"x": 1.0}}, {0: [1.0]}),
        r"seed 0 of the control must be of type Mapping, got \[1\.0\]",
    ),
    "comparison.linearized_ratio: shapes": (
        lambda: comparison.linearized_ratio(np.ones(3), np.ones(2)),
        r"the denominator must be an array floating\[3\], got float64\[2\]",
    ),
    "comparison.linearized_ratio: zero": (
        lambda: comparison.linearized_ratio(np.ones(2), np.array([1.0, -1.0])),
        "the denominator's mean must not be 0, got 0",
    ),
    "comparison.compare: measure": (
        lambda: comparison.compare({0: {"x": 1.0}}, {0: {"y": 1.0}}),
        "seed 0 of the control has no 'x', which others have",
    ),
    "comparison.compare: nothing": (
        lambda: comparison.compare({0: {"x": 1.0}}, None),
        "the control must be of type Mapping, got None",
    ),
    "filters.top_images: part": (
        lambda: filters.top_images(FEATURES, 1.5),
        r"count must be a whole number of at least 1, got 1\.5",
    ),
    "filters.top_images: nan": (lambda: filters.top_images(FEATURES * np.nan, 1), "features must be finite, got nan"),
    "filters.spotlight: nan": (lambda: filters.spotlight(IMAGES, MAPS * np.nan), "maps must be finite, got nan"),
    "filters.spotlight: floating-point images": (
        lambda: filters.spotlight(IMAGES / 255, MAPS),
        r"images must be an array uint8\[N, H, W, channels\], got float64\[6, 8, 8, 3\]",
    ),
    "filters.evidence: nothing": (
        lambda: filters.evidence(None, KERNEL, GATE, 0.5),
        r"features must be an array real\[K\], got None",
    ),
    "plots.gate_matrices: none": (lambda: plots.gate_matrices({}, NAMES), "one or more by title are needed, got {}"),
    "plots.gate_matrices: names": (
        lambda: plots.gate_matrices({"net": GATE}, NAMES[:2]),
        r"'net' must be an array real\[2, K\], got float32\[3, 4\]",
    ),
    "plots.gate_matrices: nan": (
        lambda: plots.gate_matrices({"net": GATE * np.nan}, NAMES),
        "'net' must be finite, got nan",
    ),
    "plots.curves: no epoch": (lambda: plots.curves([]), r"a history must have a line an epoch, got \[\]"),
    "plots.curves: measure": (
        lambda: plots.curves([{"epoch": 0}]),
        r"a line of a history must have 'test_accuracy', got \['epoch'\]",
    ),
    "plots.compared_curves: nothing": (
        lambda: plots.compared_curves(None),
        "one or more by title are needed, got None",
    ),
    "plots.compared_curves: a number": (
        lambda: plots.compared_curves({"net": 3}),
        "a history must be of type Sequence, got 3",
    ),
    "plots.visible: floats": (
        lambda: plots.visible(IMAGES / 255),
        r"images must be an array uint8\[..., H, W, channels\], got float64\[6, 8, 8, 3\]",
    ),
    "plots.activation_maps: images": (
        lambda: plots.activation_maps(IMAGES / 255, {"net": MAPS}, {"net": BIAS}, NAMES * 2),
        r"images must be an array uint8\[N, H, W, channels\], got float64\[6, 8, 8, 3\]",
    ),
    "plots.activation_maps: probabilities": (
        lambda: plots.activation_maps(IMAGES, {"net": MAPS}, {}, NAMES * 2),
        r"probabilities of net must be an array floating\[6\], got None",
    ),
    "plots.activation_maps: names": (
        lambda: plots.activation_maps(IMAGES, {"net": MAPS}, {"net": MAPS[:, 0, 0]}, NAMES),
        r"names must be 6 texts, got \('cat', 'dog', 'ship'\)",
    ),
    "plots.filter_images: one filter": (
        lambda: plots.filter_images(IMAGES, ("filter 0",), [NAMES * 2]),
        r"images must be an array uint8\[F, T, H, W, channels\], got uint8\[6, 8, 8, 3\]",
    ),
    "plots.filter_images: names": (
        lambda: plots.filter_images(IMAGES[None], ("filter 0",), [NAMES]),
        r"names of row 0 must be 6 texts, got \('cat', 'dog', 'ship'\)",
    ),
    "plots.evidence: rows": (
        lambda: plots.evidence(np.eye(3), NAMES, (0, 1)),
        r"rows must be an array floating\[4, 3\], got float64\[3, 3\]",
    ),
    "plots.evidence: class": (
        lambda: plots.evidence(np.ones((4, 3)), NAMES, (0, 3)),
        r"compared must lie in \[0, 2\], got 0 to 3",
    ),
    "plots.deletion_insertion_curves: maps": (
        lambda: plots.deletion_insertion_curves({"net": MAPS}),
        r"'net' must be of type Curves, got float32\[6, 8, 8\]",
    ),
    "plots.attack_examples: shapes": (
        lambda: plots.attack_examples(IMAGES, IMAGES[:2], NAMES * 2, NAMES * 2),
        r"adversarial must be an array uint8\[6, 8, 8, 3\], got uint8\[2, 8, 8, 3\]",
    ),
    "plots.attack_examples: names": (
        lambda: plots.attack_examples(IMAGES, IMAGES, NAMES, NAMES * 2),
        r"before must be 6 texts, got \('cat', 'dog', 'ship'\)",
    ),
    "plots.confusion_matrices: shape": (
        lambda: plots.confusion_matrices({"net": GATE}, NAMES),
        r"'net' must be an array real\[3, 3\], got float32\[3, 4\]",
    ),
    "plots.masked_recall: matrices": (
        lambda: plots.masked_recall({"net": np.eye(3)}, NAMES),
        r"'net' must be of type Masking, got float64\[3, 3\]",
    ),
    "plots.confusion_matrices: text": (
        lambda: plots.confusion_matrices({"net": np.eye(3)}, "abc"),
        "class_names must be one or more texts, got 'abc'",
    ),
    "plots.similarity_matrices: a matrix": (
        lambda: plots.similarity_matrices({"net": np.eye(3)}, NAMES),
        r"'net' must be of type Similarity, got float64\[3, 3\]",
    ),
    "plots.correlation_matrices: shape": (
        lambda: plots.correlation_matrices({"net": (np.ones((4, 5)), correlation.class_order(GATE))}, NAMES),
        r"net must be an array floating\[K, K\], got float64\[4, 5\]",
    ),
    "plots.correlation_matrices: no order": (
        lambda: plots.correlation_matrices({"net": (np.eye(4), None)}, NAMES),
        "the order of net must be of type ClassOrder, got None",
    ),
    "plots.correlation_matrices: names": (
        lambda: plots.correlation_matrices({"net": (np.eye(4), correlation.class_order(GATE))}, NAMES[:2]),
        r"sizes of net must be an array integer\[3\], got int64\[4\]",
    ),
    "plots.correlation_curves: shapes": (
        lambda: plots.correlation_curves(np.ones(2), {"net": np.ones(3)}),
        r"net must be an array floating\[2\], got float64\[3\]",
    ),
    "plots.cluster_centers: nan": (
        lambda: plots.cluster_centers({"net": (GATE * np.nan, GATE)}, NAMES),
        "'net: 0' must be finite, got nan",
    ),
    "plots.tradeoff: number": (
        lambda: plots.tradeoff({"none": 0.5}, {"MIS": {"none": 0.5}}, []),
        r"'none' must be of type Interval, got 0\.5",
    ),
    "plots.tradeoff: arm": (
        lambda: plots.tradeoff({"none": INTERVAL}, {"MIS": {"none": INTERVAL}}, [["learned"]]),
        "unknown arm 'learned'; choose one of: none",
    ),
    "plots.grouped_bars: none": (lambda: plots.grouped_bars({}, "accuracy"), "one or more by title are needed, got {}"),
    "plots.grouped_bars: text": (
        lambda: plots.grouped_bars({"net": {"with": "0.5"}}, "accuracy"),
        r"'with' must be of type Real, got '0\.5'",
    ),
    "plots.grouped_bars: parts": (
        lambda: plots.grouped_bars({"net": {"with": 0.5}, "other": {"without": 0.5}}, "accuracy"),
        "'other' must have the parts with, got without",
    ),
    "plots.verdicts: none": (lambda: plots.verdicts({}), "one or more by title are needed, got {}"),
    "plots.verdicts: verdict": (
        lambda: plots.verdicts({"net": {"claim": "perhaps"}}),
        "a verdict must be one of yes, yes, the control too, no, cannot tell, no images to tell by, got 'perhaps'",
    ),
    "report.write: one network": (
        lambda: report.write(NETWORK, Path("report")),
        r"the networks must be of type list, got Network\(name='net'\)",
    ),
    "report.write: none": (
        lambda: report.write([], Path("report")),
        r"the number of networks must be a whole number in \[1, 2\], got 0",
    ),
    "report.write: three": (lambda: report.write([NETWORK] * 3, Path("report")), r"in \[1, 2\], got 3"),
    "report.write: run": (
        lambda: report.write([RUN], Path("report")),
        "a network must be of type Network, got Run",
    ),
    "report.write: name": (lambda: reported(name="net"), "the networks must have different names, got net twice"),
    "report.write: classes": (
        lambda: reported(run=dataclasses.replace(RUN, class_names=NAMES[::-1])),
        "net and other must have the same class names in the same order",
    ),
    "report.write: images": (
        lambda: reported(load=lambda: DATASET._replace(test=data.Split(IMAGES + 1, LABELS))),
        "net and other must have the same test images and labels",
    ),
    "report.write: labels": (
        lambda: reported(load=lambda: DATASET._replace(test=data.Split(IMAGES, LABELS[::-1]))),
        "net and other must have the same test images and labels",
    ),
    "report.write: fewer images": (
        lambda: reported(load=lambda: DATASET._replace(test=data.Split(IMAGES[:3], LABELS[:3]))),
        "net and other must have the same test images and labels",
    ),
    "plots.ownership_bars: nothing": (
        lambda: plots.ownership_bars(None, NAMES),
        "statistics must be of type OwnershipStatistics, got None",
    ),
    "plots.ownership_bars: names": (
        lambda: plots.ownership_bars(ownership.ownership_statistics(np.stack([GATE] * 2), [0.5]), NAMES[:2]),
        r"class_names must be 3 texts, got \('cat', 'dog'\)",
    ),
}
EXEMPT = {  # the public functions that are not there, and why
    **dict.fromkeys(
        [
            "lsg_jax.models.alexnet.max_pool",
            "lsg_jax.models.convolution.convolution",
            *(
                f"lsg_jax.training.steps.{path}_{kind}"
                for path in ("std", "lsg", "joint")
                for kind in ("update", "step")
            ),
        ],
        "a part of a program that is traced, of which JAX says what does not fit",
    ),
    **dict.fromkeys(
        [
            f"lsg_jax.training.state.{name}"
            for name in ("step_of", "theta_optimizer", "learned_gate_optimizer", "create")
        ],
        "takes settings and shapes that ``fit`` has checked",
    ),
    "lsg_jax.data.augment.normalize": "takes images and constants that ``fit`` or a run has checked",
    "lsg_jax.analysis.classifier.predict": "takes what ``check`` returned",
}


@pytest.fixture(scope="module")
def folder(runs, tmp_path_factory):
    """Files and folders that are not what they seem."""
    folder = tmp_path_factory.mktemp("ünï cödé with spaces")
    shutil.copytree(runs / "learned", folder / "a_run")
    shutil.copytree(runs / "none", folder / "plain")
    run = lsg_jax.load_run(runs / "learned")
    lsg_jax.save_run(dataclasses.replace(run, history=run.history[:1]), folder / "unfinished")
    lsg_jax.save_run(dataclasses.replace(run, history=[], environment={}), folder / "imported")
    (folder / "file").write_text("not a folder")
    (folder / "empty").mkdir()
    for link, target in (("link", "file"), ("loop", "loop"), ("dangling", "nothing")):
        (folder / link).symlink_to(target)
    (folder / "half-saved" / "checkpoints").mkdir(parents=True)
    shutil.copytree(runs / "learned", folder / "cut")
    for file in (folder / "cut").rglob("*"):
        if file.is_file() and "checkpoints" in file.parts and file.stat().st_size > 100:
            os.truncate(file, 50)
    half = folder / "half" / "cifar10" / "3.0.2"
    half.mkdir(parents=True)
    (half / "dataset_info.json").write_text('{"name": "cifar10", "spl')
    for name in ("cut-records", "no-records"):
        prepare(folder / name)
    (records,) = (folder / "cut-records").rglob("*train.array_record*")
    os.truncate(records, records.stat().st_size // 2)
    (records,) = (folder / "no-records").rglob("*test.array_record*")
    records.unlink()
    for name in ("pickle.th", "pickle.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Trap()))
    with zipfile.ZipFile(folder / "escape.pt", "w") as archive:
        archive.writestr("../../escaped", "x")
    with zipfile.ZipFile(folder / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(10**7))
    content = bytearray((folder / "escape.pt").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 99  # the version of zip that it takes to read it
    (folder / "newer.pt").write_bytes(content)
    (folder / "cut.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")
    return folder


class Trap:
    """Writes a file where it is unpickled."""

    def __reduce__(self):
        return Path.write_text, (Path("trapped"), "code was run")


def offline(*_, **__):
    raise urllib.error.URLError("no network")


def snapshot(folder):
    files = {path: path.lstat() for path in folder.rglob("*") if path.name != "lock"}
    return {path: (found.st_size, found.st_mtime_ns) for path, found in files.items()}


@pytest.mark.filterwarnings("ignore:.*found in sys.modules after import")
@pytest.mark.parametrize(("command", "arguments", "said"), COMMANDS)
def test_a_command_says_in_one_line_what_is_wrong(command, arguments, said, folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(urllib.request, "urlopen", offline)
    page = "".join(f"<!-- {name} -->\n<!-- /{name} -->\n" for name in ("commands", "cpu", "metrics"))
    Path("README.md").write_text(page)
    before, stderr = snapshot(folder), io.StringIO()
    words = [word.replace("{tmp}", str(folder)) for word in arguments.split()]
    monkeypatch.setattr(sys, "argv", [command.replace(".", "/"), *words])
    quiet = contextlib.redirect_stdout(io.StringIO())
    with quiet, contextlib.redirect_stderr(stderr), pytest.raises(SystemExit) as stop:
        runpy.run_module(command, run_name="__main__")
    lines = stderr.getvalue().splitlines()
    assert stop.value.code == 2
    assert lines[-1].startswith("error: ")
    assert said in lines[-1]
    assert len(lines) == 1
    assert snapshot(folder) == before
    assert list(tmp_path.iterdir()) == [tmp_path / "README.md"]
    assert Path("README.md").read_text() == page


def test_every_command_is_in_the_table():
    root = Path(__file__).parents[1]
    modules = {
        f"{file.parent.name}.{file.stem}"
        for name in ("experiments", "benchmarks")
        for file in (root / name).glob("*.py")
        if '__name__ == "__main__"' in file.read_text()
    }
    workers = {"benchmarks.jax_worker", "benchmarks.torch_worker"}  # which benchmarks start, and no user
    assert {command for command, *_ in COMMANDS} == modules - workers | {"tests.faults"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            "digits --epochs=1 --output={tmp}/read/new",
            "read cannot be written (Permission denied); choose another output",
        ),
        ("publish {run} {tmp}/read/copy", "read cannot be written (Permission denied); choose another output folder"),
        ("ownership {run} {run} --output={tmp}/read/counts.json", "read cannot be written (Permission denied)"),
        ("masking --run={tmp}/shut/run", "shut/run'; choose another path, or have its owner permit it"),
        ("digits --epochs=1 --init={tmp}/shut/run", "shut/run'; choose another path, or have its owner permit it"),
        ("cifar10 --data-dir={tmp}/shut", "Permission denied: '{tmp}/shut/cifar10"),
    ],
)
def test_a_command_names_a_folder_that_it_has_no_permission_for(runs, arguments, said, tmp_path):
    for name, mode in (("read", 0o555), ("shut", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(mode)
    command, *words = arguments.format(tmp=tmp_path, run=runs / "learned").split()
    mortal = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    found = subprocess.run(
        [*mortal, sys.executable, "-m", f"experiments.{command}", *words], cwd=tmp_path, capture_output=True, text=True
    )
    assert found.returncode == 2
    (line,) = found.stderr.splitlines()
    assert line.startswith("error: ")
    assert said.format(tmp=tmp_path) in line
    for name in ("read", "shut"):
        (tmp_path / name).chmod(0o755)
        assert not list((tmp_path / name).iterdir())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_names_what_it_refuses(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    function, said = FUNCTIONS[name]
    with pytest.raises(ValueError, match=said):
        function()
    assert not list(tmp_path.iterdir())


def documented():
    """What docs/api.md names, and what the modules that it names define, by name."""
    page = (Path(__file__).parents[1] / "docs" / "api.md").read_text()
    for name in re.findall(r"^::: (.+)$", page, re.MULTILINE):
        thing = pkgutil.resolve_name(name)
        yield name, thing
        for part, each in vars(thing).items():
            if getattr(each, "__module__", None) == name and not part.startswith("_"):
                yield f"{name}.{part}", each


def test_every_public_function_is_in_the_table():
    functions = {name: each for name, each in documented() if callable(each) and not inspect.isclass(each)}
    assert len(functions) > 80
    refused = {operator.attrgetter(name.partition(":")[0])(sys.modules[__name__]) for name in FUNCTIONS}
    assert {name for name, each in functions.items() if each not in refused} == EXEMPT.keys()


@pytest.mark.parametrize(
    ("images", "labels", "said"),
    [
        (np.zeros((2, 9, 9, 1), np.uint8), None, r"\(2, 9, 9, 1\)"),
        (np.zeros((0, 16, 16, 1), np.uint8), None, "N > 0"),
        (np.zeros((16, 16, 1), np.uint8), None, r"\(16, 16, 1\)"),
        (np.zeros((2, 16, 16, 1), np.int32), None, "int32"),
        (np.zeros((2, 16, 16, 1), object), None, "object"),
        (np.full((2, 16, 16, 1), np.nan), None, "nan"),
        (np.full((2, 16, 16, 1), 255.0), None, "255.0"),
        ("picture.png", None, r"got shape \(\)"),
        (np.zeros((2, 16, 16, 1), np.uint8), [0], r"\(1,\)"),
        (np.zeros((2, 16, 16, 1), np.uint8), [0, 10], r"\[0, 9\], got 0 to 10"),
        (np.zeros((2, 16, 16, 1), np.uint8), [-1, 0], "got -1 to 0"),
        (np.zeros((2, 16, 16, 1), np.uint8), [0.0, 1.0], "float64"),
        (np.zeros((2, 16, 16, 1), np.uint8), ["cat", "dog"], "<U3"),
    ],
)
def test_a_run_names_what_it_refuses(runs, images, labels, said):
    run = lsg_jax.load_run(runs / "learned")
    with pytest.raises(ValueError, match=said):
        run.logits(images, labels)
    for function in (run.features, run.feature_maps) if labels is None else ():
        with pytest.raises(ValueError, match=said):
            function(images)


@pytest.mark.parametrize(
    "name", ["pickle.th", "pickle.safetensors", "escape.pt", "bomb.pt", "cut.safetensors", "file", "nothing.pt"]
)
def test_what_is_imported_is_never_run_nor_unpacked(folder, name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    before = snapshot(folder.parent)
    with pytest.raises((ValueError, OSError), match=re.escape(name)):
        lsg_jax.import_torch(folder / name)
    assert snapshot(folder.parent) == before
    assert not list(tmp_path.iterdir())


def forge(checkpoint, change):
    """Changes a checkpoint's ``run`` item, and its digest with it."""
    file, digests = checkpoint / "run" / "metadata", checkpoint / "digests.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    found = json.loads(digests.read_text()) | {"run/metadata": hashlib.sha256(file.read_bytes()).hexdigest()}
    digests.write_text(json.dumps(found))


def with_data(**changes):
    return lambda run: run | {"data": run["data"] | changes}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda run: [], "20 is damaged .*its run item is no dictionary"),
        (lambda run: None, "20 is damaged .*its run item is no dictionary"),
        (lambda run: {name: run[name] for name in run if name != "data"}, "20 is damaged .* has no data, or a strange"),
        (lambda run: run | {"data": "abc"}, "has no data, or"),
        (lambda run: run | {"config": "resnet20"}, "has no config, or"),
        (lambda run: run | {"history": "x"}, "has no history, or"),
        (lambda run: run | {"history": ["x"]}, "has no history, or"),
        (lambda run: run | {"environment": []}, "has no environment, or"),
        (lambda run: run | {"seconds": "long"}, "has no seconds, or"),
        (with_data(class_names="0123456789"), "has no class_names, or"),
        (with_data(image_shape=[16, 16]), "has no image_shape, or"),
        (with_data(image_shape=[16, -16, 1]), "has no image_shape, or"),
        (with_data(mean="abc"), "has no mean, or"),
        (with_data(std=[0.5, 0.5]), "has no std, or"),
        (lambda run: run | {"config": run["config"] | {"data": "abc"}}, "not a configuration of this version"),
        (
            lambda run: run | {"config": run["config"] | {"seed": "x"}},
            "not a configuration of this version: --seed must",
        ),
    ],
)
def test_a_checkpoint_of_foreign_content_is_named(runs, change, said, tmp_path):
    shutil.copytree(runs / "learned", tmp_path / "run")
    forge(tmp_path / "run" / "checkpoints" / "20", lambda run: run)
    assert len(lsg_jax.load_run(tmp_path / "run").history) == 4
    forge(tmp_path / "run" / "checkpoints" / "20", change)
    with pytest.raises(ValueError, match=said):
        lsg_jax.load_run(tmp_path / "run")


def test_a_checkpoint_that_speaks_of_huge_images_fills_no_memory(runs, tmp_path):
    shutil.copytree(runs / "learned", tmp_path / "run")
    forge(tmp_path / "run" / "checkpoints" / "20", with_data(image_shape=[10**6, 10**6, 1]))
    with pytest.raises(
        ValueError, match=r"images must be \[N, 1000000, 1000000, 1\] with N > 0, got shape \(6, 8, 8, 3\)"
    ):
        lsg_jax.load_run(tmp_path / "run").logits(IMAGES)


def test_training_goes_on_from_the_checkpoint_before_one_of_foreign_content(whole_run, tmp_path, capsys):
    folder, _ = whole_run
    shutil.copytree(folder, tmp_path / "run")
    forge(tmp_path / "run" / "checkpoints" / "12", with_data(mean="abc"))
    capsys.readouterr()
    loop.fit(*tiny_run(), tmp_path / "run")
    assert "checkpoints/12 is damaged" in (said := capsys.readouterr()).err
    assert "resuming after epoch 3, step 9" in said.out
    forge(tmp_path / "run" / "checkpoints" / "12", with_data(colour="red"))
    with pytest.raises(ValueError, match=r"was trained on other data \(colour differ\); choose another --output"):
        loop.fit(*tiny_run(), tmp_path / "run")
