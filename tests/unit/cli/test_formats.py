# SPDX-License-Identifier: MIT
"""Results in the formats of others: files, submissions, and what is refused before the work."""

from __future__ import annotations

import dataclasses
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.cli import app
from harness.cli.formats import KCIDB_TOKEN, PATCHWORK_TOKEN, Formats, combined
from harness.cli.gate import written
from harness.errors import UserError
from harness.gate.result import Decision
from harness.ktap import parse_ktap
from tests.unit.gate.report.samples import accepted, rejected
from tests.unit.nightly.fake import add_night, job, with_test


class Server(http.server.BaseHTTPRequestHandler):
    seen: ClassVar[list[tuple[str, str, Any]]] = []

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.path, str(self.headers["Authorization"]), body))
        self.send_response(200 if "word" in str(self.headers["Authorization"]) else 403)
        self.end_headers()

    def log_message(self, *_words: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Server.seen.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{made.server_port}"
        made.shutdown()
        thread.join()


def validate(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    pytest.importorskip("kcidb_io").schema.LATEST.validate(content)
    return content


def test_a_gate_s_verdict_goes_where_it_was_asked_for(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KCIDB_TOKEN, "a word")
    monkeypatch.setenv(PATCHWORK_TOKEN, "another word")
    formats = Formats(
        tmp_path / "k.json",
        "my_ci",
        f"{server}/submit",
        tmp_path / "r.ktap",
        tmp_path / "check.json",
        f"{server}/api/patches/7/checks/",
        "https://ci.example.org/7",
    )
    formats.check()
    result = rejected()
    assert written(result, formats) == 1
    document = validate(tmp_path / "k.json")
    assert document["checkouts"][0]["origin"] == "my_ci"
    assert parse_ktap((tmp_path / "r.ktap").read_text()).tests
    check = json.loads((tmp_path / "check.json").read_text())
    assert check["state"] == "fail"
    assert check["target_url"] == "https://ci.example.org/7"
    assert Server.seen == [
        ("/submit", "Bearer a word", document),
        ("/api/patches/7/checks/", "Token another word", check),
    ]


@pytest.mark.parametrize(
    ("decision", "state"),
    [
        (Decision.ACCEPTED, "success"),
        (Decision.REJECTED, "fail"),
        (Decision.NOT_JUDGED, "warning"),
        (Decision.INFRASTRUCTURE, "warning"),
    ],
)
def test_the_state_of_a_check(tmp_path: Path, decision: Decision, state: str) -> None:
    formats = Formats(patchwork_check=tmp_path / "check.json")
    result = dataclasses.replace(accepted(), decision=decision)
    assert written(result, formats) == decision.exit_status
    assert json.loads((tmp_path / "check.json").read_text())["state"] == state


def test_a_server_that_refuses_is_infrastructure_and_hides_no_verdict(
    server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(KCIDB_TOKEN, "wrong")
    formats = Formats(kcidb_submit=f"{server}/submit")
    assert written(accepted(), formats) == 3
    assert written(rejected(), formats) == 1
    assert "403" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("formats", "said"),
    [
        (Formats(kcidb_origin="My CI"), "--kcidb-origin My CI"),
        (Formats(kcidb_submit="https://x.example.org/"), f"as {KCIDB_TOKEN}"),
        (Formats(patchwork_post="https://x.example.org/"), f"as {PATCHWORK_TOKEN}"),
    ],
)
def test_what_cannot_be_sent_is_told_before_the_work(
    formats: Formats, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(KCIDB_TOKEN, raising=False)
    monkeypatch.delenv(PATCHWORK_TOKEN, raising=False)
    with pytest.raises(UserError, match=said):
        formats.check()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://[::1/", "it is no address"),
        ("https://h:99999/", "it is no address"),
        ("https:///path", "name a host"),
        ("https://a b/", "a space or a control character"),
        ("https://bücher.example.org/", "in ASCII"),
        (f"https://{64 * 'a'}.org/", "it is no address"),
        ("http://h/", "only sent over https"),
    ],
)
@pytest.mark.parametrize("option", ["--kcidb-submit", "--patchwork-post", "--cache-url"])
def test_what_is_no_address_is_told_with_its_option_before_the_work(
    option: str,
    url: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(KCIDB_TOKEN, "word")
    monkeypatch.setenv(PATCHWORK_TOKEN, "word")
    if option == "--cache-url" and "https" in said:
        return
    assert app.main(["gate", option, url, str(tmp_path / "a.patch")]) == 2
    error = capsys.readouterr().err
    assert f"{option} {url}: " in error
    assert said in error


@pytest.mark.parametrize(
    "words",
    [
        "gate --kcidb F --ktap ./F x",
        "coverage --lcov F --html F x",
        "gate --patchwork-check F --ktap F x",
    ],
)
def test_no_two_results_go_to_one_file(
    words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert app.main(words.split()) == 2
    assert "would both write" in capsys.readouterr().err
    assert app.main([word.replace("F", "/dev/null") for word in words.split()]) == 2
    assert "would both write" not in capsys.readouterr().err


def test_somebody_s_file_is_not_written_over(tmp_path: Path) -> None:
    mine = tmp_path / "package.json"
    mine.write_text('{"name": "mine"}')
    with pytest.raises(UserError):
        Formats(kcidb=mine).check()
    assert mine.read_text() == '{"name": "mine"}'


def test_a_night_s_report_can_be_written_for_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = {job(): [with_test("failed")], job("6.1/layouts"): [with_test("passed")]}
    add_night(tmp_path / "db", "n", jobs)
    words = ["nightly", "report", "--database", str(tmp_path / "db")]
    words += ["--kcidb", str(tmp_path / "k.json"), "--ktap", str(tmp_path / "r.ktap")]
    assert app.main(words) == 0
    document = validate(tmp_path / "k.json")
    assert sorted(test["status"] for test in document["tests"]) == ["FAIL", "PASS"]
    assert "6.1/layouts" in (tmp_path / "r.ktap").read_text()
    # Once more over one's own files.
    assert app.main(words) == 0
    # Several as one.
    both = combined([document, {**document, "tests": []}])
    assert len(both["tests"]) == 2
    assert len(both["checkouts"]) == 2 * len(document["checkouts"])
