"""Some of the faults, once; all of them many times by ``make test-faults``."""

import contextlib
import fcntl
import json
import resource
import socket
from datetime import UTC, datetime

import numpy as np
import pytest

from experiments import markdown
from lsg_jax.run import environment
from tests.faults import __main__ as harness
from tests.faults import faults
from tests.faults.faults import FAULTS, Fault, Whole


@pytest.fixture
def one_whole_run(tmp_path_factory, testrun_uid, monkeypatch):
    """The run that nothing interrupts, made once for all workers of pytest-xdist."""
    shared = tmp_path_factory.getbasetemp().parent / f"whole-{testrun_uid}"
    shared.mkdir(exist_ok=True)
    with (shared / "seconds").open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        if not (seconds := file.read()):
            seconds = json.dumps(faults.uninterrupted(shared / "run")[1:])
            file.write(seconds)
    monkeypatch.setattr(faults, "whole", lambda: Whole(shared / "run", *json.loads(seconds)))


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "a bit of the newest checkpoint flipped"])
def test_training_survives(name, one_whole_run, tmp_path):
    FAULTS[name].survive(np.random.default_rng(1000), tmp_path / "run")


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="limits another process")
@pytest.mark.parametrize(("seed", "kind"), [(1000, "metrics"), (1002, "events"), (1001, "checkpoints")])
def test_training_survives_that_there_is_no_room_for_a_file_of_each_kind(seed, kind, one_whole_run, tmp_path):
    assert FAULTS["no room for files"].survive(np.random.default_rng(seed), tmp_path / "run") == kind


@pytest.mark.parametrize("name", ["no room for files", "the disk is full (root only)"])
def test_the_tries_aim_at_files_of_each_kind(name, monkeypatch, tmp_path):
    aimed = []

    def start(folder, env):
        aimed.append(env["STOP_BEFORE"].split()[0])
        raise InterruptedError

    monkeypatch.setattr(faults, "start", start)
    monkeypatch.setattr(faults, "disk", lambda *_: contextlib.nullcontext())
    for seed in range(FAULTS[name].tries):
        with pytest.raises(InterruptedError):
            FAULTS[name].survive(np.random.default_rng(seed), tmp_path / "run")
    assert set(aimed) == set(faults.KINDS)


def test_an_address_is_of_a_free_port_that_is_given_to_no_one_else(monkeypatch):
    with socket.socket() as holder:
        port = int(faults.address().removeprefix("localhost:"))
        assert 20000 <= port < 32000
        holder.bind(("localhost", port))
        monkeypatch.setattr(faults, "PORTS", (port, port + 1))
        with pytest.raises(OSError, match=f"no port is free among {port}, {port}, "):
            faults.address()


def test_what_was_tried_is_what_the_page_shows():
    page = harness.PAGE.read_text()
    assert markdown.insert(page, "reliability", harness.table(harness.read())) == page


def test_faults_that_only_root_can_try_are_refused_to_others(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("sys.argv", ["faults", "--only=the disk is full (root only)"])
    with pytest.raises(ValueError, match=r"--only cannot be 'the disk is full \(root only\)'; choose among: SIGKILL, "):
        harness.main()


def test_tries_are_kept_and_not_tried_again(monkeypatch, tmp_path):
    tried = []

    def survive(rng, folder):
        tried.append(rng.integers(1000))
        if len(tried) == 2:
            raise AssertionError("the second")
        if len(tried) == 3:
            raise KeyboardInterrupt
        return "a place"

    (tmp_path / "page.md").write_text("<!-- reliability -->\n<!-- /reliability -->\n")
    old = {"tries": 1, "survived": 1, "hits": {"a place": 1}, "failures": [], "revisions": ["abc"]}
    content = {"environment": {"jax": "0.1"}, "faults": {"another": old}}  # as it was kept once
    (tmp_path / "reliability.json").write_text(json.dumps(content))
    monkeypatch.setattr(harness, "RESULTS", tmp_path / "reliability.json")
    monkeypatch.setattr(harness, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(harness, "whole", lambda: None)
    monkeypatch.setattr(harness, "FAULTS", {"one": Fault(survive, 4), "another": Fault(survive, 1)})
    monkeypatch.setattr("sys.argv", ["faults"])
    with pytest.raises(KeyboardInterrupt):
        harness.main()
    assert harness.read()["one"]["tries"] == 2
    with pytest.raises(SystemExit):
        harness.main()
    assert tried[2:4] == 2 * [np.random.default_rng(2).integers(1000)]
    found = harness.read()["one"]
    assert (found["tries"], found["survived"]) == (4, 3)
    assert found["failures"] == [{"seed": 1, "what": "AssertionError: the second"}]
    assert found["environments"] == [environment()]
    assert found["last_tried"] == datetime.now(UTC).date().isoformat()
    assert harness.read()["another"] == old | {"environments": [{"jax": "0.1"}]}
    assert "environment" not in json.loads((tmp_path / "reliability.json").read_text())
    assert "| one | 4 | 3 | a place (3) | " in (tmp_path / "page.md").read_text()
