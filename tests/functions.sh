# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# What shell tests share. A test sources this file first, says what it needs,
# makes its checks, which print TAP, and ends with `done_testing`:
#
#     . "${0%/*}/../functions.sh"
#     need qemu-img
#     is "$(vmiefs --version | head -c 6)" "vmiefs" "says its name"
#     done_testing
# shellcheck shell=bash

set -u
: "${top_srcdir:=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)}"
: "${top_builddir:=$top_srcdir}"
: "${PYTHON:=python3}"
export LC_ALL=C.UTF-8 TZ=UTC
PATH=$top_builddir:$PATH:/sbin:/usr/sbin
. "$top_srcdir/tests/wait.sh"

tap_count=0
tap_failed=0
tap_done=no
exit_commands=()
mounts=()

# A scratch directory of the test's own, removed when it ends.
tmp=$(mktemp -d "${TMPDIR:-/tmp}/vmiefs-test.XXXXXX") || exit 99

# is_sanitized: the program keeps freed memory for a while, and uses more.
is_sanitized() {
	grep -q 'san: yes' "$top_builddir/features" 2> /dev/null
}

# memory_below LIMIT PEAK TEXT: both in MiB.
memory_below() {
	echo "# $3: $2 MiB"
	if is_sanitized; then
		skip "$3: below $1 MiB" "built with a sanitizer"
	elif [ "$2" -lt "$1" ]; then
		pass "$3: below $1 MiB"
	else
		fail "$3: below $1 MiB" "$2 MiB"
	fi
}

# at_exit COMMAND...: run it when the test ends, however it ends; the last
# one given runs first.
at_exit() {
	exit_commands+=("$(printf '%q ' "$@")")
}

# A test that stops before done_testing has no plan, which counts as failed.
run_exit_commands() {
	local i status=$?

	for ((i = ${#exit_commands[@]} - 1; i >= 0; i--)); do
		eval "${exit_commands[i]}" || true
	done
	rm -rf --one-file-system "$tmp"
	if [ "$tap_done" = no ] && [ "$status" = 0 ]; then
		status=99
	fi
	exit "$status"
}
trap run_exit_commands EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# skip_all WHY: end here; nothing was tested.
skip_all() {
	echo "1..0 # SKIP $*"
	tap_done=yes
	exit 0
}

# need TOOL...: skip the whole test where one is missing.
need() {
	local tool

	for tool; do
		command -v "$tool" >/dev/null || skip_all "$tool is missing"
	done
}

need_root() {
	[ "$(id -u)" = 0 ] || skip_all "needs root"
}

# FUSE works here: the device opens and there is something to mount with.
need_fuse() {
	need fusermount3
	{ : <>/dev/fuse; } 2>/dev/null || skip_all "/dev/fuse does not open"
}

# A loop device can be had.
need_loop() {
	need_root
	need losetup
	losetup --find >/dev/null 2>&1 || skip_all "no loop device"
}

pass() {
	echo "ok $((++tap_count)) - $*"
}

# fail WHAT [DETAIL]: the detail may have several lines.
fail() {
	echo "not ok $((++tap_count)) - $1"
	tap_failed=$((tap_failed + 1))
	[ -z "${2-}" ] || printf '%s\n' "$2" | head -n 50 | sed 's/^/# /'
}

skip() {
	echo "ok $((++tap_count)) - $1 # SKIP $2"
}

# is GOT WANT WHAT
is() {
	if [ "$1" = "$2" ]; then
		pass "$3"
	else
		fail "$3" "got:  $1
want: $2"
	fi
}

# like GOT PATTERN WHAT: the pattern is an extended regular expression.
like() {
	if [[ $1 =~ $2 ]]; then
		pass "$3"
	else
		fail "$3" "got:  $1
want: $2"
	fi
}

# ok WHAT COMMAND...: it succeeds; its output is shown when it does not.
ok() {
	local what=$1 out status
	shift
	out=$("$@" 2>&1)
	status=$?
	if [ $status = 0 ]; then
		pass "$what"
	else
		fail "$what" "exit status $status: $out"
	fi
}

# fails WHAT PATTERN COMMAND...: it exits with a status other than 0, not by a
# signal, and its output matches.
fails() {
	local what=$1 pattern=$2 out status
	shift 2
	out=$("$@" 2>&1)
	status=$?
	if [ $status != 0 ] && [ $status -lt 126 ] &&
	   [[ $out =~ $pattern ]]; then
		pass "$what"
	else
		fail "$what" "exit status $status, want: $pattern; output: $out"
	fi
}

# same_file GOT WANT WHAT
same_file() {
	local out

	if out=$(cmp "$1" "$2" 2>&1); then
		pass "$3"
	else
		fail "$3" "$out"
	fi
}

# Those that tests/s3/store.sh replaces, where VMIEFS_TEST_STORE names an S3
# server: what a test mounts then lies in a bucket there.
#
# publish_store DIR [OPTION...]: what is mounted for DIR, in store_source, and
# with which options, in store_options.
publish_store() {
	store_source=$1
	store_options=("${@:2}")
}

# store_changed DIR: the test has changed files of a mounted directory.
store_changed() {
	:
}

# fetch_store DIR: the test looks at files of a mounted directory, since
# something was written into the mount.
fetch_store() {
	:
}

# after_mounting MOUNTPOINT: what is set of each mount.
after_mounting() {
	:
}

# before_unmounting MOUNTPOINT: what is checked of each mount at its end.
before_unmounting() {
	:
}

# need_directory WHY: skip the whole test where the store is no directory.
need_directory() {
	:
}

# mount_vmiefs SOURCE MOUNTPOINT [OPTION...]: mount (returns when the mount
# works) and unmount at the end of the test. Nothing is left when it fails.
mount_vmiefs() {
	mount_program vmiefs "$@"
}

# mount_program PROGRAM SOURCE MOUNTPOINT [OPTION...]: the same by another one.
mount_program() {
	local program=$1 dir=$3

	mkdir -p "$dir"
	publish_store "$2" "${@:4}" || return
	"$program" "$store_source" "$dir" "${store_options[@]}" || return
	mounts+=("$dir")
	at_exit unmount_vmiefs "$dir"
	after_mounting "$dir"
}

# The process that serves a mount.
daemon_of() {
	pgrep -f "^[^ ]*vmiefs[^ ]* [^ ]+ $1( |\$)" | head -n 1
}

# Unmount and wait until the daemon has let go. Legal when not mounted.
unmount_vmiefs() {
	mountpoint -q "$1" || return 0
	[ "$tap_done" = yes ] || before_unmounting "$1"
	fusermount3 -u "$1" || fusermount3 -u -z "$1"
}

done_testing() {
	local dir

	for dir in "${mounts[@]}"; do
		! mountpoint -q "$dir" || before_unmounting "$dir"
	done
	echo "1..$tap_count"
	tap_done=yes
	[ $tap_failed = 0 ]
	exit
}

if [ -n "${VMIEFS_TEST_STORE-}" ]; then
	. "$top_srcdir/tests/s3/store.sh"
fi
