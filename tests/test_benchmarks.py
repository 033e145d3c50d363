"""The benchmarks, with workers that tell the seconds they are given; speed itself is never asserted."""

import json
import sys

import pytest

from benchmarks import commands, cpu, results, turns
from lsg_jax import cache

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
    found = FOUND | {"machine": {"cores": 2}}
    table = cpu.table({"comparisons": dict.fromkeys(cpu.NAMES, found)})
    for title in (cpu.TITLES["evaluation"], cpu.OWN_TITLES["huge-pages"]):
        assert cells(table, title)[:4] == [title, "4.0 images/s", "2.0 images/s", "3.00"]
    assert cells(table, "peak memory of that epoch (PyTorch's DataLoader process not counted)")[3] == "0.25"
    assert commands.row("digits", [1.0, 4.0, 2.0], [4.0, 4.0, 3.0]) == ("digits", "2.0", "4.0", "0.67")


def test_a_file_tells_revision_and_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("<!-- commands -->\n<!-- /commands -->\n")
    (tmp_path / "results" / "benchmarks").mkdir(parents=True)
    seconds = {"digits": [1.0], "digits before": [2.0], "start": [3.0]}
    monkeypatch.setattr(commands, "measure", lambda options: seconds)
    monkeypatch.setattr(sys, "argv", ["commands", "--before=abc"])
    commands.main()
    written = json.loads((tmp_path / "results" / "benchmarks" / "commands.json").read_text())
    assert written == results.origin() | {
        "command": "python -m benchmarks.commands --before=abc --pairs=5",
        "before": "abc",
        "seconds": seconds,
    }


def test_machines_with_another_processor_differ(monkeypatch):
    here = results.origin()["machine"]
    monkeypatch.setattr(cache, "processor", lambda: "another")
    assert results.origin()["machine"] != here


def test_a_comparison_keeps_its_command_its_revision_and_its_machine(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("<!-- cpu -->\n<!-- /cpu -->\n")
    (tmp_path / "results" / "benchmarks").mkdir(parents=True)
    monkeypatch.setattr(cpu, "measure", lambda options: ((name, FOUND) for name in chosen))

    def kept(revision, cores, *arguments):
        monkeypatch.setattr(results, "origin", lambda: {"revision": revision, "machine": {"cores": cores}})
        monkeypatch.setattr(sys, "argv", ["cpu", *arguments])
        cpu.main()
        return json.loads((tmp_path / "results" / "benchmarks" / "cpu.json").read_text())

    chosen = ("matrix-product", "evaluation", "epoch")
    before = kept("abc", 2)
    chosen = ("evaluation",)
    after = kept("def", 64, "--pairs=7", "--only=evaluation")
    command = "python -m benchmarks.cpu --pairs=7 --steps=10 --loader-workers=1 --only=evaluation"
    new = FOUND | {"command": command, "revision": "def", "machine": {"cores": 64}}
    assert after == {"comparisons": before["comparisons"] | {"evaluation": new}}
    old = {"command": "python -m benchmarks.cpu --pairs=5 --steps=10 --loader-workers=1", "revision": "abc"}
    assert after["comparisons"]["epoch"] == FOUND | old | {"machine": {"cores": 2}}
    page = (tmp_path / "README.md").read_text()
    assert cells(page, cpu.TITLES["epoch"])[4:] == ["4", "1.00"]
    assert cells(page, cpu.TITLES["evaluation"])[4:] == ["4", ""]


@pytest.mark.parametrize("script", ["jax_worker", "torch_worker"])
@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("raise ValueError('no such task')", "status 1: ValueError: no such task"),
        ("print('hello')", "status 0: hello"),
        ("raise SystemExit(3)", "status 3: it said nothing"),
        ("import no_such_torch as torch", "status 1: ModuleNotFoundError: No module named 'no_such_torch'"),
    ],
)
def test_a_worker_that_does_not_start_says_why(python, program, script, why):
    said = f"{script} failed at product ({why})"
    with pytest.raises(ValueError, match="failed") as failed, turns.worker(script, python(program), task="product"):
        pass
    assert str(failed.value) == said


def test_a_worker_without_pytorch_says_where_it_is_from(python):
    program = python("raise ModuleNotFoundError(\"No module named 'torch'\")")
    with pytest.raises(ValueError, match=r"No module named 'torch'.*; PyTorch comes with pip install -e"):
        turns.measure({"eager": {"script": "torch_worker", "python": program, "task": "epoch"}}, 1)


def test_of_several_workers_the_one_that_does_not_start_is_named_and_the_others_end(python, tmp_path):
    ended = f"import atexit, pathlib\natexit.register(pathlib.Path({str(tmp_path / 'ended')!r}).touch)\n"
    fine = {"script": "jax_worker", "python": python(ended + WORKER), "task": "fake", "arguments": {"seconds": [1.0]}}
    lost = fine | {"script": "torch_worker", "python": "/bin/false"}
    with pytest.raises(ValueError, match=r"graphs: torch_worker failed at fake \(status 1: it said nothing\)"):
        turns.measure({"ours": fine, "graphs": lost}, 1)
    assert (tmp_path / "ended").is_file()


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
