"""A fully connected conditional random field (CRF): pixels near each other and of like colour agree on their class.

The message that a pixel gets from all the others is a Gaussian blur of their probabilities over position and colour.
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy import sparse

FLOOR = 1e-5  # probabilities are at least this: with log 0 = −∞ no message could change a class
MOST_SIGMAS = 1e5  # an image may span so many standard deviations; beyond, float32 does not tell its pixels apart


def refine(probs, image, w1=4, sigma_alpha=67, sigma_beta=3, w2=3, sigma_gamma=1, iterations=10):
    """Mean field in a fully connected CRF with Gaussian edge potentials (Krähenbühl & Koltun 2011).

    The energy of a labelling x is ``Σ_i −log probs[i, x_i] + Σ_{i<j} [x_i ≠ x_j] k(i, j)``, their equations 1 to 3,

    ``k(i, j) = w1 exp(−|p_i − p_j|² / 2σα² − |I_i − I_j|² / 2σβ²) + w2 exp(−|p_i − p_j|² / 2σγ²)``

    where p are positions in pixels, I colours in 0–255 and ``[x_i ≠ x_j]`` the Potts model. The first kernel
    (appearance) penalises different classes for near pixels of like colour, the second (smoothness) for near pixels.
    Both are divided by the square root of the sums over either pixel's neighbours.

    Args:
        probs: (height, width, num_classes) probabilities, such as a softmax's.
        image: (height, width, 3) colours in 0–255.
        w1, w2: weights of the two kernels, at least 0.
        sigma_alpha, sigma_gamma: standard deviations of the two kernels in position, in pixels, above 0.
        sigma_beta: standard deviation of the first kernel in colour, in grey levels of 0–255, above 0.
        iterations: of mean field; 10 in DeepLab. 0 returns ``probs``, at least 1e-5 each.

    Returns:
        (height, width, num_classes) float32 probabilities: the marginals of the mean-field approximation.

    Raises:
        ValueError: shapes that do not fit, fewer than 2 classes, no probabilities, an image scaled to 0–1, a parameter
            out of its range, or a sigma too small for the image.
    """
    probs, image = np.asarray(probs, np.float32), np.asarray(image)
    if probs.ndim != 3 or probs.shape[2] < 2 or image.shape != (*probs.shape[:2], 3):
        wanted = "probs (height, width, 2 classes or more) and image (height, width, 3)"
        raise ValueError(f"wanted {wanted}, got {probs.shape}, {image.shape}")
    if not (probs.min() >= 0 and np.allclose(probs.sum(axis=-1), 1, atol=1e-2)):  # or NaN
        raise ValueError("wanted probabilities, which are at least 0 and add up to 1; logits need a softmax first")
    low, high, side = image.min(), image.max(), max(image.shape)  # low and high are NaN if any value is
    if not (low >= 0 and high <= 255) or (image.dtype.kind == "f" and 0 < high <= 1):
        raise ValueError(f"wanted an image of 0–255, got values from {low:g} to {high:g}; was it scaled to 0–1?")
    for name, sigma, extent in ("alpha", sigma_alpha, side), ("gamma", sigma_gamma, side), ("beta", sigma_beta, 255):
        if not sigma >= extent / MOST_SIGMAS:
            raise ValueError(f"sigma_{name} {sigma} is too small here; give {extent / MOST_SIGMAS:g} or more")
    if not min(w1, w2, iterations) >= 0:
        raise ValueError(f"w1, w2 and iterations must be at least 0, got {w1}, {w2} and {iterations}")
    height, width, num_classes = probs.shape
    position = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1, dtype=np.float32).reshape(-1, 2)
    appearance = np.concatenate([position / sigma_alpha, image.reshape(-1, 3).astype(np.float32) / sigma_beta], axis=1)
    unary = np.log(np.maximum(probs.reshape(-1, num_classes), FLOOR))
    with ThreadPoolExecutor(2) as pool:  # one kernel each
        blurs = list(pool.map(Lattice, (appearance, position / np.float32(sigma_gamma)), (w1, w2)))
        q = _softmax(unary)
        for _ in range(iterations):
            q = _softmax(sum(pool.map(lambda blur, q=q: blur(q), blurs), unary))
    return q.reshape(probs.shape)


class Lattice:
    """Gaussian blur of values at points, in time linear in the points: a permutohedral lattice (Adams et al. 2010).

    Each point is spread over the corners of its simplex (*splat*), corners are blurred along the lattice's axes with
    ½ 1 ½, and each point reads off its corners (*slice*). All three are sparse matrices; ``splat = sliceᵀ``.

    ``Lattice(features, weight)(values)``: (points, dimensions) features, in standard deviations of the Gaussian, and
    (points, channels) values → (points, channels) float32, blurred, symmetrically normalised, and times the weight.
    """

    def __init__(self, features, weight=1):
        keys, weights = find_corners(features)
        packed, step = _pack(keys)
        corners, at = np.unique(packed, return_inverse=True)
        ends = np.arange(0, at.size + 1, weights.shape[1])
        self.slice = sparse.csr_matrix((weights.ravel(), at.ravel(), ends), (len(features), len(corners)))
        self.blurs = [_blur_along(corners, ahead) for ahead in step]
        total = self(np.ones((len(features), 1), np.float32))
        self.slice.data *= np.repeat(np.sqrt(weight / (total[:, 0] + 1e-20)), weights.shape[1])

    def __call__(self, values):
        values = self.slice.T @ np.asarray(values, np.float32)
        for blur in self.blurs:
            values = blur @ values
        return self.slice @ values


def find_corners(features):
    """The corners of the simplex that each point is in, and the point's barycentric coordinates (section 3.1 there).

    (points, dimensions) floats → keys (dimensions, points, dimensions + 1) int32, the corners' coordinates in the
    lattice but for the last, which makes their sum zero; weights (points, dimensions + 1) float32 from 0, of sum 1.
    """
    d = features.shape[1]
    axis = np.arange(1, d + 1, dtype=np.float32)[:, None]
    # Onto the plane of sum zero in one more dimension; a blur by ½ 1 ½ along each axis has variance ⅔ (d + 1)² there.
    scale = np.float32((d + 1) * np.sqrt(2 / 3)) / np.sqrt(axis * (axis + 1), dtype=np.float64)
    scaled = features.T.astype(np.float32, order="C") * scale.astype(np.float32)
    elevated = np.pad(np.cumsum(scaled[::-1], axis=0)[::-1], [(0, 1), (0, 0)])
    elevated[1:] -= axis * scaled
    # The nearest lattice point with coordinates that are multiples of d + 1, wherever its sum strays from zero mended.
    nearest = np.rint(elevated / (d + 1))
    rest = elevated - (d + 1) * nearest
    rank = np.repeat(nearest.sum(axis=0)[None], d + 1, axis=0).astype(np.int32)
    for i in range(d + 1):
        for j in range(i + 1, d + 1):
            less = rest[i] < rest[j]
            rank[i] += less
            rank[j] += ~less
    wrapped = (rank < 0).astype(np.int32) - (rank > d)
    rank += (d + 1) * wrapped
    rising = np.sort(rest - (d + 1) * wrapped.astype(np.float32), axis=0)
    weights = np.diff(rising, axis=0, prepend=rising[-1:] - (d + 1)) / (d + 1)
    corner = np.arange(d + 1, dtype=np.int32)[:, None]
    multiple = (nearest.astype(np.int32) + wrapped)[:d, None] - (rank[:d, None] > d - corner)
    return ((d + 1) * multiple + corner).swapaxes(1, 2), weights.T


def _softmax(logits):
    """Over the last axis, which is short: several times as fast as SciPy's, which reduces one row after the other."""
    logits = logits - np.max(list(logits.T), axis=0)[:, None]
    q = np.exp(logits, out=logits)
    return np.divide(q, q @ np.ones((q.shape[1], 1), np.float32), out=q)


def _pack(keys):
    """One integer for each corner's coordinates, and what to add to it for the next corner along each of the axes."""
    d, packed, stride, strides = len(keys), 0, 1, []
    for coordinate in keys:
        low, high = int(coordinate.min()) - (d + 1), int(coordinate.max()) + (d + 1)  # neighbours must not wrap around
        strides.append(stride)
        packed = packed + (coordinate - np.int64(low)) * stride
        stride *= high - low + 1
        if stride >= 2**63:
            raise ValueError("the image spans too many standard deviations: a sigma is too small")
    return packed, [(d + 1) * stride - sum(strides) for stride in [*strides, 0]]


def _blur_along(corners, ahead):
    """½ 1 ½ along one axis as a sparse matrix: (corners, corners), neighbours that are no corners count as zero."""
    count = len(corners)
    at = np.minimum(np.searchsorted(corners, corners + ahead), count - 1)
    rows = np.flatnonzero(corners[at] == corners + ahead)
    forward = sparse.csr_matrix((np.full(len(rows), 0.5, np.float32), (rows, at[rows])), (count, count))
    return sparse.csr_matrix(sparse.eye_array(count, dtype=np.float32) + forward + forward.T)
