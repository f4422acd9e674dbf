"""How large a gallery is, how long it takes to make, and how soon its first screen is there, for runs of several sizes.

Run it as ``python -m tests.benchmarks.gallery_size [FOLDER] [PHOTOS ...]``; the folder keeps the made-up runs, so that a second time is
quicker. Times are those of one machine, and of one attempt each for making, of the median of several for opening.
"""

import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support import browser as headless
from tests.support.run_folders import make_run
from vlcam.gallery import make_gallery

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIZES = (1_000, 10_000, 100_000)
TIMES = 5
FIRST_SCREEN = """
() => new Promise((done) => {
  const look = () => {
    const seen = [...document.querySelectorAll(".tile")].filter((tile) => tile.getBoundingClientRect().top < innerHeight);
    const images = seen.flatMap((tile) => [...tile.querySelectorAll("img")]);
    const ready = seen.length && images.every((image) => image.complete && image.naturalWidth);
    if (ready) requestAnimationFrame(() => requestAnimationFrame(() => done([performance.now(), seen.length])));
    else setTimeout(look, 5);
  };
  look();
})
"""
"""From the start of the navigation until all tiles on the screen have their pictures and have been painted."""
ALL_READ = "() => document.documentElement.dataset.ready === 'yes'"


def measure_opening(browser: "Browser", page: Path, address: str = "") -> tuple[float, int, float, int]:
    """Milliseconds to the first screen, tiles on it, milliseconds until all of the index is there, and data files read by then."""
    tab = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if "/data/" in request.url else None)
    tab.goto(page.as_uri() + address, wait_until="commit")
    first, tiles = tab.evaluate(FIRST_SCREEN)
    tab.wait_for_function(ALL_READ, timeout=120_000)
    whole = tab.evaluate("performance.now()")
    tab.wait_for_timeout(200)
    found = float(first), int(tiles), float(whole), len(asked)
    tab.context.close()
    return found


def count_bytes(folder: Path, pattern: str) -> tuple[int, float]:
    """Files and megabytes."""
    files = [one for one in folder.rglob(pattern) if one.is_file()]
    return len(files), sum(one.stat().st_size for one in files) / 1e6


def main(arguments: list[str]) -> None:
    """Print a table for each size."""
    home = Path(arguments[0] if arguments else tempfile.mkdtemp())
    sizes = [int(one) for one in arguments[1:]] or SIZES
    if reason := headless.missing():
        sys.exit(reason)
    for photos in sizes:
        run = home / f"made-up-{photos}"
        if not (run / "_manifest.json").exists():
            make_run(run, photos)
        start = time.perf_counter()
        page = make_gallery(run)
        took = time.perf_counter() - start
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"{photos:,} photos: made in {took:.1f} s; at most {most:.0f} MB of memory so far")
        for pattern in ("index-*.js", "tiles-*.js", "page-*.js", "*"):
            print("  {1:8.2f} MB in {2:5} files  {0}".format(pattern, *reversed(count_bytes(page.parent, pattern))))
        with headless.launched() as browser:
            for address in ("", "#sort=sure", "#group=pair&right=wrong", "#q=umbrella&show=maps&sort=p"):
                found: list[Any] = [
                    measure_opening(browser, page, address) for _ in range(TIMES if photos < 50_000 else 3)
                ]
                first, whole = (statistics.median(one[at] for one in found) for at in (0, 2))
                print(
                    f"  first screen of {found[0][1]} tiles after {first:.0f} ms, all of the index after {whole:.0f} ms, "
                    f"{found[0][3]} data files read  {address or '(as it opens)'}  (median of {len(found)})"
                )


if __name__ == "__main__":
    main(sys.argv[1:])
