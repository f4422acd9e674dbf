"""Start the page on this machine, and end it without leaving anything behind."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import resources
from tempfile import TemporaryDirectory
from typing import Any, Final

from vlcam.app.explainer import Explainer
from vlcam.app.page import build_page
from vlcam.contracts import InputError, Task
from vlcam.errors import import_extra
from vlcam.tasks.load import load

HOST: Final = "127.0.0.1"
MOST_BYTES: Final = 32 * 2**20
"""Of an uploaded file."""
BUNDLED: Final = {"Caption": "scenes/captioner", "Answer": "scenes/vqa", "Classes": "scenes/classifier"}
"""The models to choose from where none was named."""
_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; frame-src 'self'; frame-ancestors 'none'; "
    "form-action 'none'; object-src 'none'; base-uri 'self'; worker-src 'self' blob:"
)


@contextmanager
def serve_app(
    model: Task | str | None = None, *, port: int = 7860, openers: Mapping[str, Callable[[], Task]] | None = None
) -> Iterator[str]:
    """Within this context the page is served on 127.0.0.1; its address is what the context gives.

    Args:
        model: a task, or a name for :func:`vlcam.load`; by default the three bundled models are to choose from.
        port: where to listen; 0 finds a free one.
        openers: in the place of ``model``: functions that open a task, by what people choose it by.

    Raises:
        InputError: Gradio isn't installed, the port is taken, or what opening the (first) model raises.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when Gradio is imported
    gr = import_extra("gradio", "app")
    if openers is None:
        openers = _choose_openers(model)
    explainer = Explainer(openers)
    with TemporaryDirectory(prefix="vlcam-app-") as folder, _keep_files_in(folder):
        page = build_page(explainer)
        page.queue(default_concurrency_limit=1, max_size=32, api_open=False)
        try:
            _, address, _ = page.launch(**_choose_settings(gr, port))
        except OSError as error:
            raise InputError(f"port {port} of {HOST} can't be used ({error}); give another one with --port") from error
        try:
            yield str(address)
        finally:
            explainer.close()
            page.close(verbose=False)


def _choose_openers(model: Task | str | None) -> Mapping[str, Callable[[], Task]]:
    if model is None:
        return {name: partial(load, home) for name, home in BUNDLED.items()}
    if isinstance(model, str):
        return {model: partial(load, model)}
    return {model.name: lambda: model}


def _choose_settings(gr: Any, port: int) -> dict[str, Any]:
    """How Gradio is started: for this machine, without anything from other servers."""
    wrap = import_extra("starlette.middleware", "app").Middleware
    check_host = import_extra("starlette.middleware.trustedhost", "app").TrustedHostMiddleware
    fonts = ["system-ui", "-apple-system", "Segoe UI", "sans-serif"]
    theme = gr.themes.Base(
        primary_hue="teal", neutral_hue="stone", font=fonts, font_mono=["ui-monospace", "monospace"]
    ).set(
        button_primary_background_fill="*primary_700",  # the theme's own are too pale to be read on
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_hover_dark="*primary_800",
        button_primary_text_color="white",
        input_placeholder_color="*neutral_600",
        input_placeholder_color_dark="*neutral_300",
        block_label_text_color="*neutral_700",
        block_label_text_color_dark="*neutral_200",
        block_info_text_color="*neutral_600",
        block_info_text_color_dark="*neutral_300",
        body_text_color_subdued="*neutral_600",
        body_text_color_subdued_dark="*neutral_300",
    )
    return {
        "server_name": HOST,
        "server_port": port or None,
        "share": False,
        "inbrowser": False,
        "prevent_thread_lock": True,
        "quiet": True,
        "show_error": False,
        "max_file_size": MOST_BYTES,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "mcp_server": False,
        "pwa": False,
        "strict_cors": True,
        "theme": theme,
        "css": (resources.files("vlcam.app") / "templates" / "app.css").read_text("utf-8"),
        "app_kwargs": {
            "docs_url": None,
            "redoc_url": None,
            "openapi_url": None,
            # Other sites can't talk to it under a name of their own, and it takes nothing from other servers.
            "middleware": [wrap(check_host, allowed_hosts=[HOST, "localhost"]), wrap(_Headers)],
        },
    }


class _Headers:
    """Headers that keep the page from loading anything from elsewhere, and others from framing it."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = {"content-security-policy": _POLICY, "referrer-policy": "no-referrer", "x-frame-options": "DENY"}
                message["headers"] = [
                    *message.get("headers", ()),
                    *((name.encode(), value.encode()) for name, value in more.items()),
                ]
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


@contextmanager
def _keep_files_in(folder: str) -> Iterator[None]:
    """Within this context Gradio keeps what is uploaded in a folder, which is deleted afterwards."""
    before = os.environ.get("GRADIO_TEMP_DIR")
    os.environ["GRADIO_TEMP_DIR"] = folder
    try:
        yield
    finally:
        if before is None:
            del os.environ["GRADIO_TEMP_DIR"]
        else:
            os.environ["GRADIO_TEMP_DIR"] = before
