"""The drawn streets: exactly labelled, alike at every size, and not to be solved by colour alone."""

import numpy as np
import pytest

from seglib.datasets import streets


@pytest.fixture(scope="module")
def town():
    """The first scenes of each split at the tiny size: {split: [Drawing]}."""
    counts = {"train": 100, "validation": 10, "test": 50}
    return {
        split: [streets.draw_scene(seed, *streets.SIZES["tiny"]) for seed in streets.SPLITS[split][:count]]
        for split, count in counts.items()
    }


def everything(town):
    return [drawing for drawings in town.values() for drawing in drawings]


def test_ids_are_classes_or_void(town):
    for drawing in everything(town):
        streets.LABELS.check_ids(drawing.mask)


def test_every_class_is_common(town):
    masks = np.stack([drawing.mask for drawing in everything(town)])
    share = np.bincount(masks.ravel(), minlength=256)[:8] / masks.size
    assert (share > 0.012).all(), share
    assert share[streets.LABELS.id_of("pedestrian")] > 0.015
    assert share[streets.LABELS.id_of("car")] > 0.06
    present = np.array([[(mask == i).any() for i in range(8)] for mask in masks])
    assert (present.mean(axis=0) > 0.9).all(), present.mean(axis=0)
    assert 0 < (masks == 255).mean() < 0.05


def test_boxes_are_the_extent_of_what_is_visible(town):
    height, width = streets.SIZES["tiny"]
    seen = set()
    for drawing in everything(town):
        expected = {}
        for name in ("car", "pedestrian"):
            label = streets.LABELS.id_of(name)
            for number in np.unique(drawing.instances[drawing.mask == label]):
                rows, cols = np.nonzero((drawing.instances == number) & (drawing.mask == label))
                if len(rows) >= streets.MIN_VISIBLE:
                    expected[(rows.min(), cols.min(), rows.max() + 1, cols.max() + 1, label)] = number
        assert (drawing.boxes >= 0).all() and (drawing.boxes <= 1).all()
        pixels = np.rint(drawing.boxes * (height, width, height, width)).astype(int)
        found = {(*box, label) for box, label in zip(pixels.tolist(), drawing.box_labels.tolist(), strict=True)}
        assert found == set(expected)
        seen |= set(drawing.box_labels.tolist())
    assert seen == {streets.LABELS.id_of("car"), streets.LABELS.id_of("pedestrian")}


def test_instances_are_cars_and_people(town):
    things = [streets.LABELS.id_of("car"), streets.LABELS.id_of("pedestrian")]
    for drawing in everything(town):
        np.testing.assert_array_equal(drawing.instances > 0, np.isin(drawing.mask, things))


def test_same_street_at_every_size():
    for seed in (1, 4, 11, 20_002):
        tiny, full = (streets.draw_scene(seed, *streets.SIZES[config]) for config in ("tiny", "full"))
        agreement = (full.mask[2::4, 2::4] == tiny.mask).mean()
        assert agreement > 0.95, (seed, agreement)
        blocks = full.image.reshape(64, 4, 96, 4, 3).mean(axis=(1, 3))
        assert np.abs(blocks - tiny.image).mean() < 12, seed


def test_moods_vary(town):
    assert {d.time for d in everything(town)} == {"day", "dusk", "night"}
    assert {d.weather for d in everything(town)} == {"clear", "overcast", "fog", "rain"}


def pixels(drawings):
    """Colours, their squares and products (n, 9), and ids (n,), without void."""
    rgb = np.concatenate([d.image.reshape(-1, 3) for d in drawings]) / 255.0
    ids = np.concatenate([d.mask.ravel() for d in drawings]).astype(int)
    products = rgb[:, (0, 0, 1)] * rgb[:, (1, 2, 2)]
    keep = ids != streets.LABELS.ignore_id
    return np.concatenate((rgb, rgb**2, products), axis=1)[keep], ids[keep]


def test_colour_alone_is_not_enough(town):
    pytest.importorskip("sklearn", reason="scikit-learn fits the colour classifier")
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import confusion_matrix
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    colours, ids = pixels(town["train"])
    some = np.random.default_rng(0).choice(len(ids), 40_000, replace=False)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500, tol=1e-3))
    model.fit(colours[some], ids[some])
    colours, ids = pixels(town["test"])
    table = confusion_matrix(ids, model.predict(colours), labels=range(8))
    hits = np.diag(table)
    iou = hits / (table.sum(axis=0) + table.sum(axis=1) - hits)
    assert 0.1 < iou.mean() < 0.45, iou  # guessing "building" everywhere would score about 0.3 / 8 = 0.04
