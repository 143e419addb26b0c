"""What a model predicts for a photo, as files; the page that shows them, in Gradio; and its server."""

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
import time
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of the processor, not of the photo

import numpy as np
from PIL import Image

from seglib import images, predict, viz
from seglib.labels import LabelMap

MOST_BYTES = 20 * 2**20  # of an upload
MOST_PIXELS = 2**20  # of the model's input and of what the page shows: some 900 × 1,200
KEPT_SECONDS = 3600
OPACITY = 0.55
CLOSED = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'"
INTRODUCTION = """<h1>What is where</h1>
<p>A network names the class of every pixel of your photo. The photo stays on this machine.</p>
<p>Any image file of up to 20 MB:</p>"""
CSS = """
.gradio-container { --font: system-ui, sans-serif; }
h1, h2 { font-weight: 650; margin: 0; } h1 { font-size: 1.6rem; } h2 { font-size: 1.1rem; }
.seen :is(button:has(img), .image-frame, img) { width: 100%; } .seen img { max-height: 75vh; object-fit: contain; }
.legend { gap: 0.3rem; } .legend .row { align-items: center; gap: 1rem; flex-wrap: nowrap; }
.legend .row > * { flex: 3 1 9rem !important; } .legend .row > .fade { flex: 2 1 4rem !important; }
.entry, .scale { display: flex; align-items: center; gap: 0.6em; }
.entry i { width: 1.1em; height: 1.1em; border-radius: 3px; outline: 1px solid #0006; flex: none; }
.entry span { margin-left: auto; white-space: nowrap; font-variant-numeric: tabular-nums; }
.fade { overflow: visible !important; } .fade .head, .fade .min_value, .fade .max_value { display: none; }
.fade input::-webkit-slider-thumb { box-shadow: 0 0 0 1px #888 !important; }
.scale i { flex: 1; height: 0.8em; border-radius: 3px; }
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
    seconds: float


def find_models(folder):
    """The ``.keras`` files in a folder and in the folders in it, as a mapping from a name to the path.

    Those with a label map beside them come first; runs that ``SEGLIB_STEPS`` cut short come last.
    """
    folder = Path(folder)
    paths = [*folder.glob("*.keras"), *folder.glob("*/*.keras")]
    names = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths}

    def rank(name):
        return "-steps" in name, not names[name].with_name(predict.LABELS).is_file(), name

    return {name: names[name] for name in sorted(names, key=rank)}


@functools.lru_cache(maxsize=2)
def open_model(path):
    """The model of a file and its classes, which ``labels.json`` beside it names; a ValueError says what is wrong."""
    model = predict.load_model(path)
    return model, predict.find_labels(path, model.output_shape[-1])


def fit_size(size, shorter=None):
    """``(height, width)`` scaled to this shorter side (None: as it is), and to ``MOST_PIXELS`` at most."""
    scale = min(shorter / min(size) if shorter else 1, math.sqrt(MOST_PIXELS / math.prod(size)))
    return tuple(min(max(1, round(scale * side)), MOST_PIXELS) for side in size)


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

    The model's input has the size that the model was built for, if it was, or else this shorter side.
    """
    model, labels = open_model(path)
    started = time.perf_counter()
    built_for, image = model.input_shape[1:3], photo[1]
    size = fit_size(image.shape[:2], shorter) if None in built_for else tuple(built_for)
    probs = predict.probabilities(model, image, size)
    ids, confidence = predict.to_ids(probs), predict.confidence(probs)
    return Prediction(*photo, labels, ids, confidence, size, time.perf_counter() - started)


def find_shares(ids):
    """A mapping from the ids that occur to their shares of the pixels, largest first."""
    found, counts = np.unique(ids, return_counts=True)
    return {int(found[i]): counts[i] / ids.size for i in np.argsort(-counts, kind="stable")}


def colour_confidence(confidence, lowest=0):
    """Probabilities as colours, from dark blue at ``lowest`` to yellow at 1, legible for the colour-blind too."""
    from matplotlib import colormaps

    return colormaps["cividis"]((confidence - lowest) / (1 - lowest), bytes=True)[..., :3]


def write_results(prediction, folder):
    """Writes mask (of the size of the photo's file) and confidence map into a folder, and returns their paths."""
    mask, confidence = (str(Path(folder) / f"{prediction.name}-{kind}.png") for kind in ("mask", "confidence"))
    images.write_mask(mask, images.resize_mask(prediction.ids, prediction.file_size), prediction.labels)
    guess = 1 / prediction.labels.num_classes
    Image.fromarray(colour_confidence(prediction.confidence, guess)).save(confidence)
    return mask, confidence


def write_overlay(prediction, opacities, folder):
    """Writes the photo under its classes' colours into a new folder in ``folder``, deletes the one before.

    ``opacities`` maps names of classes to 0–1; the others have ``OPACITY``. Returns the path.
    """
    alphas = np.full(256, OPACITY)
    alphas[: prediction.labels.num_classes] = [opacities.get(name, OPACITY) for name in prediction.labels.names]
    overlay = viz.overlay(prediction.image, prediction.ids, prediction.labels, alphas[prediction.ids])
    before = [path for path in Path(folder).iterdir() if path.is_dir()]
    # A new place each time: a browser shows what it has when it is sent to the same one again.
    path = Path(tempfile.mkdtemp(dir=folder)) / f"{prediction.name}-overlay.png"
    Image.fromarray(overlay).save(path, compress_level=1)
    for older in before:
        _delete(older)
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
                    colours = colour_confidence(np.linspace(0, 1, 9))
                    stops = ", ".join(f"rgb({r}, {g}, {b})" for r, g, b in colours)
                    bar = f'<i style="background: linear-gradient(to right, {stops})"></i>'
                    gr.HTML(f'<div class="scale">a guess {bar} certain</div>')
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
        sides = [*((str(side), side) for side in (64, 128, 256, 512)), ("its own", 0)]
        info = "Shorter side in pixels. A network knows things at the size at which it learnt them."
        shorter = gr.Radio(sides, value=64, label="Size of the model's input", info=info)
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
        labels, shares, sliders = view_now.labels, find_shares(view_now.ids), []
        names = [labels.names[i] for i in shares]
        style = {"show_label": False, "container": False, "min_width": 80, "elem_classes": "fade"}
        with gr.Column(elem_classes="legend"):
            gr.HTML("<h2>Found</h2><p>with its share of the pixels; the slider fades its colour</p>")
            for i, share in shares.items():
                name, value = labels.names[i], opacities_now.get(labels.names[i], OPACITY)
                text = f"{share:.1%}" if share >= 0.001 else "under 0.1%"
                swatch = f'<i style="background: rgb{tuple(labels.colours[i])}"></i>'
                with gr.Row():
                    gr.HTML(f'<div class="entry">{swatch}<b>{html.escape(name)}</b><span>{text}</span></div>')
                    slider = gr.Slider(0, 1, value, step=0.05, label=f"opacity of {name}", interactive=True, **style)
                sliders.append(slider)
        given = [view, folder, opacities, gr.State(names), *sliders]
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
    (height, width), (input_height, input_width) = view.file_size, view.input_size
    about = (
        f"**{html.escape(view.name)}**: {height:,} pixels high, {width:,} wide. The model's input was {input_height:,} "
        f"× {input_width:,}; it took {view.seconds:.1f} s. The mean confidence is {view.confidence.mean():.0%}."
    )
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


def serve(models, port=None):
    """Serves the page on this machine until Ctrl-C or SIGTERM, and prints its address. None: the first free port."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with tempfile.TemporaryDirectory(prefix="seglib-demo-") as folder:
        # Gradio reads both when it is imported.
        os.environ.update(GRADIO_TEMP_DIR=folder, GRADIO_ANALYTICS_ENABLED="False")
        import gradio as gr
        from starlette.middleware import Middleware
        from starlette.middleware.trustedhost import TrustedHostMiddleware

        ours = Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])
        page = build_page(models)
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port,
            share=False,
            ssr_mode=False,
            quiet=True,
            prevent_thread_lock=True,
            max_file_size=MOST_BYTES,
            footer_links=[],
            app_kwargs={"middleware": [Middleware(_Closed), ours]},
            theme=gr.themes.Default(primary_hue="blue", font="sans-serif", font_mono="monospace"),
            css=CSS,
        )
        print(f"the demo is at {address} (Ctrl-C ends it)", flush=True)
        page.block_thread()


class _Closed:
    """Tells the browser to ask this server alone, and to lend the page to no other."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_closed(message):
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", CLOSED)]
            await send(message)

        await self.app(scope, receive, send_closed)


def main(words=None):
    """Finds the models and serves them; what is missing is said."""
    told = "Serves a page on which a model segments your photo."
    parser = argparse.ArgumentParser(prog="python -m seglib.demo", description=told)
    parser.add_argument("--models", default="build/runs", help="folder of .keras files, or of folders of them")
    parser.add_argument("--port", type=int, help="port on 127.0.0.1; the first free one from 7860 on")
    options = parser.parse_args(words)
    models = find_models(options.models)
    if options.port is not None and not 1 <= options.port <= 65535:
        parser.error(f"--port is 1 to 65535, got {options.port}")
    if not models:
        parser.error(f"found no .keras file in {options.models} or the folders in it; `make course` trains some")
    try:
        serve(models, options.port)
    except ModuleNotFoundError as error:
        parser.error(f"{error.name} is missing; `make demo` sets up an environment with all that the page needs")
    except OSError as error:  # a port that is taken
        parser.error(str(error))
