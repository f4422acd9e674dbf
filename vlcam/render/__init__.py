"""Drawing tools that take arrays: colours, overlays, lettering, and what every HTML page shares."""

from vlcam.render.blending import overlay
from vlcam.render.colour import colourise
from vlcam.render.slices import draw_slices

__all__ = ["colourise", "draw_slices", "overlay"]
