# SPDX-License-Identifier: MIT
"""``python -m harness.gate``."""

from __future__ import annotations

import sys

from harness.gate.cli import main

sys.exit(main())
