"""How well is a clicked cell segmented; what do several answers and embeddings contribute, and what does a click cost?

    python bench/clicks.py            # writes bench/clicks.csv, and goes on where an earlier run was stopped
    python bench/clicks.py time       # milliseconds of the encoder and of a further click
    python bench/clicks.py checkpoint # trains seglib/checkpoints/promptable.npz, and scores it
    python bench/clicks.py score      # scores it again; writes bench/clicks_checkpoint.csv
    python bench/clicks.py automatic  # writes bench/clicks_automatic.csv: the cells that a grid of clicks finds

Networks of lesson 11, trained on the 60 training fields of ``cells/tiny`` and scored on all 1,615 cells of the 40 test
fields. A prompt means the cell (0.72), all cells that touch it (0.18), or nothing, on the background (0.1). For the
scores each click is on the deepest wrong pixel, the first in the middle of the cell (Sofiiuk et al. 2022). ``iou1`` is
the mean IoU after the first click, of the answer with the highest estimate; ``best1`` that of the best answer.
``noc80`` is the mean number of clicks to an IoU of 0.8, counted as 20 where ten do not suffice, and ``failed`` the
share of these.

``promptable`` is the lesson's network; ``one answer`` has one mask; ``no embeddings`` knows clicks as Gaussians alone;
``channels`` is a U-Net that reads image and clicks as further channels (Xu et al. 2016). In a step it has 9 images with
one prompt each, the others 3 images with 8 each.
"""

import contextlib
import csv
import itertools
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple
from unittest.mock import patch

import cells as border
import keras
import numpy as np
import seeds
from checkpoints import save
from keras import layers, ops
from scipy import ndimage

from seglib import checkpoints, models, train
from seglib.datasets import cells, streets
from seglib.models.prompts import ClickMaps, Similarity, estimate_ious

IMAGES, PROMPTS, CLICKS = 3, 8, 4
STEPS, RATE = 500, 1e-2
SIZE = 96
OBJECT, NOTHING = 0.8, 0.1  # shares of the prompts: of those on an object, that mean it and not its group; on none
SEEDS = (0, 1, 2)
NAMES = ("promptable", "one answer", "no embeddings", "channels")
CHECKPOINT_IMAGES, CHECKPOINT_STEPS, CHECKPOINT_RATE = 6, 4000, 6e-3
ROUNDS = (1, 2, 3, 5, 10)
FIELDS = ("network", "seed", "cells", *(f"iou{n}" for n in ROUNDS), "best1", "noc80", "failed", "seconds")
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
    """A target (height, width) bool, empty where nothing is clicked, and a first click: (row, column, 1)."""
    empty = field.objects == 0
    if rng.random() < NOTHING and empty.any():
        return np.zeros_like(empty), (*rng.choice(np.argwhere(empty)), 1)
    here = field.objects == rng.choice(np.unique(field.objects[~empty]))
    if rng.random() > OBJECT:
        here = field.groups == field.groups[here].max()
    return here, (*rng.choice(np.argwhere(here)), 1)


def find_next_click(truth, pred, rng=None):
    """The next click of a user: (row, column, 1 or −1) of the deepest wrong pixel; zeros if none is wrong.

    Its depth is the distance to the nearest pixel without this error. With ``rng`` any pixel half as deep is drawn.
    """
    best, deepest = (0, 0, 0), 0
    for error, sign in ((truth & ~pred, 1), (pred & ~truth, -1)):
        depth = ndimage.distance_transform_edt(np.pad(error, 1))[1:-1, 1:-1]
        if depth.max() > deepest:
            deepest = depth.max()
            place = (
                np.unravel_index(depth.argmax(), depth.shape)
                if rng is None
                else rng.choice(np.argwhere(depth > deepest / 2))
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


def draw_batch(sources, rng, images=IMAGES, prompts=PROMPTS):
    """Inputs of :class:`Prompted` with a first click each, and their targets (images, prompts, SIZE, SIZE) bool.

    The images of a batch are of each of ``sources``, lists of :class:`Field`, in turn: batch normalisation needs
    batches that are alike.
    """
    clicks = np.zeros((images, prompts, CLICKS, 3), np.float32)
    targets, chosen = np.zeros((images, prompts, SIZE, SIZE), bool), []
    for i in range(images):
        fields = sources[i % len(sources)]
        field = crop(fields[rng.integers(len(fields))], rng)
        chosen.append(field.image)
        for k in range(prompts):
            targets[i, k], clicks[i, k, 0] = draw_prompt(field, rng)
    return {"image": np.stack(chosen).astype(np.float32), "clicks": clicks}, targets


def choose(masks, scores):
    """Of masks (n, height, width, answers) those with the highest scores (n, answers)."""
    return np.take_along_axis(masks, scores.argmax(-1)[:, None, None, None], -1)[..., 0]


def correct(prompted, inputs, targets, rng):
    """Adds further clicks where the network is wrong now: to some prompts none, to others up to three."""
    more = np.minimum(rng.geometric(0.4, targets.shape[:2]) - 1, CLICKS - 1)
    features = np.repeat(prompted.encoder.predict_on_batch(inputs["image"]), targets.shape[1], axis=0)
    for click in range(1, more.max() + 1):
        logits, scores = prompted.decoder.predict_on_batch([features, inputs["clicks"].reshape(-1, CLICKS, 3)])
        preds = choose(logits > 0, scores).reshape(targets.shape)
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

    The loss of an answer is five times its cross-entropy, plus Dice.
    """
    answers, (height, width) = logits.shape[-1], targets.shape[2:]
    truth = ops.reshape(ops.cast(targets, "float32"), (-1, height * width, 1))
    logits = ops.reshape(logits, (-1, height * width, answers))
    entropy = ops.mean(ops.softplus(logits) - logits * truth, axis=1)
    probs, sizes = ops.sigmoid(logits), ops.sum(truth, axis=1)
    dice = 1 - (2 * ops.sum(probs * truth, axis=1) + 1) / (ops.sum(probs, axis=1) + sizes + 1)
    each = 5 * entropy + dice
    pred = ops.cast(logits > 0, "float32")
    both = ops.sum(truth * pred, axis=1)
    ious = both / ops.maximum(ops.sum(truth, axis=1) + ops.sum(pred, axis=1) - both, 1)
    error = ops.mean((ops.reshape(scores, (-1, answers)) - ious) ** 2)
    return ops.mean(ops.min(each, axis=-1)) + 0.05 * ops.mean(each) + error


def fit(network, sources, steps, seed, images=IMAGES, prompts=PROMPTS, rate=RATE, told=0):
    """Trains a network of :func:`seglib.models.promptable`; every other step has corrections.

    ``told`` prints the mean loss every so many steps.
    """
    rng, prompted = np.random.default_rng(seed), Prompted(network)
    prompted.compile(keras.optimizers.AdamW(seeds.poly(rate, steps, steps // 20), weight_decay=1e-2))
    losses = []
    for step in range(steps):
        inputs, targets = draw_batch(sources, rng, images, prompts)
        if step % 2 and step > steps // 10:
            inputs = correct(prompted, inputs, targets, rng)
        losses.append(float(prompted.train_on_batch(inputs, targets)))
        if told and step % told == told - 1:
            print(f"step {step + 1} of {steps}: loss {statistics.mean(losses[-told:]):.3f}", flush=True)


def ask(network, features, clicks, chunk=64):
    """Masks (n, height, width, answers) bool, and scores of ``n`` prompts about one image, in equal chunks."""
    decoder, found = network.get_layer("decoder"), []
    for start in range(0, len(clicks), chunk):
        part = clicks[start : start + chunk]
        part = np.pad(part, [(0, chunk - len(part)), (0, 0), (0, 0)])
        found.append(decoder.predict_on_batch([np.repeat(features, chunk, axis=0), part]))
    logits, scores = (np.concatenate(x)[: len(clicks)] for x in zip(*found, strict=True))
    return logits > 0, scores


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
            masks = masks[:, :height, :width]
            if n == 0:
                best.extend(np.max([iou(masks[..., i], truths) for i in range(masks.shape[-1])], axis=0))
            preds = choose(masks, scores)
            scored[:, n] = iou(preds, truths)
        rows.append(scored)
    return np.concatenate(rows), np.array(best)


def count_clicks(scored, wanted=0.8):
    """The number of clicks to an IoU, (objects,); 20 where all that were tried do not suffice."""
    enough = scored >= wanted
    return np.where(enough.any(axis=1), enough.argmax(axis=1) + 1, 20)


def build(name):
    """The untrained network of a row of the table."""
    if name == "channels":
        return build_channels()
    return models.promptable((None, None, 3), num_answers=1 if name == "one answer" else 3)


def build_channels(filters=16, depth=4):
    """A U-Net with the clicks as further channels, in the form of a promptable network whose encoder does nothing."""
    image, clicks = keras.Input((SIZE, SIZE, 3), name="image"), keras.Input((None, 3), name="clicks")
    maps = layers.UpSampling2D(2)(ClickMaps()(layers.AveragePooling2D(2)(image), clicks))
    unet = models.unet((SIZE, SIZE, 7), 3, filters=filters, depth=depth)
    unet = keras.Model(unet.inputs, [unet.output, unet.get_layer("logits").input])
    logits, x = unet(layers.Concatenate()([image, layers.Rescaling(255)(maps)]))
    decoder = keras.Model([image, clicks], [logits, estimate_ious(x, maps[..., :1], 3)], name="decoder")
    same = keras.Input((SIZE, SIZE, 3))
    encoder = keras.Model(same, layers.Identity()(same), name="encoder")
    return keras.Model([image, clicks], decoder([encoder(image), clicks]))


def run(name, seed):
    """One training, scored: the values of a row."""
    train.seed(seed)
    hidden = patch.object(Similarity, "call", lambda self, x, clicks: ops.zeros_like(x[..., : 2 * self.heads]))
    with hidden if name == "no embeddings" else contextlib.nullcontext():
        network = build(name)
        began = time.perf_counter()
        fit(network, [draw_cells("train")], STEPS, seed, *((9, 1) if name == "channels" else (IMAGES, PROMPTS)))
        seconds = time.perf_counter() - began
        return [*score(network, draw_cells("test")), f"{seconds:.0f}"]


def score(network, fields):
    """The number of objects, and the columns of a row from ``iou1`` to ``failed``."""
    scored, best = measure(network, fields)
    clicks = count_clicks(scored)
    means = [*scored[:, [n - 1 for n in ROUNDS]].mean(axis=0), best.mean(), clicks.mean(), (clicks == 20).mean()]
    return [len(scored), *(f"{mean:.4f}" for mean in means)]


def suppress(masks, scores, overlap=0.5):
    """Which masks (n, height, width) stay, best first: empty ones do not, nor those that share more of the smaller."""
    areas, kept = masks.sum((1, 2)), []
    for i in np.argsort(-scores, kind="stable"):
        shared = ((masks[i] & masks[k]).sum() / min(areas[i], areas[k]) for k in kept)
        if areas[i] and max(shared, default=0) <= overlap:
            kept.append(int(i))
    return kept


def segment_all(network, image, answer, spacing=3, lowest_iou=0.5, overlap=0.5):
    """An instance map (height, width), 0 for background, of a grid of clicks and non-maximum suppression on masks.

    Of each click the mask of ``answer`` counts, if its estimated IoU is ``lowest_iou`` or more.
    """
    height, width = image.shape[:2]
    grid = np.stack(np.meshgrid(range(1, height, spacing), range(1, width, spacing), indexing="ij"), -1).reshape(-1, 2)
    clicks = np.concatenate([grid, np.ones((len(grid), 1))], axis=1).astype(np.float32)[:, None]
    features = network.get_layer("encoder").predict_on_batch(image[None].astype(np.float32))
    masks, scores = ask(network, features, clicks)
    likely = scores[:, answer] >= lowest_iou
    masks, scores = masks[likely, :height, :width, answer], scores[likely, answer]
    ids = np.zeros((height, width), np.int32)
    for number, i in enumerate(suppress(masks, scores, overlap), start=1):
        ids[masks[i] & (ids == 0)] = number
    return ids


def find_answer(network, fields):
    """Which answer is the object: the one with the highest mean IoU after one click at the centre."""
    totals = 0
    for field in fields:
        truths = np.stack([field.objects == i for i in np.unique(field.objects[field.objects > 0])])
        clicks = np.array([[find_next_click(truth, np.zeros_like(truth))] for truth in truths], np.float32)
        features = network.get_layer("encoder").predict_on_batch(field.image[None].astype(np.float32))
        masks = ask(network, features, clicks)[0][:, : truths.shape[1], : truths.shape[2]]
        totals = totals + np.array([iou(masks[..., i], truths).sum() for i in range(masks.shape[-1])])
    return int(totals.argmax())


def automatic():
    """Counts the cells that a grid of clicks finds, and those that a U-Net with a border weight map finds."""
    network, fields = checkpoints.load("promptable"), draw_cells("test")
    answer = find_answer(network, draw_cells("train"))
    unet, batches = border.prepare("border map", 0)
    seeds.fit(unet, batches, border.EPOCHS, border.RATE)

    def find_pieces(image):
        pred = ops.convert_to_numpy(ops.argmax(unet(image[None], training=False), axis=-1))[0]
        return ndimage.label(pred)[0]

    methods = {"grid of clicks": lambda image: segment_all(network, image, answer), "border map": find_pieces}
    with CSV.with_name("clicks_automatic.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("method", "cells", "found", "merged", "missed", "false"))
        for name, find in methods.items():
            counts = sum(border.count_objects(field.objects, find(field.image)) for field in fields)
            writer.writerow((name, *counts))
            print(f"{name}: {counts}")


def make_checkpoint():
    """Trains the checkpoint on two fields of cells to each street, and scores it as it is stored, in float16."""
    train.seed(0)
    network = models.promptable((None, None, 3))
    fields = draw_cells("train")
    sources = [fields, fields, draw_streets("train")]
    fit(network, sources, CHECKPOINT_STEPS, 0, images=CHECKPOINT_IMAGES, rate=CHECKPOINT_RATE, told=100)
    save(network, checkpoints.FOLDER / "promptable.npz")
    score_checkpoint()


def score_checkpoint():
    """Writes the checkpoint's scores on test images, beside the numbers of images and objects it was trained on."""
    network = checkpoints.load("promptable")
    with CSV.with_name("clicks_checkpoint.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("images", "train_images", "train_objects", "objects", *FIELDS[3:-1]))
        for name, draw in {"cells": draw_cells, "streets": draw_streets}.items():
            trained = draw("train")
            objects = sum(len(np.unique(field.objects[field.objects > 0])) for field in trained)
            writer.writerow((name, len(trained), objects, *score(network, draw("test"))))


def clock(call, repeats=50):
    """The median time of a call, in milliseconds."""
    call()
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        call()
        taken.append(1000 * (time.perf_counter() - began))
    return statistics.median(taken)


def measure_time():
    """The encoder, a further click, and the whole network, at two sizes."""
    network = checkpoints.load("promptable")
    encoder, decoder = network.get_layer("encoder"), network.get_layer("decoder")
    for side in (SIZE, 256):
        image, click = np.zeros((1, side, side, 3), np.float32), np.ones((1, 1, 3), np.float32)
        features = encoder.predict_on_batch(image)
        whole = clock(lambda image=image, click=click: network.predict_on_batch([image, click]))
        again = clock(lambda features=features, click=click: decoder.predict_on_batch([features, click]))
        print(f"{side}×{side}: the whole network {whole:.1f} ms, a further click {again:.1f} ms, {again / whole:.0%}")


def main(words):
    if words:
        commands = {"score": score_checkpoint, "automatic": automatic, "time": measure_time}
        return {"checkpoint": make_checkpoint, **commands}[words[0]]()
    rows = seeds.collect(CSV, FIELDS, list(itertools.product(NAMES, SEEDS)), run)
    for name in NAMES:
        chosen = [row for row in rows if row["network"] == name]
        one, clicks = (seeds.spread([float(row[key]) for row in chosen]) for key in ("iou1", "noc80"))
        print(f"{name:15} IoU after one click {one} · clicks to an IoU of 0.8 {clicks}")


if __name__ == "__main__":
    main(sys.argv[1:])
