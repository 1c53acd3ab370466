#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""The scripted server is what it claims to be: signatures against published
examples, listings, ranges, and each of its rules."""

import calendar
import hashlib
import http.client
import os
import re
import socket
import sys
import tempfile
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(__file__), ".."))
# pylint: disable=wrong-import-position
import sigv4  # noqa: E402
import tap  # noqa: E402
from client import Client  # noqa: E402
from control import KEYS, Server  # noqa: E402

ODD = "odd keys/ü+%25&='\"<>~ \x01.txt"
# "Signature Calculations", S3 API reference: the four examples there.
EXAMPLE = {"access": "AKIAIOSFODNN7EXAMPLE",
           "secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"}
EXAMPLE_HOST = "examplebucket.s3.amazonaws.com"
EXAMPLES = (
    ("GET", "/test.txt", "", {"range": "bytes=0-9"}, b"",
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
    ("PUT", "/test%24file.text", "",
     {"date": "Fri, 24 May 2013 00:00:00 GMT",
      "x-amz-storage-class": "REDUCED_REDUNDANCY"},
     b"Welcome to Amazon S3.",
     "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"),
    ("GET", "/", "lifecycle", {}, b"",
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    ("GET", "/", "max-keys=2&prefix=J", {}, b"",
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
)
EXAMPLE_PRESIGNED = \
    "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"


def check_examples():
    """Published signatures."""
    when = calendar.timegm((2013, 5, 24, 0, 0, 0))
    for method, path, query, headers, body, want in EXAMPLES:
        signed = sigv4.sign(EXAMPLE, method, path, query,
                            {"host": EXAMPLE_HOST, **headers},
                            hashlib.sha256(body).hexdigest(), when=when)
        tap.same(signed["authorization"][-64:], want,
                 f"published: {method} {path} {query}")
    query = sigv4.presign(EXAMPLE, EXAMPLE_HOST, "/test.txt", 86400, when=when)
    tap.same(query[-64:], EXAMPLE_PRESIGNED, "published: a presigned URL")


def check_refusals(client):
    """What is wrongly signed."""
    key = "/one/f1"
    tap.same(client.code(key)[0], 200, "a good signature")
    for what, want, kwargs in (
            ("a wrong secret", (403, "SignatureDoesNotMatch"),
             {"keys": {**KEYS, "secret": "wrong"}}),
            ("an unknown key", (403, "InvalidAccessKeyId"),
             {"keys": {**KEYS, "access": "NOBODY"}}),
            ("a token that is none", (400, "InvalidToken"),
             {"keys": {**KEYS, "token": "t"}}),
            ("a clock 20 minutes late", (403, "RequestTimeTooSkewed"),
             {"when": time.time() - 1200}),
            ("another region", (400, "AuthorizationHeaderMalformed"),
             {"region": "eu-west-1"}),
            ("another body", (400, "XAmzContentSHA256Mismatch"),
             {"payload": "0" * 64})):
        tap.same(client.code(key, **kwargs), want, f"refused: {what}")
    tap.same(client.code(key, payload=sigv4.UNSIGNED)[0], 200,
             "an unsigned payload")
    tap.same(client.send(key)[0], 403, "refused: no signature")
    signed = sigv4.sign(KEYS, "GET", key, "", {"host": client.host})
    for what, path, query, headers in (
            ("another path", "/one/f2", "", {}),
            ("another query", key, "list-type=2", {}),
            ("another date", key, "", {"x-amz-date": sigv4.iso_date(
                time.time() - 60)}),
            ("an unsigned x-amz header", key, "",
             {"x-amz-request-payer": "requester"})):
        tap.same(client.send(path, query, headers={**signed, **headers})[0],
                 403, f"refused: {what} than was signed")
    tap.same(client.send(key, headers={**signed, "user-agent": "x"})[0], 200,
             "other headers need not be signed")


def check_presigned(client):
    """Presigned URLs."""
    query = sigv4.presign(KEYS, client.host, "/one/f1", 60)
    tap.same(client.send("/one/f1", query)[::2], (200, b"1"), "presigned")
    tap.same(client.send("/one/f2", query)[0], 403, "for one object only")
    old = sigv4.presign(KEYS, client.host, "/one/f1", 60,
                        when=time.time() - 120)
    tap.same(client.send("/one/f1", old)[0], 403, "until it has expired")


def listed(client, query):
    """Keys and prefixes of all pages of a listing."""
    names, token, pages = [], "", 0
    while pages < 20:
        more = f"&continuation-token={sigv4.quote(token)}" if token else ""
        text = client.get("/one", "list-type=2&" + query + more)[2].decode()
        pages += 1
        names += re.findall("<Key>(.*?)</Key>", text)
        names += re.findall("<CommonPrefixes><Prefix>(.*?)</Prefix>", text)
        found = re.search("<NextContinuationToken>(.*?)<", text)
        if not found:
            break
        token = found[1]
    return names, pages


def check_listing(client):
    """Pages, delimiters, encodings."""
    names, pages = listed(client, "max-keys=2&delimiter=/")
    tap.same((sorted(names), pages),
             (["empty/", "f1", "f2", "odd keys/", "sub/"], 3),
             "pages of one level")
    tap.same(listed(client, "prefix=sub/&encoding-type=url")[0],
             ["sub/a.img", "sub/b.img"], "a prefix")
    name = listed(client, "prefix=odd&encoding-type=url")[0][0]
    tap.same((urllib.parse.unquote_plus(name), " " in name), (ODD, False),
             "an encoded key")
    tap.same(listed(client, "prefix=odd")[0][0],
             ODD.replace("&", "&amp;").replace("<", "&lt;")
             .replace(">", "&gt;").replace("\x01", "&#x1;"), "or as XML can")
    tap.same(listed(client, "start-after=f2")[0][1:],
             ["sub/a.img", "sub/b.img"], "start-after")
    client.server.objects("many", {"pattern": "p/%06d.vmdk", "count": 100000})
    text = client.get("/many", "list-type=2&start-after=p/050000.vmdk")[2]
    tap.ok(b"<Key>p/050001.vmdk</Key>" in text and
           text.count(b"<Contents>") == 1000, "a made-up page of 100,000 keys")
    tap.ok(client.get("/")[2].count(b"<Bucket>") == 2, "all buckets")
    tap.same(client.code("/none", "list-type=2"), (404, "NoSuchBucket"),
             "no such bucket")


def check_ranges(client, data):
    """Ranges and conditions."""
    key = "/one/sub/a.img"
    _, headers, body = client.get(key)
    etag = headers["etag"]
    tap.ok(body == data, "a whole object")
    tap.same(client.get("/one/" + ODD)[2], b"odd", "an odd key")
    for text, want in (("bytes=5-9", data[5:10]), ("bytes=-3", data[-3:]),
                       (f"bytes={len(data) - 2}-{len(data) * 2}", data[-2:])):
        status, headers, body = client.get(key, headers={"range": text})
        tap.ok(status == 206 and body == want and
               headers["content-range"].endswith(f"/{len(data)}"), text)
    tap.same(client.code(key, headers={"range": f"bytes={len(data)}-"}),
             (416, "InvalidRange"), "behind the end")
    tap.same(client.code(key, headers={"if-match": etag})[0], 200, "If-Match")
    tap.same(client.code(key, headers={"if-match": '"x"'}),
             (412, "PreconditionFailed"), "another ETag")
    status, headers, body = client.get(key, method="HEAD")
    tap.same((status, headers["content-length"], body, headers["etag"]),
             (200, str(len(data)), b"", etag), "HEAD")
    tap.same(client.code("/one/none"), (404, "NoSuchKey"), "no such key")


def outcome(client, rule, headers=None):
    """What a rule makes of a GET: (status or exception's name, body)."""
    client.server.rules(rule)
    try:
        status, _, body = client.get("/one/sub/a.img", headers=headers)
        return status, body
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, getattr(error, "partial", b"")


def check_rules(client, data):
    """Each rule does what it says, as often as it says."""
    part = {"range": "bytes=1000-1999"}
    for rule, headers, want in (
            ({"do": "reset", "at": "request"}, None,
             ("ConnectionResetError", b"")),
            ({"do": "cut", "at": "header"}, None,
             ("IncompleteRead", b"")),
            ({"do": "cut", "at": 70000}, None,
             ("IncompleteRead", data[:70000])),
            ({"do": "cut", "at": 0}, None, ("IncompleteRead", b"")),
            ({"do": "whole"}, part, (200, data)),
            ({"do": "shift", "by": 512}, part, (206, data[1512:2512])),
            ({"do": "narrow", "to": 10}, part, (206, data[1000:1010])),
            ({"do": "reply", "status": 200, "body": "<x>", "repeat": 3}, None,
             (200, b"<x><x><x>"))):
        tap.same(outcome(client, rule, headers), want, f"rule {rule}")
        tap.same(client.get("/one/f1")[2], b"1", "and the next one is well")
    for rule in ({"do": "reset", "at": "header"}, {"do": "reset", "at": 9}):
        tap.ok(outcome(client, rule)[0] != 200, f"rule {rule}")
    begin = time.monotonic()
    tap.same(outcome(client, {"do": "stall", "at": 3, "seconds": 0.5})[0], 200,
             "a stall that ends")
    tap.ok(time.monotonic() - begin > 0.5, "takes its time")
    client.server.rules(
        {"do": "latency", "ms": 300, "count": None},
        {"do": "reply", "status": 503, "nth": 2, "count": 2, "op": "get"},
        {"do": "headers", "set": {"ETag": None, "X-New": "1"}, "nth": 2})
    begin = time.monotonic()
    answers = [client.get("/one/f1") for _ in range(4)]
    tap.same([a[0] for a in answers], [200, 503, 503, 200], "nth and count")
    tap.ok(time.monotonic() - begin > 1.2, "latency on each")
    tap.same((answers[3][1]["etag"], answers[3][1]["x-new"]), (None, "1"),
             "headers set and removed")
    client.server.rules({"do": "rate", "bps": 100000, "key": "sub/*"})
    begin = time.monotonic()
    tap.ok(client.get("/one/sub/a.img")[2] == data, "at a rate")
    tap.ok(time.monotonic() - begin > len(data) / 150000, "that is kept")


def check_stall(client):
    """Silence for ever does not keep the server from ending."""
    server = client.server
    server.rules({"do": "stall", "at": "request"})
    with socket.create_connection(("127.0.0.1", server.ports["http"])) as link:
        link.sendall(b"GET /one/f1 HTTP/1.1\r\nhost: x\r\n\r\n")
        link.settimeout(0.5)
        try:
            data = link.recv(1)
        except TimeoutError:
            data = None
        tap.same(data, None, "silence")
    ports = dict(server.ports)
    server.stop()
    server.start()
    tap.ok(ports.pop("pid") != server.ports["pid"], "another process")
    tap.ok(ports.items() <= server.ports.items(), "on the same ports")
    tap.same(client.get("/one/f1")[2], b"1", "which answers")


def check_log(client):
    """Each request is there once."""
    client.server.reset()
    client.get("/one/sub/a.img", headers={"range": "bytes=0-9",
                                          "if-match": "x"})
    entry, = client.server.log(op="get")
    tap.same([entry[n] for n in ("bucket", "key", "range", "if_match",
                                 "status", "signed")],
             ["one", "sub/a.img", "bytes=0-9", "x", 412, KEYS["access"]],
             "the log")
    tap.same(len(client.server.log(op="list*")), 0, "selected from")


def main():
    check_examples()
    with tempfile.TemporaryDirectory(prefix="vmiefs-test.") as top:
        root = os.path.join(top, "root")
        data = os.urandom(200000)
        for name, text in (("f1", b"1"), ("f2", b"2"), (ODD, b"odd"),
                           ("sub/a.img", data), ("sub/b.img", b"")):
            path = os.path.join(root, "one", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(text)
        os.mkdir(os.path.join(root, "one/empty"))
        with Server(root) as server:
            client = Client(server)
            check_refusals(client)
            check_presigned(client)
            check_listing(client)
            check_ranges(client, data)
            check_rules(client, data)
            check_log(client)
            check_stall(client)
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
