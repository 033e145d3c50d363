"""The benchmarks, with workers that tell the seconds they are given; speed itself is never asserted."""

import sys

import pytest

from benchmarks import commands, cpu, turns

# Serves a task by a clock of its own: the first run takes a thousand seconds, the others what the order says.
WORKER = """
import json, sys, time
from benchmarks import worker

clock = [0.0]
time.perf_counter = lambda: clock[0]

def task(seconds):
    left = iter([1000.0, *seconds])

    def run():
        clock[0] += next(left)

    return run

worker.serve({"fake": task}, json.loads(sys.argv[-1]), "fake 1")
"""
# Reads no turn, so that the next one is told to a pipe without a reader.
DEAD = 'import os, signal, sys\nos.close(0)\nprint(\'{"version": "fake 1"}\', flush=True)\n'
FOUND = {"ours": 4.0, "theirs": 2.0, "pair_ratios": [3.0, 1.0, 4.0], "flops": 1e9}
FOUND |= {"peak_bytes": {"ours": 2**20, "theirs": 2**22}}


@pytest.fixture
def python(tmp_path):
    """Returns a function that makes an interpreter which runs one program, whatever it is asked for."""

    def make(program):
        file = tmp_path / "python"
        file.write_text(f"#!{sys.executable}\n{program}")
        file.chmod(0o755)
        return str(file)

    return make


def cells(table, title):
    (line,) = (line for line in table.splitlines() if line.startswith(f"| {title} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_first_turn_does_not_count():
    tasks = {"ours": iter([100.0, 1.0, 2.0]).__next__, "theirs": iter([200.0, 3.0, 4.0]).__next__}
    assert turns.in_turn(tasks, 2) == {"ours": [1.0, 2.0], "theirs": [3.0, 4.0]}


def test_a_comparison_is_of_turns_after_the_first_and_above_1_where_ours_is_faster(python):
    order = {"script": "jax_worker", "python": python(WORKER), "task": "fake"}
    sides = ({"arguments": {"seconds": seconds}} for seconds in ([1.0, 4.0, 2.0], [3.0, 4.0, 8.0]))
    found = turns.compare(*(order | side for side in sides), 3, 8.0)
    assert found["pair_ratios"] == [3.0, 1.0, 4.0]
    assert (found["ours"], found["theirs"], found["versions"]) == (4.0, 2.0, ["fake 1", "fake 1"])


def test_tables_show_the_median_of_the_turns_ratios():
    table = cpu.table({"comparisons": dict.fromkeys(cpu.TITLES, FOUND)})
    title = cpu.TITLES["evaluation"]
    assert cells(table, title)[:4] == [title, "4.0 images/s", "2.0 images/s", "3.00"]
    assert cells(table, "peak memory of that epoch (PyTorch's DataLoader process not counted)")[3] == "0.25"
    assert commands.row("digits", [1.0, 4.0, 2.0], [4.0, 4.0, 3.0]) == ("digits", "2.0", "4.0", "0.67")


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
