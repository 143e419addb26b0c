"""From a trained model and any image, of any size, to one class per pixel: whole, in tiles, from several looks."""

from seglib.predict.files import LABELS, ModelError, check_recipe, find_labels, load_model, note_recipe, segment_files
from seglib.predict.looks import confidence, entropy, probabilities, segment, segment_batches, to_ids, to_image, tta
from seglib.predict.tiles import tiled

__all__ = [
    "LABELS",
    "ModelError",
    "check_recipe",
    "confidence",
    "entropy",
    "find_labels",
    "load_model",
    "note_recipe",
    "probabilities",
    "segment",
    "segment_batches",
    "segment_files",
    "tiled",
    "to_ids",
    "to_image",
    "tta",
]
