"""What is seen of a training: a few lines of progress, and pictures of what the model makes of the same images."""

import time

import keras
from keras import ops

from seglib import viz


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
        live: whether to draw them in a notebook as the training goes on, each time in the same place.
    """

    def __init__(self, images, masks, labels, epochs=(0, 1, 4, 16), live=False):
        super().__init__()
        self.live = viz.Live() if live else None
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
        if self.live:
            self.live.show(self.show)
