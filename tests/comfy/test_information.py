"""What ComfyUI says of its host and models, without the host."""

import json
from typing import Any

import pytest

from gateway.comfy.information import permitted_models, reduced_stats, without_folders

Exchanges = dict[str, dict[str, Any]]


def test_stats_without_the_command_line(exchanges: Exchanges) -> None:
    """I24: of the recorded command line only what the editor looks for is left; all else is as it was."""
    recorded = exchanges["system_stats"]["body"]["json"]
    assert "/srv/comfyui" in json.dumps(recorded)
    reduced = reduced_stats(recorded)
    assert reduced["system"]["argv"] == ["main.py", "--disable-api-nodes"]
    assert reduced["devices"] == recorded["devices"]
    assert {**reduced["system"], "argv": None} == {**recorded["system"], "argv": None}


def test_stats_keep_the_flags_of_the_manager() -> None:
    """The editor finds ComfyUI-Manager by a flag of the command line."""
    argv = ["/opt/main.py", "--enable-manager", "--base-directory", "/srv/x", "--enable-manager=/y"]
    assert reduced_stats({"system": {"argv": argv}})["system"]["argv"] == ["main.py", "--enable-manager"]


def test_stats_of_a_newer_version_name_no_path_either() -> None:
    """A path anywhere else in the answer is blanked."""
    assert reduced_stats({"system": {"base": "/home/ann/comfy"}, "x": 1}) == {"system": {"base": "comfy"}, "x": 1}


@pytest.mark.parametrize("odd", [None, [], "x", {}, {"system": 1}, {"system": {"argv": 3}}])
def test_odd_stats(odd: Any) -> None:
    """An answer in another shape raises nothing."""
    assert "3" not in json.dumps(reduced_stats(odd))


def test_folders_are_blanked() -> None:
    """I24: the kinds of models keep their names and what else is said of them, and have no folders."""
    told = [{"name": "loras", "folders": ["/srv/models/loras", "D:\\x"], "extensions": [".ckpt"]}, {"name": "vae"}]
    assert without_folders(told) == [{"name": "loras", "folders": [], "extensions": [".ckpt"]}, {"name": "vae"}]
    assert without_folders({"error": "/srv"}) == []


def test_models_of_both_forms() -> None:
    """Names and objects with names are filtered alike."""
    models: list[Any] = ["a", "secret", {"name": "secret", "size": 1}, {"name": "b"}]
    assert permitted_models(models, lambda name: name != "secret") == ["a", {"name": "b"}]
    assert permitted_models(None, lambda name: True) == []
