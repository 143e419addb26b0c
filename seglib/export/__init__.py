"""A trained model for other runtimes: SavedModel, LiteRT and ONNX files, run and compared with the Keras model."""

from seglib.export.compare import Parity, parity, table
from seglib.export.run import Runner, load
from seglib.export.write import ENDINGS, save

__all__ = ["ENDINGS", "Parity", "Runner", "load", "parity", "save", "table"]
