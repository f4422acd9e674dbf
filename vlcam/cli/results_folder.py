"""The files that classify, caption and vqa write: photo by photo, so that many take no more memory than one, and all of them or none."""

from contextlib import ExitStack, suppress
from io import TextIOBase
from pathlib import Path
from types import TracebackType
from typing import final

from PIL import Image

from vlcam.cli import console
from vlcam.contracts import InputError
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.page import GrowingPage
from vlcam.files import make_slug, name_unwritable, stage_files


@final
class ResultsFolder:
    """``report.html``, and for each photo a picture and the saved explanation.

    A write error (the disk is full, a folder is in the way) doesn't stop the explanations: it is kept in ``fault``, and nothing is written.

    Args:
        out: the folder; None: nothing is to be written.
        neurons: the neuron report that the page's units link to.
    """

    def __init__(self, out: Path | None, *, neurons: str | None = None) -> None:
        self.fault: str | None = None
        self._out, self._neurons = out, neurons
        self._files: list[dict[str, str]] = []
        self._staged = ExitStack()
        self._folder: Path | None = None
        self._store: TextIOBase | None = None
        self._page: GrowingPage | None = None

    def __enter__(self) -> "ResultsFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what :meth:`finish` hasn't moved to its place."""
        if self._folder is not None:
            self._drop(error or InputError("the results were not finished"))

    def add(self, explanation: Explanation) -> None:
        """Write the files of one more photo beside the folder's own."""
        if self._out is None or self.fault is not None:
            return
        name = f"{len(self._files):03d}-{make_slug(strip_suffix(explanation.photo.name))}"
        try:
            with name_unwritable(self._out):
                folder, page = self._open(self._out)
                explanation.figure().save(folder / f"{name}.png")
                explanation.save(folder / f"{name}.safetensors")
                page.add(explanation)
        except (InputError, MemoryError) as error:
            self._drop(error)
            return
        self._files.append(
            {"figure": str(self._out / f"{name}.png"), "explanation": str(self._out / f"{name}.safetensors")}
        )

    def finish(self) -> list[dict[str, str]] | None:
        """Move everything to its place; the paths of each photo's files, None if there are none."""
        if self._out is None or self._folder is None or self._page is None or self.fault is not None:
            return None
        try:
            with name_unwritable(self._out):
                with (self._folder / "report.html").open("w", encoding="utf-8", newline="") as file:
                    self._page.write(file)
                self._close_store()
                self._folder = None
                self._staged.close()
        except (InputError, MemoryError) as error:
            self._drop(error)
            return None
        console.say(f"Wrote {self._out / 'report.html'}")
        return self._files

    def _open(self, out: Path) -> tuple[Path, GrowingPage]:
        """The staged folder and the page that grows in it; both are made for the first photo."""
        if self._folder is None or self._page is None:
            self._folder = self._staged.enter_context(stage_files(out))
            self._store = (self._folder.parent / "page").open("w+", encoding="utf-8", newline="")
            self._page = GrowingPage(self._store, neurons=self._neurons)
        return self._folder, self._page

    def _drop(self, error: BaseException) -> None:
        self._close_store()
        if self._folder is not None:
            self._staged.__exit__(type(error), error, error.__traceback__)  # a block that fails leaves nothing
        self._folder = None
        self.fault = self.fault or str(error) or type(error).__name__

    def _close_store(self) -> None:
        if self._store is not None:
            store, self._store = self._store, None
            with suppress(OSError):  # the disk is full; it goes anyway
                store.close()


def strip_suffix(name: str) -> str:
    """A photo's name without the ending of its file."""
    return Path(name).stem if Path(name).suffix.lower() in Image.registered_extensions() else name
