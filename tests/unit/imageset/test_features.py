# SPDX-License-Identifier: MIT
"""The features of a system: each is named, explained, and told by a kernel's configuration."""

from __future__ import annotations

import pytest

from harness.errors import UserError
from harness.host.project import IMAGES
from harness.imageset.features import NEEDS, Feature, of_config, parse, parse_all, shown_by


def test_each_feature_says_what_it_asks_for() -> None:
    assert NEEDS.keys() == set(Feature)
    assert all(need.what and need.part for need in NEEDS.values())
    assert NEEDS[Feature.CMA_SYSFS].wanted == (
        "/sys/kernel/mm/cma (CONFIG_CMA_SYSFS=y, from Linux 5.13 on)"
    )


def test_a_word_that_is_no_feature_is_refused_with_the_nearest() -> None:
    assert parse("debugfs") is Feature.CMA_DEBUGFS
    assert parse_all(["agent", "ssh"]) == {Feature.AGENT, Feature.SSH}
    with pytest.raises(UserError, match=r"here\.json: .*'debgfs': did you mean debugfs\?"):
        parse("debgfs", "here.json")
    with pytest.raises(UserError, match="there is no feature 'xyz': there are agent, ssh"):
        parse("xyz")


def test_features_of_a_configuration() -> None:
    assert of_config({}) == set()
    assert of_config({"CMA_DEBUGFS": "y"}) == set()
    assert of_config({"CMA_DEBUGFS": "y", "DEBUG_FS": "y"}) == {Feature.CMA_DEBUGFS}
    assert of_config({"CMA_SYSFS": "y"}) == {Feature.CMA_SYSFS}
    assert of_config({"CMA_SYSFS": "m"}) == set()
    heaps = {"DMABUF_HEAPS": "y", "DMABUF_HEAPS_CMA": "y"}
    assert of_config(heaps, "7.3.4") == {Feature.HEAPS}
    assert of_config(heaps, "6.12.117") == set(), "it has a heap for the default area alone"


def test_features_that_the_bytes_of_a_part_show() -> None:
    assert shown_by("kernel", b"\0maxchunk\0alloc_pages_fail\0") == {Feature.CMA_DEBUGFS}
    assert shown_by("initrd", b"070701 sbin/agent\0") == {Feature.AGENT}
    assert shown_by("module", b"\0parm=area:CMA areas") == {Feature.MODULE_AREAS}
    assert shown_by("app", b"parm=area: churn SEED COUNT") == {Feature.APP_SCRIPT}


def test_the_addition_for_iomem_has_the_mark_that_shows_it() -> None:
    added = IMAGES / "kernel" / "additions"
    mark = NEEDS[Feature.IOMEM_CMA].mark.decode()
    found = [path.name for path in added.rglob("*.c") if mark in path.read_text()]
    assert found == ["iomem.c"]
