# SPDX-License-Identifier: MIT
"""The search for the first bad commit, on a small repository with given test results."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from harness.cli import app
from harness.cli import bisect as bisect_cli
from harness.errors import HarnessError, UserError
from harness.gate.bisect import Found, Mark, Tested, Undecided, search

Test = Callable[[str, Sequence[str]], Tested]


def imported(count: int) -> str:
    """Commits 0 to `count`, each with a new content of ``file``, as git-fast-import(1) reads it."""
    text = []
    for number in range(count + 1):
        text += ["commit refs/heads/main", f"committer A <a@example.org> {10**9 + number} +0000"]
        for line, words in (("", f"commit {number}"), ("M 644 inline file\n", f"{number}\n")):
            text.append(f"{line}data {len(words)}\n{words}")
    return "\n".join(text) + "\n"


def made(place: Path, count: int) -> Path:
    """A repository with commits 0 to `count`."""
    place.mkdir()
    git(place, "init", "-q", "-b", "main")
    git(place, "fast-import", "--quiet", data=imported(count))
    git(place, "reset", "-q", "--hard")
    return place


def git(place: Path, *words: str, data: str = "") -> str:
    done = subprocess.run(
        ["git", *words], cwd=place, check=True, capture_output=True, text=True, input=data
    )
    return done.stdout


class History:
    """A line of commits; those from `bad_from` on are bad, and some cannot be judged."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.commits = git(place, "rev-list", "--reverse", "HEAD").split()
        self.bad_from = 1
        self.skipped: set[int] = set()
        self.tested: list[int] = []
        self.targets: list[Sequence[str]] = []

    def test(self, commit: str, targets: Sequence[str]) -> Tested:
        number = self.commits.index(commit)
        self.tested.append(number)
        self.targets.append(targets)
        if number in self.skipped:
            return Tested(commit, Mark.SKIP, "it does not build")
        if number >= self.bad_from:
            return Tested(commit, Mark.BAD, "red", ("test_x",))
        return Tested(commit, Mark.GOOD, "green")

    def search(self, test: Test | None = None) -> tuple[int, int, bool]:
        """Number of the first bad commit, steps, and whether it was proved."""
        said: list[str] = []
        ends = self.commits[0], self.commits[-1]
        found = search(*ends, self.place, test or self.test, said.append)
        return self.commits.index(found.first_bad), len(found.steps), found.proved


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For all tests: a search only reads it."""
    return made(tmp_path_factory.mktemp("bisect") / "tree", 20)


@pytest.fixture
def history(tree: Path) -> History:
    return History(tree)


@pytest.mark.parametrize("bad", [1, 7, 13, 20])
def test_the_first_bad_commit_is_found_in_the_fewest_steps(history: History, bad: int) -> None:
    history.bad_from = bad
    found, steps, proved = history.search()
    assert (found, proved) == (bad, True)
    assert steps <= 5, "twenty commits: log2"
    assert history.tested[:2] == [20, 0], "the ends first"
    assert history.tested[-4:] == [bad, bad, bad - 1, bad - 1], "twice, and its parent twice"


def test_only_what_the_bad_end_fails_is_asked_of_the_others(history: History) -> None:
    history.bad_from = 9
    history.search()
    assert history.targets[0] == ()
    assert set(map(tuple, history.targets[1:])) == {("test_x",)}


def test_the_user_s_repository_is_only_read(history: History) -> None:
    def state() -> list[tuple[str, int]]:
        files = sorted(history.place.rglob("*"))
        return [(str(path), path.stat().st_mtime_ns) for path in files if path.is_file()]

    before = state()
    history.bad_from = 5
    history.search()
    assert state() == before


def test_commits_that_cannot_be_judged_are_gone_round(history: History) -> None:
    history.bad_from, history.skipped = 13, {10, 11, 6}
    assert history.search()[0] == 13


def test_where_only_such_are_left_nothing_is_claimed(history: History) -> None:
    history.bad_from, history.skipped = 13, {12}
    with pytest.raises(Undecided, match="cannot be judged are left"):
        history.search()


@pytest.mark.parametrize(
    ("bad_from", "said"), [(0, "GOOD, .*, is not good: red"), (99, "BAD, .*, is not bad: green")]
)
def test_ends_that_are_not_what_they_are_said_to_be(
    history: History, bad_from: int, said: str
) -> None:
    history.bad_from = bad_from
    with pytest.raises(UserError, match=said):
        history.search()


def test_ends_the_wrong_way_round_are_told(history: History) -> None:
    ends = history.commits[-1], history.commits[0]
    with pytest.raises(UserError, match="is no ancestor of"):
        search(*ends, history.place, history.test, lambda text: None)


def test_a_first_bad_commit_that_passes_the_second_time_is_not_proved(history: History) -> None:
    history.bad_from = 13
    seen: list[str] = []

    def flaky(commit: str, targets: Sequence[str]) -> Tested:
        seen.append(commit)
        tested = history.test(commit, targets)
        if commit == history.commits[13] and seen.count(commit) == 3:
            return Tested(commit, Mark.GOOD, "green")
        return tested

    assert history.search(flaky) == (13, len(history.tested) - 6, False)


class TestRun:
    """``--run``: only what is known of a commit marks it."""

    @pytest.mark.parametrize(("mark", "status"), [("good", 0), ("bad", 1), ("skip", 125)])
    def test_a_mark_is_git_s_status(
        self, monkeypatch: pytest.MonkeyPatch, mark: str, status: int
    ) -> None:
        monkeypatch.setattr(bisect_cli, "_one", lambda options: Mark(mark).run_status)
        assert app.main(["bisect", "--run"]) == status

    @pytest.mark.parametrize(
        "error",
        [
            UserError("bad option"),
            HarnessError("no disk"),
            ValueError("a bug of ours"),
            KeyboardInterrupt(),
            SystemExit(1),
            OSError("disk"),
        ],
    )
    def test_nothing_else_marks_a_commit(
        self, monkeypatch: pytest.MonkeyPatch, error: BaseException
    ) -> None:
        def fail(options: object) -> int:
            raise error

        monkeypatch.setattr(bisect_cli, "_one", fail)
        assert app.main(["bisect", "--run"]) >= 128

    @pytest.mark.parametrize(
        "words", [["--nonsense"], ["--kernel", "/no/such"], ["-j", "0"], ["-n", "0"]]
    )
    def test_a_wrong_option_does_not_either(self, words: list[str]) -> None:
        assert app.main(["bisect", "--run", *words]) >= 128
        assert app.main(["bisect", *words]) == 2

    def test_the_kept_tree_is_the_oldest_good_commit_s(self, tmp_path: Path) -> None:
        history = History(made(tmp_path / "tree", 9))
        assert bisect_cli._known_good(history.place) is None
        for number in (9, 3, 6):
            commit = history.commits[number]
            git(history.place, "update-ref", f"refs/bisect/good-{commit}", commit)
        assert bisect_cli._known_good(history.place) == history.commits[3]


@pytest.mark.parametrize("proved", [True, False, None])
def test_only_a_system_at_fault_ends_with_1_and_here_none_is(
    history: History, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, proved: bool | None
) -> None:
    def found(*_words: object) -> object:
        if proved is None:
            raise Undecided("only commits that cannot be judged are left")
        good = Tested(history.commits[0], Mark.GOOD, "green")
        bad = Tested(history.commits[1], Mark.BAD, "red")
        return Found(bad.commit, (), (bad, bad if proved else good, good, good))

    monkeypatch.setattr(bisect_cli, "search", found)
    monkeypatch.setattr(bisect_cli, "tester", lambda *_words: contextlib.nullcontext(History))
    monkeypatch.setattr(bisect_cli, "check_installed", lambda: None)
    words = [history.commits[0], history.commits[-1], "--kernel", str(history.place)]
    assert app.main(["bisect", *words, "--output", str(tmp_path / "out")]) == (0 if proved else 3)
