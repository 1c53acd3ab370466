#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# The list of tests that read what is mounted has all of them, and says of each
# whether it runs over each S3 server.
. "${0%/*}/../functions.sh"
cd "$top_srcdir/tests" || exit 99

# Tests in Python begin with a server of their own.
mounting() {
	grep -lE '^need_fuse|^guest_test|^for_each_container' fs/*.sh \
		guest/guest-*.sh tools-compat/*.sh | grep -v '/compat\.sh'
}

# Those that say themselves why they need a directory may be left out.
needing() {
	grep -l '^need_directory' fs/*.sh guest/guest-*.sh tools-compat/*.sh
}

listed() {
	awk '/^[^#]/ { print $1 }' s3/read-tests | sort
}

is "$(mounting | grep -vxF "$(needing)" | grep -vxF "$(listed)")" "" \
	"each test that mounts is listed, or says that it needs a directory"
is "$(listed | grep -vxF "$(mounting)"; listed | uniq -d)" "" \
	"what is listed is there, once"
is "$(awk '/^[^#]/ && ($2 $3 $4 $5 !~ /^(full|hand|-)+$/ ||
	(/ -/ && NF < 6)) { print $1 }' s3/read-tests)" "" \
	"with a word for each server, and a reason where it is left out"
for test in s3/rgw.sh s3/rgw-tls.sh s3/rgw-virtual.sh s3/swift.sh; do
	store=$(sed -n 's/^run_over //p' "$test")
	like " $(sed -n 's/^# TEST//p' s3/read-tests) " " $store " \
		"$test has a column"
done
done_testing
