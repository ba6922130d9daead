# SPDX-License-Identifier: MIT
"""Results as KCIDB takes them; the schema itself is asked where its package is installed."""

from __future__ import annotations

import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from harness.errors import HarnessError, UserError
from harness.testrun.kcidb import (
    Checkout,
    KernelBuild,
    patchwork_check,
    path_of,
    report,
    status_of,
    submit,
)
from harness.testrun.result import CaseResult

STARTED = "2026-11-27T15:27:04+00:00"
X = "tests/cma/test_x.py"
CASES = (
    CaseResult(f"{X}::TestA::test_good[cma=16M@0x7-6.1]", "passed", seconds=1.5),
    CaseResult(f"{X}::test_bad", "failed", "crash", "panic\0\x1b[31m\n" * 3000, 2, Path("a/t.txt")),
    CaseResult(f"{X}::test_skipped", "skipped", "", "no debugfs"),
    CaseResult(f"{X}::test_known", "xfailed", "", "6.12 dies"),
    CaseResult(f"{X}::test_lost", "failed", "infrastructure", "QEMU died"),
)
CHECKOUT = Checkout("Linux 6.1.192", STARTED, "1" * 40, (("x.patch", "a" * 64), ("y", "b" * 64)))
BUILD = KernelBuild("our configuration", "6.1.192", seconds=12.3456, cases=CASES)
BROKEN = Checkout("Linux 6.1.192", STARTED, "", (("z.patch", "a" * 64),), False, "does not apply")
UNBUILT = KernelBuild("another", status="FAIL", message="mm/cma.c:1: error\0")


def whole() -> dict[str, Any]:
    return report("vexpress_cma", [(CHECKOUT, [BUILD, UNBUILT]), (BROKEN, [])])


def test_the_objects_refer_to_each_other() -> None:
    data = whole()
    assert data["version"] == {"major": 5, "minor": 3}
    first, broken = data["checkouts"]
    assert (first["valid"], broken["valid"]) == (True, False)
    assert first["git_commit_hash"] == "1" * 40
    assert "git_commit_hash" not in broken
    built, unbuilt = data["builds"]
    assert built["checkout_id"] == unbuilt["checkout_id"] == first["id"]
    assert (built["status"], unbuilt["status"]) == ("PASS", "FAIL")
    assert {test["build_id"] for test in data["tests"]} == {built["id"]}
    ids = [item["id"] for kind in ("checkouts", "builds", "tests") for item in data[kind]]
    assert len(set(ids)) == len(ids) == 9
    assert all(re.fullmatch(r"vexpress_cma:[0-9a-f]{40}", name) for name in ids)


def test_the_patchset_has_the_hash_that_the_schema_defines() -> None:
    first = whole()["checkouts"][0]
    lines = "a" * 64 + "\n" + "b" * 64 + "\n"
    assert first["patchset_hash"] == hashlib.sha256(lines.encode()).hexdigest()
    assert first["patchset_hash"] != whole()["checkouts"][1]["patchset_hash"]
    assert report("o", [(Checkout("x", STARTED), [])])["checkouts"][0]["patchset_hash"] == ""
    unknown = report("o", [(Checkout("x", "", "", (("y", ""),)), [])])["checkouts"][0]
    assert "patchset_hash" not in unknown
    assert "start_time" not in unknown


def test_who_is_at_fault_decides_the_status() -> None:
    assert [status_of(case) for case in CASES] == ["PASS", "FAIL", "SKIP", "DONE", "MISS"]
    lost = whole()["tests"][4]
    assert (lost["status"], lost["misc"]) == ("MISS", {"verdict": "infrastructure"})


def test_the_same_report_has_the_same_ids_and_another_night_has_others() -> None:
    assert whole() == whole()
    later = report("o", [(Checkout("x", "2026-11-28T00:00:00+00:00"), [BUILD])])
    now = report("o", [(Checkout("x", STARTED), [BUILD])])
    assert later["tests"][0]["id"] != now["tests"][0]["id"]


@pytest.mark.parametrize(
    ("test", "path"),
    [
        ("tests/cma/test_x.py::test_a", "vexpress_cma.cma.test_x.test_a"),
        (
            "tests/cma/test_x.py::TestY::test_z[a.b-6.1]",
            "vexpress_cma.cma.test_x.TestY.test_z.a_b-6_1",
        ),
        ("a/b.py::test[é/ü]", "vexpress_cma.a.b.test._._"),
        ("", "vexpress_cma"),
    ],
)
def test_a_path_has_only_what_the_schema_takes(test: str, path: str) -> None:
    assert path_of(test) == path
    assert re.fullmatch(r"[a-zA-Z0-9_-]+(\.[a-zA-Z0-9_-]+)*", path_of(test))


def test_texts_are_clean_and_short() -> None:
    text = whole()["tests"][1]["log_excerpt"]
    assert len(text) <= 16384
    assert "\0" not in json.dumps(whole())
    assert "\x1b" not in text


def test_an_origin_that_is_no_name_is_refused() -> None:
    with pytest.raises(UserError, match="a name of a-z"):
        report("My CI", [])


def test_the_package_s_schema_takes_it() -> None:
    schema = pytest.importorskip("kcidb_io").schema
    assert schema.LATEST.is_compatible_exactly(schema.LATEST.validate(whole()))
    assert schema.LATEST.count(whole()) == 9
    empty = report("o", [])
    schema.LATEST.validate(empty)


# Submission


class Server(http.server.BaseHTTPRequestHandler):
    """Takes reports as the real one does."""

    seen: ClassVar[list[tuple[str, Any]]] = []

    def do_POST(self) -> None:
        data = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.seen.append((self.headers["Authorization"], data))
        if self.path == "/cut-off":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            return
        if self.path == "/nonsense":
            self.wfile.write(b"\x1b[31mnonsense\r\n")
            return
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", "/submit")
            self.end_headers()
            return
        good = self.headers["Authorization"] == "Bearer word" and self.path == "/submit"
        self.send_response(200 if good else 403)
        self.end_headers()
        self.wfile.write(b"ok\n" if good else b"no such \x1b[31mtoken")

    def log_message(self, *_words: object) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[str]:
    Server.seen.clear()
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{made.server_port}"
    made.shutdown()
    thread.join()
    made.server_close()


def test_a_report_is_submitted_with_its_token(server: str) -> None:
    assert submit(whole(), f"{server}/submit", "word") == "ok\n"
    assert Server.seen == [("Bearer word", json.loads(json.dumps(whole())))]


def test_a_server_that_refuses_is_told_in_its_words(server: str) -> None:
    with pytest.raises(HarnessError, match=r"does not take the report: 403 no such token"):
        submit(whole(), f"{server}/submit", "other")


def test_a_redirect_does_not_get_the_token(server: str) -> None:
    with pytest.raises(HarnessError, match="302"):
        submit(whole(), f"{server}/elsewhere", "word")
    assert len(Server.seen) == 1


@pytest.mark.parametrize("url", ["http://example.org/submit", "ftp://x/", "file:///etc", "submit"])
def test_a_token_goes_nowhere_else(url: str) -> None:
    with pytest.raises(UserError, match="only sent over https"):
        submit({}, url, "word")
    for token in ("", "a\nb", "ä", "\u20ac"):
        with pytest.raises(UserError, match="one line"):
            submit({}, "http://127.0.0.1:1/", token)


def test_no_proxy_reads_a_token(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "all_proxy"):
        monkeypatch.setenv(name, server)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(HarnessError, match="cannot be reached"):
        submit({}, "http://127.0.0.1:1/submit", "word")
    assert not Server.seen
    assert submit({}, f"{server.replace('http', 'HTTP')}/submit", "word") == "ok\n"


@pytest.mark.parametrize("path", ["cut-off", "nonsense"])
def test_a_server_that_breaks_off_is_said_in_a_line(server: str, path: str) -> None:
    with pytest.raises(HarnessError, match=f"{path} cannot be reached: ") as raised:
        submit({}, f"{server}/{path}", "word")
    assert len(str(raised.value).splitlines()) == 1


def test_a_server_that_is_not_there_is_said(server: str) -> None:
    with pytest.raises(HarnessError, match="cannot be reached"):
        submit({}, "http://127.0.0.1:1/submit", "word")


def test_a_check_for_patchwork() -> None:
    assert patchwork_check("fail", "a\ntest fails", "cma gate") == {
        "state": "fail",
        "context": "cma-gate",
        "description": "a test fails",
    }
    check = patchwork_check("success", "x" * 300, "cma", "https://ci/1")
    assert (check["state"], len(check["description"])) == ("success", 255)
    assert check["target_url"] == "https://ci/1"
