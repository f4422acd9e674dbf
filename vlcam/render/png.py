"""Pictures as PNG files."""

from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from vlcam.files import name_unwritable, replace_file


def save_png(
    picture: Image.Image, path: str | Path, *, dpi: float | None = None, description: str = "", optimize: bool = False
) -> None:
    """Write a picture as a PNG file, whole or not at all.

    Args:
        picture: the picture.
        path: the file; its folder has to be there.
        dpi: how many pixels an inch has on paper.
        description: a text that the file holds as its ``Description``.
        optimize: whether to look for the smallest file, which takes longer.

    Raises:
        InputError: the file can't be written.
    """
    options: dict[str, Any] = {"optimize": optimize}
    if dpi is not None:
        options["dpi"] = (dpi, dpi)
    if description:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_itxt("Description", description)
    with name_unwritable(path), replace_file(path) as part:
        picture.save(part, "PNG", **options)
