import itertools
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import h5py
import keras
import numpy as np
import psutil
import pytest
import tensorflow as tf

from seglib import losses, metrics, models, train
from seglib.labels import LabelMap
from seglib.train import memory
from seglib.train.callbacks import state_path

IMAGES = np.random.default_rng(0).uniform(0, 255, (4, 16, 16, 3)).astype(np.float32)
MASKS = (IMAGES[..., 0] > 128).astype(np.uint8)


def make_model():
    train.seed(0)
    model = models.unet((16, 16, 3), 2, filters=4, depth=2)
    optimizer = keras.optimizers.Adam(train.poly(1e-2, steps=8, warmup=2))
    model.compile(optimizer, losses.Sum({"cross_entropy": 1}), metrics=[metrics.ConfusionMatrix(2)])
    return model


def fit(model, epochs, *callbacks, done=0):
    fitted = {"validation_data": (IMAGES, MASKS), "verbose": 0, "shuffle": False, "initial_epoch": done}
    return model.fit(IMAGES, MASKS, 2, epochs, callbacks=[*callbacks], **fitted).history


class Kill(keras.callbacks.Callback):
    """Ends a training, as Ctrl-C would, when epoch ``at`` begins."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise KeyboardInterrupt


def test_one_seed_gives_the_same_training():
    assert fit(make_model(), 3) == fit(make_model(), 3)


def test_poly_by_hand():
    schedule = train.poly(0.1, steps=100, warmup=10)
    values = [float(schedule(step)) for step in (0, 4, 9, 50, 100, 120)]
    expected = [0.1 * 0.1, 0.1 * 0.5 * 0.96**0.9, 0.1 * 0.91**0.9, 0.1 * 0.5**0.9, 0, 0]
    assert values == pytest.approx(expected, abs=1e-7)
    assert float(train.poly(1, steps=4, power=2)(2)) == pytest.approx(0.25)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert float(again(50)) == float(schedule(50))


def test_cosine_by_hand():
    schedule = train.cosine(0.1, steps=100, warmup=10)
    values = [float(schedule(step)) for step in (0, 9, 25, 50, 100, 120)]
    expected = [0.01, 0.1 * (1 + np.cos(0.09 * np.pi)) / 2, 0.1 * (1 + np.cos(np.pi / 4)) / 2, 0.05, 0, 0]
    assert values == pytest.approx(expected, abs=1e-7)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    assert float(again(25)) == float(schedule(25))


@pytest.mark.parametrize("schedule", [train.poly, train.cosine])
def test_schedules_that_cannot_be_are_refused(schedule):
    for arguments in ({"steps": 0}, {"steps": 5, "warmup": 5}):
        with pytest.raises(ValueError, match="at least 1 step"):
            schedule(0.1, **arguments)
    for rate in (0, -1, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="a number above 0, got"):
            schedule(rate, 10)


def test_find_rate_finds_where_the_loss_explodes_and_leaves_no_trace():
    """A parabola of curvature 2: gradient descent is stable below a rate of 1, and falls fastest at ½."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")(inputs))
    model.compile(keras.optimizers.SGD(0.3), "mse")
    batches = tf.data.Dataset.from_tensors((np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)))
    before = model.get_weights()
    rates, found = train.find_rate(model, batches, 1e-2, 100, steps=50)
    assert len(rates) == len(found) < 50  # it ended when the loss exploded
    assert 0.3 < rates[found.argmin()] < 1.5 < rates[-1]
    np.testing.assert_array_equal(model.get_weights(), before)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.3) and int(model.optimizer.iterations) == 0


def test_find_rate_refuses_what_it_cannot_set():
    with pytest.raises(ValueError, match="has a schedule"):
        train.find_rate(make_model(), None)
    with pytest.raises(ValueError, match="0 < low < high, got 1 and 0.1"):
        train.find_rate(make_model(), None, 1, 0.1)


def test_the_best_epoch_is_kept(tmp_path):
    model = make_model()
    history = fit(model, 8, *train.callbacks(model, tmp_path))
    best = keras.models.load_model(tmp_path / "best.keras")
    assert best.evaluate(IMAGES, MASKS, verbose=0, return_dict=True)["miou"] == pytest.approx(max(history["val_miou"]))


def test_without_validation_there_is_no_best(tmp_path):
    model = make_model()
    with pytest.raises(ValueError, match="give fit validation_data.*there is loss, miou"):
        model.fit(IMAGES, MASKS, verbose=0, callbacks=train.callbacks(model, tmp_path))


def kill_with_a_score_out_of_reach(run_dir):
    """Ends a run after two of four epochs, and gives its best a score that no other reaches; returns that model."""
    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        fit(model, 4, *train.callbacks(model, run_dir), Kill(2))
    path = state_path(model, run_dir)
    np.savez(path, **{**np.load(path), "best": 1.1})
    (so_far,) = run_dir.glob("best-so-far-*.keras")
    return so_far.read_bytes()


def test_a_run_is_only_called_best_when_it_has_ended_and_remembers_its_best(tmp_path):
    before = kill_with_a_score_out_of_reach(tmp_path)
    assert not (tmp_path / "best.keras").exists()
    # The model of then must survive.
    again = make_model()
    done = train.resume(again, tmp_path)
    assert done == 2
    assert len(fit(again, 4, *train.callbacks(again, tmp_path), done=done)["loss"]) == 2
    assert (tmp_path / "best.keras").read_bytes() == before
    # Gone on with after its end, it trains nothing, and is what it was.
    ended = make_model()
    assert train.resume(ended, tmp_path) == 4
    assert fit(ended, 4, *train.callbacks(ended, tmp_path), done=4) == {}
    assert (tmp_path / "best.keras").read_bytes() == before
    # A new run starts from nothing, and its best replaces the old one's.
    new = make_model()
    assert len(fit(new, 1, *train.callbacks(new, tmp_path))["loss"]) == 1
    assert (tmp_path / "best.keras").read_bytes() != before


def test_a_killed_run_is_not_gone_on_with_unless_asked(tmp_path):
    kill_with_a_score_out_of_reach(tmp_path)
    fresh = make_model()
    assert len(fit(fresh, 4, *train.callbacks(fresh, tmp_path))["loss"]) == 4
    assert (tmp_path / "best.keras").exists()


def test_another_recipe_is_another_run(tmp_path):
    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        fit(model, 6, *train.callbacks(model, tmp_path), Kill(3))
    wider = models.unet((16, 16, 3), 2, filters=8, depth=2)
    wider.compile("adam", losses.Sum({"dice": 1}), metrics=[metrics.ConfusionMatrix(2)])
    slower = make_model()
    slower.compile(keras.optimizers.Adam(1e-4), losses.Sum({"dice": 1}), metrics=[metrics.ConfusionMatrix(2)])
    assert train.resume(wider, tmp_path) == train.resume(slower, tmp_path) == 0
    assert train.resume(make_model(), tmp_path) == 3


def test_another_architecture_of_the_same_weights_is_another_run(tmp_path):
    paths = set()
    for rate in (1, 2, 1):
        inputs = keras.Input((16, 16, 3))
        x = keras.layers.Conv2D(4, 3, padding="same", dilation_rate=rate)(inputs)
        model = keras.Model(inputs, keras.layers.Conv2D(2, 1)(x))
        model.compile("sgd", losses.Sum({"dice": 1}))
        paths.add(state_path(model, tmp_path))
    assert len(paths) == 2


def test_a_rate_that_was_changed_on_the_way_is_still_the_same_run(tmp_path):
    def make():
        model = make_model()
        model.compile(keras.optimizers.Adam(1e-2), losses.Sum({"dice": 1}), metrics=[metrics.ConfusionMatrix(2)])
        return model

    halve = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    for dies_at in (2, 4):
        model = make()
        done = train.resume(model, tmp_path)
        with pytest.raises(KeyboardInterrupt):
            fit(model, 6, *train.callbacks(model, tmp_path), halve, Kill(dies_at), done=done)
    assert train.resume(make(), tmp_path) == 4 and len([*tmp_path.iterdir()]) == 2


def test_two_runs_in_a_folder_keep_their_best_apart(tmp_path):
    before = kill_with_a_score_out_of_reach(tmp_path)
    other = make_model()
    other.compile("sgd", losses.Sum({"dice": 1}), metrics=[metrics.ConfusionMatrix(2)])
    with pytest.raises(KeyboardInterrupt):
        fit(other, 4, *train.callbacks(other, tmp_path), Kill(1))
    again = make_model()
    fit(again, 4, *train.callbacks(again, tmp_path), done=train.resume(again, tmp_path))
    assert (tmp_path / "best.keras").read_bytes() == before


def test_a_run_that_dies_after_its_last_epoch_has_its_best(tmp_path):
    class Die(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise BrokenPipeError

    model = make_model()
    with pytest.raises(BrokenPipeError):
        fit(model, 2, *train.callbacks(model, tmp_path), Die())
    assert train.resume(make_model(), tmp_path) == 2 and (tmp_path / "best.keras").exists()


@pytest.mark.parametrize("content", [b"", b"text", "half"])
def test_a_damaged_state_is_named(tmp_path, content):
    model = make_model()
    fit(model, 1, *train.callbacks(model, tmp_path))
    path = state_path(model, tmp_path)
    path.write_bytes(path.read_bytes()[:1000] if content == "half" else content)
    fresh = make_model()
    for action in (
        lambda: train.resume(fresh, tmp_path),
        lambda: fit(fresh, 1, *train.callbacks(fresh, tmp_path)),
    ):
        with pytest.raises(ValueError, match=r"state-\w+.npz is damaged \(.*\); delete it"):
            action()


def test_a_validation_without_a_score_ends_with_words(tmp_path):
    model = make_model()
    with pytest.raises(ValueError, match="val_miou is nan after epoch 1: .* outside the classes 0–1"):
        val = (IMAGES, np.full_like(MASKS, 7))
        model.fit(IMAGES, MASKS, 2, 1, validation_data=val, verbose=0, callbacks=train.callbacks(model, tmp_path))


RUN = """
import sys
import keras
from seglib import augment, data, losses, metrics, models, train

folder, run_dir, out = sys.argv[1:]
pairs = data.from_folder(f"{folder}/images", f"{folder}/masks", labels=["a", "b", "c"])
train.seed(0)
inputs = keras.Input((8, 8, 3))
x = keras.layers.Dropout(0.3)(keras.layers.BatchNormalization()(keras.layers.Conv2D(4, 3, padding="same")(inputs)))
model = keras.Model(inputs, keras.layers.Conv2D(3, 1)(x))
optimizer = keras.optimizers.AdamW(train.poly(1e-2, 90))
model.compile(optimizer, losses.Sum({"dice": 1}), metrics=[metrics.ConfusionMatrix(3)])
done = train.resume(model, run_dir)
print("begins after", done, flush=True)
mirror = augment.Augment((8, 8), flip=0.5)
train_ds = pairs.batches("train", (12, 16), 2, augment=mirror, seed=0, epoch=done)
val_ds = pairs.batches("val", (8, 8), 2)
fitted = {"validation_data": val_ds, "initial_epoch": done, "shuffle": False, "verbose": 0}
model.fit(train_ds, epochs=30, callbacks=[*train.callbacks(model, run_dir, lines=30)], **fitted)
model.save_weights(out)
"""


def test_a_run_killed_at_any_moment_ends_as_if_it_had_not_been(folders, tmp_path):
    """Killed outright (SIGKILL) three times, once while it was starting; the weights at the end are the same bits."""

    def start(run_dir, out):
        command = [sys.executable, "-c", RUN, str(folders[0].parent), str(run_dir), str(out)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    whole = start(tmp_path / "whole", tmp_path / "whole.weights.h5")
    said, wrong = whole.communicate(timeout=300)
    assert whole.returncode == 0 and "begins after 0" in said, wrong
    begun = []
    for epochs in (0, 6, 5, None):  # killed when it has finished so many, or not at all
        run = start(tmp_path / "killed", tmp_path / "killed.weights.h5")
        begun.append(int(next(line for line in run.stdout if line.startswith("begins")).split()[-1]))
        if epochs is not None:
            _ = list(itertools.islice(run.stdout, epochs))
            run.kill()
        _, wrong = run.communicate(timeout=300)
        assert run.returncode == (0 if epochs is None else -signal.SIGKILL), wrong
    assert begun[:2] == [0, 0] and 1 < begun[2] < begun[3] < 30
    ours, theirs = (load_weights(tmp_path / f"{name}.weights.h5") for name in ("killed", "whole"))
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, err_msg=name)
    assert (tmp_path / "killed" / "best.keras").exists()


def load_weights(path):
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    assert len(found) > 10
    return found


# What cannot go well stops with words


def test_a_loss_that_is_no_number_stops_and_says_why(tmp_path):
    model = make_model()
    with pytest.raises(ValueError, match="loss is nan after step 1 of this epoch: .* pixels had an id"):
        model.fit(IMAGES, MASKS + 7, 2, verbose=0, callbacks=train.callbacks(model, tmp_path))
    model = make_model()
    with pytest.raises(ValueError, match="loss is nan after step 1 .*logits that were NaN"):
        model.fit(IMAGES * np.nan, MASKS, 2, verbose=0, callbacks=train.callbacks(model, tmp_path))


def test_a_rate_of_nothing_is_refused_before_training(tmp_path):
    for rate in (0.0, float("nan")):
        model = make_model()
        model.compile(keras.optimizers.SGD(rate), losses.Sum({"dice": 1}), metrics=[metrics.ConfusionMatrix(2)])
        with pytest.raises(ValueError, match="a learning rate is a number above 0"):
            train.callbacks(model, tmp_path)


def test_a_folder_that_cannot_be_written_to_or_is_full_is_refused_before_training(tmp_path, monkeypatch):
    model = make_model()
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="could not keep anything in .*file"):
        train.callbacks(model, tmp_path / "file")
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(OSError, match="has 0 MiB left; models and states of this training need"):
        train.callbacks(model, tmp_path)


def test_progress_is_short(tmp_path, capsys):
    fit(make_model(), 20, train.Progress(lines=5))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert lines[0].startswith("epoch   4/20") and lines[-1].startswith("epoch  20/20")
    assert "val mIoU" in lines[0]


def test_preview_remembers_and_draws(tmp_path):
    import matplotlib.pyplot as plt

    preview = train.Preview(IMAGES[:2], MASKS[:2], LabelMap(("a", "b")), epochs=(0, 1))
    fit(make_model(), 3, preview)
    assert sorted(preview.preds) == [0, 1, 3]
    assert all(ids.shape == (2, 16, 16) for ids in preview.preds.values())
    preview.show()
    titles = [axis.get_title() for axis in plt.gcf().axes[:5]]
    assert titles == ["image", "untrained", "after epoch 1", "after epoch 3", "truth"]
    plt.close("all")


def test_preview_redraws_in_its_place(monkeypatch):
    import IPython
    import matplotlib.pyplot as plt

    shown = []
    handle = SimpleNamespace(update=lambda figure: shown.append(("again", len(figure.axes))))
    first = lambda figure, display_id: (shown.append(("first", len(figure.axes))), handle)[1]  # noqa: E731
    monkeypatch.setattr(IPython.display, "display", first)
    fit(make_model(), 1, train.Preview(IMAGES[:2], MASKS[:2], LabelMap(("a", "b")), epochs=(0, 1), live=True))
    assert shown == []  # there is no notebook
    monkeypatch.setattr(IPython, "get_ipython", lambda: "a notebook")
    fit(make_model(), 3, train.Preview(IMAGES[:2], MASKS[:2], LabelMap(("a", "b")), epochs=(0, 1), live=True))
    assert shown == [("first", 6), ("again", 8), ("again", 10)]  # two rows of image, looks and truth
    assert not plt.get_fignums()


def test_the_average_of_the_weights_is_validated_and_kept(tmp_path):
    train.seed(0)
    model = models.unet((16, 16, 3), 2, filters=4, depth=2)
    optimizer = keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9)
    model.compile(optimizer, losses.Sum({"cross_entropy": 1}), metrics=[metrics.ConfusionMatrix(2)])
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
    best = keras.models.load_model(tmp_path / "best.keras")
    found = best.evaluate(IMAGES, MASKS, verbose=0, return_dict=True)["miou"]
    assert found == pytest.approx(max(history["val_miou"]), abs=1e-6)
    if np.argmax(history["val_miou"]) == 2:
        for kept, average in zip(best.trainable_variables, averages, strict=True):
            np.testing.assert_allclose(kept, average, atol=1e-5)


@pytest.fixture
def half_precision():
    keras.config.set_dtype_policy("mixed_float16")
    yield
    keras.config.set_dtype_policy("float32")


def test_half_precision_trains_resumes_and_is_range_tested(tmp_path, half_precision):
    model = make_model()
    assert model.optimizer.name == "loss_scale_optimizer"
    fit(model, 1, *train.callbacks(model, tmp_path))
    again = make_model()
    assert train.resume(again, tmp_path) == 1
    whole = make_model()
    fit(whole, 2, *train.callbacks(whole, tmp_path / "whole"))
    fit(again, 2, *train.callbacks(again, tmp_path), done=1)
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    whole.compile(keras.optimizers.Adam(1e-3), losses.Sum({"dice": 1}))
    rates, found = train.find_rate(whole, tf.data.Dataset.from_tensors((IMAGES, MASKS)), 1e-4, 1e-2, steps=3)
    assert len(rates) == 3 and np.isfinite(found).all()


def test_batch_sizes_are_tried_until_one_does_not_fit(monkeypatch):
    model = make_model()
    before = [np.array(v) for v in (*model.variables, *model.optimizer.variables)]
    steps = train.try_batch_sizes(model, IMAGES, MASKS, highest=8)
    assert [step.batch_size for step in steps] == [1, 2, 4, 8]
    assert all(step.seconds > 0 and step.bytes >= 0 for step in steps)
    for variable, value in zip((*model.variables, *model.optimizer.variables), before, strict=False):
        np.testing.assert_array_equal(variable, value)

    train_on_batch = model.train_on_batch

    def refuse(images, masks, limit, error):
        if len(images) > limit:
            raise error
        return train_on_batch(images, masks)

    too_large = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
    for error in (too_large, RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes")):
        model.train_on_batch = lambda *batch, error=error: refuse(*batch, 2, error)
        assert [step.batch_size for step in train.try_batch_sizes(model, IMAGES, MASKS)] == [1, 2]
    model.train_on_batch = lambda *batch: refuse(*batch, 0, too_large)
    with pytest.raises(MemoryError, match="not even one image of 16×16"):
        train.try_batch_sizes(model, IMAGES, MASKS)
    model.train_on_batch = lambda *batch: refuse(*batch, 0, ValueError("something else"))
    with pytest.raises(ValueError, match="something else"):
        train.try_batch_sizes(model, IMAGES, MASKS)


def test_batch_sizes_end_before_the_memory_does(monkeypatch):
    model = make_model()
    held = [100 * 2**20]

    class Process:  # the real one gives memory back when it likes
        def memory_info(self):
            return SimpleNamespace(rss=sum(held))

    def hold(images, masks):
        held.append(len(images) * 2**23)  # 8 MiB an image, in each of two steps
        time.sleep(0.02)

    model.train_on_batch = hold
    monkeypatch.setattr(psutil, "Process", Process)
    monkeypatch.setattr(memory, "free_memory", lambda: 200 * 2**20)
    steps = train.try_batch_sizes(model, IMAGES, MASKS, share=0.8)
    # together 16, 48, 112 MiB: twice 112 would be more than 160
    assert [(step.batch_size, step.bytes / 2**20) for step in steps] == [(1, 16), (2, 48), (4, 112)]


def test_the_limit_of_a_container_is_seen(tmp_path, monkeypatch):
    whole = memory.free_memory()
    assert 0 < whole <= psutil.virtual_memory().total
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("400\n")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert memory.free_memory() == 600
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_memory() > 2**20


# Trains on as many logical processors as it is told, and prints the losses.
REPLICAS = """
import sys
import numpy as np
import tensorflow as tf
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
import keras
from seglib import losses, metrics, models, train

images = np.random.default_rng(0).uniform(0, 255, (8, 16, 16, 3)).astype("float32")
masks = (images[..., 0] > 128).astype("uint8")
batches = tf.data.Dataset.from_tensor_slices((images, masks)).batch(4)
strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(int(sys.argv[1]))])
train.seed(0)
with strategy.scope():  # the one line
    model = models.unet((16, 16, 3), 2, filters=4, depth=2, norm=None)
    model.compile(keras.optimizers.SGD(0.1), losses.Sum({"cross_entropy": 1}), metrics=[metrics.ConfusionMatrix(2)])
more = train.callbacks(model, sys.argv[2])
seen = model.fit(batches, validation_data=batches, epochs=3, shuffle=False, verbose=0, callbacks=more).history
print("losses", *(f"{x:.5f}" for x in seen["loss"] + seen["val_loss"] + seen["val_miou"]))
"""


def test_two_replicas_learn_what_one_does(tmp_path):
    command = [sys.executable, "-c", REPLICAS]
    runs = [subprocess.run([*command, str(n), str(tmp_path / str(n))], capture_output=True, text=True) for n in (1, 2)]
    found = [[line for line in run.stdout.splitlines() if line.startswith("losses")] for run in runs]
    one, two = (np.array(lines[0].split()[1:], float) for lines in found)
    assert len(one) == 9 and one[2] < one[0], runs[0].stderr
    np.testing.assert_allclose(one, two, atol=1e-4)
