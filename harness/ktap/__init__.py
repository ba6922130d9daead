# SPDX-License-Identifier: MIT
"""KTAP, the results of kselftest and KUnit (``Documentation/dev-tools/ktap.rst``)."""

from harness.ktap.model import MISSING, UNPLANNED, Case, KtapReport, KtapTest, NoKtap, Outcome
from harness.ktap.parser import parse_ktap

__all__ = [
    "MISSING",
    "UNPLANNED",
    "Case",
    "KtapReport",
    "KtapTest",
    "NoKtap",
    "Outcome",
    "parse_ktap",
]
