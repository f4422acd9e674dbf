"""Any texts as classes: which ones a photo is compared with, and what they are called."""

from collections.abc import Sequence

from vlcam.contracts import InputError, Request, TargetError


def check_texts(labels: Sequence[str], template: str) -> None:
    """Raise InputError unless ``labels`` are texts, and ``template`` has one place for one of them."""
    if isinstance(labels, str):
        raise InputError(f"labels={labels!r} was given; expected a list of texts")
    if template.count("{}") != 1:
        raise InputError(f"template={template!r} was given; expected a text with one {{}} in place of the label")


def check_text_request(name: str, request: Request) -> None:
    """Raise InputError for what a model that compares photos with texts can't be asked."""
    if request.caption is not None or request.question is not None:
        raise InputError(
            "a zero-shot classifier takes neither a caption nor a question; ask for texts with targets= instead"
        )
    if request.prompt is not None:
        raise InputError(f"prompt={request.prompt!r} was given, but {name} takes no prompt; give it as template=")


def list_texts(name: str, labels: Sequence[str], request: Request) -> list[str]:
    """All texts that the photo is compared with, each once: the labels, then the others asked for. Raises InputError if there are none."""
    asked = (*request.labels, *(one for pair in request.contrasts for one in pair))
    texts = list(dict.fromkeys((*labels, *(find_text(one, labels) for one in asked))))
    if not texts:
        raise InputError(
            f"{name} has no classes of its own; give the texts to compare the photo with: targets=['a photo of a dog', ...] "
            "(--class), or labels= when opening it"
        )
    return texts


def find_text(wanted: str | int, labels: Sequence[str]) -> str:
    """The text that was asked for, given as a text or as the number of a label. Raises TargetError if there is none."""
    if isinstance(wanted, int):
        if not 0 <= wanted < len(labels):
            raise TargetError(
                f"text {wanted} was asked for; {len(labels)} labels were given, counted from 0: give the text"
            )
        return labels[wanted]
    if not wanted.strip():
        raise TargetError("an empty text was asked for; give the text to compare the photo with")
    return wanted
