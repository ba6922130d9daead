# SPDX-License-Identifier: MIT
"""KTAP, the results of kselftest and KUnit (``Documentation/dev-tools/ktap.rst``)."""

from harness.ktap.model import (
    BAIL_OUT,
    MISSING,
    TOTALS,
    UNPLANNED,
    Case,
    KtapReport,
    KtapTest,
    NoKtap,
    Outcome,
)
from harness.ktap.parser import parse_ktap

__all__ = [
    "BAIL_OUT",
    "MISSING",
    "TOTALS",
    "UNPLANNED",
    "Case",
    "KtapReport",
    "KtapTest",
    "NoKtap",
    "Outcome",
    "parse_ktap",
]
