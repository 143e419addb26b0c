import contextlib
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "notebooks"), str(ROOT / "bench")]  # the lessons' own module, and the measuring scripts


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def plain_run(monkeypatch):
    """None of the four switches is set."""
    for switch in ("SEGLIB_PROFILE", "SEGLIB_STEPS", "SEGLIB_DATASET", "SEGLIB_RUNS"):
        monkeypatch.delenv(switch, raising=False)


@pytest.fixture
def close_figures():
    """Closes what a test has drawn."""
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


@pytest.fixture
def folders(tmp_path, rng):
    """Ten pairs of 12×16 pixels with the ids 0, 1, 2 and void, as ``images/`` and ``masks/``."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for i in range(10):
        image = rng.integers(0, 256, (12, 16, 3), np.uint8)
        mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), (12, 16))
        Image.fromarray(image).save(tmp_path / "images" / f"{i:02}.png")
        Image.fromarray(mask).save(tmp_path / "masks" / f"{i:02}.png")
    return tmp_path / "images", tmp_path / "masks"


@pytest.fixture
def full_disk():
    """``with full_disk(count)``: no file grows beyond so many bytes, which a program meets like a disk that is full."""
    resource = pytest.importorskip("resource", reason="this system cannot limit the size of files")

    @contextlib.contextmanager
    def limit(count):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    return limit
