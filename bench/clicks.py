"""How well is the clicked object segmented, what do three answers, embeddings and more clicks contribute, what do they cost?

    python bench/clicks.py            # writes bench/clicks.csv, and goes on where an earlier run was stopped
    python bench/clicks.py time       # milliseconds: the encoder, a further click, a U-Net that reads clicks as channels
    python bench/clicks.py automatic  # the repository's checkpoint, a grid of clicks: merged and missed cells

Networks of lesson 11, trained on the 60 training fields of ``cells/tiny``, scored on all 1,615 cells of the 40 test
fields. A click means the cell (0.8) or all cells that touch (0.2). The first click is at the centre of the cell, each
further one at the centre of the largest error (Sofiiuk et al. 2022). ``noc80`` is the number of clicks until the IoU of
the answer with the highest estimate is 0.8, or 20 where ten clicks do not suffice.

``promptable`` is the lesson's network; ``one answer`` has one mask; ``no embeddings`` has Gaussians alone; ``channels``
is a U-Net that reads image and clicks as five channels (Xu et al. 2016), with one click for each image and step, not
eight; ``long`` is ``promptable`` with six times the steps.
"""

from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np
import seeds
from keras import ops
from scipy import ndimage

from seglib.datasets import cells, streets

IMAGES, PROMPTS, CLICKS = 6, 8, 5
STEPS, RATE = 250, 6e-3
SIZE = 96
OBJECT = 0.8  # the share of prompts that mean the object, not its group
SEEDS = (0, 1, 2)
NAMES = ("promptable", "one answer", "no embeddings", "channels", "long")
FIELDS = ("network", "seed", "cells", *(f"iou{n}" for n in (1, 2, 3, 5, 10)), "best1", "noc80", "failed", "seconds")
CSV = Path(__file__).with_suffix(".csv")


class Field(NamedTuple):
    """An image (height, width, 3) uint8, and (height, width) integers: its objects and their groups, 0 for neither."""

    image: np.ndarray
    objects: np.ndarray
    groups: np.ndarray


def draw_cells(split):
    """The fields of ``cells/tiny``; a group is the cells that touch."""
    drawings = [cells.draw_cells(seed, SIZE, SIZE) for seed in cells.SPLITS[split]]
    return [Field(d.image, d.instances, find_groups(d.instances)) for d in drawings]


def find_groups(instances):
    """Cells with a line of background between them, joined and numbered."""
    joined = ndimage.binary_closing(np.pad(instances > 0, 2), np.ones((3, 3)))[2:-2, 2:-2]
    return ndimage.label(joined)[0]


def draw_streets(split, height=128, width=192, smallest=24):
    """The scenes of ``streets/small`` with their cars and pedestrians; a group is those of a class that touch."""
    fields = []
    for seed in streets.SPLITS[split]:
        scene = streets.draw_scene(seed, height, width)
        large = np.bincount(scene.instances.ravel()) >= smallest
        large[0] = False
        objects = np.where(large[scene.instances], scene.instances, 0)
        groups = np.zeros_like(objects)
        for class_id in np.unique(scene.mask[objects > 0]):
            numbers = ndimage.label((scene.mask == class_id) & (scene.instances > 0))[0]
            groups = np.where(numbers > 0, numbers + groups.max(), groups)
        fields.append(Field(scene.image, objects, groups))
    return fields


def draw_prompt(field, rng):
    """A target (height, width) bool, and a first click inside of it: (row, column, 1)."""
    here = field.objects == rng.choice(np.unique(field.objects[field.objects > 0]))
    if rng.random() > OBJECT:
        here = field.groups == field.groups[here].max()
    row, column = rng.choice(np.argwhere(here))
    return here, (row, column, 1)


def find_next_click(truth, pred, rng=None):
    """The next click of a user: at the centre of the largest error, (row, column, 1 or −1); 0s if there is none.

    The centre is the pixel that is farthest from what is no error; with ``rng`` any pixel at least half as far.
    """
    best, farthest = (0, 0, 0), 0
    for error, sign in ((truth & ~pred, 1), (pred & ~truth, -1)):
        depth = ndimage.distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1]
        if depth.max() > farthest:
            farthest = depth.max()
            place = (
                np.unravel_index(depth.argmax(), depth.shape)
                if rng is None
                else rng.choice(np.argwhere(depth > farthest / 2))
            )
            best = (*place, sign)
    return best


def crop(field, rng):
    """A random part of SIZE × SIZE pixels that holds an object, rotated by quarters and flipped."""
    while True:
        top, left = (rng.integers(n - SIZE + 1) for n in field.objects.shape)
        part = [plane[top : top + SIZE, left : left + SIZE] for plane in field]
        if part[1].any():
            break
    turns = rng.integers(4) if min(field.objects.shape) == max(field.objects.shape) else 0  # a street has an up
    part = [np.rot90(plane, turns) for plane in part]
    return Field(*(plane[:, ::-1] for plane in part)) if rng.random() < 0.5 else Field(*part)


def draw_batch(fields, rng, images=IMAGES, prompts=PROMPTS):
    """Inputs of :class:`Prompted` with a first click each, and their targets (images, prompts, SIZE, SIZE) bool."""
    clicks = np.zeros((images, prompts, CLICKS, 3), np.float32)
    targets, chosen = np.zeros((images, prompts, SIZE, SIZE), bool), []
    for i, number in enumerate(rng.integers(len(fields), size=images)):
        field = crop(fields[number], rng)
        chosen.append(field.image)
        for k in range(prompts):
            targets[i, k], clicks[i, k, 0] = draw_prompt(field, rng)
    return {"image": np.stack(chosen).astype(np.float32), "clicks": clicks}, targets


def correct(network, inputs, targets, rng):
    """Adds further clicks where the network is wrong now: to some prompts none, to others up to four."""
    more = np.minimum(rng.geometric(0.4, targets.shape[:2]) - 1, CLICKS - 1)
    for click in range(1, more.max() + 1):
        logits, scores = (ops.convert_to_numpy(x) for x in network.predict_on_batch(inputs))
        chosen = np.take_along_axis(logits, scores.argmax(-1)[..., None, None, None], -1)
        preds = np.kron(chosen[..., 0] > 0, np.ones((2, 2), bool))
        for i, k in np.argwhere(more >= click):
            inputs["clicks"][i, k, click] = find_next_click(targets[i, k], preds[i, k], rng)
    return inputs


class Prompted(keras.Model):
    """A promptable network that encodes each image once for several prompts; outputs have axes (images, prompts, …)."""

    def __init__(self, network):
        super().__init__()
        self.encoder, self.decoder = network.get_layer("encoder"), network.get_layer("decoder")

    def call(self, inputs):
        images, prompts, clicks, _ = ops.shape(inputs["clicks"])
        features = ops.repeat(self.encoder(inputs["image"]), prompts, axis=0)
        outputs = self.decoder([features, ops.reshape(inputs["clicks"], (-1, clicks, 3))])
        return [ops.reshape(x, (images, prompts, *ops.shape(x)[1:])) for x in outputs]

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        return prompt_loss(y, *y_pred)


def prompt_loss(targets, logits, scores):
    """That of the best answer (Kirillov et al. 2023, section 3), a little of the others, and the error of the scores.

    Cross-entropy, five-fold, and Dice, at stride 2, where a target is the share of four pixels.
    """
    answers, (height, width) = logits.shape[-1], targets.shape[2:]
    shares = ops.reshape(ops.cast(targets, "float32"), (-1, height // 2, 2, width // 2, 2))
    shares = ops.reshape(ops.mean(shares, axis=(2, 4)), (-1, height * width // 4, 1))
    logits = ops.reshape(logits, (-1, height * width // 4, answers))
    entropy = ops.mean(ops.softplus(logits) - logits * shares, axis=1)
    probs, sizes = ops.sigmoid(logits), ops.sum(shares, axis=1)
    dice = 1 - (2 * ops.sum(probs * shares, axis=1) + 1) / (ops.sum(probs, axis=1) + sizes + 1)
    each = 5 * entropy + dice
    truth, pred = (ops.cast(x, "float32") for x in (shares > 0.5, logits > 0))
    both = ops.sum(truth * pred, axis=1)
    ious = both / ops.maximum(ops.sum(truth, axis=1) + ops.sum(pred, axis=1) - both, 1)
    error = ops.mean((ops.reshape(scores, (-1, answers)) - ious) ** 2)
    return ops.mean(ops.min(each, axis=-1)) + 0.05 * ops.mean(each) + error


def fit(network, sources, steps, seed, rate=RATE, prompts=PROMPTS, told=0):
    """Trains a network, in turn on batches of each of ``sources``; every other step has corrections.

    Args:
        network: :func:`seglib.models.promptable`. sources: lists of :class:`Field`. told: print a line every so many.
    """
    rng, prompted = np.random.default_rng(seed), Prompted(network)
    prompted.compile(keras.optimizers.AdamW(seeds.poly(rate, steps, steps // 20), weight_decay=1e-2))
    for step in range(steps):
        inputs, targets = draw_batch(sources[step % len(sources)], rng, prompts=prompts)
        if rng.random() < 0.5 and step > steps // 10:
            inputs = correct(prompted, inputs, targets, rng)
        loss = prompted.train_on_batch(inputs, targets)
        if told and step % told == told - 1:
            print(f"step {step + 1} of {steps}: loss {loss:.3f}", flush=True)


def ask(network, features, clicks, chunk=64):
    """Masks (n, height, width, answers) bool, and scores of ``n`` prompts about one image, in equal chunks."""
    decoder, found = network.get_layer("decoder"), []
    for start in range(0, len(clicks), chunk):
        part = clicks[start : start + chunk]
        part = np.pad(part, [(0, chunk - len(part)), (0, 0), (0, 0)])
        found.append(decoder.predict_on_batch([np.repeat(features, chunk, axis=0), part]))
    logits, scores = (np.concatenate(x)[: len(clicks)] for x in zip(*found, strict=True))
    large = ops.convert_to_numpy(ops.image.resize(logits, [2 * n for n in logits.shape[1:3]]))
    return large > 0, scores


def iou(preds, truths):
    return (preds & truths).sum((1, 2)) / (preds | truths).sum((1, 2))


def measure(network, fields, rounds=10):
    """IoU of the chosen answer after each click, (objects, rounds), and of the best to the first, (objects,)."""
    rows, best = [], []
    for field in fields:
        truths = np.stack([field.objects == i for i in np.unique(field.objects[field.objects > 0])])
        height, width = field.objects.shape
        features = network.get_layer("encoder").predict_on_batch(field.image[None].astype(np.float32))
        clicks = np.zeros((len(truths), rounds, 3), np.float32)
        preds, scored = np.zeros_like(truths), np.zeros((len(truths), rounds))
        for n in range(rounds):
            clicks[:, n] = [find_next_click(truth, pred) for truth, pred in zip(truths, preds, strict=True)]
            masks, scores = ask(network, features, clicks)
            masks, chosen = masks[:, :height, :width], scores.argmax(-1)[:, None, None, None]
            if n == 0:
                best.extend(np.max([iou(masks[..., i], truths) for i in range(masks.shape[-1])], axis=0))
            preds = np.take_along_axis(masks, chosen, -1)[..., 0]
            scored[:, n] = iou(preds, truths)
        rows.append(scored)
    return np.concatenate(rows), np.array(best)


def count_clicks(scored, wanted=0.8):
    """The number of clicks to an IoU, (objects,); 20 where all that were tried do not suffice."""
    enough = scored >= wanted
    return np.where(enough.any(axis=1), enough.argmax(axis=1) + 1, 20)
