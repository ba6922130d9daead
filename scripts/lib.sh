# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Sets up what the harness needs, and nothing that is there already. Sourced by the scripts beside it.

# Debian's users do not have these in their PATH, and mke2fs is there.
export PATH=$PATH:/usr/sbin:/sbin

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

say() { printf '%s\n' "$*" >&2; }

# fail STATUS TEXT...
fail() {
	local status=$1
	shift
	say "error: $*"
	exit "$status"
}

# host_family OS-RELEASE: prints debian (Debian, Ubuntu and their like), fedora, arch, alpine or other.
host_family() {
	local ID="" ID_LIKE=""
	# shellcheck disable=SC1090
	if [ -r "$1" ]; then
		. "$1"
	fi
	case " $ID $ID_LIKE " in
	*" debian "* | *" ubuntu "*) echo debian ;;
	*" fedora "* | *" rhel "* | *" centos "*) echo fedora ;;
	*" arch "*) echo arch ;;
	*" alpine "*) echo alpine ;;
	*) echo other ;;
	esac
}

# missing_programs LIST [FAMILY]: prints "PROGRAM PACKAGE" for each that is not there; "-" for the
# package where the family has none.
missing_programs() {
	local program package debian fedora arch alpine
	while read -r program debian fedora arch alpine _; do
		case ${2:-debian} in
		fedora) package=$fedora ;;
		arch) package=$arch ;;
		alpine) package=$alpine ;;
		*) package=$debian ;;
		esac
		case $program in
		'' | \#*) ;;
		/*) [ -e "$program" ] || echo "$program $package" ;;
		*) command -v "$program" >/dev/null || echo "$program $package" ;;
		esac
	done <"$1"
}

python_works() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# find_python: prints the Python to use; without one, nothing and status 1.
find_python() {
	local name
	if [ -n "${PYTHON:-}" ]; then
		command -v "$PYTHON" >/dev/null || fail 2 "PYTHON=$PYTHON is not a program"
		python_works "$PYTHON" || fail 2 "PYTHON=$PYTHON is older than 3.11"
		command -v "$PYTHON"
		return
	fi
	for name in python3 python3.13 python3.12 python3.11 /usr/bin/python3; do
		if command -v "$name" >/dev/null && python_works "$name"; then
			command -v "$name"
			return
		fi
	done
	return 1
}

# as_root COMMAND...: runs it as root; there is a way, see can_be_root.
as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

can_be_root() {
	[ "$(id -u)" = 0 ] && return
	command -v sudo >/dev/null || return
	# Without a terminal nobody can type a password.
	[ -t 0 ] || sudo -n true 2>/dev/null
}

apt_install() {
	local output
	local get=(env DEBIAN_FRONTEND=noninteractive apt-get -qq -y
		-o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=120)
	say "installing Debian packages: $*"
	if as_root "${get[@]}" install --no-install-recommends "$@" >/dev/null 2>&1 </dev/null; then
		return
	fi
	# The package lists are missing or old. One that fails must not sink the rest.
	say "fetching package lists"
	as_root "${get[@]}" update >/dev/null 2>&1 </dev/null || true
	output=$(as_root "${get[@]}" install --no-install-recommends "$@" 2>&1 </dev/null) && return
	grep -m 3 -E '^(E|W|Err)' <<<"$output" >&2 || tail -n 5 <<<"$output" >&2
	fail 3 "apt-get could not install: $*"
}

# tell_missing FAMILY MISSING: names the programs, and how the family installs those it has.
tell_missing() {
	local install="" there none
	case $1 in
	fedora) install="sudo dnf install" ;;
	arch) install="sudo pacman -S --needed" ;;
	alpine) install="doas apk add" ;;
	esac
	say "error: this is neither Debian nor Ubuntu; these programs are missing:" \
		"$(awk 'NF { print $1 }' <<<"$2" | paste -sd' ')"
	if [ -n "$install" ]; then
		there=$(awk 'NF && $2 != "-" && $2 !~ /^python3.*venv/ { print $2 }' <<<"$2" | sort -u | paste -sd' ')
		none=$(awk 'NF && $2 == "-" { print $1 }' <<<"$2" | paste -sd' ')
		[ -z "$there" ] || say "install them: $install $there"
		[ -z "$none" ] ||
			say "no package of this distribution has: $none (a container of Debian 12 or later has all)"
	fi
	exit 2
}

# set_up_packages OS-RELEASE LIST: installs what is missing, or says what and exits 2.
set_up_packages() {
	local missing packages python family
	family=$(host_family "$1")
	missing=$(missing_programs "$2" "$family")
	if [ ! -x "$root/.venv/bin/python" ]; then
		if ! python=$(find_python); then
			[ -z "${PYTHON:-}" ] || exit 2
			! command -v python3 >/dev/null ||
				fail 2 "Python 3.11 or later is needed, python3 is $(python3 -V 2>&1); name another with PYTHON=..."
			missing+=$'\npython3 python3\nensurepip python3-venv'
		elif ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
			missing+=$'\n'"ensurepip $("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
		fi
	fi
	[ -n "$missing" ] || return 0
	mapfile -t packages < <(awk 'NF { print $2 }' <<<"$missing" | sort -u)
	if [ "$family" != debian ]; then
		tell_missing "$family" "$missing"
	fi
	if ! can_be_root; then
		fail 2 "Debian packages are missing, and installing needs root; run:" \
			"sudo apt-get install --no-install-recommends ${packages[*]}"
	fi
	apt_install "${packages[@]}"
	missing=$(missing_programs "$2")
	[ -z "$missing" ] || fail 3 "still missing after the installation: $(paste -sd';' <<<"$missing")"
}

# What a checkout needs to run, and what its own tests and checks need beyond that.
run_list=requirements.txt
test_list=requirements-dev.txt

# stamp_wanted LIST: the stamp names what the environment was made from, and for which checkout. It is
# written last, so that an interrupted installation has none. No Python is started to read it.
stamp_wanted() {
	local sum
	sum=$(cat "$root/$1" <(sed -n '/^\[project/,/^\[tool/p' "$root/pyproject.toml") | sha256sum)
	echo "${sum%% *} $root"
}

# venv_is_good [LIST]
venv_is_good() {
	local stamp="" base="" list=${1:-$run_list}
	[ -x "$root/.venv/bin/python" ] && [ -r "$root/.venv/stamp" ] || return 1
	{ read -r stamp && read -r base; } <"$root/.venv/stamp" || return 1
	# Who has what the tests need has all.
	[ "$stamp" = "$(stamp_wanted "$list")" ] || [ "$stamp" = "$(stamp_wanted "$test_list")" ] || return 1
	# An explicit PYTHON must be the one that the environment was made from.
	[ -z "${PYTHON:-}" ] || [ "$base" = "$(readlink -f "$(command -v "$PYTHON")")" ]
}

writable() { [ -w "$1" ]; }

# set_up_venv [LIST]
set_up_venv() {
	local python new list=${1:-$run_list}
	venv_is_good "$list" && return
	python=$(find_python) || fail 2 "Python 3.11 or later is needed; name it with PYTHON=..."
	if ! writable "$root" || { [ -e "$root/.venv" ] && ! writable "$root/.venv"; }; then
		fail 2 "this checkout is another user's, and its Python environment does not serve you:" \
			"clone it, and run the scripts of the clone (git clone $root)"
	fi
	say "installing Python packages into .venv"
	rm -rf "$root/.venv"
	"$python" -m venv "$root/.venv"
	# What is imported is compiled then; of most packages that is little.
	"$root/.venv/bin/python" -m pip install -qq --no-cache-dir --no-compile --disable-pip-version-check \
		--no-input --only-binary :all: --require-hashes -r "$root/$list" ||
		fail 3 "pip could not install the packages of $list"
	# Nothing is fetched: the build backend is among the packages.
	"$root/.venv/bin/python" -m pip install -qq --no-deps --no-build-isolation --no-index \
		--disable-pip-version-check -e "$root" >&2 || fail 3 "pip could not install the project into .venv"
	new=$root/.venv/stamp.new
	{
		stamp_wanted "$list"
		readlink -f "$python"
	} >"$new"
	mv "$new" "$root/.venv/stamp"
}

# set_up [LIST of Python packages]
# Two at once: the second waits and finds all done. The lock is on a file that is there anyway, and
# the subshell ends it before the program proper starts.
set_up() {
	local list=$root/scripts/packages.txt python_list=${1:-$run_list}
	[ -z "$(missing_programs "$list")" ] && venv_is_good "$python_list" && return
	# Without the lock: what is missing may be flock itself.
	command -v flock >/dev/null || set_up_packages /etc/os-release "$list"
	(
		flock -n 9 || { say "waiting for another set-up in this checkout" && flock 9; }
		set_up_packages /etc/os-release "$list"
		set_up_venv "$python_list"
	) 9<"$root/requirements.txt"
}

# keep_bytecode: warm is warm. What Python compiles, pytest's rewritten tests too, is kept beside the
# environment, also for those who want no __pycache__ in the tree; not that of tests' own directories.
keep_bytecode() {
	unset PYTHONDONTWRITEBYTECODE
	export PYTHONPYCACHEPREFIX=$root/.venv/pycache
	rm -rf "$PYTHONPYCACHEPREFIX/tmp" "$PYTHONPYCACHEPREFIX$root/artifacts" 2>/dev/null || true
}

# harness WORDS...: becomes the command of this checkout; its usage lines show the script.
harness() {
	PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH} HARNESS_PROGRAM=$0 \
		exec "$root/.venv/bin/python" -m harness "$@"
}
