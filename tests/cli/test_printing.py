"""What a person reads in the terminal about one explanation."""

from dataclasses import replace
from typing import Any

import pytest

from tests.support.examples_of_explanations import captioning, certain, told, vqa, weighed
from vlcam.cli import printing
from vlcam.explanation.explanation import Explanation


def shown(capsys: pytest.CaptureFixture[str], explanation: Explanation) -> str:
    printing.show(explanation, sentences=0)
    return " ".join(capsys.readouterr().out.replace("\xa0", " ").split())


def test_nothing_more_than_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    for explanation in (captioning(), vqa()):
        text = shown(capsys, explanation)
        assert "nats" not in text and "ertain" not in text and "words of the question" not in text


def test_what_the_image_adds_and_what_is_nearly_certain(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, certain())
    assert "kite 77 % +0.8 nats upper right" in text
    assert "a 84 % −1.2 nats only evidence against" in text
    assert "barn 99.8 % +2.4 nats left nearly certain" in text
    assert "A 62 % centre" in text or "A 62 % spread out" in text
    assert text.count("nearly certain") == 2
    assert "Nearly certain: barn, the. Log-probabilities" in text and "--measure logit" in text
    assert text.count("Nats from the image.") == 1
    assert "+4.0 nats from the image" in text  # the whole caption


def test_the_words_of_the_question_for_the_first_answer(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, weighed())
    assert "words of the question, for red: What +0.02 colour +1.31 is −0.04 the +0.1 barn +0.9" in text
    assert "The layer was guessed. A second note." in text


def test_nothing_obeys_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    found = weighed()
    evil = replace(found, question="\x1b[31m colour is the barn", notes=("\x1b[2J gone",))
    assert "\x1b" not in shown(capsys, evil)


def test_gains_become_tables(capsys: pytest.CaptureFixture[str]) -> None:
    cell = {"auroc": 0.98, "interval": (0.97, 0.99)}
    row: dict[str, Any] = {"positives": 5, "negatives": 7, "blank": cell, "log-probability": {**cell, "auroc": 0.5}}
    measured = {"splits": {}, "gain": {"scenes": 9, "seen": {"all": row}, "true": {"colour words": row}}}
    printing.show_measured(measured)
    text = " ".join(capsys.readouterr().out.split())
    assert "AUROC, visible words against function words (9 scenes) n gain, blank log-probability" in text
    assert "colour words 5:7 0.980 (0.970-0.990) 0.500 (0.970-0.990)" in text


def test_texts_about_neurons_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    found = told()
    printed = {}
    for form in ("short", "full", "paper"):
        printing.show(found, sentences=20, form=form)
        printed[form] = " ".join(capsys.readouterr().out.replace("\xa0", " ").split())
    kite = found[2].neurons
    assert kite is not None
    assert '"kite" rests mainly on signs of kites (red kites), in spite of signs of barns.' in printed["short"]
    assert "unit" not in printed["short"] and "●" not in printed["short"]
    assert " ".join(kite.sentence.split()) in printed["full"]
    for line in (
        "● 0 kite +38 % sees: kite",
        "● 1 red kite +38 % sees: red kite",
        "◐ 4 dog +7.7 % fires too weakly to say",
        "○ 6 grass +7.7 % background: doesn't fire",
        "– 5 unnamed +14 % no name",
    ):
        assert line in printed["full"]
    assert "By the paper's ranking" in printed["paper"] and "●" not in printed["paper"]
