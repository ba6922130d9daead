# SPDX-License-Identifier: MIT
"""Fragments of a kernel's configuration, as merge_config.sh takes them."""

from __future__ import annotations

import pytest

from harness.imageset import kconfig

FRAGMENT = """\
# a comment
CONFIG_CMA_DEBUG=y
# CONFIG_SMP is not set

CONFIG_CMDLINE="a # b"
"""


def test_of_several_the_last_counts() -> None:
    one, two = kconfig.parse(FRAGMENT), kconfig.parse("CONFIG_SMP=y\nCONFIG_NR_CPUS=2\n")
    both = kconfig.merged([one, two])
    assert both == {"CMA_DEBUG": "y", "SMP": "y", "CMDLINE": '"a # b"', "NR_CPUS": "2"}
    assert kconfig.parse(kconfig.lines({**both, "X": "n"})) == {**both, "X": "n"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (FRAGMENT, None),
        ("", None),
        ("CONFIG_A=y\nFOO=y\n", (2, "FOO=y")),
        ("CONFIG_A = y\n", (1, "CONFIG_A = y")),
        ("\n#CONFIG_A is not set\n", (2, "#CONFIG_A is not set")),
        ("CONFIG_A\n", (1, "CONFIG_A")),
        ("# CONFIG_A is off\n", None),
        ("CONFIG_A=y   \n", None),
    ],
)
def test_a_line_that_is_no_option_is_found(text: str, wrong: tuple[int, str] | None) -> None:
    assert kconfig.first_wrong_line(text) == wrong


def test_what_was_not_taken_is_said_with_what_is_there() -> None:
    config = {"A": "m"}
    assert kconfig.not_honoured({"A": "y", "B": "y", "C": "n"}, config) == ["A", "B"]
    assert kconfig.not_taken("A", "y", config) == "CONFIG_A=y was not taken: m"
    assert "no such option" in kconfig.not_taken("B", "y", config)
