"""The tab on which a model names the class of every pixel of a photo, with its confidence."""

import functools
import html
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

from seglib import checkpoints, images, predict, runs, viz
from seglib.demo import photos
from seglib.labels import LabelMap

OPACITY = 0.55
INTRODUCTION = """<p>A network names the class of every pixel of your photo. The photo stays on this machine.</p>
<p>Any image file of up to 20 MB:</p>"""
ABOUT = "**{}**: {:,} pixels high, {:,} wide. The model's input was {:,} × {:,}. The mean confidence is {:.0%}."


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


def find_side(path, size):
    """The shorter side at which a model was trained, for a photo of this ``(height, width)``; 64 if nothing tells."""
    if path.stem in checkpoints.CHECKPOINTS and path.suffix == ".npz":
        return min(checkpoints.CHECKPOINTS[path.stem].size)
    scale = runs.read_note(path).get("scale")
    return max(1, round(scale * min(size))) if scale else 64


def predict_photo(photo, path, shorter=None):
    """Runs the model of a file on what :func:`read_photo` returned: a :class:`Prediction`.

    The model's input has the size that the model was built for, if it was, or else this shorter side; if that is
    ``TRAINED``, the one of its training, as far as the model's file says it.
    """
    model, labels = open_model(path)
    built_for, image = model.input_shape[1:3], photo[1]
    if shorter == photos.TRAINED:
        shorter = find_side(path, photo[2])
    size = photos.fit_size(image.shape[:2], shorter) if None in built_for else tuple(built_for)
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
    return mask, photos.write_image(colours[..., :3], confidence)


def write_overlay(prediction, opacities, folder):
    """Writes the photo under its classes' colours into a new folder in ``folder``, deletes the one before.

    ``opacities`` maps names of classes to 0–1; the others have ``OPACITY``. Returns the path.
    """
    alphas = np.full(256, OPACITY)
    alphas[: prediction.labels.num_classes] = [opacities.get(name, OPACITY) for name in prediction.labels.names]
    overlay = viz.overlay(prediction.image, prediction.ids, prediction.labels, alphas[prediction.ids])
    for before in Path(folder).glob("overlay-*"):
        photos.delete(before)
    path = Path(tempfile.mkdtemp(prefix="overlay-", dir=folder)) / f"{prediction.name}-overlay.png"
    return photos.write_image(overlay, path)


def add_tab(models):
    """Fills the tab with components, for the models of :func:`find_models`."""
    import gradio as gr

    photo, view, opacities = (gr.State(value, time_to_live=photos.KEPT_SECONDS) for value in (None, None, {}))
    folder = gr.State("", time_to_live=photos.KEPT_SECONDS, delete_callback=photos.delete)
    with gr.Row():
        drop, model, shorter = _add_settings(models)
        with gr.Column(scale=5, min_width=420):
            with gr.Tab("Overlay", elem_id="overlay-tab"):
                overlay = photos.show_picture("Overlay")
            with gr.Tab("Confidence", elem_id="confidence-tab", render_children=True):
                confidence = photos.show_picture("Confidence")
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
    read = drop.upload(photos.read_upload, drop, [photo, drop], api_visibility="private")
    read.failure(lambda: None, None, drop, api_visibility="private")
    read.success(show, asked, shown, api_visibility="private")
    gr.on([model.change, shorter.change], show, asked, shown, api_visibility="private")


def _add_settings(models):
    import gradio as gr

    with gr.Column(scale=2, min_width=300):
        gr.HTML(INTRODUCTION)
        drop = gr.File(label="Photo", elem_id="photo", show_label=False, file_types=list(images.EXTENSIONS), height=150)
        model = gr.Dropdown(list(models), value=next(iter(models)), label="Model", filterable=False)
        info = "Shorter side in pixels. A network knows things at the size at which it learnt them."
        shorter = gr.Radio(photos.SIDES, value=photos.TRAINED, label="Size of the model's input", info=info)
    return drop, model, shorter


def _add_legend(view, folder, opacities, overlay):
    """The classes found, their shares and a slider each; it is made anew for each prediction."""
    import gradio as gr

    def repaint(view, folder, opacities, names, *values):
        if view is None:
            raise gr.Error(photos.FORGOTTEN, print_exception=False)
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


def _show(models, photo, model, shorter, opacities, folder):
    import gradio as gr

    if photo is None:
        return gr.skip()
    with photos.told():
        view = predict_photo(photo, models[model], shorter)
        folder = photos.make_folder(folder)
        mask, confidence = write_results(view, folder)
        overlay = write_overlay(view, opacities, folder)
    about = ABOUT.format(html.escape(view.name), *view.file_size, *view.input_size, view.confidence.mean())
    files = [gr.DownloadButton(value=path, interactive=True) for path in (overlay, mask)]
    return view, folder, overlay, confidence, about, *files
