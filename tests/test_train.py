import itertools
import shutil
import signal
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
    """Two convolutions; by default with a schedule of 8 steps, of which ``fit`` takes two an epoch."""
    train.seed(0)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=dilation)(keras.layers.Rescaling(1 / 255)(inputs))
    model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(keras.layers.Dropout(0.1)(x)))
    optimizer = optimizer or keras.optimizers.Adam(train.Warmup(PolynomialDecay(1e-2, 8, 0.0, power=0.9), 2))
    model.compile(optimizer, losses.cross_entropy, metrics=[metrics.ConfusionMatrix(2)])
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


def test_one_seed_gives_the_same_training():
    assert fit(make_model(), 2) == fit(make_model(), 2)


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
        for rate in (0, -1, float("nan"), float("inf")):
            with pytest.raises(ValueError, match=f"above 0, got {rate}"):
                train.Warmup(schedule(rate, 10), 2)
        for warmup in (5, 6, -1):
            with pytest.raises(ValueError, match=f"warm-up .*got {warmup}"):
                train.Warmup(schedule(0.1, 5), warmup)
        with pytest.raises(ValueError, match="CosineDecay.*got 0.1"):
            train.Warmup(0.1, 2)

    @pytest.mark.parametrize("rate", [0.0, float("nan"), lambda: float("nan"), PolynomialDecay(-1.0, 8)])
    def test_a_rate_that_is_not_above_0_is_refused_before_training(self, tmp_path, rate):
        with pytest.raises(ValueError, match="above 0, got (0.0|nan|-1.0)"):
            train.callbacks(make_model(keras.optimizers.SGD(rate)), tmp_path)

    def test_a_rate_may_be_a_function(self, tmp_path):
        model = make_model(keras.optimizers.SGD(lambda: 0.01))
        assert len(run(tmp_path, 1, model)) == 1
        with pytest.raises(ValueError, match="a function: compile with a number"):
            train.lr_range_test(model, [])

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

    def test_range_test_refuses_what_it_cannot_set(self):
        with pytest.raises(ValueError, match="schedule"):
            train.lr_range_test(make_model(), [])
        with pytest.raises(ValueError, match="low < high, got 1 and 0.1"):
            train.lr_range_test(make_model(), [], 1, 0.1)


class TestBest:
    def test_the_best_epoch_is_kept(self, tmp_path):
        model = make_model()
        history = fit(model, 4, *train.callbacks(model, tmp_path))
        assert score(tmp_path / "best.keras") == pytest.approx(max(history["val_miou"]))
        assert [path.name for path in tmp_path.iterdir()] == ["best.keras"]  # no state: nobody asked to resume

    def test_without_validation_there_is_no_best(self, tmp_path):
        model = make_model()
        with pytest.raises(ValueError, match="validation_data.*there is loss, miou"):
            model.fit(IMAGES, MASKS, verbose=0, callbacks=train.callbacks(model, tmp_path))

    def test_a_validation_without_a_score_ends_with_words(self, tmp_path):
        model = make_model()
        with pytest.raises(ValueError, match="val_miou is nan after epoch 1: .* outside the classes 0–1"):
            fit(model, 1, *train.callbacks(model, tmp_path), masks=np.full_like(MASKS, 7))

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
        assert train.resume(make_model(), tmp_path, {**RECIPE, "data": "circles"}) == 0
        assert train.resume(make_model(keras.optimizers.Adam(1e-2)), tmp_path, RECIPE) == 0
        assert train.resume(make_model(dilation=2), tmp_path, RECIPE) == 0
        assert train.resume(make_model(), tmp_path, {**RECIPE, "augment": "light"}) == 1
        assert len(run(tmp_path, 4)) == 2
        assert (tmp_path / "best.keras").read_bytes() == before

    def test_a_rate_that_was_changed_on_the_way_is_still_the_same_run(self, tmp_path):
        halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
        for dies_at in (1, 2):
            run(tmp_path, 6, make_model(keras.optimizers.Adam(1e-2)), dies_at, more=[halve])
        model = make_model(keras.optimizers.Adam(1e-2))
        assert train.resume(model, tmp_path, RECIPE) == train.resume(model, tmp_path, RECIPE) == 2
        assert len([*tmp_path.iterdir()]) == 2

    def test_resume_and_callbacks_want_the_same_folder(self, tmp_path):
        model = make_model()
        train.resume(model, tmp_path / "a", RECIPE)
        with pytest.raises(ValueError, match="resumes in .*/a, not in .*/b"):
            train.callbacks(model, tmp_path / "b")

    def test_a_run_that_dies_after_its_last_epoch_has_its_best(self, tmp_path):
        die = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tmp_path, 1, more=[die])
        assert train.resume(make_model(), tmp_path, RECIPE) == 1 and (tmp_path / "best.keras").exists()

    @pytest.mark.parametrize("content", [b"", b"text", "half"])
    def test_a_damaged_state_is_named_and_changes_nothing(self, tmp_path, content):
        train.resume(model := make_model(), tmp_path, RECIPE)
        train.callbacks(model, tmp_path)
        path = train._states[model.optimizer]
        np.savez(path, **{str(n): np.zeros(1000) for n in range(3)})
        path.write_bytes(path.read_bytes()[:1000] if content == "half" else content)
        before = model.get_weights()
        for action in (train.resume, lambda model, *_: fit(model, 1, *train.callbacks(model, tmp_path))):
            with pytest.raises(ValueError, match=r"state-\w+.npz is damaged \(.*\); delete"):
                action(model, tmp_path, RECIPE)
        for now, then in zip(model.get_weights(), before, strict=True):
            np.testing.assert_array_equal(now, then)

    def test_half_precision_trains_resumes_and_is_range_tested(self, tmp_path):
        keras.config.set_dtype_policy("mixed_float16")
        try:
            model = make_model()
            assert model.optimizer.name == "loss_scale_optimizer"
            run(tmp_path, 2, model, dies_at=1)
            again, whole = make_model(), make_model()
            run(tmp_path, 2, again)
            fit(whole, 2)
            for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
                np.testing.assert_array_equal(ours, theirs)
            numbered = make_model(keras.optimizers.Adam(1e-3))
            rates, found = train.lr_range_test(numbered, [(IMAGES, MASKS)], 1e-4, 1e-2, steps=3)
            assert len(rates) == 3 and np.isfinite(found).all()
        finally:
            keras.config.set_dtype_policy("float32")


def train_on_folders(folder, run_dir):
    """Resumes and trains 8 epochs of augmented batches, and returns the weights."""
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
    train_ds = pairs.batches("train", (12, 16), 2, augment=mirror, seed=0, epoch=done)
    fitted = {"validation_data": pairs.batches("val", (8, 8), 2), "initial_epoch": done, "shuffle": False, "verbose": 0}
    model.fit(train_ds, epochs=8, callbacks=train.callbacks(model, run_dir, lines=8), **fitted)
    return model.get_weights()


def test_a_run_killed_outright_ends_as_if_it_had_not_been(folders, tmp_path, capsys):
    """SIGKILL in its epochs; resumed by another process, the weights at the end are the same bits."""
    script = "import sys; sys.path.append(sys.argv[1]); import test_train; test_train.train_on_folders(*sys.argv[2:])"
    places = [str(Path(__file__).parent), str(folders[0].parent), str(tmp_path / "killed")]
    with subprocess.Popen([sys.executable, "-c", script, *places], stdout=subprocess.PIPE, text=True) as process:
        _ = list(itertools.islice((line for line in process.stdout if line.startswith("epoch")), 3))
        process.kill()
    assert process.returncode == -signal.SIGKILL
    killed = train_on_folders(folders[0].parent, tmp_path / "killed")
    assert 2 < int(capsys.readouterr().out.split("begins after")[1].split()[0]) < 8
    whole = train_on_folders(folders[0].parent, tmp_path / "whole")
    for ours, theirs in zip(killed, whole, strict=True):
        np.testing.assert_array_equal(ours, theirs)


class TestWhatCannotGoWell:
    @pytest.mark.parametrize(
        ("images", "masks", "reason"),
        [(IMAGES, MASKS + 7, "pixels had an id"), (IMAGES * np.nan, MASKS, "logits that were NaN")],
    )
    def test_a_loss_that_is_nan_stops_and_says_why(self, tmp_path, images, masks, reason):
        model = make_model()
        with pytest.raises(ValueError, match=f"loss is nan after step 1 .*{reason}"):
            model.fit(images, masks, 2, verbose=0, callbacks=train.callbacks(model, tmp_path))

    def test_a_folder_that_cannot_be_written_to_or_is_full(self, tmp_path, monkeypatch):
        model = make_model()
        (tmp_path / "file").write_text("")
        with pytest.raises(OSError, match="cannot write to .*file"):
            train.callbacks(model, tmp_path / "file")
        usage = shutil.disk_usage(tmp_path)._replace(free=1000)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(OSError, match="has 0 MiB left"):
            train.callbacks(model, tmp_path)


def test_progress_is_short_and_preview_keeps_columns(capsys):
    preview = train.Preview(IMAGES[:2], epochs=(0, 1))
    fit(make_model(), 10, train.Progress(lines=5), preview)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("epoch   2/10") and lines[-1].startswith("epoch  10/10")
    assert "val mIoU" in lines[0]
    assert list(preview.columns) == ["untrained", "after epoch 1", "after epoch 10"]
    assert all(ids.shape == (2, 8, 8) for ids in preview.columns.values())


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
    seen = model.fit(batches, validation_data=batches, epochs=2, shuffle=False, verbose=0, callbacks=more).history
    print("losses", *(f"{x:.5f}" for x in seen["loss"] + seen["val_loss"] + seen["val_miou"]))
"""


def test_two_replicas_learn_what_one_does(tmp_path):
    done = subprocess.run([sys.executable, "-c", REPLICAS, str(tmp_path)], capture_output=True, text=True)
    found = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith("losses")]
    assert len(found) == 2, done.stderr
    one, two = np.array(found, float)
    assert len(one) == 6 and one[1] < one[0]
    np.testing.assert_allclose(one, two, atol=1e-4)
