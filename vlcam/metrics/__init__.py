"""How good a map is. Functions only."""

from vlcam.metrics.localisation import box_from_map as box_from_map
from vlcam.metrics.localisation import box_hit as box_hit
from vlcam.metrics.localisation import iou as iou
from vlcam.metrics.localisation import localisation_error as localisation_error
from vlcam.metrics.pointing import oracle_map as oracle_map
from vlcam.metrics.pointing import peak as peak
from vlcam.metrics.pointing import pointing_hit as pointing_hit
