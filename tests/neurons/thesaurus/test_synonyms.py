"""Synonyms: the packaged table, what is the same, broader or apart, plurals, the concepts of a probe, and WordNet with and without it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

from vlcam.contracts import InputError
from vlcam.neurons.thesaurus.nouns import list_singulars, normalise_name, pluralise
from vlcam.neurons.thesaurus.synonyms import Entry, Thesaurus, has_wordnet, merge_concepts
from vlcam.neurons.thesaurus.wordnet import Nouns, WordNet

KNOWN = Thesaurus()
EVERY_NAME = [name for concept, entry in KNOWN.entries.items() for name in (concept, *entry.synonyms)]

# the classes of Pascal VOC and some of COCO's and ADE20K's and ImageNet's, as they are spelt there, and what they are kinds of
SPELT = {
    "aeroplane": "vehicle",
    "motorbike": "vehicle",
    "diningtable": "furniture",
    "tvmonitor": "electronics",
    "sheep": "animal",
    "cell phone": "electronics",
    "wine glass": "container",
    "donut": "food",
    "hair drier": "hair dryer",
    "couch": "furniture",
    "armchair": "furniture",
    "car, auto, automobile, machine, motorcar": "vehicle",
    "person;individual;someone": "person",
    "tabby, tabby cat": "animal",
    "palm, palm tree": "palm",
    "sea_outdoor-s": "water",
    "Bookcases": "furniture",
    "policemen": "person",
    "butterflies": "animal",
}


# --- the table ----------------------------------------------------------------------------------------------------------


def test_the_table_is_a_forest_down_to_the_floor() -> None:
    assert len(KNOWN.entries) >= 250
    assert len(EVERY_NAME) == len(set(EVERY_NAME))
    for concept, entry in KNOWN.entries.items():
        assert entry.parent is None or entry.parent in KNOWN.entries, concept
        chain = KNOWN.kinds_of(concept)
        assert chain[0] == concept and len(chain) == len(set(chain)) <= 5
        assert KNOWN.entries[chain[-1]].parent is None
    roots = {KNOWN.kinds_of(concept)[-1] for concept, entry in KNOWN.entries.items() if entry.parent is not None}
    assert {"vehicle", "furniture", "animal", "plant", "building", "food", "clothing", "person"} <= roots
    too_broad = {
        "entity",
        "object",
        "artifact",
        "artefact",
        "thing",
        "whole",
        "structure",
        "matter",
        "stuff",
        "device",
        "colour",
    }
    assert not too_broad & set(EVERY_NAME)


def test_canonical_and_plain_are_idempotent() -> None:
    for name in (*EVERY_NAME, *SPELT, "unheard of", "a-s -c outdoor", "/c/x/outdoor", "", " ; ", "Gizmos"):
        once = KNOWN.canonical(name)
        assert KNOWN.canonical(once) == once, name
        assert normalise_name(normalise_name(name)) == normalise_name(name), name
        assert KNOWN.canonical(name.upper()) == once, name


def test_every_plural_leads_to_its_concept() -> None:
    wrong = [
        (name, pluralise(name))
        for name in EVERY_NAME
        if pluralise(name) not in EVERY_NAME and KNOWN.canonical(pluralise(name)) != KNOWN.canonical(name)
    ]
    assert wrong == []


def test_pairs_that_are_kept_apart() -> None:
    assert len(KNOWN.apart) > 50
    for a, b in (sorted(pair) for pair in KNOWN.apart):
        assert not KNOWN.same(a, b) and not KNOWN.related(a, b) and not KNOWN.related(b, a), (a, b)


@pytest.mark.parametrize(("name", "root"), SPELT.items())
def test_spellings_of_data_sets(name: str, root: str) -> None:
    assert KNOWN.kinds_of(name)[-1] == root


def test_words_with_two_senses_have_no_broader_concept() -> None:
    assert [KNOWN.parent(name) for name in ("mouse", "crane", "bat", "glass", "orange", "seal", "chicken")] == [
        None
    ] * 7


# --- questions ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("a", "b", "same", "related"),
    [
        ("sofa", "couch", True, True),
        ("gray-c", "grey", True, True),
        ("women", "woman", True, True),
        ("gizmo", "gizmos", True, True),  # unknown words, too
        ("street-s", "road", True, True),
        ("bus", "vehicle", False, True),
        ("furniture", "rocking chair", False, True),  # three steps up
        ("red", "red star", False, True),
        ("red star", "red", False, True),
        ("blue star", "red star", False, False),
        ("red", "blue", False, False),
        ("car", "bus", False, False),  # both vehicles, but neither is a kind of the other
        ("hot dogs", "dog", False, False),
        ("hot dog", "food", False, True),
        ("computer mouse", "mouse", False, False),
        ("plant pot", "pot", False, False),
        ("wheel", "bike", False, False),
        ("glass", "glasses", False, False),
        ("giant panda, panda", "lesser panda, red panda, panda", False, True),  # of a list the first name counts
        ("", "red", False, False),
    ],
)
def test_same_and_related(a: str, b: str, same: bool, related: bool) -> None:
    assert (KNOWN.same(a, b), KNOWN.same(b, a)) == (same, same)
    assert (KNOWN.related(a, b), KNOWN.related(b, a)) == (related, related)


@pytest.mark.parametrize(
    ("names", "common"),
    [
        (["rocking chair", "sofa"], "seat"),
        (["rocking chair", "sofa", "beds"], "furniture"),
        (["taxi", "automobile"], "car"),
        (["dog", "cat"], "animal"),
        (["dog", "car"], None),
        (["red", "red"], "red"),
        (["red", "blue"], None),
        (["gizmo"], "gizmo"),
        ([], None),
        (["", ""], None),
    ],
)
def test_common(names: list[str], common: str | None) -> None:
    assert KNOWN.common(names) == common
    assert KNOWN.common(iter(names[::-1])) == common


def test_plurals() -> None:
    words = "person bookshelf snowman human ottoman foot city toy box bench fox glass roof potato piano sheep scissors grass"
    many = "people bookshelves snowmen humans ottomans feet cities toys boxes benches foxes glasses roofs potatoes"
    many += " pianos sheep scissors grass"
    assert [pluralise(word) for word in words.split()] == many.split()
    assert KNOWN.plural("chest of drawers") == "chests of drawers" and pluralise("police officer") == "police officers"
    assert pluralise("") == "" and pluralise("people") == "people" and pluralise("mice") == "mice"
    assert [list(list_singulars(word)) for word in ("knives", "glass", "buses")] == [
        ["knife", "knive"],
        [],
        ["bus", "buse"],
    ]
    assert list(list_singulars("blocks of flats")) == ["block of flats"]


# --- the concepts of a probe --------------------------------------------------------------------------------------------


def test_merged_and_broader_concepts() -> None:
    probe = [
        ("car", "object"),  # 0
        ("Sofa", "object"),  # 1
        ("couch", "object"),  # 2
        ("bus", "object"),  # 3
        ("red", "color"),  # 4
        ("couch", "scene"),  # 5: another category
        ("gizmos", "object"),  # 6
        ("gizmo", "object"),  # 7
        ("terrier", "object"),  # 8: the only animal
        ("armchair", "object"),  # 9
    ]
    assert merge_concepts(probe, KNOWN) == [
        (("car", "object"), (0,)),
        (("Sofa", "object"), (1, 2)),
        (("bus", "object"), (3,)),
        (("red", "color"), (4,)),
        (("couch", "scene"), (5,)),
        (("gizmo", "object"), (6, 7)),
        (("terrier", "object"), (8,)),
        (("armchair", "object"), (9,)),
        (("vehicle", "object"), (0, 3)),
        (("seat", "object"), (1, 2, 9)),  # furniture would cover the same
    ]


def test_a_broader_concept_of_the_probe_has_its_kinds() -> None:
    probe = [("vehicle", "object"), ("car", "object"), ("taxi", "object"), ("boat", "object"), ("dog", "object")]
    assert merge_concepts(probe, KNOWN) == [
        (("vehicle", "object"), (0, 1, 2, 3)),
        (("car", "object"), (1, 2)),
        (("taxi", "object"), (2,)),
        (("boat", "object"), (3,)),
        (("dog", "object"), (4,)),
    ]


def test_unrelated_concepts_stay_as_they_are() -> None:
    probe = [
        ("Red", "colour"),
        ("star", "shape"),
        ("red star", "pair"),
        ("upper left", "region"),
        ("hot dog", "object"),
    ]
    assert merge_concepts(probe, KNOWN) == [(concept, (place,)) for place, concept in enumerate(probe)]
    assert merge_concepts([], KNOWN) == []


# --- tables of one's own ------------------------------------------------------------------------------------------------


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(
        '{"concepts": {"Bolt": {"synonyms": ["machine_screw"], "parent": "fastener"}, "fastener": {}}}', "utf-8"
    )
    mine = Thesaurus.read(path)
    assert mine.canonical("machine screws") == "bolt" and mine.parent("bolt") == "fastener"
    assert mine.canonical("couch") == "couch" and mine.apart == frozenset()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"a": {"parent": "b"}}, r"the parent of 'a' is 'b', which is not a concept of the table; add it"),
        ({"a": {"parent": "b"}, "b": {"parent": "c"}, "c": {"parent": "b"}}, r"go round in a circle"),
        ({"a": {"parent": "a"}}, r"go round in a circle"),
        (
            {"a": {"synonyms": ["c"]}, "b": {"synonyms": ["c"]}},
            r"'c' is a name of 'a' and of 'b'; expected every name once",
        ),
        ({"a": {"synonyms": ["b"]}, "b": {}}, r"'b' is a name of 'a' and of 'b'"),
        ({"a": {"synonyms": "b"}}, r"is not a table of synonyms \(synonyms is not a list\)"),
        ({"a": {"parents": "b"}}, r"'parents' is unknown"),
        ([], r"is not a table of synonyms"),
        (3, r"is not a table of synonyms"),
    ],
)
def test_bad_tables(tmp_path: Path, table: Any, message: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"concepts": table}), "utf-8")
    with pytest.raises(InputError, match=message):
        Thesaurus.read(path)
    with pytest.raises(InputError, match="can't be read: No such file or directory; expected a table of synonyms"):
        Thesaurus.read(tmp_path / "none.json")


# --- WordNet ------------------------------------------------------------------------------------------------------------

SENSES = (
    # words and the broader senses, by place; the senses of a word are in the order of this list
    (("entity",), ()),  # 0
    (("artifact",), (0,)),  # 1
    (("plant", "works", "industrial_plant"), (1,)),  # 2
    (("vehicle",), (1,)),  # 3
    (("wheeled_vehicle",), (3,)),  # 4
    (("rickshaw", "jinrikisha"), (1, 4)),  # 5: the short way misses the table
    (("organism",), (0,)),  # 6
    (("plant", "flora", "plant_life"), (6,)),  # 7
    (("herb", "herbaceous_plant"), (7,)),  # 8
    (("basil", "sweet_basil"), (8,)),  # 9
    (("refinery",), (2,)),  # 10
    (("couch",), (0,)),  # 11: not the sense of the table
    (("gewgaw", "bauble"), (1,)),  # 12
    (("bauble", "trinket"), (1,)),  # 13
)


def write_wordnet(folder: Path) -> Path:
    """WordNet's own file format with the nouns of SENSES and no other word; the folder is one for ``nltk.data.path``."""
    home = folder / "corpora" / "wordnet"
    home.mkdir(parents=True)
    kinds = ("noun", "verb", "adj", "adv")
    for name in ("cntlist.rev", "index.sense", *(f"{part}.{kind}" for part in ("index", "data") for kind in kinds)):
        (home / name).write_text("", "utf-8")
    for kind in kinds:
        (home / f"{kind}.exc").write_text("mice mouse\n" if kind == "noun" else "", "utf-8")
    (home / "lexnames").write_text("00\tadj.all\t3\n01\tadj.pert\t3\n02\tadv.all\t4\n03\tnoun.Tops\t1\n", "utf-8")
    offsets = [0] * len(SENSES)
    for _ in range(2):  # lines are of the same length whatever the offsets
        lines = []
        for place, (words, broader) in enumerate(SENSES):
            names = " ".join(f"{word} 0" for word in words)
            up = "".join(f"@ {offsets[one]:08d} n 0000 " for one in broader)
            lines.append(f"{offsets[place]:08d} 03 n {len(words):02x} {names} {len(broader):03d} {up}| made up  \n")
        offsets = [sum(map(len, lines[:place])) for place in range(len(lines))]
    (home / "data.noun").write_text("".join(lines), "utf-8")
    index: dict[str, list[int]] = {}
    for place, (words, _) in enumerate(SENSES):
        for word in words:
            index.setdefault(word, []).append(offsets[place])
    rows = (
        f"{word} n {len(at)} 1 @ {len(at)} 0 {' '.join(f'{o:08d}' for o in at)}  \n"
        for word, at in sorted(index.items())
    )
    (home / "index.noun").write_text("".join(rows), "utf-8")
    return folder


@pytest.fixture
def no_wordnet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An nltk that looks in one empty folder only."""
    import nltk.data

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path)])
    return tmp_path


@pytest.fixture
def with_wordnet(no_wordnet: Path) -> Thesaurus:
    write_wordnet(no_wordnet)
    assert has_wordnet()
    return Thesaurus.with_wordnet()


def test_without_wordnet(no_wordnet: Path) -> None:
    assert not has_wordnet()
    with pytest.raises(
        InputError, match=r"nltk finds none .*python -m nltk.downloader wordnet.*NLTK_DATA.*nltk.data.path"
    ):
        Thesaurus.with_wordnet()
    assert list(no_wordnet.iterdir()) == []  # nothing was fetched


def test_a_broken_wordnet(no_wordnet: Path) -> None:
    home = write_wordnet(no_wordnet) / "corpora" / "wordnet"
    (home / "index.noun").write_text("plant n one two\n", "utf-8")
    with pytest.raises(InputError, match=r"the WordNet in .* can't be read \(.*downloader wordnet"):
        Thesaurus.with_wordnet()


def test_wordnet_knows_what_the_table_lacks(with_wordnet: Thesaurus) -> None:
    known = with_wordnet
    assert isinstance(known.nouns, WordNet) and isinstance(known.nouns, Nouns)
    assert known.canonical("Jinrikishas") == "rickshaw" and known.same("jinrikisha", "rickshaw")
    assert known.kinds_of("jinrikisha") == ("rickshaw", "wheeled vehicle", "vehicle")
    assert known.kinds_of("sweet basil") == ("basil", "herb", "plant")
    assert known.common(["rickshaw", "school bus"]) == "vehicle"
    assert known.related("basil", "flora") and not known.related("basil", "rickshaw")


def test_first_senses_do_not_mislead(with_wordnet: Thesaurus) -> None:
    """A works is a plant in WordNet's first sense; in the table a plant grows. A couch is what the table says it is."""
    known = with_wordnet
    assert known.kinds_of("refinery") == ("refinery",)
    assert known.kinds_of("couch") == ("sofa", "seat", "furniture")
    assert known.parent("gewgaw") is None  # artefact and entity are beyond the floor
    assert known.canonical("gewgaw") == "gewgaw" and known.canonical("trinket") == "trinket"
    assert known.canonical("bauble") == "gewgaw"  # in its first sense
    assert known.canonical("unheard of") == "unheard of" and known.parent("unheard of") is None


def test_canonical_is_idempotent_with_wordnet(with_wordnet: Thesaurus) -> None:
    for name in (*(word for words, _ in SENSES for word in words), *EVERY_NAME):
        once = with_wordnet.canonical(name)
        assert with_wordnet.canonical(once) == once, name
    for name in EVERY_NAME:  # the table is asked first
        assert with_wordnet.kinds_of(name) == KNOWN.kinds_of(name)


class Crossing:
    """Nouns whose broader senses go two ways, one of them to the table."""

    def first(self, word: str, /) -> str | None:
        return f"{word}.n.01" if word in ("quux", "foo", "vehicle") else None

    def words(self, sense: str, /) -> tuple[str, ...]:
        return (sense.removesuffix(".n.01"),)

    def paths_up(self, sense: str, /) -> Iterator[tuple[str, ...]]:
        yield from (("entity.n.01",), ("foo.n.01", "vehicle.n.01", "entity.n.01")) if sense == "quux.n.01" else ()


def test_any_source_of_nouns_and_either_way_up() -> None:
    known = Thesaurus({"vehicle": Entry()}, frozenset(), Crossing())
    assert known.parent("quux") == "foo" and known.kinds_of("vehicle") == ("vehicle",)


def test_the_files_of_wordnet(with_wordnet: Thesaurus) -> None:
    nouns = with_wordnet.nouns
    assert nouns is not None
    assert nouns.first("Plant") == "plant.n.01" and nouns.first("industrial  plant") == "plant.n.01"
    assert nouns.first("plant life") == "plant.n.02" and nouns.first("zebra") is None
    assert nouns.words("plant.n.02") == ("plant", "flora", "plant life")
    assert list(nouns.paths_up("herb.n.01")) == [("plant.n.02", "organism.n.01", "entity.n.01")]
    assert list(nouns.paths_up("rickshaw.n.01")) == [
        ("artifact.n.01", "entity.n.01"),
        ("wheeled_vehicle.n.01", "vehicle.n.01", "artifact.n.01", "entity.n.01"),
    ]
    assert list(nouns.paths_up("entity.n.01")) == [()]


def test_nltk_reads_the_files_alike(with_wordnet: Thesaurus, no_wordnet: Path) -> None:
    """The test's files are such as nltk's reader reads, and it finds the same in them."""
    reference = subprocess.run(
        [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            "import json, sys, nltk.data\n"
            "nltk.data.path = [sys.argv[1]]\n"
            "from nltk.corpus import wordnet as wn\n"
            "found = {w: wn.synsets(w, 'n')[0] for w in sys.argv[2:]}\n"
            "print(json.dumps({w: [s.name(), s.lemma_names(), sorted([t.name() for t in p[-2::-1]] for p in s.hypernym_paths())] "
            "for w, s in found.items()}))",
            str(no_wordnet),
            *(words[0] for words, _ in SENSES),
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    nouns = with_wordnet.nouns
    assert nouns is not None
    for word, (sense, lemmas, paths) in json.loads(reference).items():
        assert nouns.first(word) == sense
        assert nouns.words(sense) == tuple(one.replace("_", " ") for one in lemmas)
        assert sorted(map(list, nouns.paths_up(sense))) == paths


def test_a_zipped_wordnet(no_wordnet: Path) -> None:
    """As nltk's downloader leaves it, on some versions."""
    home = write_wordnet(no_wordnet / "other") / "corpora"
    (no_wordnet / "corpora").mkdir()
    with ZipFile(no_wordnet / "corpora" / "wordnet.zip", "w") as file:
        file.mkdir("wordnet")
        for path in sorted((home / "wordnet").iterdir()):
            file.write(path, f"wordnet/{path.name}")
    assert has_wordnet() and Thesaurus.with_wordnet().kinds_of("basil") == ("basil", "herb", "plant")


def test_offsets_that_lead_nowhere() -> None:
    nouns = WordNet("quux n 1 0 1 0 00000007  \n", b"00000000 03 n 01 quux 0 000 | a  \n")
    with pytest.raises(InputError, match=r"has no sense at byte 7"):
        nouns.first("quux")


def test_nltk_is_imported_only_for_wordnet() -> None:
    code = (
        "import sys; from vlcam.neurons.thesaurus.synonyms import Thesaurus; "
        "assert Thesaurus().same('couch', 'sofa'); sys.exit('nltk' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
