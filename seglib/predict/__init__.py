"""From a trained model and any image, of any size, to one class per pixel: whole, in tiles, from several views."""

from seglib.predict.clicks import Answers, encode_image, segment_clicks
from seglib.predict.files import LABELS, find_labels, load_model, segment_files
from seglib.predict.inference import Scaled, probabilities, segment, to_ids, to_image, tta
from seglib.predict.tiles import tiled
