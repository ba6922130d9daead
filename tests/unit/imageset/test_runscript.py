# SPDX-License-Identifier: MIT
"""What RunBiscuitOS.sh starts, as it is written and as its users edit it: bash knows."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UserError
from harness.imageset.runscript import Launch, launch, read_script

HEAD = """#!/bin/bash
ROOT=/home/user/BiscuitOS/output/linux-5.0-arm32
QEMUT=${ROOT}/qemu-system/qemu-system/arm-softmmu/qemu-system-arm
ARCH=arm
FS_TYPE=ext4
RAM_SIZE=512
LINUX_DIR=${ROOT}/linux/linux/arch
CMDLINE="earlycon root=/dev/vda rw rootfstype=${FS_TYPE} console=ttyAMA0 loglevel=8"
"""
RUN = """
do_running()
{
	[ ${1}X = "debug"X ] && ARGS+="-s -S "
	ARGS+="-D ${ROOT}/qemu-system/BiscuitOS-QEMU.log "
	sudo ${QEMUT} ${ARGS} \\
	-M vexpress-a9 \\
	-m ${RAM_SIZE}M \\
	-kernel ${LINUX_DIR}/${ARCH}/boot/zImage \\
	-device virtio-blk-device,drive=hd1 \\
	-drive file=${ROOT}/Hardware/Freeze.img,format=raw,id=hd1 \\
	-device virtio-blk-device,drive=hd0 \\
	-drive file=${ROOT}/Hardware/BiscuitOS.img,format=raw,id=hd0 \\
	-nographic \\
	-append "${CMDLINE}"
}
"""
DISPATCH = """
case $1 in
	"pack") sudo mkfs.ext4 ${ROOT}/Hardware/BiscuitOS.img ;;
	"uboot") do_uboot ;;
	*) do_running $1 $2 ;;
esac
"""
LINE = "earlycon root=/dev/vda rw rootfstype=ext4 console=ttyAMA0 loglevel=8"
PLACE = Path("/tree/RunBiscuitOS.sh")


def ask(text: str) -> Launch:
    return launch(text, PLACE)


@pytest.mark.parametrize("end", ["", DISPATCH, "do_running\n", "exit 0\n"])
def test_a_script_as_it_is_generated(end: str) -> None:
    found = ask(HEAD + RUN + end)
    assert (found.append, found.memory_mib, found.initrd) == (LINE, 512, None)
    assert found.kernel is not None
    assert found.kernel.name == "zImage"
    assert [disk.name for disk in found.disks] == ["Freeze.img", "BiscuitOS.img"]
    assert found.notes == ()


@pytest.mark.parametrize(
    ("edit", "line"),
    [
        ('CMDLINE+=" cma=32M"', f"{LINE} cma=32M"),
        ('CMDLINE="${CMDLINE} cma=32M"', f"{LINE} cma=32M"),
        ("CMDLINE=$CMDLINE' cma=32M'", f"{LINE} cma=32M"),
        ('export CMDLINE="$CMDLINE"" "cma=32M', f"{LINE} cma=32M"),
        ("CMDLINE=\"$(echo ${CMDLINE} | sed 's/earlycon //')\"", LINE.removeprefix("earlycon ")),
        ('CMDLINE="${CMDLINE/loglevel=8/loglevel=4}"', LINE.replace("=8", "=4")),
        ("[ -n \"$NOWHERE\" ] && CMDLINE+=' quiet'", LINE),
        ("if true; then CMDLINE+=' quiet'; fi", f"{LINE} quiet"),
        ('#CMDLINE="root=/dev/nfs"', LINE),
        ('for word in a b; do CMDLINE+=" $word"; done', f"{LINE} a b"),
        ("read -r -d '' MORE <<'END'\nquiet\nEND\nCMDLINE+=\" ${MORE}\"", f"{LINE} quiet"),
    ],
)
def test_an_edit_means_what_bash_makes_of_it(edit: str, line: str) -> None:
    assert ask(f"{HEAD}{edit}\n{RUN}").append == line


def test_a_function_s_own_variables_are_nobody_else_s() -> None:
    other = 'do_small()\n{\n\tlocal RAM_SIZE=256\n\tlocal CMDLINE="root=/dev/nfs"\n}\n'
    found = ask(HEAD + other + RUN)
    assert (found.append, found.memory_mib) == (LINE, 512)


@pytest.mark.parametrize(
    "start",
    [
        "${QEMUT}",
        "exec ${QEMUT}",
        "sudo -E nice -n 5 ${QEMUT}",
        "exec qemu-system-arm",
        "qemu-system-arm",
        "/opt/qemu/bin/qemu-system-arm",
        "env LANG=C ${QEMUT}",
        "LANG=C ${QEMUT}",
        "command ${QEMUT}",
        "gdb --args ${QEMUT}",
        "nowhere-to-be-found ${QEMUT}",
        '"$QEMUT" 2>/dev/null',
        "echo | xargs ${QEMUT}",
    ],
)
def test_qemu_is_started_in_many_ways(start: str) -> None:
    assert ask(HEAD + RUN.replace("sudo ${QEMUT}", start) + "do_running").append == LINE


def test_options_are_known_with_two_dashes_too() -> None:
    words = RUN.replace("-append", "--append").replace("-m ${RAM", "--m ${RAM")
    found = ask(HEAD + words + "do_running")
    assert (found.append, found.memory_mib) == (LINE, 512)


@pytest.mark.parametrize("tail", [" &\nwait", " | tee log", " 2>&1 >/dev/null", " || exit 1"])
def test_what_comes_after_qemu_does_not_matter(tail: str) -> None:
    text = HEAD + RUN.replace('"${CMDLINE}"', '"${CMDLINE}"' + tail)
    assert ask(text).append == LINE


@pytest.mark.parametrize("start", ["sh -c", "bash -c", "sudo su -c", "tmux new-session -d"])
def test_qemu_is_started_by_a_line_for_another_shell(start: str) -> None:
    assert ask(f"{HEAD}{start} \"$QEMUT -M vexpress-a9 -append '$CMDLINE'\"\n").append == LINE


def test_qemu_is_started_by_a_script_in_the_script() -> None:
    text = f'{HEAD}bash <<END\n${{QEMUT}} -M vexpress-a9 -append "$CMDLINE"\nEND\n'
    assert ask(text).append == LINE


@pytest.mark.parametrize(
    "check",
    [
        '[ -x "$QEMUT" ] || exit 1',
        '[ ! -f "$QEMUT" ] && exit 1',
        "$QEMUT --version | grep -q 'version [2-9]' || exit 1",
        "QEMUT=$(which qemu-system-arm) || exit 1",
        '[ "$(id -u)" = 0 ] || { echo "run as root"; exit 1; }',
        "mkdir -p ${ROOT}/logs || exit 1",
        "trap 'echo bye' EXIT",
        "set -euo pipefail; ARGS=",
        "while true; do do_running; sleep 1; done",
        "do_running | tee ${ROOT}/log",
    ],
)
def test_what_a_careful_script_asks_first_is_answered(check: str) -> None:
    assert ask(f"{HEAD}{RUN}{check}\n").append == LINE


def test_a_qemu_that_is_there_is_not_started(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    qemu = tmp_path / "bin" / "qemu-system-arm"
    qemu.parent.mkdir()
    qemu.write_text("#!/bin/sh\necho started >&2\n")
    qemu.chmod(0o755)
    text = HEAD + RUN.replace("${QEMUT}", str(qemu))
    for start in (str(qemu), f"Q={qemu}; $Q", f"exec {qemu}"):
        text = HEAD + RUN.replace("sudo ${QEMUT}", start) + "do_running\n"
        assert (ask(text).append, ask(text).notes) == (LINE, ())


def test_files_beside_the_script_are_found_by_any_of_its_names(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        place.chmod(place.stat().st_mode | 0o011)
    tmp_path.chmod(0o755)
    (tmp_path / "more.sh").write_text('CMDLINE="$CMDLINE quiet"\n')
    by = [". ./more.sh", '. "$(dirname "$0")/more.sh"', '. "${BASH_SOURCE[0]%/*}/more.sh"']
    script = tmp_path / "RunBiscuitOS.sh"
    for line in by:
        script.write_text(f"{HEAD}{line}\n{RUN}")
        assert read_script(script).append == f"{LINE} quiet"


def test_lines_that_end_in_cr_lf_are_told() -> None:
    with pytest.raises(UserError, match="CR LF"):
        ask((HEAD + RUN).replace("\n", "\r\n"))


def test_u_boot_is_not_linux() -> None:
    uboot = "do_uboot() { sudo ${QEMUT} -M vexpress-a9 -kernel u-boot -m 256 -nographic; }\n"
    assert ask(HEAD + uboot + RUN + "do_uboot; do_running\n").memory_mib == 512


@pytest.mark.parametrize(
    ("given", "mib"),
    [("256", 256), ("size=1G", 1024), ("512M", 512), ("524288K", 512), ("1g", 1024)],
)
def test_ram_in_all_its_units(given: str, mib: int) -> None:
    assert ask(f"qemu-system-arm -M vexpress-a9 -m {given} -append x\n").memory_mib == mib


@pytest.mark.parametrize("given", ["2048", "32M", "lots", "''"])
def test_ram_that_the_board_does_not_take_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="64 to 1024 MiB"):
        ask(f"qemu-system-arm -M vexpress-a9 -m {given} -append x\n")


def test_what_bash_could_not_know_is_said() -> None:
    found = ask(f'{HEAD}CMDLINE+="$(rootdev)"\n{RUN}')
    assert found.append == LINE
    assert len(found.notes) == 1
    assert "rootdev: command not found" in found.notes[0]


def test_what_the_script_s_commands_complain_of_is_one_line() -> None:
    (note,) = ask(f"{HEAD}for n in 1 2 3; do cat /no/such/$n; done\n{RUN}").notes
    assert note.startswith("a command of it says: cat: /no/such/1: No such file")
    assert note.endswith(" (and 2 more)")


def test_what_is_not_taken_over_is_said() -> None:
    found = ask(HEAD + RUN.replace("-nographic", "-nographic -smp 2 -cpu cortex-a15"))
    assert found.notes == ("not taken over: -smp 2", "not taken over: -cpu cortex-a15")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no QEMU command with -append"),
        ("if [\n", "no QEMU command with -append(.|\n)*syntax error"),
        ("qemu-system-arm -M virt -append x", "machine virt; here there is vexpress-a9 alone"),
    ],
)
def test_a_script_that_cannot_be_used_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        ask(text)


def test_the_script_touches_nothing(tmp_path: Path) -> None:
    victim = tmp_path / "precious"
    victim.write_text("here")
    (tmp_path / "RunBiscuitOS.sh").write_text(
        f"rm -rf {tmp_path}/*; sudo rm -rf {tmp_path}/*; echo gone >{victim}\n" + HEAD + RUN
    )
    assert read_script(tmp_path / "RunBiscuitOS.sh").append == LINE
    assert victim.read_text() == "here"


def test_a_script_that_does_not_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.imageset.runscript.SECONDS", 0.3)
    with pytest.raises(UserError, match="does not come to an end"):
        ask("while :; do :; done")
