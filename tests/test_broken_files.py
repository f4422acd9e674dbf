"""Thousands of broken files for every reader: each is read, or refused with an error of vlcam's own, within bounds of memory."""

import json
import random
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from tests.support import data_layouts, examples_of_explanations
from tests.support.broken_files import Change, change_bytes, change_cells, change_json
from vlcam.contracts import VlcamError
from vlcam.experiments.data.ilsvrc import read_synsets
from vlcam.experiments.data.open_world import open_world
from vlcam.experiments.results import result
from vlcam.explanation import storage
from vlcam.explanation.explanation import Explanation
from vlcam.image.coco import read_instances
from vlcam.image.label_maps import read_label_map
from vlcam.image.outlines import fill_outline
from vlcam.image.pascal_voc import read_annotation, read_categories
from vlcam.image.photo import open_photo
from vlcam.neurons import NeuronNames, read_names
from vlcam.neurons.names.record import NeuronName
from vlcam.neurons.probes import folders
from vlcam.neurons.probes.broden import Broden
from vlcam.neurons.scoring.cache import Cache
from vlcam.neurons.thesaurus import wordnet
from vlcam.neurons.thesaurus.synonyms import Thesaurus
from vlcam.scenes.models import zoo
from vlcam.study.pictures import iterate_photos
from vlcam.study.plan import compute_study_id
from vlcam.study.score import read_answers, read_key, score_answers
from vlcam.tasks.recipe import read_labels, read_recipe
from vlcam.tasks.states import read_state

Use = Callable[[Path], Any]
MOST_MEMORY = 700 * 2**20
"""Bytes by which the process may grow at any time; a guard against sizes that files claim."""

READERS: dict[str, tuple[Callable[[Path], Path], Change, Use]] = {}


def reader(name: str, change: Change, use: Use) -> Callable[[Callable[[Path], Path]], Callable[[Path], Path]]:
    """A reader by name: what makes a good file in a folder and gives its path, how files of its kind are changed, and what reads it."""

    def keep(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
        READERS[name] = (make, change, use)
        return make

    return keep


# --- pictures ---------------------------------------------------------------------------------------------------------


def save_picture(kind: str, mode: str = "RGB") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        values = np.arange(24 * 20 * 3, dtype=np.uint8).reshape(24, 20, 3)
        Image.fromarray(values).convert(mode).save(folder / "picture.png", kind)
        return folder / "picture.png"

    return make


for kind in ("PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP", "PPM"):
    reader(f"a photo, {kind}", change_bytes, lambda file: open_photo(file, max_pixels=10**6))(save_picture(kind))
reader("a label map", change_bytes, read_label_map)(save_picture("PNG", "P"))


# --- data sets --------------------------------------------------------------------------------------------------------


def use_world(root: Path) -> None:
    for sample in open_world(root).iterate_samples():
        for one in sample.objects:
            assert one.mask is None or one.mask.shape == (sample.size[1], sample.size[0])


@reader("an annotation of VOC", change_cells, lambda file: (read_annotation(file), read_categories(file)))
def make_voc(folder: Path) -> Path:
    data_layouts.xml(folder / "a.xml", ("cat", "dog"), 1, {"cat": "cat", "dog": "dog"})
    return folder / "a.xml"


def use_coco(file: Path) -> None:
    for photo in read_instances(file, boxes=True).photos:
        for one in photo.instances:
            if photo.size[0] * photo.size[1] <= 10**6:
                fill_outline(one.outline, photo.size[1], photo.size[0])


@reader("instances of COCO", change_json, use_coco)
def make_coco(folder: Path) -> Path:
    data_layouts.coco(folder)
    file = folder / "annotations" / "instances_val2017.json"
    document = json.loads(file.read_bytes())
    document["annotations"][0]["segmentation"] = {"size": [30, 40], "counts": "hb0hb0"}
    file.write_text(json.dumps(document))
    return file


@reader("a JSON of boxes", change_json, lambda file: use_world(file.parent))
def make_boxes(folder: Path) -> Path:
    data_layouts.boxes_json(folder)
    return next(one for one in sorted(folder.glob("*.json")) if b'"boxes"' in one.read_bytes())


@reader("VQA's questions", change_json, lambda file: use_world(file.parent))
def make_questions(folder: Path) -> Path:
    data_layouts.vqa(folder)
    return next(folder.rglob("*_questions.json"))


@reader("VQA's answers", change_json, lambda file: use_world(file.parent))
def make_annotations(folder: Path) -> Path:
    data_layouts.vqa(folder)
    return next(folder.rglob("*_annotations.json"))


@reader("a list of synsets", change_cells, read_synsets)
def make_synsets(folder: Path) -> Path:
    (folder / "map.txt").write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish\n")
    return folder / "map.txt"


@reader("a JSON of synsets", change_json, read_synsets)
def make_class_index(folder: Path) -> Path:
    (folder / "index.json").write_text('{"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}')
    return folder / "index.json"


def use_broden(file: Path) -> None:
    probe = Broden(file.parent)
    for place in range(min(len(probe), 20)):
        probe[place]


def make_broden(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / "images").mkdir()
        for part in ("0.jpg", "0_color.png"):
            Image.new("RGB", (6, 5), (1, 0, 0)).save(folder / "images" / part)
        (folder / "index.csv").write_text("image,split,ih,iw,color,object\n0.jpg,train,5,6,1;2,0_color.png\n")
        (folder / "label.csv").write_text("number,name,category\n1,red-c,color(5);object(1)\n2,sky,color(3)\n")
        (folder / "category.csv").write_text("name,first,last\ncolor,1,2\nobject,1,2\n")
        return folder / name

    return make


for table in ("index.csv", "label.csv", "category.csv"):
    reader(f"Broden's {table}", change_cells, use_broden)(make_broden(table))


@reader("names of label maps", change_json, folders.read_names)
def make_label_names(folder: Path) -> Path:
    (folder / "names.json").write_text('{"1": "sky", "2": ["sea", "scene"], "3": null}')
    return folder / "names.json"


@reader("names of class folders", change_json, lambda file: folders.ClassFolders(file.parent / "photos", names=file))
def make_class_names(folder: Path) -> Path:
    for name in ("n01", "n02"):
        data_layouts.draw(folder / "photos" / name / "a.jpg", ("cat",))
    (folder / "names.json").write_text('{"n01": "cat", "n02": "dog"}')
    return folder / "names.json"


@reader("a list of a study's photos", change_cells, lambda file: list(iterate_photos(file.parent)))
def make_categories(folder: Path) -> Path:
    data_layouts.draw(folder / "a.jpg", ("cat",))
    (folder / "categories.csv").write_text("file,categories\na.jpg,cat,dog\n")
    return folder / "categories.csv"


# --- names, words -----------------------------------------------------------------------------------------------------


def make_names() -> NeuronNames:
    units = (
        NeuronName(0, "named", "red", "colour", 0.3, also=("orange",), formula=("red OR orange", 0.4)),
        NeuronName(1, "unnamed"),
    )
    return NeuronNames("model", "layer", None, {"split": "val"}, units)


def use_names(file: Path) -> None:
    found = read_names(file, layer="layer4", units=None)
    found.to_csv()
    found.to_json()


@reader("names of neurons, JSON", change_json, lambda file: read_names(file).to_csv())
def make_names_json(folder: Path) -> Path:
    (folder / "names.json").write_text(make_names().to_json())
    return folder / "names.json"


@reader("names of neurons, CSV", change_cells, use_names)
def make_names_csv(folder: Path) -> Path:
    (folder / "names.csv").write_text(make_names().to_csv())
    return folder / "names.csv"


@reader("a tally", change_cells, use_names)
def make_tally(folder: Path) -> Path:
    head = "unit,category,label,score,object-label,object-truth,object-iou"
    (folder / "tally.csv").write_text(f"{head}\n1,object,sky,0.2,sky,7,0.2\n2,color,red-c,0.1,sea,3,0.1\n")
    return folder / "tally.csv"


@reader("descriptions", change_cells, use_names)
def make_descriptions(folder: Path) -> Path:
    (folder / "descriptions.csv").write_text(
        "layer,unit,description,similarity\nlayer4,0,sky,0.21\nlayer4,1,sea,0.11\n"
    )
    return folder / "descriptions.csv"


@reader("a table of synonyms", change_json, lambda file: Thesaurus.read(file).kinds_of("car"))
def make_synonyms(folder: Path) -> Path:
    (folder / "table.json").write_text(
        '{"concepts": {"car": {"synonyms": ["auto"], "parent": "vehicle"}, "vehicle": {}}, "apart": [["hot dog", "dog"]]}'
    )
    return folder / "table.json"


class Root:
    """A folder as nltk has it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def join(self, name: str) -> "Root":
        return Root(self.folder / name)

    def open(self) -> Any:
        return self.folder.open("rb")


def use_wordnet(file: Path) -> None:
    found = pytest.MonkeyPatch()
    with found.context() as patch:
        patch.setattr(wordnet, "_find_root", lambda: Root(file.parent))
        nouns = wordnet.open_wordnet()
    for word in ("car", "vehicle"):
        sense = nouns.first(word)
        if sense is not None:
            nouns.words(sense)
            list(nouns.paths_up(sense))


def make_wordnet(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        first = "00000000 03 n 01 car 0 001 @ 00000049 n 0000 | a\n"
        (folder / "data.noun").write_text(
            f"{first}{len(first):08d} 03 n 01 vehicle 0 000 | b\n".replace("00000049", f"{len(first):08d}")
        )
        (folder / "index.noun").write_text(f"car n 1 1 @ 1 0 00000000\nvehicle n 1 0 1 0 {len(first):08d}\n")
        return folder / name

    return make


reader("WordNet's index", change_cells, use_wordnet)(make_wordnet("index.noun"))
reader("WordNet's data", change_cells, use_wordnet)(make_wordnet("data.noun"))


# --- what vlcam writes, weights ---------------------------------------------------------------------------------------


def use_saved(file: Path) -> None:
    found = Explanation.load(file)
    found.html()
    for view in found:
        view.heatmap()


@reader("a saved explanation", change_bytes, use_saved)
def make_saved(folder: Path) -> Path:
    return examples_of_explanations.captioning().save(folder / "a.safetensors")


def change_records(data: bytes, rng: random.Random) -> bytes:
    """Other records under a checksum that fits them."""
    text, _, tensors = storage._unpack(data)
    changed = change_json(text.encode(), rng).decode("utf-8", "replace")
    if rng.random() < 0.3:
        name = rng.choice(sorted(tensors))
        kinds = (torch.float64, torch.float16, torch.int64, torch.float8_e4m3fn, torch.bool)
        tensors[name] = rng.choice(
            (tensors[name].to(rng.choice(kinds)), tensors[name][:1], tensors[name] * 1e30, tensors[name][None])
        )
    try:
        return bytes(
            safetensors.torch.save(tensors, {"vlcam": changed, "sha256": storage._compute_digest(changed, tensors)})
        )
    except (UnicodeEncodeError, RuntimeError, ValueError, TypeError):
        return data


reader("records of a saved explanation", change_records, use_saved)(make_saved)


def use_key(file: Path) -> None:
    key = read_key(file)
    score_answers(key, read_answers(file.parent / "answers.csv", key), draws=100, partial=True)


def make_key(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        item = {"id": "a", "picture": "p", "method": "gradcam", "about": "cat", "choices": ["cat", "dog"], "booklet": 0}
        items = [{**item, "empty": False, "images": ["x"]}]
        content = {"kind": "discrimination", "booklets": 1, "facts": {"methods": ["gradcam"]}, "items": items}
        study = compute_study_id(content)
        parts = {"discrimination": {"study": study, **content}}
        (folder / "key.json").write_text(json.dumps({"schema": 1, "vlcam": "0", "parts": parts}))
        (folder / "answers.csv").write_text(f"study,rater,item,answer\n{study},ann,a,cat\n")
        return folder / name

    return make


def change_key(data: bytes, rng: random.Random) -> bytes:
    """Another study, with the id that it has."""
    changed = change_json(data, rng)
    try:
        key = json.loads(changed)
        for part in key["parts"].values():
            part["study"] = compute_study_id({name: value for name, value in part.items() if name != "study"})
        return json.dumps(key).encode()
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError):
        return changed


reader("the key of a study", change_key, lambda file: use_key(file.parent / "key.json"))(make_key("key.json"))
reader("answers to a study", change_cells, lambda file: use_key(file.parent / "key.json"))(make_key("answers.csv"))


@reader("a result", change_json, result.load)
def make_result(folder: Path) -> Path:
    row = result.ResultRow("a", 0.5, 0.4, 0.6, n=3)
    made = result.Result(
        1, "localisation", "a", "b", "c", "world", "model", (row,), unit="%", better="higher", figures=("a.png",)
    )
    result.save(made, folder / "a.json")
    return folder / "a.json"


def make_cache(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        kept = Cache.open(folder, nn.Conv2d(3, 2, 1), "w", "l", (2, 3, 3))
        kept.put(["a", "b"], np.zeros((2, 2, 3, 3), np.float32))
        return next(kept.folder.glob(name))

    return make


def use_cache(file: Path) -> None:
    found = Cache.open(file.parents[1], nn.Conv2d(3, 2, 1), "w", "l", (2, 3, 3))
    assert found.get("a") is None or found.maps is not None


reader("the index of a cache", change_json, use_cache)(make_cache("index.json"))
reader("the maps of a cache", change_bytes, use_cache)(make_cache("maps-*.npy"))


def make_state(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        state = {"module.weight": torch.zeros(3, 2), "module.bias": torch.zeros(3)}
        if name.endswith(".pt"):
            torch.save({"state_dict": state}, folder / name)
        else:
            safetensors.torch.save_file(state, folder / name)
        return folder / name

    return make


reader("a state dict, torch", change_bytes, read_state)(make_state("a.pt"))
reader("a state dict, safetensors", change_bytes, read_state)(make_state("a.safetensors"))


@reader("a recipe", change_cells, read_recipe)
def make_recipe(folder: Path) -> Path:
    head = 'model = "torchvision/resnet18"\nbeams = 3\nlabels = ["cat", "dog"]\n'
    (folder / "a.toml").write_text(
        f"{head}[preprocess]\nsize = [224, 200]\nmean = [0.5, 0.4, 0.3]\nstd = 0.5\nchannels = 3\n"
    )
    return folder / "a.toml"


@reader("class names, JSON", change_json, read_labels)
def make_labels(folder: Path) -> Path:
    (folder / "labels.json").write_text('{"0": ["n01440764", "tench"], "1": "goldfish", "2": "shark"}')
    return folder / "labels.json"


@reader("class names, one a line", change_bytes, read_labels)
def make_lines(folder: Path) -> Path:
    (folder / "labels.txt").write_text("tench\ngoldfish\néclair\n", encoding="utf-8")
    return folder / "labels.txt"


@reader("checksums of weights", change_json, lambda file: zoo.load("vqa", file.parent))
def make_checksums(folder: Path) -> Path:
    for name in ("vqa.safetensors", "sha256.json"):
        (folder / name).write_bytes((zoo.get_weights_folder() / name).read_bytes())
    return folder / "sha256.json"


# --- the test ---------------------------------------------------------------------------------------------------------


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Inside, the process can't allocate more than a bound, and its greatest size is looked at afterwards; on Linux only."""
    status = Path("/proc/self/status")
    if not status.exists():
        yield
        return
    import resource

    def read(name: str) -> int:
        return next(
            int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith(f"{name}:")
        )

    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (read("VmSize") + 4 * MOST_MEMORY, before[1]))
    Path("/proc/self/clear_refs").write_text("5")
    start = read("VmRSS")
    try:
        yield
        assert read("VmHWM") - start < MOST_MEMORY
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.filterwarnings("ignore")  # of decoders and of PyTorch, about what is broken
@pytest.mark.parametrize("many", [60, pytest.param(600, marks=pytest.mark.extended)])
@pytest.mark.parametrize("name", READERS)
def test_broken_files_are_read_or_refused(name: str, many: int, tmp_path: Path) -> None:
    make, change, use = READERS[name]
    file = make(tmp_path)
    use(file)
    good, refused, longest = file.read_bytes(), 0, 0
    with bounded_memory():
        for number in range(many):
            rng = random.Random(zlib.crc32(name.encode()) + number)
            file.write_bytes(change(good, rng))
            try:
                use(file)
            except VlcamError as error:
                refused, longest = refused + 1, max(longest, len(str(error)))
            except BaseException as error:
                error.add_note(f"number {number} of {name}")
                raise
    assert ("cache" in name or refused) and longest < 2000


def test_there_are_thousands() -> None:
    assert len(READERS) * 60 >= 2000 and len(READERS) * 600 >= 20000
