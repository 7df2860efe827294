"""What a member may read of ComfyUI's errors, on what both versions said and on what they can say."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.clean_errors import REMOVED, Reader, refusal, told
from gateway.comfy.files import Root
from gateway.comfy.graph_policy import Policy
from gateway.comfy.node_class import NodeClass, describe

KEY, OTHER = "0123456789abcdef" * 2, "f" * 32
MEMBER = Reader(Root(KEY))
ADMIN = Reader(Root(KEY), admin=True)
Classes = dict[str, NodeClass]


@pytest.fixture
def classes(object_info: dict[str, Any]) -> Classes:
    return {name: describe(entry) for name, entry in object_info.items()}


def cleaned(body: Any, classes: Classes, reader: Reader = MEMBER, policy: Policy | None = None) -> Any:
    return refusal(body, reader, classes=classes, model_allowed=(policy or Policy()).permits_model)


def not_in_list(class_type: str, name: str, value: str, options: list[str], *, output: bool = False) -> dict[str, Any]:
    """ComfyUI's answer, in the form of a list of at most twenty choices."""
    details = f"{name}: '{value}' not in {options}"
    info = {"input_name": name, "input_config": [options, {"image_upload": True}], "received_value": value}
    error = {"type": "value_not_in_list", "message": "Value not in list", "details": details, "extra_info": info}
    return {
        "error": {
            "type": "prompt_outputs_failed_validation",
            "message": "Prompt outputs failed validation",
            "details": f"Value not in list: {details}" if output else "",
            "extra_info": {},
        },
        "node_errors": {"1": {"errors": [error], "dependent_outputs": ["2"], "class_type": class_type}},
    }


def test_what_names_nothing_stays(exchanges: dict[str, dict[str, Any]], classes: Classes) -> None:
    """The recorded answers to wrong prompts name no path and no list, and reach a member as they are."""
    answers = [entry for name, entry in exchanges.items() if name.startswith("prompt.error")]
    bodies = [answer["body"]["json"] for answer in answers if answer["status"] == 400]
    assert len(bodies) > 4
    assert [cleaned(body, classes) for body in bodies] == bodies


@pytest.mark.parametrize("output", [False, True])
def test_lists_of_files_are_removed(classes: Classes, output: bool) -> None:
    """I33: `value_not_in_list` says what was wrong, and not what others have, in the summary neither."""
    body = not_in_list("LoadImage", "image", f"users/{KEY}/a.png", ["zz-bob.png", "zz-eve.png"], output=output)
    left = cleaned(body, classes)
    assert "zz-" not in json.dumps(left) and KEY not in json.dumps(left)
    error = left["node_errors"]["1"]["errors"][0]
    assert error["details"] == "image: 'a.png' not in (list of what you may use)"
    assert error["extra_info"] == {"input_name": "image", "input_config": None, "received_value": "a.png"}
    assert ("image: 'a.png'" in left["error"]["details"]) is output


def test_other_lists_stay(classes: Classes) -> None:
    """The list of samplers helps whoever wrote one wrong."""
    body = not_in_list("KSampler", "sampler_name", "elur", ["euler", "dpm_2"], output=True)
    assert cleaned(body, classes) == body


def test_lists_of_models_are_filtered(classes: Classes) -> None:
    """A model that the role may not load is not listed; the others are, in the same words."""
    body = not_in_list("CheckpointLoaderSimple", "ckpt_name", "x", ["private/zz.ckpt", "b.ckpt"])
    error = cleaned(body, classes, policy=Policy(models_denied=("*/private/*",)))["node_errors"]["1"]["errors"][0]
    assert error["details"] == "ckpt_name: 'x' not in ['b.ckpt']"
    assert error["extra_info"]["input_config"][0] == ["b.ckpt"] and "private" not in json.dumps(error)


@pytest.mark.parametrize("class_type", ["Unknown", "LabFail"])
def test_lists_of_packs_are_removed(classes: Classes, class_type: str) -> None:
    """Nobody knows what a pack lists, so no list of a pack or of an unknown class is shown."""
    assert "zz-bob" not in json.dumps(cleaned(not_in_list(class_type, "x", "y", ["zz-bob.png"]), classes))


def test_every_error_with_a_list(classes: Classes) -> None:
    """Other errors of a picker repeat its whole declaration too."""
    body = not_in_list("LoadImage", "image", "a", ["zz-bob.png"])
    body["node_errors"]["1"]["errors"][0].update(type="bad_linked_input", details="image")
    error = cleaned(body, classes)["node_errors"]["1"]["errors"][0]
    assert (error["details"], error["extra_info"]["input_config"]) == ("image", None)


def test_tracebacks_are_removed(classes: Classes) -> None:
    """I33: a validation that raised shows what it said and not where; a 200 with errors is cleaned alike."""
    info = {
        "input_name": "x",
        "exception_type": "OSError",
        "traceback": ['  File "/opt/ComfyUI/execution.py", line 1\n'],
    }
    error = {
        "type": "exception_during_validation",
        "details": "no /srv/x/a.png\nTraceback (most recent call last):\n f",
    }
    body = {"node_errors": {"1": {"errors": [{**error, "extra_info": info}], "class_type": "KSampler"}}}
    left = cleaned(body, classes)["node_errors"]["1"]["errors"][0]
    assert left["details"] == "no a.png" and left["extra_info"]["traceback"] == []


def failure(frames: list[str | bytes]) -> dict[str, Any]:
    parsed = (json.loads(frame) for frame in frames if isinstance(frame, str))
    return next(frame["data"] for frame in parsed if frame["type"] == "execution_error")


def test_a_failed_job(frames: list[str | bytes]) -> None:
    """I33: of the recorded `execution_error` a member gets everything but the traceback, which is an empty list."""
    recorded = failure(frames)
    assert recorded["traceback"] and "/opt/ComfyUI" in json.dumps(recorded)
    assert told(recorded, MEMBER) == {**recorded, "traceback": []}
    assert told(recorded, ADMIN) == recorded


def test_history_messages(frames: list[str | bytes]) -> None:
    """The same error inside the messages of a history entry."""
    status = {"status_str": "error", "messages": [["execution_error", failure(frames)]]}
    assert told(status, MEMBER)["messages"][0][1]["traceback"] == []


def test_others_files_with_blanks() -> None:
    """A path of the host with another's root in it leaves not even half of the file's name."""
    text = f"cannot open '/srv/in put/users/{OTHER}/her holiday.png' or /opt/input/users/{OTHER}/zz her.png"
    left = told({"exception_message": text}, MEMBER)["exception_message"]
    assert "hol" not in left and "zz" not in left and OTHER not in left and "/srv" not in left


@pytest.mark.parametrize("reader", [Reader(Root(KEY), secrets=("s3cret",)), Reader(Root(KEY), True, ("s3cret", ""))])
def test_secrets_are_seen_by_nobody(reader: Reader) -> None:
    """Keys that came with the prompt are in no error, by value or by name; administrators see the rest."""
    data = {"current_inputs": {"auth_token": ["other"], "x": ["a s3cret b"]}, "traceback": ["/srv/x s3cret"]}
    left = told(data, reader)
    assert "s3cret" not in json.dumps(left) and "other" not in json.dumps(left)
    assert left["current_inputs"] == {"x": [f"a {REMOVED} b"]}
    assert left["traceback"] == ([f"/srv/x {REMOVED}"] if reader.admin else [])


def test_secrets_are_not_in_the_reader_s_own_words() -> None:
    """A reader that is logged shows no secret."""
    assert "s3cret" not in repr(Reader(Root(KEY), secrets=("s3cret",)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["details", "image", f"users/{OTHER}/zz.png"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["error", "node_errors", "errors", "extra_info", "input_config", "details", "traceback"])
            | st.sampled_from(["input_name", "class_type", "type", "options"]),
            inner | st.sampled_from(["value_not_in_list", "LoadImage", "image"]),
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_is_said(body: Any) -> None:
    """Nothing raises on words of any shape, and no other root is left in them."""
    classes = {"LoadImage": describe({"name": "LoadImage", "python_module": "nodes"})}
    assert OTHER not in json.dumps(cleaned(body, classes))
