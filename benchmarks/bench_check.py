"""Seconds that `sightline check` takes over 100,000 small images."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

from interleave import WORK
from record import Row, save

SIGHTLINE = Path(sys.executable).with_name("sightline")
IMAGES = 100_000
CLASSES = 20
SIDE = 48
GOAL_SECONDS = 120.0


def main() -> None:
    """Run the command once over all images and save the result."""
    folder = small_images()
    command = [str(SIGHTLINE), "check", "classify/basic", f"data.root={folder}"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=WORK, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    rows = [Row(f"sightline check over {IMAGES} images", seconds, "s", GOAL_SECONDS)]
    details = {"images": IMAGES, "classes": CLASSES, "side": SIDE, "output": done.stdout[-2000:]}
    save("check", rows, details)
    print(f"{rows[0].what}: {seconds:.1f} s")


def small_images() -> Path:
    """A folder per class with IMAGES different JPEG files; made on the first call (a minute)."""
    folder = WORK / f"images-{IMAGES}"
    if (folder / ".complete").exists():
        return folder
    print(f"making {IMAGES} images", flush=True)
    generator = np.random.default_rng(0)
    for index in range(IMAGES):
        place = folder / f"class_{index % CLASSES:02d}"
        place.mkdir(parents=True, exist_ok=True)
        coarse = generator.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        picture.save(place / f"{index:06d}.jpg", quality=85)
    (folder / ".complete").touch()
    return folder


if __name__ == "__main__":
    main()
