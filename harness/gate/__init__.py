# SPDX-License-Identifier: MIT
"""Patches in, a verdict out: ``scripts/gate``, ``scripts/bisect`` and ``scripts/nightly``."""
