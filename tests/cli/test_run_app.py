"""``vlcam app``: what is checked before anything is served, and that it serves and ends."""

import sys
from pathlib import Path
from tempfile import gettempdir
from urllib.request import urlopen

import pytest

from vlcam.cli import main


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--model", "no.pt"], "no.pt"),
        (["--labels", "no.txt"], "there is no file 'no.txt'"),
        (["--port", "99999"], "--port"),
        (["--model", "scenes/classifier", "--recipe", "no.toml"], "--recipe no.toml names its own model"),
    ],
)
def test_what_can_not_be_served_is_said_in_a_line(
    arguments: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["app", *arguments]) == 2
    error = capsys.readouterr().err
    assert text in error and error.count("\n") == 1


def test_without_gradio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app", "--model", "scenes/classifier"]) == 2
    assert "pip install 'vlcam[app]'" in capsys.readouterr().err


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore")
def test_a_named_model_is_served_until_it_ends_and_leaves_no_files(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("gradio")
    from vlcam.app import serve_app
    from vlcam.cli.app_options import AppOptions
    from vlcam.cli.run_app import run_app
    from vlcam.contracts import InputError

    before = set(Path(gettempdir()).glob("vlcam-app-*"))
    seen: list[str] = []

    def look() -> None:
        address = capsys.readouterr().err.split()[1]
        with urlopen(f"{address}config", timeout=30) as answer:
            seen.append(answer.read().decode())
        port = int(address.rstrip("/").rpartition(":")[2])
        with pytest.raises(InputError, match="give another one with --port"), serve_app("scenes/classifier", port=port):
            raise AssertionError("two pages on one port")
        raise KeyboardInterrupt

    run_app(AppOptions(model="scenes/classifier", port=0), look)
    assert "Classes, and contrasts" in seen[0] and "Question" not in seen[0]
    assert "Ended." in capsys.readouterr().err
    assert set(Path(gettempdir()).glob("vlcam-app-*")) == before
