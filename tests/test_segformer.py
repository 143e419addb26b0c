"""SegFormer: the same logits as ``transformers``, attention by hand, the reader of safetensors, and what is refused.

``saved/segformer_tiny.*`` are of ``bench/segformer_reference.py``: random weights in float16, an image, its logits.
"""

import json
import os
import struct
from pathlib import Path

import keras
import numpy as np
import pytest

from seglib import models
from seglib.models import weight_files
from seglib.models.segformer import DotProductAttention

SAVED = Path(__file__).parent / "saved"
TINY = SAVED / "segformer_tiny.safetensors"
ANY = (None, None, 3)


def write(path, tensors, metadata=True):
    """Writes a safetensors file of arrays, or of (type, array of raw numbers) where NumPy has no such type."""
    header, content = {"__metadata__": {"format": "pt"}} if metadata else {}, b""
    for name, array in tensors.items():
        kind, array = array if isinstance(array, tuple) else ({"f": "F", "i": "I"}[array.dtype.kind], array)
        kind = kind if len(kind) > 1 else f"{kind}{8 * array.dtype.itemsize}"
        place = [len(content), len(content) + array.nbytes]
        header[name], content = (
            {"dtype": kind, "shape": list(array.shape), "data_offsets": place},
            content + array.tobytes(),
        )
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)
    return path


# The reference implementation


@pytest.mark.parametrize("variant", ["tiny", "b0"])
def test_the_logits_are_those_of_transformers(variant):
    folder, classes = (SAVED, 5) if variant == "tiny" else (Path(os.environ.get("SEGLIB_SEGFORMER", ".")), 150)
    if not (folder / f"segformer_{variant}.npz").exists():
        pytest.skip("SEGLIB_SEGFORMER names no folder with b0's files of bench/segformer_reference.py")
    model = models.segformer(ANY, classes, variant, weights=folder / f"segformer_{variant}.safetensors")
    with np.load(folder / f"segformer_{variant}.npz") as file:
        image, wanted, epsilons = file["image"].astype(np.float32), file["logits"], file["epsilons"]
    logits = np.array(keras.Model(model.input, model.get_layer("logits").output)(image))
    assert logits.shape == wanted.shape == (1, 13, 18, classes)  # 50×70 pixels, which 4 does not divide
    np.testing.assert_allclose(logits, wanted, atol=1e-4)
    found = [layer.epsilon for layer in model.layers if hasattr(layer, "epsilon")]
    np.testing.assert_array_equal(sorted(found), epsilons)
    upsampled = keras.ops.image.resize(wanted, (50, 70), "bilinear", data_format="channels_last")
    np.testing.assert_allclose(model(image), upsampled, atol=1e-4)


def test_the_encoder_of_b0_has_the_papers_parameters():
    with keras.StatelessScope(initialize_variables=False):
        model = models.segformer(ANY, 150)
    keras.utils.clear_session()
    encoder = [layer.count_params() for layer in model.layers if layer.name.startswith("encoder_")]
    assert sum(encoder) == 3_319_392 and model.count_params() == 3_753_206
    # A block of stage 3, with 160 channels and reduction 2, by hand:
    attention = 4 * (160 * 160 + 160) + (2 * 2 * 160 * 160 + 160) + 2 * 160  # q, k, v, output; convolution and norm
    mix_ffn = (160 * 640 + 640) + (3 * 3 * 640 + 640) + (640 * 160 + 160)
    block = [layer.count_params() for layer in model.layers if layer.name.startswith("encoder_block_2_0_")]
    assert sum(block) == attention + mix_ffn + 2 * 2 * 160


# Attention


def test_attention_of_three_tokens_by_hand():
    # Two channels, one head. The first query is like the second key: q·k/√2 = ln 3, else 0: weights 1, 3, 1 of 5.
    key = np.array([[0, 1], [1, 0], [0, -1]], np.float32).reshape(1, 1, 3, 2)
    query = np.array([[np.sqrt(2) * np.log(3), 0], [0, 0]], np.float32).reshape(1, 2, 1, 2)
    value = np.array([[5, 0], [10, 0], [0, 15]], np.float32).reshape(1, 1, 3, 2)
    found = np.array(DotProductAttention(1)(query, key, value))
    assert found.shape == (1, 2, 1, 2)
    np.testing.assert_allclose(found[0, 0, 0], [(1 * 5 + 3 * 10 + 1 * 0) / 5, 1 * 15 / 5], rtol=1e-5)
    np.testing.assert_allclose(found[0, 1, 0], [(5 + 10 + 0) / 3, 15 / 3], rtol=1e-5)  # a query of 0 weighs all alike


def test_a_head_reads_and_writes_its_own_channels_only(rng):
    query, key, value = rng.normal(size=(3, 2, 4, 5, 6)).astype(np.float32)
    both = np.array(DotProductAttention(2)(query, key[:, :2], value[:, :2]))
    for head in (slice(0, 3), slice(3, 6)):
        one = DotProductAttention(1)(query[..., head], key[:, :2, :, head], value[:, :2, :, head])
        np.testing.assert_allclose(both[..., head], one, atol=1e-6)


def test_a_permutation_of_keys_and_values_changes_nothing(rng):
    query, key, value = rng.normal(size=(3, 1, 1, 7, 4)).astype(np.float32)
    order = rng.permutation(7)
    attend = DotProductAttention(2)
    np.testing.assert_allclose(
        attend(query, key[:, :, order], value[:, :, order]), attend(query, key, value), atol=1e-6
    )


def test_a_single_key_needs_no_warning(recwarn):
    models.segformer((32, 32, 3), 2, "tiny")(np.zeros((1, 32, 32, 3)))
    assert not [warning for warning in recwarn if "softmax" in str(warning.message)]


# The network


def test_colours_are_scaled_inside_as_the_image_processor_does():
    model = models.segformer((32, 32, 3), 2, "tiny")
    scale = keras.Model(model.input, next(layer.output for layer in model.layers if layer.name.startswith("rescaling")))
    image = np.stack([np.full((1, 32, 32), level, np.float32) for level in (0, 127.5, 255)], -1)
    wanted = [(0 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(np.array(scale(image))[0, 0, 0], wanted, rtol=1e-5)


def test_a_grey_image_is_repeated():
    grey, colour = models.segformer((32, 64, 1), 2, "tiny"), models.segformer((32, 64, 3), 2, "tiny")
    colour.set_weights(grey.get_weights())
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 64, 1)).astype(np.float32)
    np.testing.assert_allclose(grey(image), colour(np.repeat(image, 3, -1)), atol=1e-6)


@pytest.mark.slow
def test_the_gradient_reaches_every_weight_but_the_keys_biases():
    """A bias of the keys adds the same number to all scores of a query, and the softmax takes it out again."""
    tf = pytest.importorskip("tensorflow")
    model = models.segformer((64, 96, 3), 5, "tiny", weights=TINY)
    images = np.random.default_rng(0).uniform(0, 255, (1, 64, 96, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(model(images, training=False) ** 2)
    found = tape.gradient(loss, [variable.value for variable in model.trainable_variables])
    size = {v.path: float(np.abs(g).max()) for v, g in zip(model.trainable_variables, found, strict=True)}
    without = {path for path, gradient in size.items() if gradient < 1e-6}
    assert without == {f"encoder_block_{n}_0_attention_self_key/bias" for n in range(4)}


# The file


def whole():
    return dict(weight_files.read_safetensors(TINY))


def test_numbers_of_every_type_are_read(tmp_path):
    tensors = {
        "single": np.arange(6, dtype="<f4").reshape(2, 3),
        "half": np.array([0.5, -2], "<f2"),
        "brain": ("BF16", np.array([0x3FC0, 0xC000], "<u2")),  # 0 01111111 1000000 is 1.5, 1 10000000 0000000 is −2
        "count": np.array(7, "<i8"),
        "none": np.zeros((0, 3), "<f4"),
    }
    for metadata in (True, False):
        found = weight_files.read_safetensors(write(tmp_path / "x.safetensors", tensors, metadata))
        assert {name: array.tolist() for name, array in found.items()} == {
            "single": [[0, 1, 2], [3, 4, 5]],
            "half": [0.5, -2],
            "brain": [1.5, -2],
            "count": 7,
            "none": [],
        }


def test_a_file_cut_short_anywhere_is_refused(tmp_path):
    path = write(tmp_path / "x.safetensors", {"a": np.ones(3, "<f4"), "b": np.ones((2, 2), "<f2")})
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"x\.safetensors: no whole safetensors file \(.+\)"):
            weight_files.read_safetensors(path)
    path.write_bytes(content + b"more")
    with pytest.raises(ValueError, match=f"it has {len(content) + 4} bytes, wanted {len(content)}"):
        weight_files.read_safetensors(path)


ENTRY = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("no json", ""),
        ("[" * 100_000, ""),
        ("[1]", ""),
        ('{"a": 1}', ""),
        ({"a": {"dtype": "F32", "shape": [2]}}, "data_offsets"),
        ({"a": {**ENTRY, "shape": [-2, -1]}}, ""),
        ({"a": {**ENTRY, "shape": [2.0]}}, ""),
        ({"a": {**ENTRY, "shape": ["2"]}}, ""),
        ({"a": {**ENTRY, "shape": [2**62, 2**62]}}, ""),
        ({"a": {**ENTRY, "data_offsets": [0, 8, 8]}}, "unpack"),
        ({"a": {**ENTRY, "data_offsets": [-8, 0]}}, r"it has \d+ bytes, wanted \d+"),
        ({"a": {**ENTRY, "dtype": "F64"}}, "a has the type F64, wanted one of F32, F16, BF16, I64"),
        ({"a": {**ENTRY, "dtype": ["F32"]}}, ""),
        ({"a": {**ENTRY, "shape": [3]}}, "cannot reshape array of size 2"),
        ({"a": {**ENTRY, "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}, r"it has \d+ bytes, wanted 40+\d+"),
        ({"a": {**ENTRY, "data_offsets": [4, 12]}}, r"it has \d+ bytes, wanted \d+"),
    ],
)
def test_a_damaged_header_is_refused(header, message, tmp_path):
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(ValueError, match=rf"x\.safetensors: no whole safetensors file \(.*{message}.*\)"):
        weight_files.read_safetensors(path)


def test_the_weights_of_another_network_are_refused(tmp_path):
    with pytest.raises(
        ValueError, match=r"tiny\.safetensors lacks \d+ tensors, such as encoder.*wanted .*variant='b0'"
    ):
        models.segformer(ANY, 5, "b0", weights=TINY)
    message = r"classifier_weight has the shape \(5, 64, 1, 1\), wanted \(4, 64, 1, 1\) for .*num_classes=4"
    with pytest.raises(ValueError, match=message):
        models.segformer(ANY, 4, "tiny", weights=str(TINY))
    tensors = whole()
    write(tmp_path / "more.safetensors", {**tensors, "segformer.encoder.position": np.ones(3, "<f4")})
    with pytest.raises(ValueError, match=r"more\.safetensors has, not wanted, 1 tensors, such as encoder_position"):
        models.segformer(ANY, 5, "tiny", weights=tmp_path / "more.safetensors")
    tensors.pop("decode_head.linear_fuse.weight")
    with pytest.raises(ValueError, match=r"less\.safetensors lacks 1 tensors, such as decode_head_linear_fuse_weight"):
        models.segformer(ANY, 5, "tiny", weights=write(tmp_path / "less.safetensors", tensors))
    with pytest.raises(FileNotFoundError, match="nowhere"):
        models.segformer(ANY, 5, "tiny", weights=tmp_path / "nowhere.safetensors")


def test_every_tensor_of_the_file_counts(tmp_path):
    """A tensor that were left out, or went to another layer, would leave its change in the file without effect."""
    tensors = whole()
    model = models.segformer(ANY, 5, "tiny", weights=TINY)
    weights = {weight.path: weight.numpy() for weight in model.weights}
    assert len(weights) == len(tensors) - 1  # the count of batches has no use here
    for sign in (1, -1):
        changed = {name: sign * array for name, array in tensors.items()}
        model = models.segformer(ANY, 5, "tiny", weights=write(tmp_path / "x.safetensors", changed))
        for weight in model.weights:
            np.testing.assert_array_equal(weight, sign * weights[weight.path], weight.path)
