import itertools
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from keras.optimizers.schedules import CosineDecay, PolynomialDecay

from seglib import augment, data, losses, metrics, train

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 8, 8, 3)).astype(np.float32)
MASKS = (IMAGES[..., 0] > 128).astype(np.uint8)
RECIPE = {"data": "squares", "size": (8, 8), "seed": 0}


def make_model(optimizer=None, dilation=1):
    """Two convolutions, untraced; by default with a schedule of 8 steps, of which ``fit`` takes two an epoch."""
    train.seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=dilation)(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(keras.layers.Dropout(0.1)(x)))
    optimizer = optimizer or keras.optimizers.Adam(train.Warmup(PolynomialDecay(1e-2, 8, 0.0, power=0.9), 2))
    model.compile(optimizer, losses.cross_entropy, metrics=[metrics.ConfusionMatrix(2)], run_eagerly=True)
    return model


def fit(model, epochs, *callbacks, done=0, masks=MASKS):
    fitted = {"validation_data": (IMAGES, masks), "verbose": 0, "shuffle": False, "initial_epoch": done}
    return model.fit(IMAGES, MASKS, 2, epochs, callbacks=[*callbacks], **fitted).history


def run(run_dir, epochs, model=None, dies_at=None, recipe=RECIPE, more=()):
    """Resumes and trains, until the epoch ``dies_at`` begins; returns the losses of the epochs trained now."""
    model = model or make_model()
    done = train.resume(model, run_dir, recipe)
    callbacks = [*train.callbacks(model, run_dir), *more]
    if dies_at is None:
        return fit(model, epochs, *callbacks, done=done).get("loss", [])
    with pytest.raises(KeyboardInterrupt):
        fit(model, epochs, *callbacks, Kill(dies_at), done=done)


def assert_equal(weights, others):
    for weight, other in zip(weights, others, strict=True):
        np.testing.assert_array_equal(weight, other)


def score(path):
    matrix = metrics.ConfusionMatrix(2)
    matrix.update_state(MASKS, keras.models.load_model(path, compile=False)(IMAGES, training=False))
    return matrix.mean_iou()


class Kill(keras.callbacks.Callback):
    """Ends a training, as Ctrl-C would, when epoch ``at`` begins."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise KeyboardInterrupt


class TestLearningRates:
    @pytest.mark.parametrize("warmup", [0, 10])
    def test_poly_and_cosine_are_the_formulas(self, warmup):
        poly = train.Warmup(PolynomialDecay(1e-3, 100, end_learning_rate=0.0, power=0.9), warmup)
        cosine = train.Warmup(CosineDecay(1e-3, 100), warmup)
        for step in range(121):
            x = ops.cast(step, "float32")
            rise = ops.minimum((x + 1) / max(warmup, 1), 1.0)
            left = ops.maximum(1 - x / 100, 0.0)
            assert float(poly(step)) == float(1e-3 * left**0.9 * rise), step
            half = 1e-3 * (1 + np.cos(np.pi * min(step / 100, 1))) / 2
            assert float(cosine(step)) == pytest.approx(half * min((step + 1) / max(warmup, 1), 1), abs=5e-10), step

    def test_a_schedule_is_saved_with_its_model(self, tmp_path):
        model, rate = make_model(), train.Warmup(CosineDecay(0.1, 100), 10)
        model.compile(keras.optimizers.Adam(rate), "mse")
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras").optimizer._learning_rate
        assert isinstance(again, train.Warmup) and [float(again(step)) for step in (0, 50)] == pytest.approx(
            [0.01, 0.05]
        )

    @pytest.mark.parametrize("schedule", [PolynomialDecay, CosineDecay])
    def test_a_schedule_that_cannot_be_is_refused(self, schedule):
        for rate in (0, -1, float("nan")):
            with pytest.raises(ValueError, match=f"above 0, got {rate}"):
                train.Warmup(schedule(rate, 10), 2)
        for warmup in (5, -1):
            with pytest.raises(ValueError, match=f"warm-up .*got {warmup}"):
                train.Warmup(schedule(0.1, 5), warmup)
        with pytest.raises(ValueError, match="CosineDecay.*got 0.1"):
            train.Warmup(0.1, 2)

    def test_range_test_finds_where_the_loss_explodes_and_leaves_no_trace(self):
        """A parabola of curvature 2: gradient descent is stable below a rate of 1, and falls fastest at ½."""
        inputs = keras.Input((1,))
        model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(inputs))
        model.compile(keras.optimizers.SGD(0.3), "mse")
        batches = tf.data.Dataset.from_tensors((np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)))
        before = model.get_weights()
        rates, found = train.lr_range_test(model, batches, 1e-2, 100, steps=50)
        assert len(rates) == len(found) < 50  # it ended when the loss exploded
        assert 0.3 < rates[found.argmin()] < 1.5 < rates[-1]
        np.testing.assert_array_equal(model.get_weights(), before)
        assert float(model.optimizer.learning_rate) == pytest.approx(0.3) and int(model.optimizer.iterations) == 0
        with pytest.raises(ValueError, match="no batch"):
            train.lr_range_test(model, [])

    @pytest.mark.parametrize("rate", [lambda: 0.1, CosineDecay(0.1, 100)], ids=["function", "schedule"])
    def test_a_rate_that_it_cannot_set_is_refused(self, rate):
        model = make_model()
        model.compile(keras.optimizers.SGD(rate), "mse")
        with pytest.raises(ValueError, match="schedule or a function"):
            train.lr_range_test(model, [(IMAGES, MASKS)])

    @pytest.mark.parametrize("rate", [0.0, -1.0, float("nan")])
    def test_a_rate_that_teaches_nothing_is_refused(self, rate, tmp_path):
        model = make_model()
        model.compile(keras.optimizers.SGD(rate), "mse")
        with pytest.raises(ValueError, match=f"above 0, got {rate}"):
            train.callbacks(model, tmp_path)


class TestBest:
    def test_the_best_epoch_is_kept(self, tmp_path):
        model = make_model()
        history = fit(model, 3, *train.callbacks(model, tmp_path))
        assert score(tmp_path / "best.keras") == pytest.approx(max(history["val_miou"]))
        assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]  # no state: nobody asked to resume

    def test_an_epoch_without_a_score_ends_with_words(self, tmp_path):
        model = make_model()
        with pytest.raises(ValueError, match="val_miou is nan after epoch 1: .*wanted the classes 0–1"):
            fit(model, 1, *train.callbacks(model, tmp_path), masks=np.full_like(MASKS, 7))
        with pytest.raises(ValueError, match="validation_data.*there is loss, miou"):
            model.fit(IMAGES, MASKS, 2, verbose=0, callbacks=train.callbacks(model, tmp_path))

    def test_the_average_of_the_weights_is_validated_and_kept(self, tmp_path):
        model = make_model(keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9))
        averages, weights = [np.array(w) for w in model.trainable_variables], []

        class Follow(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                now = [np.array(w) for w in self.model.trainable_variables]
                m = 0.9 if weights else 0  # Keras begins with the first weights that were trained
                averages[:] = [m * a + (1 - m) * w for a, w in zip(averages, now, strict=True)]
                weights[:] = now

            def on_test_begin(self, logs=None):
                for seen, average in zip(self.model.trainable_variables, averages, strict=True):
                    np.testing.assert_allclose(seen, average, atol=1e-5)

            def on_epoch_end(self, epoch, logs=None):
                for seen, weight in zip(self.model.trainable_variables, weights, strict=True):
                    np.testing.assert_array_equal(seen, weight)

        history = fit(model, 3, *train.callbacks(model, tmp_path), Follow())
        assert score(tmp_path / "best.keras") == pytest.approx(max(history["val_miou"]), abs=1e-6)


def kill_with_a_score_out_of_reach(run_dir):
    """Ends a run after two of four epochs, and gives its best a score that no other reaches; returns that model."""
    run(run_dir, 4, dies_at=2)
    (path,) = run_dir.glob("state-*.npz")
    assert 0 <= np.load(path)["best"] <= 1
    np.savez(path, **{**np.load(path), "best": 1.1})
    (so_far,) = run_dir.glob("best-so-far-*.keras")
    return so_far.read_bytes()


class TestResume:
    def test_a_run_is_only_called_best_when_it_has_ended_and_remembers_its_best(self, tmp_path):
        before = kill_with_a_score_out_of_reach(tmp_path)
        assert not (tmp_path / "best.keras").exists()
        assert len(run(tmp_path, 4)) == 2
        assert (tmp_path / "best.keras").read_bytes() == before
        # Resumed after its end, it trains nothing, and is what it was.
        assert run(tmp_path, 4) == []
        assert (tmp_path / "best.keras").read_bytes() == before
        # Without resume a run begins anew, and its best replaces the old one.
        new = make_model()
        assert len(fit(new, 1, *train.callbacks(new, tmp_path))["loss"]) == 1
        assert (tmp_path / "best.keras").read_bytes() != before

    def test_a_run_of_something_else_begins_anew_and_keeps_its_best_apart(self, tmp_path):
        """Another recipe (data, augmentation), optimizer, or architecture with weights of the same shapes."""
        before = kill_with_a_score_out_of_reach(tmp_path)
        run(tmp_path, 4, recipe={**RECIPE, "augment": "light"}, dies_at=1)
        for model, recipe, done in (
            (make_model(), {**RECIPE, "data": "circles"}, 0),
            (make_model(keras.optimizers.Adam(1e-2)), RECIPE, 0),
            (make_model(dilation=2), RECIPE, 0),
            (make_model(), {**RECIPE, "augment": "light"}, 1),
        ):
            assert train.resume(model, tmp_path, recipe) == done
        assert len(run(tmp_path, 4)) == 2
        assert (tmp_path / "best.keras").read_bytes() == before

    def test_a_rate_that_was_changed_on_the_way_is_still_the_same_run(self, tmp_path):
        halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        for dies_at in (1, 2):
            run(tmp_path, 3, make_model(keras.optimizers.Adam(1e-2)), dies_at, more=[halve])
        model = make_model(keras.optimizers.Adam(1e-2))
        assert train.resume(model, tmp_path, RECIPE) == train.resume(model, tmp_path, RECIPE) == 2
        assert len([*tmp_path.iterdir()]) == 2

    def test_a_run_that_dies_after_its_last_epoch_has_its_best(self, tmp_path):
        die = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path, 1, more=[die])
        assert train.resume(make_model(), tmp_path, RECIPE) == 1 and (tmp_path / "best.keras").exists()

    @pytest.mark.parametrize("content", [b"text", "half"])
    def test_a_damaged_state_is_named_and_changes_nothing(self, tmp_path, content):
        run(tmp_path, 2, dies_at=1)
        (path,) = tmp_path.glob("state-*.npz")
        path.write_bytes(path.read_bytes()[:1000] if content == "half" else content)
        model = make_model()
        before = model.get_weights()
        with pytest.raises(ValueError, match=r"state-\w+.npz is damaged \(.*\); delete"):
            train.resume(model, tmp_path, RECIPE)
        assert_equal(model.get_weights(), before)

    def test_half_precision_trains_resumes_and_is_range_tested(self, tmp_path):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            model = make_model()
            assert model.optimizer.name == "loss_scale_optimizer"
            run(tmp_path, 2, model, dies_at=1)
            again, whole = make_model(), make_model()
            run(tmp_path, 2, again)
            fit(whole, 2)
            assert_equal(again.get_weights(), whole.get_weights())
            numbered = make_model(keras.optimizers.Adam(1e-3))
            rates, found = train.lr_range_test(numbered, [(IMAGES, MASKS)], 1e-4, 1e-2, steps=3)
            assert len(rates) == 3 and np.isfinite(found).all()
        finally:
            keras.config.set_dtype_policy("float32")


def train_on_folders(folder, run_dir, *more, epochs=3):
    """Resumes and trains on augmented batches, and returns the weights."""
    pairs = data.from_folder(f"{folder}/images", f"{folder}/masks", labels=["a", "b", "c"])
    train.seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(inputs))
    model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(keras.layers.Dropout(0.3)(x)))
    rate = train.Warmup(PolynomialDecay(1e-2, 40, 0.0, power=0.9), 6)
    model.compile(keras.optimizers.AdamW(rate), losses.cross_entropy, metrics=[metrics.ConfusionMatrix(3)])
    done = train.resume(model, run_dir, {"pairs": pairs.counts})
    print("begins after", done, flush=True)
    mirror = augment.Augment((8, 8), flip=0.5)
    train_ds = pairs.batches("train", (12, 16), 4, augment=mirror, seed=0, epoch=done)
    fitted = {"validation_data": pairs.batches("val", (8, 8), 2), "initial_epoch": done, "shuffle": False, "verbose": 0}
    model.fit(train_ds, epochs=epochs, callbacks=[*train.callbacks(model, run_dir, lines=epochs), *more], **fitted)
    return model.get_weights()


@pytest.mark.parametrize("factor", [0.2, 1])
def test_discriminative_rates_are_those_of_two_optimizers(factor, rng):
    rate = CosineDecay(0.1, 9)
    found = [keras.Variable(np.ones(3), name=name) for name in ("slow", "fast")]
    wanted = [keras.Variable(weight) for weight in found]
    both = train.DiscriminativeAdamW(rate, 0.3, found[:1], factor)
    apart = [keras.optimizers.AdamW(CosineDecay(0.1 * factor, 9), 0.3), keras.optimizers.AdamW(rate, 0.3)]
    for _ in range(3):
        gradients = [ops.convert_to_tensor(g) for g in rng.normal(size=(2, 3)).astype(np.float32)]
        both.apply(gradients, found)
        for optimizer, gradient, weight in zip(apart, gradients, wanted, strict=True):
            optimizer.apply([gradient], [weight])
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_discriminative_rates_are_saved_with_the_model(tmp_path):
    train.seed(0)
    inputs = keras.Input((8, 8, 3))
    encoder = keras.Sequential([inputs, keras.layers.Conv2D(4, 1)], name="encoder")
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(encoder(inputs)))
    rates = train.DiscriminativeAdamW(0.1, 0.3, encoder.trainable_variables)
    model.compile(rates, losses.CompoundLoss({"cross_entropy": 1}), run_eagerly=True)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for one in (model, loaded):
        one.run_eagerly = True
        one.fit(IMAGES, MASKS, 4, verbose=0)
    assert_equal(model.get_weights(), loaded.get_weights())


@pytest.mark.parametrize(("slow", "factor"), [([], 0.1), (["kernel"], 0), (["kernel"], 2)])
def test_discriminative_rates_without_a_slow_part_are_refused(slow, factor):
    with pytest.raises(ValueError, match=f"slow weights .* got {len(slow)} weights and {factor}"):
        train.DiscriminativeAdamW(0.1, slow=slow, factor=factor)


def test_an_interrupted_run_ends_as_if_it_had_not_been(folders, tmp_path, capsys):
    """With dropout, batch normalisation, schedule, augmentation and shuffled pairs: the same bits."""
    with pytest.raises(KeyboardInterrupt):
        train_on_folders(folders[0].parent, tmp_path / "killed", Kill(2))
    killed = train_on_folders(folders[0].parent, tmp_path / "killed")
    assert "begins after 2" in capsys.readouterr().out
    assert_equal(killed, train_on_folders(folders[0].parent, tmp_path / "whole"))


@pytest.mark.long
def test_a_run_killed_outright_ends_as_if_it_had_not_been(folders, tmp_path, capsys):
    """SIGKILL in its epochs; another process resumes. (``bench/kill.py`` kills at random moments.)"""
    script = "import sys; sys.path.append(sys.argv[1]); import test_train; "
    script += "test_train.train_on_folders(*sys.argv[2:], epochs=8)"
    places = [str(Path(__file__).parent), str(folders[0].parent), str(tmp_path / "killed")]
    with subprocess.Popen([sys.executable, "-c", script, *places], stdout=subprocess.PIPE, text=True) as process:
        _ = list(itertools.islice((line for line in process.stdout if line.startswith("epoch")), 3))
        process.kill()
    assert process.returncode != 0
    killed = train_on_folders(folders[0].parent, tmp_path / "killed", epochs=8)
    assert 2 < int(capsys.readouterr().out.split("begins after")[1].split()[0]) < 8
    assert_equal(killed, train_on_folders(folders[0].parent, tmp_path / "whole", epochs=8))


@pytest.mark.parametrize(
    ("images", "masks", "reason"),
    [(IMAGES, MASKS + 7, "another id"), (IMAGES * np.nan, MASKS, "NaN logits")],
)
def test_a_loss_that_is_nan_stops_and_says_why(tmp_path, images, masks, reason):
    model = make_model()
    with pytest.raises(ValueError, match=f"loss is nan after step 1 .*{reason}"):
        model.fit(images, masks, 2, verbose=0, callbacks=train.callbacks(model, tmp_path))


def test_progress_is_short(capsys):
    fit(make_model(), 5, train.Progress(lines=3))
    lines = capsys.readouterr().out.splitlines()
    assert [line[:11] for line in lines] == ["epoch   2/5", "epoch   4/5", "epoch   5/5"] and "val mIoU" in lines[0]
    with pytest.raises(ValueError, match="lines .* 1 or more, got 0"):
        train.Progress(lines=0)


# Trains on as many logical processors as it is told, and prints the losses of each.
REPLICAS = """
import sys
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from seglib import losses, metrics, train

images = np.random.default_rng(0).uniform(0, 1, (8, 8, 8, 3)).astype("float32")
masks = (images[..., 0] > 0.5).astype("uint8")
batches = tf.data.Dataset.from_tensor_slices((images, masks)).batch(4)
for replicas in (1, 2):
    train.seed(0)
    with tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)]).scope():  # the one line
        model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 3, padding="same")])
        model.compile(keras.optimizers.SGD(0.1), losses.CompoundLoss({"cross_entropy": 1}),
            metrics=[metrics.ConfusionMatrix(2)])
    train.resume(model, sys.argv[1], {"replicas": replicas})
    more = train.callbacks(model, sys.argv[1])
    seen = model.fit(batches, validation_data=batches, epochs=1, shuffle=False, verbose=0, callbacks=more).history
    print("losses", *(f"{x:.5f}" for x in seen["loss"] + seen["val_loss"] + seen["val_miou"]))
"""


@pytest.mark.slow
def test_two_replicas_learn_what_one_does(tmp_path):
    done = subprocess.run([sys.executable, "-c", REPLICAS, str(tmp_path)], capture_output=True, text=True)
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("losses")]
    assert len(found) == 2, done.stderr
    one, two = np.array(found, float)
    assert len(one) == 3 and one[1] < one[0], "the validation comes after the training"
    np.testing.assert_allclose(one, two, atol=1e-4)
