"""A second verifier of the audit log, written from docs/user/audit.md and sharing no code with the first.

    verify_audit.py FOLDER [--key KEY] [--register FILE] [--copy]

Exit codes: 0 intact, 1 torn end, 2 unreadable, 3 tampered, 4 rolled back. Standard library only.
"""

import argparse
import base64
import hashlib
import json
import pathlib
import re
import sys

P = 2**255 - 19
Q = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
LINE = re.compile(rb'(\{"index":(\d+),.*,"prev":"([0-9a-f]{64})"),"hash":"([0-9a-f]{64})"\}', re.S)


class Verdict(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


def tampered(index, text):
    raise Verdict(3, f"tampered at record {index}: {text}")


# Ed25519, RFC 8032, section 6 (verification only; slow, and enough).

def add(a, b):
    m, n = (a[1] - a[0]) * (b[1] - b[0]) % P, (a[1] + a[0]) * (b[1] + b[0]) % P
    o, q = 2 * a[3] * b[3] * D % P, 2 * a[2] * b[2] % P
    e, f, g, h = n - m, q - o, q + o, n + m
    return e * f % P, g * h % P, f * g % P, e * h % P


def times(s, point):
    total = (0, 1, 1, 0)
    while s:
        if s & 1:
            total = add(total, point)
        point, s = add(point, point), s >> 1
    return total


def x_of(y, sign):
    if y >= P:
        return None
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - xx) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def point_of(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % P)

BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (x_of(BASE_Y, 0), BASE_Y, 1, x_of(BASE_Y, 0) * BASE_Y % P)


def verifies(key, text, signature):
    a, r = point_of(key), point_of(signature[:32]) if len(signature) == 64 else None
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= Q:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + text).digest(), "little") % Q
    left, right = times(s, BASE), add(r, times(k, a))
    return not ((left[0] * right[2] - right[0] * left[2]) % P or (left[1] * right[2] - right[1] * left[2]) % P)


# Keys, epochs, checkpoints.

def unbase(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not canonical")
    return data


def key_of(text):
    name, ident, data = text.split("+", 2)
    data = unbase(data)
    if len(data) != 33 or data[0] != 1 or not name:
        raise ValueError("not an Ed25519 key")
    if hashlib.sha256(name.encode() + b"\n" + data).hexdigest()[:8] != ident:
        raise ValueError("wrong id")
    return name, data[1:]


def epochs_of(data):
    epochs = []
    for raw in data.split(b"\n")[:-1]:
        n = len(epochs)
        try:
            number, size, root, key, after, by_last, by_own = raw.decode().split(" ")
            epoch = dict(size=int(size), root=unbase(root), key=key, next=after)
            text = f"clawdbot audit epoch\n{number}\n{size}\n{root}\n{key}\n{after}\n".encode()
            key_of(after)
            good = verifies(key_of(key)[1], text, unbase(by_own)) and str(n) == number and str(int(size)) == size
            if n == 0:
                good = good and size == "0" and by_last == by_own
            else:
                last = epochs[-1]
                good = good and key == last["next"] and epoch["size"] >= last["size"]
                good = good and verifies(key_of(last["key"])[1], text, unbase(by_last))
        except ValueError:
            good = False
        if not good:
            tampered(0, f"epoch {n} does not follow from the one before it")
        epochs.append(epoch)
    return epochs


def note_of(data):
    text = data.decode()
    body, signed = text.split("\n\n", 1)
    origin, size, root = body.split("\n")
    match = re.fullmatch("\u2014 (\\S+) (\\S+)\n", signed)
    if not match or match[1] != origin or str(int(size)) != size:
        raise ValueError("not a note")
    return dict(origin=origin, size=int(size), root=unbase(root), body=body.encode() + b"\n", by=unbase(match[2]))


def is_by(note, key):
    name, public = key_of(key)
    ident = bytes.fromhex(key.split("+")[1])
    return note["origin"] == name and note["by"][:4] == ident and verifies(public, note["body"], note["by"][4:])


def vouched(note, epochs):
    for at, epoch in enumerate(epochs):
        end = epochs[at + 1]["size"] if at + 1 < len(epochs) else note["size"]
        if epoch["size"] <= note["size"] <= end and is_by(note, epoch["key"]):
            return True
    return bool(epochs) and epochs[-1]["size"] <= note["size"] and is_by(note, epochs[-1]["next"])


def register_of(path):
    data, notes = path.read_bytes(), []
    for page in (data[:4096], data[4096:8192]):
        try:
            notes.append(note_of(page.rstrip(b"\n\0") + b"\n"))
        except ValueError:
            pass
    if data and not notes:
        raise OSError("the register holds no checkpoint")
    return max(notes, key=lambda note: note["size"], default=None)


# Records and their tree.

class Tree:
    """RFC 6962: the perfect trees on the right edge, largest first."""

    def __init__(self, wanted):
        self.size, self.edge, self.roots, self.wanted = 0, [], {}, wanted
        self.keep()

    def keep(self):
        if self.size in self.wanted:
            root = self.edge[-1] if self.edge else hashlib.sha256().digest()
            for left in reversed(self.edge[:-1]):
                root = hashlib.sha256(b"\1" + left + root).digest()
            self.roots[self.size] = root

    def push(self, leaf):
        size = self.size
        while size & 1:
            leaf, size = hashlib.sha256(b"\1" + self.edge.pop() + leaf).digest(), size >> 1
        self.edge.append(leaf)
        self.size += 1
        self.keep()


def pruned_leaves(folder, first):
    for number in range(-(-first // 256)):
        rest, name = number // 1000, f"{number % 1000:03}"
        while rest:
            rest, name = rest // 1000, f"x{rest % 1000:03}/{name}"
        path = folder / "tile/0" / name
        if not path.exists():
            parts = sorted(path.with_name(path.name + ".p").iterdir(), key=lambda part: int(part.name))
            path = parts[-1]
        data = path.read_bytes()
        yield from (data[32 * at : 32 * at + 32] for at in range(min(256, first - number * 256)))


def records(folder, tree):
    """Reads every record; returns the bytes torn at the end."""
    segments = sorted(p for p in folder.iterdir() if re.fullmatch(r"audit-\d{20}\.jsonl", p.name))
    prev, pruned, first = None, set(), 0
    for number, path in enumerate(segments):
        begins = int(path.name[6:26])
        if number == 0:
            first = begins
            for leaf in pruned_leaves(folder, first):
                tree.push(leaf)
        elif begins != tree.size:
            tampered(tree.size, f"segment {begins} stands in its place")
        lines = path.read_bytes().split(b"\n")
        for at, line in enumerate(lines):
            index, whole = tree.size, at + 1 < len(lines)
            if not whole and not line:
                break
            match = LINE.fullmatch(line)
            good = match and whole and len(line) < 60 * 1024
            leaf = hashlib.sha256(b"\0" + match[1] + b"}").hexdigest() if match else ""
            if good and prev is None:
                prev = match[3] if first else b"0" * 64
            if not good or leaf.encode() != match[4] or int(match[2]) != index or match[3] != prev:
                torn = not whole or b"\0" in line
                later = any(LINE.fullmatch(other) for other in lines[at + 1 :])
                if torn and not later and path == segments[-1]:
                    explain_start(first, pruned)
                    return len(b"\n".join(lines[at:]))
                tampered(index, "it is not what was written")
            if b'"event":"audit.pruned"' in line:
                record = json.loads(line)
                if record["event"] == "audit.pruned":
                    pruned.add(record["last"])
            tree.push(bytes.fromhex(leaf))
            prev = match[4]
    explain_start(first, pruned)
    return 0


def explain_start(first, pruned):
    if first and first - 1 not in pruned:
        tampered(first - 1, "the records before the first one are missing")


def verify(folder, key=None, register=None, copy=False):
    read = lambda name: (folder / name).read_bytes() if (folder / name).exists() else b""
    epochs = epochs_of(read("epochs"))
    if not epochs and any(p.stat().st_size for p in folder.glob("audit-*.jsonl")):
        raise Verdict(2, "there are no public keys")
    held = read("checkpoint").strip(b"\0")
    try:
        checkpoint = note_of(held) if held else None
    except ValueError:
        checkpoint = "bad"
    known = register_of(register) if register else None
    signed = [(e["size"], e["root"], "epoch") for e in epochs]
    for note, name in ((checkpoint, "checkpoint"), (known, "register")):
        if note and note != "bad":
            signed.append((note["size"], note["root"], name))
    torn = records(folder, tree := Tree({size for size, *_ in signed}))
    if checkpoint == "bad":
        tampered(0, "the checkpoint is none")
    if key and epochs and epochs[0]["key"] != key:
        tampered(0, "not signed by that key")
    for note, name in ((checkpoint, "checkpoint"), (known, "register")):
        later = name == "register" and note and epochs and note["origin"] == key_of(epochs[0]["key"])[0]
        later = later and not any(is_by(note, epoch["key"]) for epoch in epochs)
        if note and not later and not vouched(note, epochs):
            tampered(epochs[-1]["size"] if epochs else 0, f"the {name} is not signed by the key of its epoch")
    for size, root, name in sorted(signed):
        if size not in tree.roots:
            if name == "register" or not copy:
                raise Verdict(4, f"rolled back: record {tree.size} is missing, the {name} knows of {size}")
            raise Verdict(1, f"torn: the copy ends at record {tree.size}")
        if tree.roots[size] != root:
            proven = max((smaller for smaller, _, _ in signed if smaller < size), default=0)
            tampered(proven, "the records do not give the root that was signed")
    if torn:
        raise Verdict(1, f"torn: {torn} bytes after record {tree.size}")
    return f"intact: {tree.size} records"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--key")
    parser.add_argument("--register", type=pathlib.Path)
    parser.add_argument("--copy", action="store_true")
    args = parser.parse_args()
    try:
        print(verify(args.folder, args.key, args.register, args.copy))
    except Verdict as verdict:
        print(verdict)
        sys.exit(verdict.code)
    except OSError as error:
        sys.exit(print(f"unreadable: {error}") or 2)


if __name__ == "__main__":
    main()
