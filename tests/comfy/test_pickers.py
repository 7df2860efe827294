"""What file pickers list of a user's own files."""

import pytest

from gateway.comfy.pickers import OwnNames, media_of

OWN = OwnNames(
    inputs=("b.png", "a.PNG", "song.mp3", "film.mp4", "x.latent", "sub/c.png", "3d/d.glb", "3d/e/f.obj", "g.glb", "h"),
    outputs=("out2.png", "out1.png", "out.mp3"),
)


@pytest.mark.parametrize(
    ("flags", "listed"),
    [
        ({"image_upload": True}, ["a.PNG", "b.png"]),
        ({"audio_upload": True}, ["film.mp4", "song.mp3"]),
        ({"video_upload": True}, ["film.mp4"]),
        ({"file_upload": True}, ["3d/d.glb", "3d/e/f.obj"]),
        ({"image_upload": False}, ["a.PNG", "b.png", "film.mp4", "g.glb", "h", "song.mp3", "x.latent"]),
    ],
)
def test_a_flag_says_what_is_listed(flags: dict[str, bool], listed: list[str]) -> None:
    """A picker lists files of its kind at the top of the input folder, sorted; the 3D ones everything below `3d`."""
    assert OWN.listed(media_of("Any", flags), "input") == listed


def test_a_class_says_what_is_listed() -> None:
    """LoadLatent has no flag and lists latents."""
    assert OWN.listed(media_of("LoadLatent", {}), "input") == ["x.latent"]


def test_outputs_and_temp() -> None:
    """A picker of outputs lists one's own in their order, one of temporary files nothing."""
    assert OWN.listed(("image",), "output") == ["out2.png", "out1.png"]
    assert OWN.listed((), "temp") == []


def test_folders() -> None:
    """The folders of the inputs are listed with those around them."""
    assert OWN.folders() == ["3d", "3d/e", "sub"]
