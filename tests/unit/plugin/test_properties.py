# SPDX-License-Identifier: MIT
"""What every case of ``--junitxml`` has as properties, whether its test passed or not."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

pytest_plugins = ["pytester"]

TEST = """
import pathlib
import types

import pytest

from harness.pytest_plugin.boots import BOOTS


class Machine:
    config = types.SimpleNamespace(images=types.SimpleNamespace(files=lambda: []))
    storage = types.SimpleNamespace(state=None)
    transcript = types.SimpleNamespace(directory=pathlib.Path("here/it"))

    def __init__(self, number):
        self.number = number

    def command(self):
        return f"qemu-system-arm -M {self.number}"

    def settle(self):
        pass

    def last_words(self, count):
        return ""

    def disturbed(self):
        return ""


@pytest.fixture
def machines(request):
    made = [Machine(1), Machine(2)]
    request.node.stash[BOOTS] = types.SimpleNamespace(machines=made)


def test_passes(machines):
    pass


def test_plain():
    pass


def test_fails():
    assert False


@pytest.fixture
def broken():
    raise OSError("no space")


def test_is_not_reached(broken):
    pass


def test_skips():
    pytest.skip("why")


@pytest.mark.xfail
def test_known():
    assert False


@pytest.fixture
def late():
    yield
    raise OSError("no space")


def test_ends_badly(late):
    pass


@pytest.fixture
def checked(machines):
    yield
    assert not "a page that is left", "a page is left"


def test_leaves_a_page(checked):
    pass


@pytest.fixture
def full(machines):
    yield
    raise OSError("no space")


def test_ends_on_a_full_disk(full):
    pass


def test_fails_and_leaves_a_page(checked):
    raise OSError("no space")
"""


@pytest.fixture
def properties(pytester: pytest.Pytester) -> dict[str, list[tuple[str, str]]]:
    pytester.makeini("[pytest]\njunit_family = xunit2\n")
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile(test_it=TEST)
    pytester.runpytest_inprocess("--color=no", "--junitxml=junit.xml")
    root = ElementTree.parse(pytester.path / "junit.xml").getroot()
    found: dict[str, list[tuple[str, str]]] = {}
    for case in root.iter("testcase"):
        pairs = [(str(p.get("name")), str(p.get("value"))) for p in case.iter("property")]
        found.setdefault(str(case.get("name")), []).extend(pairs)
    return found


def test_each_case_has_its_verdict_once(
    properties: dict[str, list[tuple[str, str]]],
) -> None:
    verdicts = {
        name: [value for key, value in pairs if key == "verdict"]
        for name, pairs in properties.items()
    }
    assert verdicts == {
        "test_passes": ["pass"],
        "test_plain": ["pass"],
        "test_fails": ["product"],
        "test_is_not_reached": ["infrastructure"],
        "test_skips": ["skip"],
        "test_known": ["xfail"],
        "test_ends_badly": ["infrastructure"],
        "test_leaves_a_page": ["product"],
        "test_ends_on_a_full_disk": ["infrastructure"],
        "test_fails_and_leaves_a_page": ["infrastructure"],
    }


def test_one_that_passes_has_transcript_and_command_of_each_machine(
    properties: dict[str, list[tuple[str, str]]],
) -> None:
    assert properties["test_passes"] == [
        ("verdict", "pass"),
        ("transcript", "here/it/transcript.txt"),
        ("qemu", "qemu-system-arm -M 1"),
        ("transcript", "here/it/transcript.txt"),
        ("qemu", "qemu-system-arm -M 2"),
    ]
    assert properties["test_plain"] == [("verdict", "pass")]
