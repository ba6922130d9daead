# SPDX-License-Identifier: MIT
"""Ratios against peers, measured in one run: see `harness.bench.run`."""
