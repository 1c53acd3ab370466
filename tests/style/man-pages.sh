#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# The man pages format without a warning, by groff and by mandoc, and name each
# variable of the environment that the program looks at.

. "${0%/*}/../functions.sh"

lint_groff() {
	local out

	out=$(groff -t -man -Tutf8 -ww -z "$1" 2>&1)
	printf '%s' "$out"
	[ -z "$out" ]
}

lint_mandoc() {
	# Style hints of mandoc's own, such as on dates, do not count.
	mandoc -Tlint -Wwarning "$1"
}

printf '.TH A 1\n.SH B\n.XY\n' >"$tmp/bad.1"
shopt -s nullglob
for tool in groff mandoc; do
	if ! command -v $tool >/dev/null; then
		skip "man pages by $tool" "$tool is missing"
		continue
	fi
	fails "$tool finds a mistake" "XY" "lint_$tool" "$tmp/bad.1"
	for page in "$top_srcdir"/man/*.[1-8]; do
		ok "${page##*/} by $tool" "lint_$tool" "$page"
	done
done
page=$(sed 's/\\//g' "$top_srcdir/man/vmiefs-s3.5")
for name in $(grep -rhoE '"AWS_[A-Z0-9_]+"' "$top_srcdir/src" | tr -d '"' |
	sort -u); do
	like "$page" "[^A-Z_]${name}[^A-Z0-9_]" "vmiefs-s3(5) has $name"
done
done_testing
