"""``python -m seglib.demo``: serves the page to this machine."""

import argparse
import os
import signal
import sys
import tempfile

from seglib.demo.page import CSS, build_page
from seglib.demo.views import find_models

MOST_BYTES = 20 * 2**20  # of an upload
CLOSED = b"default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'none'"


def main(words=None):
    """Finds the models and serves them; what is missing is said."""
    parser = argparse.ArgumentParser(
        prog="python -m seglib.demo", description="Serves a page on which a model names the pixels of your photo."
    )
    parser.add_argument("--models", default="build/runs", help="folder of .keras files, or of folders of them")
    parser.add_argument("--port", type=_port, help="port on 127.0.0.1; the first free one from 7860 on")
    options = parser.parse_args(words)
    models = find_models(options.models)
    if not models:
        parser.error(f"found no .keras file in {options.models} or the folders in it; `make course` trains some")
    try:
        serve(models, options.port)
    except ModuleNotFoundError as error:
        parser.error(f"{error.name} is missing; `make demo` sets up an environment with all that the page needs")
    except OSError as error:  # a port that is taken
        parser.error(str(error))


def _port(text):
    if not (text.isdecimal() and 1 <= int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"wanted a port, 1 to 65535, got {text!r}")
    return int(text)


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


if __name__ == "__main__":
    main()
