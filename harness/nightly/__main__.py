# SPDX-License-Identifier: MIT
"""``python -m harness.nightly``."""

from __future__ import annotations

import sys

from harness.nightly.cli import main

sys.exit(main())
