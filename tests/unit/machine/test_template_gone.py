# SPDX-License-Identifier: MIT
"""A template that another process removes while somebody takes a clone of it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.imageset.model import ImageSet
from harness.machine import template as module
from harness.machine.config import MachineConfig
from harness.machine.errors import MachineError
from harness.machine.template import Template, TemplateGone
from harness.pytest_plugin.boots import Boots


class Machine:
    """One whose template vanishes when it is restored."""

    made: list[Machine]

    def __init__(self, *_arguments: Any, **_more: Any) -> None:
        self.closed = False
        self.made.append(self)

    def start(self) -> None:
        """It starts."""

    def restore(self) -> None:
        """Its state is not there any more."""
        raise FileNotFoundError(2, "No such file or directory", "state")

    def close(self) -> None:
        """Ends it."""
        self.closed = True


@pytest.fixture
def template(tmp_path: Path) -> Template:
    kernel = tmp_path / "zImage"
    kernel.write_bytes(b"")
    return Template(MachineConfig(ImageSet(kernel, kernel)), tmp_path / "template")


def test_files_that_vanish_are_no_damage(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine.made = []
    monkeypatch.setattr(module, "Machine", Machine)
    with pytest.raises(TemplateGone, match="was removed"):
        template.clone()
    assert Machine.made == [], "it is not even begun"
    template.directory.mkdir()
    meta = SimpleNamespace(stamped=True, abilities=0, module_sections={})
    monkeypatch.setattr(Template, "_meta", lambda self: meta)
    with pytest.raises(TemplateGone, match="was removed"):
        template.clone()
    assert [machine.closed for machine in Machine.made] == [True]


def test_a_template_that_is_not_what_it_should_be_is_damaged(template: Template) -> None:
    template.directory.mkdir()
    (template.directory / module.META).write_text(json.dumps({"stamped": True}))
    with pytest.raises(MachineError, match="is damaged") as caught:
        template.clone()
    assert not isinstance(caught.value, TemplateGone)


@pytest.mark.parametrize(("error", "discarded"), [(TemplateGone, 0), (MachineError, 1)])
def test_who_has_removed_a_template_does_not_find_the_new_one_removed_too(
    monkeypatch: pytest.MonkeyPatch, error: type[MachineError], discarded: int
) -> None:
    tries: list[str] = []

    class Once:
        def clone(self, *_arguments: Any, **_more: Any) -> str:
            tries.append("clone")
            if len(tries) == 1:
                raise error("gone")
            return "machine"

    gone: list[object] = []
    boots = Boots.__new__(Boots)
    boots.templates = SimpleNamespace(discard=gone.append)  # type: ignore[assignment]
    boots._session = SimpleNamespace(live=None, gdb=None)  # type: ignore[assignment]
    monkeypatch.setattr(Boots, "_traced", lambda self, config: config)
    monkeypatch.setattr(Boots, "_template", lambda self, *_: Once())
    monkeypatch.setattr(Boots, "_place", lambda self: None)
    assert boots._clone(None, "booted", None) == "machine"  # type: ignore[arg-type, comparison-overlap]
    assert len(tries) == 2
    assert len(gone) == discarded
