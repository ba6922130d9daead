# SPDX-License-Identifier: MIT
"""Results in the form of KCIDB, the database of kernel CI: schema 5.3 of the package ``kcidb-io``.

An object's id is the origin and a digest of what it is, so that a report that is sent twice is the
same report.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness import board
from harness.errors import HarnessError, UserError, Verdict
from harness.host.webaddress import TROUBLE, loopback, split
from harness.plaintext import clean, line
from harness.testrun.result import CaseResult

VERSION = {"major": 5, "minor": 3}
ARCHITECTURE = "arm"
ENVIRONMENT = {
    "comment": f"{board.QEMU} -M {board.MACHINE}",
    "compatible": ["arm,vexpress,v2p-ca9", "arm,vexpress"],
}
EXCERPT = 16384
"""Characters of a message that are sent."""
TIMEOUT = 60.0
ORIGIN = re.compile(r"[a-z0-9_]+")
_STATUS = {"passed": "PASS", "skipped": "SKIP", "xfailed": "DONE"}
"""``DONE``: a known failure says nothing new of the code."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclasses.dataclass(frozen=True)
class Checkout:
    """The sources that were tested."""

    name: str
    """``Linux 6.1.192 of Debian``, or a directory's name."""
    started: str
    """ISO 8601, with a zone; empty where it is not known."""
    commit: str = ""
    """The whole id of the base commit; empty where there is none."""
    patches: tuple[tuple[str, str], ...] = ()
    """Name of each patch on it, and SHA-256 of it as hex (empty: not known), in their order."""
    valid: bool = True
    """Whether the patches apply."""
    message: str = ""
    """Why they do not."""


@dataclasses.dataclass(frozen=True)
class KernelBuild:
    """One build of them, and what its tests gave."""

    name: str
    """``our configuration``, ``512 MiB`` …: tells two builds of a checkout apart."""
    release: str = ""
    status: str = "PASS"
    """``PASS``, ``FAIL`` or ``MISS``."""
    message: str = ""
    """The end of its log, where it failed."""
    seconds: float | None = None
    compiler: str = ""
    cases: Sequence[CaseResult] = ()


def report(origin: str, runs: Iterable[tuple[Checkout, Sequence[KernelBuild]]]) -> dict[str, Any]:
    """The whole as one KCIDB document. Raises `UserError` for an origin that is no name."""
    if not ORIGIN.fullmatch(origin):
        raise UserError(f"origin {origin!r}: a name of a-z, 0-9 and _ is needed")
    checkouts: list[dict[str, Any]] = []
    builds: list[dict[str, Any]] = []
    tests: list[dict[str, Any]] = []
    for checkout, built in runs:
        checkouts.append(_checkout(origin, checkout))
        for build in built:
            builds.append(_build(origin, checkouts[-1]["id"], build, checkout.started))
            tests += [
                _test(origin, builds[-1]["id"], case, checkout.started) for case in build.cases
            ]
    return {"version": dict(VERSION), "checkouts": checkouts, "builds": builds, "tests": tests}


def _id(origin: str, *parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "replace")).hexdigest()
    return f"{origin}:{digest[:40]}"


def _checkout(origin: str, checkout: Checkout) -> dict[str, Any]:
    digests = [digest for _name, digest in checkout.patches]
    known = "".join(f"{digest}\n" for digest in digests)
    found: dict[str, Any] = {
        "id": _id(origin, checkout.name, checkout.commit, known, checkout.started),
        "origin": origin,
        "comment": line(checkout.name),
        **_start(checkout.started),
        "valid": checkout.valid,
    }
    if all(digests):
        found["patchset_hash"] = hashlib.sha256(known.encode()).hexdigest() if digests else ""
    if _COMMIT.fullmatch(checkout.commit):
        found["git_commit_hash"] = checkout.commit
    if checkout.patches:
        found["misc"] = {"patches": [line(name) for name, _digest in checkout.patches]}
    if checkout.message:
        found["log_excerpt"] = _excerpt(checkout.message)
    return found


def _build(origin: str, checkout: str, build: KernelBuild, started: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "checkout_id": checkout,
        "id": _id(origin, checkout, build.name),
        "origin": origin,
        "comment": line(f"{build.release} ({build.name})" if build.release else build.name),
        "architecture": ARCHITECTURE,
        **_start(started),
        "status": build.status,
    }
    if build.seconds is not None:
        found["duration"] = round(build.seconds, 3)
    if build.compiler:
        found["compiler"] = line(build.compiler)
    if build.message:
        found["log_excerpt"] = _excerpt(build.message)
    return found


def _test(origin: str, build: str, case: CaseResult, started: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "build_id": build,
        "id": _id(origin, build, case.test),
        "origin": origin,
        "path": path_of(case.test),
        "comment": line(case.test),
        "environment": ENVIRONMENT,
        "status": status_of(case),
        **_start(started),
        "duration": round(max(case.seconds, 0.0), 3),
    }
    misc = {"verdict": case.verdict} if case.verdict else {}
    if case.outcome == "xfailed":
        misc["known_failure"] = line(case.message)
    if case.artifact is not None:
        misc["transcript"] = line(str(case.artifact))
    if case.command:
        misc["qemu"] = line(case.command)
    if misc:
        found["misc"] = misc
    if case.message:
        found["log_excerpt"] = _excerpt(case.message)
    return found


def status_of(case: CaseResult) -> str:
    """KCIDB's word: ``MISS`` where infrastructure failed, so that nothing is known of the code."""
    if case.failed:
        return "MISS" if case.verdict == Verdict.INFRASTRUCTURE.value else "FAIL"
    return _STATUS[case.outcome]


def path_of(test: str) -> str:
    """``tests/cma/test_x.py::TestY::test_z[p]`` as ``vexpress_cma.cma.test_x.TestY.test_z.p``."""
    words = test.replace(".py::", "::").removeprefix("tests/")
    parts = re.split(r"[/\[\]]|::", words)
    safe = [re.sub(r"[^A-Za-z0-9_-]+", "_", part) for part in parts if part]
    return ".".join(["vexpress_cma", *safe])


def _start(started: str) -> dict[str, str]:
    """The time, where it is one with a zone: the schema takes no other."""
    try:
        known = datetime.datetime.fromisoformat(started).tzinfo is not None
    except ValueError:
        known = False
    return {"start_time": started} if known else {}


def _excerpt(text: str) -> str:
    """The end of a text, cleaned: the schema takes no NUL, and a person reads it."""
    return clean(text)[-EXCERPT:]


def submit(data: Mapping[str, Any], url: str, token: str, scheme: str = "Bearer") -> str:
    """Posts JSON with the token, under the scheme of authorization; returns what the server said.

    Raises `UserError` for an address to which no token should go, `HarnessError` where the server
    does not take it.
    """
    check_submission(url, token)
    # A proxy for http would read the token.
    proxies = [urllib.request.ProxyHandler({})] if split(url, "").scheme == "http" else []
    headers = {"Authorization": f"{scheme} {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(data).encode(), headers, method="POST")
    try:
        opener = urllib.request.build_opener(_NoRedirect, *proxies)
        with opener.open(request, timeout=TIMEOUT) as answer:
            said: bytes = answer.read(EXCERPT)
            return clean(said.decode("utf-8", "replace"))
    except urllib.error.HTTPError as error:
        with error:
            why = error.reason
            with contextlib.suppress(*TROUBLE):
                why = clean(error.read(EXCERPT).decode("utf-8", "replace")).strip()
        raise HarnessError(f"{url} does not take the report: {error.code} {why}") from error
    except TROUBLE as error:
        raise HarnessError(f"{url} cannot be reached: {line(str(error), 200)}") from error


def check_submission(url: str, token: str, what: str = "") -> None:
    """Raises `UserError` for an address to which no token should go, and for what is no token.
    `what` is the option that named it.
    """
    place = split(url, what)
    if place.scheme != "https" and not (place.scheme == "http" and loopback(place.hostname or "")):
        raise UserError(
            f"{what} {url}: the token is only sent over https (or to this machine itself)".lstrip()
        )
    if not token or not (token.isprintable() and token.isascii()):
        raise UserError("the token is empty, or is not one line of ASCII text")


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would take the token elsewhere."""

    def redirect_request(self, *_request: Any) -> None:
        """None: the answer is an error."""


def patchwork_check(state: str, reason: str, context: str, url: str = "") -> dict[str, str]:
    """A patch's check as Patchwork's API takes it (``POST /api/patches/ID/checks/``), and b4 shows
    it. `state` is ``success``, ``warning`` or ``fail``; `context` is the check's name; `url` the
    page of its report.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", context).strip("-") or "vexpress-cma"
    found = {"state": state, "context": name, "description": line(reason, 255)}
    return {**found, "target_url": url} if url else found
