# SPDX-License-Identifier: MIT
"""``--qemu-image-set``: a bad manifest stops the run before anything is built."""

from __future__ import annotations

import pytest

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "--qemu-image-set: there is no file *set.json"),
        ("[]", "*set.json is no image set: expected an object*"),
        ('{"kernel": "zImage", "dtb": "x.dtb"}', "*set.json: kernel: there is no file *zImage"),
    ],
)
def test_a_manifest_that_cannot_be_used_stops_the_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(pytester.path / "cache"))
    pytester.makeconftest('pytest_plugins = ["harness.pytest_plugin"]')
    pytester.makepyfile("def test_with_a_guest(guest): pass")
    if text is not None:
        (pytester.path / "set.json").write_text(text)
    result = pytester.runpytest_inprocess("--qemu", "--qemu-image-set", "set.json")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {said}"])
    result.stderr.no_fnmatch_line("*Traceback*")
    assert not (pytester.path / "cache").exists(), "nothing was built"
