# SPDX-License-Identifier: MIT
"""The pytest plugin: ``pytest --qemu`` and its options, the fixtures, the reports."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from typing import Any

import pytest

from harness.builders.variant import variants
from harness.errors import HarnessError, UserError
from harness.imageset import zimage
from harness.memory.ranges import AddressRange
from harness.pytest_plugin import (
    addresses,
    cases,
    clones,
    junit,
    ktap_file,
    live,
    marks,
    options,
    properties,
    reporting,
    rootdir,
    skips,
)
from harness.pytest_plugin.boots import BOOTS
from harness.pytest_plugin.cases import CaseReporter, ktap, ktap_cases
from harness.pytest_plugin.fixtures import (
    artifacts,
    boots,
    builds,
    class_boots,
    class_guest,
    guest,
    image_set,
    kernel_version,
    machine_config,
    needs_are_met,
    qemu_session,
    templates,
)
from harness.pytest_plugin.selection import select
from harness.pytest_plugin.session import Session, session_of

__all__ = [
    "artifacts",
    "boots",
    "builds",
    "class_boots",
    "class_guest",
    "guest",
    "image_set",
    "kernel_version",
    "ktap",
    "ktap_cases",
    "machine_config",
    "needs_are_met",
    "qemu_session",
    "templates",
]

USAGE = "qemu_usage_error"
"""Under this key an xdist worker passes a usage error to the process that the user started."""
KERNELS = "harness_kernels"
"""Under this key a worker of xdist is told of the kernels (`harness.imageset.zimage.share`)."""
VERSIONS = "harness_versions"
"""Under this key it is told which kernels there are."""
SHOWS_ADDRESSES: pytest.StashKey[bool] = pytest.StashKey()
"""Whether the test that runs has a guest, so that its integers may be addresses."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds ``--qemu`` and the rest."""
    options.register(parser)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config, args: list[str]) -> None:
    """Stops at a misspelt option, and finds the ini-file where an option's value hid it."""
    try:
        options.check_names(args, early_config)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    rootdir.settle(early_config, args)


@pytest.hookimpl(trylast=True)  # the JUnit writer is there then
def pytest_configure(config: pytest.Config) -> None:
    """Declares the marks and stops at an option that cannot be used."""
    junit.register(config)
    ktap_file.register(config)
    live.register(config, config.getoption("--qemu-results"))
    if hasattr(config, "workerinput"):
        zimage.learn(config.workerinput.get(KERNELS, "[]"))
    tests = config.getoption("--qemu-default-tests")
    if tests and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args[:] = [tests]
    for mark in marks.MARKS:
        config.addinivalue_line("markers", mark)
    useless = options.without_qemu(config)
    if useless and not config.getoption("--qemu"):
        raise pytest.UsageError(
            f"{', '.join(useless)} without --qemu: nothing would be tested with it; add --qemu"
        )
    if config.getoption("--qemu"):
        try:
            session = session_of(config)
            if hasattr(config, "workerinput"):
                session.versions = tuple(config.workerinput.get(VERSIONS, session.versions))
            if session.settings.coverage:
                from harness.pytest_plugin.coverage import Plugin

                config.pluginmanager.register(Plugin(session), "qemu-coverage")
            if session.settings.gdb:
                from harness.machine.deadline import Deadline

                Deadline.stopped = True
        except UserError as error:
            raise pytest.UsageError(str(error)) from None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hands a worker of xdist what is known of the kernels, so that it need not unpack them."""
    node.workerinput[KERNELS] = zimage.share()
    if node.config.getoption("--qemu"):
        node.workerinput[VERSIONS] = list(session_of(node.config).versions)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Which files of a BiscuitOS tree are tested, and how QEMU is confined where it has less than
    all.
    """
    if not config.getoption("--qemu"):
        return []
    tree = session_of(config).biscuitos
    said = tree.said() if tree else []
    from harness.machine import confine

    with contextlib.suppress(UserError):  # it is said where the first machine is started
        said += [text for text in (confine.remark(),) if text]
    return said


def pytest_sessionstart(session: pytest.Session) -> None:
    """Builds what is missing before any test runs, and before xdist starts its workers."""
    config = session.config
    if not config.getoption("--qemu") or hasattr(config, "workerinput"):
        return
    if config.getoption("collectonly", False):
        return
    try:
        for line in session_of(config).leave_out():
            print(line, file=sys.stderr)
        for version in session_of(config).versions:
            session_of(config).image_set(version)
            for variant in variants():
                session_of(config).variant(version, variant)
    except UserError as error:
        raise pytest.UsageError(str(error)) from None
    except HarnessError as error:
        pytest.exit(str(error), returncode=3)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs tests marked `every_kernel` once for each kernel, and those of ``--qemu-ktap``."""
    if "ktap_command" in metafunc.fixturenames:
        given = (
            session_of(metafunc.config).settings if metafunc.config.getoption("--qemu") else None
        )
        commands, timeout = (given.ktap, given.ktap_timeout) if given else ((), 0)
        cases.parametrize(metafunc, commands, timeout)
    if "kernel_version" not in metafunc.fixturenames:
        return
    if metafunc.definition.get_closest_marker("every_kernel") and metafunc.config.getoption(
        "--qemu"
    ):
        versions = session_of(metafunc.config).versions
        metafunc.parametrize("kernel_version", versions, indirect=True, scope="session")


@pytest.hookimpl(tryfirst=True)  # before -k and -m take tests away
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Stops at invalid marks; skips what needs QEMU unless ``--qemu`` was given; keeps
    what ``--qemu-select`` names.
    """
    try:
        marks.check(items)
        selection = session_of(config).settings.select if config.getoption("--qemu") else None
        if selection is not None:
            select(config, items, selection)
    except pytest.UsageError as error:
        output = getattr(config, "workeroutput", None)
        if output is None:
            raise
        # An xdist worker would end with an internal error. `pytest_testnodedown` raises it in the
        # process that the user started.
        output[USAGE] = str(error)
        items.clear()
    if config.getoption("--qemu"):
        return
    skip = pytest.mark.skip(reason="needs QEMU: run pytest --qemu")
    for item in items:
        if "qemu_session" in getattr(item, "fixturenames", ()):
            item.add_marker(skip)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Raises the usage error that a worker of xdist came across while it collected."""
    message = (getattr(node, "workeroutput", None) or {}).get(USAGE)
    if message:
        raise pytest.UsageError(message)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    """Addresses in the failures of a test that has a guest are hexadecimal."""
    if "qemu_session" not in getattr(item, "fixturenames", ()):
        return (yield)
    item.config.stash[SHOWS_ADDRESSES] = True
    try:
        with addresses.hexadecimal():
            return (yield)
    finally:
        item.config.stash[SHOWS_ADDRESSES] = False


def pytest_assertrepr_compare(
    config: pytest.Config, op: str, left: object, right: object
) -> list[str] | None:
    """Shows address ranges in every test, and integers as addresses in one that has a guest."""
    if isinstance(right, AddressRange) or config.stash.get(SHOWS_ADDRESSES, False):
        return addresses.explain(op, left, right)
    return None


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """A crash or a warning that no wait came across fails the test, and so does a KTAP case."""
    result = yield
    if BOOTS in pyfuncitem.stash:
        for machine in pyfuncitem.stash[BOOTS].machines:
            machine.settle()
    if CaseReporter.KEY in pyfuncitem.stash:
        pyfuncitem.stash[CaseReporter.KEY].settle()
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[Any]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds verdict, transcript and the command that opens the same machine."""
    report = yield
    reporting.explain(item, call, report)
    reporting.hold(item, call, report)
    properties.note(item, report)
    skips.note(item, report)
    if Session.KEY in item.config.stash:
        clones.note(item.config.stash[Session.KEY].clones, report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says how many KTAP cases there were, what took clones' place, and which tests the system did
    not let run.
    """
    cases.summary(terminalreporter)
    clones.summary(terminalreporter)
    skips.summary(terminalreporter)


def pytest_sessionfinish(session: pytest.Session, exitstatus: int | pytest.ExitCode) -> None:
    """Fails the run where a QEMU of ours is still there."""
    from harness.machine.process import end_left, leaked

    if exitstatus == pytest.ExitCode.INTERRUPTED:
        # Ctrl-C lets no fixture end its machines: that is no leak, and they are ended here.
        end_left()
        return
    left = leaked()
    if left:
        session.exitstatus = 3
        pytest.exit("left running:\n" + "\n".join(left), returncode=3)
