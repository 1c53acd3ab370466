#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
#     with-radosgw.sh DIR COMMAND...
#
# Runs a command with Ceph's radosgw, whose objects lie in files below DIR, and
# delay-proxy.py in front of it. They are no children of the command, which
# measures its own. It is told by variables where they are:
#
#     BENCH_S3_SERVER, BENCH_S3_PROXY   ports of 127.0.0.1
#     BENCH_S3_PIDS                     of all processes that serve
#     BENCH_S3_FILES                    where the objects lie

set -u
: "${top_srcdir:=$(cd "${0%/*}/../.." && pwd)}"
: "${PYTHON:=python3}"
export LC_ALL=C.UTF-8 TZ=UTC top_srcdir
PATH=$PATH:/sbin:/usr/sbin
# shellcheck source=tests/wait.sh
. "$top_srcdir/tests/wait.sh"
# shellcheck source=tests/s3/servers.sh
. "$top_srcdir/tests/s3/servers.sh"

clean_up() {
	trap '' EXIT INT TERM
	stop_servers
	rm -rf --one-file-system "$dir"
}

dir=$(mktemp -d "$1/radosgw.XXXXXX") || exit 1
shift
trap clean_up EXIT
trap 'exit 1' INT TERM
# Not in memory, by default: that is for what is measured.
export RADOSGW_STORE=${RADOSGW_STORE:-filestore}
start_radosgw "$dir" || exit 1
port=${s3_endpoint##*:}
read -r proxy <<<"$(free_ports 1)"
start_server "$dir/log/proxy" \
	"$PYTHON" "$top_srcdir/tests/bench/delay-proxy.py" "$proxy" "$port"
wait_until 60 answers "$proxy" || { no_server "no proxy" "$dir"; exit 1; }

export BENCH_S3_SERVER=$port BENCH_S3_PROXY=$proxy
export BENCH_S3_PIDS=${s3_servers[*]} BENCH_S3_FILES=$dir/osd
export AWS_ACCESS_KEY_ID=$s3_access AWS_SECRET_ACCESS_KEY=$s3_secret
"$@"
