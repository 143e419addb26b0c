"""A real browser without a window, for the tests of the demo and of the pages."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.request

SHIFT = "\ue008"  # the key, in the WebDriver protocol


def wait_for(condition, seconds=40):
    """What ``condition`` gives as soon as that is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"waited {seconds} s"
        time.sleep(0.1)
    return found


def find_missing():
    """Why a test that needs a browser is skipped; empty where there is one."""
    missing = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]
    return f"{' and '.join(missing)} not installed" if missing else ""


class Browser:
    """Chromium without a window, through a few words of the WebDriver protocol."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.downloads, self.place = folder / "downloads", f"http://127.0.0.1:{port}"
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.driver = subprocess.Popen([shutil.which("chromedriver"), f"--port={port}"], **quiet)
        wait_for(self.is_ready)
        words = (
            "headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking "
            f"disable-component-update disable-sync window-size=1500,1000 user-data-dir={folder / 'profile'}"
        )
        rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        options = {"binary": shutil.which("chromium"), "args": [*("--" + word for word in words.split()), rules]}
        options["prefs"] = {"download.default_directory": str(self.downloads)}
        wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
        session = self.call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self.place += f"/session/{session['sessionId']}"

    def call(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.place + path, data, {"Content-Type": "application/json"}, method=method)
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(request, timeout=60) as answer:
            return json.load(answer)["value"]

    def is_ready(self):
        with contextlib.suppress(OSError):
            return self.call("GET", "/status")["ready"]

    def find(self, css):
        """The path of the first such element, as soon as there is one."""
        wanted = {"using": "css selector", "value": css}
        return "/element/" + next(iter(wait_for(lambda: self.call("POST", "/elements", wanted))[0].values()))

    def click(self, css):
        self.call("POST", self.find(css) + "/click", {})

    def click_image(self, css, x, y, shift=False):
        """Moves the mouse to a pixel of the file that an image element shows whole, and clicks, with Shift or without.

        A pixel outside the file is where it would be if the file went on.
        """
        element = self.find(css).rpartition("/")[2]
        script = (
            "const e = arguments[0]; e.scrollIntoView({block: 'nearest'}); "
            "return [e.clientWidth / e.naturalWidth, e.clientHeight / e.naturalHeight, e.naturalWidth, e.naturalHeight]"
        )
        origin = {"element-6066-11e4-a52e-4f735466cecf": element}  # the protocol's name for a reference to an element
        *scales, width, height = self.call("POST", "/execute/sync", {"script": script, "args": [origin]})
        place = {"x": round(min(scales) * (x + 0.5 - width / 2)), "y": round(min(scales) * (y + 0.5 - height / 2))}
        pause, press = {"type": "pause"}, [{"type": f"pointer{way}", "button": 0} for way in ("Down", "Up")]
        mouse = [pause, {"type": "pointerMove", "origin": origin, **place}, *press, pause]
        keys = [{"type": f"key{way}", "value": SHIFT} for way in ("Down", "Up")] if shift else [pause] * 2
        sources = [
            {"type": "pointer", "id": "mouse", "actions": mouse},
            {"type": "key", "id": "keys", "actions": [keys[0], pause, pause, pause, keys[1]]},
        ]
        self.call("POST", "/actions", {"actions": sources})

    def type(self, css, text):
        self.call("POST", self.find(css) + "/value", {"text": str(text)})

    def read(self, css, what="textContent"):
        """A property of every such element."""
        script = f"return [...document.querySelectorAll(arguments[0])].map(e => e.{what})"
        return self.call("POST", "/execute/sync", {"script": script, "args": [css]})

    def download(self, css, name):
        shutil.rmtree(self.downloads, ignore_errors=True)
        self.click(css)
        wait_for((self.downloads / name).exists)
        return self.downloads / name

    def open(self, address):
        self.call("POST", "/url", {"url": address})

    def list_requests(self, schemes="(http|ws)s?:"):
        """The addresses that the pages asked since the last call, of the schemes that leave the browser."""
        log = self.call("POST", "/se/log", {"type": "performance"})
        events = [json.loads(entry["message"])["message"] for entry in log]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if re.match(schemes, url)]

    def stop(self):
        with contextlib.suppress(OSError):
            self.call("DELETE", "")
        self.driver.terminate()
        self.driver.wait(20)
