"""The archives of named datasets: whether they are here or can be fetched, and how they are placed by hand."""

import threading
from pathlib import Path

PROBE_SECONDS = 3  # in which a host must answer; TFDS itself would try for 204


def describe_lack(name, spec, folder):
    """What to do, within seconds, if an archive of a dataset is neither here nor to be had; else an empty text."""
    manual = folder / "downloads" / "manual"
    missing = [file for file in spec.files if not (manual / Path(file).name).is_file()]
    if spec.page:
        troubles = [f"{manual / file}: no such file" for file in missing]
    else:  # the archives of a dataset are all on one host
        troubles = [f"{url}: {trouble}" for url in missing[:1] if (trouble := _find_trouble(url))]
    if not troubles:
        return ""
    listed = "\n  ".join(troubles)
    register = f" (register at {spec.page})" if spec.page else ""
    return (
        f"{name} is not on this machine and cannot be fetched:\n  {listed}\n"
        'These need no download: data.load("streets/tiny"), data.load("cells/tiny"); and data.from_folder reads files '
        f"of your own.\nTo place it by hand ({spec.gigabytes:.1f} GB):\n"
        f"  1. fetch{register} {' and '.join(spec.files)}\n"
        f"  2. put these archives as they are, under their own names, into {manual}\n"
        f"  3. call data.load({name!r}) again: it unpacks and converts them, for which another "
        f"{2 * spec.gigabytes:.0f} GB are needed; {manual.parent} may be deleted afterwards\n"
        f"Or copy the folder of a machine that has it prepared, {spec.path}, with all its files, to {folder}"
    )


def _find_trouble(url):
    """Why an address does not answer in time, or None. The thread is for name servers, which heed no timeout."""
    import requests  # as TFDS does: the same proxies, the same certificates

    trouble = f"no answer within {PROBE_SECONDS} seconds"

    def ask():
        nonlocal trouble
        try:
            with requests.get(url, stream=True, timeout=PROBE_SECONDS) as answer:  # TFDS would repeat 500s for minutes
                trouble = f"answered {answer.status_code} {answer.reason}" if answer.status_code >= 500 else None
        except requests.RequestException as error:
            trouble = str(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS)
    return trouble
