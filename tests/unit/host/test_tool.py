# SPDX-License-Identifier: MIT
"""Tools of the host on what strangers made, where it can be confined and where it cannot."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import HarnessError, UserError, Verdict
from harness.host import confine, tool
from harness.host.confine import NoMeans
from harness.host.tool import UNCONFINED


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    def find() -> None:
        raise NoMeans("no namespaces, no Landlock")

    monkeypatch.setattr(confine, "find", find)
    monkeypatch.delenv(UNCONFINED, raising=False)


def test_it_writes_the_directory_that_it_is_given_and_nothing_beside_it(tmp_path: Path) -> None:
    try:
        confine.find()
    except NoMeans as error:
        pytest.skip(str(error).partition("\n")[0])
    place = tmp_path / "place"
    place.mkdir()
    script = "cat >made; echo x >../beside; pwd"
    status, output, said = tool.capture(
        ["sh", "-c", script], data=b"given", writable=[place], cwd=place
    )
    assert (place / "made").read_bytes() == b"given"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["place"]
    assert (status, output) == (0, f"{place}\n".encode())
    assert "beside" in said


@pytest.mark.usefixtures("nothing_works")
def test_where_nothing_can_be_confined_nothing_is_read() -> None:
    with pytest.raises(HarnessError, match="--unconfined") as caught:
        tool.capture(["cat"], data=b"given")
    assert caught.value.verdict is Verdict.INFRASTRUCTURE


@pytest.mark.usefixtures("nothing_works")
def test_what_the_user_trusts_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(UNCONFINED, "1")
    monkeypatch.setenv("TOKEN", "s3cret")
    status, output, _ = tool.capture(["sh", "-c", "cat; env"], data=b"given\n")
    assert status == 0
    assert output.startswith(b"given\n")
    assert b"s3cret" not in output


def test_a_program_that_is_missing_is_named() -> None:
    with pytest.raises(UserError, match="no-such-tool is not installed"):
        tool.run(["no-such-tool"])


def test_one_without_an_end_is_no_answer() -> None:
    with pytest.raises(HarnessError, match="came to no end"):
        tool.capture(["sleep", "60"], seconds=0.1)
