"""A second verifier of the audit log, written from docs/user/audit.md and sharing no code with the first.

    verify_audit.py FOLDER [--key KEY] [--register FILE] [--copy]
    verify_audit.py --batch    # such arguments on each line of standard input; answers `CODE INDEX TEXT` to each

Exit codes: 0 intact, 1 torn end, 2 unreadable, 3 tampered, 4 rolled back. INDEX is the first record that is not as
it was written, or the one that would come next. Standard library only.
"""

import argparse
import base64
import contextlib
import functools
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
    code, index = property(lambda self: self.args[0]), property(lambda self: self.args[1])
    __str__ = lambda self: self.args[2]


def tampered(index, text):
    return Verdict(3, index, f"tampered at record {index}: {text}")


# Ed25519, RFC 8032, section 6 (verification only; slow, and enough).
def add(a, b):
    m, n, o = (a[1] - a[0]) * (b[1] - b[0]), (a[1] + a[0]) * (b[1] + b[0]), 2 * a[3] * b[3] * D
    q = 2 * a[2] * b[2]
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
    xx = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(xx, (P + 3) // 8, P)
    if (x * x - xx) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if y >= P or (x * x - xx) % P or (x == 0 and sign):
        return None
    return P - x if x & 1 != sign else x


def point_of(data):
    y = int.from_bytes(data, "little")
    sign, y = y >> 255, y & (1 << 255) - 1
    x = x_of(y, sign)
    return None if x is None else (x, y, 1, x * y % P)


BASE_Y = 4 * pow(5, P - 2, P) % P
BASE = (x_of(BASE_Y, 0), BASE_Y, 1, x_of(BASE_Y, 0) * BASE_Y % P)


@functools.lru_cache(4096)
def verifies(key, text, signature):
    a, r, s = point_of(key), point_of(signature[:32].rjust(32)), int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= Q or len(signature) != 64:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + key + text).digest(), "little") % Q
    left, right = times(s, BASE), add(r, times(k, a))
    return all((left[axis] * right[2] - right[axis] * left[2]) % P == 0 for axis in (0, 1))


# Keys, epochs, checkpoints.
def unbase(text):
    data = base64.b64decode(text, validate=True)
    if base64.b64encode(data).decode() != text:
        raise ValueError("not canonical")
    return data


def key_of(text):
    name, ident, data = text.split("+", 2)
    data = unbase(data)
    right = hashlib.sha256(name.encode() + b"\n" + data).hexdigest()[:8] == ident
    if len(data) != 33 or data[0] != 1 or not name or not right:
        raise ValueError("not an Ed25519 key")
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
            last = epochs[-1] if epochs else dict(size=0, key=key, next=key)
            good = good and key == last["next"] and epoch["size"] >= last["size"] and (n > 0 or size == "0")
            good = good and verifies(key_of(last["key"])[1], text, unbase(by_last)) and (n > 0 or by_last == by_own)
        except ValueError:
            good = False
        if not good:
            return [], tampered(0, f"epoch {n} does not follow from the one before it")
        epochs.append(epoch)
    return epochs, None


def note_of(data):
    text = data.decode()
    body, signed = text.split("\n\n", 1)
    origin, size, root = body.split("\n")
    match = re.fullmatch("\u2014 (\\S+) (\\S+)\n", signed)
    if not match or match[1] != origin or str(int(size)) != size or len(unbase(root)) != 32:
        raise ValueError("not a note")
    return dict(origin=origin, size=int(size), root=unbase(root), body=body.encode() + b"\n", by=unbase(match[2]))


def is_by(note, key):
    name, public = key_of(key)
    ident = bytes.fromhex(key.split("+")[1])
    return note["origin"] == name and note["by"][:4] == ident and verifies(public, note["body"], note["by"][4:])


def vouched(note, epochs):
    keys = [(epoch["size"], epoch["key"]) for epoch in epochs]
    keys += [(epochs[-1]["size"], epochs[-1]["next"])] if epochs else []
    ends = [begin for begin, _ in keys[1:-1]] + [note["size"]] * 2
    return any(begin <= note["size"] <= end and is_by(note, key) for (begin, key), end in zip(keys, ends))


def register_of(path):
    data, notes = path.read_bytes(), []
    first, second = data[:4096], data[4096:8192]
    for page in (first, second):
        with contextlib.suppress(ValueError):
            notes.append(note_of(page.rstrip(b"\n\0") + b"\n"))
    torn = (len(first) < 4096 or b"\0" in first) and (first[:15] == b"clawdbot.local/" or not first.strip(b"\0"))
    if not notes and (not torn or second.strip(b"\0")):
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


def leaf_tile(folder, number, size):
    """The widest there was when the newest statement was signed; else a wider one, else what is left of older ones."""
    rest, name = number // 1000, f"{number % 1000:03}"
    while rest:
        rest, name = rest // 1000, f"x{rest % 1000:03}/{name}"
    path, width = folder / "tile/0" / name, max(1, min(256, size - number * 256))
    parts = [path.with_name(f"{path.name}.p") / str(part) for part in range(1, 256)]
    for wide, part in [(256, path)] + sorted(enumerate(parts, 1), key=lambda p: (p[0] < width, abs(p[0] - width))):
        data = part.read_bytes() if part.is_file() else b""
        # Tiles are not flushed: a power cut leaves zeros where a hash was, and then that tile is not there.
        if len(data) == 32 * wide and all(any(data[at : at + 32]) for at in range(0, len(data), 32)):
            return data
    return b""


def pruned_in(line):
    """The last index that a record of pruning names, if it is one; the hash of a forged line may be right."""
    with contextlib.suppress(ValueError, RecursionError):
        record = json.loads(line)
        if record.get("event") == "audit.pruned" and type(record.get("last")) is int:
            return {record["last"]}
    return set()


def records(folder, tree, size):
    """Reads every record: those that stand there, the first hash of a pruned one that is missing, the torn bytes."""
    segments = sorted(p for p in folder.iterdir() if re.fullmatch(r"audit-\d{20}\.jsonl", p.name))
    if any(path.is_symlink() or not path.is_file() for path in segments):
        raise Verdict(2, "-", "unreadable: a file of the log is a link, a pipe or a device")
    prev, pruned, lost, cut = None, set(), None, 0
    first = index = int(segments[0].name[6:26]) if segments else 0
    for number in range(-(-first // 256)):
        data = leaf_tile(folder, number, max(size, first))
        count = min(256, first - number * 256)
        if len(data) < 32 * count:
            lost = number * 256
            break
        for at in range(count):
            tree.push(data[32 * at : 32 * at + 32])
    for path in segments:
        if int(path.name[6:26]) != index:
            raise tampered(index, f"{path.name} stands in its place")
        lines = path.read_bytes().split(b"\n")
        for at, line in enumerate(lines[:-1] if not lines[-1] else lines):
            whole, match = at + 1 < len(lines), LINE.fullmatch(line)
            good = match and whole and len(line) <= 60 * 1024
            leaf = hashlib.sha256(b"\0" + match[1] + b"}").hexdigest() if match else ""
            if good and prev is None:
                prev = match[3] if first else b"0" * 64
            if not good or leaf.encode() != match[4] or int(match[2]) != index or match[3] != prev:
                torn = not whole or b"\0" in line or len(line) > 60 * 1024
                later = any(LINE.fullmatch(other) for other in lines[at + 1 : -1])
                if not torn or later or path != segments[-1]:
                    raise tampered(index, "it is not what was written")
                cut = len(b"\n".join(lines[at:]))
                break
            pruned |= pruned_in(line) if b'"event":"audit.pruned"' in line else set()
            tree.push(bytes.fromhex(leaf))
            prev, index = match[4], index + 1
    if first and first - 1 not in pruned:
        raise tampered(first - 1, "the records before the first one are missing")
    return index, lost, cut


def verify(folder, key=None, register=None, copy=False):
    names = [folder / "epochs", folder / "checkpoint"]
    keys, held = [path.read_bytes() if path.exists() else b"" for path in names]
    epochs, wrong = epochs_of(keys)
    if not epochs and not wrong and any(p.stat().st_size for p in folder.glob("audit-*.jsonl")):
        raise Verdict(2, "-", "unreadable: there are no public keys")
    held, notes = held.strip(b"\0"), []
    try:
        notes += [(note_of(held), "checkpoint")] if held else []
    except ValueError:
        wrong = wrong or tampered(0, "the checkpoint is none")
    known = register_of(register) if register else None
    notes += [(known, "register")] if known else []
    if key and epochs and epochs[0]["key"] != key:
        wrong = wrong or tampered(0, "not signed by that key")
    for note, name in notes:
        later = name == "register" and epochs and note["origin"] == key_of(epochs[0]["key"])[0]
        later = later and not any(is_by(note, epoch["key"]) for epoch in epochs)
        if not later and not vouched(note, epochs):
            index = min(epochs[-1]["size"], note["size"]) if epochs else 0
            wrong = wrong or tampered(index, f"the {name} is not signed by the key of its epoch")
    signed = [(e["size"], e["root"], "epoch") for e in epochs]
    newest = max([size for size, *_ in signed] + [note["size"] for note, name in notes if name == "checkpoint"] + [0])
    signed = sorted(signed + [(note["size"], note["root"], name) for note, name in notes])
    tree = Tree({size for size, *_ in signed})
    index, lost, torn = records(folder, tree, newest)
    if lost is not None:
        wrong = wrong or tampered(lost, "hashes of pruned records are missing")
    if wrong:
        raise wrong
    for size, root, name in signed:
        if size not in tree.roots and copy and name != "register":
            raise Verdict(1, index, f"torn: the copy ends at record {index}")
        if size not in tree.roots:
            raise Verdict(4, index, f"rolled back: record {index} is missing, the {name} knows of {size}")
        if tree.roots[size] != root:
            proven = max((smaller for smaller, *_ in signed if smaller < size), default=0)
            raise tampered(proven, "the records do not give the root that was signed")
    if torn:
        raise Verdict(1, index, f"torn: {torn} bytes after record {index}")
    if not keys.endswith(b"\n") and epochs or index and not held:
        raise Verdict(1, index, "torn: a crash cut the epochs or the checkpoint short, or somebody removed them")
    return Verdict(0, index, f"intact: {index} records")


def judge(words):
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--key")
    parser.add_argument("--register", type=pathlib.Path)
    parser.add_argument("--copy", action="store_true")
    try:
        return verify(**vars(parser.parse_args(words)))
    except Verdict as verdict:
        return verdict
    except OSError as error:
        return Verdict(2, "-", f"unreadable: {error}")


if sys.argv[1:] == ["--batch"]:
    for line in sys.stdin:
        found = judge(line.split())
        print(found.code, found.index, found, flush=True)
else:
    found = judge(sys.argv[1:])
    sys.exit(print(found) or found.code)
