# SPDX-License-Identifier: MIT
"""KTAP, the results of kselftest and KUnit (``Documentation/dev-tools/ktap.rst``)."""

from harness.ktap.model import (
    BAIL_OUT,
    MISSING,
    TOTALS,
    UNPLANNED,
    Case,
    KtapOutcome,
    KtapReport,
    KtapTest,
    NoKtap,
)
from harness.ktap.parser import parse_ktap
from harness.ktap.writer import render_ktap

__all__ = [
    "BAIL_OUT",
    "MISSING",
    "TOTALS",
    "UNPLANNED",
    "Case",
    "KtapOutcome",
    "KtapReport",
    "KtapTest",
    "NoKtap",
    "parse_ktap",
    "render_ktap",
]
