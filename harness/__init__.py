# SPDX-License-Identifier: MIT
"""Boots an ARM32 kernel with several CMA areas in QEMU and proves where its memory comes from."""

__version__ = "0.2.0.dev0"
