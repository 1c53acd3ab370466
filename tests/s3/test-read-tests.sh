#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# The lists of tests that read and write what is mounted have all of them, and
# say of each whether it runs over each S3 server.
. "${0%/*}/../functions.sh"
cd "$top_srcdir/tests" || exit 99

# Tests that read begin with a server of their own where they are in Python,
# those that write mount by export.py, those of faults by places.py.
mounting() {
	grep -lE '^need_fuse|^guest_test|^for_each_container' fs/*.sh \
		guest/guest-*.sh tools-compat/*.sh | grep -v '/compat\.sh'
	grep -lE '^    export\.need_fuse|^    places\.begin' \
		fs/test-*.py s3/test-*.py
}

# Those that say themselves why they need a directory may be left out.
needing() {
	grep -lE '^(need_directory| +export.need_directory)' fs/*.sh \
		guest/guest-*.sh tools-compat/*.sh fs/test-*.py
}

# listed LIST...: the tests in them.
listed() {
	(cd s3 && awk '/^[^#]/ { print $1 }' "$@") | sort
}

is "$(mounting | grep -vxF "$(needing)" |
	grep -vxF "$(listed read-tests write-tests)")" "" \
	"each test that mounts is listed, or says that it needs a directory"
for list in read-tests write-tests; do
	is "$(listed $list | grep -vxF "$(mounting)"; listed $list | uniq -d)" \
		"" "what is in $list is there, once"
	is "$(awk '/^[^#]/ && ($2 $3 $4 $5 !~ /^(full|hand|-)+$/ ||
		(/ -/ && NF < 6)) { print $1 }' s3/$list)" "" \
		"with a word for each server, and a reason where it is left out"
	for test in s3/*.sh; do
		grep -q "^run_over .* $list\$" "$test" || continue
		store=$(sed -n "s/^run_over \(.*\) $list\$/\1/p" "$test")
		like " $(sed -n 's/^# TEST//p' s3/$list) " " $store " \
			"$test has a column"
	done
	is "$(sed -n 's/^# TEST//p' s3/$list | wc -w)" \
		"$(grep -l "^run_over .* $list\$" s3/*.sh | wc -l)" \
		"and each column of $list has a test"
done
done_testing
