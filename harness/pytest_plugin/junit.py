# SPDX-License-Identifier: MIT
"""``--junitxml``: a testcase for each KTAP case.

pytest's own writer (``_pytest/junitxml.py``) knows no subtests: it puts all of a test's into the
testcase of the test. There is no hook to tell it otherwise, so its one method is replaced.
"""

from __future__ import annotations

import copy

import pytest
from _pytest.junitxml import LogXML, mangle_test_address

PROPERTY = "ktap"
"""The property of a report that has a case's path; it goes over from xdist's workers as well."""


def case_of(report: pytest.TestReport) -> str | None:
    """The path of the KTAP case that a report is about, if it is about one."""
    if not isinstance(report, pytest.SubtestReport):
        return None
    return next((str(value) for name, value in report.user_properties if name == PROPERTY), None)


class CaseXml(LogXML):
    """pytest's writer, with KTAP cases as testcases of the class ``MODULE.TEST``."""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """As pytest's; a case's report is that of a test that ends with it."""
        case = case_of(report)
        if case is None:
            super().pytest_runtest_logreport(report)
            return
        own = copy.copy(report)
        own.nodeid = f"{report.nodeid} > {case}"
        classes = mangle_test_address(report.nodeid)
        writer = self.node_reporter(own)
        writer.add_attribute("classname", ".".join([*filter(None, [self.prefix]), *classes]))
        writer.add_attribute("name", case)
        super().pytest_runtest_logreport(own)
        self.finalize(own)


def register(config: pytest.Config) -> None:
    """Gives the run's writer, if there is one, the method above."""
    manager = config.pluginmanager
    for plugin in manager.get_plugins():
        if type(plugin) is LogXML:
            manager.unregister(plugin)
            plugin.__class__ = CaseXml
            manager.register(plugin)
