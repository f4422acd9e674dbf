"""The JSON document that ``--json`` prints, written photo by photo, so that many take no more memory than one."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from vlcam._version import __version__
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.json_document import SCHEMA as SCHEMA
from vlcam.explanation.json_document import describe_explanation
from vlcam.files import dump_json, replace_surrogates


@final
class GrowingDocument:
    """One JSON document of many explanations. Numbers in it are finite or null.

    ``store`` is an empty text file that may be written and read; it keeps one line of JSON for each result.
    """

    def __init__(self, store: Any) -> None:
        self._store = store

    def add(self, source: str, explanation: Explanation) -> None:
        """Add one more result; ``source`` is the image as it was given."""
        self._store.write(dump_json({"source": replace_surrogates(source), **describe_explanation(explanation)}) + "\n")

    def write(
        self, out: Any, failed: Sequence[tuple[str, str]], files: Sequence[Mapping[str, str]] | None = None
    ) -> None:
        """Write the document on one line.

        Args:
            out: the text file to write to, such as ``sys.stdout``.
            failed: each image that could not be explained, and why.
            files: for each result the paths of its picture and saved explanation, if there are any.
        """
        errors = [{"source": replace_surrogates(source), "error": replace_surrogates(why)} for source, why in failed]
        out.write(f'{{"schema": {dump_json(SCHEMA)}, "vlcam": {dump_json(__version__)}, "results": [')
        self._store.seek(0)
        for number, line in enumerate(self._store):
            result = line.rstrip("\n")
            if files is not None:
                result = f'{result[:-1]}, "files": {dump_json(dict(files[number]))}}}'
            out.write((", " if number else "") + result)
        out.write(f'], "errors": {dump_json(errors)}}}\n')
