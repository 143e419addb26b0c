"""A page in the browser: drop a photo, see how a trained model segments it, and with what confidence.

``make demo`` serves it, or ``python -m seglib.demo --models FOLDER`` where Gradio is installed. The page is served to
this machine alone and asks no other for anything; GRADIO_SERVER_PORT chooses its port.

What is kept of a photo: its file is deleted once it is read. The pixels and the files that the page shows and offers
stay until the next photo replaces them, or for about an hour; everything is gone when the server ends. Only a server
that is killed (SIGKILL) leaves its temporary folder behind.
"""

import argparse
import contextlib
import functools
import html
import math
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of the processor, not of the photo

import numpy as np
from PIL import Image

from seglib import checkpoints, images, predict, runs, viz
from seglib.labels import LabelMap

MOST_BYTES = 20 * 2**20  # of an upload
MOST_PIXELS = 2**20  # of the model's input and of what the page shows: some 900 × 1,200
KEPT_SECONDS = 3600
TRAINED = -1  # the shorter side of the training's images
OPACITY = 0.55
CLOSED = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'"
INTRODUCTION = """<h1>What is where</h1>
<p>A network names the class of every pixel of your photo. The photo stays on this machine.</p>
<p>Any image file of up to 20 MB:</p>"""
ABOUT = "**{}**: {:,} pixels high, {:,} wide. The model's input was {:,} × {:,}. The mean confidence is {:.0%}."
CSS = """
.gradio-container { --font: system-ui, sans-serif; }
.seen :is(button:has(img), .image-frame, img) { width: 100%; } .seen img { max-height: 75vh; object-fit: contain; }
.legend { gap: 0.3rem; } .legend .row { align-items: center; gap: 1rem; flex-wrap: nowrap; }
.legend .row > * { flex: 3 1 9rem !important; } .legend .row > .fade { flex: 2 1 4rem !important; }
.entry, .scale { display: flex; align-items: center; gap: 0.6em; }
.entry i { width: 1.1em; height: 1.1em; border-radius: 3px; outline: 1px solid #0006; flex: none; }
.entry span { margin-left: auto; white-space: nowrap; font-variant-numeric: tabular-nums; }
.fade { overflow: visible !important; } .fade .head, .fade .min_value, .fade .max_value { display: none; }
.scale i { flex: 1; height: 0.8em; background: linear-gradient(to right, #00224e, #575d6d, #a59c74, #fee838); }
"""
_delete = functools.partial(shutil.rmtree, ignore_errors=True)


class Prediction(NamedTuple):
    """What a model predicts for a photo."""

    name: str  # the stem of the photo's file
    image: np.ndarray  # (height, width, 3) uint8, of MOST_PIXELS at most
    file_size: tuple  # (height, width) of the file
    labels: LabelMap
    ids: np.ndarray  # (height, width) uint8, of the size of image
    confidence: np.ndarray  # (height, width) float32, the probability of the predicted class
    input_size: tuple  # (height, width) of the model's input


def find_models(folder):
    """Maps names to the ``.keras`` files in a folder and the folders in it: with labels first, shortened runs last."""
    folder = Path(folder)
    paths = sorted([*folder.glob("*.keras"), *folder.glob("*/*.keras")])

    def rank(path):
        return "-steps" in str(path), not (path.with_name(predict.LABELS).is_file() or "labels" in runs.read_note(path))

    paths.sort(key=rank)
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}


@functools.lru_cache(maxsize=2)
def open_model(path):
    """The model of a file or checkpoint, and its classes; a ValueError says what is wrong."""
    model = checkpoints.load(path.stem) if path.suffix == ".npz" else predict.load_model(path)
    return model, predict.find_labels(path, model.output_shape[-1])


def fit_size(size, shorter=None):
    """``(height, width)`` scaled to this shorter side (None: as it is), and to ``MOST_PIXELS`` at most."""
    scale = min(shorter / min(size) if shorter else 1, math.sqrt(MOST_PIXELS / math.prod(size)))
    return tuple(max(1, round(scale * side)) for side in size)


def find_side(path, size):
    """The shorter side at which a model was trained, for a photo of this ``(height, width)``; 64 if nothing tells."""
    if path.stem in checkpoints.CHECKPOINTS and path.suffix == ".npz":
        return min(checkpoints.CHECKPOINTS[path.stem].size)
    scale = runs.read_note(path).get("scale")
    return max(1, round(scale * min(size))) if scale else 64


def read_photo(path):
    """The first three fields of a :class:`Prediction`; an ``ImageError`` names the file without its folder."""
    try:
        picture = images.open_image(path)
    except images.ImageError as error:
        raise images.ImageError(str(error).replace(str(path), Path(path).name)) from error
    size = picture.height, picture.width
    return Path(path).stem, images.resize_image(picture, fit_size(size)), size


def predict_photo(photo, path, shorter=None):
    """Runs the model of a file on what :func:`read_photo` returned: a :class:`Prediction`.

    The model's input has the size that the model was built for, if it was, or else this shorter side; if that is
    ``TRAINED``, the one of its training, as far as the model's file says it.
    """
    model, labels = open_model(path)
    built_for, image = model.input_shape[1:3], photo[1]
    if shorter == TRAINED:
        shorter = find_side(path, photo[2])
    size = fit_size(image.shape[:2], shorter) if None in built_for else tuple(built_for)
    probs = predict.probabilities(model, image, size)
    ids, confidence = predict.to_ids(probs), probs.max(axis=-1)
    return Prediction(*photo, labels, ids, confidence, size)


def write_results(prediction, folder):
    """Writes mask (of the size of the photo's file) and confidence map into a folder, and returns their paths."""
    from matplotlib import colormaps

    mask, confidence = (str(Path(folder) / f"{prediction.name}-{kind}.png") for kind in ("mask", "confidence"))
    images.write_mask(mask, images.resize_mask(prediction.ids, prediction.file_size), prediction.labels)
    guess = 1 / prediction.labels.num_classes  # cividis shows it in dark blue, 1 in yellow
    colours = colormaps["cividis"]((prediction.confidence - guess) / (1 - guess), bytes=True)
    Image.fromarray(colours[..., :3]).save(confidence)
    return mask, confidence


def write_overlay(prediction, opacities, folder):
    """Writes the photo under its classes' colours into a new folder in ``folder``, deletes the one before.

    ``opacities`` maps names of classes to 0–1; the others have ``OPACITY``. Returns the path.
    """
    alphas = np.full(256, OPACITY)
    alphas[: prediction.labels.num_classes] = [opacities.get(name, OPACITY) for name in prediction.labels.names]
    overlay = viz.overlay(prediction.image, prediction.ids, prediction.labels, alphas[prediction.ids])
    for before in Path(folder).glob("overlay-*"):
        _delete(before)
    # A new place each time: a browser shows what it has when it is sent to the same one again.
    path = Path(tempfile.mkdtemp(prefix="overlay-", dir=folder)) / f"{prediction.name}-overlay.png"
    Image.fromarray(overlay).save(path, compress_level=1)
    return str(path)


def build_page(models):
    """The page, a ``gradio.Blocks``, for the models of :func:`find_models`."""
    import gradio as gr

    def picture(label):
        style = {"buttons": ["fullscreen"], "elem_classes": "seen", "elem_id": label.lower()}
        return gr.Image(label=label, alt_text=label, type="filepath", format="png", interactive=False, **style)

    with gr.Blocks(title="What is where", analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        photo, view, opacities = (gr.State(value, time_to_live=KEPT_SECONDS) for value in (None, None, {}))
        folder = gr.State("", time_to_live=KEPT_SECONDS, delete_callback=_delete)
        with gr.Row():
            drop, model, shorter = _add_settings(models)
            with gr.Column(scale=5, min_width=420):
                with gr.Tab("Overlay"):
                    overlay = picture("Overlay")
                with gr.Tab("Confidence", render_children=True):
                    confidence = picture("Confidence")
                    gr.HTML('<div class="scale">a guess <i></i> certain</div>')
                about = gr.Markdown("Drop a photo on the left.", elem_id="about")
                with gr.Row():
                    files = [
                        gr.DownloadButton(f"Save the {kind}", interactive=False, elem_id=f"save-{kind}")
                        for kind in ("overlay", "mask")
                    ]
            with gr.Column(scale=3, min_width=300):
                _add_legend(view, folder, opacities, [overlay, files[0]])

        asked = [photo, model, shorter, opacities, folder]
        shown = [view, folder, overlay, confidence, about, *files]
        show = functools.partial(_show, models)
        read = drop.upload(_read, drop, [photo, drop], api_visibility="private")
        read.failure(lambda: None, None, drop, api_visibility="private")
        read.success(show, asked, shown, api_visibility="private")
        gr.on([model.change, shorter.change], show, asked, shown, api_visibility="private")
    return page


def _add_settings(models):
    import gradio as gr

    with gr.Column(scale=2, min_width=300):
        gr.HTML(INTRODUCTION)
        drop = gr.File(label="Photo", show_label=False, file_types=list(images.EXTENSIONS), height=150)
        model = gr.Dropdown(list(models), value=next(iter(models)), label="Model", filterable=False)
        sides = [("as trained", TRAINED), *((str(side), side) for side in (64, 128, 256, 512)), ("its own", 0)]
        info = "Shorter side in pixels. A network knows things at the size at which it learnt them."
        shorter = gr.Radio(sides, value=TRAINED, label="Size of the model's input", info=info)
    return drop, model, shorter


def _add_legend(view, folder, opacities, overlay):
    """The classes found, their shares and a slider each; it is made anew for each prediction."""
    import gradio as gr

    def repaint(view, folder, opacities, names, *values):
        if view is None:
            raise gr.Error("The photo was forgotten, since an hour has passed. Drop it again.", print_exception=False)
        opacities = {**opacities, **dict(zip(names, values, strict=True))}
        path = write_overlay(view, opacities, folder)
        return opacities, path, path

    @gr.render([view, opacities], triggers=[view.change], show_progress="hidden")
    def legend(view_now, opacities_now):
        if view_now is None:
            return
        labels, sliders = view_now.labels, []
        shares = np.bincount(view_now.ids.ravel()) / view_now.ids.size
        names = {labels.names[i]: i for i in np.argsort(-shares) if shares[i]}
        style = {"show_label": False, "container": False, "min_width": 80, "elem_classes": "fade", "step": 0.05}
        with gr.Column(elem_classes="legend"):
            gr.HTML("<h2>Found</h2><p>with its share of the pixels; the slider fades its colour</p>")
            for name, i in names.items():
                swatch = f'<i style="background: rgb{tuple(labels.colours[i])}"></i><b>{html.escape(name)}</b>'
                value = opacities_now.get(name, OPACITY)
                with gr.Row():
                    gr.HTML(f'<div class="entry">{swatch}<span>{shares[i]:.1%}</span></div>')
                    slider = gr.Slider(0, 1, value, label=f"opacity of {name}", interactive=True, **style)
                sliders.append(slider)
        given = [view, folder, opacities, gr.State([*names]), *sliders]
        quietly = {"trigger_mode": "always_last", "show_progress": "hidden", "api_visibility": "private"}
        gr.on([slider.input for slider in sliders], repaint, given, [opacities, *overlay], **quietly)


def _read(path):
    with _told():
        try:
            return read_photo(path), None  # room for the next one
        finally:
            Path(path).unlink(missing_ok=True)


def _show(models, photo, model, shorter, opacities, folder):
    import gradio as gr

    if photo is None:
        return gr.skip()
    with _told():
        view = predict_photo(photo, models[model], shorter)
        _delete(folder)
        folder = tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"])
        mask, confidence = write_results(view, folder)
        overlay = write_overlay(view, opacities, folder)
    about = ABOUT.format(html.escape(view.name), *view.file_size, *view.input_size, view.confidence.mean())
    files = [gr.DownloadButton(value=path, interactive=True) for path in (overlay, mask)]
    return view, folder, overlay, confidence, about, *files


@contextlib.contextmanager
def _told():
    """Turns what is wrong with a file into a message on the page."""
    import gradio as gr

    try:
        yield
    except (ValueError, OSError) as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error


def serve(models):
    """Serves the page on this machine until Ctrl-C or SIGTERM, and prints its address."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory(prefix="seglib-demo-") as folder:
        # Gradio reads both when it is imported.
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
        import gradio as gr
        from starlette.middleware import Middleware
        from starlette.middleware.base import BaseHTTPMiddleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        ours = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
        page = build_page(models)
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            share=False,
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MOST_BYTES,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(BaseHTTPMiddleware, dispatch=_close), ours]},
            theme=gr.themes.Default(primary_hue="blue", font="sans-serif", font_mono="monospace"),
            css=CSS,
        )
        print(f"the demo is at {address} (Ctrl-C ends it)", flush=True)
        page.block_thread()


async def _close(request, call_next):
    """Tells the browser to ask this server alone, and to lend the page to no other."""
    response = await call_next(request)
    response.headers["content-security-policy"] = CLOSED
    return response


def main(words=None):
    """Finds the models and serves them; what is missing is said."""
    parser = argparse.ArgumentParser("python -m seglib.demo", description="Serves a page that segments your photo.")
    parser.add_argument("--models", help="folder of .keras files, or folders of them (checkpoints and build/runs)")
    folder = parser.parse_args(words).models
    models = find_models(folder or "build/runs")
    if folder is None:
        models = {name: checkpoints.FOLDER / f"{name}.npz" for name in checkpoints.CHECKPOINTS} | models
    if not models:
        parser.error(f"found no .keras file in {folder} or the folders in it; `make course` trains some")
    try:
        serve(models)
    except ModuleNotFoundError as error:
        parser.error(f"{error.name} is missing; `make demo` sets up an environment with all that the page needs")


if __name__ == "__main__":
    main()
