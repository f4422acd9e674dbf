"""The JSON document of many photos: one line, the same whether it has one result or many, and no photo kept in memory."""

import io
import json

import pytest

import vlcam
from vlcam.cli.document import GrowingDocument
from vlcam.explanation.explanation import Explanation
from vlcam.explanation.json_document import describe_explanation
from vlcam.files import dump_json


@pytest.fixture(scope="module")
def explanations() -> list[Explanation]:
    task = vlcam.load("scenes/classifier")
    return [vlcam.explain(task, vlcam.scenes.make(seed).image(96), top_k=1) for seed in (1, 2, 3)]


@pytest.mark.parametrize("count", [0, 1, 3])
@pytest.mark.parametrize("with_files", [True, False])
def test_a_document_holds_each_result_with_its_files(
    explanations: list[Explanation], count: int, with_files: bool
) -> None:
    document, out = GrowingDocument(io.StringIO()), io.StringIO()
    for number, one in enumerate(explanations[:count]):
        document.add(f"café\n{number}.png", one)
    files = [{"figure": f"{number}.png"} for number in range(count)] if with_files else None
    document.write(out, [("gone\udcff.png", 'there is no "file"')], files)
    assert out.getvalue().count("\n") == 1 and out.getvalue().isascii()
    found = json.loads(out.getvalue())
    assert list(found) == ["schema", "vlcam", "results", "errors"]
    assert [one["error"] for one in found["errors"]] == ['there is no "file"']
    for number, (result, one) in enumerate(zip(found["results"], explanations[:count], strict=True)):
        own = {"source": f"café\n{number}.png", **json.loads(dump_json(describe_explanation(one)))}
        if with_files:
            own["files"] = {"figure": f"{number}.png"}
        assert result == own


def test_what_was_added_is_in_the_store_alone(explanations: list[Explanation]) -> None:
    document = GrowingDocument(store := io.StringIO())
    for one in explanations:
        document.add("a.png", one)
    assert store.getvalue().count("\n") == 3
    assert vars(document) == {"_store": store}
