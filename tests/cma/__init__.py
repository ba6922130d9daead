# SPDX-License-Identifier: MIT
"""What a kernel with several CMA areas must do."""

import pytest

# Wherever the suite is installed: its helpers' assertions explain themselves as a test's do.
pytest.register_assert_rewrite(f"{__name__}.support", f"{__name__}.layout")
