# SPDX-License-Identifier: MIT
"""The mutants' files: what is in them, and which of them a run takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.mutants.patchfile import MUTANTS, Mutant, read_all, read_mutant, select

MUTANT = """\
Subject: the end is off by one
Kind: mutant
Caught-by: test_the_end or test_the_bound
Commit: 0123456789ab
Kernel: 6.1, 6.12
Elsewhere: it has no such end
SPDX-License-Identifier: GPL-2.0-only

--- a/linux/mm/cma.c
+++ b/linux/mm/cma.c
@@ -1 +1 @@
-old
+new
"""


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in ("alpha-1", "alpha-2", "beta-1", "beta-2", "beta-3"):
        (tmp_path / f"{name}.patch").write_text(MUTANT)
    return tmp_path


def write(directory: Path, text: str) -> Path:
    path = directory / "one.patch"
    path.write_text(text)
    return path


def names(mutants: list[Mutant]) -> list[str]:
    return [mutant.name for mutant in mutants]


def test_a_mutant_is_read_with_all_its_headers(tmp_path: Path) -> None:
    mutant = read_mutant(write(tmp_path, MUTANT))
    assert mutant.name == "one"
    assert mutant.subject == "the end is off by one"
    assert not mutant.harmless
    assert mutant.caught_by == "test_the_end or test_the_bound"
    assert mutant.files == ("linux/mm/cma.c",)
    assert mutant.of_kernel
    assert mutant.elsewhere == "it has no such end"
    assert mutant.fits("6.1")
    assert mutant.fits("6.12")
    assert not mutant.fits("6.6")


def test_without_kernels_it_is_for_all(tmp_path: Path) -> None:
    text = MUTANT.replace("Kernel: 6.1, 6.12\nElsewhere: it has no such end\n", "").replace(
        "linux/mm", "images/module"
    )
    mutant = read_mutant(write(tmp_path, text))
    assert mutant.fits("5.0")
    assert not mutant.of_kernel


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("Subject: the end is off by one\n", "", "needs Subject"),
        ("Kind: mutant\n", "", "needs Kind"),
        ("Kind: mutant", "Kind: mutnat", "Kind: mutant or harmless"),
        ("Kind: mutant", "Kind: harmless", "is caught by no test"),
        ("Caught-by: test_the_end or test_the_bound\n", "", "needs Caught-by"),
        ("SPDX-License-Identifier: GPL-2.0-only\n", "", "needs SPDX-License-Identifier"),
        ("Commit:", "Comit:", r"one.patch:4: Comit is unknown"),
        ("Commit:", "Subject:", r"one.patch:4: Subject is unknown or there twice"),
        ("Commit: ", "and what else? ", r"one.patch:4: expected `Name: value`"),
        ("a/linux/mm/cma.c", "a/../mm/cma.c", "leaves the tree"),
        ("a/linux/mm/cma.c", "/etc/passwd", "an absolute path leaves the tree"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert MUTANT.count(old) == 1
    with pytest.raises(UserError, match=said):
        read_mutant(write(tmp_path, MUTANT.replace(old, new)))


def test_a_file_without_a_diff_is_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no unified diff"):
        read_mutant(write(tmp_path, MUTANT.partition("--- ")[0]))


def test_patterns_select_and_keep_the_order(directory: Path) -> None:
    mutants = read_all(directory)
    assert names(select(mutants, ["beta-*", "alpha-2"])) == [
        "alpha-2",
        "beta-1",
        "beta-2",
        "beta-3",
    ]


def test_a_pattern_that_names_nothing_is_an_error(directory: Path) -> None:
    with pytest.raises(UserError, match="no mutant is called gamma"):
        select(read_all(directory), ["alpha-*", "gamma"])


def test_shards_share_all_out(directory: Path) -> None:
    mutants = read_all(directory)
    shards = [select(mutants, shard=(part, 3)) for part in (1, 2, 3)]
    assert sorted(name for shard in shards for name in names(shard)) == names(mutants)
    assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_a_sample_is_the_same_for_the_same_seed_in_every_shard(directory: Path) -> None:
    mutants = read_all(directory)
    sample = select(mutants, sample=3, seed=7)
    assert len(sample) == 3
    assert sample == select(mutants, sample=3, seed=7)
    parts = [select(mutants, sample=3, seed=7, shard=(part, 2)) for part in (1, 2)]
    assert sorted(names([*parts[0], *parts[1]])) == names(sample)
    assert len({tuple(names(select(mutants, sample=3, seed=seed))) for seed in range(20)}) > 1


def test_a_mutant_has_a_diff_for_each_kernel_that_needs_one(tmp_path: Path) -> None:
    for name, kernels in (("alpha", "5.0 6.1"), ("alpha@6.12", "6.12"), ("alpha@7.3", "7.3+")):
        (tmp_path / f"{name}.patch").write_text(MUTANT.replace("6.1, 6.12", kernels))
    expected = {"6.1": "alpha", "6.12": "alpha@6.12", "7.3": "alpha@7.3", "8.0": "alpha@7.3"}
    for kernel, file in {**expected, "6.6": "alpha", "": "alpha"}.items():
        (mutant,) = read_all(tmp_path, kernel)
        assert (mutant.name, mutant.path.stem) == ("alpha", file)
        assert mutant.fits(kernel or "6.1") is (kernel != "6.6")


def test_ours_can_all_be_read_and_name_their_parts() -> None:
    mutants = read_all(MUTANTS)
    assert sum(not mutant.harmless for mutant in mutants) >= 34
    assert sum(mutant.harmless for mutant in mutants) >= 10
    for mutant in mutants:
        tops = {path.split("/")[0] for path in mutant.files}
        assert tops <= {"linux", "images"}, mutant.name
        wanted = (
            "MIT"
            if set(mutant.files)
            <= {path for path in mutant.files if path.startswith("images/app/")}
            else "GPL-2.0-only"
        )
        assert f"SPDX-License-Identifier: {wanted}\n" in mutant.path.read_text(), mutant.name
