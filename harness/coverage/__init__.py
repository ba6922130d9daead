# SPDX-License-Identifier: MIT
"""Which lines of kernel and module each test executed: the record, and the formats of others.

What a machine executed comes from QEMU's own log of translated blocks (`harness.machine`), on a
kernel that was not changed for it; lines come from its line table (`harness.imageset.linetable`).
"""
