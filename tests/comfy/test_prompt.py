"""Submits: what ComfyUI may see of a client's body."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.prompt import (
    InvalidPromptId,
    Limits,
    NoOutputs,
    NoPrompt,
    Submission,
    from_execute,
    outgoing,
    parse,
)
from gateway.errors import InvalidPrompt, TooLarge

LIMITS = Limits()
NODE = {"class_type": "SaveImage", "inputs": {"images": ["1", 0]}}
GRAPH = {"1": {"class_type": "EmptyImage", "inputs": {}}, "3": NODE}
ID = "f8cf9c17-8ae5-4145-8b6e-e6d02c8eddbb"


def _parsed(**fields: Any) -> Submission:
    return parse(json.dumps({"prompt": GRAPH, **fields}).encode(), limits=LIMITS)


def _refused(body: object) -> InvalidPrompt:
    with pytest.raises(InvalidPrompt) as refusal:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode(), limits=LIMITS)
    assert refusal.value.status == 400
    assert refusal.value.message
    return refusal.value


def test_recorded_submits(exchanges: dict[str, dict[str, Any]]) -> None:
    """Every submit that a recorded ComfyUI accepted is accepted, with its own prompt, client id and extra data."""
    accepted = [line for line in exchanges.values() if line["request"]["path"] == "/prompt" and line["status"] == 200]
    submits = [line["request"]["json"] for line in accepted if line["request"]["method"] == "POST"]
    assert len(submits) > 10
    for body in submits:
        submission = parse(json.dumps(body).encode(), limits=LIMITS)
        assert submission.prompt == body["prompt"]
        assert submission.client_id == body.get("client_id")
        assert submission.extra_data == body.get("extra_data", {})
        assert submission.number == body.get("number")


def test_no_prompt(exchanges: dict[str, dict[str, Any]]) -> None:
    """Protocol 4.2: a body without `prompt` has ComfyUI's own error, word for word."""
    error = _refused({"client_id": "x"})
    assert isinstance(error, NoPrompt)
    body = error.body("id")
    assert {key: body[key] for key in ("error", "node_errors")} == exchanges["prompt.error.no_prompt"]["body"]["json"]


@pytest.mark.parametrize("body", [b"", b"{not json", b"null", b"[]", b'"x"', b"5", b"[" * 200_000, b'{"prompt":' * 100])
def test_no_object(body: bytes) -> None:
    """A body that is no JSON object is a 400 in ComfyUI's error shape, not the 500 that ComfyUI gives."""
    assert _refused(body).type == "invalid_prompt"


@pytest.mark.parametrize("prompt", [None, [], "x", 5, True])
def test_prompt_is_an_object(prompt: object) -> None:
    """Protocol 4.3: a prompt that is no object is refused."""
    assert _refused({"prompt": prompt}).type == "invalid_prompt"


def test_empty_prompt() -> None:
    """An empty prompt has ComfyUI's own error for it."""
    error = _refused({"prompt": {}})
    assert (type(error), error.type, error.message) == (NoOutputs, "prompt_no_outputs", "Prompt has no outputs")


@pytest.mark.parametrize(
    "node",
    [
        None,
        [],
        "SaveImage",
        5,
        {},
        {"class_type": "SaveImage"},
        {"class_type": "SaveImage", "inputs": None},
        {"class_type": "SaveImage", "inputs": []},
        {"class_type": "SaveImage", "inputs": "x"},
        {"inputs": {}},
        {"class_type": None, "inputs": {}},
        {"class_type": "", "inputs": {}},
        {"class_type": 5, "inputs": {}},
        {"class_type": ["SaveImage"], "inputs": {}},
        {"class_type": {"a": 1}, "inputs": {}},
    ],
)
def test_nodes(node: object) -> None:
    """D05: a node without inputs, or of another shape, is refused, with its id: it would stop ComfyUI's worker."""
    error = _refused({"prompt": {**GRAPH, "77": node}})
    assert error.type == "invalid_prompt"
    assert "77" in error.message


def test_nodes_are_copied() -> None:
    """Only what a client has business with stays of a node: ComfyUI takes `is_changed` from it for its cache."""
    node = {"is_changed": ["x"], "_meta": {"title": "Save"}, "override_display_id": "9", **NODE}
    assert _parsed(prompt={"3": node}).prompt == {"3": {**NODE, "_meta": {"title": "Save"}}}
    assert _parsed(prompt={"3": {**NODE, "_meta": None}}).prompt == {"3": NODE}


def test_node_count() -> None:
    """Security 2: 2,000 nodes are accepted, one more is not."""
    graph = {str(number): {"class_type": "X", "inputs": {}} for number in range(2001)}
    assert _refused({"prompt": graph}).extra_info == {"limit": 2000}
    del graph["0"]
    assert len(_parsed(prompt=graph).prompt) == 2000


def test_node_id_length() -> None:
    """An endless node id is refused, and is not repeated at full length."""
    error = _refused({"prompt": {"x" * 100_000: NODE}})
    assert len(error.message) + len(error.details) < 300


def test_chains() -> None:
    """Nodes that lead to no output kill ComfyUI's worker thread when their chain is long: 500 nodes are the limit."""
    chain: dict[str, Any] = {"c0": {"class_type": "EmptyImage", "inputs": {}}}
    for number in range(1, 501):
        chain[f"c{number}"] = {"class_type": "ImageInvert", "inputs": {"image": [f"c{number - 1}", 0]}}
    assert _refused({"prompt": {**GRAPH, **chain}}).extra_info == {"limit": 500}
    del chain["c500"]
    assert _parsed(prompt={**GRAPH, **chain}).prompt


@pytest.mark.parametrize(
    ("fields", "client_id"),
    [
        ({}, None),
        ({"client_id": None}, None),
        ({"client_id": "abc"}, "abc"),
        ({"client_id": ""}, ""),
        ({"client_id": 5}, "5"),
        ({"client_id": "x" * 3000}, "x" * 3000),
        ({"extra_data": {"client_id": "nested"}}, "nested"),
        ({"client_id": None, "extra_data": {"client_id": "nested"}}, "nested"),
        ({"client_id": "abc", "extra_data": {"client_id": "nested"}}, "abc"),
        ({"extra_data": {"client_id": {}}}, None),
        ({"extra_data": {"client_id": []}}, None),
        ({"extra_data": {"client_id": 5}}, None),
    ],
)
def test_client_id(fields: dict[str, Any], client_id: str | None) -> None:
    """Protocol 4.1: a text or an integer is the client id, or else the text in `extra_data`; it goes no further."""
    submission = _parsed(**fields)
    assert submission.client_id == client_id
    assert "client_id" not in submission.extra_data


@pytest.mark.parametrize("client_id", [{}, [], ["a"], {"a": 1}, True, False, 1.5, "x" * 3001])
def test_client_ids_that_kill(client_id: object) -> None:
    """D01: a client id of another type ends ComfyUI's process; it is refused here."""
    assert "client_id" in _refused({"prompt": GRAPH, "client_id": client_id}).message


def test_surrogate_client_id() -> None:
    """D01: half a surrogate pair is no text."""
    _refused(b'{"prompt": {"1": {"class_type": "X", "inputs": {}}}, "client_id": "\\ud800"}')


@pytest.mark.parametrize("extra_data", [5, None, [], "client_id", True])
def test_extra_data_is_an_object(extra_data: object) -> None:
    """D02: extra_data of another type is refused."""
    assert "extra_data" in _refused({"prompt": GRAPH, "extra_data": extra_data}).message


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
def test_number_constants(number: str) -> None:
    """D03: NaN and Infinity would make every queue and history unreadable; they are refused, as text too."""
    _refused(f'{{"prompt": {{"1": {{"class_type": "X", "inputs": {{}}}}}}, "number": {number}}}'.encode())
    _refused({"prompt": GRAPH, "number": number})


@pytest.mark.parametrize("number", [None, "x", "", "1_0", "\uff11", "nan", "1e999", [], {}, True, "0x10", "1 2"])
def test_wrong_numbers(number: object) -> None:
    """D03: a number that is none is refused, not the 500 that ComfyUI gives."""
    assert "number" in _refused({"prompt": GRAPH, "number": number}).message


@pytest.mark.parametrize(
    ("number", "value"),
    [(0, 0.0), (-1e9, -1e9), ("5", 5.0), (" -2.5 ", -2.5), (".5", 0.5), ("1e3", 1000.0), (2**63, 2.0**63)],
)
def test_numbers(number: object, value: float) -> None:
    """Protocol 4.1: numbers and numeric texts are remembered as given."""
    assert _parsed(number=number).number == value


@pytest.mark.parametrize(("front", "value"), [(True, True), (False, False), (None, False), (1, True), (0, False)])
def test_front(front: object, value: bool) -> None:
    """Protocol 4.1: front counts when it is true in the sense of ComfyUI."""
    assert _parsed(front=front).front is value


def test_prompt_id() -> None:
    """Contract: a canonical lower-case UUID of the client is kept, null is none."""
    assert _parsed(prompt_id=ID).prompt_id == ID
    assert _parsed(prompt_id=None).prompt_id is None
    assert _parsed().prompt_id is None


@pytest.mark.parametrize(
    "prompt_id",
    [
        ID.upper(),
        ID.replace("-", ""),
        f"{{{ID}}}",
        f"urn:uuid:{ID}",
        f"{ID}\n",
        f" {ID}",
        "",
        "None",
        "../x",
        5,
        [],
        {},
    ],
)
def test_other_prompt_ids(prompt_id: object) -> None:
    """Design §4.4: an id in another form is 400, with ComfyUI's own type."""
    error = _refused({"prompt": GRAPH, "prompt_id": prompt_id})
    assert (type(error), error.type) == (InvalidPromptId, "invalid_prompt_id")


@pytest.mark.parametrize("targets", [5, "3", {"3": 1}, [3], [None], [["3"]], True])
def test_wrong_targets(targets: object) -> None:
    """D10: partial_execution_targets is a list of node ids."""
    assert _refused({"prompt": GRAPH, "partial_execution_targets": targets}).type == "invalid_prompt"


def test_targets() -> None:
    """D10: null means all outputs, an empty list none, which is ComfyUI's own error; a million is too many."""
    assert _parsed(partial_execution_targets=None).targets is None
    assert _parsed(partial_execution_targets=["3"]).targets == ("3",)
    assert _refused({"prompt": GRAPH, "partial_execution_targets": []}).type == "prompt_no_outputs"
    _refused({"prompt": GRAPH, "partial_execution_targets": ["3"] * 1_000_000})


@pytest.mark.parametrize(
    ("given_info", "kept"),
    [
        (None, {}),
        ([], {}),
        ("x", {}),
        ({"workflow": None}, {"extra_pnginfo": {}}),
        ({"workflow": []}, {"extra_pnginfo": {}}),
        ({"workflow": {"id": "wf"}, "note": 1}, {"extra_pnginfo": {"workflow": {"id": "wf"}, "note": 1}}),
    ],
)
def test_pnginfo(given_info: object, kept: dict[str, Any]) -> None:
    """D06: extra_pnginfo and its workflow are objects or gone: else /api/jobs answers 500 to everybody."""
    assert _parsed(extra_data={"extra_pnginfo": given_info}).extra_data == kept


def test_extra_data_is_an_allow_list() -> None:
    """Security 4.3: what is not known of extra_data is dropped, the client's create_time too, and the order stays."""
    extra_data = {
        "workflow_metadata": {"a": 1},
        "create_time": 5,
        "sneaky": {"client_id": []},
        "preview_method": "latent2rgb",
        "comfy_usage_source": "comfyui-frontend",
        "extra_pnginfo": {"workflow": {}},
    }
    submission = _parsed(extra_data=extra_data, unknown={"a": 1})
    assert list(submission.extra_data) == [
        "workflow_metadata",
        "preview_method",
        "comfy_usage_source",
        "extra_pnginfo",
    ]
    assert _parsed(extra_data={"preview_method": {"a": 1}, "workflow_metadata": "x"}).extra_data == {}


def test_secrets_are_apart() -> None:
    """Design §4.10: secrets of extra_data are in nothing that is kept, shown or printed, only in what ComfyUI gets."""
    submission = _parsed(extra_data={"api_key_comfy_org": "sk-1", "auth_token_comfy_org": "at-2"})
    assert submission.secrets == {"api_key_comfy_org": "sk-1", "auth_token_comfy_org": "at-2"}
    assert submission.extra_data == {}
    assert "sk-1" not in repr(submission)
    sent = orjson.loads(outgoing(submission, prompt_id=ID, client_id="up", number=1, create=7))
    assert sent["extra_data"]["api_key_comfy_org"] == "sk-1"
    assert _parsed(extra_data={"api_key_comfy_org": None}).secrets == {}
    _refused({"prompt": GRAPH, "extra_data": {"api_key_comfy_org": {"a": 1}}})


def test_outgoing() -> None:
    """D11, Q13: ComfyUI gets a new body with our ids, our number, and nothing that the client only said."""
    submission = _parsed(
        client_id="browser", prompt_id=ID, number=-1e9, front=True, extra_data={"extra_pnginfo": {}}, other=1
    )
    sent = orjson.loads(outgoing(submission, prompt_id="ours", client_id="minted", number=3.5, create=1795))
    assert sent == {
        "prompt": GRAPH,
        "client_id": "minted",
        "prompt_id": "ours",
        "number": 3.5,
        "extra_data": {"extra_pnginfo": {}, "create_time": 1795},
    }
    partial = orjson.loads(
        outgoing(_parsed(partial_execution_targets=["3"]), prompt_id="", client_id="", number=0, create=0)
    )
    assert partial["partial_execution_targets"] == ["3"]


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_outgoing_number_is_finite(number: float) -> None:
    """Trap 2: not even by our own mistake is a number sent that makes the queue unreadable."""
    with pytest.raises(ValueError, match="finite"):
        outgoing(_parsed(), prompt_id=ID, client_id="x", number=number, create=0)


def test_execute() -> None:
    """Guides: `{"type": "execute", "data": workflow}` submits the workflow, for the socket's own client id."""
    for data in (GRAPH, {"prompt": GRAPH}, {"prompt": GRAPH, "client_id": "other"}):
        submission = from_execute(data, client_id="sid", limits=LIMITS)
        assert (submission.prompt, submission.client_id) == (GRAPH, "sid")
    # A node may be called "prompt".
    named = {"prompt": NODE, "1": GRAPH["1"]}
    assert from_execute(named, client_id="sid", limits=LIMITS).prompt == named


def test_execute_is_as_strict() -> None:
    """The same checks hold on the socket as on POST /prompt."""
    deep: Any = 1
    for _ in range(1000):
        deep = [deep]
    bodies: tuple[Any, ...] = (
        None,
        5,
        "x",
        [],
        {},
        {"prompt": {}},
        {"1": {"class_type": "X"}},
        {"prompt": GRAPH, "number": "x"},
        deep,
    )
    for data in bodies:
        with pytest.raises(InvalidPrompt):
            from_execute(data, client_id="sid", limits=LIMITS)
    with pytest.raises(TooLarge):
        from_execute({"1": {"class_type": "X", "inputs": {"a": "b" * 100}}}, client_id="s", limits=Limits(max_bytes=50))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.sampled_from(["", "3", "x"]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(["class_type", "inputs", "workflow", "client_id", "extra_pnginfo"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)
FIELDS = ("prompt", "client_id", "number", "front", "prompt_id", "extra_data", "partial_execution_targets", "zzz")


@given(st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5), st.booleans())
def test_what_is_sent_is_always_safe(body: dict[str, Any], sound: bool) -> None:
    """Protocol 4.3: whatever a client sends, ComfyUI sees nothing, or a body of safe shapes only."""
    if sound:
        body = {**body, "prompt": GRAPH}
    try:
        submission = parse(json.dumps(body).encode(), limits=LIMITS)
    except InvalidPrompt:
        return
    sent = orjson.loads(outgoing(submission, prompt_id=ID, client_id="minted", number=1.0, create=1))
    assert set(sent) - {"partial_execution_targets"} == {"prompt", "client_id", "prompt_id", "number", "extra_data"}
    assert sent["client_id"] == "minted"
    assert "client_id" not in sent["extra_data"]
    assert isinstance(sent["extra_data"].get("extra_pnginfo", {}), dict)
    assert isinstance(sent["extra_data"].get("extra_pnginfo", {}).get("workflow", {}), dict)
    assert all(
        isinstance(node["class_type"], str) and isinstance(node["inputs"], dict) for node in sent["prompt"].values()
    )
    assert all(isinstance(name, str) for name in sent.get("partial_execution_targets", []))
