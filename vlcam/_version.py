"""The version of vlcam, and of the JSON documents that it prints: the one place that says them."""

__version__ = "0.1.0"

JSON_SCHEMA = 3
"""It changes when a field is renamed, removed or means something else."""
