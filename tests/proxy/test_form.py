"""Forms, read and written: what goes on is ours, whatever a client wrote and however it came."""

import json
from itertools import pairwise

import pytest
from aiohttp import content_disposition_filename, parse_content_disposition
from hypothesis import given
from hypothesis import strategies as st

from gateway.comfy.files import FileRef, Root
from gateway.errors import FileNotAllowed, GatewayError, InvalidRequest
from gateway.proxy.form import FormReader, FormWriter, PartData, PartStart, boundary_of
from gateway.proxy.upload_form import UploadForm, base_name, folder_of, original_of

ROOT = Root("a" * 32)
BOUNDARY = b"xYzZY"
END = b"--" + BOUNDARY + b"--\r\n"


def part(disposition: str, content: bytes = b"", *more: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: form-data; {disposition}", *more])
    return b"--" + BOUNDARY + b"\r\n" + head.encode() + b"\r\n\r\n" + content + b"\r\n"


def field(name: str, value: bytes) -> bytes:
    return part(f'name="{name}"', value)


FILE = part('name="image"; filename="a.png"', b"pixels")
ORIGINAL = field("original_ref", b'{"filename": "a.png", "type": "input"}')


def rewritten(body: bytes, cuts: tuple[int, ...] = (), *, masked: bool = False) -> tuple[bytes, UploadForm]:
    """The form as it goes on when it comes in pieces that end at the cuts."""
    form = UploadForm(FormReader(BOUNDARY), FormWriter("new"), ROOT, masked=masked)
    edges = sorted({0, *cuts, len(body)})
    out = b"".join(b"".join(form.feed(body[start:end])) for start, end in pairwise(edges))
    original = form.finish()
    return out + form.closing(original), form


def outcome(body: bytes, cuts: tuple[int, ...], *, masked: bool) -> bytes | type[GatewayError]:
    try:
        return rewritten(body, cuts, masked=masked)[0]
    except GatewayError as refusal:
        return type(refusal)


PIECES = st.sampled_from([b"\r", b"\n", b"-", b"--", BOUNDARY, b"\r\n--xYz", b"\r\n--" + BOUNDARY[:-1], b"\0", b"pix"])
CONTENT = st.lists(PIECES, max_size=12).map(b"".join).filter(lambda content: b"\r\n--" + BOUNDARY not in content)
PARTS = st.one_of(
    CONTENT.map(lambda content: part('name="image"; filename="a b;.png"', content, "Content-Type: image/png")),
    st.sampled_from(["type", "subfolder", "overwrite", "other", "original_ref"]).flatmap(
        lambda name: st.sampled_from([b"input", b"temp", b"a/b", b"true", b""]).map(lambda value: field(name, value))
    ),
)


@given(
    parts=st.lists(PARTS, max_size=4),
    tail=st.sampled_from([END, END + b"\r\nepilogue", b"", END[:-4]]),
    cuts=st.lists(st.integers(0, 400), max_size=40),
    masked=st.booleans(),
)
def test_any_pieces_give_the_same_form(parts: list[bytes], tail: bytes, cuts: list[int], masked: bool) -> None:
    """However a body is cut into pieces, the same form goes on, or the same refusal comes back."""
    body = b"".join(parts) + tail
    inside = tuple(cut for cut in cuts if cut <= len(body))
    assert outcome(body, inside, masked=masked) == outcome(body, (), masked=masked)
    assert outcome(body, tuple(range(len(body))), masked=masked) == outcome(body, (), masked=masked)


@given(content=CONTENT, cuts=st.lists(st.integers(0, 300), max_size=20))
def test_the_file_is_not_changed(content: bytes, cuts: list[int]) -> None:
    """Every byte of the file goes on, lines that look like boundaries too, and its size is counted."""
    body = part('name="image"; filename="a.png"', content) + END
    out, form = rewritten(body, tuple(cut for cut in cuts if cut <= len(body)))
    assert out.split(b"\r\n\r\n", 1)[1].startswith(content + b"\r\n--new\r\n")
    assert form.size == len(content)


@given(name=st.text(min_size=1, max_size=60))
def test_comfyui_reads_the_name_that_was_judged(name: str) -> None:
    """ComfyUI's own parser reads from the written head exactly the name that was found good."""
    try:
        filename = base_name(name)
    except (FileNotAllowed, InvalidRequest):
        return
    head = FormWriter("new").file("image", filename).decode()
    _, parameters = parse_content_disposition(head.split("Content-Disposition: ")[1].split("\r\n")[0])
    assert (parameters["name"], content_disposition_filename(parameters)) == ("image", filename)


@pytest.mark.parametrize("order", ["before", "after"])
def test_places_are_written_anew(order: str) -> None:
    """Fields before and after the file count alike, and stand below the root."""
    fields = field("type", b"temp") + field("subfolder", b"./x//y/") + field("overwrite", b"1")
    out, form = rewritten((fields + FILE if order == "before" else FILE + fields) + END)
    assert form.wanted == FileRef("temp", "x/y", "a.png")
    head, _, tail = out.partition(b"pixels\r\n")
    assert head == FormWriter("new").file("image", "a.png")
    writer = FormWriter("new")
    expected = {"type": "temp", "subfolder": f"users/{ROOT.key}/x/y", "overwrite": "true"}
    assert tail == b"".join(writer.field(*item) for item in expected.items()) + writer.close()


def test_other_fields_stay_here() -> None:
    """Fields that ComfyUI does not know are not passed on, files among them."""
    out, _ = rewritten(part('name="x"; filename="b.png"', b"other") + FILE + field("secret", b"other") + END)
    assert b"other" not in out
    assert b"secret" not in out


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('name="image"; filename="../bob/b.png"', "b.png"),
        ('name="image"; filename="C:\\\\fakepath\\\\b.png"', "b.png"),
        ('name="image"; filename="/etc/passwd"', "passwd"),
        ('name="image"; filename="a;b.png"', "a;b.png"),
        ('name="image"; filename="ü.png"', "ü.png"),
        ("name=\"image\"; filename*=utf-8''%C3%BC.png", "ü.png"),
        ('name="image"; filename="a.png"; filename*=utf-8\'\'..%2Fb.png', "a.png"),
    ],
)
def test_names_lose_their_folders(disposition: str, filename: str) -> None:
    """I12: of a file name only the last part counts, in every form that clients write it in."""
    _, form = rewritten(part(disposition, b"x") + END)
    assert form.wanted == FileRef("input", "", filename)


REFUSED = {
    "no file": field("type", b"input") + END,
    "empty": END,
    "nothing": b"",
    "cut short": FILE,
    "cut in the middle": FILE[:-9],
    "image is a field": field("image", b"pixels") + END,
    "no name": part('name="image"; filename=""', b"x") + END,
    "folder for a name": part('name="image"; filename="a/"', b"x") + END,
    "two files": FILE + FILE + END,
    "two types": field("type", b"input") + field("type", b"output") + FILE + END,
    "field is a file": part('name="subfolder"; filename="x"', b"a") + FILE + END,
    "nameless part": part('filename="x"', b"a") + FILE + END,
    "long field": field("subfolder", b"a" * 8193) + FILE + END,
    "not UTF-8": field("subfolder", b"\xff") + FILE + END,
    "too many parts": field("x", b"") * 17 + FILE + END,
    "too many headers": part('name="image"; filename="a.png"', b"x", *(f"X-{n}: 1" for n in range(9))) + END,
    "a long header": part('name="image"; filename="a.png"', b"x", "X: " + "a" * 5000) + END,
    "two dispositions": part('name="x"', b"x", 'Content-Disposition: form-data; name="image"') + FILE + END,
    "encoded": part('name="image"; filename="a.png"', b"eA==", "Content-Transfer-Encoding: base64") + END,
    "packed": part('name="image"; filename="a.png"', b"x", "Content-Encoding: gzip") + END,
    "preamble": b"\r\n" + b"x" * 10_000 + FILE + END,
    "text": b"hello",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_E13_forms_that_are_refused(body: bytes) -> None:
    """What is no form, or can be read in two ways, is refused, in one piece and in pieces of 1,000 bytes."""
    with pytest.raises(InvalidRequest):
        rewritten(body, tuple(range(0, len(body), 1000)))


def test_E13_an_epilogue_without_end() -> None:
    """After the last boundary comes no second body."""
    reader = FormReader(BOUNDARY)
    reader.feed(FILE + END)
    with pytest.raises(InvalidRequest):
        for _ in range(6):
            reader.feed(b"x" * 1000)


OUTSIDE = {
    "type output": field("type", b"output"),
    "unknown type": field("type", b"models"),
    "empty type": field("type", b""),
    "up": field("subfolder", b"../bob"),
    "absolute": field("subfolder", b"/etc"),
    "backslash": field("subfolder", b"..\\bob"),
    "control": field("subfolder", b"a\x01"),
}


@pytest.mark.parametrize("fields", OUTSIDE.values(), ids=OUTSIDE.keys())
def test_I12_places_that_are_refused(fields: bytes) -> None:
    """An upload goes to input or temp, into a folder of one's own."""
    with pytest.raises(FileNotAllowed):
        rewritten(FILE + fields + END)


@pytest.mark.parametrize("name", ["..", ".", " ", "a [output]", "a\tb.png", "blake3:abc", "a" * 256])
def test_names_that_are_refused(name: str) -> None:
    """A file name that ComfyUI or a file system takes for something else is refused."""
    with pytest.raises(FileNotAllowed):
        base_name(name)


def test_the_own_root_is_not_doubled() -> None:
    """A folder that was taken from ComfyUI's own answer means the same."""
    out, form = rewritten(FILE + field("subfolder", f"{ROOT.path}/{ROOT.path}/x".encode()) + END)
    assert form.wanted == FileRef("input", "x", "a.png")
    assert out.count(ROOT.key.encode()) == 1


def test_another_root_is_a_folder_of_one_s_own() -> None:
    """I12: the folder of another user is below one's own."""
    out, _ = rewritten(FILE + field("subfolder", b"users/" + b"b" * 32) + END)
    assert f"users/{ROOT.key}/users/{'b' * 32}".encode() in out


def test_a_mask_names_its_original() -> None:
    """The original goes on as the server names it; without one there is nothing to mask."""
    form = UploadForm(FormReader(BOUNDARY), FormWriter("new"), ROOT, masked=True)
    list(form.feed(ORIGINAL + FILE + END))
    assert form.finish() == FileRef("input", "", "a.png")
    sent = form.closing(FileRef("input", ROOT.path, "a.png"))
    told = sent.split(b'name="original_ref"\r\n\r\n')[1].split(b"\r\n")[0]
    assert json.loads(told) == {"filename": "a.png", "subfolder": ROOT.path, "type": "input"}
    with pytest.raises(InvalidRequest):
        rewritten(FILE + END, masked=True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"filename": "a.png"}', FileRef("output", "", "a.png")),
        ('{"filename": "a.png [temp]", "type": "input"}', FileRef("temp", "", "a.png")),
        ('{"filename": "x/a.png", "subfolder": "y", "type": "input"}', FileRef("input", "y/x", "a.png")),
    ],
)
def test_originals_are_read_as_comfyui_does(text: str, expected: FileRef) -> None:
    """A suffix beats the type, whose default is output, and folders of the name count."""
    assert original_of(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"filename": 1}',
        '{"filename": "a", "filename": "b"}',
        '{"filename": "../a.png"}',
        '{"filename": "/etc/passwd"}',
        '{"filename": "a.png", "subfolder": "../b"}',
        '{"filename": "a.png", "type": "x"}',
        '{"filename": "a.png", "type": null}',
    ],
)
def test_originals_that_are_refused(text: str) -> None:
    """What is no object with texts, or names nothing inside a folder, is refused."""
    with pytest.raises((InvalidRequest, FileNotAllowed)):
        original_of(text)


def test_folders_are_tidied() -> None:
    """Empty and single-dot parts mean nothing."""
    assert folder_of("a//b/./c/") == "a/b/c"
    assert folder_of("") == ""


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        b"application/json",
        b"multipart/form-data",
        b"multipart/mixed; boundary=x",
        b"application/x-www-form-urlencoded; boundary=x",
        b"multipart/form-data; boundary=",
        b"multipart/form-data; boundary=" + b"x" * 71,
    ],
)
def test_only_forms_have_a_boundary(content_type: bytes | None) -> None:
    """What is no form is refused by its type alone."""
    with pytest.raises(InvalidRequest):
        boundary_of(content_type)


def test_events_in_order() -> None:
    """A part is its start and its content."""
    events = FormReader(BOUNDARY).feed(FILE + END)
    assert events == [PartStart("image", "a.png"), PartData(b"pixels")]
    assert boundary_of(b'Multipart/Form-Data; boundary="x y"') == b"x y"
