"""The pages: links lead somewhere, commands exist and take the options shown, programs run, and the site is built."""

import dataclasses
import importlib
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import get_type_hints

import jax
import numpy as np
import pytest

import lsg_jax
from experiments import claims, markdown, stored
from lsg_jax import data, models
from lsg_jax.config import Config

ROOT = Path(__file__).parents[1]
PAGES = [*(ROOT / page for page in markdown.PAGES), *sorted((ROOT / "docs").glob("*.md"))]
LINKED = [*PAGES, ROOT / "results" / "README.md"]
# Every address outside the repository that a page leads to; no test opens one.
ADDRESSES = {
    "https://arxiv.org/abs/1512.03385",
    "https://arxiv.org/abs/2007.08194",
    "https://colab.research.google.com/assets/colab-badge.svg",
    "https://github.com/NeverGiveU/NNInterpretation",
    "https://github.com/akamaster/pytorch_resnet_cifar10",
}
COLAB = "https://colab.research.google.com/github/"  # where it leads, the notebook's test tells


def anchors(page):
    heads = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head).strip().lower().replace(" ", "-") for head in heads}


def options(kind):
    for name, hint in get_type_hints(kind).items():
        if dataclasses.is_dataclass(hint):
            yield from options(hint)
        else:
            yield name.replace("_", "-")


def commands(page):
    for line in page.read_text().replace("\\\n", " ").splitlines():
        for shown in re.findall(r"`([^`]*)`", line) or [line]:
            if found := re.search(r"python -m ((?:experiments|benchmarks)\.\w+)(.*)", shown.split("  #")[0]):
                yield found[1], found[2]


def test_there_are_pages_and_commands_to_test():
    assert len(PAGES) > 5
    assert len(list(commands(ROOT / "README.md"))) > 20


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_addresses_outside_are_the_known_ones():
    shown = {each for page in LINKED for each in re.findall(r"\b\w+://[^\s)<>`\"]*", page.read_text())}
    assert {each for each in shown if not each.startswith(COLAB)} == ADDRESSES


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist_and_take_what_is_shown(page):
    for name, arguments in commands(page):
        module = importlib.import_module(name)
        if name in ("experiments.cifar10", "experiments.digits"):
            known = set(options(Config))
        else:
            known = set(options(getattr(module, "Options", claims.Options)))
        if name == "benchmarks.seeds":
            known = {"pairs"}
        for option in (part for part in shlex.split(arguments) if part.startswith("--")):
            assert option.removeprefix("--").partition("=")[0] in known, (name, option)


def test_the_makefile_has_the_targets_that_are_shown():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    blocks = [re.findall(r"```sh\n(.*?)```|`(make [^`]*)`", page.read_text(), re.DOTALL) for page in PAGES]
    lines = [line for page in blocks for block in page for line in "".join(block).replace("\n> ", " ").splitlines()]
    words = [shlex.split(line.split("#")[0])[1:] for line in lines if line.startswith("make ")]
    shown = {word for each in words for word in each if "=" not in word}
    assert {"test", "reproduce"} <= shown
    assert shown <= targets


def test_the_programs_shown_run(runs, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits-learned").symlink_to(runs / "learned")
    variables = models.create("resnet8", 10).init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32))
    run = dataclasses.replace(
        lsg_jax.load_run(runs / "learned"),
        config=Config(model="resnet8"),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        image_shape=(32, 32, 3),
    )
    lsg_jax.export_torch(run, "resnet20.safetensors")
    programs = [each for page in PAGES for each in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)]
    programs = [each for each in programs if not each.startswith("--8<--")]
    assert len(programs) == 3
    digits = data.load("digits")
    few = {
        f"{name}_{part}": getattr(split, part)[split.labels < 3][:150]
        for name, split in (("train", digits.train), ("test", digits.test))
        for part in ("images", "labels")
    }
    np.savez("mine.npz", **few)
    for program in programs:
        exec(program.replace("resnet20", "resnet8").replace("resnet8.safe", "resnet20.safe").replace("=31", "=2"), {})
    assert lsg_jax.load_run("runs/public").config.model == "resnet8"
    assert Path("copy.safetensors").exists()
    mine = lsg_jax.load_run("runs/mine-learned")
    np.testing.assert_allclose(mine.mean, few["train_images"].mean() / 255, rtol=1e-6)
    assert len(mine.history) == 2
    assert stored.read(Path("runs/mine-learned/report.json"))["networks"] == ["mine-learned", "mine-none"]
    assert "a program of its own, on mine" in Path("runs/mine-learned/report.html").read_text()


def test_the_site_is_built_and_has_what_the_docstrings_say(tmp_path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    reference = (tmp_path / "api.html").read_text()
    for name in ("gates.project", "load_run", "metrics.ambiguity.phi", "training.steps.lsg_update"):
        assert f'id="lsg_jax.{name}"' in reference
    for path in (ROOT / "lsg_jax" / "analysis").glob("[a-z]*.py"):
        assert f'id="lsg_jax.analysis.{path.stem}' in reference
    assert "Solves equation 2" in reference
    assert ".. " not in reference
    assert "own_model.py" not in (tmp_path / "own-model.html").read_text().split("<pre>")[1]
    assert "gates.projection()" in (tmp_path / "own-model.html").read_text()
