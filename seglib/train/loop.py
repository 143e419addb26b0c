"""Training: one seed, and callbacks that keep the best model, resume a killed run and report."""

import contextlib
import hashlib
import json
import math
import os
import tempfile
import time
import weakref
from pathlib import Path

import keras
import numpy as np
from keras import ops

from seglib import hosts, runs


def seed(number):
    """Seeds Python, NumPy and the backend, so that initial weights and dropout are the same in every run.

    Call it before the model is built. Batches have seeds of their own: ``Dataset.batches(…, seed=…)``.
    """
    keras.utils.set_random_seed(number)


def callbacks(model, run_dir, lines=8, note=None):
    """The list of callbacks that every training of the course uses.

    - When training ends, ``best.keras`` holds the model of the epoch with the highest ``val_miou``.
    - If :func:`resume` was called for this model, the state of the run is saved after every epoch.
    - A loss that is NaN or infinite ends the training with the likely reason.
    - Where the optimizer keeps a moving average of the weights (``use_ema=True``), the average is what is validated
      and saved as the best model.

    Args:
        model: the compiled model, with a metric named ``miou`` (:class:`seglib.metrics.ConfusionMatrix`).
        run_dir: the folder of this run; made if it is missing.
        lines: how many lines of progress to print at most, 1 or more.
        note: mapping, as for ``json.dump``, that ``best.keras`` carries: :func:`seglib.runs.read_note`.

    Raises:
        ValueError: a learning rate that is not a finite number above 0, or ``lines`` below 1; in training, a loss or
            ``val_miou`` of NaN, or no ``val_miou``.
        OSError: the folder cannot be made.
    """
    # An optimizer without variables would make them in the first step, and TensorFlow would trace that step twice.
    _build_optimizer(model)
    rate = _optimizer_of(model)._learning_rate
    if not callable(rate) and not 0 < (rate := float(ops.convert_to_numpy(rate))) < math.inf:
        raise ValueError(f"a learning rate is a finite number above 0, got {rate}")
    path, best = _states.get(model.optimizer, (None, -1.0))
    if hosts.is_first():
        checkpoint = Checkpoint(run_dir, path, best, note)
    else:  # saving computes something, in which all hosts take part; what these write is removed with the callback
        spare = tempfile.TemporaryDirectory()
        checkpoint = Checkpoint(spare.name, path and Path(spare.name, path.name), best)
        checkpoint.spare = spare
    return [RefuseNaN(), checkpoint, Progress(lines)]


# Per optimizer: (path of its run's state, best score), and its model as first described (a callback may set the rate).
_states, _descriptions = weakref.WeakKeyDictionary(), weakref.WeakKeyDictionary()


def resume(model, run_dir, recipe):
    """Restores a run that was killed to the end of its last finished epoch, and names the run whose state is kept.

    Weights, optimizer and the random draws of dropout are restored. If the run is given the batches that it has not
    seen yet, it ends with the same weights as a run that was never killed. Call it in the first run, too::

        mirror = augment.Augment(size, flip=0.5)
        recipe = {"data": streets.name, "pairs": streets.counts, "size": size, "augment": "mirror", "seed": 0}
        done = train.resume(model, run_dir, recipe)
        train_ds = streets.batches("train", size, augment=mirror, seed=0, epoch=done)
        model.fit(train_ds, initial_epoch=done, epochs=40, callbacks=train.callbacks(model, run_dir), …)

    Args:
        model: built and compiled exactly as the one that was killed.
        run_dir: the folder that :func:`callbacks` gets, too.
        recipe: mapping, as for ``json.dump``, of all that the model does not know: data, size, augmentation, seed.
            Another recipe, architecture, loss, optimizer or schedule is another run, which begins at 0.

    Returns:
        How many epochs the run has finished: 0 if there is no state of this very run, all if it has ended.

    Raises:
        ValueError: the state is damaged; the model is left as it was.
        TypeError: a recipe that JSON cannot hold.
    """
    described = _descriptions.setdefault(model.optimizer, runs.describe_model(model, model.get_compile_config()))
    identity = hashlib.sha256((described + json.dumps(recipe, sort_keys=True)).encode()).hexdigest()[:8]
    path = Path(run_dir).resolve() / f"state-{identity}.npz"
    if not path.exists():
        _states[model.optimizer] = path, -1.0
        return 0
    try:
        with np.load(path) as file:
            state = dict(file)
    except Exception as error:  # NumPy raises many kinds for a file that is cut off or overwritten
        raise ValueError(f"{path} is damaged ({error}); delete it, and the training begins anew") from error
    for number, variable in enumerate(_variables_of(model)):
        variable.assign(state[str(number)])
    _states[model.optimizer] = path, float(state["best"])
    return int(state["epochs"])


class Checkpoint(keras.callbacks.Callback):
    """Saves the model of the epoch with the highest ``val_miou``, and the state after every epoch.

    Until the last epoch the model is in ``best-so-far….keras``: a folder with ``best.keras`` holds a finished training.
    Every file is written beside its place and then moved there, so that what is found after a kill is whole.
    ``path`` is that of the state (None saves none), ``best`` the score so far, below 0 for a run that has just begun.
    """

    def __init__(self, run_dir, path, best, note=None):
        super().__init__()
        self.run_dir, self.path, self.best, self.note = Path(run_dir), path, best, note
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.so_far = self.run_dir / f"{path.stem.replace('state', 'best-so-far') if path else 'best-so-far'}.keras"

    def on_train_begin(self, logs=None):
        if self.best < 0:
            self.so_far.unlink(missing_ok=True)

    # SwapEMAWeights of Keras would break either the saved state or the saved best model.
    def on_test_begin(self, logs=None):
        _swap_average(self.model)

    on_test_end = on_test_begin

    def on_epoch_end(self, epoch, logs=None):
        if "val_miou" not in logs:
            raise ValueError(
                "the best epoch is chosen by val_miou: give fit validation_data, and compile with "
                f"metrics=[metrics.ConfusionMatrix(num_classes)]; there is {', '.join(logs)}"
            )
        if not logs["val_miou"] >= 0:
            reason = _find_reason(self.model) or "no pixel could be counted"
            raise ValueError(f"val_miou is {logs['val_miou']} after epoch {epoch + 1}: {reason}")
        if logs["val_miou"] > self.best:
            self.best = float(logs["val_miou"])
            beside = self.run_dir / "writing.keras"
            _swap_average(self.model)
            self.model.save(beside)
            _swap_average(self.model)
            if self.note:
                runs.attach_note(beside, self.note)
            os.replace(beside, self.so_far)
        if epoch + 1 == self.params["epochs"]:  # before the state, which says that all is done
            self.on_train_end()
        if self.path:
            beside = self.run_dir / "writing.npz"
            state = {str(n): ops.convert_to_numpy(variable) for n, variable in enumerate(_variables_of(self.model))}
            np.savez(beside, epochs=epoch + 1, best=self.best, **state)
            os.replace(beside, self.path)
            _states[self.model.optimizer] = self.path, self.best

    def on_train_end(self, logs=None):
        if self.so_far.exists():
            os.replace(self.so_far, self.run_dir / "best.keras")


class RefuseNaN(keras.callbacks.Callback):
    """Ends a training whose loss is NaN or infinite, with the likely reason (``TerminateOnNaN`` gives none)."""

    def on_train_batch_end(self, batch, logs=None):
        if not math.isfinite(logs["loss"]):
            reason = _find_reason(self.model) or "the learning rate may be too high, or an image holds NaN"
            raise ValueError(f"the loss is {logs['loss']} after step {batch + 1} of this epoch: {reason}")


def _find_reason(model):
    """What a confusion matrix among the metrics has found wrong with ids or logits; None if nothing."""
    for group in model.metrics:
        for metric in getattr(group, "metrics", []):
            try:
                _ = getattr(metric, "matrix", None)
            except ValueError as error:
                return str(error)
    return None


class Progress(keras.callbacks.Callback):
    """Prints at most ``lines`` lines for a whole training: epoch, seconds so far, losses, validation mIoU."""

    def __init__(self, lines):
        super().__init__()
        if lines < 1:
            raise ValueError(f"lines must be 1 or more, got {lines}")
        self.lines = lines

    def on_train_begin(self, logs=None):
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        epochs = self.params["epochs"]
        if (epoch + 1) % math.ceil(epochs / self.lines) and epoch + 1 != epochs:
            return
        shown = {"loss": "loss", "val_loss": "val loss", "val_miou": "val mIoU"}
        scores = " · ".join(f"{text} {logs[key]:.3f}" for key, text in shown.items() if key in logs)
        seconds = time.perf_counter() - self.began
        print(f"epoch {epoch + 1:>3}/{epochs} · {seconds:4.0f} s · {scores}", flush=True)


def _variables_of(model):
    """Every variable of a compiled model and its optimizer, so with the seeds of dropout and the number of the step."""
    _build_optimizer(model)
    return [*model.variables, *model.optimizer.variables]


def _build_optimizer(model):
    """Lets the optimizer make its variables if it has not yet, on all devices that the model is on."""
    if not model.optimizer.built:  # the optimizer of mixed precision would make its own a second time
        strategy = getattr(model, "distribute_strategy", None)  # of TensorFlow alone
        with strategy.scope() if strategy else contextlib.nullcontext():
            model.optimizer.build(model.trainable_variables)


def _optimizer_of(model):
    """The optimizer that was asked for; in mixed precision Keras wraps it in one that scales the loss."""
    return getattr(model.optimizer, "inner_optimizer", model.optimizer)


@contextlib.contextmanager
def unchanged(model):
    """A ``with`` block after which the compiled model and its optimizer are restored, whatever was trained within."""
    variables = _variables_of(model)
    before = [ops.convert_to_numpy(variable) for variable in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def _swap_average(model):
    """Exchanges the weights with their moving average (Polyak & Juditsky 1992), where the optimizer keeps one."""
    optimizer = _optimizer_of(model)
    if optimizer.use_ema:
        for weight, average in zip(model.trainable_variables, optimizer._model_variables_moving_average, strict=True):
            held = ops.copy(weight)  # by the backend: NumPy's arrays would be compared between all hosts
            weight.assign(average)
            average.assign(held)
