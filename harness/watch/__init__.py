# SPDX-License-Identifier: MIT
"""From a saved file to a verdict: a screen, and a worker process that builds, boots and tests."""
