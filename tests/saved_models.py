"""Models saved by one version of Keras and opened by another, as `make test-oldest` does it with two environments.

python tests/saved_models.py write FOLDER    saves a small model of every kind
python tests/saved_models.py open FOLDER     opens them, and compares their logits with a model built anew
"""

import functools
import sys
from pathlib import Path

import keras
import numpy as np

from seglib import losses, metrics, models, predict, runs, train

ANY = (None, None, 3)
DEEPLAB = functools.partial(models.deeplab_v3_plus, ANY, 3, filters=4, rates=(2, 4))
KINDS = {
    "unet": lambda: models.unet(ANY, 3, filters=2, depth=2),
    "unet_group": lambda: models.unet(ANY, 3, filters=2, depth=3, norm="group", skips=(0,)),
    "unet_valid": lambda: models.unet((60, 60, 3), 3, filters=2, depth=3, norm=None, padding="valid"),
    "unet_encoder": lambda: models.unet(ANY, 3, filters=2, encoder="efficientnet_lite0"),
    "fcn_32s": lambda: models.fcn(ANY, 3, stride=32, backbone="small"),
    "fcn_8s": lambda: models.fcn(ANY, 3, stride=8, backbone="small"),
    **{f"deeplab_{name}": functools.partial(DEEPLAB, backbone=name) for name in models.ENCODERS},
    "segformer": lambda: models.segformer(ANY, 3, "tiny"),
    "deeplab_stride_8": lambda: DEEPLAB(backbone="mobilenet_v2_050", output_stride=8, decoder=False),
}


def build(kind):
    """A compiled model whose weights are the same wherever it is built."""
    model = KINDS[kind]()
    for number, weight in enumerate(model.weights):
        rng, axes = np.random.default_rng(number), 2 if "depthwise" in weight.path else -1
        if len(weight.shape) > 1:  # kernels keep the variance from layer to layer (He et al. 2015)
            weight.assign(rng.normal(scale=np.sqrt(2 / np.prod(weight.shape[:axes])), size=weight.shape))
        elif "seed" not in weight.path:
            weight.assign(rng.uniform(0.5, 1, weight.shape))
    rate = train.Warmup(keras.optimizers.schedules.CosineDecay(0.01, 9), steps=2)
    loss = losses.CompoundLoss({"cross_entropy": 1})
    model.compile(keras.optimizers.SGD(rate), loss, [metrics.ConfusionMatrix(3)])
    model.optimizer.build(model.trainable_variables)
    return model


def compare(path):
    """The largest difference between the logits of a saved model and of the same model built anew."""
    images = np.random.default_rng(0).uniform(0, 255, (1, 60, 60, 3)).astype("float32")
    opened = [keras.models.load_model(path), predict.load_model(path)]
    wanted = build(Path(path).name.partition("-")[0].removesuffix(".keras")).predict_on_batch(images)
    assert np.ptp(wanted) > 1e-2, f"{path}: logits that are all {wanted.max()} compare nothing"
    return max(np.abs(model.predict_on_batch(images) - wanted).max() / np.abs(wanted).max() for model in opened)


if __name__ == "__main__":
    command, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        keras.utils.clear_session()
        if command == "write":
            build(kind).save(folder / f"{kind}.keras")
            runs.attach_note(folder / f"{kind}.keras", {"kind": kind})
        else:
            difference = compare(folder / f"{kind}.keras")
            assert runs.read_note(folder / f"{kind}.keras") == {"kind": kind}
            assert difference < 1e-4, f"{kind}: logits differ by {difference}"
            print(f"{kind}: opened by Keras {keras.__version__}, logits differ by {difference:.1e}")
