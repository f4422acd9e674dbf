"""A run as a static folder of pages: look at many explanations, filter, sort, compare, and open one."""

from vlcam.gallery.one_run import make_gallery
from vlcam.gallery.two_runs import RunComparison, compare_runs

__all__ = ["RunComparison", "compare_runs", "make_gallery"]
