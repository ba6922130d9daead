# SPDX-License-Identifier: MIT
"""Filters of system calls for programs that are not trusted, as the kernel takes them.

Two of them: what such a program is refused, and what it is asked about first, so that attempts can
be told (see `harness.host.witness`). Classic BPF on ``struct seccomp_data``: seccomp(2), and
``include/uapi/linux/{filter,seccomp,audit}.h``. Numbers of system calls: ``syscall_64.tbl`` of
x86 and ``asm-generic/unistd.h`` (arm64).
"""

from __future__ import annotations

import dataclasses
import errno
import platform
import struct
from collections.abc import Sequence

ALLOW, ERRNO, ASK = 0x7FFF0000, 0x00050000, 0x7FC00000
"""``SECCOMP_RET_ALLOW``, ``SECCOMP_RET_ERRNO``, ``SECCOMP_RET_USER_NOTIF``."""
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32 = 0x40000000

NUMBERS: dict[str, tuple[int | None, int | None]] = {
    # x86_64, aarch64
    "open": (2, None),
    "ioctl": (16, 29),
    "socket": (41, 198),
    "clone": (56, 220),
    "kill": (62, 129),
    "truncate": (76, 45),
    "rename": (82, None),
    "mkdir": (83, None),
    "rmdir": (84, None),
    "creat": (85, None),
    "link": (86, None),
    "unlink": (87, None),
    "symlink": (88, None),
    "chmod": (90, None),
    "fchmod": (91, 52),
    "chown": (92, None),
    "lchown": (94, None),
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "rt_sigqueueinfo": (129, 138),
    "mknod": (133, None),
    "vhangup": (153, 58),
    "modify_ldt": (154, None),
    "pivot_root": (155, 41),
    "prctl": (157, 167),
    "adjtimex": (159, 171),
    "chroot": (161, 51),
    "acct": (163, 89),
    "settimeofday": (164, 170),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "iopl": (172, None),
    "ioperm": (173, None),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "tkill": (200, 130),
    "lookup_dcookie": (212, 18),
    "clock_settime": (227, 112),
    "tgkill": (234, 131),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "migrate_pages": (256, 238),
    "openat": (257, 56),
    "mkdirat": (258, 34),
    "mknodat": (259, 33),
    "fchownat": (260, 54),
    "unlinkat": (263, 35),
    "renameat": (264, 38),
    "linkat": (265, 37),
    "symlinkat": (266, 36),
    "fchmodat": (268, 53),
    "unshare": (272, 97),
    "move_pages": (279, 239),
    "rt_tgsigqueueinfo": (297, 240),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "prlimit64": (302, 261),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "clock_adjtime": (305, 266),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "renameat2": (316, 276),
    "seccomp": (317, 277),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "pidfd_send_signal": (424, 424),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "clone3": (435, 435),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "mount_setattr": (442, 442),
    "quotactl_fd": (443, 443),
    "fchmodat2": (452, 452),
}
# Nobody who compiles or emulates needs one of these, and many have been a way out of a sandbox.
_REFUSED = (
    *("ptrace", "syslog", "vhangup", "modify_ldt", "pivot_root", "adjtimex", "chroot", "acct"),
    *("settimeofday", "mount", "umount2", "swapon", "swapoff", "reboot", "sethostname"),
    *("setdomainname", "iopl", "ioperm", "init_module", "delete_module", "quotactl"),
    *("lookup_dcookie", "clock_settime", "kexec_load", "add_key", "request_key", "keyctl"),
    *("migrate_pages", "unshare", "move_pages", "perf_event_open", "fanotify_init"),
    *("name_to_handle_at", "open_by_handle_at", "clock_adjtime", "setns", "process_vm_readv"),
    *("process_vm_writev", "kcmp", "finit_module", "seccomp", "kexec_file_load", "bpf"),
    *("userfaultfd", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick"),
    *("pidfd_getfd", "process_madvise", "mount_setattr", "quotactl_fd"),
)
# Their arguments are in memory, where no filter can look; the C library knows the older ones.
_UNKNOWN = ("clone3", "openat2", "io_uring_setup", "io_uring_enter", "io_uring_register")
_SIGNALS = (
    "kill",
    "tkill",
    "tgkill",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "pidfd_send_signal",
)
_NEW_NAMESPACES = 0x7E020000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_PR_SET_SECCOMP = 22
WRITING = 0o1 | 0o2 | 0o100 | 0o1000
"""``O_WRONLY``, ``O_RDWR``, ``O_CREAT``, ``O_TRUNC``: the same on both machines."""
FLAGS = {"open": 1, "openat": 2}
"""Calls that open a file, and which argument has the flags."""
MODES = {
    "open": 2,
    "openat": 3,
    "creat": 1,
    "mknod": 1,
    "mknodat": 2,
    "chmod": 1,
    "fchmod": 1,
    "fchmodat": 2,
    "fchmodat2": 2,
}
"""Calls that set a file's mode, and which argument it is."""
MAKE_NODE = ("mknod", "mknodat")
MAKING = 0o100 | 0o20000000
"""``O_CREAT``, ``__O_TMPFILE``: only with these an opened file's mode is set."""
SET_ID = 0o6000
DEVICE = 0o020000
"""Set in ``S_IFCHR`` and in ``S_IFBLK``, and in no type that a program may make."""
PATHS: dict[str, tuple[tuple[int | None, int], ...]] = {
    # Of each path: the argument with the directory's descriptor, that with the path.
    **dict.fromkeys(("open", "creat", "unlink", "rmdir", "mkdir", "mknod"), ((None, 0),)),
    **dict.fromkeys(("truncate", "chmod", "chown", "lchown"), ((None, 0),)),
    **dict.fromkeys(("setxattr", "lsetxattr"), ((None, 0),)),
    **dict.fromkeys(("openat", "unlinkat", "mkdirat", "mknodat", "fchownat"), ((0, 1),)),
    **dict.fromkeys(("fchmodat", "fchmodat2"), ((0, 1),)),
    "rename": ((None, 0), (None, 1)),
    "renameat": ((0, 1), (2, 3)),
    "renameat2": ((0, 1), (2, 3)),
    "link": ((None, 1),),
    "linkat": ((2, 3),),
    "symlink": ((None, 1),),
    "symlinkat": ((1, 2),),
}
"""Calls that change what a path leads to, and where their paths are."""


@dataclasses.dataclass(frozen=True)
class If:
    """A condition on the lower 32 bits of an argument."""

    argument: int
    mask: int = 0xFFFFFFFF
    """These bits of it …"""
    equal: int | None = None
    """… are this, or, where it is None, not 0."""


@dataclasses.dataclass(frozen=True)
class Rule:
    """What becomes of one system call, where all conditions hold."""

    call: str
    action: int
    conditions: tuple[If, ...] = ()


def machine() -> str | None:
    """This host's architecture; None where there are no filters for it."""
    name = platform.machine()
    return name if name in _ARCHITECTURES else None


def numbers(architecture: str) -> dict[str, int]:
    """The system calls above that the architecture has."""
    column = list(_ARCHITECTURES).index(architecture)
    pairs = ((name, row[column]) for name, row in NUMBERS.items())
    return {name: number for name, number in pairs if number is not None}


def _no(error: int) -> int:
    return ERRNO | error


def refusals(asked: bool, signals: bool = True) -> list[Rule]:
    """What an untrusted program may not do. Where another filter asks first (`asked`), what that
    one has is left to whoever answers. Without `signals` it may not send any: for a program that
    shares our uid and our process space.
    """
    left = {rule.call for rule in questions()} if asked else set()
    rules = [Rule(name, _no(errno.EPERM)) for name in _REFUSED]
    rules += [Rule(name, _no(errno.ENOSYS)) for name in _UNKNOWN]
    rules.append(Rule("clone", _no(errno.EPERM), (If(0, _NEW_NAMESPACES),)))
    for name, at in MODES.items():
        made = (If(FLAGS[name], MAKING),) if name in FLAGS else ()
        rules.append(Rule(name, _no(errno.EPERM), (*made, If(at, SET_ID))))
    rules += [Rule(name, _no(errno.EPERM), (If(MODES[name], DEVICE),)) for name in MAKE_NODE]
    for code in (_TIOCSTI, _TIOCLINUX):
        rules.append(Rule("ioctl", _no(errno.EPERM), (If(1, equal=code),)))
    rules.append(Rule("prctl", _no(errno.EINVAL), (If(0, equal=_PR_SET_SECCOMP),)))
    rules.append(Rule("socket", _no(errno.EACCES)))
    if not signals:
        rules += [Rule(name, _no(errno.EPERM)) for name in _SIGNALS]
        rules.append(Rule("prlimit64", _no(errno.EPERM), (If(0),)))
    # Of two filters the stricter answer counts, so a refusal would keep the other from asking.
    return [rule for rule in rules if rule.call not in left]


def questions() -> list[Rule]:
    """What an untrusted program is asked about: files that it would change, sockets."""
    rules = [Rule(name, ASK, (If(at, WRITING),)) for name, at in FLAGS.items()]
    rules += [Rule(name, ASK) for name in PATHS if name not in FLAGS]
    return [*rules, Rule("socket", ASK)]


def assemble(rules: Sequence[Rule], architecture: str) -> bytes:
    """The filter: the first rule that fits decides, all else is allowed.

    System calls of another architecture (32 bits, x32) are refused.
    """
    known = numbers(architecture)
    code = [_op(_LOAD, 4), _op(_EQUAL, _ARCHITECTURES[architecture], 1, 0)]
    code.append(_op(_RETURN, _no(errno.EPERM)))
    if architecture == "x86_64":
        code += [_op(_LOAD, 0), _op(_AT_LEAST, _X32, 0, 1), _op(_RETURN, _no(errno.ENOSYS))]
    for rule in rules:
        if rule.call in known:
            code += _rule(rule, known[rule.call])
    return b"".join([*code, _op(_RETURN, ALLOW)])


def _rule(rule: Rule, number: int) -> list[bytes]:
    test: list[bytes] = []
    for condition in reversed(rule.conditions):
        # To the end of the rule: what is tested after this, and the answer.
        after = len(test) + 1
        unequal = (after, 0) if condition.equal is None else (0, after)
        value = condition.equal or 0
        loaded = [_op(_LOAD, 16 + 8 * condition.argument), _op(_AND, condition.mask)]
        test = [*loaded, _op(_EQUAL, value, *unequal), *test]
    return [
        _op(_LOAD, 0),
        _op(_EQUAL, number, 0, len(test) + 1),
        *test,
        _op(_RETURN, rule.action),
    ]


def _op(code: int, value: int, true: int = 0, false: int = 0) -> bytes:
    """``struct sock_filter``."""
    return struct.pack("=HBBI", code, true, false, value)
