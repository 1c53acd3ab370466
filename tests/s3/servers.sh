# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# Real S3 servers for tests and contrib/s3-server, on free ports of 127.0.0.1,
# with everything in a directory of theirs: sourced behind wait.sh. What is
# started here ends with the shell that started it, however that ends. Each
# start_*() sets
#
#     s3_endpoint      by address, path style      (http://127.0.0.1:PORT)
#     s3_host_endpoint by name: http://s3.localhost:PORT, buckets as its hosts
#     s3_tls_endpoint  the same by TLS, and s3_ca, who signed the certificate
# shellcheck shell=bash disable=SC2034,SC2154

s3_access=TESTACCESSKEY0000001
s3_secret=testsecretkey/00000000000000+00000000001
s3_domain=s3.localhost
s3_servers=()
s3_endpoint='' s3_host_endpoint='' s3_tls_endpoint='' s3_ca=''

# free_ports N: that many ports that nobody listens on now.
free_ports() {
	"$PYTHON" -c '
import socket, sys
links = [socket.create_server(("127.0.0.1", 0)) for _ in sys.argv[1]]
print(*(link.getsockname()[1] for link in links))' \
		"$(printf '%*s' "$1" '')"
}

# start_server LOG COMMAND...: in the background; killed with this shell.
start_server() {
	local log=$1
	shift

	setpriv --pdeathsig KILL "$@" </dev/null >>"$log" 2>&1 &
	s3_servers+=("$!")
}

# Nothing in them is worth an orderly end, which would take seconds.
stop_servers() {
	[ ${#s3_servers[@]} = 0 ] || kill -KILL "${s3_servers[@]}"
	wait "${s3_servers[@]}"
	s3_servers=()
} 2>/dev/null

# Does anything answer HTTP there?
answers() {
	"$PYTHON" -c '
import http.client, sys
link = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=2)
link.request("GET", "/")
link.getresponse()' "$1" 2>/dev/null
}

# make_certificates DIR: DIR/ca.pem, and DIR/server.pem and .key by it.
make_certificates() {
	local request=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)

	mkdir -p "$1" && cat >"$1/extensions" <<-END
	subjectAltName=DNS:$s3_domain,DNS:*.$s3_domain,IP:127.0.0.1
	basicConstraints=CA:FALSE
	extendedKeyUsage=serverAuth
	END
	{
		openssl req -x509 "${request[@]}" -days 30 -subj "/CN=test CA" \
			-addext basicConstraints=critical,CA:TRUE \
			-addext keyUsage=critical,keyCertSign,cRLSign \
			-keyout "$1/ca.key" -out "$1/ca.pem" &&
		openssl req "${request[@]}" -subj "/CN=localhost" \
			-keyout "$1/server.key" -out "$1/request" &&
		openssl x509 -req -in "$1/request" -CA "$1/ca.pem" \
			-CAkey "$1/ca.key" -CAcreateserial -days 30 \
			-extfile "$1/extensions" -out "$1/server.pem"
	} 2>"$1/log" || { cat "$1/log" >&2; return 1; }
}

# What went wrong while a server was started.
no_server() {
	echo "$1" >&2
	tail -n 15 "$2"/log/* >&2
	stop_servers
	return 1
}

# One monitor, one OSD with its objects in memory or, when they are many, in
# files, no authentication between them; no replica, no scrubbing.
ceph_config() {
	local dir=$1 monitor=$2 port=$3 tls=$4

	cat <<-END
	[global]
	fsid = $(cat /proc/sys/kernel/random/uuid)
	mon_host = [v2:127.0.0.1:$monitor]
	mon_initial_members = a
	public_addr = 127.0.0.1
	cluster_addr = 127.0.0.1
	ms_bind_ipv6 = false
	ms_bind_msgr1 = false
	auth_cluster_required = none
	auth_service_required = none
	auth_client_required = none
	# radosgw's own default waits for ever without authentication.
	ms_mon_client_mode = crc
	keyring = /dev/null
	run_dir = $dir/run
	admin_socket = $dir/run/\$name.\$pid.asok
	pid_file =
	log_file = $dir/log/\$name
	log_to_stderr = false
	crash_dir = $dir/log
	osd_pool_default_size = 1
	osd_pool_default_min_size = 1
	osd_pool_default_pg_num = 1
	osd_pool_default_pgp_num = 1
	osd_pool_default_pg_autoscale_mode = off
	osd_crush_chooseleaf_type = 0
	mon_allow_pool_size_one = true
	mon_max_pg_per_osd = 2000
	paxos_propose_interval = 0.02
	paxos_min_wait = 0.01
	mon_tick_interval = 1
	[mon]
	mon_data = $dir/mon
	mon_data_avail_warn = 1
	mon_data_avail_crit = 0
	mon_cluster_log_file = $dir/log/cluster
	mon_osd_full_ratio = 0.99
	mon_osd_nearfull_ratio = 0.98
	mon_osd_backfillfull_ratio = 0.985
	[osd]
	osd_data = $dir/osd
	osd_journal = $dir/osd/journal
	osd_journal_size = 256
	osd_objectstore = ${RADOSGW_STORE:-memstore}
	memstore_device_bytes = $((8 << 30))
	# What file systems have room for.
	osd_max_object_name_len = 256
	osd_max_object_namespace_len = 64
	osd_failsafe_full_ratio = 0.995
	osd_max_scrubs = 0
	osd_default_notify_timeout = 3
	osd_client_watch_timeout = 6
	osd_op_queue = wpq
	osd_class_load_list = *
	osd_class_default_list = *
	[client.rgw]
	# Without tcp_nodelay each small answer takes 44 ms.
	rgw_frontends = beast endpoint=127.0.0.1:$port tcp_nodelay=1 \
	ssl_endpoint=127.0.0.1:$tls ssl_certificate=$dir/tls/server.pem \
	ssl_private_key=$dir/tls/server.key
	rgw_data = $dir/rgw
	rgw_dns_name = $s3_domain
	rgw_rados_pool_pg_num_min = 4
	rgw_thread_pool_size = 64
	rgw_dynamic_resharding = false
	rgw_enable_usage_log = false
	# Deleted objects free their memory soon.
	rgw_gc_obj_min_wait = 1
	rgw_gc_processor_period = 2
	rgw_gc_processor_max_time = 2
	rgw_run_sync_thread = false
	END
}

osd_is_up() {
	ceph -c "$1" --connect-timeout 5 osd stat | grep -q ' 1 up'
}

# start_ceph DIR MONITOR-PORT: monitor and OSD.
start_ceph() {
	local conf=$1/ceph.conf id uuid

	uuid=$(cat /proc/sys/kernel/random/uuid)
	monmaptool --create --fsid "$(sed -n 's/^fsid = //p' "$conf")" \
		--addv a "[v2:127.0.0.1:$2]" "$1/monmap" --clobber >/dev/null &&
	ceph-mon -c "$conf" -i a --mkfs --monmap "$1/monmap" || return
	start_server "$1/log/mon.out" ceph-mon -c "$conf" -i a -f
	id=$(timeout 60 ceph -c "$conf" --connect-timeout 50 osd new "$uuid") &&
	ceph-osd -c "$conf" -i "$id" --mkfs --osd-uuid "$uuid" || return
	start_server "$1/log/osd.out" ceph-osd -c "$conf" -i "$id" -f
	# Earlier, radosgw-admin would wait five seconds for it.
	wait_until 60 osd_is_up "$conf"
}

# make_user CONF: who may do everything; and the region is us-east-1's.
make_user() {
	# Without its cache it leaves no watch behind that others wait for.
	local admin=(timeout 60 radosgw-admin -c "$1" -n client.rgw
		--rgw-cache-enabled=false)

	"${admin[@]}" user create --uid=test --display-name=test \
		--access-key="$s3_access" --secret-key="$s3_secret" &&
	"${admin[@]}" zonegroup get >"$1.zonegroup" &&
	sed -i 's/"api_name": "[^"]*"/"api_name": ""/' "$1.zonegroup" &&
	"${admin[@]}" zonegroup set --infile "$1.zonegroup"
}

# start_radosgw DIR: Ceph's gateway, on RADOSGW_PORT if that is set.
start_radosgw() {
	local dir=$1 monitor port tls

	export CEPH_CONF=$dir/ceph.conf CEPH_ARGS=
	mkdir -p "$dir"/{mon,osd,rgw,run,log}
	make_certificates "$dir/tls" || return
	read -r monitor port tls <<<"$(free_ports 3)"
	port=${RADOSGW_PORT:-$port}
	ceph_config "$dir" "$monitor" "$port" "$tls" >"$dir/ceph.conf"
	if ! start_ceph "$dir" "$monitor" >"$dir/log/ceph.out" 2>&1 ||
	   ! make_user "$dir/ceph.conf" >"$dir/log/user.out" 2>&1; then
		no_server "Ceph does not start" "$dir"
		return
	fi
	start_server "$dir/log/rgw.out" \
		radosgw -c "$dir/ceph.conf" -n client.rgw -f
	wait_until 60 answers "$port" ||
		{ no_server "radosgw does not start" "$dir"; return; }
	s3_endpoint=http://127.0.0.1:$port
	s3_host_endpoint=http://$s3_domain:$port
	s3_tls_endpoint=https://127.0.0.1:$tls
	s3_ca=$dir/tls/ca.pem
}

swift_config() {
	local dir=$1 name=$2 port=$3

	cat <<-END
	[DEFAULT]
	bind_ip = 127.0.0.1
	bind_port = $port
	swift_dir = $dir
	devices = $dir/srv
	mount_check = false
	disable_fallocate = true
	workers = 0
	user = $(id -un)
	log_level = ERROR
	END
	if [ "$name" != proxy ]; then
		cat <<-END
		[pipeline:main]
		pipeline = $name-server
		[app:$name-server]
		use = egg:swift#$name
		mount_check = false
		node_timeout = 60
		END
		return
	fi
	cat <<-END
	[pipeline:main]
	pipeline = catch_errors gatekeeper cache listing_formats s3api auth \
	bulk copy slo dlo versioned_writes symlink proxy-server
	[app:proxy-server]
	use = egg:swift#proxy
	account_autocreate = true
	# It shuns back ends for a minute that it met too early.
	error_suppression_limit = 1000000
	node_timeout = 60
	object_chunk_size = 1048576
	client_chunk_size = 1048576
	[filter:cache]
	paste.filter_factory = swift_serve:cache_factory
	[filter:auth]
	paste.filter_factory = swift_serve:auth_factory
	access_key = $s3_access
	secret_key = $s3_secret
	[filter:s3api]
	use = egg:swift#s3api
	s3_acl = false
	location = us-east-1
	storage_domain = $s3_domain
	allow_multipart_uploads = true
	[filter:versioned_writes]
	use = egg:swift#versioned_writes
	allow_object_versioning = true
	END
	for name in catch_errors gatekeeper listing_formats bulk copy slo dlo \
		symlink; do
		printf '[filter:%s]\nuse = egg:swift#%s\n' $name $name
	done
}

# start_swift DIR: OpenStack Swift, which speaks S3, too. DIR has to be on a
# file system with extended attributes of users.
start_swift() {
	local dir=$1 ports name port serve
	serve=(/usr/bin/python3 "$top_srcdir/tests/s3/swift_serve.py")

	export PYTHONPATH=$top_srcdir/tests/s3
	mkdir -p "$dir"/{srv/d1,log}
	read -r -a ports <<<"$(free_ports 4)"
	cat >"$dir/swift.conf" <<-END
	[swift-hash]
	swift_hash_path_suffix = a
	swift_hash_path_prefix = b
	[storage-policy:0]
	name = p0
	default = yes
	END
	"${serve[@]}" rings "$dir" "${ports[@]:1}" >"$dir/log/rings" 2>&1 ||
		{ no_server "Swift does not start" "$dir"; return; }
	for name in proxy account container object; do
		port=${ports[0]}
		ports=("${ports[@]:1}" "$port")
		swift_config "$dir" $name "$port" >"$dir/$name.conf"
		start_server "$dir/log/$name" "${serve[@]}" $name "$dir"
	done
	unset PYTHONPATH
	for port in "${ports[@]:1}" "${ports[0]}"; do
		wait_until 60 answers "$port" ||
			{ no_server "Swift does not start" "$dir"; return; }
	done
	s3_endpoint=http://127.0.0.1:${ports[0]}
	s3_host_endpoint=http://$s3_domain:${ports[0]}
}

# start_scripted DIR: the tests' own.
start_scripted() {
	local dir=$1 http

	mkdir -p "$dir"/{root,log}
	AWS_ACCESS_KEY_ID=$s3_access AWS_SECRET_ACCESS_KEY=$s3_secret \
	start_server "$dir/log/server" \
		"$PYTHON" "$top_srcdir/tests/s3/server.py" "$dir/root" \
		--ready "$dir/ready"
	if ! wait_until 60 test -e "$dir/ready"; then
		no_server "the scripted server does not start" "$dir"
		return
	fi
	http=$(sed -n 's/^http=//p' "$dir/ready")
	s3_endpoint=http://127.0.0.1:$http
	s3_host_endpoint=http://$s3_domain:$http
}
