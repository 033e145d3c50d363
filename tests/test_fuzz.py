"""Any command line is either understood, or answered in one line with status 2: never a traceback."""

import contextlib
import io
import sys
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import commands, cpu, gpu, metrics, profile, turns
from experiments import attacks, claims, cli, ownership, publish, report, reproduce, results, summarize, tradeoff
from lsg_jax.config import Config
from tests.faults import __main__ as faults

OPTIONS: list[Any] = [
    Config,
    *(attacks.Options, claims.Options, report.Options, publish.Options, ownership.Options),
    *(tradeoff.Options, results.Options, summarize.Options, reproduce.Options),
    *(commands.Options, cpu.Options, gpu.Options, metrics.Options, profile.Options, turns.Options, faults.Options),
]


def names(kind):
    hints = get_type_hints(kind)
    for field in fields(kind):
        inner = hints[field.name]
        yield from names(inner) if is_dataclass(inner) else (f"--{field.name.replace('_', '-')}",)


VALUES = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=12),
    st.sampled_from(["", "None", "True", "learned", "fixed", "joint", "resnet8", "1", "0.5", "-", "--", "=", "/"]),
)


@st.composite
def command_lines(draw):
    kind = draw(st.sampled_from(OPTIONS))
    option = st.sampled_from(sorted(names(kind)))
    word = st.one_of(st.builds("{}={}".format, option, VALUES), option, VALUES, st.text(max_size=8).map("--{}".format))
    return kind, draw(st.lists(word, max_size=6))


def understood_or_refused(command_line):
    kind, words = command_line
    default = (Config(),) if kind is Config else ()

    def command():
        options = cli.parse(kind, "A test.", *default)
        if kind is Config:
            options.resolve(1437, 10, 64)

    status, stderr = 0, io.StringIO()
    quiet = contextlib.redirect_stdout(io.StringIO())
    with mock.patch.object(sys, "argv", ["command", *words]), quiet, contextlib.redirect_stderr(stderr):
        try:
            cli.main(command)
        except SystemExit as stop:
            status = stop.code or 0
    said = stderr.getvalue()
    assert (status, said) == (0, "") or (status == 2 and said.startswith("error: ") and said.count("\n") == 1)


@settings(max_examples=100, deadline=None)
@given(command_lines())
def test_a_hundred_command_lines(command_line):
    understood_or_refused(command_line)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None)
@given(command_lines())
def test_two_thousand_command_lines(command_line):
    understood_or_refused(command_line)
