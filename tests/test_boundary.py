import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from seglib.metrics import boundary_f1, confusion_matrix, iou, trimap


def boundary_f1_by_distances(mask, pred, num_classes, tolerance, ignore_id):
    """The same the straightforward way: for each class a distance transform of either boundary, image by image."""

    def find_boundary(ids, label):
        at = np.zeros(ids.shape, bool)
        for y, x in np.argwhere(ids == label):
            for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                inside = 0 <= v < ids.shape[0] and 0 <= u < ids.shape[1]
                at[y, x] |= inside and ids[v, u] not in (label, ignore_id)
        return at

    def count_within(own, other):
        near = scipy.ndimage.distance_transform_edt(~other) <= tolerance if other.any() else np.zeros_like(own)
        return np.array([(own & near).sum(), own.sum()])

    scores = []
    for label in range(num_classes):
        counts = np.zeros((2, 2), int)
        for truth, said in zip(mask, pred, strict=True):
            lines = find_boundary(truth, label), find_boundary(np.where(truth == ignore_id, ignore_id, said), label)
            counts += [count_within(*lines), count_within(*lines[::-1])]
        (found, true), (right, predicted) = counts
        p, r = right / max(predicted, 1), found / max(true, 1)
        scores.append(np.nan if true + predicted == 0 else 2 * p * r / (p + r) if p + r else 0)
    return scores


def test_boundary_f1_by_hand():
    # A pole one pixel wide in a row of nine. Its boundary is itself and, on the wall's side, the two pixels beside it.
    mask, pred = np.array([[0, 0, 0, 1, 0, 0, 0, 0, 0]]), np.array([[0, 0, 0, 0, 0, 1, 0, 0, 0]])
    # wall: true 2, 4, predicted 4, 6: one of two right; pole: true 3, predicted 5
    assert boundary_f1(mask, pred, 2, tolerance=0).tolist() == [0.5, 0]
    assert boundary_f1(mask, pred, 2, tolerance=1).tolist() == [0.5, 0]
    assert boundary_f1(mask, pred, 2, tolerance=2).tolist() == [1, 1]
    # 0.2 of the diagonal of 1×9, 9.06, is 1.8 pixels; 0.25 of it is 2.3
    assert boundary_f1(mask, pred, 2, tolerance=0.2).tolist() == [0.5, 0]
    assert boundary_f1(mask, pred, 2, tolerance=0.25).tolist() == [1, 1]


def test_boundary_f1_of_what_is_not_there():
    empty, pole = np.zeros((3, 5), int), np.array([[0, 0, 1, 0, 0]] * 3)
    assert np.isnan(boundary_f1(empty, empty, 2, 1)).all()
    assert boundary_f1(pole, empty, 2, 1).tolist() == boundary_f1(empty, pole, 2, 1).tolist() == [0, 0]
    assert np.isnan(boundary_f1(np.full((3, 5), 255), pole, 2, 1)).all()


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_boundary_f1_agrees_with_distance_transforms(data):
    shape = data.draw(st.tuples(*(st.integers(1, 9) for _ in range(2))))
    num_classes, count = data.draw(st.sampled_from([2, 5, 9])), data.draw(st.integers(1, 2))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    mask, pred = rng.integers(0, num_classes, (2, count, *shape)).repeat(data.draw(st.integers(1, 3)), axis=-1)
    mask = np.where(rng.random(mask.shape) < data.draw(st.sampled_from([0, 0.2])), 255, mask)
    tolerance = data.draw(st.sampled_from([0, 1, 1.5, 2, 2**0.5, 5**0.5, 13**0.5, 4, 20]))
    oracle = boundary_f1_by_distances(mask, pred, num_classes, tolerance, 255)
    np.testing.assert_allclose(boundary_f1(mask, pred, num_classes, tolerance), oracle, atol=1e-12)


def test_boundary_f1_of_more_classes_than_an_integer_has_bits(rng):
    mask, pred = rng.integers(0, 3, (2, 20, 20))
    few, spread = boundary_f1(mask, pred, 3, 2), np.array([1, 63, 140])
    many = boundary_f1(spread[mask], spread[pred], 141, 2)
    np.testing.assert_array_equal(many[spread], few)
    assert np.isnan(np.delete(many, spread)).all()


def test_boundary_f1_ignores_what_is_predicted_in_void(rng):
    mask, pred = rng.integers(0, 3, (2, 12, 12))
    mask[:, 5:8] = 9
    other = np.where(mask == 9, (pred + 1) % 3, pred)
    np.testing.assert_array_equal(*(boundary_f1(mask, found, 3, 1, ignore_id=9) for found in (pred, other)))


@pytest.mark.parametrize(
    ("mask", "pred", "tolerance", "message"),
    [
        (np.zeros((2, 3), int), np.zeros((3, 2), int), 1, r"one shape, got \(2, 3\) and \(3, 2\)"),
        (np.zeros(3, int), np.zeros(3, int), 1, r"shape \(height, width\), got \(3,\)"),
        (np.full((2, 3), 3), np.zeros((2, 3), int), 1, "mask has the id 3, outside the classes 0–2"),
        (np.zeros((2, 3), int), np.full((2, 3), -1), 1, "pred has the id -1"),
        (np.zeros((2, 3), int), np.zeros((2, 3), int), -1, "tolerance must be at least 0"),
        (np.zeros((2, 3), int), np.zeros((2, 3)), 1, "pred must hold integer ids, got float64"),
    ],
)
def test_boundary_f1_refuses_what_does_not_fit(mask, pred, tolerance, message):
    with pytest.raises(ValueError, match=message):
        boundary_f1(mask, pred, 3, tolerance)


# Trimap

NEIGHBOURS = ((-1, 0), (1, 0), (0, -1), (0, 1))


def test_trimap_by_hand():
    mask = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    # Boundaries run between columns 2 and 3, and below the last three of row 1.
    assert trimap(mask, 1).tolist() == [
        [255, 255, 0, 1, 255, 255],
        [255, 255, 0, 1, 1, 1],
        [255, 255, 255, 0, 0, 0],
    ]
    pred = np.array([[0, 0, 0, 0, 1, 1], [1, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]])
    #                  class 0: 5 right, 1 too many; class 1: 3 right of 4; (1, 0) is outside the band
    np.testing.assert_allclose(iou(confusion_matrix(trimap(mask, 1), pred, 2)), [5 / 6, 3 / 4])


def test_a_wider_trimap_holds_all_of_a_narrower_one_and_the_widest_is_the_mask(rng):
    mask = rng.integers(0, 3, (2, 5, 6)).repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)
    bands = [trimap(mask, width) for width in (1, 2, 3, 100)]
    assert [band.dtype for band in bands] == [np.uint8] * 4
    for narrow, wide in zip(bands, bands[1:], strict=False):
        assert ((narrow == wide) | (narrow == 255)).all()
    assert [int((band != 255).sum()) for band in bands] == sorted({int((band != 255).sum()) for band in bands})
    np.testing.assert_array_equal(bands[-1], mask)


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_trimap_is_the_band_that_a_distance_transform_finds(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**31)))
    mask = rng.choice([0, 1, 2, 255], (data.draw(st.integers(1, 8)), data.draw(st.integers(1, 8))))
    mask = mask.repeat(data.draw(st.integers(1, 4)), axis=1)
    width = data.draw(st.sampled_from([1, 2, 2.5, 3]))
    padded = np.pad(mask, 1, mode="edge")
    others = [padded[1 + y : padded.shape[0] - 1 + y, 1 + x : padded.shape[1] - 1 + x] for y, x in NEIGHBOURS]
    boundary = np.any([mask != other for other in others], axis=0)
    near = scipy.ndimage.distance_transform_edt(~boundary) <= width - 1 if boundary.any() else boundary
    np.testing.assert_array_equal(trimap(mask, width), np.where(near, mask, 255))


def test_trimap_refuses_what_does_not_fit():
    for wrong, width, message in (
        (np.zeros(3, int), 1, r"\(height, width\), got \(3,\)"),
        (np.zeros((3, 3), int), 0, "width .* got 0"),
        (np.zeros((3, 3), np.int8), 1, r"int8 .* 255; give mask.astype\(np.uint8\)"),
        (np.zeros((3, 3)), 1, "float64 .* 255"),
    ):
        with pytest.raises(ValueError, match=message):
            trimap(wrong, width)
    assert trimap(np.zeros((3, 3), np.int8), 1, ignore_id=-1).dtype == np.int8
