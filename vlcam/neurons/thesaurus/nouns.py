"""The forms of names: as they are compared, of several things, and of one.

A stemmer is no help here: it makes "shelv" of shelves, and one word of building and build. A small table of irregular plurals and the
rules of spelling do, and only for names; nothing that a stemmer made is ever shown.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Final

_IRREGULAR: Final[Mapping[str, str]] = {
    "person": "people",
    "man": "men",
    "woman": "women",
    "child": "children",
    "ox": "oxen",
    "die": "dice",
    "foot": "feet",
    "tooth": "teeth",
    "goose": "geese",
    "mouse": "mice",
    "louse": "lice",
    "cactus": "cacti",
    "leaf": "leaves",
    "shelf": "shelves",
    "knife": "knives",
    "wolf": "wolves",
    "half": "halves",
    "calf": "calves",
    "loaf": "loaves",
    "scarf": "scarves",
    "wife": "wives",
    "life": "lives",
    "thief": "thieves",
    "elf": "elves",
    "hoof": "hooves",
    "potato": "potatoes",
    "tomato": "tomatoes",
    "mango": "mangoes",
    "mosquito": "mosquitoes",
    "buffalo": "buffaloes",
    "bus": "buses",
    "gas": "gases",
    "volcano": "volcanoes",
    "passer-by": "passers-by",
    "fungus": "fungi",
    "wharf": "wharves",
    "hero": "heroes",
    "quiz": "quizzes",
    "dwarf": "dwarves",
}
_ENDINGS: Final = ("man", "woman", "child", "shelf", "knife", "leaf", "wolf", "foot", "tooth", "goose", "wife")
_NO_MAN: Final = frozenset({"human", "german", "roman", "ottoman", "talisman", "shaman", "caiman"})
_UNCHANGED: Final = frozenset(
    re.findall(
        r"\S+",
        "sheep fish deer aircraft spacecraft hovercraft series species bison moose salmon shrimp swine offspring goldfish jellyfish "
        "starfish swordfish skis scissors trousers jeans shorts pants tights pyjamas glasses sunglasses eyeglasses spectacles "
        "binoculars headphones stairs steps clothes chopsticks fries sweets tongs pliers tweezers jewellery jewelry furniture "
        "clothing cutlery crockery tableware equipment luggage baggage electronics food water snow ice sand ground soil grass sky fog "
        "smoke rice bread meat pasta sushi butter milk tea coffee wine beer juice fur hair wool skin wood metal plastic paper "
        "cardboard leather rubber fabric linen concrete ceramic marble granite foliage seaweed moss bamboo text writing police "
        "people cattle traffic popcorn broccoli asparagus celery garlic lettuce cheese bacon ham toast soap money",
    )
)


def normalise_name(name: str) -> str:
    """A name as it is compared: small letters, blanks for underscores, without Broden's and Places' marks of scenes and colours.

    Of several names in one ("sea, ocean"; "person;individual") it is the first.

    >>> [normalise_name(name) for name in ("red-c", "street-s", "church_outdoor", "/c/church/outdoor", "T-Shirt", "sofa; couch")]
    ['red', 'street', 'church', 'church', 't-shirt', 'sofa']
    """
    return next((one for one in map(_normalise_one, re.split(r"\s*[;,]\s*", name)) if one), "")


def pluralise(noun: str) -> str:
    """Several of them; a noun that has no plural, or is one, stays as it is.

    >>> [pluralise(noun) for noun in ("red star", "bookshelf", "policeman", "chest of drawers", "grass", "scissors", "bush", "lady")]
    ['red stars', 'bookshelves', 'policemen', 'chests of drawers', 'grass', 'scissors', 'bushes', 'ladies']
    """
    head, preposition, rest = noun.partition(" of ")
    if preposition:
        return f"{pluralise(head)}{preposition}{rest}"
    before, blank, last = noun.rpartition(" ")
    return f"{before}{blank}{_pluralise_word(last)}"


def _normalise_one(name: str) -> str:
    words = re.sub(r"[\s_]+", " ", name.strip().lower())
    words = re.sub(r"^(?:/[a-z]/)+", "", words)
    return re.sub(r"(?: ?-[cs]| ?[ /](?:indoor|outdoor))+ ?$", "", words).strip()


def _pluralise_word(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if not word or word in _UNCHANGED or word in _IRREGULAR.values():
        return word
    for ending in _ENDINGS:
        if word.endswith(ending) and word not in _NO_MAN:
            return word.removesuffix(ending) + _IRREGULAR[ending]
    if re.search(r"(?:s|x|z|ch|sh)$", word):
        return f"{word}es"
    return f"{word[:-1]}ies" if re.search(r"[^aeiou]y$", word) else f"{word}s"


def list_singulars(name: str) -> Iterator[str]:
    """What a name may be the plural of: only names whose plural it is."""
    head, preposition, rest = name.partition(" of ")
    before, blank, last = head.rpartition(" ")
    guesses = [one for one, many in _IRREGULAR.items() if many == last]
    guesses += [
        last.removesuffix(_IRREGULAR[ending]) + ending for ending in _ENDINGS if last.endswith(_IRREGULAR[ending])
    ]
    guesses += [last[:-3] + "y"] if last.endswith("ies") else []
    guesses += [last[:-2]] if last.endswith("es") else []
    guesses += [last[:-1]] if last.endswith("s") else []
    yield from (
        f"{before}{blank}{one}{preposition}{rest}"
        for one in dict.fromkeys(guesses)
        if one and _pluralise_word(one) == last
    )
