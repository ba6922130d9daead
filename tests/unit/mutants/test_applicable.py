# SPDX-License-Identifier: MIT
"""The mutants of kernel files apply to the sources of each kernel, or say why there is none."""

from __future__ import annotations

import os
import subprocess
from types import SimpleNamespace

import pytest

from harness.builders.imageset import VERSIONS
from harness.cli.mutants import command
from harness.errors import UserError
from harness.mutants.patchfile import MUTANTS, Mutant, read_all, read_mutant
from tests.unit.sources import kernel_tree


def of_kernel(version: str) -> list[Mutant]:
    return [mutant for mutant in read_all(kernel=version) if mutant.of_kernel]


@pytest.mark.slow("git is started for each mutant")
@pytest.mark.parametrize("version", VERSIONS)
def test_each_mutant_of_a_kernel_file_applies_exactly(version: str) -> None:
    tree = kernel_tree(version)
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(tree.parent)}
    refused = {}
    for mutant in of_kernel(version):
        if mutant.fits(version):
            argv = ["git", "apply", "--check", "--whitespace=nowarn", "-p2", str(mutant.path)]
            done = subprocess.run(argv, cwd=tree, env=environment, capture_output=True, text=True)
            if done.returncode:
                refused[mutant.path.name] = done.stderr
    assert refused == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_what_a_kernel_cannot_have_is_said_with_the_reason(version: str) -> None:
    unfit = [mutant for mutant in read_all(kernel=version) if not mutant.fits(version)]
    assert [mutant.name for mutant in unfit if not mutant.elsewhere] == []


def test_no_diff_of_a_mutant_is_the_same_as_another_of_it() -> None:
    """One that would do is kept one."""
    texts: dict[str, list[str]] = {}
    for path in sorted(MUTANTS.glob("*.patch")):
        diff = path.read_text().partition("\n--- ")[2]
        texts.setdefault(read_mutant(path).name, []).append(diff)
    assert [name for name, found in texts.items() if len(set(found)) < len(found)] == []


def test_the_newest_kernel_is_known_by_its_number_before_mutants_are_chosen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def none(kernel: str) -> list[Mutant]:
        asked.append(kernel)
        return []

    monkeypatch.setattr(
        "harness.cli.mutants.resolve", lambda kernel, cache: SimpleNamespace(label="7.3")
    )
    monkeypatch.setattr("harness.cli.mutants.patchfile.read_all", none)
    with pytest.raises(UserError, match="no mutant is in this shard"):
        command.main(["--kernel", "newest"], standalone_mode=False)
    assert asked == ["7.3"]
