"""The command line: each wrong input gives one line and exit status 2, and leaves nothing on disk."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import commands, cpu, metrics, seeds
from experiments import claims, cli, digits, gates, markdown, publish, results, summarize
from lsg_jax import load_run, save_run
from lsg_jax.config import Config


def run(monkeypatch, *arguments, default=digits.DEFAULT):
    monkeypatch.setattr(sys, "argv", ["digits", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main(lambda: cli.train(default, "A test."))
    return stop.value.code


def test_a_terminal_without_boxes_gets_a_plain_line(tmp_path):
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "experiments.digits", "--epochs=0"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: --epochs must be a whole number of at least 1, got 0; see --help\n"


def test_an_output_that_is_a_file_or_another_folder_is_refused(monkeypatch, capsys, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine")
    assert run(monkeypatch, "--output", file) == 2
    assert "is a file, not a folder" in capsys.readouterr().err
    assert run(monkeypatch, "--output", tmp_path) == 2
    assert "holds no run" in capsys.readouterr().err
    assert file.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_missing_data_says_what_to_do(monkeypatch, capsys, tmp_path):
    def offline(*_, **__):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", offline)
    assert run(monkeypatch, "--data-dir", tmp_path / "data", "--output", tmp_path / "run", default=Config()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "data" / "cifar10" / "3.0.2" / "dataset_info.json") in line
    assert "--data-dir" in line
    assert "experiments.digits" in line
    assert not list(tmp_path.iterdir())


def test_help_names_every_option(monkeypatch, capsys):
    assert run(monkeypatch, "--help") == 0
    text = capsys.readouterr().out
    for name in digits.DEFAULT.settings():
        if name != "dataset":
            assert f"--{name}" in text


def test_summarize_refuses_what_is_no_run(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["command", "--name=t", str(tmp_path / "none")])
    with pytest.raises(SystemExit) as stop:
        cli.main(lambda: summarize.write(cli.parse(summarize.Options, "A test.")))
    assert stop.value.code == 2
    assert "there is no run folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_network_that_was_trained_elsewhere_is_published(runs, tmp_path):
    save_run(dataclasses.replace(load_run(runs / "none"), history=[], environment={}), tmp_path / "imported")
    publish.publish(publish.Options(tmp_path / "imported", tmp_path / "copy"))
    assert load_run(tmp_path / "copy").imported


def test_a_run_is_trained_shown_and_gathered(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "README.md").write_text("<!-- t -->\n<!-- /t -->\n")
    for seed in (0, 1):
        options = ["--model=tiny", "--epochs=2", "--train-examples=128", f"--seed={seed}", f"--output=~/run{seed}"]
        monkeypatch.setattr(sys, "argv", ["digits", *options])
        monkeypatch.setenv("HOME", str(tmp_path))
        cli.train(digits.DEFAULT, "A test.")
    text = capsys.readouterr().out
    assert "gate density" in text
    for picture in ("figures/gate.png", "figures/curves.png"):
        assert (tmp_path / "run0" / picture).read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(sys, "argv", ["gates", "--run=~/run0", "--against=~/run1", "--output=~/both"])
    claims.main(gates.measure, "A test.")
    assert (tmp_path / "both" / "gates.png").exists()
    assert not (tmp_path / "~").exists()
    summarize.write(summarize.Options((tmp_path / "run0", tmp_path / "run1"), "t"))
    lines = [json.loads((tmp_path / f"run{s}" / "metrics.jsonl").read_text().splitlines()[-1]) for s in (0, 1)]
    accuracies = [line["test_accuracy"] for line in lines]
    assert f"{np.mean(accuracies):.4f} ± {np.std(accuracies, ddof=1):.4f}" in (tmp_path / "README.md").read_text()
    with pytest.raises(ValueError, match="named twice"):
        summarize.gather((tmp_path / "run0", tmp_path / "run0"), ("gate",))
    capsys.readouterr()


def test_the_pages_show_the_committed_results():
    root = Path(__file__).parents[1]
    contents = {file.stem: json.loads(file.read_text()) for file in (root / "results").glob("*.json")}
    shown = {name: summarize.table(content) for name, content in contents.items() if "groups" in content}
    assert shown
    for benchmark in (commands, cpu, metrics, seeds):
        name = benchmark.__name__.split(".")[-1]
        measured = json.loads((root / "results" / "benchmarks" / f"{name}.json").read_text())
        shown[name] = benchmark.table(measured)
    for name, table in shown.items():
        page = markdown.page_of(name, root).read_text()
        assert markdown.insert(page, name, table) == page


def test_default_folder_names_what_differs():
    assert str(cli.default_folder(digits.DEFAULT, digits.DEFAULT)) == "runs/digits-learned"
    changed = dataclasses.replace(digits.DEFAULT, seed=3, gate="none")
    assert str(cli.default_folder(changed, digits.DEFAULT)) == "runs/digits-none-seed=3"


def test_configuration_survives_json():
    assert Config.from_json(digits.DEFAULT.to_json()) == digits.DEFAULT
    with pytest.raises(ValueError, match="not a configuration"):
        Config.from_json({"model": "resnet20"})


@pytest.mark.slow
def test_digits_default_learns_a_sparse_gate(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["digits", "--output", str(tmp_path)])
    cli.main(lambda: cli.train(digits.DEFAULT, "A test."))
    run_ = load_run(tmp_path)
    assert run_.history[-1]["test_accuracy"] >= 0.98
    assert float(np.mean(run_.gate)) <= 0.12


def test_a_stated_command_names_no_folder_of_the_machine():
    config = Config(init=Path("/home/someone/resnet20.th"))
    assert "--init=resnet20.th " in summarize.command(config)
    assert "init resnet20.th" in results._settings(config)
    assert "--init" not in summarize.command(Config())


@pytest.mark.skipif(sys.platform != "linux", reason="the tunables are those of Linux's C library")
@pytest.mark.parametrize(
    ("given", "scrubbed", "starts"),
    [
        ("", False, ["", "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"]),
        (
            "glibc.malloc.check=0",
            False,
            ["glibc.malloc.check=0", "glibc.malloc.check=0:glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"],
        ),
        ("glibc.malloc.hugetlb=0", False, ["glibc.malloc.hugetlb=0"]),
        ("", True, ["", "glibc.malloc.arena_max=2:glibc.malloc.hugetlb=1"]),
    ],
)
def test_a_command_starts_once_more_with_malloc_tuned(tmp_path, given, scrubbed, starts):
    told = tmp_path / "told"
    lines = ["import os, sys", f"open({str(told)!r}, 'a').write(os.environ.get('GLIBC_TUNABLES', '') + '\\n')"]
    lines += ["os.environ.pop('GLIBC_TUNABLES', None)"] if scrubbed else []
    lines += ["sys.warnoptions == ['ignore'] or sys.exit('options are lost')"]
    (tmp_path / "sitecustomize.py").write_text("\n".join(lines))
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "GLIBC_TUNABLES": given}
    command = [sys.executable, "-W", "ignore", "-m", "experiments.reproduce", "--nosuch"]
    done = subprocess.run(command, env=environment, cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert told.read_text().splitlines() == starts


def test_a_full_disk_is_said_in_one_line(capsys, monkeypatch):
    monkeypatch.setattr("sys.unraisablehook", sys.unraisablehook)

    def fill():
        raise OSError(errno.ENOSPC, "No space left on device", "runs/x/metrics.jsonl")

    with pytest.raises(SystemExit) as stop:
        cli.main(fill)
    assert stop.value.code == 2
    said = "error: [Errno 28] No space left on device: 'runs/x/metrics.jsonl'; make room and repeat the same command\n"
    assert capsys.readouterr().err == said


def raised(error):
    raise error


@pytest.mark.parametrize(
    ("fail", "several", "status", "said"),
    [
        (lambda: np.zeros(2**58), False, 2, "out of memory (Unable to allocate 2.00 EiB "),
        (lambda: raised(MemoryError()), False, 2, "out of memory (MemoryError); in training, try a smaller --batch-s"),
        (lambda: jax.block_until_ready(jnp.zeros(2**45)), False, 2, "out of memory (RESOURCE_EXHAUSTED: "),
        (lambda: raised(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: 9")), True, 2, "out of memory (RESOURCE_EXHA"),
        (lambda: raised(jax.errors.JaxRuntimeError("INTERNAL: 9")), True, 1, "JAX stopped (INTERNAL: 9); if another "),
    ],
)
def test_out_of_memory_is_said_in_one_line(capsys, monkeypatch, fail, several, status, said):
    monkeypatch.setattr("sys.unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: several)
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as stop:
        cli.main(fail)
    assert stop.value.code == status
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {said}")


@pytest.mark.parametrize("asked", ["cuda", "nothing-like-this"])
def test_devices_that_are_not_there_are_said_in_one_line(tmp_path, asked):
    if asked == "cuda" and jax.default_backend() == "gpu":
        pytest.skip("there is such a device")
    environment = os.environ | {"JAX_PLATFORMS": asked}
    command = [sys.executable, "-m", "experiments.digits", "--model=resnet8", "--epochs=1"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: JAX finds no device for JAX_PLATFORMS={asked}; leave that")
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())


def test_what_else_stops_jax_in_one_process_is_raised(monkeypatch):
    monkeypatch.setattr("sys.unraisablehook", sys.unraisablehook)
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: broken"):
        cli.main(lambda: raised(jax.errors.JaxRuntimeError("INTERNAL: broken")))


def test_of_what_cannot_be_raised_only_late_writers_are_not_shown():
    shown = []
    for text in ("Event loop is closed", "another"):
        cli._unraisable(shown.append, SimpleNamespace(exc_value=RuntimeError(text)))
    assert [str(each.exc_value) for each in shown] == ["another"]
