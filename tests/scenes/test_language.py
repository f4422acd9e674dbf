"""Captions and questions of the bundled world, against hand-written expectations and independent brute force."""

import random
from collections import Counter
from functools import cache
from itertools import permutations, product

import pytest

from vlcam.scenes.captions import CAPTION_WORDS, MARGIN, check_words, find_word_objects, make_captions, parse
from vlcam.scenes.questions import ANSWERS, OFFSET, QUESTION_KINDS, QUESTION_WORDS, answer, make_questions
from vlcam.scenes.record import COLOURS, SHAPES, SIZES, TEXTURES, UNSEEN_PAIRS, Caption, Question, SceneObject, Split
from vlcam.scenes.scene import Scene

NUMBERS = {"two": 2, "three": 3, "four": 4}
SINGULAR = {
    "circles": "circle",
    "squares": "square",
    "triangles": "triangle",
    "stars": "star",
    "crosses": "cross",
    "hearts": "heart",
}


def obj(words: str, x: float, y: float) -> SceneObject:
    size, texture, colour, shape = words.split()
    return SceneObject(shape, colour, size, texture, x, y, 0.1, 0.0, 0.0, (0.5, 0.5, 0.5))


def scene_of(*objects: SceneObject, split: Split = "test") -> Scene:
    return Scene(split, 7, objects, "linen", 0, 0.0)


def random_scene(seed: int, split: Split = "train") -> Scene:
    """Two to five objects; every second scene uses few shapes and colours, so that repetitions are common."""
    rng = random.Random(seed)
    shapes, colours = (SHAPES, COLOURS) if seed % 2 else (SHAPES[3:5], COLOURS[1:3])
    objects = (
        SceneObject(rng.choice(shapes), rng.choice(colours), rng.choice(SIZES), rng.choice(TEXTURES), rng.random(),
              rng.random(), 0.1, 0.0, 0.0, (0.5, 0.5, 0.5))
        for _ in range(rng.randint(2, 5))
    )  # fmt: skip
    return Scene(split, seed, tuple(objects), "linen", 0, 0.0)


SCENES = [random_scene(seed) for seed in range(300)]

# 0 red star, 1 blue circle to its right, 2 orange cross below both, 3 a second red star at the bottom right
STILL = scene_of(
    obj("large striped red star", 0.2, 0.3),
    obj("small plain blue circle", 0.8, 0.25),
    obj("small striped orange cross", 0.3, 0.8),
    obj("small plain red star", 0.7, 0.75),
)
TRIO = scene_of(
    obj("large plain green square", 0.2, 0.2),
    obj("small plain blue circle", 0.8, 0.4),
    obj("small striped green heart", 0.5, 0.8),
)


# --- an independent reading of captions: phrases as word lists, every assignment tried ------------------------------


def split_caption(text: str) -> tuple[list[list[str]], str]:
    for link in (" and ", " left of ", " right of ", " above ", " below "):
        if link in text:
            return [part.split() for part in text.split(link)], link.strip()
    return [text.split()], ""


def holds(link: str, a: SceneObject, b: SceneObject) -> bool:
    return {"left of": a.x < b.x, "right of": a.x > b.x, "above": a.y < b.y, "below": a.y > b.y}.get(link, True)


def brute_force(scene: Scene, text: str) -> list[set[int]] | None:
    """The objects of each phrase over all fully true readings, None if there is none."""
    phrases, link = split_caption(text)
    options = []
    for phrase in phrases:
        need = {SINGULAR.get(word, word) for word in phrase[1:]}
        fits = [i for i, t in enumerate(scene.objects) if need <= set(t.words)]
        if phrase[0] in NUMBERS:
            options.append([tuple(fits)] if len(fits) == NUMBERS[phrase[0]] else [])
        else:
            options.append([(i,) for i in fits])
    readings = [
        reading
        for reading in product(*options)
        if len(reading) == 1
        or (
            not set(reading[0]) & set(reading[1])
            and holds(link, scene.objects[reading[0][0]], scene.objects[reading[1][0]])
        )
    ]
    return [set().union(*side) for side in zip(*readings, strict=True)] if readings else None


def expected_about(text: str, takes: list[set[int]]) -> tuple[tuple[int, ...], ...]:
    phrases, link = split_caption(text)
    found: list[tuple[int, ...]] = []
    for k, (phrase, take) in enumerate(zip(phrases, takes, strict=True)):
        if k:
            both = () if link == "and" else tuple(sorted(takes[0] | takes[1]))
            found += [both] * len(link.split())
        found += [tuple(sorted(take)) if phrase[0] in NUMBERS else ()]
        found += [tuple(sorted(take))] * (len(phrase) - 1)
    return tuple(found)


# --- captions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.seed))
def test_generated_captions_are_true_and_say_what_they_are_about(scene: Scene) -> None:
    made = make_captions(scene, 8)
    assert len(made) == 8 == len({caption.text for caption in made})
    for caption in made:
        takes = brute_force(scene, caption.text)
        assert takes is not None, caption.text
        assert all(check_words(scene, caption.text)), caption.text
        assert caption.about == expected_about(caption.text, takes) == find_word_objects(scene, caption.words), (
            caption.text
        )
        assert parse(caption.words).words == caption.words


@cache
def make_four_captions(scene: Scene) -> tuple[Caption, ...]:
    return tuple(make_captions(scene, 4))


@pytest.mark.parametrize("scene", SCENES[:60], ids=lambda scene: str(scene.seed))
def test_a_caption_of_another_scene_is_all_true_only_if_brute_force_says_so(scene: Scene) -> None:
    verdicts: Counter[bool] = Counter()
    for other in SCENES[scene.seed % 2 : 60 : 2]:
        for caption in make_four_captions(other):
            words = check_words(scene, caption.words)
            about = find_word_objects(scene, caption.text)
            takes = brute_force(scene, caption.text)
            assert all(words) == (takes is not None), caption.text
            if takes is not None:
                assert about == expected_about(caption.text, takes)
            for flag, objects in zip(words, about, strict=True):
                assert flag or not objects
            verdicts[all(words)] += 1
    assert verdicts[False] > 0


def test_generated_relations_are_clear() -> None:
    """At least one pair that fits stands apart by the margin, along the axis that separates it most."""
    seen: set[str] = set()
    for scene in SCENES:
        for caption in make_captions(scene, 8):
            phrases, link = split_caption(caption.text)
            if link in ("", "and"):
                continue
            seen.add(link)
            clear = []
            for a, b in permutations(scene.objects, 2):
                if set(phrases[0][1:]) <= set(a.words) and set(phrases[1][1:]) <= set(b.words):
                    along, across = abs(a.x - b.x), abs(a.y - b.y)
                    if link in ("above", "below"):
                        along, across = across, along
                    clear.append(holds(link, a, b) and along >= MARGIN and along >= across)
            assert any(clear), (caption.text, scene.objects)
    assert seen == {"left of", "right of", "above", "below"}


def test_mix_of_captions() -> None:
    links: Counter[str] = Counter()
    sizes = striped = striped_said = plain = plain_said = 0
    scenes = [random_scene(seed) for seed in range(1, 1200, 2)]
    for scene in scenes:
        for caption in make_captions(scene, 5):
            phrases, link = split_caption(caption.text)
            counted = any(phrase[0] in NUMBERS for phrase in phrases)
            links["plural" if counted else link if link in ("", "and") else "relation"] += 1
            if counted:
                continue
            for phrase in phrases:
                is_striped = {t.texture for t in scene.objects if t.pair == (phrase[-2], phrase[-1])}
                sizes += bool(set(phrase) & set(SIZES))
                if is_striped == {"striped"}:
                    striped, striped_said = striped + 1, striped_said + ("striped" in phrase)
                if is_striped == {"plain"}:
                    plain, plain_said = plain + 1, plain_said + ("plain" in phrase)
    total = links.total()
    assert 0.6 < links["relation"] / total < 0.72  # scenes without a plural fall back to relations
    assert 0.11 < links["and"] / total < 0.20
    assert 0.07 < links[""] / total < 0.13
    assert 0.03 < links["plural"] / total <= 0.11
    assert 0.75 < striped_said / striped < 0.85
    assert 0.11 < plain_said / plain < 0.22  # captions that differ push the rare word up a little
    assert sizes > 0.5 * (striped + plain)


def test_captions_are_reproducible_and_depend_on_every_seed() -> None:
    scene = SCENES[1]
    twin = Scene(scene.split, scene.seed, scene.objects, scene.background, 0, 0.0)
    assert make_captions(scene, 5, seed=3) == make_captions(twin, 5, seed=3)
    assert make_captions(scene, 3, seed=3) == make_captions(scene, 5, seed=3)[:3]
    others = [
        make_captions(scene, 5, seed=4),
        make_captions(Scene("val", scene.seed, scene.objects, "linen", 0, 0.0), 5, seed=3),
        make_captions(Scene("train", scene.seed + 2, scene.objects, "linen", 0, 0.0), 5, seed=3),
    ]
    assert all(other != make_captions(scene, 5, seed=3) for other in others)
    assert scene.captions(4, seed=2) == make_captions(scene, 4, seed=2)


def test_a_scene_gives_all_the_captions_it_has_and_no_more() -> None:
    lonely = scene_of(obj("large striped orange heart", 0.5, 0.5))
    assert sorted(caption.text for caption in make_captions(lonely, 99)) == [
        "a large orange heart",
        "a large striped orange heart",
        "a striped orange heart",
        "an orange heart",
    ]
    assert make_captions(lonely, 0) == ()
    assert make_captions(scene_of(), 5) == ()
    twins = scene_of(obj("large plain red cross", 0.2, 0.5), obj("large plain red cross", 0.8, 0.5))
    texts = {caption.text for caption in make_captions(twins, 999)}
    assert {"two crosses", "two red crosses", "a red cross left of a large plain red cross"} <= texts
    assert len(texts) == 4 + 16 + 2 * 16 + 2  # one, one and the other, two relations, two plurals
    with pytest.raises(ValueError, match="0 or more"):
        make_captions(twins, -1)


@pytest.mark.parametrize(
    ("text", "false"),
    [
        ("a large striped red star left of a small plain blue circle", ""),
        ("a red star", ""),
        ("a small plain red star", ""),
        ("an orange cross below a blue circle", ""),
        ("two red stars", ""),
        ("two stars and an orange cross", ""),
        ("an orange cross and two stars", ""),
        ("a red star and a red star", ""),
        ("a red star above a red star", ""),
        # swapped words
        ("a small striped red star", "1"),  # large and striped 0 or small and plain 3: the first of the two that tie
        ("a large plain orange cross", "1 2"),
        ("an orange star", "1"),
        ("a green star", "1"),
        ("a blue cross", "0 2"),  # the circle is blue, the cross is not: 1 comes first
        ("a purple triangle", "0 1 2"),
        # relations
        ("a large red star right of a blue circle", "4 5"),
        ("a large red star below a blue circle", ""),  # by 0.05
        ("a blue circle below a large red star", "3"),
        ("a blue circle below an orange cross", "3"),
        ("a purple triangle left of a blue circle", "0 1 2 3 4"),
        ("an orange cross left of a green star", "6"),  # read as star 3, of which the relation is true
        ("a large striped red star left of a small plain green circle", "10"),
        # "and"
        ("a red star and a green circle", "3 5"),
        ("a blue circle and a blue circle", "3 4 5 6"),  # the second takes another object, none of it fits
        (
            "a blue circle and a small blue circle",
            "3 4 6 7",
        ),  # the first phrase takes the circle, the second a small object
        # counting
        ("three red stars", "0"),
        ("two blue stars", "0 1"),
        ("two circles", "0"),
        ("two green hearts", "0 1 2"),
        ("two red hearts", "0 2"),
        ("four stars", "0"),
        ("two stars and a red star", "0 2"),
        ("two red stars and two stars", "3 4 5"),
    ],
)
def test_true_words_by_hand(text: str, false: str) -> None:
    words = check_words(STILL, text)
    assert len(words) == len(text.split())
    assert " ".join(str(i) for i, flag in enumerate(words) if not flag) == false
    assert words == check_words(STILL, text.split()) == STILL.true_words(text)


@pytest.mark.parametrize(
    ("text", "objects"),
    [
        ("a red star", [(), (0, 3), (0, 3)]),
        ("a large red star", [(), (0,), (0,), (0,)]),
        ("an orange cross left of a small red star", [(), (2,), (2,), (2, 3), (2, 3), (), (3,), (3,), (3,)]),
        ("a red star left of a blue circle", [(), (0, 3), (0, 3), (0, 1, 3), (0, 1, 3), (), (1,), (1,)]),
        ("a red star above an orange cross", [(), (0, 3), (0, 3), (0, 2, 3), (), (2,), (2,)]),
        ("a red star left of an orange cross", [(), (0,), (0,), (0, 2), (0, 2), (), (2,), (2,)]),
        ("two red stars", [(0, 3), (0, 3), (0, 3)]),
        ("three red stars", [(), (0, 3), (0, 3)]),
        ("two stars and a blue circle", [(0, 3), (0, 3), (), (), (1,), (1,)]),
        ("a blue star", [(), (), (0, 3)]),  # object 0 comes before the blue circle
        ("a blue circle and a blue circle", [(), (1,), (1,), (), (), (), ()]),
        ("a large blue circle right of a red star", [(), (), (1,), (1,), (0, 1, 3), (0, 1, 3), (), (0, 3), (0, 3)]),
        ("a purple triangle", [(), (), ()]),
        ("an orange cross left of a green star", [(), (2,), (2,), (2, 3), (2, 3), (), (), (3,)]),
    ],
)
def test_about_by_hand(text: str, objects: list[tuple[int, ...]]) -> None:
    assert find_word_objects(STILL, text) == tuple(objects)


@pytest.mark.parametrize("attribute", range(4))
def test_swapping_an_attribute_of_a_lone_object_makes_exactly_that_word_false(attribute: int) -> None:
    groups = (SIZES, TEXTURES, COLOURS, SHAPES)
    scene = scene_of(obj("large striped red star", 0.5, 0.5), obj("small plain blue circle", 0.1, 0.1))
    for word in groups[attribute]:
        words = ["a", "large", "striped", "red", "star"]
        expected = [True] * 5
        expected[attribute + 1] = words[attribute + 1] == word
        expected[0] = expected[4]
        words[attribute + 1] = word
        assert list(check_words(scene, words)) == expected


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a orange star", r"at word 1, 'a': expected 'an' before 'orange'"),
        ("an red star", r"at word 1, 'an': expected 'a' before 'red'"),
        ("an large orange star", r"at word 1, 'an': expected 'a' before 'large'"),
        ("a red star left a blue circle", r"at word 5, 'a': expected 'of'"),
        ("a red star left of", r"at the end: expected 'a' or 'an'\."),
        ("two stars left of a red star", r"at word 3, 'left': expected the end or 'and'"),
        ("a red star left of two circles", r"at word 6, 'two': expected 'a' or 'an'\."),
        ("two large stars", r"at word 2, 'large': expected a colour or 'circles'"),
        ("two red star", r"at word 3, 'star': expected 'circles'"),
        ("a star", r"at word 2, 'star': expected 'red' or 'orange'"),
        ("a striped large red star", r"at word 3, 'large'"),
        ("a red star and a red star and a red star", r"at word 8, 'and': expected the end"),
        ("a red dog", r"at word 3, 'dog': expected 'circle'"),
        ("A red star", r"at word 1, 'A'"),
        ("", r"is outside the grammar at the end: expected 'a'"),
    ],
)
def test_captions_outside_the_grammar(text: str, says: str) -> None:
    for check in (parse, lambda text: check_words(STILL, text), lambda text: find_word_objects(STILL, text.split())):
        with pytest.raises(ValueError, match=says) as error:
            check(text)
    with pytest.raises(ValueError, match="The grammar accepts 'NP', 'NP and NP' or 'NP REL NP'") as error:
        parse(text)
    assert repr(text) in str(error.value)


@pytest.mark.extended
def test_vocabularies_are_exactly_what_is_said() -> None:
    said: set[str] = set()
    asked: set[str] = set()
    answers: set[str] = set()
    four = scene_of(*(obj("large plain red star", 0.1 + 0.2 * k, 0.5) for k in range(4)))
    for scene in [*SCENES, *(random_scene(seed) for seed in range(1001, 2600, 2)), four]:
        said.update(word for caption in make_captions(scene, 6) for word in caption.words)
        for question in make_questions(scene, 9):
            asked.update(question.text.split())
            answers.add(question.answer)
    assert said == set(CAPTION_WORDS)
    assert asked == set(QUESTION_WORDS)
    assert answers == set(ANSWERS)
    assert list(CAPTION_WORDS) == sorted(set(CAPTION_WORDS))
    assert list(QUESTION_WORDS) == sorted(set(QUESTION_WORDS))
    assert len(set(ANSWERS)) == len(ANSWERS) == 6 + 6 + 2 + 2 + 2 + 5


# --- questions ------------------------------------------------------------------------------------------------------


def fits(scene: Scene, *words: str) -> list[int]:
    return [i for i, t in enumerate(scene.objects) if set(words) <= set(t.words)]


def verify(scene: Scene, question: Question) -> None:
    """The record's promises, worked out from the words of the text alone."""
    words = question.text.split()
    objects, kind = scene.objects, question.kind
    if kind in ("colour", "shape", "size", "texture"):
        (one,) = fits(scene, *(word for word in words[4:] if word != "thing"))
        assert question.answer == getattr(objects[one], kind)
        assert question.unique == question.involved == (one,)
    elif kind == "exists":
        found = fits(scene, *words[3:])
        assert question.answer == ("yes" if found else "no")
        assert list(question.unique) == list(question.involved) == found
    elif kind == "count":
        found = fits(scene, SINGULAR.get(words[2], words[2]))
        assert question.answer == str(len(found))
        assert list(question.unique) == list(question.involved) == found
    elif kind in ("left", "above"):
        cut = words.index("or")
        (a,), (b,) = fits(scene, *words[words.index("the") + 1 : cut]), fits(scene, *words[cut + 2 :])
        axis = "x" if kind == "left" else "y"
        assert abs(getattr(objects[a], axis) - getattr(objects[b], axis)) >= OFFSET
        winner = min(a, b, key=lambda i: getattr(objects[i], axis))
        assert objects[a].shape != objects[b].shape
        assert (question.answer, question.unique) == (objects[winner].shape, (winner,))
        assert question.involved == tuple(sorted((a, b)))
        for part, one in ((words[words.index("the") + 1 : cut], a), (words[cut + 2 :], b)):
            assert len(part) == 1 + (len(fits(scene, objects[one].shape)) > 1)
    else:
        (one,) = fits(scene, *words[7:])
        (other,) = set(fits(scene, objects[one].colour)) - {one}
        assert (question.answer, question.unique) == (objects[other].shape, (other,))
        assert question.involved == tuple(sorted((one, other)))


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: str(scene.seed))
def test_generated_questions_are_right_and_round_trip(scene: Scene) -> None:
    made = make_questions(scene, 12)
    assert len(made) == 12 == len({question.text for question in made})
    for question in made:
        verify(scene, question)
        assert answer(scene, question.text) == question
        assert question.answer in ANSWERS
    first = [question.kind for question in made]
    kinds = len(set(first))
    assert len(set(first[:kinds])) == kinds  # one of each kind first


def test_kinds_are_asked_evenly() -> None:
    kinds = Counter(question.kind for scene in SCENES[1::2] for question in make_questions(scene, 9))
    assert set(kinds) == set(QUESTION_KINDS)
    always = [kinds[kind] for kind in ("exists", "count")]
    assert min(always) >= 150
    assert max(kinds.values()) < 1.5 * 150


def test_every_kind_that_the_scene_allows_is_asked() -> None:
    for seed in range(60):
        assert {question.kind for question in make_questions(TRIO, 9, seed=seed)} == set(QUESTION_KINDS)
        assert {question.kind for question in make_questions(STILL, 9, seed=seed)} == set(QUESTION_KINDS) - {"same"}
    lonely = scene_of(obj("large striped orange heart", 0.5, 0.5))
    assert {question.kind for question in make_questions(lonely, 9)} == set(QUESTION_KINDS) - {"left", "above", "same"}
    assert make_questions(scene_of(), 5) == ()
    assert make_questions(STILL, 0) == ()
    with pytest.raises(ValueError, match="0 or more"):
        make_questions(STILL, -1)


@pytest.mark.extended
def test_exists_is_balanced_and_its_negatives_are_hard() -> None:
    answers: Counter[str] = Counter()
    short = near = no = 0
    for seed in range(1, 2400, 2):
        scene = random_scene(seed)
        for question in make_questions(scene, 9):
            if question.kind == "exists":
                answers[question.answer] += 1
                words = question.text.split()[3:]
                short += len(words) == 2
                if question.answer == "no":
                    no += 1
                    near += any(len(set(words) - set(t.words)) == 1 for t in scene.objects)
                    assert (words[-2], words[-1]) not in UNSEEN_PAIRS
    assert 0.45 < answers["yes"] / answers.total() < 0.55
    assert 0.75 < short / answers.total() < 0.85
    assert near / no > 0.8
    small = [scene for scene in map(random_scene, range(1, 2400, 2)) if len(scene.objects) == 2]
    more = Counter(q.answer for scene in small for q in make_questions(scene, 16) if q.kind == "exists")
    assert 0.46 < more["yes"] / more.total() < 0.54  # also where a scene has few questions
    unseen = [random_scene(seed, "unseen") for seed in range(1, 800, 2)]
    made = [question for scene in unseen for question in make_questions(scene, 9)]
    denied = {tuple(q.text.split()[-2:]) for q in made if (q.kind, q.answer) == ("exists", "no")}
    assert denied & set(UNSEEN_PAIRS)


@pytest.mark.extended
def test_counts_are_spread() -> None:
    made = [question for seed in range(1, 2400, 2) for question in make_questions(random_scene(seed), 9)]
    counts = Counter(question.answer for question in made if question.kind == "count")
    assert counts["0"] / counts.total() < 0.22
    assert (counts["2"] + counts["3"] + counts["4"]) / counts.total() > 0.4


def test_questions_are_reproducible_and_depend_on_every_seed() -> None:
    scene = SCENES[1]
    twin = Scene(scene.split, scene.seed, scene.objects, "wood", 5, 1.0)
    assert make_questions(scene, 8, seed=3) == make_questions(twin, 8, seed=3)
    assert make_questions(scene, 4, seed=3) == make_questions(scene, 8, seed=3)[:4]
    assert make_questions(scene, 8, seed=3) != make_questions(scene, 8, seed=4)
    assert make_questions(scene, 8, seed=3) != make_questions(
        Scene("val", scene.seed, scene.objects, "linen", 0, 0.0), 8, seed=3
    )
    assert make_questions(scene, 8, seed=3) != make_questions(
        Scene("train", 99, scene.objects, "linen", 0, 0.0), 8, seed=3
    )
    assert scene.questions(4, seed=2) == make_questions(scene, 4, seed=2)


@pytest.mark.parametrize(
    ("text", "kind", "expected", "unique", "involved"),
    [
        ("what colour is the circle", "colour", "blue", (1,), (1,)),
        ("what colour is the large star", "colour", "red", (0,), (0,)),
        ("what colour is the small plain star", "colour", "red", (3,), (3,)),
        ("what shape is the orange thing", "shape", "cross", (2,), (2,)),
        ("what shape is the small red thing", "shape", "star", (3,), (3,)),
        ("what size is the circle", "size", "small", (1,), (1,)),
        ("what size is the orange cross", "size", "small", (2,), (2,)),
        ("what texture is the cross", "texture", "striped", (2,), (2,)),
        ("what texture is the blue circle", "texture", "plain", (1,), (1,)),
        ("is there a red star", "exists", "yes", (0, 3), (0, 3)),
        ("is there a large striped red star", "exists", "yes", (0,), (0,)),
        ("is there an orange cross", "exists", "yes", (2,), (2,)),
        ("is there a blue star", "exists", "no", (), ()),
        ("is there a large blue circle", "exists", "no", (), ()),
        ("how many red things are there", "count", "2", (0, 3), (0, 3)),
        ("how many crosses are there", "count", "1", (2,), (2,)),
        ("how many striped things are there", "count", "2", (0, 2), (0, 2)),
        ("how many hearts are there", "count", "0", (), ()),
        ("which is further left the cross or the circle", "left", "cross", (2,), (1, 2)),
        ("which is further left the circle or the cross", "left", "cross", (2,), (1, 2)),
        ("which is higher the cross or the blue circle", "above", "circle", (1,), (1, 2)),
    ],
)
def test_answers_by_hand(
    text: str, kind: str, expected: str, unique: tuple[int, ...], involved: tuple[int, ...]
) -> None:
    assert answer(STILL, text) == Question(kind, text, expected, unique, involved)


def test_same_by_hand() -> None:
    text = "what is the same colour as the heart"
    assert answer(TRIO, text) == Question("same", text, "square", (0,), (0, 2))
    assert answer(TRIO, "what is the same colour as the green square").answer == "heart"
    with pytest.raises(ValueError, match="no other objects of the scene are blue"):
        answer(TRIO, "what is the same colour as the circle")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("what colour is the star", "2 objects of the scene fit 'the star'"),
        ("what colour is the heart", "no objects of the scene fit 'the heart'"),
        ("what shape is the red thing", "2 objects of the scene fit 'the red thing'"),
        ("what size is the blue cross", "no objects of the scene fit 'the blue cross'"),
        ("which is higher the star or the circle", "2 objects of the scene fit 'the star'"),
        ("which is higher the red star or the red star", r"at word 10, 'star': expected 'circle' or"),
        ("is there a orange cross", r"at word 3, 'a': expected 'an' before 'orange'"),
        ("is there a star", r"at word 4, 'star': expected 'red'"),
        ("what shape is the red star", r"at word 6, 'star': expected 'thing'"),
        ("how many plain things are there", r"at word 3, 'plain'"),
        ("how many red stars are there", r"at word 4, 'stars': expected 'things'"),
        ("how many stars are there here", r"at word 6, 'here': expected the end"),
        ("what colour is the circle ?", r"at word 6, '\?': expected the end"),
        ("what is this", r"at word 3, 'this': expected 'the'"),
        ("where is the star", r"at word 1, 'where': expected 'how' or 'is' or 'what' or 'which'"),
        ("", r"question '' is outside the grammar at the end"),
    ],
)
def test_questions_that_have_no_answer(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says) as error:
        answer(STILL, text)
    assert repr(text) in str(error.value)


def test_level_objects_and_large_counts_have_no_answer() -> None:
    scene = scene_of(
        *(obj("large plain red star", 0.1 * k, 0.5) for k in range(5)), obj("small plain blue circle", 0.9, 0.2)
    )
    with pytest.raises(ValueError, match="answers go up to 4"):
        answer(scene, "how many stars are there")
    assert all(question.answer != "5" for seed in range(20) for question in make_questions(scene, 9, seed=seed))
    level = scene_of(obj("large plain red star", 0.5, 0.1), obj("small plain blue circle", 0.5, 0.9))
    with pytest.raises(ValueError, match="exactly level"):
        answer(level, "which is further left the star or the circle")
    assert answer(level, "which is higher the star or the circle").answer == "star"
    assert "left" not in {question.kind for question in make_questions(level, 20)}
