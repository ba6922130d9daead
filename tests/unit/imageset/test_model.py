# SPDX-License-Identifier: MIT
"""The manifest of an image set."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness.errors import UserError
from harness.imageset.features import Feature
from harness.imageset.model import ImageSet


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    for name in ("zImage", "board.dtb", "cma.ko"):
        (tmp_path / name).write_text(name)
    return ImageSet(
        tmp_path / "zImage",
        tmp_path / "board.dtb",
        module=tmp_path / "cma.ko",
        release="6.1.1",
        append="quiet",
        features=frozenset({Feature.AGENT, Feature.CMA_DEBUGFS}),
        foreign=frozenset({"module"}),
    )


def test_what_was_written_is_read(images: ImageSet, tmp_path: Path) -> None:
    images.write(tmp_path / "set.json")
    assert ImageSet.read(tmp_path / "set.json") == images


def test_paths_are_relative_to_the_manifest(images: ImageSet, tmp_path: Path) -> None:
    content = {"kernel": "zImage", "dtb": "board.dtb", "module": None}
    (tmp_path / "set.json").write_text(json.dumps(content))
    read = ImageSet.read(tmp_path / "set.json")
    assert read.kernel == images.kernel
    assert read.module is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("not json", "not JSON"),
        ("[]", "expected an object"),
        ('{"kernel": "zImage"}', "expected an object with kernel and dtb"),
        ('{"kernel": "zImage", "dtb": "board.dtb", "kernle": "x"}', "expected an object"),
        ('{"kernel": "zImage", "dtb": "nowhere.dtb"}', "dtb: there is no file .*nowhere.dtb"),
        ('{"kernel": "zImage", "dtb": 3}', "dtb is not a string"),
        ('{"kernel": null, "dtb": "board.dtb"}', "kernel is not a string"),
        ('{"kernel": "zImage", "dtb": "board.dtb", "features": "agent"}', "features is not a list"),
        ('{"kernel": "zImage", "dtb": "board.dtb", "features": [1]}', "features is not a list"),
        (
            '{"kernel": "zImage", "dtb": "board.dtb", "features": ["debgfs"]}',
            "there is no feature 'debgfs': did you mean debugfs",
        ),
    ],
)
def test_a_file_that_is_no_manifest_says_why(
    images: ImageSet, tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "set.json").write_text(text)
    with pytest.raises(UserError, match=said):
        ImageSet.read(tmp_path / "set.json")


def test_a_manifest_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot read .*none\.json"):
        ImageSet.read(tmp_path / "none.json")


def test_the_digest_does_not_depend_on_the_kind_of_set(images: ImageSet) -> None:
    other = ImageSet(**{**vars(images), "features": {Feature.CMA_DEBUGFS, Feature.AGENT}})
    assert other.digest() == images.digest()
