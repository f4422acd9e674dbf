"""Files: whole or not written at all, read with a reason, within bounds, and records as JSON.

Nothing here is public; the rest of the package takes these names from here.
"""

from vlcam.files.limits import MAX_CLASSES as MAX_CLASSES
from vlcam.files.limits import MAX_COORDINATE as MAX_COORDINATE
from vlcam.files.limits import MAX_DEPTH as MAX_DEPTH
from vlcam.files.limits import MAX_DIGITS as MAX_DIGITS
from vlcam.files.limits import MAX_NUMBER as MAX_NUMBER
from vlcam.files.limits import MAX_PIXELS as MAX_PIXELS
from vlcam.files.limits import MAX_RATIO as MAX_RATIO
from vlcam.files.limits import MAX_SAVED_BYTES as MAX_SAVED_BYTES
from vlcam.files.limits import MAX_SAVED_PIXELS as MAX_SAVED_PIXELS
from vlcam.files.limits import MAX_SIDE as MAX_SIDE
from vlcam.files.limits import MAX_TEXT_BYTES as MAX_TEXT_BYTES
from vlcam.files.limits import MAX_WHOLE as MAX_WHOLE
from vlcam.files.limits import check_number as check_number
from vlcam.files.limits import check_size as check_size
from vlcam.files.limits import check_whole as check_whole
from vlcam.files.limits import parse_whole as parse_whole
from vlcam.files.limits import show_value as show_value
from vlcam.files.reading import check_file as check_file
from vlcam.files.reading import describe_error as describe_error
from vlcam.files.reading import is_there as is_there
from vlcam.files.reading import list_subfolders as list_subfolders
from vlcam.files.reading import parse_json as parse_json
from vlcam.files.reading import read_bytes as read_bytes
from vlcam.files.reading import read_json as read_json
from vlcam.files.reading import read_text as read_text
from vlcam.files.reading import refuse_broken as refuse_broken
from vlcam.files.reading import show_path as show_path
from vlcam.files.records import RecordError as RecordError
from vlcam.files.records import check_names as check_names
from vlcam.files.records import decode_record as decode_record
from vlcam.files.records import dump_json as dump_json
from vlcam.files.records import encode_record as encode_record
from vlcam.files.records import get_field_types as get_field_types
from vlcam.files.records import replace_nonfinite as replace_nonfinite
from vlcam.files.writing import check_folder as check_folder
from vlcam.files.writing import escape_cell as escape_cell
from vlcam.files.writing import make_folder as make_folder
from vlcam.files.writing import make_slug as make_slug
from vlcam.files.writing import name_unwritable as name_unwritable
from vlcam.files.writing import replace_file as replace_file
from vlcam.files.writing import replace_surrogates as replace_surrogates
from vlcam.files.writing import stage_files as stage_files
from vlcam.files.writing import stage_folder as stage_folder
from vlcam.files.writing import sweep_parts as sweep_parts
from vlcam.files.writing import unescape_cell as unescape_cell
from vlcam.files.writing import write_bytes as write_bytes
from vlcam.files.writing import write_json as write_json
from vlcam.files.writing import write_text as write_text

__all__: list[str] = []
