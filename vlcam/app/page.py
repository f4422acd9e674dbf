"""The page itself: its controls, and what happens when they are used. Gradio is imported when the page is built."""

import sys
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final, final

from vlcam._version import __version__
from vlcam.app.explainer import Explainer, Progress, ShownPhoto, StoppedError, draw_scene, open_upload
from vlcam.app.frame import EMPTY, make_frame, make_message
from vlcam.app.wishes import Wishes
from vlcam.contracts import Task, VlcamError
from vlcam.errors import import_extra
from vlcam.explanation.explanation import Explanation
from vlcam.methods import get_method, list_methods

SCENES: Final = {
    12: "what colour is the star",
    101: "what is the same colour as the triangle",
    81: "what shape is the red thing",
    55: "what colour is the triangle",
    77: "what colour is the circle",
    120: "what colour is the square",
}
"""Pictures to pick, by their seeds, and what may be asked about them."""
_BOXES: Final = {
    "classification": ("", "", "red star; red star rather than blue circle"),
    "captioning": ("Caption", "Empty: what the model says by itself", "star rather than circle"),
    "vqa": ("Question", "what colour is the star", "red; red rather than blue"),
}
"""By kind of model: what the box of text is called, what it says while it is empty, and what the box of targets does."""
_TARGETS: Final = {
    "classification": "Classes, and contrasts",
    "captioning": "Contrasts of words",
    "vqa": "Answers, and contrasts",
}
_ONE: Final = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private", "trigger_mode": "once"}
_ANY: Final = {"concurrency_limit": None, "api_visibility": "private", "trigger_mode": "once"}
_AT_ONCE: Final = {"queue": False, "api_visibility": "private", "show_progress": "hidden"}


@final
class Visit:
    """What one visitor looks at: kept on this side, for as long as the page is open. Gradio would write out a dataclass."""

    def __init__(self) -> None:
        self.photo: ShownPhoto | None = None
        self.explanation: Explanation | None = None
        self.model = ""
        self.stopped = False


def build_page(explainer: Explainer) -> Any:
    """The page as ``gradio.Blocks``. Raises InputError if Gradio isn't installed, and what opening the first model raises."""
    gr = import_extra("gradio", "app")
    names = list(explainer.openers)
    first = explainer.open(names[0])
    handlers = _Handlers(gr, explainer)
    pick, explain, test_maps = _add_gradios_arguments(gr, handlers)
    with gr.Blocks(title="vlcam", analytics_enabled=False, delete_cache=(3600, 3600), fill_width=True) as page:
        visit = gr.State(Visit(), time_to_live=3600)
        gr.HTML('<h1 class="vlcam-title">What made the model say that?</h1>')
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=320):
                model = gr.Radio(names, value=names[0], label="Model", visible=len(names) > 1)
                gr.HTML('<h2 class="vlcam-label">Pick a picture, or upload a photo</h2>')
                scenes = gr.Gallery(
                    [draw_scene(seed).picture for seed in SCENES],
                    show_label=False,
                    container=False,
                    columns=len(SCENES),
                    allow_preview=False,
                    interactive=False,
                    object_fit="cover",
                    height="auto",
                    buttons=[],
                    elem_classes="vlcam-scenes",
                )
                upload = gr.File(show_label=False, file_types=["image"], height=112, elem_classes="vlcam-upload")
                text = gr.Textbox(max_lines=3, **_describe_text(first.task))
                targets = gr.Textbox(max_lines=4, **_describe_targets(first.task))
                method = gr.Dropdown(_list_methods(), value=first.method, label="Method", filterable=True)
                layer = gr.Dropdown(label="Layer", filterable=True, **_describe_layers(first.layers, first.layer))
                with gr.Row(elem_classes="vlcam-buttons"):
                    ask = gr.Button("Explain", variant="primary", min_width=90, size="md")
                    test = gr.Button("Test maps", interactive=False, min_width=90, size="md")
                    stop = gr.Button("Stop", variant="stop", interactive=False, min_width=70, size="md")
                message = gr.HTML(elem_classes="vlcam-says")
                gr.HTML(
                    f'<p class="vlcam-foot">vlcam {__version__}, on this machine only: photos go nowhere else and are deleted when it '
                    "ends.</p>"
                )
            with gr.Column(scale=5, min_width=320):
                result = gr.HTML(EMPTY, elem_classes="vlcam-result", min_height=420)
        boxes = [model, text, targets, method, layer, visit]
        shown = [message, result, ask, test, stop, visit]
        asked = {"fn": explain, "inputs": boxes, "outputs": shown, "show_progress_on": message, **_ONE}
        scenes.select(pick, [model, text, visit], [text, upload, message, visit], **_AT_ONCE).success(**asked)
        upload.upload(handlers.receive, [upload, visit], [message, visit], **_AT_ONCE).success(**asked)
        model.input(handlers.choose, [model], [text, targets, method, layer, message], **_ANY).success(**asked)
        gr.on([ask.click, text.submit, targets.submit, method.select, layer.select], **asked)
        test.click(test_maps, [visit], shown, show_progress_on=message, **_ONE)
        stop.click(handlers.stop, [visit], [visit], **_AT_ONCE)
    for block in page.blocks.values():
        _refuse_addresses(gr, block)
    return page


@final
class _Handlers:
    """What happens on each event. Every error of vlcam becomes a message in the page; anything else one as well, and goes to the log."""

    def __init__(self, gr: Any, explainer: Explainer) -> None:
        self.gr, self.explainer = gr, explainer

    def pick(self, event: Any, name: str, text: str, visit: Visit) -> tuple[Any, ...]:
        seed = list(SCENES)[int(event.index) % len(SCENES)]
        visit.photo = draw_scene(seed)
        kind = self.explainer.open(name).task.kind
        # A question that fits another picture is replaced; one that was typed stays.
        question = SCENES[seed] if kind == "vqa" and (not text.strip() or text in SCENES.values()) else text
        return question, None, "", visit

    def receive(self, path: str | None, visit: Visit) -> tuple[Any, ...]:
        try:
            if path is not None:
                visit.photo = open_upload(path)
        except Exception as error:
            visit.photo = None
            return make_message(_describe(error), "error"), visit
        return "", visit

    def choose(self, name: str) -> tuple[Any, ...]:
        gr = self.gr
        try:
            model = self.explainer.open(name)
        except Exception as error:
            return gr.skip(), gr.skip(), gr.skip(), gr.skip(), make_message(_describe(error), "error")
        return (
            gr.Textbox(value="", **_describe_text(model.task)),
            gr.Textbox(value="", **_describe_targets(model.task)),
            gr.Dropdown(value=model.method),
            gr.Dropdown(**_describe_layers(model.layers, model.layer)),
            "",
        )

    def explain(
        self, name: str, text: str, targets: str, method: str, layer: str, visit: Visit, progress: Any
    ) -> Iterator[tuple[Any, ...]]:
        if visit.photo is None:
            yield self._show(visit, make_message("Pick a picture, or upload a photo, first."))
            return
        photo, wishes = visit.photo, Wishes(text or "", targets or "", method or "auto", layer or "")

        def work(report: Progress) -> Explanation:
            return self.explainer.explain(name, photo, wishes, report)

        visit.model = name
        yield from self._run(visit, work, progress, "Explaining", "")

    def test(self, visit: Visit, progress: Any) -> Iterator[tuple[Any, ...]]:
        photo, explanation = visit.photo, visit.explanation
        if photo is None or explanation is None:
            yield self._show(visit, make_message("Explain a photo first; then its maps can be tested."))
            return

        def work(report: Progress) -> Explanation:
            return self.explainer.verify(visit.model, photo, explanation, report)

        done = "Tested: the verdict is beside each map, and in the notes."
        yield from self._run(visit, work, progress, "Testing the maps", done)

    def stop(self, visit: Visit) -> Visit:
        visit.stopped = True
        return visit

    def _run(
        self, visit: Visit, work: Callable[[Progress], Explanation], progress: Any, what: str, done: str
    ) -> Iterator[tuple[Any, ...]]:
        """Run the model, with progress, until it is done or stopped; first the buttons change."""
        gr = self.gr
        visit.stopped = False

        def report(ready: int, total: int) -> None:
            if visit.stopped:
                raise StoppedError
            progress((ready, total), desc=what, unit="runs")

        off, on = gr.Button(interactive=False), gr.Button(interactive=True)
        yield "", gr.skip(), off, off, on, visit
        try:
            visit.explanation = work(report)
        except StoppedError:
            yield self._show(visit, make_message("Stopped."))
        except Exception as error:
            yield self._show(visit, make_message(_describe(error), "error"))
        else:
            yield self._show(visit, make_message(done), make_frame(visit.explanation))

    def _show(self, visit: Visit, message: str, result: str | None = None) -> tuple[Any, ...]:
        gr = self.gr
        ready = visit.explanation is not None
        return (
            message,
            gr.skip() if result is None else result,
            gr.Button(interactive=True),
            gr.Button(interactive=ready),
            gr.Button(interactive=False),
            visit,
        )


def _add_gradios_arguments(gr: Any, handlers: _Handlers) -> tuple[Callable[..., Any], ...]:
    """The handlers that take more than values: Gradio gives a progress bar and an event by default values and annotations."""
    bar = gr.Progress()
    # Lambdas, since Gradio has to see that they are generators, and the tests' shape checker wraps functions.
    explain = lambda name, text, targets, method, layer, visit, progress=bar: (  # noqa: E731
        yield from handlers.explain(name, text, targets, method, layer, visit, progress)
    )
    test_maps = lambda visit, progress=bar: (yield from handlers.test(visit, progress))  # noqa: E731

    def pick(name: str, text: str, visit: Visit, event: Any) -> Any:
        return handlers.pick(event, name, text, visit)

    pick.__annotations__["event"] = gr.SelectData
    return pick, explain, test_maps


def _describe(error: Exception) -> str:
    """What a visitor reads about an error; an unexpected one goes to the terminal with all it knows."""
    if isinstance(error, VlcamError):
        return str(error)
    traceback.print_exception(error, file=sys.stderr)
    return f"This could not be done: {type(error).__name__}. The terminal where vlcam app was started says more."


def _describe_text(task: Task) -> dict[str, Any]:
    label, empty, _ = _BOXES[task.kind]
    return {"label": label, "placeholder": empty, "visible": bool(label)}


def _describe_targets(task: Task) -> dict[str, Any]:
    return {
        "label": _TARGETS[task.kind],
        "placeholder": _BOXES[task.kind][2],
        "info": "Separated by semicolons; may stay empty.",
    }


def _describe_layers(layers: tuple[str, ...], default: str) -> dict[str, Any]:
    """The layers, the last first; empty stands for the usual one."""
    return {
        "choices": [(f"{default} (default)", ""), *((one, one) for one in reversed(layers) if one != default)],
        "value": "",
    }


def _list_methods() -> list[tuple[str, str]]:
    known = {name: get_method(name) for name in list_methods()}
    return [("auto: what suits the model", "auto")] + [
        (f"{one.title} ({name})" if one.title != name else name, name) for name, one in known.items() if name != "auto"
    ]


def _refuse_addresses(gr: Any, block: Any) -> None:
    """Gradio would fetch an address that stands in the place of an uploaded file; here it is an error."""
    move = getattr(block, "async_move_resource_to_block_cache", None)
    if move is None:
        return

    async def move_file(path: Any) -> Any:
        if path is not None and "://" in str(path):
            raise gr.Error("addresses are not opened here; upload the file")
        return await move(path)

    block.async_move_resource_to_block_cache = move_file
