"""Drawing tools that take arrays: colours, overlays, lettering, and what every HTML page shares."""

from vlcam.render.colour import colourise
from vlcam.render.overlay import overlay

__all__ = ["colourise", "overlay"]
