# SPDX-License-Identifier: MIT
"""What stands for other programs while bash runs a user's ``RunBiscuitOS.sh``.

Every bash of the script's reads it first (``BASH_ENV``). Before each simple command a DEBUG trap
looks whether its words name a QEMU by a path, which then becomes a function, whether or not there
is such a file: the script's own QEMU is never started. All that starts other programs looks for a
QEMU among its words, or in the shell line that it is given; what changes files does nothing.
Descriptor 9 is ours; what the script prints itself goes to descriptor 1, for nobody.
"""

from __future__ import annotations

PRELUDE = r"""
[ -n "$_h_top" ] || exec 9>&1 1>/dev/null
_h_in= _h_called= _h_starts=0
_h_qemu() {
  case " $* " in
    *" -append "*|*" --append "*) _h_called=1;;
    *" -version "*|*" --version "*) echo "QEMU emulator version 7.2.0"; return 0;;
  esac
  { printf '%s\0' "$_h_mark" "$@" "$_h_mark"; } >&9
  # Whoever starts it again and again does so in a loop.
  [ $((_h_starts += 1)) -lt 8 ] || builtin exit 0
  return 0
}
_h_path() {
  case $1 in *=*) return;; esac
  case ${1##*/} in qemu-system-*) ;; *) return;; esac
  declare -F -- "$1" >/dev/null || eval "function $1 () { _h_qemu \"\$@\"; }"
}
_h_look() {
  [ -z "$_h_in" ] || return 0
  local _h_in=1 _h_token _h_word _h_count=0
  local -; set +eux -f
  # As it stands here: what is found are words of variables and paths, nothing that runs anything.
  for _h_token in $BASH_COMMAND; do
    [ $((_h_count += 1)) -le 24 ] || break
    case $_h_token in *[\(\`\<\>\;\&\|\)]*) continue;; *qemu*|*'$'*) ;; *) continue;; esac
    _h_word=
    eval "_h_word=$_h_token" 2>/dev/null || continue
    _h_path "$_h_word"
  done
  return 0
} 2>/dev/null
_h_start() {
  local _h_word
  while [ $# -gt 0 ]; do
    _h_word=$1; shift
    case $_h_word in
      *[[:space:]]*qemu-system-*|*qemu-system-*[[:space:]]*) eval "$_h_word"; return;;
    esac
    case ${_h_word##*/} in
      qemu-system-*) _h_qemu "$@"; return;;
      bash|sh|dash|ksh|zsh) command bash "$@"; return;;
    esac
    if [ "$(type -t -- "$_h_word")" = function ]; then
      case $_h_word in _h_*) ;; *) "$_h_word" "$@"; return;; esac
    fi
  done
  return 0
}
for _h_name in sudo doas su sg runuser setpriv setsid nohup nice ionice chrt taskset numactl \
  stdbuf timeout env unbuffer script screen tmux xterm gnome-terminal konsole gdb \
  strace ltrace perf valgrind systemd-run unshare firejail; do
  eval "$_h_name() { _h_start \"\$@\"; }"
done
for _h_name in mkdir rmdir rm mv cp ln touch chmod chown dd losetup mount umount mkfs.ext4 ip \
  ifconfig modprobe sleep; do
  eval "$_h_name() { :; }"
done
command_not_found_handle() {
  case " $* " in *qemu-system-*) _h_start "$@"; return;; esac
  echo "$1: command not found" >&2
  return 127
}
qemu-system-arm() { _h_qemu "$@"; }
sh() { command bash "$@"; }
tee() { cat >/dev/null; }
xargs() { _h_start "$@" $(cat); }
exec() { [ $# -eq 0 ] && return; _h_start "$@"; builtin exit 0; }
command() {
  case ${1-} in -*) builtin command "$@";; *)
    if declare -F -- "${1-}" >/dev/null && [ "${_h_in_command-}" != "$1" ]; then
      local _h_in_command=$1; case $1 in bash|sh) builtin command bash "${@:2}";; *) "$@";; esac
    else builtin command "$@"; fi;;
  esac
}
trap() {
  local _h_word
  for _h_word in "$@"; do case $_h_word in EXIT|exit|0|DEBUG) return 0;; esac; done
  builtin trap "$@"
}
_h_tests() {
  case "${1-} ${2-}" in
    "-"[defrsx]*/qemu-system-*) return 0;;
    "! -"[defrsx]) case ${3-} in */qemu-system-*) return 1;; esac;;
  esac
  return 2
}
test() {
  local _h_status=0
  _h_tests "$@" || _h_status=$?
  case $_h_status in 2) builtin test "$@";; *) return $_h_status;; esac
}
[() {
  local _h_status=0
  _h_tests "$@" || _h_status=$?
  case $_h_status in 2) builtin [ "$@";; *) return $_h_status;; esac
}
which() {
  case ${1-} in qemu-system-*) echo "/usr/bin/$1";; *) builtin type -P -- "$@";; esac
}
if [ -n "$_h_root" ]; then
  id() { case "$*" in -u) echo 0;; -un) echo root;; *) builtin command id "$@";; esac; }
  whoami() { echo root; }
  USER=root
fi
set -T
cd "$_h_place" 2>/dev/null
if [ -z "$_h_top" ]; then
  export _h_top=$$ _h_mark _h_root
  _h_end() {
    builtin trap - EXIT; set +eu
    if [ -z "$_h_called" ] && declare -F do_running >/dev/null; then do_running; fi
    wait
  }
  # Before the end: within a trap of EXIT no DEBUG trap is told what runs.
  exit() { [ "$BASHPID" != "$_h_top" ] || _h_end; builtin exit "$@"; }
  builtin trap _h_end EXIT
fi
builtin trap _h_look DEBUG
"""
