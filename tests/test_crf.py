import numpy as np
import pytest

from seglib import crf


def noisy_halves(rng, height=24, width=30, noise=0.3):
    """A picture of two colours, its mask, and probabilities that are often wrong."""
    mask = np.zeros((height, width), int)
    mask[:, width // 2 :] = 1
    image = np.where(mask[..., None], 200.0, 60.0) + rng.normal(0, 2, (height, width, 3))
    seen = np.where(rng.random(mask.shape) < noise, 1 - mask, mask)
    return image, mask, np.where(seen[..., None] == np.arange(2), 0.7, 0.3)


@pytest.mark.parametrize("dimensions", [1, 2, 5])
def test_a_point_is_the_mean_of_its_corners(rng, dimensions):
    features = rng.normal(0, 20, (500, dimensions))
    keys, weights = crf.find_corners(features)
    assert weights.min() > -1e-4
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-4)
    # The plane, by its basis: direction k has k ones and then −k, at length √(k (k + 1)).
    d = dimensions
    basis = np.array([[1.0] * k + [-k] + [0] * (d - k) for k in range(1, d + 1)])
    basis /= np.sqrt((basis**2).sum(axis=1, keepdims=True))
    point = features @ basis * (d + 1) * np.sqrt(2 / 3)
    np.testing.assert_allclose((keys * weights).sum(axis=-1).T, point[:, :d], atol=0.02)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_the_lattice_blurs_as_a_gaussian_does(rng, dimensions):
    features = rng.uniform(0, 6, (400, dimensions))
    values = np.sin(features[:, :1]) + rng.normal(0, 0.3, (400, 1))
    kernel = np.exp(-0.5 * ((features[:, None] - features[None]) ** 2).sum(axis=-1))
    norm = 1 / np.sqrt(kernel.sum(axis=1, keepdims=True))
    exact = norm * (kernel @ (norm * values))
    found = crf.Lattice(features)(values)
    assert found.dtype == np.float32 and found.shape == exact.shape
    assert np.abs(found - exact).mean() < 0.05 * np.abs(exact).mean()


def test_without_messages_nothing_changes(rng):
    image, _, probs = noisy_halves(rng)
    for nothing in ({"iterations": 0}, {"w1": 0, "w2": 0}):
        np.testing.assert_allclose(crf.refine(probs, image, **nothing), probs, atol=1e-6)


def test_one_step_by_hand(rng):
    # Every pixel says the same and is alike: a symmetric blur of ones is close to one in the middle, so that a pixel
    # hears w1 + w2 times its own probabilities.
    probs = np.tile(np.array([0.6, 0.4], np.float32), (40, 40, 1))
    image = np.full((40, 40, 3), 90.0)
    found = crf.refine(probs, image, w1=2, w2=1, sigma_alpha=3, sigma_gamma=1, iterations=1)[20, 20, 0]
    logits = np.log([0.6, 0.4]) + 3 * np.array([0.6, 0.4])
    assert found == pytest.approx(np.exp(logits[0]) / np.exp(logits).sum(), abs=0.01)


def test_noise_goes_and_the_edge_of_the_colours_stays(rng):
    image, mask, probs = noisy_halves(rng)
    before = (probs.argmax(axis=-1) == mask).mean()
    after = (crf.refine(probs, image).argmax(axis=-1) == mask).mean()
    assert before < 0.75 and after == 1
    # in a picture of one colour the edge has nothing to hold it, and the same noise costs more
    blind = (crf.refine(probs, np.zeros_like(image)).argmax(axis=-1) == mask).mean()
    assert blind < 0.95


def test_classes_are_alike_and_so_are_the_sides(rng):
    image, _, probs = noisy_halves(rng)
    probs = np.concatenate([0.6 * probs, np.full((*probs.shape[:2], 1), 0.4)], axis=-1)
    found = crf.refine(probs, image)
    assert found.dtype == np.float32 and found.shape == probs.shape
    np.testing.assert_allclose(found.sum(axis=-1), 1, atol=1e-5)
    order = [2, 0, 1]
    np.testing.assert_allclose(crf.refine(probs[..., order], image), found[..., order], atol=1e-5)
    mirrored = crf.refine(probs[:, ::-1], image[:, ::-1])[:, ::-1]
    assert (mirrored.argmax(axis=-1) == found.argmax(axis=-1)).mean() > 0.99  # the lattice lies otherwise


def test_a_dark_picture_of_whole_numbers_is_a_picture_and_what_was_given_is_left_alone(rng):
    probs, dark = rng.dirichlet([1, 1], (4, 5)), rng.integers(0, 2, (4, 5, 3), np.uint8)
    kept = probs.copy()
    assert crf.refine(probs, dark).shape == (4, 5, 2)
    np.testing.assert_array_equal(probs, kept)


def test_the_smallest_sigmas_make_every_pixel_its_own_neighbour(rng):
    image, _, probs = noisy_halves(rng)
    alone = crf.refine(probs, image, sigma_alpha=0.05, sigma_beta=255, sigma_gamma=3e-4, iterations=1)
    logits = np.log(probs) + (4 + 3) * probs  # each hears itself alone
    np.testing.assert_allclose(alone, np.exp(logits) / np.exp(logits).sum(-1, keepdims=True), atol=0.02)


def test_certainties_stay_finite():
    probs = np.zeros((6, 6, 3))
    probs[..., 1] = 1
    found = crf.refine(probs, np.zeros((6, 6, 3), np.uint8))
    assert np.isfinite(found).all() and found[..., 1].min() > 0.99


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": np.zeros((4, 5))}, r"got \(4, 5, 2\), \(4, 5\)"),
        ({"image": np.zeros((5, 4, 3))}, r"got \(4, 5, 2\), \(5, 4, 3\)"),
        ({"image": np.full((4, 5, 3), np.nan)}, "from nan to nan"),
        ({"image": np.full((4, 5, 3), 0.5)}, "from 0.5 to 0.5; was it scaled to 0–1"),
        ({"image": np.full((4, 5, 3), -1.0)}, "from -1 to -1"),
        ({"image": np.full((4, 5, 3), 256.0)}, "wanted an image of 0–255"),
        ({"probs": np.ones((4, 5, 1))}, r"2 classes or more.* got \(4, 5, 1\)"),
        ({"probs": np.full((4, 5, 2), np.nan)}, "wanted probabilities"),
        ({"probs": np.zeros((4, 5))}, r"got \(4, 5\)"),
        ({"probs": np.full((4, 5, 2), -1.0)}, "logits need a softmax"),
        ({"probs": np.full((4, 5, 2), 0.2)}, "add up to 1"),
        ({"sigma_beta": 0}, "sigma_beta 0 is too small"),
        ({"sigma_gamma": float("nan")}, "sigma_gamma nan is too small"),
        ({"w1": -1}, "w1, w2 and iterations must be at least 0, got -1, 3 and 10"),
        ({"iterations": -1}, "got 4, 3 and -1"),
        ({"sigma_beta": 5e-3, "image": 255 * np.random.default_rng(0).random((4, 5, 3))}, "a sigma is too small"),
        ({"sigma_alpha": 1e-9}, "sigma_alpha 1e-09 is too small .*give 5e-05"),
        ({"sigma_gamma": 4e-5}, "sigma_gamma 4e-05 is too small"),
        ({"sigma_beta": 1e-9}, "sigma_beta 1e-09 is too small .*give 0.00255"),
    ],
)
def test_what_cannot_be_refined_is_refused(change, message):
    arguments = {"probs": np.full((4, 5, 2), 0.5), "image": np.zeros((4, 5, 3)), **change}
    with pytest.raises(ValueError, match=message):
        crf.refine(**arguments)


def test_pydensecrf_says_the_same(rng):
    densecrf = pytest.importorskip(
        "pydensecrf.densecrf", reason="pydensecrf2 is compiled from source and not among the requirements"
    )
    image, _, probs = noisy_halves(rng, 40, 50)
    image = image.clip(0, 255).astype(np.uint8)
    theirs = densecrf.DenseCRF2D(50, 40, 2)
    theirs.setUnaryEnergy(np.ascontiguousarray(-np.log(probs).reshape(-1, 2).T, np.float32))
    theirs.addPairwiseGaussian(sxy=1, compat=3)
    theirs.addPairwiseBilateral(sxy=67, srgb=3, rgbim=image, compat=4)
    wanted = np.array(theirs.inference(10)).T.reshape(probs.shape)
    np.testing.assert_allclose(crf.refine(probs, image), wanted, atol=1e-3)
