"""Serves the page of the demo: ``python -m seglib.demo``."""

import argparse
import os
import signal
import sys
import tempfile

from seglib import checkpoints
from seglib.demo import classes, clicks, photos

MOST_BYTES = 20 * 2**20  # of an upload
CLOSED = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'"
CSS = """
.gradio-container { --font: system-ui, sans-serif; }
.seen :is(button:has(img), .image-frame, img) { width: 100%; } .seen img { max-height: 75vh; object-fit: contain; }
.legend { gap: 0.3rem; } .legend .row { align-items: center; gap: 1rem; flex-wrap: nowrap; }
.legend .row > * { flex: 3 1 9rem !important; } .legend .row > .fade { flex: 2 1 4rem !important; }
.entry, .scale { display: flex; align-items: center; gap: 0.6em; }
.entry i { width: 1.1em; height: 1.1em; border-radius: 3px; outline: 1px solid #0006; flex: none; }
.entry span { margin-left: auto; white-space: nowrap; font-variant-numeric: tabular-nums; }
#clicked img { max-height: 65vh; cursor: crosshair; }
.marks svg { width: 1.4em; flex: none; stroke-width: 3; fill: none; }
.marks .entry span { margin-left: 0; white-space: normal; }
.fade { overflow: visible !important; } .fade .head, .fade .min_value, .fade .max_value { display: none; }
.scale i { flex: 1; height: 0.8em; background: linear-gradient(to right, #00224e, #575d6d, #a59c74, #fee838); }
"""


def build_page(models):
    """The page, a ``gradio.Blocks``, for the models of :func:`seglib.demo.classes.find_models`."""
    import gradio as gr

    with gr.Blocks(title="What is where", analytics_enabled=False, delete_cache=(60, photos.KEPT_SECONDS)) as page:
        gr.HTML("<h1>What is where</h1>")
        with gr.Tab("Classes", elem_id="classes"):
            classes.add_tab(models)
        with gr.Tab("Clicks", elem_id="clicks") as tab:
            clicks.add_tab(tab)
    return page


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
            js=clicks.LISTEN,
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
    models = classes.find_models(folder or "build/runs")
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
