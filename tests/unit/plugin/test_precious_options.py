# SPDX-License-Identifier: MIT
"""A directory of the user's given to each of the plugin's options that take a path."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from harness.pytest_plugin import options
from harness.pytest_plugin.session import Session
from tests.unit.precious import assert_nothing_is_lost, fill

pytest_plugins = ["pytester"]

TEST = """
def test_it(artifacts):
    (artifacts / "transcript.txt").write_text("ours")
"""
PATHS = ("FILE", "DIR", "PATH")


def names() -> list[str]:
    parser = pytest.Parser(_ispytest=True)
    options.register(parser)
    actions: list[argparse.Action] = parser.optparser._actions  # no public way to ask
    return [action.option_strings[0] for action in actions if action.metavar in PATHS]


@pytest.mark.parametrize("kind", ["directory", "file"])
@pytest.mark.parametrize("name", names())
def test_nothing_of_the_user_s_is_lost(
    name: str, kind: str, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    # A run to its end, as far as that goes without images and machines.
    monkeypatch.setattr(Session, "image_set", lambda self, version: None)
    monkeypatch.setattr(Session, "leave_out", lambda self: [])  # asks apt for its kernels
    # Where pytest's own directory is among our artifacts, all in it would be ours.
    monkeypatch.setattr("harness.host.output.ARTIFACTS", tmp_path / "artifacts")
    monkeypatch.setattr("harness.pytest_plugin.variants", list)
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile(TEST)
    place = fill(tmp_path / "mine")
    path = place if kind == "directory" else place / "notes.txt"
    pytester.runpytest_inprocess("--qemu", "--qemu-coverage", f"{name}={path}")
    assert_nothing_is_lost(place)


def test_the_options_are_known_by_what_they_take() -> None:
    assert {"--ktap", "--qemu-artifacts", "--qemu-kernel", "--qemu-biscuitos"} <= set(names())
