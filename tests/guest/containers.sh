# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
#
# One raw disk in every container that qemu-img and the tree can make. For
# tests of a mount with other programs: source it behind functions.sh.
# shellcheck shell=bash disable=SC2034,SC2154

# Containers by name: KEY below disks/, without the final .raw.
container_keys=(
	stream.vmdk footer.vmdk sparse.vmdk flat.vmdk split.vmdk
	dynamic.vhd fixed.vhd dynamic.vhdx fixed.vhdx plain
	app.ova/app-disk1.vmdk packed.vmdk.gz
)

# make_ova OVA DISK: with a descriptor in front, as the standard wants.
make_ova() {
	local dir=$1.d name=${2##*/}

	mkdir -p "$dir"
	cat >"$dir/app.ovf" <<-END
	<?xml version="1.0" encoding="UTF-8"?>
	<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1"
	 xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1">
	 <References><File ovf:id="f1" ovf:href="$name"/></References>
	 <DiskSection><Info/><Disk ovf:diskId="d1" ovf:fileRef="f1"
	  ovf:capacity="$(stat -c %s "$3")"/></DiskSection>
	</Envelope>
	END
	cp "$2" "$dir/$name"
	tar -C "$dir" --format=ustar -cf "$1" app.ovf "$name"
	rm -r "$dir"
}

# make_containers RAW DIR: the disk RAW (a multiple of 64 KiB) in DIR in all
# the forms of container_keys.
make_containers() {
	local raw=$1 dir=$2 convert="qemu-img convert -f raw"

	mkdir -p "$dir"
	cp --sparse=always "$raw" "$dir/plain.raw"
	$convert -O vmdk -o subformat=streamOptimized "$raw" \
		"$dir/stream.vmdk"
	$convert -O vmdk -o subformat=monolithicSparse "$raw" \
		"$dir/sparse.vmdk"
	$convert -O vmdk -o subformat=monolithicFlat "$raw" "$dir/flat.vmdk"
	$convert -O vmdk -o subformat=twoGbMaxExtentSparse "$raw" \
		"$dir/split.vmdk"
	$convert -O vpc -o subformat=dynamic,force_size=on "$raw" \
		"$dir/dynamic.vhd"
	$convert -O vpc -o subformat=fixed,force_size=on "$raw" \
		"$dir/fixed.vhd"
	$convert -O vhdx -o subformat=dynamic,block_size=1M "$raw" \
		"$dir/dynamic.vhdx"
	$convert -O vhdx -o subformat=fixed "$raw" "$dir/fixed.vhdx"
	"$top_builddir/tests/bench/stream-vmdk" "$raw" "$dir/footer.vmdk" \
		2>/dev/null
	cp "$dir/footer.vmdk" "$tmp/app-disk1.vmdk"
	make_ova "$dir/app.ova" "$tmp/app-disk1.vmdk" "$raw"
	gzip -1 -c "$dir/sparse.vmdk" >"$dir/packed.vmdk.gz"
}

# need_containers: what make_containers runs.
need_containers() {
	need qemu-img tar gzip
	[ -x "$top_builddir/tests/bench/stream-vmdk" ] ||
		skip_all "tests/bench/stream-vmdk is not built"
}

# The format by which qemu-img reads the container of this key, "" for none.
qemu_format() {
	case $1 in
	*/* | *.gz) ;;
	*.vmdk) echo vmdk ;;
	*.vhd) echo vpc ;;
	*.vhdx) echo vhdx ;;
	*) echo raw ;;
	esac
}
