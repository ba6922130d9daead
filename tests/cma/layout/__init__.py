# SPDX-License-Identifier: MIT
"""Layouts of CMA areas: a table, the device trees made from it, and where Linux must place them.

The expected map is computed from the table and the kernel's rules (`tests.cma.layout.placement`),
never from what a kernel said.
"""

from .dts import layout_dtb
from .model import Area, Layout
from .placement import Boot, ExpectedPlacement, place

__all__ = ["Area", "Boot", "ExpectedPlacement", "Layout", "layout_dtb", "place"]
