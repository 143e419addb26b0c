"""Several devices and hosts learn what one does, and what goes wrong between them is said in a sentence."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

from seglib import __main__ as command_line
from seglib import hosts

ROOT = Path(__file__).resolve().parents[1]
OPTIONS = "--classes sky,road,car --filters 2 --crop 16 16 --scale 1 --batch-size 4 --no-augment".split()

# The command line on two devices of one processor, which TensorFlow and JAX are told in different ways.
TWO_DEVICES = """
import sys, keras
if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
from seglib import __main__ as command_line
sys.exit(command_line.main(sys.argv[1:]))
"""


def words(folders, out, *more, steps=4, epochs=2):
    chosen = ["--out", out, "--steps", steps, "--epochs", epochs, *OPTIONS, *more]
    return ["train", *map(str, [*folders, *chosen])]


def environment(backend, **more):
    return {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    } | more


def read_log(out):
    """(epochs, numbers) of ``log.csv``; none if there is no whole line."""
    path = out / "log.csv"
    return np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2) if path.is_file() and path.stat().st_size else []


def find_address():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return f"127.0.0.1:{probe.getsockname()[1]}"


def start(folders, out, process, processes, address, *more, **steps):
    numbers = ["--hosts", address, "--process", process, "--processes", processes]
    command = [sys.executable, "-m", "seglib", *words(folders, out, *numbers, *more, **steps)]
    return subprocess.Popen(
        command, env=environment("jax"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


class TestSentences:
    """In this process, before anything is connected."""

    @pytest.fixture(autouse=True)
    def within(self, monkeypatch):
        monkeypatch.setenv(hosts.INSIDE, "1")
        monkeypatch.setattr(hosts, "_end_with_parent", lambda: None)
        monkeypatch.setattr(hosts, "PATIENCE", 1)

    def say(self, capsys, *more):
        assert command_line.main(words(["images", "masks"], "out", *more)) == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    @pytest.mark.parametrize(
        "numbers",
        [("here", 0, 2), (":5", 0, 2), ("here:port", 0, 2), ("here:5", 2, 2), ("here:5", -1, 2)],
    )
    def test_numbers_that_do_not_fit(self, capsys, numbers):
        address, process, processes = numbers
        told = self.say(capsys, "--hosts", address, "--process", process, "--processes", processes)
        assert f"wanted --hosts ADDRESS:PORT, --process 0 to N − 1 and --processes N; got {address}, {process}" in told

    def test_options_that_do_not_fit(self, capsys):
        assert "got here:5, None and None" in self.say(capsys, "--hosts", "here:5")
        assert "wanted --hosts ADDRESS:PORT" in self.say(capsys, "--process", 1)
        assert "say --steps" in self.say(capsys, "--minutes", 1, "--devices", "all")

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
    def test_tensorflow_has_one_host(self, capsys):
        told = self.say(capsys, "--hosts", "127.0.0.1:5", "--process", 0, "--processes", 2)
        assert "several hosts need JAX, this is tensorflow: set KERAS_BACKEND=jax" in told

    @pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow")
    def test_a_batch_that_does_not_divide(self, monkeypatch):
        monkeypatch.setattr(keras.distribution, "list_devices", lambda: ["cpu:0", "cpu:1"])
        with pytest.raises(ValueError, match="a batch of 3 does not divide into equal parts for 2 devices"):
            hosts.spread(3)

    def test_a_port_that_is_in_use(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(OSError, match=f"port {port} cannot be opened on this host .*take another one"):
                hosts._find("127.0.0.1", port, 0)

    def test_an_address_that_nobody_answers(self):
        address = find_address()
        with pytest.raises(ConnectionError, match=f"nobody answers at {address} for 1 s .*start process 0 there"):
            hosts._find("127.0.0.1", int(address.rpartition(":")[2]), 1)

    def test_other_data_or_another_plan(self, monkeypatch):
        multihost_utils = pytest.importorskip(
            "jax.experimental.multihost_utils", reason="JAX is not installed: pip install jax"
        )
        told = {"the data or options": [{"pairs": 3}, ["image"]], "the state in --out": {}, "the plan's rate": 0.003}
        first = []

        def gather(own):
            first.append(own)  # the first call is that of process 0
            return np.stack([first[0], own])

        monkeypatch.setattr(multihost_utils, "process_allgather", gather)
        hosts.agree(told)
        for name, value in (("the data or options", [{"pairs": 4}, ["image"]]), ("the plan's rate", 0.004)):
            with pytest.raises(ValueError, match=f"process 1 and process 0 differ in {name}: give all hosts the same"):
                hosts.agree(told | {name: value})

    def test_a_child_that_is_ended_by_a_signal(self, monkeypatch, tmp_path):
        ending = tmp_path / "ending"
        monkeypatch.setattr(sys, "executable", str(ending))
        for name, told in (("ABRT", "1 of 2 does not find another host, or has lost it"), ("KILL", "from outside")):
            ending.write_text(f"#!/bin/sh\nkill -{name} $$\n")
            ending.chmod(0o755)
            with pytest.raises(ConnectionError, match=told):
                hosts.watch([], 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_two_devices_learn_and_resume(backend, folders, tmp_path):
    """Under JAX what one learns: its sums are over the whole batch."""
    pytest.importorskip(backend, reason=f"{backend} is not installed: pip install {backend}")

    def train(out, devices, *more):
        flag = f"--xla_force_host_platform_device_count={devices}"
        # Devices that wait for each other would take all threads of XLA's pool, of which there is one for each core.
        env = environment(backend, XLA_FLAGS=flag, NPROC="8")
        command = [sys.executable, "-c", TWO_DEVICES, *words(folders, tmp_path / out, *more)]
        return subprocess.run(command, env=env, capture_output=True, text=True)

    done = train("run", 2, "--devices", "all")
    assert done.returncode == 0, done.stderr[-3000:]
    two = read_log(tmp_path / "run")
    assert two.shape == (2, 5) and np.isfinite(two).all() and (tmp_path / "run" / "best.keras").is_file()
    if backend == "jax":
        assert train("one", 1, "--devices", "all").returncode == 0
        np.testing.assert_allclose(two[:, [1, 3]], read_log(tmp_path / "one")[:, [1, 3]], atol=1e-4)  # the losses
    again = train("run", 1)  # the same run
    assert again.returncode == 0 and "2 of 2 epochs are done" in again.stdout, again.stderr[-3000:]


@pytest.mark.long
def test_one_of_two_hosts_dies_and_the_other_goes_on_alone(folders, tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
    pair = tmp_path / "pair"
    address = find_address()
    both = [start(folders, pair, process, 2, address, steps=12, epochs=12) for process in range(2)]
    while len(read_log(pair)) < 3:
        assert both[0].poll() is None, both[0].communicate()[0][-3000:]
        time.sleep(0.1)
    both[1].kill()
    began = time.monotonic()
    told = both[0].communicate(timeout=120)[0].splitlines()[-1]
    assert time.monotonic() - began < 60
    assert told.startswith("seglib train: process 0 of 2 does not find another host, or has lost it; start the command")
    both[1].communicate()
    run = start(folders, pair, 0, 1, find_address(), steps=12, epochs=12)
    said = run.communicate()[0]
    assert run.returncode == 0 and "of 12 epochs are done" in said, said[-3000:]
    log = read_log(pair)
    assert len(log) - 12 <= 1 and np.isfinite(log).all()


@pytest.mark.long
def test_hosts_of_other_data_or_options_are_refused(folders, tmp_path):
    pytest.importorskip("jax", reason="JAX is not installed: pip install jax")
    address = find_address()
    rates = (["--rate", "0.003"], ["--rate", "0.004"])
    both = [start(folders, tmp_path / "run", i, 2, address, *rates[i]) for i in range(2)]
    for run in both:
        said = run.communicate(timeout=300)[0]
        assert run.returncode == 1 and "process 1 and process 0 differ in the data or options, the plan's rate" in said
    assert not (tmp_path / "run").exists()
