"""A plan made from the data (after nnU-Net, Isensee et al. 2021): what is trained, on what, how long, and why."""

import json
import math
import os
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from seglib import augment, class_balance, losses, metrics, models
from seglib.bridge import call_python
from seglib.images import resize_image, resize_mask
from seglib.train import loop
from seglib.train.rates import DiscriminativeAdamW, Warmup

SAMPLE = 100  # training pairs that are looked at, of the first 2,000
STEPS = 1000  # unless the time allowed is said
WIDTH = 5  # pixels that the thinner classes keep at the plan's scale
SHORTER = 256  # pixels that the shorter side keeps at least
AREA = 224**2  # pixels of a crop: those of an image of ImageNet
LARGEST_VIEW = 512  # pixels of a side in validation: of larger images, a part is looked at
BYTES = 6000  # of memory in a training step, for each pixel of a crop
NETWORKS = {"unet": {"depth": 5, "filters": 16}, "fcn": {"backbone": "small"}, "deeplab_v3_plus": {}}
PRETRAINED = {"filters": 32, "encoder": "efficientnet_lite0", "weights": "imagenet"}


class Plan(NamedTuple):
    """How a network is trained, and why so; ``print(plan)`` says it line by line, ``plan._replace(…)`` changes it.

    Attributes:
        scale: the factor of the images' own sizes, in training as in prediction.
        crop: (height, width) of what the network is trained on, cut from the scaled images.
        batch_size: crops in a step.
        steps, epochs: training steps in all, and into how many equal parts they are divided; each ends with validation.
        model, network: the name of a function of :mod:`seglib.models`, and its options.
        frozen: the last layer of a pretrained encoder that is not trained, or None; then the rest of the encoder learns
            at 0.3 of the rate, its batch normalisation not at all.
        rate: the highest learning rate; it rises for a fortieth of the steps and falls to 0.
        class_weights: of the cross-entropy, one a class, or None.
        augment: ranges of :class:`seglib.augment.Augment`; its scale is relative to the plan's.
        view: (height, width) of the part of each image, at the plan's scale, that validation looks at.
        seed: of weights, order and augmentation.
        reasons: from the name of a field to why it has its value.
    """

    scale: float
    crop: tuple
    batch_size: int
    steps: int
    epochs: int
    model: str
    network: dict
    frozen: str | None
    rate: float
    class_weights: tuple | None
    augment: dict
    view: tuple
    seed: int = 0
    reasons: dict = {}

    def __str__(self):
        return "\n".join(f"{name}: {_show(self[i])}{_because(self, name)}" for i, name in enumerate(self._fields[:-1]))

    def save(self, path):
        """Writes the plan as JSON."""
        Path(path).write_text(json.dumps(self._asdict(), indent=1, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path):
        """Reads what :meth:`save` wrote; a ValueError names a file that is none."""
        try:
            return cls(**json.loads(Path(path).read_text(encoding="utf-8")))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: no plan can be read: {error}") from error


class _Facts(NamedTuple):
    """What some training pairs are like."""

    size: tuple  # median (height, width)
    in_colour: bool
    upright: float  # by how much the classes of the upper half differ in their shares from those of the lower, 0–1
    widths: np.ndarray  # (num_classes,) mean width of a class's regions in pixels; NaN where it does not occur
    pixels: np.ndarray  # (num_classes,) counts


def plan(dataset, minutes=None, **chosen):
    """Makes a :class:`Plan` from a sample of the training pairs; nothing is drawn at random.

    Args:
        dataset: a :class:`~seglib.data.Dataset` with a train and a val split.
        minutes: how long to train on this machine; some steps are timed to turn it into ``steps``, here and only here.
            None: 1,000 steps.
        **chosen: fields of :class:`Plan`, such as ``seed=1`` or ``model="fcn"``, that are not to be decided from the
            data; ``filters``, too, of ``network``, and ``augment`` as the name ``"none"``, ``"light"``, ``"standard"``
            or ``"strong"``. Those that are None are decided.

    Returns:
        The plan. The same pairs give the same plan, up to the steps that ``minutes`` allow.

    Raises:
        ValueError: a split that is missing, or an unknown field.
    """
    chosen = {name: value for name, value in chosen.items() if value is not None}
    filters, preset = chosen.pop("filters", None), chosen.get("augment")
    if strange := chosen.keys() - set(Plan._fields):
        raise ValueError(f"a plan has no {', '.join(strange)}; it has {', '.join(Plan._fields)}")
    if isinstance(preset, str):
        chosen["augment"] = {"preset": preset}
    facts, why = _look_at(dataset), {}
    thin = float(np.nanquantile(facts.widths, 1 / 3, method="lower"))
    scale = chosen.get("scale", round(min(1, max(WIDTH / thin, SHORTER / min(facts.size))), 2))
    why["scale"] = f"thinner classes are {thin:.1f} pixels wide, images {facts.size[0]}×{facts.size[1]}"
    size = [max(1, round(scale * side)) for side in facts.size]
    crop = tuple(chosen.get("crop") or _choose_crop(size))
    why["crop"] = f"of images that are {size[0]}×{size[1]} at this scale"
    model, network, frozen, why["network"] = _choose_network(facts, scale * thin, chosen.get("model", "unet"))
    if filters and model == "unet":
        network["filters"] = filters
    batch_size, why["batch_size"] = _choose_batch_size(crop, network.get("filters", 16) / 16)
    class_weights, why["class_weights"] = _choose_weights(facts.pixels)
    views, why["augment"] = _choose_augment(facts, dataset.counts["train"])
    view = tuple(min(side, LARGEST_VIEW) for side in size)
    made = dict(scale=scale, crop=crop, batch_size=batch_size, steps=STEPS, epochs=1, model=model, network=network)
    made |= dict(frozen=frozen, rate=3e-3, class_weights=class_weights, augment=views, view=view)
    made = Plan(
        **made | chosen, reasons=why | dict.fromkeys(chosen.keys() | ({"network"} if filters else ()), "chosen")
    )
    return _choose_steps(made, dataset, minutes, chosen)


def build(plan, labels):
    """The plan's network, seeded and compiled.

    Args:
        plan: a :class:`Plan`.
        labels: the :class:`~seglib.labels.LabelMap` of its dataset.
    """
    loop.seed(plan.seed)
    model = getattr(models, plan.model)((None, None, 3), labels.num_classes, **plan.network)
    rate = keras.optimizers.schedules.PolynomialDecay(plan.rate, plan.steps, end_learning_rate=0.0, power=0.9)
    options = {"weight_decay": 1e-2, "use_ema": True, "ema_momentum": min(0.99, 1 - 10 / max(plan.steps, 20))}
    if plan.frozen:
        encoder = model.get_layer("encoder")
        last = [layer.name for layer in encoder.layers].index(plan.frozen)
        for i, layer in enumerate(encoder.layers):
            if i <= last or isinstance(layer, keras.layers.BatchNormalization):
                layer.trainable = False
        optimizer, options = DiscriminativeAdamW, options | {"slow": encoder.trainable_variables, "factor": 0.3}
    else:
        optimizer = keras.optimizers.AdamW
    loss = {"cross_entropy": 1, "dice": 1}
    loss = losses.CompoundLoss(loss, ignore_id=labels.ignore_id, class_weights=plan.class_weights)
    metric = metrics.ConfusionMatrix(labels.num_classes, labels.ignore_id)
    model.compile(optimizer(Warmup(rate, plan.steps // 40), **options), loss, metrics=[metric])
    return model


def fit(plan, dataset, run_dir, recipe=None, note=None):
    """Trains the plan's network, or goes on with a run that was killed; ``best.keras`` and ``log.csv`` are in the end.

    Args:
        plan: a :class:`Plan`. dataset: the :class:`~seglib.data.Dataset` that it was made for.
        run_dir: the folder of this run; made if it is missing.
        recipe: mapping, as for :func:`resume`, of what plan and model do not say of the data.
        note: mapping, kept in the model's file (:func:`seglib.runs.read_note`).

    Returns:
        How many epochs were done before.
    """
    model = build(plan, dataset.labels)
    done = loop.resume(model, run_dir, {**(recipe or {}), **plan._replace(reasons={})._asdict()})
    each = plan.steps // plan.epochs
    callbacks = loop.callbacks(model, run_dir, lines=plan.epochs, note=note)
    model.fit(
        _draw_batches(plan, dataset, done * each),
        validation_data=_cut_views(plan, dataset),
        steps_per_epoch=each,
        initial_epoch=done,
        epochs=plan.epochs,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, keras.callbacks.CSVLogger(Path(run_dir) / "log.csv", append=done > 0)],
    )
    return done


def _look_at(dataset):
    """:class:`_Facts` of up to ``SAMPLE`` training pairs."""
    count, classes = dataset.counts.get("train", 0), dataset.labels.num_classes
    dataset.split("val")  # refuses what cannot be validated
    sizes, colours, halves, edges = [], [], np.zeros((2, classes)), np.zeros(classes)
    for pair in dataset.train.take(2000).shard(max(1, min(count, 2000) // SAMPLE), 0).as_numpy_iterator():
        image, mask = pair["image"].astype(np.int16), pair["mask"]
        sizes.append(mask.shape)
        colours.append(np.mean(image.max(-1) - image.min(-1)))
        for half, rows in zip(halves, np.array_split(mask, 2), strict=True):
            half += np.bincount(rows.ravel(), minlength=256)[:classes]
        for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1])):
            for side in (a[a != b], b[a != b]):
                edges += np.bincount(side, minlength=256)[:classes]
    pixels = halves.sum(axis=0)
    # Of a strip, the area is its width times half of its boundary; in all directions, that has 4 / π edges a pixel.
    widths = np.where(pixels > 0, 2 * pixels / np.maximum(edges, 1) * (4 / np.pi), np.nan)
    shares = halves / np.maximum(halves.sum(axis=1, keepdims=True), 1)
    size = tuple(int(side) for side in np.median(sizes, axis=0))
    return _Facts(size, statistics.median(colours) > 8, float(abs(shares[0] - shares[1]).sum() / 2), widths, pixels)


def _choose_crop(size):
    """(height, width) of an image's form and of ``AREA`` pixels, in multiples of 32, or as large as the image."""
    factor = math.sqrt(AREA / math.prod(size))
    return tuple(min(side, max(32, round(factor * side / 32) * 32)) for side in size)


def _choose_network(facts, thin, model):
    if model != "unet":
        return model, dict(NETWORKS[model]), None, "as the course trains it"
    scratch = model, dict(NETWORKS[model]), None
    if not facts.in_colour:
        return *scratch, "from scratch: the images are grey, no photographs"
    if thin < 4:
        return *scratch, f"from scratch, at full resolution: thinner classes are {thin:.1f} pixels wide at this scale"
    try:
        models.build_encoder(PRETRAINED["encoder"], PRETRAINED["weights"])
    except OSError as error:
        return *scratch, f"from scratch: {str(error).partition(';')[0]}"
    return model, dict(PRETRAINED), "block_2_add", "photographs in colour; ImageNet has trained the encoder"


def _choose_batch_size(crop, factor):
    """As many crops as fit into half of the memory, 4 at most: more learn less in the same time."""
    memory = 8 * 2**30
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    need = BYTES * factor * math.prod(crop)
    number = int(np.clip(memory / 2 // need, 1, 4))
    return number, f"they take about {number * need / 2**30:.1f} of {memory / 2**30:.0f} GiB of memory"


def _choose_weights(pixels):
    there = pixels > 0
    rarest = pixels[there].min() / pixels.sum()
    if rarest > 1 / (4 * there.sum()):
        return None, f"the rarest class has {rarest:.1%} of the pixels"
    weights = np.ones(len(pixels))
    weights[there] = class_balance.class_weights(pixels[None, there].astype(np.int64), "inverse_log")
    return tuple(weights.round(3).tolist()), f"inverse logarithm; the rarest class has {rarest:.1%} of the pixels"


def _choose_augment(facts, count):
    colour = {"saturation": 0.3, "hue": 10} if facts.in_colour else {}
    few = count < 100
    if facts.upright > 0.05:
        views = {
            "flip": 0.5,
            "scale": (0.75, 1.5),
            "brightness": 25,
            "contrast": 0.3,
            **({"rotation": 10} if few else {}),
        }
        told = "the classes of upper and lower halves differ: upright"
    else:
        views = {"flip": 0.5, "scale": (0.8, 1.25), "rotation": 180, "brightness": 15, "contrast": 0.2}
        views |= {"elastic": 3} if few else {}
        told = "upper and lower halves hold the same classes: any rotation"
    return views | colour, f"{told}; {count} images" + (", few" if few else "")


def _choose_steps(plan, dataset, minutes, chosen):
    """The plan with its steps, divided into epochs so that validation takes a tenth of the time or less."""
    steps, why = plan.steps, "the default; say the minutes allowed for more or fewer"
    if minutes and "steps" not in chosen:
        seconds = _time_step(plan, dataset)
        steps, why = max(1, round(0.85 * 60 * minutes / seconds)), f"{minutes:g} minutes at {seconds:.2f} s a step"
    looked = min(dataset.counts["val"], SAMPLE) * math.prod(plan.view)  # without gradients, a third of the time
    epochs = int(np.clip(0.3 * steps * plan.batch_size * math.prod(plan.crop) / looked, 5, 20))
    epochs = min(chosen.get("epochs", epochs), steps)
    reasons = {"steps": why, "epochs": "validation takes a tenth of the time or less"} | plan.reasons
    return plan._replace(steps=steps - steps % epochs, epochs=epochs, reasons=reasons)


def _time_step(plan, dataset):
    """The seconds of a training step, its batch included: the median of eight, after two that are slower."""
    model, batches, seconds = build(plan, dataset.labels), iter(_draw_batches(plan, dataset)), []
    for _ in range(10):
        began = time.perf_counter()
        model.train_on_batch(*(np.asarray(part) for part in next(batches)))
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds[2:])


def _draw_batches(plan, dataset, start=0):
    """Batches without end, from step ``start`` on: crops of the training images at the plan's scale, augmented."""
    ranges, labels = dict(plan.augment), dataset.labels
    low, high = ranges.pop("scale", (1, 1))
    preset = ranges.pop("preset", None)
    reduced = min(1, plan.scale * high)  # by files, with antialiasing; the rest by the augmentation
    if preset in (None, "none"):
        scale = (plan.scale * low / reduced, plan.scale * high / reduced)
        views = augment.Augment(plan.crop, scale=scale, ignore_id=labels.ignore_id, **ranges)
    else:
        reduced, views = plan.scale, getattr(augment, preset)(plan.crop, ignore_id=labels.ignore_id)

    def change(pair, seed):
        return views(_resize(pair, reduced), seed)

    make = lambda epoch: dataset.batches("train", None, plan.batch_size, change, seed=plan.seed, epoch=epoch)  # noqa: E731
    each = len(make(0))
    return make(start // each).repeat().skip(start % each)


def _cut_views(plan, dataset):
    """Validation batches: of up to ``SAMPLE`` images at the plan's scale, a part of ``plan.view``, always the same."""
    views = augment.Augment(plan.view, ignore_id=dataset.labels.ignore_id)

    def cut(number, pair):
        pair = _resize({"images": pair["image"], "segmentation_masks": pair["mask"]}, plan.scale)
        pair = views(pair, number + [7, 0])
        return pair["images"], pair["segmentation_masks"]

    pairs = dataset.val.shard(-(-dataset.counts["val"] // SAMPLE), 0)
    return pairs.enumerate().map(cut).batch(plan.batch_size).cache()


def _resize(pair, scale):
    """A pair of ``augment``, in ``tf.data``, its image and mask resized by a factor."""
    if scale == 1:
        return pair
    import tensorflow as tf

    def resize(image, mask):
        size = tuple(max(1, round(scale * side)) for side in mask.shape)
        return resize_image(image, size), resize_mask(mask, size)

    specs = [tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((None, None), tf.uint8)]
    inputs = [pair["images"], pair["segmentation_masks"]]
    return dict(zip(pair, call_python(resize, inputs, specs), strict=True))


def _show(value):
    if isinstance(value, dict):
        return ", ".join(f"{name} {_show(part)}" for name, part in value.items()) or "none"
    if isinstance(value, (tuple, list)):
        return " ".join(_show(part) for part in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _because(plan, name):
    return f" ({plan.reasons[name]})" if name in plan.reasons else ""
