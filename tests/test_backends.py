"""Models, losses and metrics say the same under every backend of Keras that is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from seglib import models

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = """
import sys
import keras, numpy as np
from keras import ops
from seglib import layers, losses, metrics, models

folder, said = sys.argv[1], {}
rng = np.random.default_rng(0)
images = rng.uniform(0, 255, (2, 45, 70, 3)).astype(np.float32)
masks = rng.choice(np.array([0, 1, 2, 255]), (2, 45, 70)).astype(np.int32)
for name in ("unet", "fcn_8s"):
    model = keras.models.load_model(f"{folder}/{name}.keras")
    logits = model(images, training=False)
    matrix = metrics.ConfusionMatrix(3)
    matrix.update_state(masks, logits)
    said[f"{name}: logits"] = ops.convert_to_numpy(logits)
    for term, loss in losses.TERMS.items():
        said[f"{name}: {term}"] = float(loss(masks, logits, class_weights=[1, 2, 3]))
    said[f"{name}: hardest"] = float(losses.cross_entropy(masks, logits, label_smoothing=0.1, hardest=0.3))
    said[f"{name}: accuracy"] = matrix.accuracy()
    said[f"{name}: miou"] = float(matrix.result())
    model.compile("adam", losses.Sum(dict.fromkeys(losses.TERMS, 1)), metrics=[metrics.ConfusionMatrix(3)])
    history = model.fit(images, masks, batch_size=2, verbose=0).history
    said[f"{name}: loss of a step"], said[f"{name}: miou of a step"] = history["loss"][0], history["miou"][0]

# As after 100,000 images of 512×512: 2.6 · 10¹⁰ pixels of class 0, and two more.
matrix = metrics.ConfusionMatrix(2)
matrix._low.assign(np.array([2**24 - 1, 0, 0, 0, 0, 0], np.int32))
matrix._high.assign(np.array([1562, 0, 0, 0, 0, 0], np.int32))
matrix.update_state(np.array([[0, 0]]), np.array([[0, 0]]))
said["pixels beyond 32 bits"] = matrix.matrix[0, 0]
matrix.update_state(np.array([[0]]), np.array([[[np.nan, 1]]], np.float32))
said["mean IoU after NaN"] = float(matrix.result())
np.savez(f"{folder}/{keras.backend.backend()}.npz", **said)
"""


def say(folder, backend):
    env = {**os.environ, "KERAS_BACKEND": backend}
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    return dict(np.load(folder / f"{backend}.npz"))


@pytest.fixture(scope="module")
def by_tensorflow(tmp_path_factory):
    """The folder of some saved models, and what TensorFlow says of them."""
    folder = tmp_path_factory.mktemp("backends")
    keras.utils.set_random_seed(0)
    built = {
        "unet": models.unet((None, None, 3), 3, filters=4, depth=3),
        "fcn_8s": models.fcn((None, None, 3), 3, 8, "small"),
    }
    for name, model in built.items():
        for score in ("score_16", "score_8"):  # they begin at zero
            if score in {layer.name for layer in model.layers}:
                layer = model.get_layer(score)
                layer.kernel.assign(np.random.default_rng(1).normal(0, 0.1, layer.kernel.shape))
        model.save(folder / f"{name}.keras")
    return folder, say(folder, "tensorflow")


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_another_backend_says_the_same(backend, by_tensorflow):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed, so Keras cannot run on it")
    folder, wanted = by_tensorflow
    found = say(folder, backend)
    assert found.keys() == wanted.keys() and len(wanted) == 26
    assert found["pixels beyond 32 bits"] == 1563 * 2**24 + 1
    assert np.isnan(found["mean IoU after NaN"])
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, rtol=1e-4 if "loss" in name else 0, err_msg=name)
