"""The README's picture: the bundled captioner's own words for a generated still life, each with its heatmap."""

import sys
from pathlib import Path

import vlcam
from vlcam.tasks import bundled

SEED = 12


def main(path: Path) -> None:
    photo = vlcam.scenes.make(SEED).image(384)
    explanation = vlcam.explain(bundled.captioner(), photo, name=f"scene:{SEED}")
    shown = [index for index, target in enumerate(explanation.targets) if target.label not in ("a", "an", "of")][:-1]
    explanation.figure(words=shown, columns=3, width=960).save(path)
    print(f"{explanation.text}: wrote {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "caption.png"))
