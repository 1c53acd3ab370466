#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The scripted server takes what is written as S3 does: sums, conditions,
copies, part uploads; and its rules strike there, too."""

import base64
import hashlib
import http.client
import os
import re
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import sigv4  # noqa: E402
import tap  # noqa: E402
from client import Client, field, quoted  # noqa: E402
from control import KEYS, Server  # noqa: E402

MIB = 1 << 20


def md5(data):
    """In hex, as in an ETag."""
    return hashlib.md5(data).hexdigest()


def check_put(client, root):
    """Objects appear whole, with what was said of them."""
    data = os.urandom(3 * MIB) + bytes(2 * MIB)
    sums = {"content-md5":
            base64.b64encode(hashlib.md5(data).digest()).decode(),
            "x-amz-checksum-sha256":
            base64.b64encode(hashlib.sha256(data).digest()).decode()}
    more = {"content-type": "application/x-disk", "x-amz-meta-size": "12",
            "x-amz-storage-class": "STANDARD_IA", "x-amz-acl": "private",
            "x-amz-tagging": "a=1&b=2", **sums}
    status, headers, _ = client.get("/one/d/a.img", "", "PUT", more, data)
    tap.same((status, headers["etag"], headers["x-amz-checksum-sha256"]),
             (200, f'"{md5(data)}"', sums["x-amz-checksum-sha256"]), "PUT")
    _, headers, body = client.get("/one/d/a.img")
    tap.ok(body == data, "the same comes back")
    tap.same([headers[n] for n in ("etag", "content-type", "x-amz-meta-size",
                                   "x-amz-storage-class",
                                   "x-amz-tagging-count")],
             [f'"{md5(data)}"', "application/x-disk", "12", "STANDARD_IA",
              "2"], "with what was said of it")
    with open(os.path.join(root, "one/d/a.img"), "rb") as file:
        tap.ok(file.read() == data, "it is a file")
    tap.same(client.put("/one/u", b"abc", payload=sigv4.UNSIGNED), (200, ""),
             "an unsigned payload")
    for what, want, headers, sign in (
            ("another Content-MD5", (400, "BadDigest"),
             {"content-md5": base64.b64encode(bytes(16)).decode()}, {}),
            ("a Content-MD5 that is none", (400, "InvalidDigest"),
             {"content-md5": "x"}, {}),
            ("another checksum", (400, "BadDigest"),
             {"x-amz-checksum-crc32": "AAAAAA=="}, {}),
            ("another hash of the payload", (400, "XAmzContentSHA256Mismatch"),
             {}, {"payload": "0" * 64}),
            ("no such storage class", (400, "InvalidStorageClass"),
             {"x-amz-storage-class": "COLD"}, {}),
            ("no such encryption", (400, "InvalidEncryptionAlgorithmError"),
             {"x-amz-server-side-encryption": "rot13"}, {}),
            ("too much metadata", (400, "MetadataTooLarge"),
             {"x-amz-meta-x": "x" * 2100}, {})):
        tap.same(client.put("/one/bad", b"abc", headers, **sign), want,
                 f"refused: {what}")
    tap.same(client.code("/one/bad")[0], 404, "and nothing is there")
    tap.same(client.put("/none/x"), (404, "NoSuchBucket"), "no such bucket")
    tap.same(client.put("/one/" + "k" * 1025), (400, "KeyTooLongError"),
             "no such key")
    kms = client.get("/one/kms", "", "PUT",
                     {"x-amz-server-side-encryption": "aws:kms"}, b"abc")[1]
    tap.ok(kms["etag"] != f'"{md5(b"abc")}"', "encrypted: the ETag is no MD5")


def check_odd_keys(client):
    """What no file system can hold at once is there nevertheless."""
    keys = ["o/a", "o/a/b", "o/a/b/", "o//x", "o/../x", "o/" + "n" * 300]
    for key in keys:
        tap.same(client.put("/one/" + key, key.encode()[:0 if key[-1] == "/"
                                                        else None]),
                 (200, ""), f"PUT {key[:20]}")
    tap.same([client.get("/one/" + key)[2].decode() for key in keys],
             [key if key[-1] != "/" else "" for key in keys], "all are there")
    text = client.get("/one", "list-type=2&prefix=o%2F")[2].decode()
    tap.same(re.findall("<Key>(.*?)</Key>", text), sorted(keys), "and listed")
    for key in keys:
        client.delete("/one/" + key)
    tap.same(client.get("/one", "list-type=2&prefix=o%2F")[2]
             .count(b"<Key>"), 0, "and gone")


def check_conditions(client):
    """If-Match and If-None-Match of writes, and servers without."""
    new = {"if-none-match": "*"}
    good = {"if-match": f'"{md5(b"1")}"'}
    failed = (412, "PreconditionFailed")
    tap.same(client.put("/one/c", b"1", new), (200, ""), "created")
    tap.same(client.put("/one/c", b"2", new), failed, "but once")
    tap.same(client.put("/one/c", b"2", {"if-match": '"x"'}), failed,
             "another ETag")
    tap.same(client.put("/one/c", b"1", good), (200, ""), "that ETag")
    tap.same(client.put("/one/c2", b"1", good), (404, "NoSuchKey"),
             "an ETag of nothing")
    tap.same(client.put("/one/c2", b"1", {"if-none-match": '"x"'})[0], 501,
             "If-None-Match knows only *")
    tap.same(client.delete("/one/c", {"if-match": '"x"'}), failed,
             "DELETE of another")
    client.server.rules({"do": "conditions", "as": "ignored", "count": None})
    tap.same(client.put("/one/c", b"3", new), (200, ""), "ignored")
    client.server.rules({"do": "conditions", "as": "unsupported"})
    tap.same(client.put("/one/c", b"4", new), (501, "NotImplemented"),
             "not implemented")
    tap.same(client.get("/one/c")[2], b"3", "and nothing was done")
    tap.same(client.delete("/one/c"), (204, ""), "DELETE")
    tap.same(client.delete("/one/c"), (204, ""), "DELETE of nothing")
    tap.same(client.code("/one/c")[0], 404, "it is gone")


def copy_of(key, **more):
    """Headers of a copy."""
    return {"x-amz-copy-source": "/one/" + quoted(key),
            **{"x-amz-copy-source-" + n.replace("_", "-"): v
               for n, v in more.items()}}


def check_copy(client):
    """CopyObject."""
    client.put("/one/s ü+", b"source", {"x-amz-meta-a": "b"})
    etag = f'"{md5(b"source")}"'
    _, _, body = client.get("/one/copy", "", "PUT",
                            copy_of("s ü+", if_match=etag), b"")
    tap.same(field(body, "ETag"), etag, "a copy")
    _, headers, body = client.get("/one/copy")
    tap.same((body, headers["x-amz-meta-a"]), (b"source", "b"),
             "with its metadata")
    client.put("/one/copy", b"", {**copy_of("s ü+"), "x-amz-meta-c": "d",
                                  "x-amz-metadata-directive": "REPLACE"})
    _, headers, _ = client.get("/one/copy", method="HEAD")
    tap.same((headers["x-amz-meta-a"], headers["x-amz-meta-c"]), (None, "d"),
             "or with other")
    for what, want, headers in (
            ("another ETag", (412, "PreconditionFailed"),
             copy_of("s ü+", if_match='"x"')),
            ("no source", (404, "NoSuchKey"), copy_of("nothing")),
            ("onto itself", (400, "InvalidRequest"), copy_of("copy"))):
        tap.same(client.put("/one/copy", b"", headers), want,
                 f"refused: {what}")
    client.server.rules({"do": "conditions", "as": "ignored"})
    tap.same(client.put("/one/copy", b"", copy_of("s ü+", if_match='"x"')),
             (200, ""), "a server that ignores the condition")
    client.server.objects("one", {"key": "huge", "size": 6 << 30})
    tap.same(client.put("/one/copy", b"", copy_of("huge")),
             (400, "InvalidRequest"), "at most 5 GiB")


def check_upload(client, key="/one/up.img"):
    """A part upload, from its beginning to the object."""
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB), b"tail"]
    name = client.begin(key, {"x-amz-meta-x": "y"})
    etags = {}
    for number in (7, 2, 1):
        index = {1: 0, 2: 1, 7: 2}[number]
        headers = client.part(key, name, number, parts[index])[1]
        etags[number] = headers["etag"]
    tap.same(etags[1], f'"{md5(parts[0])}"', "the ETag of a part")
    open_now, = client.server.uploads()
    tap.same([open_now["key"], open_now["id"],
              [(p["number"], p["size"]) for p in open_now["parts"]]],
             ["up.img", name, [(1, 5 * MIB), (2, 5 * MIB), (7, 4)]],
             "the control port tells")
    tap.same(client.code(key)[0], 404, "there is no object yet")
    chosen = sorted(etags.items())
    for what, want, rows in (
            ("the order", "InvalidPartOrder", chosen[::-1]),
            ("an ETag", "InvalidPart", [(1, "x")]),
            ("a part that is not there", "InvalidPart", [(3, etags[1])]),
            ("no parts", "MalformedXML", []),
            ("a small part", "EntityTooSmall", [])):
        if what == "a small part":
            client.part(key, name, 3, b"small")
            rows = [(3, md5(b"small")), chosen[2]]
        status, _, body = client.complete(key, name, rows)
        tap.same((status, field(body, "Code")), (400, want),
                 f"refused: {what}")
    status, _, body = client.complete(key, name, chosen)
    digest = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts))
    want = f'"{digest.hexdigest()}-3"'
    tap.same((status, field(body, "ETag")), (200, want), "Complete")
    _, headers, body = client.get(key)
    tap.same((headers["etag"], headers["x-amz-meta-x"]), (want, "y"),
             "the object's ETag and metadata")
    tap.ok(body == b"".join(parts), "and its bytes")
    tap.same(client.server.uploads(), [], "the upload is over")
    tap.same(field(client.complete(key, name, chosen)[2], "Code"),
             "NoSuchUpload", "and not there a second time")


def check_refused_uploads(client, key="/one/new.img"):
    """What an upload does not take."""
    name = client.begin(key)
    for what, want, kwargs in (
            ("part 0", "InvalidArgument", {"number": 0}),
            ("part 10001", "InvalidArgument", {"number": 10001}),
            ("another MD5", "BadDigest",
             {"headers": {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}}),
            ("another upload", "NoSuchUpload", {"name": "x"})):
        args = {"name": name, "number": 1, "body": b"abc", **kwargs}
        tap.same(field(client.part(key, **args)[2], "Code"), want,
                 f"refused: {what}")
    tap.same(field(client.part("/one/other", name, 1, b"abc")[2], "Code"),
             "NoSuchUpload", "refused: another key")
    client.part(key, name, 1, b"abc")
    client.put(key, b"meanwhile")
    parts = [(1, md5(b"abc"))]
    tap.same(client.complete(key, name, parts, {"if-none-match": "*"})[0],
             412, "somebody else was first")
    tap.same(client.abort(key, name), (204, ""), "abort")
    tap.same(client.abort(key, name), (404, "NoSuchUpload"), "but once")
    tap.same((client.get(key)[2], client.server.uploads()),
             (b"meanwhile", []), "and theirs is there")


def check_part_copy(client, key="/one/joined"):
    """UploadPartCopy."""
    data = os.urandom(6 * MIB)
    client.put("/one/large", data)
    client.put("/one/small", data[:5 * MIB])
    etag = f'"{md5(data)}"'
    name = client.begin(key)
    etags = []
    for number, headers in (
            (1, copy_of("large", range=f"bytes=1-{5 * MIB}", if_match=etag)),
            (2, copy_of("small"))):
        body = client.part(key, name, number, b"", headers)[2]
        etags.append((number, field(body, "ETag")))
    for what, want, headers in (
            ("a range of 5 MiB", "InvalidRequest",
             copy_of("small", range="bytes=0-9")),
            ("a range behind the end", "InvalidArgument",
             copy_of("large", range=f"bytes=0-{6 * MIB}")),
            ("an open range", "InvalidArgument",
             copy_of("large", range="bytes=5-")),
            ("another ETag", "PreconditionFailed",
             copy_of("large", if_match='"x"'))):
        tap.same(field(client.part(key, name, 3, b"", headers)[2], "Code"),
                 want, f"refused: {what}")
    client.complete(key, name, etags)
    tap.ok(client.get(key)[2] == data[1:5 * MIB + 1] + data[:5 * MIB],
           "an object of two others")


def listed_uploads(client, query):
    """(key, id) of all pages of ListMultipartUploads, and how many."""
    rows, more, pages = [], "", 0
    while pages < 20:
        text = client.get("/one", query + more)[2]
        pages += 1
        found = text.decode().split("<Upload>")[1:]
        rows += [(field(u.encode(), "Key"), field(u.encode(), "UploadId"))
                 for u in found]
        if field(text, "IsTruncated") == "false":
            break
        more = ("&key-marker=" + quoted(field(text, "NextKeyMarker")) +
                "&upload-id-marker=" +
                quoted(field(text, "NextUploadIdMarker")))
    return rows, pages


def check_listing(client):
    """ListMultipartUploads and ListParts, which outlive the server."""
    begun = [(key, client.begin("/one/" + key)) for key in
             ("l/b", "l/a b", "l/b", "l/c&<", "m/x")]
    want = sorted(begun)
    tap.same(listed_uploads(client, "uploads="), (want, 1), "all uploads")
    tap.same(listed_uploads(client, "max-uploads=2&uploads="), (want, 3),
             "in pages")
    tap.same(listed_uploads(client, "prefix=l%2Fb&uploads="),
             ([u for u in want if u[0] == "l/b"], 1), "of one key")
    tap.same(client.get("/one", "encoding-type=url&uploads=")[2]
             .count(b"<Key>l/a+b</Key>"), 1, "encoded")
    key, name = begun[1]
    for number in range(1, 6):
        client.part(f"/one/{key}", name, number, b"p" * number)
    client.server.stop()
    client.server.start()
    tap.same(listed_uploads(client, "uploads="), (want, 1),
             "still there with another server")
    query = f"max-parts=2&part-number-marker=2&uploadId={quoted(name)}"
    text = client.get(f"/one/{key}", query)[2].decode()
    tap.same((re.findall("<PartNumber>(.*?)<", text),
              re.findall("<Size>(.*?)<", text),
              field(text.encode(), "NextPartNumberMarker"),
              field(text.encode(), "IsTruncated")),
             (["3", "4"], ["3", "4"], "4", "true"), "parts in pages")
    for key, name in begun:
        client.abort("/one/" + key, name)
    tap.same(client.server.uploads(), [], "all aborted")


def outcome(client, rule, key="/one/fault", body=bytes(100000), **more):
    """(status or exception's name, is the object there) of a PUT."""
    client.delete(key)
    client.server.rules({"op": "put", **rule})
    try:
        status = client.get(key, "", "PUT", None, body, **more)[0]
    except (OSError, http.client.HTTPException) as error:
        status = "gone" if isinstance(error, (
            ConnectionError, http.client.HTTPException)) else "silence"
    client.server.rules()
    return status, client.code(key, method="HEAD")[0] == 200


def check_rules(client):
    """Each fault, and what is there afterwards."""
    for rule, want in (
            ({"do": "reset", "at": "head"}, ("gone", False)),
            ({"do": "cut", "at": "body", "after": 70000}, ("gone", False)),
            ({"do": "reset", "at": "body"}, ("gone", False)),
            ({"do": "cut", "at": "read"}, ("gone", False)),
            ({"do": "reset", "at": "request"}, ("gone", True)),
            ({"do": "reset", "at": "header"}, ("gone", True)),
            ({"do": "reply", "status": 507, "code": "QuotaExceeded"},
             (507, False)),
            ({"do": "reply", "status": 200, "code": "InternalError"},
             (200, False)),
            ({"do": "reply", "status": 500, "work": True}, (500, True)),
            ({"do": "reply", "status": 403, "at": "head"}, (403, False)),
            ({"do": "stall", "at": "body", "seconds": 0.2}, (200, True)),
            ({"do": "reply", "nth": 2}, (200, True))):
        tap.same(outcome(client, rule), want, f"rule {rule}")
    client.server.rules({"do": "reply", "op": "upload-*", "nth": 2})
    name = client.begin("/one/f")
    tap.same([client.part("/one/f", name, n, b"x")[0] for n in (1, 2, 3)],
             [200, 503, 200], "the second part fails")
    client.abort("/one/f", name)
    client.server.rules({"do": "uprate", "bps": 100000})
    begin = time.monotonic()
    client.put("/one/f", bytes(50000))
    tap.ok(time.monotonic() - begin > 0.4, "slow to take it")
    client.server.reset()
    client.put("/one/f", bytes(50000))
    client.get("/one/f")
    tap.same(client.server.counts(), {
        "put": {"requests": 1, "received": 50000, "sent": 0},
        "get": {"requests": 1, "received": 0, "sent": 50000}}, "counts")


def check_refresh(client, root):
    """A file that somebody else has changed is another object."""
    client.put("/one/file", b"written")
    tap.same(client.get("/one/file")[1]["etag"], f'"{md5(b"written")}"',
             "written")
    client.server.stop()
    client.server.start()
    tap.same(client.get("/one/file")[1]["etag"], f'"{md5(b"written")}"',
             "another server knows the ETag")
    with open(os.path.join(root, "one/file.new"), "wb") as file:
        file.write(b"another")
    os.rename(os.path.join(root, "one/file.new"),
              os.path.join(root, "one/file"))
    _, headers, body = client.get("/one/file")
    tap.ok(body == b"another" and
           headers["etag"] != f'"{md5(b"written")}"', "changed from outside")


def check_buckets(client):
    """They come and go."""
    tap.same(client.put("/new-bucket"), (200, ""), "a new bucket")
    tap.same(client.put("/New_Bucket"), (400, "InvalidBucketName"),
             "whose name has to be one")
    client.put("/new-bucket/a", b"x")
    tap.same(client.delete("/new-bucket"), (409, "BucketNotEmpty"),
             "it goes when it is empty")
    client.delete("/new-bucket/a")
    tap.same((client.delete("/new-bucket"),
              client.code("/new-bucket", method="HEAD")[0]),
             ((204, ""), 404), "and then it does")


def check_upstream(client, top):
    """One in front of another: faults strike here, the work is done there."""
    behind = client.server
    behind.reset()
    empty = os.path.join(top, "empty")
    os.mkdir(empty)
    with Server(empty, f"--upstream={behind.url()}") as server:
        front = Client(server)
        data = os.urandom(2 * MIB + 1)
        tap.same(front.put("/one/a b+%", data, {"x-amz-meta-a": "b"}),
                 (200, ""), "sent there")
        status, headers, body = front.get("/one/a b+%")
        tap.ok((status, headers["x-amz-meta-a"], body) == (200, "b", data),
               "and fetched", (status, headers.items(), len(body)))
        tap.same([client.get("/one/a b+%")[2] == data, os.listdir(empty)],
                 [True, [".scripted"]], "it is there, not here")
        status, headers, _ = front.get("/one/a b+%", method="HEAD")
        tap.same((status, headers["content-length"]), (200, str(len(data))),
                 "its head")
        tap.same(front.put("/one/a b+%", b"c", {"if-none-match": "*"}),
                 (412, "PreconditionFailed"), "what is refused there")
        tap.same(front.get("/one/none", "uploadId=x", "DELETE")[0], 404,
                 "what is not there")
        check_faults_between(front, client)
        server.keys({**KEYS, "expired": True})
        tap.same(front.code("/one/a b+%"), (400, "ExpiredToken"),
                 "keys that end here")
        behind.stop()
        server.keys(KEYS)
        try:
            said = front.get("/one/a b+%")[0]
        except ConnectionError:
            said = "gone"
        tap.same(said, "gone", "a server that is away")
    behind.start()


def check_faults_between(front, client):
    """The server behind gets no byte, some, or all."""
    for rule, want, sizes in (
            ({"do": "reset", "at": "head"}, ("gone", False), []),
            ({"do": "reset", "at": "body", "after": 70000}, ("gone", False),
             [70000]),
            ({"do": "cut", "at": "read"}, ("gone", False), []),
            ({"do": "reset", "at": "request"}, ("gone", True), [100000]),
            ({"do": "reply", "status": 500, "work": True}, (500, True),
             [100000]),
            ({"do": "reply", "status": 403}, (403, False), [])):
        client.server.reset()
        tap.same(outcome(front, rule, key="/one/between"), want,
                 f"between two servers: {rule}")
        end = time.monotonic() + 60
        while [e["received"] for e in client.server.log(op="put")] != sizes \
                and time.monotonic() < end:
            time.sleep(0.02)
        tap.same([e["received"] for e in client.server.log(op="put")], sizes,
                 "and what came to the second one")
    tap.same(front.put("/one/between", b"", {"if-none-match": "*"})[0], 200,
             "nothing is there")
    front.server.rules({"do": "conditions", "as": "ignored"})
    tap.same(front.put("/one/between", b"d", {"if-none-match": "*"})[0], 200,
             "conditions that are taken away")


def check_forgetting(root):
    """A server without room keeps sizes and sums."""
    with Server(root, "--forget") as server:
        client = Client(server)
        data = os.urandom(6 * MIB)
        name = client.begin("/one/large")
        parts = [(n, client.part("/one/large", name, n, data)[1]["etag"])
                 for n in (1, 2)]
        tap.same(parts[0][1], f'"{md5(data)}"', "forgotten, but for its MD5")
        tap.same(client.complete("/one/large", name, parts)[0], 200,
                 "an upload of such")
        status = os.stat(os.path.join(root, "one/large"))
        tap.same((status.st_size, status.st_blocks), (12 * MIB, 0),
                 "its size is known")
        client.put("/one/small", b"abc")
        tap.same(client.get("/one/small")[2], b"abc", "small ones are kept")


def main():
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        root = os.path.join(top, "root")
        os.makedirs(os.path.join(root, "one"))
        with Server(root) as server:
            client = Client(server)
            check_put(client, root)
            check_odd_keys(client)
            check_conditions(client)
            check_copy(client)
            check_upload(client)
            check_refused_uploads(client)
            check_part_copy(client)
            check_listing(client)
            check_rules(client)
            check_refresh(client, root)
            check_buckets(client)
            check_upstream(client, top)
        check_forgetting(root)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
