"""How often the test of "looks like the bundled world" errs: on generated scenes of several sizes and files, and on folders of photographs.

    python -m tests.benchmarks.likeness [FOLDER ...]

The rates are in ``docs/explanation/bundled-world.md``. Needs no network and no GPU.
"""

import argparse
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from vlcam.image.photo import list_photos, open_photo
from vlcam.scenes.likeness import looks_like_scene
from vlcam.scenes.record import Split
from vlcam.scenes.sample import make

SIZES = (96, 192, 384, 512, 800)
CROPS = 10


def iterate_scenes(split: Split, first: int, count: int, quality: int | None) -> Iterator[np.ndarray]:
    """Scenes of every size in turn, as drawn or as a JPEG of that quality."""
    for seed in range(first, first + count):
        picture = make(seed, split).image(SIZES[seed % len(SIZES)])
        if quality is not None:
            file = io.BytesIO()
            Image.fromarray(picture).save(file, "JPEG", quality=quality)
            picture = np.asarray(Image.open(file))
        yield picture


def iterate_crops(picture: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Parts of a photograph of a fifth to four fifths of its sides: plainer than whole ones."""
    height, width = picture.shape[:2]
    for _ in range(CROPS):
        part = rng.uniform(0.2, 0.8)
        rows, columns = max(1, int(part * height)), max(1, int(part * width))
        top, left = rng.integers(0, height - rows + 1), rng.integers(0, width - columns + 1)
        yield np.ascontiguousarray(picture[top : top + rows, left : left + columns])


def main() -> None:
    """Print a line for each set."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path)
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument(
        "--first", type=int, default=1000, help="the first seed; test seeds below 1000 helped to choose the bounds"
    )
    options = parser.parse_args()
    splits: tuple[Split, ...] = ("test", "unseen")
    for split in splits:
        for quality in (None, 95, 75, 50):
            wrong = sum(not looks_like_scene(one) for one in iterate_scenes(split, options.first, options.n, quality))
            print(
                f"scenes, {split}, {'as drawn' if quality is None else f'JPEG {quality}'}: {wrong} of {options.n} not taken for scenes"
            )
    for folder in options.folders:
        rng = np.random.default_rng(0)
        photos = [np.asarray(open_photo(file)[0]) for file in list_photos(folder)]
        wrong = sum(map(looks_like_scene, photos))
        parts = [looks_like_scene(part) for photo in photos for part in iterate_crops(photo, rng)]
        print(
            f"{folder.name}: {wrong} of {len(photos)} photographs taken for scenes, {sum(parts)} of {len(parts)} crops of them"
        )


if __name__ == "__main__":
    main()
