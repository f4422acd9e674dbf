"""What a model is asked while its units are looked at."""

from dataclasses import replace
from typing import Any

from vlcam.contracts import InputError, Request, check_question, show_value


def make_request(
    task: Any, request: Request | None = None, *, question: str | None = None, prompt: str | None = None
) -> Request:
    """The request with a question and a prompt in it.

    Raises InputError if a question answerer is asked nothing, something is given twice, or a bare module is asked anything.
    """
    asked = Request() if request is None else request
    for option, value in {"question": question, "prompt": prompt}.items():
        known = getattr(asked, option)
        if value is None:
            continue
        if known not in (None, value):
            raise InputError(
                f"{option}={show_value(value)} and request= with {option}={show_value(known)} were given; give one of them"
            )
        changed: dict[str, Any] = {option: value}
        asked = replace(asked, **changed)
    if task.kind == "vqa":
        check_question(task.name, asked.question)
    if task.kind == "module" and (asked.question is not None or asked.prompt is not None):
        raise InputError(
            f"a question or a prompt was given, but {task.name} is a bare module, which is asked nothing; leave it out, or give a task"
        )
    return asked
