# SPDX-License-Identifier: MIT
"""What QEMU says of its user network."""

from __future__ import annotations

import pytest

from harness.machine.errors import MachineError
from harness.machine.network import forwarded_port

# QEMU 7.2, HMP `info usernet`, one connection up.
ANSWER = """\
Hub -1 (#net080):
  Protocol[State]    FD  Source Address  Port   Dest. Address  Port RecvQ SendQ
  TCP[ESTABLISHED]    9       127.0.0.1 34444       10.0.2.15    22     0     0
  TCP[HOST_FORWARD]   3       127.0.0.1 34443       10.0.2.15    22     0     0
"""


def test_the_forward_is_told_from_connections() -> None:
    assert forwarded_port(lambda line: ANSWER if line == "info usernet" else "") == 34443


@pytest.mark.parametrize(("old", "new"), [("HOST_FORWARD]", "SYN_SENT]"), ("127.0", "0.0")])
def test_no_forward_on_loopback_is_an_error(old: str, new: str) -> None:
    with pytest.raises(MachineError, match=r"forwards no port(.|\n)*Protocol"):
        forwarded_port(lambda line: ANSWER.replace(old, new))
