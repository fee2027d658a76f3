#!/usr/bin/env python3
"""What the probes must not reach: a process with a secret in its memory, environment and an open file, listeners
of every kind, System V memory, a message queue and a key.

    victim.py FOLDER

FOLDER holds home/.ssh/id_rsa with the canary in it. Writes FOLDER/fixture.json, whose values the probes read
from their environment. Loopback only; it ends when it is terminated, or by itself after a quarter of an hour.
"""
import ctypes
import json
import os
import signal
import socket
import sys
import threading
import time

CANARY = b"CANARY-7f3a91"
SHMGET_MODE, MQ_OPEN, MQ_UNLINK, ADD_KEY, KEYCTL = 0o1666, 240, 241, 248, 250
folder = sys.argv[1]
libc = ctypes.CDLL(None, use_errno=True)


def note(name, text):
    with open(os.path.join(folder, name), "a") as log:
        log.write(text + "\n")


def stream(family, address):
    """Answers every connection with the canary."""
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(64)
    if family != socket.AF_UNIX:
        try:
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 16)
        except OSError:
            pass

    def serve():
        while True:
            peer, _ = listener.accept()
            note("net.log", "tcp")
            try:
                peer.sendall(CANARY)
                peer.close()
            except OSError:
                pass

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1] if family != socket.AF_UNIX else 0


def datagram(family, address):
    """Answers every datagram that has a sender with the canary."""
    listener = socket.socket(family, socket.SOCK_DGRAM)
    listener.bind(address)

    def serve():
        while True:
            _, sender = listener.recvfrom(2048)
            note("net.log", "dgram")
            if sender:
                listener.sendto(CANARY, sender)

    threading.Thread(target=serve, daemon=True).start()
    return listener.getsockname()[1] if family != socket.AF_UNIX else 0


os.chdir(os.path.join(folder, "home"))
secret_file = os.dup2(os.open("../home/.ssh/id_rsa", os.O_RDONLY), 50)
secret = ctypes.create_string_buffer(CANARY + b"-mem", 64)
for number in (signal.SIGUSR1, signal.SIGIO):
    signal.signal(number, lambda number, _: note("sig.log", str(number)))

port = stream(socket.AF_INET, ("127.0.0.1", 0))
try:
    port6 = stream(socket.AF_INET6, ("::1", 0))
except OSError:
    port6 = 1
udp = datagram(socket.AF_INET, ("127.0.0.1", 0))
stream(socket.AF_UNIX, os.path.join(folder, "svc.sock"))
abstract = "sbxprobe-%d" % os.getpid()
stream(socket.AF_UNIX, "\0" + abstract)
datagram(socket.AF_UNIX, os.path.join(folder, "dg.sock"))

libc.shmat.restype = ctypes.c_void_p
shm_key = 0x5BB00000 | (os.getpid() & 0xFFFF)
shm = libc.shmget(shm_key, 4096, SHMGET_MODE)
ctypes.memmove(libc.shmat(shm, None, 0), CANARY, len(CANARY))
libc.syscall(MQ_UNLINK, b"sbxprobe")
queue = libc.syscall(MQ_OPEN, b"sbxprobe", os.O_CREAT | os.O_RDWR, 0o600, None)
key = libc.syscall(ADD_KEY, b"user", b"sbxprobe", CANARY, len(CANARY), -4)
libc.syscall(KEYCTL, 5, key, 0x3F3F0000)

values = dict(
    PH=folder, PV=os.getpid(), PMEM=hex(ctypes.addressof(secret)), PFD=secret_file, PT=port, PT6=port6, PU=udp,
    PABS=abstract, PSHM=shm_key, shmid=shm, mq=queue, key=key,
)
with open(os.path.join(folder, "fixture.tmp"), "w") as out:
    json.dump(values, out)
os.rename(os.path.join(folder, "fixture.tmp"), os.path.join(folder, "fixture.json"))


def leave(*_):
    libc.shmctl(shm, 0, None)
    libc.syscall(MQ_UNLINK, b"sbxprobe")
    libc.syscall(KEYCTL, 3, key)
    os._exit(0)


signal.signal(signal.SIGTERM, leave)
until = time.time() + 900
while time.time() < until:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    time.sleep(0.05)
leave()
