"""How good a map is. Functions only."""

from vlcam.metrics.pointing import oracle_map as oracle_map
from vlcam.metrics.pointing import peak as peak
from vlcam.metrics.pointing import pointing_hit as pointing_hit
