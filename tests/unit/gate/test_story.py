# SPDX-License-Identifier: MIT
"""A transcript in plain words."""

from __future__ import annotations

from harness.gate.story import lines, steps

FILES = "/tmp/script-23.in /tmp/script-23.out /tmp/script-23.err"
START = (
    "mkfifo /tmp/script-23.in /tmp/script-23.out; { /usr/bin/app --script --device /dev/CMA_demo "
    " <&3 >&4 2>/tmp/script-23.err 3<&- 4>&- & } 3<>/tmp/script-23.in; echo $!"
)
ALLOC = (
    "printf '%s\\n' 'alloc 12288' 1<>/tmp/script-23.in; { read -r line &&"
    ' printf "%s\\n" "$line"; } 0<>/tmp/script-23.out'
)
TRANSCRIPT = f"""\
[   0.001000] ttyAMA0   [    0.000000] Booting Linux
[   0.166729] ttyAMA1<  @98574abc 1 0 hello 64 261f841f cf6c
[   0.166729] ttyAMA1<  \ufffdbytes of random
[   0.347142] ttyAMA1   @98574abc 1 1 ready 29 f753b8aa ce6f
[   0.356327] ttyAMA1   8219903000 8226479000 agent 2
[   0.348947] ttyAMA1<  @98574abc 2 0 run 34 8aa0a79f 033c
[   0.348947] ttyAMA1<  insmod /lib/modules/cma.ko
[   0.400000] ttyAMA0   [    1.500000] Find CMA: BiscuitOS_cma
[   0.481948] ttyAMA1   @98574abc 2 1 exit 5 0ac502f8 2424
[   0.482374] ttyAMA1   0 0 0
[   0.482183] ttyAMA1<  @98574abc 3 0 run 202 e7e51c77 4786
[   0.482183] ttyAMA1<  {START}
[   0.754444] ttyAMA1   @98574abc 3 1 out 3 65d2caf3 4429
[   0.754562] ttyAMA1   72
[   0.768188] ttyAMA1   @98574abc 3 2 exit 5 0cb20b87 a29f
[   0.768604] ttyAMA1   0 3 0
[   1.063734] ttyAMA1<  @98574abc 5 0 run 114 7157e72a 232f
[   1.063734] ttyAMA1<  {ALLOC}
[   1.199807] ttyAMA1   @98574abc 5 1 out 32 35c3fb5a 1aa8
[   1.199807] ttyAMA1   ok 0x69800000 0x3000 0x89800000
[   1.199807] ttyAMA1   @98574abc 5 2 exit 6 b0126d9f 1c0a
[   1.200069] ttyAMA1   0 32 0
[   1.210000] ttyAMA1<  @98574abc 6 0 many 30 687d0fe1 ee31
[   1.210000] ttyAMA1<  /sys/kernel/debug/cma/*/used
[   1.220000] ttyAMA1   @98574abc 6 1 file 45 4896d207 8287
[   1.220000] ttyAMA1   /sys/kernel/debug/cma/x/used
[   1.220000] ttyAMA1   @98574abc 6 2 data 2 82cf9afd e1a4
[   1.220000] ttyAMA1   3
[   1.230000] ttyAMA1<  @98574abc 7 0 run 8 fd99158b e767
[   1.230000] ttyAMA1<  ls /no
[   1.240000] ttyAMA1   @98574abc 7 1 err 7 32a12920 ebb2
[   1.240000] ttyAMA1   ls: /no: No such file
[   1.250000] ttyAMA1   @98574abc 7 2 exit 5 4e648683 d7a8
[   1.250000] ttyAMA1   1 0 22
[   1.340519] ttyAMA1<  @98574abc 8 0 run 82 fd99158b e767
[   1.340519] ttyAMA1<  kill -9 72; wait 72; rm -f {FILES}
[   1.511784] ttyAMA1<  @98574abc 10 0 many 32 687d0fe1 ee31
[   1.511784] ttyAMA1<  /sys/module/cma/sections/.*text*
[   1.567579] ttyAMA1   @98574abc 10 1 file 45 4896d207 8287
"""


def test_commands_and_answers_are_told_in_plain_words() -> None:
    assert lines(steps(TRANSCRIPT)) == [
        "$ insmod /lib/modules/cma.ko",
        "kernel: [    1.500000] Find CMA: BiscuitOS_cma",
        "start the application: /usr/bin/app --script --device /dev/CMA_demo",
        "to the application: 'alloc 12288'",
        "  ok 0x69800000 0x3000 0x89800000",
        "read /sys/kernel/debug/cma/*/used",
        "  /sys/kernel/debug/cma/x/used: 3",
        "$ ls /no",
        "  ls: /no: No such file",
        "  exit status 1",
    ]


def test_what_is_no_transcript_is_no_story() -> None:
    for text in ("", "\x00\ufffd", "[ 1.0] x\n", "[   1.0] ttyAMA1<  @1 2 0 run 3 bad\nhello"):
        assert lines(steps(text)) == []


def test_a_long_story_is_told_by_its_end() -> None:
    one = "[   1.000000] ttyAMA1<  @98574abc {0} 0 run 34 8aa0a79f 033c\n"
    text = "".join(f"{one.format(n)}[   1.000000] ttyAMA1<  echo {n}\n" for n in range(40))
    told = lines(steps(text))
    assert told[0] == "… 10 earlier steps"
    assert told[1] == "$ echo 10"
    assert told[-1] == "$ echo 39"
