"""Everything a person looks at: colours, overlays, figures for print, and the interactive page."""

from vlcam.render.colour import colourise
from vlcam.render.figures import figure
from vlcam.render.overlay import overlay
from vlcam.render.page import notebook, page

__all__ = ["colourise", "figure", "notebook", "overlay", "page"]
