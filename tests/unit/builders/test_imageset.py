# SPDX-License-Identifier: MIT
"""Which image set the other parts come from, where a kernel is given."""

from __future__ import annotations

import types
from pathlib import Path

import pytest

from harness.builders import imageset


@pytest.mark.parametrize(
    ("release", "asked", "built", "expected"),
    [
        ("6.1.192", ("6.1",), {"6.1", "6.12", "7.3"}, "6.1"),
        ("6.12.117", ("6.1",), {"6.1", "6.12", "7.3"}, "6.12"),
        ("7.3.4", ("6.1",), {"7.3"}, "7.3"),
        ("7.3.0-rc2-00013-g0123456789ab", ("6.1",), {"7.3"}, "7.3"),
        ("7.3.4", ("6.1",), {"6.1"}, "6.1"),  # nothing is built for it that was not asked for
        ("7.3.4", ("6.1", "7.3"), set(), "7.3"),
        ("6.6.30", ("6.12", "6.1"), {"6.1"}, "6.12"),
        ("", ("6.12",), {"6.1"}, "6.12"),  # a kernel that nothing here unpacks
    ],
)
def test_the_other_parts_are_those_of_a_built_kernel_of_its_version(
    monkeypatch: pytest.MonkeyPatch,
    release: str,
    asked: tuple[str, ...],
    built: set[str],
    expected: str,
) -> None:
    monkeypatch.setattr(
        imageset, "kernel_facts", lambda path: types.SimpleNamespace(release=release)
    )
    monkeypatch.setattr(imageset, "_is_built", lambda version: version in built)
    assert imageset.nearest_version(Path("zImage"), asked) == expected
