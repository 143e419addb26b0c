import importlib
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import psutil
import pytest

IMAGES, MASKS = np.zeros((2, 8, 8, 3), np.float32), np.zeros((2, 8, 8), np.uint8)


@pytest.fixture
def memory(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[1] / "bench"))
    return importlib.import_module("memory")


@pytest.fixture
def model():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(inputs))
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def test_batch_sizes_are_tried_until_one_does_not_fit(memory, model):
    before = model.get_weights()
    steps = memory.try_batch_sizes(model, IMAGES, MASKS, highest=4)
    assert [step.batch_size for step in steps] == [1, 2, 4]
    assert all(step.seconds > 0 and step.bytes >= 0 for step in steps)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)

    def refuse(limit, error):
        def step(images, masks):
            if len(images) > limit:
                raise error

        model.train_on_batch = step

    refuse(2, RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"))
    assert [step.batch_size for step in memory.try_batch_sizes(model, IMAGES, MASKS)] == [1, 2]
    refuse(0, MemoryError("CUDA out of memory"))
    with pytest.raises(MemoryError, match="not even one image of 8×8"):
        memory.try_batch_sizes(model, IMAGES, MASKS)
    refuse(0, ValueError("something else"))
    with pytest.raises(ValueError, match="something else"):
        memory.try_batch_sizes(model, IMAGES, MASKS)


def test_batch_sizes_end_before_the_memory_does(memory, model, monkeypatch):
    held = [100 * 2**20]

    def hold(images, masks):
        held.append(len(images) * 2**23)  # 8 MiB an image, in each of two steps
        time.sleep(0.02)

    model.train_on_batch = hold
    real = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=sum(held)))  # a process gives back when it likes
    monkeypatch.setattr(psutil, "Process", lambda: real)
    monkeypatch.setattr(memory, "free_memory", lambda: 200 * 2**20)
    steps = memory.try_batch_sizes(model, IMAGES, MASKS, share=0.8)
    # together 16, 48, 112 MiB: twice 112 would be more than 160
    assert [(step.batch_size, step.bytes / 2**20) for step in steps] == [(1, 16), (2, 48), (4, 112)]


def test_the_limit_of_a_container_is_seen(memory, tmp_path, monkeypatch):
    assert 0 < memory.free_memory() <= psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.free_memory() == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() > 2**20
