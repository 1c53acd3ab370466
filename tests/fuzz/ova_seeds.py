# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""Seeds of what OVAs are made of: tars, descriptors, manifests, gzip."""

import gzip
import zlib

import make_ova
import ovftext


def tar_seeds():
    """The generated OVAs that are small."""
    for case in make_ova.cases():
        if case.image.size < 100000:
            yield case.name, case.image.read(0, case.image.size)


def ovf_seeds():
    """Every writer's descriptor."""
    disks = [ovftext.Disk("d1", "one.vmdk"), ovftext.Disk("d2", "", "${s}")]
    extra = '<ProductSection ovf:class="c"><Property ovf:key="s">' \
            '<Value ovf:value="9" ovf:configuration="x"/></Property>' \
            '</ProductSection><DeploymentOptionSection><Configuration ' \
            'ovf:id="x" ovf:default="true"/></DeploymentOptionSection>'
    yield "vmware", ovftext.vmware(disks, extra=extra).encode()
    for writer in ("vmware09", "virtualbox2", "xen", "ovirt", "bare"):
        yield writer, getattr(ovftext, writer)(disks).encode()
    yield "utf-16", ovftext.bare(disks).encode("utf-16")


def manifest_seeds():
    """Both kinds of lines."""
    yield "empty", b""
    yield "sha1", b"SHA1(a.ovf)= " + b"0a" * 20 + b"\r\n"
    yield "sha256", b"sha256 ( b (1).vmdk ) = " + b"Fe" * 32
    yield "sha512", b"\xef\xbb\xbfSHA512(c)=" + b"11" * 64 + b"\n\n?\n"
    yield "sha1sum", b"0a" * 20 + b"  ./a.ovf\n" + b"1b" * 32 + b" *b\n"


def gzip_seeds():
    """Members of all levels, padding, cut and damaged ones."""
    text = b"".join(b"line %d of a text\n" % n for n in range(500))
    data = text + make_ova.noise("gzip", 3000) + bytes(5000)
    for level in (0, 1, 9):
        yield f"level-{level}", gzip.compress(data, level, mtime=0)
    one = gzip.compress(text, mtime=0)
    yield "members", one + gzip.compress(b"") + one + bytes(20)
    yield "cut", one[:-5]
    yield "garbage", one + b"garbage"
    yield "large", gzip.compress(bytes(3 << 20) + data * 20, mtime=0)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31, 1, zlib.Z_FIXED)
    yield "fixed", packer.compress(text) + packer.flush()
    header = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x02\0xyname\0comment\0"
    yield "header", header + zlib.crc32(header).to_bytes(4, "little")[:2] + \
        one[10:]


def seeds(target):
    """Yield (name, bytes) of every seed of target."""
    return {"fuzz-tar": tar_seeds, "fuzz-ovf": ovf_seeds,
            "fuzz-manifest": manifest_seeds,
            "fuzz-gzip": gzip_seeds}[target]()
