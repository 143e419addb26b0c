"""Training: one seed for everything, the schedule, and callbacks that keep the best, resume, report and show."""

import hashlib
import os
import re
import time
from pathlib import Path

import keras
from keras import ops

from seglib import viz


def seed(number):
    """Seeds Python, NumPy and the backend, so that weights and dropout are drawn alike in every run.

    Call it before the model is made. Batches have seeds of their own: see ``seed=`` of ``Dataset.batches``.
    """
    keras.utils.set_random_seed(number)


def poly(rate, steps, warmup=0, power=0.9):
    """The "poly" learning-rate schedule (Chen et al. 2018, DeepLab v2, section 4.1), with a linear warm-up before it.

    ``rate · (1 − step / steps)^power``; during the first ``warmup`` steps, ``rate · (step + 1) / warmup`` at most.

    Args:
        rate: the highest learning rate.
        steps: the step at which it reaches zero: epochs times batches in an epoch.
        warmup: steps of linear rise.
        power: 0.9 in DeepLab.

    Returns:
        A ``keras.optimizers.schedules.LearningRateSchedule``.

    Raises:
        ValueError: no step at all, or as many steps of warm-up as steps.
    """
    return Poly(rate, steps, warmup, power)


@keras.saving.register_keras_serializable("seglib")
class Poly(keras.optimizers.schedules.LearningRateSchedule):
    """What :func:`poly` returns; a class because Keras saves schedules as such."""

    def __init__(self, rate, steps, warmup=0, power=0.9):
        if steps < 1 or not 0 <= warmup < steps:
            raise ValueError(f"wanted at least 1 step and fewer steps of warm-up than steps, got {steps} and {warmup}")
        self.rate, self.steps, self.warmup, self.power = rate, steps, warmup, power

    def __call__(self, step):
        step = ops.cast(step, "float32")
        left = ops.maximum(1 - step / self.steps, 0.0)
        rise = ops.minimum((step + 1) / max(self.warmup, 1), 1.0)
        return self.rate * left**self.power * rise

    def get_config(self):
        return {"rate": self.rate, "steps": self.steps, "warmup": self.warmup, "power": self.power}


def callbacks(model, run_dir, preview=None, lines=8):
    """The callbacks that every training of the course uses.

    - when training ends, the model of the epoch with the best ``val_miou`` is in ``best.keras``;
    - a run that was killed goes on where its last epoch ended, if the same model, compiled alike, is trained into the
      same folder again; its ``history`` then holds the epochs since;
    - at most ``lines`` lines of progress;
    - ``preview``, a :class:`Preview`, if one is given.

    Args:
        model: the compiled model, with a metric named ``miou`` (:class:`seglib.metrics.ConfusionMatrix`).
        run_dir: the folder of this run, as from :func:`seglib.lesson.run_dir`.
    """
    run_dir = Path(run_dir)
    # An optimizer without variables makes them in the first step, and TensorFlow then traces that step a second time.
    model.optimizer.build(model.trainable_variables)
    # Another architecture, loss or schedule cannot go on from this one's weights: backups are kept by fingerprint.
    recipe = repr(([tuple(weight.shape) for weight in model.weights], model.get_compile_config()))
    recipe = re.sub(r"_\d+'", "'", recipe)  # Keras numbers the names of what is made anew
    fingerprint = hashlib.sha256(recipe.encode()).hexdigest()[:8]
    backup = keras.callbacks.BackupAndRestore(run_dir / f"backup-{fingerprint}")
    return [backup, KeepBest(run_dir), Progress(lines)] + ([preview] if preview else [])


class KeepBest(keras.callbacks.Callback):
    """Keeps the model of the epoch with the highest ``val_miou``: ``best.keras``, written when training has ended.

    Until then it is ``best-so-far.keras``, so that whoever finds ``best.keras`` finds a training that was finished. A
    run that is resumed remembers the best score from before.
    """

    def __init__(self, run_dir):
        super().__init__()
        self.so_far, self.final = Path(run_dir) / "best-so-far.keras", Path(run_dir) / "best.keras"
        self.note = Path(run_dir) / "best-so-far.txt"

    def on_train_begin(self, logs=None):
        resumed = int(self.model.optimizer.iterations) > 0 and self.note.exists()
        self.best = float(self.note.read_text()) if resumed else -1.0

    def on_epoch_end(self, epoch, logs=None):
        if "val_miou" not in logs:
            raise ValueError(
                "the best epoch is chosen by val_miou: give fit validation_data, and compile with "
                f"metrics=[metrics.ConfusionMatrix(num_classes)]; there is {', '.join(logs)}"
            )
        if logs["val_miou"] > self.best:
            self.best = float(logs["val_miou"])
            self.model.save(self.so_far)
            self.note.write_text(str(self.best))

    def on_train_end(self, logs=None):
        if self.so_far.exists():
            os.replace(self.so_far, self.final)
            self.note.unlink(missing_ok=True)


class Progress(keras.callbacks.Callback):
    """At most ``lines`` lines for a whole training: epoch, seconds so far, losses, validation mIoU."""

    def __init__(self, lines=8):
        super().__init__()
        self.lines = lines

    def on_train_begin(self, logs=None):
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        epochs = self.params["epochs"]
        every = -(-epochs // self.lines)
        if (epoch + 1) % every and epoch + 1 != epochs:
            return
        shown = {"loss": "loss", "val_loss": "val loss", "val_miou": "val mIoU"}
        scores = " · ".join(f"{text} {logs[key]:.3f}" for key, text in shown.items() if key in (logs or {}))
        seconds = time.perf_counter() - self.began
        print(f"epoch {epoch + 1:>3}/{epochs} · {seconds:4.0f} s · {scores}", flush=True)


class Preview(keras.callbacks.Callback):
    """Remembers what the model makes of the same few validation images as it learns; ``show()`` draws it.

    Args:
        images: (batch, height, width, 3) in 0–255.
        masks: (batch, height, width) ids, drawn beside the predictions.
        labels: the :class:`~seglib.labels.LabelMap`.
        epochs: after which epochs to look; 0 is before training.
    """

    def __init__(self, images, masks, labels, epochs=(0, 1, 4, 16)):
        super().__init__()
        self.images, self.masks, self.labels, self.epochs = images, masks, labels, set(epochs)
        self.preds = {}

    def on_train_begin(self, logs=None):
        if 0 in self.epochs:
            self._look(0)

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 in self.epochs or epoch + 1 == self.params["epochs"]:
            self._look(epoch + 1)

    def show(self):
        """Draws one row an image: the image, what the model said after each of the epochs, the truth."""
        columns = {f"after epoch {e}" if e else "untrained": ids for e, ids in sorted(self.preds.items())}
        viz.show_masks(self.images, {**columns, "truth": self.masks}, self.labels)

    def _look(self, epoch):
        logits = self.model(ops.convert_to_tensor(self.images), training=False)
        self.preds[epoch] = ops.convert_to_numpy(ops.argmax(logits, axis=-1))
