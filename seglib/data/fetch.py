"""Where a named dataset's archives come from: the network if it answers, a person's hands if it does not."""

import json
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from seglib.data.dataset import DataError
from seglib.data.specs import Spec

PROBE_SECONDS = 3
"""How long a host may take to answer before it counts as unreachable. TFDS itself would try for 204 seconds."""


@dataclass(frozen=True)
class Place:
    """A dataset, ``name`` as the user said it, its ``spec``, and the ``folder`` in which all datasets are kept."""

    name: str
    spec: Spec
    folder: Path

    @property
    def home(self):
        """The folder of its versions."""
        return self.folder / self.spec.path

    @property
    def downloads(self):
        """TFDS's folder for the archives that it fetches for this dataset."""
        return self.folder / "downloads" / self.spec.path.partition("/")[0]

    @property
    def manual(self):
        """TFDS's folder for archives that a person has fetched, for all datasets alike."""
        return self.folder / "downloads" / "manual"


def check_sources(place):
    """Refuses within seconds if an archive is neither here nor to be had.

    Raises:
        DataError: what was tried, what needs no download, and the steps to place the archives by hand.
    """
    here = _find_fetched(place)
    missing = [f for f, url in place.spec.files.items() if not (place.manual / f).is_file() and url not in here]
    if not missing:
        return
    urls = [place.spec.files[file] for file in missing]
    if None in urls:
        why = [f"{place.manual / file}: no such file" for file in missing]
    else:
        why = [f"{url}: {trouble}" for url, trouble in find_unreachable(urls).items()]
    if why:
        raise DataError(
            f"{place.name} is not on this machine and cannot be fetched:\n  " + "\n  ".join(why) + "\n"
            'These need no download: data.load("streets/tiny"), data.load("cells/tiny"); and data.from_folder reads '
            f"files of your own.\n{list_steps(place)}"
        )


def find_unreachable(urls, seconds=PROBE_SECONDS):
    """Asks all addresses at once whether they answer, through the proxies of the environment, within a hard deadline.

    Args:
        urls: addresses; of the answers only the heads are read.
        seconds: after so long, whatever hangs (the name server too) counts as no answer.

    Returns:
        Mapping from each address that does not answer to the reason, in words. Refusals such as 404 are answers:
        TFDS reports them at once, while it would repeat for minutes what ends in 500 or more.
    """
    troubles = dict.fromkeys(urls, f"no answer within {seconds} seconds")

    def ask(url):
        try:
            opener = urllib.request.build_opener()  # a new one, since it keeps the proxies that it was made with
            opener.open(url, timeout=seconds).close()
            troubles[url] = None
        except Exception as error:  # of whatever kind: this address cannot be read
            troubles[url] = _judge(error)

    threads = [threading.Thread(target=ask, args=(url,), daemon=True) for url in urls]
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, deadline - time.monotonic()))
    return {url: trouble for url, trouble in dict(troubles).items() if trouble}


def list_steps(place):
    """How to place the archives by hand, step by step."""
    spec = place.spec
    fetch = [f"fetch {url or f'{file} (register at {spec.page})'}" for file, url in spec.files.items()]
    steps = [
        *fetch,
        f"put the archives as they are, named {' and '.join(spec.files)}, into {place.manual}",
        f"call data.load({place.name!r}) again: it unpacks and converts them, for which another "
        f"{2 * spec.gigabytes:.0f} GB are needed; {place.folder / 'downloads'} may be deleted afterwards",
    ]
    listed = "\n".join(f"  {i}. {step}" for i, step in enumerate(steps, 1))
    return (
        f"To place it by hand ({spec.gigabytes:.1f} GB):\n{listed}\n"
        "Or copy the folder of a machine that has it prepared, with all its files, to "
        f"{spec.builder(place.folder).data_dir}"
    )


def explain(place, error):
    """What failed while a dataset was made, and what to do about it, as a text that keeps the cause."""
    text = f"{place.name}: could not be made: {type(error).__name__}: {error}"
    if "No space left" in text or "Not enough disk space" in text:
        free = shutil.disk_usage(place.folder).free / 1e9
        needed = f", and {3 * place.spec.gigabytes:.0f} GB are needed in all" if place.spec.files else ""
        return (
            f"{text}\nOn the disk of {place.folder} {free:.1f} GB are free{needed}: make room and call again, or name "
            "a folder on another disk with data_dir=."
        )
    if not place.spec.files:
        return text
    if "checksum" in text:
        advice = (
            "That archive is not the one which TFDS knows: it was cut short, or its host sent something else. Delete "
            "it if you placed it by hand, then call again."
        )
    else:
        advice = f"Archives that had arrived whole are kept in {place.downloads}: call again to go on from there."
    return f"{text}\n{advice}\n{list_steps(place)}"


def _judge(error):
    """Why an address could not be read, in words, or None if its host did answer."""
    if isinstance(error, urllib.error.HTTPError):
        return f"answered {error.code} {error.reason}" if error.code >= 500 else None
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):  # TFDS brings certificates of its own
        return None
    return str(reason) or type(reason).__name__


def _find_fetched(place):
    """The addresses whose archives TFDS has fetched whole: it then writes ``<archive>.INFO`` next to them."""
    urls = set()
    for folder in (place.downloads, place.folder / "downloads"):  # the second is where older versions put them
        for info in folder.glob("*.INFO"):
            if info.with_suffix("").is_file():
                urls.update(json.loads(info.read_text(encoding="utf-8")).get("urls", []))
    return urls
