import dataclasses
import importlib.machinery
import io
import shutil
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest

import lesson


def test_the_switches_choose_profile_and_steps(monkeypatch, plain_run):
    monkeypatch.setattr(lesson, "gpu_capability", lambda: None)
    assert lesson.profile() == lesson.PROFILES["cpu"]
    monkeypatch.setattr(lesson, "gpu_capability", lambda: (8, 0))
    assert lesson.profile() == lesson.PROFILES["gpu"]
    monkeypatch.setenv("SEGLIB_PROFILE", "cpu")
    monkeypatch.setenv("SEGLIB_STEPS", "2")
    short = lesson.profile()
    assert (short.name, short.steps, short.epochs, short.batch_size) == ("cpu", 2, 1, 4)
    monkeypatch.setenv("SEGLIB_PROFILE", "gpu")  # the GPU's network on small images
    assert lesson.profile() == dataclasses.replace(short, name="gpu", filters=32, depth=5, precision="mixed_bfloat16")


@pytest.mark.parametrize(
    ("capability", "precision"),
    [((7, 5), "mixed_float16"), ((8, 0), "mixed_bfloat16"), ((10, 0), "mixed_bfloat16"), ((0, 0), "mixed_float16")],
    ids=["T4", "A100", "B200", "unknown"],
)
def test_half_precision_is_what_the_gpu_has(monkeypatch, plain_run, capability, precision):
    monkeypatch.setattr(lesson, "gpu_capability", lambda: capability)
    assert lesson.profile().precision == precision
    monkeypatch.setenv("SEGLIB_PROFILE", "cpu")
    assert lesson.profile().precision == "float32"


def test_a_gpu_profile_without_a_gpu_says_once_what_to_do(monkeypatch, plain_run, capsys):
    monkeypatch.setattr(lesson, "gpu_capability", lambda: None)
    monkeypatch.setenv("SEGLIB_PROFILE", "gpu")
    lesson._warn_of_no_gpu.cache_clear()
    lesson.profile()
    lesson.profile()
    (line,) = capsys.readouterr().out.splitlines()
    assert "no GPU" in line and "Runtime > Change runtime type" in line and "SEGLIB_PROFILE to cpu" in line


def test_a_switch_replaces_the_dataset_alone(monkeypatch, plain_run):
    monkeypatch.setenv("SEGLIB_PROFILE", "cpu")
    monkeypatch.setenv("SEGLIB_DATASET", "")
    assert lesson.profile() == lesson.PROFILES["cpu"]
    monkeypatch.setenv("SEGLIB_DATASET", "oxford_iiit_pet")
    assert lesson.profile() == dataclasses.replace(lesson.PROFILES["cpu"], dataset="oxford_iiit_pet")
    monkeypatch.setenv("SEGLIB_STEPS", "2")
    assert (lesson.profile().dataset, lesson.profile().steps) == ("oxford_iiit_pet", 2)


@pytest.mark.parametrize(
    ("switch", "value"),
    [("SEGLIB_PROFILE", "tpu"), ("SEGLIB_STEPS", "0"), ("SEGLIB_STEPS", "two"), ("SEGLIB_STEPS", "-1")],
)
def test_other_settings_of_the_switches_are_refused(monkeypatch, plain_run, switch, value):
    monkeypatch.setenv(switch, value)
    with pytest.raises(ValueError, match=f"{switch} must be .*'{value}'"):
        lesson.profile()


def test_runs_of_other_profiles_do_not_mix(monkeypatch, plain_run, tmp_path):
    monkeypatch.setattr(lesson, "ROOT", tmp_path)
    folders = set()
    for profile, steps in (("cpu", ""), ("gpu", ""), ("cpu", "2"), ("gpu", "2")):
        monkeypatch.setenv("SEGLIB_PROFILE", profile)
        monkeypatch.setenv("SEGLIB_STEPS", steps)
        folders.add(lesson.run_dir("unet"))
    assert len(folders) == 4 and all(folder.is_dir() and tmp_path in folder.parents for folder in folders)
    with pytest.raises(ValueError, match="a run's name"):
        lesson.run_dir("../unet")


def test_a_measured_table_is_grouped_by_its_first_column(tmp_path, monkeypatch):
    monkeypatch.setattr(lesson, "ROOT", tmp_path)
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "made.csv").write_text("model,seed,miou\nunet,0,0.5\nfcn,0,0.25\nunet,1,0.75\n")
    assert lesson.measured("made") == {
        "unet": {"seed": [0, 1], "miou": [0.5, 0.75]},
        "fcn": {"seed": [0], "miou": [0.25]},
    }
    assert lesson.table("made") == {"model": ["unet", "fcn", "unet"], "seed": [0, 0, 1], "miou": [0.5, 0.25, 0.75]}
    with pytest.raises(FileNotFoundError, match="python bench/unmade.py writes it"):
        lesson.measured("unmade")


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
@pytest.mark.parametrize(
    ("said", "exported", "wanted"), [("", "", ""), ("DATASET=cells/tiny", "", "cells/tiny"), ("", "a/b", "a/b")]
)
def test_make_course_hands_the_dataset_on(plain_run, monkeypatch, said, exported, wanted):
    monkeypatch.setenv("SEGLIB_DATASET", exported)
    for name in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):  # what `make test` hands to a make within it
        monkeypatch.delenv(name, raising=False)
    command = ["make", "--dry-run", "--always-make", "course", *said.split()]
    printed = subprocess.run(command, cwd=lesson.ROOT, capture_output=True, text=True, check=True).stdout
    assert f'SEGLIB_DATASET="{wanted}" ' in printed.splitlines()[-1]


def test_runs_on_other_datasets_do_not_mix(monkeypatch, plain_run, tmp_path):
    monkeypatch.setattr(lesson, "ROOT", tmp_path)
    monkeypatch.setenv("SEGLIB_PROFILE", "cpu")
    folders = []
    for dataset in ("", "streets/tiny", "oxford_iiit_pet", "oxford_iiit_pet/binary", "../.."):
        monkeypatch.setenv("SEGLIB_DATASET", dataset)
        folders.append(lesson.run_dir("unet"))
    assert [folder.name for folder in folders] == [
        "unet-cpu",
        "unet-cpu",
        "unet-cpu-oxford_iiit_pet",
        "unet-cpu-oxford_iiit_pet-binary",
        "unet-cpu-..-..",
    ]
    assert {folder.parent for folder in folders} == {tmp_path / "build" / "runs"}


def test_a_claim_is_printed_and_asserted(monkeypatch, plain_run, capsys):
    monkeypatch.setenv("SEGLIB_PROFILE", "cpu")
    lesson.claim("mIoU", 0.8123, at_least=0.75)
    assert capsys.readouterr().out == "claim: mIoU · wanted ≥ 0.75 · measured 0.812\n"
    with pytest.raises(AssertionError, match="mIoU: wanted < 0.45, measured 0.450"):
        lesson.claim("mIoU", 0.45, below=0.45)
    with pytest.raises(AssertionError, match="not a finite"):
        lesson.claim("mIoU", float("nan"), at_least=0)
    with pytest.raises(ValueError, match="one bound"):
        lesson.claim("mIoU", 0.5)


@pytest.mark.parametrize(
    ("switch", "value", "told"),
    [
        ("SEGLIB_STEPS", "2", "a limit of 2 steps"),
        ("SEGLIB_PROFILE", "gpu", "the gpu profile"),
        ("SEGLIB_DATASET", "oxford_iiit_pet", "the dataset oxford_iiit_pet"),
        ("KERAS_BACKEND", "jax", "the backend jax"),
    ],
)
def test_where_it_was_not_measured_a_missed_claim_is_a_warning(monkeypatch, plain_run, capsys, switch, value, told):
    monkeypatch.setenv("SEGLIB_PROFILE", "cpu")
    monkeypatch.setenv(switch, value)
    if switch == "KERAS_BACKEND":
        monkeypatch.setattr(keras.backend, "backend", lambda: value)
    lesson.claim("mIoU", 0.1, at_least=0.75)
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("claim: mIoU · wanted ≥ 0.75 · measured 0.100 · warning: missed;") and line.endswith(told)
    lesson.claim("mIoU", 0.8, at_least=0.75)
    assert capsys.readouterr().out == "claim: mIoU · wanted ≥ 0.75 · measured 0.800\n"
    with pytest.raises(AssertionError, match="not a finite"):
        lesson.claim("mIoU", float("nan"), at_least=0.75)


def test_the_profiles_own_dataset_by_name_is_no_other(monkeypatch, plain_run):
    monkeypatch.setenv("SEGLIB_PROFILE", "cpu")
    monkeypatch.setenv("SEGLIB_DATASET", "streets/tiny")
    with pytest.raises(AssertionError, match="wanted ≥ 0.75"):
        lesson.claim("mIoU", 0.1, at_least=0.75)


def test_runs_survive_in_a_folder_of_their_own(monkeypatch, plain_run, tmp_path):
    monkeypatch.setenv("SEGLIB_PROFILE", "cpu")
    drive = tmp_path / "drive" / "MyDrive"
    monkeypatch.setenv("SEGLIB_RUNS", str(drive / "seglib"))
    with pytest.raises(FileNotFoundError, match=r"SEGLIB_RUNS is .*seglib, .*no folder .*MyDrive.*drive\.mount\("):
        lesson.run_dir("unet")
    assert not drive.parent.exists()  # a Drive is not mounted on a folder that has something in it
    drive.mkdir(parents=True)
    assert lesson.run_dir("unet") == drive / "seglib" / "unet-cpu" and (drive / "seglib" / "unet-cpu").is_dir()
    (drive / "notes.txt").write_text("a file")
    monkeypatch.setenv("SEGLIB_RUNS", str(drive / "notes.txt"))
    with pytest.raises(OSError, match="notes.txt.*SEGLIB_RUNS"):
        lesson.run_dir("unet")


def test_the_answers_figure_is_shown_from_its_file(monkeypatch, tmp_path):
    (tmp_path / "notebooks" / "figures").mkdir(parents=True)
    (tmp_path / "notebooks" / "figures" / "03.png").write_bytes(b"made")
    monkeypatch.setattr(lesson, "ROOT", tmp_path)
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *bundle, **how: shown.append((bundle, how)))
    lesson.show_answer("03", "Streets")
    bundle = {"image/png": "bWFkZQ==", "text/plain": "Streets"}
    assert shown == [((bundle,), {"metadata": {"image/png": {"alt": "Streets"}}, "raw": True})]


def test_a_preview_keeps_what_is_predicted_after_some_epochs(rng):
    images, masks = rng.uniform(0, 255, (2, 8, 8, 3)), rng.integers(0, 2, (2, 8, 8))
    model = keras.Sequential([keras.layers.Conv2D(2, 1)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    preview = lesson.preview(images, epochs=(1,))
    model.fit(images, masks, epochs=3, verbose=0, callbacks=[preview])
    assert list(preview.columns) == ["after epoch 1", "after epoch 3"]
    wanted = model.predict(images, verbose=0).argmax(-1)
    np.testing.assert_array_equal(preview.columns["after epoch 3"], wanted)


def test_what_keeps_a_network_from_elsewhere_from_running_is_said(monkeypatch):
    assert lesson.find_obstacle("no_package", "localhost") == "no_package is not installed: pip install no-package"
    memory = SimpleNamespace(virtual_memory=lambda: SimpleNamespace(available=6.2e9))
    monkeypatch.setitem(sys.modules, "psutil", memory)
    memory.__spec__ = importlib.machinery.ModuleSpec("psutil", None)
    assert lesson.find_obstacle("json", "localhost", 8) == "it needs 8 GB of free memory, and there are 6.2"
    asked = []

    def answer(address, timeout):
        asked.append(address)
        if len(asked) == 1:
            raise ConnectionRefusedError("refused")
        return io.BytesIO()

    monkeypatch.setattr("socket.create_connection", answer)
    found = lesson.find_obstacle("json", "weights.example", 6)
    assert found == "its weights cannot be fetched: weights.example does not answer (refused)"
    assert lesson.find_obstacle("json", "weights.example") is None
    assert asked == [("weights.example", 443)] * 2
