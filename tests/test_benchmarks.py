"""The benchmarks, with workers that tell the seconds they are given; speed itself is never asserted."""

import sys

import pytest

from benchmarks import turns

# Reads no turn, so that the next one is told to a pipe without a reader.
DEAD = 'import os, signal, sys\nos.close(0)\nprint(\'{"version": "fake 1"}\', flush=True)\n'


@pytest.fixture
def python(tmp_path):
    """Returns a function that makes an interpreter which runs one program, whatever it is asked for."""

    def make(program):
        file = tmp_path / "python"
        file.write_text(f"#!{sys.executable}\n{program}")
        file.chmod(0o755)
        return str(file)

    return make


@pytest.mark.parametrize("script", ["jax_worker", "torch_worker"])
@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise ValueError('no such task')", "status 1: ValueError: no such task"),
        ("print('hello')", "status 0: hello"),
        ("raise SystemExit(3)", "status 3: it said nothing"),
    ],
)
def test_a_worker_that_does_not_start_says_why_and_pytorchs_where_it_is_from(python, program, script, why):
    said = f"{script} failed at product ({why})" + (turns.TORCH if script == "torch_worker" else "")
    with pytest.raises(ValueError, match="failed") as failed, turns.worker(script, python(program), task="product"):
        pass
    assert str(failed.value) == said


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ("raise SystemExit('out of memory')", "status 1: out of memory"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal 9, Killed: it said nothing"),
    ],
)
def test_a_worker_that_dies_between_turns_says_why(python, end, why):
    with (
        pytest.raises(ValueError, match="failed") as failed,
        turns.worker("torch_worker", python(DEAD + end), task="steps") as (_, turn),
    ):
        turn()
    assert str(failed.value) == f"torch_worker failed at steps ({why})"
