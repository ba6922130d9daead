# SPDX-License-Identifier: MIT
"""Boots an ARM32 kernel with several CMA areas in QEMU and proves where its memory comes from."""
