"""Do the lessons' claims hold, and by what margin? Runs every lesson once for each of five seeds.

    python bench/claims.py            # writes bench/claims.csv
    python bench/claims.py 04 08      # these lessons only; the file's other rows stay

A lesson has its seed in its settings (``SEED = 0``); here each copy gets another one, and nothing else is changed. A
lesson that uses checkpoints (07, 08) is given what the others have trained with the same seed in their place, and needs
those lessons (03, 04 and 05) before it. A claim that does not hold stops the script, as it stops the lesson.
"""

import csv
import re
import shutil
import statistics
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "notebooks"))

import course  # noqa: E402, found only once its folder is on the path

SEEDS = (4, 3, 2, 1, 0)  # seed 0 last: what it trained stays, and is what the lessons find


def run(number, seed):
    """One lesson with one seed; returns its claims, with its seconds."""
    (lesson,) = course.read_lessons(HERE.parent / "notebooks", number)
    own = [cell for cell in lesson.cells if re.search(r"^SEED = 0$", cell.source, re.M)]
    if not own and any("SEED" in cell.source for cell in lesson.cells):
        raise SystemExit(
            f"{lesson.name} has a seed that is not set by a line of its own, SEED = 0, and cannot be changed"
        )
    for cell in own:
        cell.source = re.sub(r"^SEED = 0$", f"SEED = {seed}", cell.source, flags=re.M)
    for cell in lesson.cells:
        cell.source = re.sub(r"^OWN = False$", "OWN = True", cell.source, flags=re.M)
    began = time.perf_counter()
    course.run_lesson(lesson, {"SEGLIB_PROFILE": "cpu"})
    print(f"{lesson.name}, seed {seed}: {time.perf_counter() - began:.0f} s", flush=True)
    return [{"lesson": lesson.name, "seed": seed, **claim} for claim in lesson.claims]


def main():
    numbers = sys.argv[1:] or [path.stem[:2] for path in sorted((HERE.parent / "notebooks").glob("[0-9]*.ipynb"))]
    rows = []
    for seed in SEEDS:
        shutil.rmtree(HERE.parent / "build" / "runs", ignore_errors=True)  # nothing trained before may be gone on with
        rows += [row for number in numbers for row in run(number, seed)]
    with open(HERE / "claims.csv", newline="", encoding="utf-8") as file:
        kept = [row for row in csv.DictReader(file) if row["lesson"][:2] not in numbers]
    with open(HERE / "claims.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["lesson", "claim", "wanted", "seed", "measured"])
        writer.writeheader()
        writer.writerows(sorted(rows + kept, key=lambda row: (row["lesson"], row["claim"], int(row["seed"]))))
    for claim in dict.fromkeys((row["lesson"], row["claim"], row["wanted"]) for row in rows):
        values = [float(r["measured"]) for r in rows if (r["lesson"], r["claim"]) == claim[:2]]
        spread = statistics.stdev(values)
        print(f"{claim[0]}: {claim[1]}, wanted {claim[2]}: {statistics.mean(values):.3f} ± {spread:.3f} {values}")


if __name__ == "__main__":
    main()
