# SPDX-License-Identifier: MIT
"""The reference that is made from the code has all that the code has."""

from __future__ import annotations

import pytest

from docs import reference_pages
from harness import pytest_plugin
from harness.cli.app import COMMANDS
from harness.host.project import ROOT
from harness.pytest_plugin import options

REFERENCE = ROOT / "docs" / "reference"


def test_every_part_is_on_a_page_and_every_page_s_parts_are_there() -> None:
    marked = [
        name
        for page in REFERENCE.glob("*.md")
        for name in reference_pages.MARKER.findall(page.read_text())
    ]
    assert sorted(marked) == sorted(reference_pages.PARTS)
    with pytest.raises(KeyError):
        reference_pages.expand("<!-- from the code: nothing -->")


def test_every_command_and_option_is_told() -> None:
    text = reference_pages.commands()
    for name in COMMANDS:
        assert f"## `harness {name}`" in text
    assert "### `harness cache prune`" in text
    assert "`--older-than DAYS`" in text


def test_every_option_fixture_and_mark_of_the_plugin_is_told() -> None:
    shown = reference_pages.plugin_options()
    assert all(f"`{option.ini}`" in shown for option in (*options.VALUES, *options.FLAGS))
    fixtures = reference_pages.fixtures()
    assert all(f"`{name}` (" in fixtures for name in pytest_plugin.__all__)
    assert "`every_kernel`" in reference_pages.marks()


def test_verdicts_and_decisions_have_their_meaning() -> None:
    assert "| `crash` | The guest's kernel panicked" in reference_pages.verdicts()
    assert "| 3 | `infrastructure` |" in reference_pages.decisions()
    assert "| `UserError` |" in reference_pages.errors()


def test_a_guest_s_methods_and_the_keys_of_the_settings_are_there() -> None:
    text = reference_pages.guest()
    for name in ("insmod(", "run_app(", "judge(", "holding(", "memory_map(", "release("):
        assert f"\n`{name}" in f"\n{text}", name
    assert " at 0x" not in text
    for key in ("kernel", "dts", "[gate] require-coverage"):
        assert f"| `{key}` |" in reference_pages.settings()
