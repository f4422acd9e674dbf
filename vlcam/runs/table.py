"""The two tables of a run: one row for each photo and target, and one row for each photo.

``part-000123.parquet`` has the rows of :data:`ROWS`; ``_photos/part-000123.parquet`` those of :data:`PHOTOS`, about the same photos. The
name with an underscore keeps readers of the folder (pyarrow, pandas, Spark) from mixing the two. A photo that failed has one row in each,
with ``error`` and without a target.
"""

from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1
"""Goes up when a column is renamed, removed or means something else."""

COMPRESSION: Final = "zstd"

ROWS: Final = pa.schema(
    [
        # Which row: "PHOTO_INDEX:TARGET_INDEX". ``photo_index`` counts the photos of the whole job from 0, in its order.
        pa.field("id", pa.string(), nullable=False),
        pa.field("photo_index", pa.int64(), nullable=False),
        pa.field("photo", pa.string(), nullable=False),  # path or key, unique in the job
        pa.field("target_index", pa.int32()),
        # What the model said of the photo (class, caption or answer), what was asked, and what is true.
        pa.field("label", pa.string()),
        pa.field("question", pa.string()),
        pa.field("truth", pa.string()),
        pa.field("correct", pa.bool_()),  # null without a truth
        # The target: a class, word, answer or contrast. ``span_*`` is its place in ``label`` in characters, half open.
        pa.field("target", pa.string()),
        pa.field("kind", pa.string()),
        pa.field("score", pa.float64()),
        pa.field("measure", pa.string()),
        pa.field("probability", pa.float64()),
        pa.field("span_start", pa.int32()),
        pa.field("span_end", pa.int32()),
        pa.field("gain", pa.float64()),  # nats
        pa.field("p", pa.float64()),
        pa.field("p_corrected", pa.float64()),
        # The signed raw map, row by row, in units of ``map_unit`` (its largest absolute value): value * map_unit is in the target's units.
        pa.field("flag", pa.string()),  # ok, zero, negative or nonfinite
        pa.field("map", pa.list_(pa.float16())),  # null if not finite
        pa.field("map_unit", pa.float64()),
        pa.field("rows", pa.int32()),
        pa.field("columns", pa.int32()),
        pa.field("relu", pa.bool_()),
        pa.field("steps", pa.string()),  # display steps, separated by commas
        pa.field(
            "faintness", pa.float64()
        ),  # how many times fainter than the strongest map of this photo and kind; 1 for that one
        # The peak of the map as drawn, in pixels of the photo; null for a map that shows nothing.
        pa.field("peak_x", pa.float64()),
        pa.field("peak_y", pa.float64()),
        # Photo (pixels) to model input (pixels): u = x * scale + offset.
        pa.field("photo_width", pa.int32()),
        pa.field("photo_height", pa.int32()),
        pa.field("input_width", pa.int32()),
        pa.field("input_height", pa.int32()),
        pa.field("scale_x", pa.float64()),
        pa.field("scale_y", pa.float64()),
        pa.field("offset_x", pa.float64()),
        pa.field("offset_y", pa.float64()),
        # Texts.
        pa.field("sentence", pa.string()),  # the short one
        pa.field("sentence_full", pa.string()),
        pa.field("neurons", pa.list_(pa.string())),  # names that the sentence says, for searching
        pa.field("notes", pa.list_(pa.string())),
        pa.field("error", pa.string()),
        # How it was made.
        pa.field("task", pa.string()),
        pa.field("model", pa.string()),
        pa.field("revision", pa.string()),  # of the weights
        pa.field("layer", pa.string()),
        pa.field("method", pa.string()),
        pa.field("choice", pa.string()),
        pa.field("vlcam", pa.string(), nullable=False),
    ],
    metadata={"vlcam_schema": str(SCHEMA_VERSION)},
)
"""One row for each photo and target."""

PHOTOS: Final = pa.schema(
    [
        pa.field("photo_index", pa.int64(), nullable=False),
        pa.field("photo", pa.string(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("path", pa.string()),  # absolute path of the file, if it is one
        pa.field("sha256", pa.string()),  # of the photo's pixels, as in the explanation
        pa.field("width", pa.int32()),
        pa.field("height", pa.int32()),
        pa.field(
            "thumbnail", pa.binary()
        ),  # JPEG, longest side at most 256 pixels; null for a photo that can't be read
        # What the interactive page draws (``vlcam.explanation.document.make_document`` without the picture), as JSON text.
        pa.field("document", pa.string()),
        pa.field("error", pa.string()),
    ],
    metadata={"vlcam_schema": str(SCHEMA_VERSION)},
)
"""One row for each photo."""
