#!/usr/bin/env python3
"""A world of one machine: a name server, and a web server that is at every address there is.

    world.py outside LOG   in the namespace behind the gateway's only cable
    world.py inside LOG    beside the gateway, on its loopback

Each connection is a line of LOG: the address it was made to, and the request's first line. At an address that is
public it serves pages and redirects; at any other it gives away the canary.
"""
import socket
import struct
import sys
import threading
import urllib.parse

PUBLIC = {"93.184.215.14", "2606:2800:21f:cb07::9"}
INSIDE = "10.77.0.9"
RESOLVER = "93.184.215.53"
# Name -> what is answered in turn; each turn is a list of (type, address). A real name server would do the same.
A, AAAA, CNAME = 1, 28, 5
NAMES = {
    "public.test": [[(A, "93.184.215.14")]],
    "public6.test": [[(AAAA, "2606:2800:21f:cb07::9")]],
    "rebind.test": [[(A, "93.184.215.14")], [(A, "127.0.0.1")]],
    "rebind-lan.test": [[(A, "93.184.215.14")], [(A, INSIDE)]],
    "rebind-meta.test": [[(A, "93.184.215.14")], [(A, "169.254.169.254")]],
    "mixed.test": [[(A, "93.184.215.14"), (A, INSIDE)]],
    "mixed6.test": [[(A, "93.184.215.14"), (AAAA, "::1")]],
    "inside.test": [[(A, INSIDE)]],
    "loop.test": [[(A, "127.0.0.1")]],
    "zero.test": [[(A, "0.0.0.0")]],
    "meta.test": [[(A, "169.254.169.254")]],
    "metadata.google.internal": [[(A, "169.254.169.254")]],
    "cname.test": [[(CNAME, "inside.test"), (A, INSIDE)]],
    "mapped.test": [[(AAAA, "::ffff:127.0.0.1")]],
    "nat64.test": [[(AAAA, "64:ff9b::7f00:1")]],
    "sixtofour.test": [[(AAAA, "2002:7f00:1::1")]],
    "ula.test": [[(AAAA, "fd00::9")]],
    "loop6.test": [[(AAAA, "::1")]],
    "linklocal.test": [[(AAAA, "fe80::1")]],
    "cgnat.test": [[(A, "100.64.0.1")]],
    "bench.test": [[(A, "198.18.0.1")]],
}
side, log_path = sys.argv[1:]
lock = threading.Lock()


def log(*words):
    with lock, open(log_path, "a") as file:
        print(*words, file=file, flush=True)


def label(name):
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def names():
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((RESOLVER, 53))
    turn = {}
    while True:
        query, peer = server.recvfrom(4096)
        at, parts = 12, []
        while query[at]:
            parts.append(query[at + 1 : at + 1 + query[at]].decode().lower())
            at += 1 + query[at]
        name, (kind,) = ".".join(parts), struct.unpack(">H", query[at + 1 : at + 3])
        question = query[12 : at + 5]
        answers = NAMES.get(name)
        found = []
        if answers is not None:
            # Only what is asked for IPv4 takes a turn: a resolver asks for both.
            now = turn.get(name, 0)
            found = answers[now % len(answers)]
            if kind == A:
                turn[name] = now + 1
        records, owner = b"", name
        count = 0
        for record, value in found:
            if record == CNAME:
                data, owner_of = label(value), owner
                owner = value
            elif record == kind:
                family = socket.AF_INET if record == A else socket.AF_INET6
                data, owner_of = socket.inet_pton(family, value), owner
            else:
                continue
            # Lives for no time at all.
            records += label(owner_of) + struct.pack(">HHIH", record, 1, 0, len(data)) + data
            count += 1
        flags = 0x8180 if answers is not None else 0x8183
        head = query[:2] + struct.pack(">HHHHH", flags, 1, count, 0, 0)
        server.sendto(head + question + records, peer)


def page(address, line):
    path = line.split(" ")[1] if " " in line else "/"
    if side == "inside" or address not in PUBLIC:
        return b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 13\r\n\r\nINSIDE-CANARY"
    if path.startswith("/to/"):
        to = urllib.parse.unquote(path[4:])
        return f"HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()
    if path.startswith("/hops/"):
        left = int(path[6:])
        to = f"/hops/{left - 1}" if left else f"http://{INSIDE}/"
        return f"HTTP/1.1 307 Go on\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n".encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 11\r\n\r\nPUBLIC-PAGE"


def serve(connection):
    with connection:
        connection.settimeout(5)
        address = connection.getsockname()[0].removeprefix("::ffff:").split("%")[0]
        text = b""
        try:
            while b"\r\n\r\n" not in text:
                piece = connection.recv(4096)
                if not piece:
                    break
                text += piece
        except OSError:
            pass
        line = text.split(b"\r\n")[0].decode("latin-1")
        # A connection alone is a hit: whoever is inside was reached.
        log(address, line)
        try:
            connection.sendall(page(address, line))
        except OSError:
            pass


def web():
    listener = socket.socket(socket.AF_INET6)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    listener.bind(("::", 80))
    listener.listen(256)
    log("ready")
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


if side == "outside":
    threading.Thread(target=names, daemon=True).start()
web()
