"""Whose a file is."""

import pytest

from gateway.comfy.files import FileRef, NotOurs, Root
from gateway.comfy.graph_files import Source
from gateway.policy.ownership import placed, source_of

ROOT = Root("0" * 31 + "a")
TEMP = FileRef("temp", "", "t.png")
INPUT = FileRef("input", "", "i.png")
OUTPUT = FileRef("output", "", "o.png")


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (TEMP, Source.RECORDED),
        (INPUT, Source.OWN),
        (FileRef("input", "", "s.png"), Source.SHARED),
        (FileRef("input", "sub", "s.png"), Source.ABSENT),
        (FileRef("output", "", "s.png"), Source.ABSENT),
        (OUTPUT, Source.ABSENT),
        (FileRef("input", "", "r.png"), Source.ABSENT),
    ],
)
def test_sources(ref: FileRef, expected: Source) -> None:
    """A record comes before an upload, an upload before a shared name; shared names are at the top of input alone,
    and no input is anybody's by a record."""
    assert (
        source_of(
            ref, recorded={TEMP, FileRef("input", "", "r.png")}, uploaded={TEMP, INPUT}, shared={"i.png", "s.png"}
        )
        is expected
    )


@pytest.mark.parametrize("source", [Source.OWN, Source.ABSENT])
def test_what_is_own_or_unknown_is_looked_for_below_the_root(source: Source) -> None:
    """An input or output goes below the caller's root, whether it is there or not."""
    assert placed(OUTPUT, source, ROOT) == FileRef("output", ROOT.path, "o.png")


def test_an_uploaded_temp_file_lies_below_the_root() -> None:
    """A temp file that the user uploaded is below the root; an unknown one is nobody's."""
    assert placed(TEMP, Source.OWN, ROOT) == FileRef("temp", ROOT.path, "t.png")
    with pytest.raises(NotOurs):
        placed(TEMP, Source.ABSENT, ROOT)


@pytest.mark.parametrize("source", [Source.RECORDED, Source.SHARED])
def test_recorded_and_shared_files_keep_their_place(source: Source) -> None:
    """They are where they are, but never below anybody's root."""
    assert placed(TEMP, source, ROOT) == TEMP
    with pytest.raises(NotOurs):
        placed(FileRef("temp", "users/" + "b" * 32, "t.png"), source, ROOT)
    with pytest.raises(NotOurs):
        placed(FileRef("temp", "", "Users"), source, ROOT)
