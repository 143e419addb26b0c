"""What both tabs do with a photo: its file is read and deleted, it is resized and shown, and what is wrong is said."""

import contextlib
import functools
import html
import math
import os
import shutil
import tempfile
from pathlib import Path

from PIL import Image

from seglib import images

MOST_PIXELS = 2**20  # of the model's input and of what the page shows: some 900 × 1,200
KEPT_SECONDS = 3600
TRAINED = -1  # the shorter side of the training's images
SIDES = [("as trained", TRAINED), *((str(side), side) for side in (64, 128, 256, 512)), ("its own", 0)]
FORGOTTEN = "The photo was forgotten, since an hour has passed. Choose it again."
delete = functools.partial(shutil.rmtree, ignore_errors=True)


def fit_size(size, shorter=None):
    """``(height, width)`` scaled to this shorter side (None: as it is), and to ``MOST_PIXELS`` at most."""
    scale = min(shorter / min(size) if shorter else 1, math.sqrt(MOST_PIXELS / math.prod(size)))
    return tuple(max(1, round(scale * side)) for side in size)


def read_photo(path):
    """A photo's name, its image, and the ``(height, width)`` of its file.

    The name is the stem of the file's. The image is (height, width, 3) uint8, of ``MOST_PIXELS`` at most. An
    ``ImageError`` names the file without its folder.
    """
    try:
        picture = images.open_image(path)
    except images.ImageError as error:
        raise images.ImageError(str(error).replace(str(path), Path(path).name)) from error
    size = picture.height, picture.width
    return Path(path).stem, images.resize_image(picture, fit_size(size)), size


def read_upload(path):
    """What :func:`read_photo` returns for an uploaded file, which is deleted; and None, so that the next one fits."""
    with told():
        try:
            return read_photo(path), None
        finally:
            Path(path).unlink(missing_ok=True)


def make_folder(before=""):
    """A new folder for files that the page offers, in place of the one ``before``."""
    delete(before)
    # A new place each time: a browser shows what it has when it is sent to the same one again.
    return tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"])


def write_image(image, path):
    """Writes an image fast, for the page, and returns its path as text."""
    Image.fromarray(image).save(path, compress_level=1)
    return str(path)


def show_picture(label, **settings):
    """A component of the page that shows a file with an image."""
    import gradio as gr

    style = {"buttons": ["fullscreen"], "elem_classes": "seen", "elem_id": label.lower(), "alt_text": label}
    return gr.Image(label=label, type="filepath", format="png", interactive=False, **{**style, **settings})


@contextlib.contextmanager
def told():
    """Turns what is wrong with a file into a message on the page."""
    import gradio as gr

    try:
        yield
    except (ValueError, OSError) as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error
