"""The callbacks of a training: the best model is kept, a killed run goes on, what cannot be well stops with words."""

import hashlib
import os
import re
import shutil
import tempfile
import weakref
from pathlib import Path

import keras
import numpy as np
from keras import ops

from seglib.train.report import Progress
from seglib.train.state import build_optimizer, optimizer_of, swap_average, variables_of


def callbacks(model, run_dir, preview=None, lines=8):
    """The callbacks that every training of the course uses.

    - when training ends, the model of the epoch with the best ``val_miou`` is in ``best.keras``;
    - after every epoch the state of the run is kept, with which :func:`resume` goes on if it is killed;
    - a loss that is not a number ends the training, and says why;
    - at most ``lines`` lines of progress;
    - where the optimizer keeps a moving average of the weights (``use_ema=True``), validation and the best model are
      of the average;
    - ``preview``, a :class:`Preview`, if one is given.

    What else Keras has goes beside them: ``[*train.callbacks(model, run_dir), keras.callbacks.EarlyStopping(…)]``.

    Args:
        model: the compiled model, with a metric named ``miou`` (:class:`seglib.metrics.ConfusionMatrix`).
        run_dir: the folder of this run, as from :func:`seglib.lesson.run_dir`; made if it is missing.

    Raises:
        ValueError: a learning rate that is not above 0; a state of this run that is damaged.
        OSError: the folder cannot be written to, or its disk has no room for what will be kept there.
    """
    # An optimizer without variables makes them in the first step, and TensorFlow then traces that step a second time.
    build_optimizer(model)
    rate = optimizer_of(model)._learning_rate
    if not isinstance(rate, keras.optimizers.schedules.LearningRateSchedule):  # these may end at 0
        rate = float(ops.convert_to_numpy(rate))
        if not 0 < rate < float("inf"):
            raise ValueError(f"a learning rate is a number above 0, got {rate}")
    keep = Keep(run_dir, state_path(model, run_dir))
    keep.check_room(model)
    return [RefuseNaN(), Average(), keep, Progress(lines)] + ([preview] if preview else [])


def resume(model, run_dir):
    """Puts a run that was killed back to where its last finished epoch ended.

    Weights, optimizer, and the draws of dropout are as they were. The run then ends as if nothing had happened, if it
    is given the batches that it had not seen yet::

        done = train.resume(model, run_dir)
        train_ds = streets.batches("train", size, augment=mirror, seed=0, epoch=done)
        model.fit(train_ds, initial_epoch=done, epochs=40, callbacks=train.callbacks(model, run_dir), …)

    Args:
        model: made and compiled exactly as the one that was killed; another architecture, loss, optimizer or schedule
            is another run, which begins at 0.
        run_dir: the folder that was given to :func:`callbacks`.

    Returns:
        How many epochs the run has finished: 0 if there is nothing to go on with, all if it has ended. To begin anew,
        do not call this function, or delete the folder.

    Raises:
        ValueError: the state is damaged; nothing of the model has changed.
    """
    path = state_path(model, run_dir)
    if not path.exists():
        return 0
    state = _read_state(path)
    for number, variable in enumerate(variables_of(model)):
        variable.assign(state[str(number)])
    return int(state["epochs"])


class Keep(keras.callbacks.Callback):
    """Keeps the model of the epoch with the highest ``val_miou``, and the state after every epoch.

    Until the last epoch, the model is ``best-so-far-….keras``, so that whoever finds ``best.keras`` finds a training
    that was finished. Every file is written beside its place and then moved there: whenever the run is killed,
    what is found is whole.

    Args:
        run_dir: the folder.
        path: the file of the state.
    """

    def __init__(self, run_dir, path):
        super().__init__()
        self.run_dir, self.path = Path(run_dir), path
        self.so_far = path.with_name(f"{path.stem.replace('state', 'best-so-far')}.keras")

    def check_room(self, model):
        """Raises an OSError if the folder cannot be written to, or has no room for twice the state and the model."""
        try:
            self.run_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.run_dir):
                pass
        except OSError as error:
            raise OSError(f"the training could not keep anything in {self.run_dir}: {error}") from error
        wanted = 4 * sum(ops.convert_to_numpy(variable).nbytes for variable in variables_of(model))
        free = shutil.disk_usage(self.run_dir).free
        if free < wanted:
            raise OSError(
                f"the disk of {self.run_dir} has {free / 2**20:.0f} MiB left; models and states of this training need "
                f"{wanted / 2**20:.0f} MiB"
            )

    def on_train_begin(self, logs=None):
        self.best = -1.0
        if self.path.exists():
            state = _read_state(self.path, ("steps", "best"))
            if state["steps"] == self.model.optimizer.iterations:  # it goes on, and does not begin anew
                self.best = float(state["best"])

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
            swap_average(self.model)
            self.model.save(beside)
            swap_average(self.model)
            os.replace(beside, self.so_far)
        if epoch + 1 == self.params["epochs"]:  # before the state, which says that all is done
            self.on_train_end()
        state = {str(n): ops.convert_to_numpy(variable) for n, variable in enumerate(variables_of(self.model))}
        steps = ops.convert_to_numpy(self.model.optimizer.iterations)
        beside = self.run_dir / "writing.npz"
        np.savez(beside, epochs=epoch + 1, steps=steps, best=self.best, **state)
        os.replace(beside, self.path)

    def on_train_end(self, logs=None):
        if self.so_far.exists():
            os.replace(self.so_far, self.run_dir / "best.keras")


class Average(keras.callbacks.Callback):
    """Validates with the moving average of the weights (Polyak & Juditsky 1992), where the optimizer keeps one."""

    def on_test_begin(self, logs=None):
        swap_average(self.model)

    on_test_end = on_test_begin


class RefuseNaN(keras.callbacks.Callback):
    """Ends a training whose loss is not a number, with the likely reason."""

    def on_train_batch_end(self, batch, logs=None):
        loss = (logs or {}).get("loss", 0.0)
        if abs(loss) < float("inf"):
            return
        reason = (
            _find_reason(self.model)
            or "the learning rate may be too high, or an image holds values that are no numbers"
        )
        raise ValueError(f"the loss is {loss} after step {batch + 1} of this epoch: {reason}")


def _find_reason(model):
    """What a confusion matrix among the metrics has found wrong with ids or logits; None if nothing."""
    for group in model.metrics:
        for metric in getattr(group, "metrics", []):
            try:
                _ = getattr(metric, "matrix", None)
            except ValueError as error:
                return str(error)
    return None


_recipes = weakref.WeakKeyDictionary()


def state_path(model, run_dir):
    """The file of a run's state. Another architecture, loss or schedule cannot go on from it, and has another name."""
    if model.optimizer not in _recipes:  # what is asked for at first: others may set the rate as the training goes on
        shapes = [tuple(weight.shape) for weight in model.weights]
        recipe = repr((_describe(model), shapes, model.get_compile_config()))
        recipe = re.sub(r"_\d+'", "'", recipe)  # Keras numbers the names of what is made anew
        _recipes[model.optimizer] = hashlib.sha256(recipe.encode()).hexdigest()[:8]
    return Path(run_dir) / f"state-{_recipes[model.optimizer]}.npz"


def _describe(model):
    try:
        return model.get_config()
    except NotImplementedError:  # a class of one's own, of which Keras does not know how it is made
        return type(model).__name__


def _read_state(path, names=None):
    """What a state holds under these names, which alone are read; None: under all."""
    try:
        with np.load(path) as state:
            return {name: state[name] for name in names or state.files}
    except Exception as error:  # whatever a file that is cut off or overwritten makes of the reader
        raise ValueError(f"{path} is damaged ({error}); delete it, and the training begins anew") from error
