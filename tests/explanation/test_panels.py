"""Single overlays and maps on matplotlib's axes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.examples_of_explanations import captioning, classification, cropped
from vlcam.contracts import InputError
from vlcam.explanation import Panels, plot
from vlcam.render import overlay
from vlcam.render.blending import OPACITY


class TestPanels:
    def test_one_for_each_target_with_a_name(self, tmp_path: Path) -> None:
        found = captioning()
        panels = found.panels(contour=False)
        assert isinstance(panels, Panels) and len(panels) == len(found) == len(set(panels.names))
        assert panels.names[:3] == ("00-A", "01-red", "02-kite") and panels.names[5] == "05-red"
        assert repr(panels) == "Panels(13 pictures of 640 x 448)"
        kite = overlay(found.photo.pixels, found["kite"].heatmap(), scale=float(found["kite"].map.max()))
        assert np.abs(np.asarray(panels[2]).astype(int) - kite).max() <= 1
        assert np.array_equal(np.asarray(panels[8]), found.photo.pixels)  # "the" shows nothing
        files = panels.save(tmp_path / "out")
        assert [file.name for file in files] == [f"{name}.png" for name in panels.names]
        assert sorted((tmp_path / "out").iterdir()) == sorted(files)

    def test_size_order_and_scale(self) -> None:
        found = captioning()
        panels = found.panels(["dog", ("red", 1), "dog"], size=200)
        assert [one.size for one in panels] == [(200, 140)] * 3
        assert panels.names == ("09-dog", "05-red", "09-dog-2")
        assert found.panels(["above"], scale="shared")[0].tobytes() != found.panels(["above"])[0].tobytes()
        assert repr(found.panels([])) == "Panels(0 pictures)"

    def test_errors(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="size=4 was given; expected the longer side"):
            captioning().panels(size=4)
        with pytest.raises(InputError, match="expected a list of words"):
            captioning().panels("kite")
        (tmp_path / "file").write_bytes(b"")
        with pytest.raises(InputError, match="is a file"):
            captioning().panels(["kite"]).save(tmp_path / "file")


class TestPlot:
    def test_the_colour_bar_is_in_raw_units(self) -> None:
        from matplotlib.figure import Figure

        found = captioning()
        figure = Figure()
        one, other = figure.subplots(1, 2)
        shown: Any = plot(found["kite"], one)
        bar: Any = figure.colorbar(shown, ax=one)
        assert (bar.vmin, bar.vmax) == (0, pytest.approx(0.805, abs=1e-3))
        assert one.get_title() == "kite  77\xa0%"
        assert np.array_equal(np.asarray(shown.get_array()), found["kite"].heatmap().numpy())
        assert plot(found["kite"], other, scale="shared", title="").norm.vmax == pytest.approx(1.06, abs=0.01)
        assert other.get_title() == ""
        assert plot(found["the"], other).norm.vmax == 1  # nothing to show
        assert "no evidence" in other.get_title()
        figure.canvas.draw_idle()

    def test_it_is_drawn_as_overlays_are(self) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        found = classification(geometry=cropped(), relu=False)
        view = found[0]
        figure = Figure(figsize=(6.4, 4.48), dpi=100)
        axes = figure.add_axes((0, 0, 1, 1))
        shown: Any = plot(view, axes, contour=False, title="")
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        drawn = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
        heat = view.heatmap().numpy()
        expected = overlay(found.photo.pixels, heat, colours="coolwarm", opacity=OPACITY)
        seen = ~np.isnan(heat)
        assert np.abs(drawn - expected)[seen].max() <= 8  # opacity has 8 bits there
        assert shown.norm.vmin == -shown.norm.vmax
        assert np.ma.getmaskarray(shown.get_array())[~seen].all()

    def test_without_axes_pyplot_has_them(self) -> None:
        from matplotlib import pyplot

        try:
            with pyplot.rc_context({"backend": "agg"}):
                shown = plot(captioning()["kite"])
                assert shown.axes is pyplot.gca()
        finally:
            pyplot.close("all")

    def test_errors(self) -> None:
        from matplotlib.figure import Figure

        axes = Figure().add_subplot()
        with pytest.raises(InputError, match="choose a diverging table"):
            plot(classification(relu=False)[0], axes, colours="inferno")
        with pytest.raises(InputError, match="expected a number above 0, 'own' or 'shared'"):
            plot(captioning()[0], axes, scale=0.0)
        with pytest.raises(InputError, match="expected 'own'"):
            plot(captioning()[0], axes, scale="mine")
        with pytest.raises(InputError, match="expected 0 to 1"):
            plot(captioning()[0], axes, opacity=2)
