"""Photos and words that an encoder compares: two callables, and tiny models of transformers from a folder."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from torch import Tensor

from tests.support.hub_models import alive
from tests.support.hub_zero_shot import BUILDERS
from vlcam.contracts import InputError
from vlcam.neurons.probes.encoders import TEMPLATE, EncodedWords, Encoder
from vlcam.neurons.probes.open_probe import open_probe
from vlcam.neurons.probes.probe import WordProbe

COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "grey": (90, 90, 90)}
seen: list[tuple[str, int]] = []


def means(images: list[Image.Image]) -> Tensor:
    """The mean colour of each photo."""
    seen.append(("images", len(images)))
    assert all(image.mode == "RGB" for image in images)
    return torch.tensor([np.asarray(image).mean((0, 1)).tolist() for image in images])


def named(texts: list[str]) -> Tensor:
    """The colour that a text names; a text without one leans to red."""
    seen.append(("texts", len(texts)))
    return torch.tensor([COLOURS.get(text.split()[-1], (9, 1, 1)) for text in texts], dtype=torch.float64)


ENCODER = Encoder(means, named, "colours")


@pytest.fixture(autouse=True)
def _nothing_seen() -> None:
    seen.clear()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number, (name, colour) in enumerate(COLOURS.items()):
        picture = Image.new("RGB", (6 + number, 5), colour)
        picture = picture.convert("L") if name == "grey" else picture.convert("P") if name == "blue" else picture
        picture.save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


class TestCallables:
    def test_cosines(self, photos: Path) -> None:
        probe = EncodedWords(photos, ["red", "blue", "grey"], ENCODER)
        assert isinstance(probe, WordProbe) and len(probe) == 4 and probe.words == ("red", "blue", "grey")
        third = 1 / 3**0.5
        expected = torch.tensor([[1, 0, third], [0, 0, third], [0, 1, third], [third, third, 1]])
        assert torch.allclose(probe.similarity(), expected, atol=1e-6) and probe.similarity().dtype == torch.float32
        assert [Path(str(probe.photo(index))).name for index in range(4)] == ["0.png", "1.png", "2.png", "3.png"]
        assert probe.facts["kind"] == "photos and words" and probe.facts["path"] == str(photos)
        assert (probe.facts["images"], probe.facts["concepts"], probe.facts["encoder"]) == (4, 3, "colours")

    def test_the_template_less_what_all_photos_have_of_it(self, photos: Path) -> None:
        probe = EncodedWords(photos, ["red", "blue"], ENCODER)
        bare = torch.nn.functional.normalize(torch.tensor([[9.0, 1, 1]]), dim=1)
        pictures = torch.nn.functional.normalize(torch.tensor(list(COLOURS.values()), dtype=torch.float32), dim=1)
        assert TEMPLATE.replace("{}", "red") == "A photo of a red"
        assert torch.allclose(probe.of_template(), probe.similarity() - pictures @ bare.T, atol=1e-6)

    def test_batches_and_that_nothing_is_embedded_twice(self, photos: Path) -> None:
        probe = EncodedWords(photos, [f"word {number}" for number in range(70)], ENCODER, batch=3)
        assert seen == []  # only when it is asked for
        first = probe.similarity()
        assert sorted(seen) == [("images", 1), ("images", 3), ("texts", 6), ("texts", 64)]
        assert probe.similarity() is first and len(seen) == 4
        assert probe.of_template() is probe.of_template()
        assert sorted(seen[4:]) == [("texts", 1), ("texts", 6), ("texts", 64)]

    def test_batches_change_nothing(self, photos: Path) -> None:
        one, all_ = (EncodedWords(photos, ["red", "grey"], ENCODER, batch=batch) for batch in (1, 9))
        assert torch.equal(one.similarity(), all_.similarity())

    def test_words_of_a_file(self, photos: Path, tmp_path: Path) -> None:
        file = tmp_path / "words.txt"
        file.write_text("\ufeffred\r\n\n  blue \nred\nlight blue\n", "utf-8")
        probe = EncodedWords(photos, file, ENCODER)
        assert probe.words == ("red", "blue", "light blue") and probe.facts["words"] == str(file)
        listed = EncodedWords(photos, ["red", "blue", "light blue"], ENCODER)
        assert listed.facts["words_sha256"] == probe.facts["words_sha256"] and listed.facts["words"] is None
        assert EncodedWords(photos, ["red"], ENCODER).facts["words_sha256"] != probe.facts["words_sha256"]

    def test_pictures_in_memory(self) -> None:
        picture = Image.new("RGBA", (3, 3), (255, 0, 0, 255))
        probe = EncodedWords([picture], ["red", "blue"], ENCODER)
        assert probe.similarity().tolist() == [[1, 0]] and probe.photo(0) is picture and probe.facts["path"] is None

    def test_pickle(self, photos: Path) -> None:
        probe = EncodedWords(photos, ["red"], ENCODER)
        assert torch.equal(pickle.loads(pickle.dumps(probe)).similarity(), probe.similarity())

    def test_what_is_wrong(self, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "empty.txt").write_text("\n\n")
        for words, text in [
            ([], "no words were given"),
            (tmp_path / "empty.txt", "empty.txt' holds no words"),
            (tmp_path / "none.txt", "none.txt' can't be read: No such file"),
        ]:
            with pytest.raises(InputError, match=text):
                EncodedWords(photos, words, ENCODER)  # type: ignore[arg-type]
        with pytest.raises(InputError, match="no photos were given"):
            EncodedWords([], ["red"], ENCODER)
        with pytest.raises(InputError, match="has no photos in it"):
            EncodedWords(tmp_path, ["red"], ENCODER)
        with pytest.raises(InputError, match="batch=0 was given"):
            EncodedWords(photos, ["red"], ENCODER, batch=0)
        (photos / "broken.png").write_bytes(b"nothing")
        with pytest.raises(InputError, match=r"broken.png' is not a photo"):
            EncodedWords(photos, ["red"], ENCODER).similarity()

    @pytest.mark.parametrize(
        ("images", "texts", "text"),
        [
            (lambda images: torch.ones(3), named, r"images of the encoder gave \(3,\) for 4 images"),
            (lambda images: torch.ones(3, 3), named, r"images of the encoder gave \(3, 3\) for 4 images"),
            (means, lambda texts: [[1, 2, 3]], "texts of the encoder gave list for 1 texts"),
            (means, lambda texts: torch.ones(1, 2), "gave 3 numbers a photo, but 2 a text"),
            (means, lambda texts: torch.full((1, 3), float("nan")), "that are not finite"),
        ],
    )
    def test_encoders_that_are_none(
        self, photos: Path, images: Callable[..., Any], texts: Callable[..., Any], text: str
    ) -> None:
        with pytest.raises(InputError, match=text):
            EncodedWords(photos, ["red"], Encoder(images, texts, "wrong")).similarity()

    def test_embeddings_of_several_widths(self, photos: Path) -> None:
        wrong = Encoder(lambda images: torch.ones(len(images), len(images)), named, "wrong")
        with pytest.raises(InputError, match=r"of widths \[1, 3\]"):
            EncodedWords(photos, ["red"], wrong, batch=3).similarity()


@pytest.fixture(scope="module", params=["clip", "siglip", "siglip2", "chinese_clip"])
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    torch.manual_seed(0)
    model, processor = BUILDERS[request.param]()
    model = alive(model)
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    auto: Any = transformers.AutoProcessor
    return folder, model, auto.from_pretrained(folder)  # some tokenizers are others after saving


class TestTransformers:
    def test_the_models_own_cosines(self, saved: tuple[Path, Any, Any], photos: Path) -> None:
        """Against the model's forward pass on photo and text together."""
        folder, model, processor = saved
        probe = EncodedWords(photos, ["a dog", "the grass", "train"], Encoder.from_transformers(folder), batch=3)
        pictures = [Image.open(photos / f"{number}.png").convert("RGB") for number in range(4)]
        padding: dict[str, Any] = (
            {"padding": "max_length", "max_length": 32} if "iglip" in type(model).__name__ else {"padding": True}
        )
        inputs = dict(processor.image_processor(images=pictures, return_tensors="pt"))
        inputs |= dict(processor.tokenizer(list(probe.words), return_tensors="pt", **padding))
        with torch.no_grad():
            out = model(**inputs)
        images, texts = (torch.nn.functional.normalize(one, dim=1) for one in (out.image_embeds, out.text_embeds))
        assert torch.allclose(probe.similarity(), images @ texts.T, atol=1e-5)
        assert float(probe.similarity().std()) > 1e-6 and probe.facts["encoder"] == str(folder)

    def test_texts_that_are_too_long(self, saved: tuple[Path, Any, Any], photos: Path) -> None:
        probe = EncodedWords(photos, ["dog " * 600], Encoder.from_transformers(saved[0]))
        with pytest.raises(InputError, match=r"the word 'dog dog .* tokens, but the encoder reads at most"):
            probe.similarity()

    def test_opening(self, saved: tuple[Path, Any, Any], photos: Path, tmp_path: Path) -> None:
        (tmp_path / "words.txt").write_text("dog\ncat\n")
        probe = open_probe(photos, words=tmp_path / "words.txt", encoder=str(saved[0]))
        assert isinstance(probe, EncodedWords) and probe.similarity().shape == (4, 2)


class TestFiles:
    def test_what_cannot_be_had(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"can't open the encoder 'no/such': .* hf download no/such"):
            Encoder.from_transformers("no/such")
        with pytest.raises(
            InputError, match=r"can't open the encoder .*; expected a folder that save_pretrained"
        ) as raised:
            Encoder.from_transformers(tmp_path)
        assert "download" not in str(raised.value)

    def test_models_that_embed_no_texts(self, tmp_path: Path) -> None:
        sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
        made: Any = transformers.ViTConfig
        transformers.ViTModel(made(image_size=8, patch_size=4, **sizes)).save_pretrained(tmp_path)
        with pytest.raises(InputError, match="is a ViTModel, which doesn't embed photos and texts"):
            Encoder.from_transformers(tmp_path)

    def test_models_without_a_processor(self, tmp_path: Path) -> None:
        model, processor = BUILDERS["clip"]()
        model.save_pretrained(tmp_path)
        processor.tokenizer.save_pretrained(tmp_path)
        with pytest.raises(InputError, match=r"the processor of|AutoProcessor can't open the encoder"):
            Encoder.from_transformers(tmp_path)


class TestOpening:
    def test_photos_in_folders_and_some_of_them(self, photos: Path) -> None:
        probe = open_probe(photos.parent, words=["red"], encoder=ENCODER)
        assert isinstance(probe, EncodedWords) and len(probe) == 4
        probe = open_probe(photos, words=["red"], encoder=ENCODER, n=2)
        assert isinstance(probe, EncodedWords)
        assert [Path(str(probe.photo(index))).name for index in range(2)] == ["1.png", "3.png"]
        assert probe.facts["path"] == str(photos) and probe.name == "photos"

    def test_what_is_wrong(self, photos: Path, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        for path, text in [(photos / "0.png", "need a folder of photos"), (tmp_path / "empty", "has no photos")]:
            with pytest.raises(InputError, match=text):
                open_probe(path, words=["red"], encoder=ENCODER)
        with pytest.raises(InputError, match=r"labels= was given, which photos and words can't use"):
            open_probe(photos, words=["red"], encoder=ENCODER, labels=photos)
