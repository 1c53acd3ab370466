#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Copyright the vmiefs authors
"""server.py ROOT [OPTION...]: an S3 server for tests. Each directory below
ROOT is a bucket, its files are the objects. Every signature is checked, every
request logged, and rules (rules.py) make it misbehave. What it has to remember
besides (part uploads, ETags) is in ROOT/.scripted, also for the next server.

Ports are chosen where none are given, and written to the file --ready as lines
of shell when the server answers: http=, https=, control=, pid=.

The control port takes, without signatures:
  PUT /rules   a JSON list of rules; replaces those there were
  PUT /objects {"bucket": name, "objects": [...]}: objects made up (bucket.py)
  PUT /keys    a JSON list of {"access":, "secret":, "token":, "expired":,
               "life":} as in sigv4.py
  PUT /clock   a number of seconds that the server's clock is ahead
  PUT /reset   forget log, rules and the clock
  GET /log     a JSON object a line for each request, in the order of arrival
  GET /counts  {op: {"requests":, "received":, "sent":}}: bytes of bodies
  GET /uploads a JSON list of the part uploads that are open, with their parts
"""

import argparse
import json
import os
import select
import shutil
import signal
import socket
import socketserver
import ssl
import struct
import sys
import threading
import time
import urllib.parse

import answer
import rules
import sigv4
import writing
from bodies import Body
from bucket import Bucket
from uploads import Uploads
from upstream import Upstream

HEAD_MAX = 65536
PIECE = 262144
# Seconds; who has read the answer ends it sooner, however busy the machine.
LINGER = 60
WAY_IN = ("head", "body", "read")
SECRET = ("authorization", "x-amz-security-token")


class Gone(Exception):
    """The connection is over."""


class Request:
    """One request as it came over the wire; its body comes later."""

    def __init__(self, lines, body, domain):
        self.method, target, self.version = lines[0].split(" ")
        self.path, _, self.query = target.partition("?")
        self.headers = []
        for line in lines[1:]:
            name, _, value = line.partition(":")
            self.headers.append((name.strip().lower(), value.strip()))
        self.body = body
        host = self.header("host").rsplit(":", 1)[0]
        path = urllib.parse.unquote_to_bytes(self.path)
        if host.endswith("." + domain):
            self.bucket, self.key = host[:-len(domain) - 1], path[1:]
        else:
            name, _, self.key = path[1:].partition(b"/")
            self.bucket = name.decode("utf-8", "replace")
        self.op = self._op()

    def header(self, name):
        """The value of a header, "" without."""
        return dict(self.headers).get(name, "")

    def _op(self):
        names = [name for name, _ in sigv4.split_query(self.query)]
        op = writing.op_of(self, names)
        if op:
            return op
        if self.key and self.method in ("GET", "HEAD"):
            return self.method.lower()
        if self.method == "GET" and not self.bucket:
            return "list-buckets"
        if self.method == "HEAD" and self.bucket:
            return "head-bucket"
        if self.method in ("PUT", "DELETE") and self.bucket and \
                not self.key and not names:
            return {"PUT": "create-bucket",
                    "DELETE": "delete-bucket"}[self.method]
        if self.method == "GET" and b"location" in names:
            return "location"
        if self.method == "GET" and b"list-type" in names:
            return "list"
        return "other"


class State:
    """What all connections share."""

    def __init__(self, args, keys):
        self.args = args
        self.buckets = {}
        self.hidden = os.path.join(args.root, ".scripted")
        self.scratch = os.path.join(self.hidden, "new")
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.uploads = Uploads(os.path.join(self.hidden, "uploads"))
        self.rules = rules.Rules()
        self.verifier = sigv4.Verifier(keys, args.region)
        self.upstream = Upstream(args.upstream, keys[0]) \
            if args.upstream else None
        self.log = []
        self.lock = threading.Lock()

    def bucket(self, name):
        """The Bucket of a name, or None."""
        path = os.path.join(self.args.root, name)
        if not name or "/" in name or name.startswith("."):
            return None
        with self.lock:
            if name not in self.buckets and os.path.isdir(path):
                self.buckets[name] = self.new_bucket(name)
            return self.buckets.get(name)

    def new_bucket(self, name):
        """The Bucket of a folder, which need not be there."""
        return Bucket(os.path.join(self.args.root, name),
                      os.path.join(self.hidden, "buckets", name))

    def drop_bucket(self, name):
        """Forget an empty one; OSError where it is not empty."""
        os.rmdir(os.path.join(self.args.root, name))
        with self.lock:
            self.buckets.pop(name, None)
        shutil.rmtree(os.path.join(self.hidden, "buckets", name),
                      ignore_errors=True)

    def make_up(self, name, specs):
        """Objects that no file has."""
        with self.lock:
            if name not in self.buckets:
                self.buckets[name] = self.new_bucket(name)
            self.buckets[name].add(specs)

    def bucket_names(self):
        """Of all buckets."""
        with self.lock:
            made_up = set(self.buckets)
        return made_up | {e.name for e in os.scandir(self.args.root)
                          if e.is_dir() and not e.name.startswith(".")}

    def begin(self, request, connection):
        """A new entry of the log."""
        entry = {"time": round(time.time(), 3), "connection": connection,
                 "op": request.op, "method": request.method,
                 "path": request.path, "bucket": request.bucket,
                 "key": request.key.decode("utf-8", "surrogateescape"),
                 "query": request.query, "range": request.header("range"),
                 "if_match": request.header("if-match"), "signed": None,
                 "rules": [], "received": 0, "status": 0, "bytes": 0,
                 "end": None, "headers": {
                     n: v for n, v in request.headers if n not in SECRET}}
        with self.lock:
            self.log.append(entry)
        return entry

    def counts(self):
        """The log in numbers."""
        found = {}
        with self.lock:
            for entry in self.log:
                row = found.setdefault(entry["op"], {
                    "requests": 0, "received": 0, "sent": 0})
                row["requests"] += 1
                row["received"] += entry["received"]
                row["sent"] += entry["bytes"]
        return found


def fault_at(picked, place=None):
    """The rule that strikes in one place of a request's way in, or (without)
    of the answer's way out."""
    for rule in picked:
        if rule["do"] in ("reset", "cut", "stall"):
            where = rule["at"] if rule["at"] in WAY_IN else None
            return rule if where == place else None
    return None


class Connection(socketserver.BaseRequestHandler):
    """One connection; its requests come one after the other."""

    state = None

    def setup(self):
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.stream = self.request
        self.buffer = b""
        self.rate = None

    def handle(self):
        try:
            if self.server.tls:
                self.stream = self.server.tls.wrap_socket(
                    self.request, server_side=True)
            while self.serve():
                pass
        except (OSError, Gone, ValueError):
            pass
        finally:
            self.stream.close()

    def read_head(self):
        """The lines of a request's head."""
        while b"\r\n\r\n" not in self.buffer:
            if self.state.args.idle and not select.select(
                    [self.stream], [], [], self.state.args.idle)[0]:
                raise Gone
            data = self.stream.recv(HEAD_MAX)
            if not data or len(self.buffer) > HEAD_MAX:
                raise Gone
            self.buffer += data
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        return head.decode("latin-1").split("\r\n")

    def read_body(self, request, rules_of, entry):
        """The body of a request; a fault may strike in the middle."""
        size = int(request.header("content-length") or 0)
        fault = fault_at(rules_of, "body")
        stop = min(fault.get("after", size // 2), size) if fault else None
        rate = next((r["bps"] for r in rules_of if r["do"] == "uprate"), None)
        if size and request.header("expect").lower() == "100-continue":
            self.stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        begin = time.monotonic()
        while True:
            if entry["received"] == stop:
                self.pass_on_cut(request, rules_of, fault)
                self.strike(fault)
                stop = None
            if entry["received"] == size:
                return
            most = (stop or size) - entry["received"]
            if rate:
                most = min(most, max(1, rate // 10))
            piece = self.buffer[:most] or self.stream.recv(min(most, PIECE))
            self.buffer = self.buffer[len(piece):]
            if not piece:
                raise Gone
            request.body.add(piece)
            entry["received"] += len(piece)
            if rate:
                late = begin + entry["received"] / rate - time.monotonic()
                time.sleep(max(0, late))

    def pass_on_cut(self, request, picked, fault):
        """The server behind this one gets what came until then."""
        if fault and self.state.upstream and fault["do"] != "stall":
            request.body.end()
            self.state.upstream.cut(request, picked)

    def serve(self):
        """One request; true if another may follow."""
        lines = self.read_head()
        request = Request(lines, Body(self.state.scratch,
                                      self.state.args.forget),
                          self.state.args.domain)
        entry = self.state.begin(request, self.client_address[1])
        picked = self.state.rules.pick(request)
        entry["rules"] = [rule["do"] for rule in picked]
        try:
            return self.work(request, picked, entry)
        finally:
            request.body.discard()
            entry["end"] = round(time.time(), 3)

    def work(self, request, picked, entry):
        """Read the body, do what is asked for, answer; true if another
        request may follow."""
        self.strike(fault_at(picked, "head"))
        if any(r["do"] == "reply" and r.get("at") == "head" for r in picked):
            self.send(request, answer.make(self.state, request, picked, None),
                      None, entry)
            self.linger()
            return False
        self.read_body(request, picked, entry)
        request.body.end()
        self.strike(fault_at(picked, "read"))
        reply = answer.make(self.state, request, picked,
                            self.refusal(request, entry))
        for rule in picked:
            if rule["do"] == "latency":
                time.sleep(rule["ms"] / 1000)
        self.rate = next((r["bps"] for r in picked if r["do"] == "rate"), None)
        self.send(request, reply, fault_at(picked), entry)
        return request.header("connection").lower() != "close"

    def refusal(self, request, entry):
        """Why its signature is not good enough, or None."""
        try:
            entry["signed"] = self.state.verifier.check(request)
            if not entry["signed"] and not self.state.args.anonymous:
                raise sigv4.Refusal(403, "AccessDenied", "Access Denied")
        except sigv4.Refusal as error:
            entry["signed"] = error.code
            return error
        return None

    def linger(self):
        """End the connection, but not before the client had the time to read
        an answer that came while it was sending."""
        self.stream.shutdown(socket.SHUT_WR)
        end = time.monotonic() + LINGER
        while select.select([self.stream], [], [],
                            max(0, end - time.monotonic()))[0] and \
                self.stream.recv(PIECE):
            pass

    def send(self, request, reply, fault, entry):
        """The answer, with what is to go wrong while it goes out."""
        where = fault["at"] if fault else None
        if where == "request":
            self.strike(fault)
        entry["status"] = reply.status
        head = reply.head(self.state.verifier.now())
        if where == "header":
            self.stream.sendall(head[:len(head) // 2])
            self.strike(fault)
            head = head[len(head) // 2:]
        self.stream.sendall(head)
        if request.method != "HEAD":
            at = where if isinstance(where, int) else None
            with reply.open() as read:
                self.send_body(read, reply.size, at, fault, entry)
        if where == "end":
            self.strike(fault)

    def send_body(self, read, size, where, fault, entry):
        """`size` bytes; the fault strikes before byte `where`."""
        sent, begin = 0, time.monotonic()
        while sent < size:
            piece = min(size - sent, PIECE)
            if self.rate:
                piece = min(piece, max(1, self.rate // 10))
            if where is not None and sent <= where:
                if sent == where:
                    self.strike(fault)
                else:
                    piece = min(piece, where - sent)
            self.send_piece(read(sent, piece), sent, entry)
            sent += piece
            if self.rate:
                late = begin + sent / self.rate - time.monotonic()
                time.sleep(max(0, late))

    def send_piece(self, piece, sent, entry):
        """Counted before it goes: who has the bytes may ask for the log at
        once. What does not arrive is not counted."""
        entry["bytes"] = sent + len(piece)
        try:
            self.stream.sendall(piece)
        except OSError:
            entry["bytes"] = sent
            raise

    def strike(self, fault):
        """Reset, end or silence; returns where it goes on behind that, or
        where there is none."""
        if not fault:
            return
        if fault["do"] == "stall":
            # Silence until the time is over or the client has gone.
            gone = select.poll()
            gone.register(self.stream, select.POLLRDHUP)
            if gone.poll(fault["seconds"] * 1000 if "seconds" in fault
                         else None):
                raise Gone
            return
        if fault["do"] == "reset":
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                   struct.pack("ii", 1, 0))
            # Also behind TLS, without a word.
            os.close(self.stream.detach())
        else:
            self.stream.shutdown(socket.SHUT_RDWR)
        raise Gone


class Control(socketserver.StreamRequestHandler):
    """The control port: one request a connection."""

    state = None

    def handle(self):
        method, path, _ = self.rfile.readline().decode().split(" ")
        size = 0
        while True:
            line = self.rfile.readline().decode().lower()
            if line in ("\r\n", ""):
                break
            if line.startswith("content-length:"):
                size = int(line.split(":")[1])
        body = self.rfile.read(size)
        try:
            status, text = 200, self.act(method, path, body)
        except (ValueError, KeyError, TypeError) as error:
            status, text = 400, f"{error}\n"
        data = text.encode("utf-8", "surrogateescape")
        self.wfile.write(f"HTTP/1.1 {status} -\r\nContent-Length: {len(data)}"
                         "\r\nConnection: close\r\n\r\n".encode() + data)

    def act(self, method, path, body):
        """Do what a request says; the text of the answer."""
        state = self.state
        if (method, path) == ("GET", "/log"):
            with state.lock:
                return "".join(json.dumps(e) + "\n" for e in state.log)
        if (method, path) == ("GET", "/counts"):
            return json.dumps(state.counts())
        if (method, path) == ("GET", "/uploads"):
            if state.upstream:
                raise ValueError("ask the server behind this one")
            return json.dumps(state.uploads.describe())
        value = json.loads(body or b"null")
        if path == "/rules":
            state.rules.set(value)
        elif path == "/objects":
            state.make_up(value["bucket"], value["objects"])
        elif path == "/keys":
            state.verifier.keys = value
        elif path == "/clock":
            state.verifier.clock = float(value)
        elif path == "/reset":
            with state.lock:
                state.log.clear()
            state.rules.set([])
            state.verifier.clock = 0
        else:
            raise ValueError(f"no such request: {method} {path}")
        return ""


class Server(socketserver.ThreadingTCPServer):
    """Listens on one port of 127.0.0.1; `tls` is a context or None."""

    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, port, handler, tls=None):
        super().__init__(("127.0.0.1", port), handler)
        self.tls = tls

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def parse_arguments():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    add = parser.add_argument
    add("root")
    add("--http", type=int, default=0, metavar="PORT")
    add("--https", type=int, default=0, metavar="PORT")
    add("--cert", help="certificate; serves TLS, too")
    add("--key", help="the certificate's key")
    add("--control", type=int, default=0, metavar="PORT")
    add("--region", default="us-east-1", help="'' takes any")
    add("--domain", default="s3.localhost",
        help="whose first label is a bucket")
    add("--anonymous", action="store_true", help="serve unsigned requests")
    add("--forget", action="store_true",
        help="of bodies above 1 MiB keep only size and sums: zeroes")
    add("--idle", type=float, default=0, metavar="SECONDS",
        help="close connections that are idle for so long")
    add("--upstream", metavar="URL",
        help="the work is done by the S3 server there, with the first key")
    add("--keys", metavar="FILE", help="as for PUT /keys; else AWS_*")
    add("--ready", metavar="FILE")
    return parser.parse_args()


def load_keys(path):
    """The keys that are known."""
    if path:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    env = os.environ
    if "AWS_ACCESS_KEY_ID" not in env:
        return []
    return [{"access": env["AWS_ACCESS_KEY_ID"],
             "secret": env["AWS_SECRET_ACCESS_KEY"],
             "token": env.get("AWS_SESSION_TOKEN")}]


def main():
    args = parse_arguments()
    state = State(args, load_keys(args.keys))
    Connection.state = Control.state = state
    servers = {"http": Server(args.http, Connection),
               "control": Server(args.control, Control)}
    if args.cert:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(args.cert, args.key)
        servers["https"] = Server(args.https, Connection, context)
    for server in servers.values():
        threading.Thread(target=server.serve_forever, daemon=True).start()
    lines = [f"{name}={server.server_address[1]}\n"
             for name, server in servers.items()] + [f"pid={os.getpid()}\n"]
    if args.ready:
        with open(args.ready + ".new", "w", encoding="utf-8") as file:
            file.writelines(lines)
        os.rename(args.ready + ".new", args.ready)
    else:
        print("".join(lines), end="", flush=True)
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    # Threads may hang on purpose.
    os._exit(0)  # pylint: disable=protected-access


if __name__ == "__main__":
    main()
