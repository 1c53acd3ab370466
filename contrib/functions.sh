# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# What the scripts of this folder share: packages, a copy of the source to
# build from, and progress on whatever takes long.
# shellcheck shell=bash

top=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
started=$SECONDS
step_pid=

die() {
	echo "${0##*/}: $*" >&2
	exit 1
}

# Time since the start as minutes:seconds.
elapsed() {
	local s=$((SECONDS - started))

	printf '%d:%02d' $((s / 60)) $((s % 60))
}

say() {
	printf '[%s] %s\n' "$(elapsed)" "$*"
}

# as_root COMMAND...: directly or by sudo; false where neither works.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		return 1
	fi
}

# A line every few seconds while a step runs: how long, and what its log says
# last. On a terminal the line is overwritten.
show_progress() {
	local name=$1 log=$2 begun=$3 last

	last=$(tail -n 1 "$log" 2>/dev/null | tr -d '\r' | cut -c -50)
	if [ -t 1 ]; then
		printf '\r\033[K[%s] %s ... %d s  %s' "$(elapsed)" "$name" \
			$((SECONDS - begun)) "$last"
	else
		say "$name ... $((SECONDS - begun)) s  $last"
	fi
}

stop_step() {
	[ -z "$step_pid" ] || kill -- "-$step_pid" 2>/dev/null
	step_pid=
}

# Stop a step whose script was killed. Holds the script's lock until then, so
# that the next run does not meet what is left of this one.
watch_step() {
	while kill -0 "$1" 2>/dev/null; do
		if ! kill -0 $$ 2>/dev/null; then
			kill -- "-$1"
			sleep 1
			kill -KILL -- "-$1"
		fi
		sleep 0.5
	done 2>/dev/null
}

# Only one run at a time in a folder. What the script starts does not inherit
# the lock (descriptor 9).
lock_folder() {
	exec 9>"$1.lock"
	flock -w 10 9 || die "another run is using $1"
}

# step NAME LOG COMMAND...: run it with its output in LOG, showing progress;
# its exit status. In a process group of its own, so that all of it can be
# stopped.
step() {
	local name=$1 log=$2 begun=$SECONDS next status
	shift 2

	next=$((SECONDS + 2))
	[ -t 1 ] || next=$((SECONDS + 30))
	set -m
	"$@" >"$log" 2>&1 </dev/null 9>&- &
	step_pid=$!
	set +m
	watch_step "$step_pid" </dev/null >/dev/null 2>&1 &
	while kill -0 "$step_pid" 2>/dev/null; do
		if [ $SECONDS -ge $next ]; then
			show_progress "$name" "$log" "$begun"
			next=$((SECONDS + 2))
			[ -t 1 ] || next=$((SECONDS + 30))
		fi
		sleep 0.2
	done
	wait "$step_pid"
	status=$?
	step_pid=
	[ ! -t 1 ] || printf '\r\033[K'
	if [ $status = 0 ]; then
		say "$name: done in $((SECONDS - begun)) s"
	else
		say "$name: FAILED after $((SECONDS - begun)) s"
	fi
	return $status
}

# The packages of list files, one a line with the reason behind a '#'.
listed_packages() {
	sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$@" | tr -d ' \t'
}

# Those of them that are not installed.
missing_packages() {
	local package

	for package in $(listed_packages "$@"); do
		dpkg-query -W -f '${Status}' "$package" 2>/dev/null |
			grep -q 'ok installed' || echo "$package"
	done
}

apt_install() {
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y
		-o DPkg::Lock::Timeout=120 -o Acquire::Retries=3)

	as_root "${apt[@]}" update &&
		as_root "${apt[@]}" install --no-install-recommends "$@"
}

# install_packages LOG LIST...: install what is missing of these lists.
install_packages() {
	local log=$1 missing
	shift

	command -v dpkg-query >/dev/null || {
		say "not a Debian system: taking it that all packages of" \
			"${*##*/} are there"
		return 0
	}
	mapfile -t missing < <(missing_packages "$@")
	if [ ${#missing[@]} = 0 ]; then
		say "packages: all there"
		return 0
	fi
	if [ "$(id -u)" != 0 ] && command -v sudo >/dev/null; then
		sudo -v || return 1 # asks for the password while one sees it
	fi
	step "packages: ${#missing[@]} to install" "$log" \
		apt_install "${missing[@]}" && return 0
	tail -n 15 "$log"
	echo "These packages are needed and could not be installed:" \
		"${missing[*]}"
	[ "$(id -u)" = 0 ] || echo "Run it as root or install sudo."
	return 1
}

# copy_source TO: the source files alone, so that neither a build in the tree
# nor an interrupted one can be in the way.
copy_source() {
	mkdir -p "$1" || return
	if git -C "$top" rev-parse --git-dir >/dev/null 2>&1 &&
	   [ "$(git -C "$top" rev-parse --show-toplevel)" = "$top" ]; then
		(cd "$top" && git ls-files -z -c -o --exclude-standard |
			while IFS= read -r -d '' file; do
				[ ! -e "$file" ] || printf '%s\0' "$file"
			done | tar -c --null -T - -f -) | tar -x -C "$1" -f -
	else
		tar -c -C "$top" --exclude='./build*' --exclude='*.o' \
			--exclude=./config.status --exclude=./Makefile \
			--exclude=./config.h -f - . | tar -x -C "$1" -f -
		# A tarball's build-aux matched build*.
		cp -a "$top/build-aux" "$1/"
	fi
}

# build_program SOURCE BUILD [CONFIGURE-OPTION...]
build_program() {
	local source=$1 build=$2
	shift 2

	[ -x "$source/configure" ] || (cd "$source" && autoreconf -fi) || return
	mkdir -p "$build" && cd "$build" || return
	"$source/configure" "$@" && make -j"$(nproc)"
}

take_off() {
	umount "$1" || fusermount3 -u "$1" || umount -l "$1" ||
		fusermount3 -u -z "$1"
} 2>/dev/null

# Take off whatever is still mounted below a folder.
unmount_below() {
	local dir

	while read -r dir; do
		take_off "$dir"
	done < <(awk -v below="$1/" 'index($5, below) == 1 { print $5 }' \
		/proc/self/mountinfo | sort -r)
}
