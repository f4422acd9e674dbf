"""Writing recipes: new ones, and a choice into those that are there."""

from pathlib import Path

import pytest

from vlcam.errors import InputError
from vlcam.tasks.recipe import Recipe, read_recipe
from vlcam.tasks.write_recipe import format_recipe, save_choice

OLD = """# mine
model = "torchvision/resnet18"  # the small one
labels = ["cat", "dog # not a comment"]
method = "gradcam"

[preprocess]
size = 128
"""


def test_a_recipe_keeps_what_else_it_says(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(OLD, encoding="utf-8")
    save_choice(path, "layercam", 'a "strange" layer', model="torchvision/resnet18")
    text = path.read_text("utf-8")
    assert text.startswith("# mine\nmodel = ") and "  # the small one\n" in text and text.count("method") == 1
    found = read_recipe(path)
    assert (found.method, found.layer) == ("layercam", 'a "strange" layer')
    assert found.labels == ("cat", "dog # not a comment") and found.preprocess == {"size": 128}
    save_choice(path, "hirescam", "layer4")
    assert (read_recipe(path).method, read_recipe(path).layer) == ("hirescam", "layer4")


def test_a_recipe_that_the_lines_do_not_fit_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    text = 'model = "torchvision/resnet18"\nlabels = [\n"a",\n  "method = 3",\n"b"]\nlayer = """\nlayer4"""\n'
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match="can't be changed without losing something it says; write these two lines"):
        save_choice(path, "layercam", "layer3")
    assert path.read_text("utf-8") == text


def test_what_is_no_place_for_a_choice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(OLD, encoding="utf-8")
    with pytest.raises(InputError, match="is a recipe for torchvision/resnet18, not for torchvision/vgg16"):
        save_choice(path, "layercam", "features", model="torchvision/vgg16")
    with pytest.raises(InputError, match=r"expected a name that ends in \.toml"):
        save_choice(tmp_path / "model.json", "layercam", "features", model="torchvision/vgg16")
    with pytest.raises(InputError, match="has to name its model"):
        save_choice(tmp_path / "new.toml", "layercam", "features")
    assert path.read_text("utf-8") == OLD


def test_a_whole_recipe_is_written_and_read_again(tmp_path: Path) -> None:
    (tmp_path / "net.pth").write_bytes(b"")
    recipe = Recipe(
        model=str(tmp_path / "net.pth"),
        arch="torchvision/resnet18",
        labels=("cat", 'a "dog"', "Füchse\t"),
        device="cpu",
        preprocess={"size": (64, 32), "mean": (0.5,), "mode": "resize"},
    )
    (tmp_path / "deeper").mkdir()
    path = tmp_path / "deeper" / "model.toml"
    path.write_text(format_recipe(recipe, remark="two\nlines"), encoding="utf-8")
    assert path.read_text("utf-8").startswith("# two lines\n")
    assert read_recipe(path) == recipe
