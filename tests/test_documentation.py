"""The pages: links lead somewhere, and the commands shown are ones that exist, with options that they take."""

import dataclasses
import importlib
import re
import shlex
from pathlib import Path
from typing import get_type_hints

import pytest

from experiments import claims
from lsg_jax.config import Config

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


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
