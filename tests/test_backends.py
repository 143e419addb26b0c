"""Models, losses, metrics and the order of training say the same under every backend of Keras that is installed."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from seglib import data, labels, losses, metrics, models, train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]

# Which of ten pairs come in which order in the first three epochs with seed 0: the lessons' numbers rest on it.
ORDERS = [[9, 7, 3, 1, 2, 5, 6, 8, 0, 4], [8, 6, 2, 9, 1, 0, 5, 7, 4, 3], [9, 0, 5, 1, 3, 8, 2, 4, 7, 6]]
# What ``fit`` is given: pairs in a batch, the batches taken, ``steps_per_epoch``, and the epochs of them.
FITS = {
    "epochs": ((4, -1, None, range(3)), [order[:8] for order in ORDERS]),
    "a single batch, resumed": ((10, -1, None, range(1, 3)), ORDERS[1:]),
    "some steps": ((5, -1, 1, range(3)), [ORDERS[0][:5], ORDERS[0][5:], ORDERS[1][:5]]),
    "some batches": ((5, 1, None, range(2)), [order[:5] for order in ORDERS[:2]]),
}


def say(folder):
    """What the backend of this process makes of the models saved in ``folder``, and of masks, logits and batches."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (2, 21, 34, 3)).astype(np.float32)
    masks = rng.choice(np.array([0, 1, 2, 255]), (2, 21, 34)).astype(np.int32)
    said = {}
    for name in ("segformer", "unet_lite", "unet", "fcn_8s"):
        model = keras.models.load_model(folder / f"{name}.keras")
        said[f"{name}: logits"] = logits = model.predict(images, verbose=0)
        matrix = metrics.ConfusionMatrix(3)
        matrix.update_state(masks, logits)
        said[f"{name}: accuracy"], said[f"{name}: miou"] = matrix.accuracy(), float(matrix.result())
    promptable = keras.models.load_model(folder / "promptable.keras")
    asked = {"image": images, "clicks": np.array([[(3, 4, 1), (20, 30, -1)], [(8, 33, 1), (0, 0, 0)]], np.float32)}
    said["promptable: logits"], said["promptable: scores"] = promptable.predict_on_batch(asked)
    for term, loss in losses.TERMS.items():
        said[f"loss {term}"] = float(loss(masks, logits, class_weights=[1, 2, 3]))
    said["loss hardest"] = float(losses.cross_entropy(masks, logits, ohem_fraction=0.3))
    model.compile("adam", losses.CompoundLoss(dict.fromkeys(losses.TERMS, 1)), metrics=[metrics.ConfusionMatrix(3)])
    history = model.fit(images, masks, batch_size=2, verbose=0).history
    said["loss of a step"], said["miou of a step"] = history["loss"][0], history["miou"][0]
    said["weights of discriminative rates"] = learn_at_two_rates()
    untrained = models.deeplab_v3_plus((32, 32, 3), 3, "mobilenet_v2_050", filters=4, rates=(1,))
    scales = [ops.convert_to_numpy(v).any() for v in untrained.trainable_variables if v.name == "gamma"]
    said["normalisations that begin at zero"] = scales.count(False)

    # As after 100,000 images of 512×512: 2.6 · 10¹⁰ pixels of class 0, and two more.
    matrix = metrics.ConfusionMatrix(2)
    matrix._low.assign(np.array([2**24 - 1, 0, 0, 0, 0, 0], np.int32))
    matrix._high.assign(np.array([1562, 0, 0, 0, 0, 0], np.int32))
    matrix.update_state(np.array([[0, 0]]), np.array([[0, 0]]))
    said["pixels beyond 32 bits"] = matrix.matrix[0, 0]
    matrix.update_state(np.array([[0]]), np.array([[[np.nan, 1]]], np.float32))
    said["mean IoU after NaN"] = float(matrix.result())
    said.update({f"order of {name}": fit(*chosen) for name, (chosen, _) in FITS.items()})
    said["refusal"] = refuse_ops()
    return said


def learn_at_two_rates():
    """All weights of a linear model after two steps, of which its first layer's are a tenth as long."""
    layers = [keras.layers.Dense(4, kernel_initializer="ones"), keras.layers.Dense(2, kernel_initializer="identity")]
    model = keras.Sequential([keras.Input((3,)), *layers])
    slower = train.DiscriminativeAdamW(0.1, 0.5, layers[0].trainable_variables, use_ema=True, ema_momentum=0.5)
    model.compile(slower, "mse")
    model.fit(np.arange(12.0).reshape(4, 3) / 12, np.ones((4, 2)), batch_size=2, shuffle=False, verbose=0)
    return np.concatenate([np.ravel(weights) for weights in model.get_weights()])


def make_numbers():
    """Ten pairs of one pixel, each of its number's colour."""

    def read(number, size=None):
        ids = tf.fill(size or (1, 1), tf.cast(number, tf.uint8))
        return {"image": tf.stack([ids] * 3, -1), "mask": ids}

    split = (tf.data.Dataset.range(10), read)
    return data.Dataset(
        "numbers", labels.LabelMap(list("0123456789")), {"train": split}, {"train": 10}, {"train": None}
    )


class Recorder(keras.Sequential):
    """A model that notes the masks it is trained with."""

    def train_step(self, *state_and_data):
        self.seen = [*getattr(self, "seen", []), np.array(state_and_data[-1][1]).ravel()]
        return super().train_step(*state_and_data)


def fit(batch_size, taken, steps, epochs):
    """Trains on the numbered pairs: (epochs, pairs) the numbers in the order in which they came."""
    batches = make_numbers().batches("train", (1, 1), batch_size, epoch=epochs[0]).take(taken)
    model = Recorder([keras.layers.Dense(10)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), run_eagerly=True)
    chosen = {"initial_epoch": epochs[0], "epochs": epochs[-1] + 1, "steps_per_epoch": steps}
    model.fit(batches, verbose=0, shuffle=False, **chosen)
    return np.reshape(model.seen, (len(epochs), -1))


def refuse_ops():
    """What is said of an ``augment`` in ``keras.ops``; nothing under TensorFlow, where it works."""
    try:
        make_numbers().batches("train", (1, 1), augment=lambda pair, seed: {**pair, "images": ops.flip(pair["images"])})
    except TypeError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def by_tensorflow(tmp_path_factory):
    """The folder of some saved models, and what TensorFlow says of them."""
    folder = tmp_path_factory.mktemp("backends")
    keras.utils.set_random_seed(0)
    built = {
        "unet": models.unet((None, None, 3), 3, filters=4, depth=2),
        "fcn_8s": models.fcn((None, None, 3), 3, 8, "small"),
        "segformer": models.segformer((None, None, 3), 3, "tiny"),
        "unet_lite": models.unet((None, None, 3), 3, filters=2, encoder="efficientnet_lite0"),
        "promptable": models.promptable((None, None, 3), filters=4, depth=3),
    }
    for name, model in built.items():
        for score in ("score_16", "score_8"):  # they begin at zero
            if score in {layer.name for layer in model.layers}:
                layer = model.get_layer(score)
                layer.kernel.assign(np.random.default_rng(1).normal(0, 0.1, layer.kernel.shape))
        model.save(folder / f"{name}.keras")
    return folder, say(folder)


def test_tensorflow_trains_in_the_order_of_the_lessons(by_tensorflow):
    _, said = by_tensorflow
    for name, (_, wanted) in FITS.items():
        np.testing.assert_array_equal(said[f"order of {name}"], wanted, name)
    assert said["refusal"] == ""


def needs(backend):
    missing = importlib.util.find_spec(backend) is None
    return pytest.param(backend, marks=pytest.mark.skipif(missing, reason=f"{backend} is not installed"))


@pytest.mark.parametrize("backend", [needs("jax"), needs("torch")])
def test_another_backend_says_the_same(backend, by_tensorflow):
    folder, wanted = by_tensorflow
    env = {**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    result = subprocess.run([sys.executable, __file__, folder], env=env, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    found = dict(np.load(folder / "said.npz"))
    assert found.keys() == wanted.keys()
    assert found["pixels beyond 32 bits"] == 1563 * 2**24 + 1
    assert np.isnan(found["mean IoU after NaN"])
    assert "seglib.augment" in str(found.pop("refusal"))
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], atol=1e-4, rtol=1e-4 if "loss" in name else 0, err_msg=name)


if __name__ == "__main__":
    np.savez(f"{sys.argv[1]}/said.npz", **say(Path(sys.argv[1])))
