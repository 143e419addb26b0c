import numpy as np
import pytest

from seglib import class_balance

# Two images of ten labelled pixels each: five of class 0, three of 1 and two of 2; and all of class 0.
COUNTED = np.array([[5, 3, 2], [10, 0, 0]])


@pytest.mark.parametrize(
    ("scheme", "raw"),
    [
        # frequencies in the images that have the class: 15/20, 3/10, 2/10; their median is 3/10
        ("median_frequency", np.array([0.3 / 0.75, 1, 0.3 / 0.2])),
        ("inverse_log", 1 / np.log(1.02 + np.array([15, 3, 2]) / 20)),
    ],
)
def test_class_weights_by_hand(scheme, raw):
    np.testing.assert_allclose(class_balance.class_weights(COUNTED, scheme), raw / raw.mean())


def test_rare_class_repeats_by_hand():
    # frequencies: 15/20, 3/20, 2/20; with T = 0.1, probabilities as e^-6.5, e^-0.5, 1
    first, second, third = np.exp(-6.5), np.exp(-0.5), 1
    raw = np.array([first / 2 + second + third, first / 2])  # class 0 is in both images
    np.testing.assert_allclose(class_balance.rare_class_repeats(COUNTED, temperature=0.1), raw / raw.mean())
    every = np.array([1 / 2 + 1 + 1, 1 / 2])  # each class as often as the others
    np.testing.assert_allclose(class_balance.rare_class_repeats(COUNTED, np.inf), every / every.mean())


def test_rare_class_repeats_leave_out_absent_classes_and_images_of_void():
    found = class_balance.rare_class_repeats(np.array([[2, 0, 0], [1, 1, 0], [0, 0, 0]]), np.inf)
    np.testing.assert_allclose(found, [0.75, 2.25, 0])  # ½ and 1½, of a mean of ⅔


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("class_weights", (COUNTED, "median"), "median_frequency or inverse_log, got 'median'"),
        ("class_weights", (np.array([[1, 1, 0], [2, 0, 0]]),), r"classes \[2\]"),
        ("class_weights", (COUNTED.sum(axis=0),), r"class_pixels.*\(3,\) int64"),
        ("class_weights", (COUNTED / 10,), "class_pixels.*float64"),
        ("rare_class_repeats", (-COUNTED,), "counts from 0"),
        ("rare_class_repeats", (0 * COUNTED,), "labelled pixel"),
        ("rare_class_repeats", (COUNTED, 0), "above 0, got 0"),
    ],
)
def test_what_cannot_be_balanced_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(class_balance, name)(*arguments)
