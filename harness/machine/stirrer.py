# SPDX-License-Identifier: MIT
"""A program for a guest that has none of ours: it has the kernel mix bytes and use them at once.

Clones of one template have one pool of randomness, so each must get bytes of its own before
anything is drawn. Bytes that are only written to ``/dev/urandom`` are mixed in, but nothing that is
drawn in the next minutes depends on them: that takes two requests (random(4), Linux
``drivers/char/random.c``), and no shell can make one. So this is a whole ARM program of 32-bit
little-endian ELF (ELF specification; EABI: the number of a system call is in r7), small enough to
go over in the line of a command, with its bytes in it.
"""

from __future__ import annotations

import base64
import struct

BASE = 0x10000
"""Where it is loaded, above ``vm.mmap_min_addr``."""
RNDADDENTROPY = 0x40085203
"""Mixes bytes in and counts them: a pool that was not ready yet is then."""
RNDRESEEDCRNG = 0x5207
"""Has all that is drawn from now on depend on the pool. ENODATA where it is not ready."""
CODE = (
    0xE3A00000,  # mov r0, #0        standard input
    0xE59F1020,  # ldr r1, [pc, #32] RNDADDENTROPY
    0xE28F2024,  # add r2, pc, #36   struct rand_pool_info
    0xE3A07036,  # mov r7, #54       ioctl
    0xEF000000,  # svc 0
    0xE3500000,  # cmp r0, #0
    0x1A000001,  # bne exit
    0xE59F100C,  # ldr r1, [pc, #12] RNDRESEEDCRNG
    0xEF000000,  # svc 0
    0xE3A07001,  # exit: mov r7, #1  its status is what came last: 0, or an error's number
    0xEF000000,  # svc 0
    RNDADDENTROPY,
    RNDRESEEDCRNG,
)
HEADERS = 52 + 32
"""Bytes of the file's header and of that of its one segment."""


def program(fresh: bytes) -> bytes:
    """The program; `fresh` is what it has the kernel of its standard input mix in."""
    code = struct.pack(f"<{len(CODE)}I", *CODE)
    pool = struct.pack("<2i", 8 * len(fresh), len(fresh)) + fresh
    size = HEADERS + len(code) + len(pool)
    # e_ident: 32 bits, little endian; ET_EXEC, EM_ARM; the flags say EABI 5.
    header = b"\x7fELF\1\1\1".ljust(16, b"\0")
    header += struct.pack(
        "<2H5I6H", 2, 40, 1, BASE + HEADERS, 52, 0, 0x05000000, 52, 32, 1, 0, 0, 0
    )
    # PT_LOAD, readable and executable.
    segment = struct.pack("<8I", 1, 0, BASE, BASE, size, size, 5, 0x1000)
    return header + segment + code + pool


def command(fresh: bytes) -> str:
    """A line for the loop in the guest (`harness.machine.guestloop`); status 0 says: it is done.

    A system without the device has nothing to stir, as far as a program can see.
    """
    text = base64.b64encode(program(fresh)).decode()
    return (
        "[ ! -c /dev/urandom ] || { "
        f"echo {text} | base64 -d >$_d.s && chmod 700 $_d.s && (exec $_d.s </dev/urandom); "
        "_z=$?; rm -f $_d.s; (exit $_z); }"
    )
