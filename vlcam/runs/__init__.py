"""Explain many photos into a folder of Parquet files, and read such a folder.

:func:`run` (also ``vlcam.run``) writes the folder, :func:`open_run` (also ``vlcam.open_run``) reads it; :data:`ROWS` and :data:`PHOTOS` are
the columns of its two tables.
"""

from vlcam.runs.photo_list import PhotoList
from vlcam.runs.reading import Confusion, Run, RunPhotos, open_run
from vlcam.runs.row_views import RunPhoto, RunRow
from vlcam.runs.run_photos import run
from vlcam.runs.table import PHOTOS, ROWS

__all__ = ["PHOTOS", "ROWS", "Confusion", "PhotoList", "Run", "RunPhoto", "RunPhotos", "RunRow", "open_run", "run"]
