"""The page itself, in Gradio."""

import contextlib
import functools
import html
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from seglib import images
from seglib.demo.views import (
    OPACITY,
    cividis,
    describe,
    find_shares,
    look,
    read_photo,
    write_overlay,
    write_results,
)

KEPT_SECONDS = 3600
SIDES = (64, 128, 256, 512)
INTRODUCTION = """<h1>What is where</h1>
<p>A network names every pixel of your photo. The photo stays on this machine.</p>
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


def build_page(models):
    """The page, a ``gradio.Blocks``, for the models of :func:`find_models`."""
    import gradio as gr

    with gr.Blocks(title="What is where", analytics_enabled=False, delete_cache=(60, KEPT_SECONDS)) as page:
        photo, view, opacities = (gr.State(value, time_to_live=KEPT_SECONDS) for value in (None, None, {}))
        folder = gr.State(time_to_live=KEPT_SECONDS, delete_callback=_delete)
        with gr.Row():
            with gr.Column(scale=2, min_width=300):
                gr.HTML(INTRODUCTION)
                drop = gr.File(label="Photo", show_label=False, file_types=list(images.EXTENSIONS), height=150)
                model = gr.Dropdown(list(models), value=next(iter(models)), label="Model", filterable=False)
                sides = [*((f"{side}", side) for side in SIDES), ("its own", 0)]
                info = "Shorter side in pixels. A network knows things at the size at which it learnt them."
                shorter = gr.Radio(sides, value=SIDES[0], label="Size at which the model looks", info=info)
            with gr.Column(scale=5, min_width=420):
                with gr.Tab("Overlay"):
                    overlay = _picture("Overlay")
                with gr.Tab("Confidence", render_children=True):
                    confidence = _picture("Confidence")
                    gr.HTML(_scale())
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


def _add_legend(view, folder, opacities, overlay):
    """The classes found, their shares and a slider each; it is made anew for each view."""
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
        with gr.Column(elem_classes="legend"):
            gr.HTML("<h2>Found</h2><p>with its share of the pixels; the slider fades its colour</p>")
            for i, share in shares.items():
                with gr.Row():
                    gr.HTML(_entry(labels.names[i], labels.colours[i], share))
                    sliders.append(_slider(labels.names[i], opacities_now))
        given = [view, folder, opacities, gr.State(names), *sliders]
        gr.on(
            [slider.input for slider in sliders],
            repaint,
            given,
            [opacities, *overlay],
            trigger_mode="always_last",
            show_progress="hidden",
            api_visibility="private",
        )


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
        view = look(photo, models[model], shorter)
        _delete(folder)
        folder = tempfile.mkdtemp(dir=os.environ["GRADIO_TEMP_DIR"])
        mask, confidence = write_results(view, folder)
        overlay = write_overlay(view, opacities, folder)
    files = [gr.DownloadButton(value=path, interactive=True) for path in (overlay, mask)]
    return view, folder, overlay, confidence, describe(view), *files


@contextlib.contextmanager
def _told():
    """Turns what is wrong with a file into a message on the page."""
    import gradio as gr

    try:
        yield
    except (ValueError, OSError) as error:
        raise gr.Error(html.escape(str(error)), print_exception=False) from error


def _delete(folder):
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


def _slider(name, opacities):
    import gradio as gr

    look = {"show_label": False, "container": False, "min_width": 80, "elem_classes": "fade"}
    value = opacities.get(name, OPACITY)
    return gr.Slider(0, 1, value, step=0.05, label=f"opacity of {name}", interactive=True, **look)


def _picture(label):
    import gradio as gr

    look = {"interactive": False, "buttons": ["fullscreen"], "elem_classes": "seen"}
    return gr.Image(label=label, alt_text=label, type="filepath", format="png", elem_id=label.lower(), **look)


def _entry(name, colour, share):
    share = f"{share:.1%}" if share >= 0.001 else "under 0.1%"
    swatch = f'<i style="background: rgb{tuple(colour)}"></i>'
    return f'<div class="entry">{swatch}<b>{html.escape(name)}</b><span>{share}</span></div>'


def _scale():
    stops = ", ".join(f"rgb({r}, {g}, {b})" for r, g, b in cividis(np.linspace(0, 1, 9)))
    bar = f'<i style="background: linear-gradient(to right, {stops})"></i>'
    return f'<div class="scale">a guess {bar} certain</div>'
