# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# VMIEFS_TEST_STORE=rgw|rgw-tls|rgw-virtual|swift|scripted: tests that mount a
# directory mount a bucket with the same objects instead. Sourced by
# functions.sh, some of whose functions it replaces. A server is started unless
# there is one whose address is in VMIEFS_TEST_SERVER: "ENDPOINT HOST-ENDPOINT
# TLS-ENDPOINT CA", as servers.sh calls them, "-" for what there is none of.
# Tests in Python find it there: tests/fs/stores.py.
#
# VMIEFS_TEST_LEVEL=debug sets what mounts log. At the end of each nothing
# that can be seen of it holds a secret.
# shellcheck shell=bash disable=SC2034,SC2154

. "$top_srcdir/tests/s3/servers.sh"

need setpriv
published=0
mkdir -p "$tmp/scratch"

# A directory in memory where that has room, with the servers' data.
server_dir() {
	local top=$tmp free

	free=$(df --output=avail -B 1M /dev/shm 2>/dev/null | tail -n 1)
	[ "${free:-0}" -lt 8192 ] || top=/dev/shm
	mktemp -d "$top/vmiefs-test.XXXXXX"
}

# start_store_server: what VMIEFS_TEST_STORE needs; says so in
# VMIEFS_TEST_SERVER.
start_store_server() {
	local dir what

	export AWS_ACCESS_KEY_ID=$s3_access AWS_SECRET_ACCESS_KEY=$s3_secret
	[ -z "${VMIEFS_TEST_SERVER-}" ] || return 0
	case $VMIEFS_TEST_STORE in
	rgw | rgw-tls | rgw-virtual)
		need ceph ceph-mon ceph-osd radosgw radosgw-admin openssl
		what=start_radosgw ;;
	swift)
		/usr/bin/python3 -c 'import swift' 2>/dev/null ||
			skip_all "python3-swift is missing"
		what=start_swift ;;
	scripted)
		what=start_scripted ;;
	*)
		echo "VMIEFS_TEST_STORE=$VMIEFS_TEST_STORE is unknown" >&2
		exit 99 ;;
	esac
	dir=$(server_dir)
	at_exit rm -rf --one-file-system "$dir"
	at_exit stop_servers
	$what "$dir" || exit 99
	export VMIEFS_TEST_SERVER="$s3_endpoint $s3_host_endpoint\
 ${s3_tls_endpoint:--} ${s3_ca:--}"
}

# The options by which a mount finds the server.
set_server_options() {
	local plain host tls ca

	read -r plain host tls ca <<<"$VMIEFS_TEST_SERVER"
	s3_endpoint=$plain
	case $VMIEFS_TEST_STORE in
	rgw-tls) server_options=(-o "endpoint=$tls,ca-bundle=$ca") ;;
	*-virtual) server_options=(-o "endpoint=$host,addressing=virtual") ;;
	*) server_options=(-o "endpoint=$plain,addressing=path") ;;
	esac
}

put() {
	"$PYTHON" "$top_srcdir/tests/s3/put.py" "$s3_endpoint" "$@"
}

# sync_bucket DIR BUCKET: and drop it at the end.
sync_bucket() {
	local state=$tmp/state-$2

	[ -e "$state" ] || at_exit put drop "$2"
	put sync "$1" "$2" "$state"
}

# fetch_bucket DIR BUCKET: the other way round.
fetch_bucket() {
	put fetch "$1" "$2" "$tmp/state-$2"
}

# What store_changed() has to know of a published directory.
declare -A bucket_of

# each_bucket FUNCTION DIR: call it for each of a published directory.
each_bucket() {
	local function=$1 dir=$2 folder

	if [ "${bucket_of[$dir]}" != service ]; then
		$function "$dir" "${bucket_of[$dir]}"
		return
	fi
	for folder in "$dir"/*/; do
		folder=${folder%/}
		[ -L "$folder" ] || $function "$folder" "${folder##*/}" ||
			return
	done
}

publish_store() {
	local dir=$1 word
	shift

	# What was mounted before is the same bucket.
	: "$((++published))" "${bucket_of[$dir]:=vmiefs-test-$$-$published}"
	store_options=("${server_options[@]}" -o "scratch=$tmp/scratch"
		--log "$tmp/log-$published")
	for word; do
		if [ "$word" = service ]; then
			bucket_of[$dir]=service
			unset 'store_options[-1]' # its -o
		else
			store_options+=("$word")
		fi
	done
	each_bucket sync_bucket "$dir" || return
	store_source=s3://${bucket_of[$dir]#service}
}

store_changed() {
	each_bucket sync_bucket "$1"
}

fetch_store() {
	each_bucket fetch_bucket "$1"
}

after_mounting() {
	# Not with -o ro.
	if [ -n "${VMIEFS_TEST_LEVEL-}" ] && [ -w "$1/control/log-level" ]; then
		echo "$VMIEFS_TEST_LEVEL" >"$1/control/log-level"
	fi
}

before_unmounting() {
	is "$("$PYTHON" "$top_srcdir/tests/s3/find_secrets.py" \
		"$1" "$(daemon_of "$1")" "$tmp"/log-* 2>&1)" "" \
		"no secret can be seen"
}

need_directory() {
	skip_all "needs a directory as its store: $1"
}

start_store_server
set_server_options
