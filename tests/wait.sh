# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Waiting, for tests and contrib/s3-server.
# shellcheck shell=bash

# wait_until SECONDS COMMAND...: false when it has not succeeded by then.
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.05
	done
}
