"""A second verifier of Keygate's audit log, written from docs/audit-format.md alone.

    verify.py log DIR --key FILE [--checkpoint FILE]... [--receipts FILE]...
    verify.py proof FILE --key FILE [--receipt TEXT] [--dictionary FILE]
    verify.py open DIR --identity FILE --dictionary FILE
    verify.py cosigned FILE --key FILE --witness FILE

It needs Python's standard library and `cryptography`, and `zstandard` for what is compressed. `log` prints one JSON object and exits
0 (intact and complete), 1 (not intact), 3 (not complete) or 4 (an unsigned tail); `open` prints the records of an encrypted log; the
others print `ok` or what is wrong, and exit 0 or 1.
"""

import argparse
import base64
import binascii
import hashlib
import json
import re
import struct
import sys
import uuid
from datetime import datetime, timezone
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WIDTH = 256
SEGMENT = re.compile(r"segment-(\d{20})\.(jsonl|sealed)")
KEYS = re.compile(r"(\d{20})\.keys(\.age)?")
BOXED = b'{"box":"'
LINE = re.compile(rb'(\{.*,"seq":(0|[1-9][0-9]*)),"entry":"([A-Za-z0-9+/]{43}=)"\}', re.DOTALL)
NUMBER = re.compile(r"0|[1-9][0-9]*")
DASH = "\u2014"


class Bad(Exception):
    """What is not intact, and the number of the first record in doubt."""

    def __init__(self, what, seq=None):
        super().__init__(what)
        self.seq = seq


def sha256(data):
    return hashlib.sha256(data).digest()


def unbase64(text, length=None):
    """Decodes the one spelling there is."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Bad("not Base64") from error
    if base64.b64encode(data).decode() != (text if isinstance(text, str) else text.decode()):
        raise Bad("another spelling of Base64")
    if length is not None and len(data) != length:
        raise Bad("not as many bytes as there should be")
    return data


def number(text):
    if not NUMBER.fullmatch(text):
        raise Bad("not a number")
    return int(text)


class Key:
    """A verifier key: NAME+ID+KEY."""

    def __init__(self, text):
        self.name, identity, key = text.strip().split("+", 2)
        data = unbase64(key, 33)
        self.kind, self.public = data[0], data[1:]
        self.id = sha256(self.name.encode() + b"\n" + bytes([self.kind]) + self.public)[:4]
        if self.id.hex() != identity:
            raise Bad("the key's id is not that of the key")

    def signed(self, text, signature):
        """Whether this key made the bytes of a signature line over a text."""
        if signature[:4] != self.id:
            return False
        signature = signature[4:]
        if self.kind == 4:
            time = int.from_bytes(signature[:8], "big")
            text, signature = f"cosignature/v1\ntime {time}\n{text}", signature[8:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except InvalidSignature:
            return False
        return True


def open_note(note, key):
    """The text of a note that a key signed."""
    text, mark, lines = note.rpartition("\n\n")
    if not mark or not lines.endswith("\n"):
        raise Bad("no signed note")
    text += "\n"
    good = False
    for line in lines[:-1].split("\n"):
        words = line.split(" ")
        if len(words) != 3 or words[0] != DASH:
            raise Bad("no signature line")
        good |= words[1] == key.name and key.signed(text, unbase64(words[2]))
    if not good:
        raise Bad("not signed with the log's key")
    return text


def open_checkpoint(note, key):
    """Size and root."""
    lines = open_note(note, key).split("\n")
    if len(lines) < 4 or lines[0] != key.name:
        raise Bad("no checkpoint of this log")
    return number(lines[1]), unbase64(lines[2], 32)


def notes(history):
    """The whole notes of a history."""
    parts = history.split("\n\n")
    for text, signatures in zip(parts[0:-1:2], parts[1:-1:2]):
        yield f"{text}\n\n{signatures}\n"


def open_receipt(line, key):
    """Number and leaf."""
    words = line.split()
    if words[0].rstrip(":").lower() == "keygate-receipt":
        words = words[1:]
    if len(words) not in (3, 4):
        raise Bad("no receipt")
    origin, index, leaf = words[:3]
    found = number(index), unbase64(leaf, 32)
    if origin != key.name:
        raise Bad("a receipt of another log")
    if len(words) == 4:
        text = f"keygate-receipt/v1\n{origin}\n{index}\n{leaf}\n"
        if not key.signed(text, unbase64(words[3])):
            raise Bad("a receipt with another's signature")
    return found


# The tree.


def leaf_hash(entry):
    return sha256(b"\0" + entry)


def node(left, right):
    return sha256(b"\1" + left + right)


class Tree:
    """Grows leaf by leaf. Keeps the hashes of every level that tiles are made of, and the whole subtrees on the way."""

    def __init__(self):
        self.size = 0
        self.peaks = []
        self.levels = {0: []}

    def push(self, entry):
        hash_, height, size = leaf_hash(entry), 0, self.size
        self.levels[0].append(hash_)
        while size & 1:
            hash_ = node(self.peaks.pop(), hash_)
            height, size = height + 1, size >> 1
            if height % 8 == 0:
                self.levels.setdefault(height // 8, []).append(hash_)
        self.peaks.append(hash_)
        self.size += 1

    def root(self):
        if not self.peaks:
            return sha256(b"")
        root = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            root = node(peak, root)
        return root


def tile_path(kind, index):
    groups = []
    while True:
        groups.insert(0, f"{index % 1000:03}")
        index //= 1000
        if not index:
            break
    return Path("tile", kind, *[f"x{group}" for group in groups[:-1]], groups[-1])


def check_tiles(folder, tree, entries, size):
    """What is wrong with the tiles of a checkpoint of this size, as far as the records go: at which size of the tree a tile is
    full (or as the checkpoint leaves it), how many records each of its hashes stands for, and what is wrong."""
    kinds = [("entries", [b"\0\x20" + entry for entry in entries], 1)]
    kinds += [(str(level), hashes, WIDTH**level) for level, hashes in tree.levels.items()]
    found = []
    for kind, items, span in kinds:
        items = items[: size // span]
        if tree.size < size:
            items = items[: len(items) // WIDTH * WIDTH]
        for index in range(0, (len(items) + WIDTH - 1) // WIDTH):
            wanted = items[index * WIDTH : (index + 1) * WIDTH]
            path = folder / tile_path(kind, index)
            if not path.is_file() and len(wanted) < WIDTH:
                path = path.with_name(path.name + ".p") / str(len(wanted))
            first = index * WIDTH * span
            # Where the tile is full: a walk that stops at the first finding gets there then.
            when = min((index + 1) * WIDTH * span, size)
            try:
                there = path.read_bytes()
            except OSError:
                found.append((when, span, Bad(f"{path}: missing", first)))
                continue
            each = len(wanted[0])
            if len(there) < each * len(wanted):
                found.append((when, span, Bad(f"{path}: too short", first)))
                continue
            malformed = kind == "entries" and any(
                there[at : at + 2] != b"\0\x20" for at in range(0, each * len(wanted), each)
            )
            if malformed:
                found.append((when, span, Bad(f"{path}: an entry of another length", first)))
                continue
            for at, item in enumerate(wanted):
                if there[at * each : (at + 1) * each] != item:
                    found.append((when, span, Bad(f"{path}: another hash", first + at * span)))
                    break
    return found


# Encrypted records.


def age_open(data, identities):
    """An age file with X25519 recipients (age-encryption.org/v1)."""
    from cryptography.hazmat.primitives import hashes, hmac
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    def derive(secret, salt, info):
        return HKDF(hashes.SHA256(), 32, salt, info).derive(secret)

    head, mark, rest = data.partition(b"\n--- ")
    mac, _, body = rest.partition(b"\n")
    lines = head.split(b"\n")
    if lines.pop(0) != b"age-encryption.org/v1" or not mark:
        raise Bad("no age file")
    for line, wrapped in zip(lines, lines[1:]):
        words = line.split(b" ")
        if words[:2] != [b"->", b"X25519"]:
            continue
        share = base64.b64decode(words[2] + b"=")
        for identity in identities:
            private = X25519PrivateKey.from_private_bytes(identity)
            shared = private.exchange(X25519PublicKey.from_public_bytes(share))
            wrap = derive(shared, share + private.public_key().public_bytes_raw(), b"age-encryption.org/v1/X25519")
            try:
                file_key = ChaCha20Poly1305(wrap).decrypt(bytes(12), base64.b64decode(wrapped + b"=="), None)
            except Exception:  # The stanza of another recipient.
                continue
            check = hmac.HMAC(derive(file_key, None, b"header"), hashes.SHA256())
            check.update(head + b"\n---")
            check.verify(base64.b64decode(mac + b"="))
            payload, chunks, text = ChaCha20Poly1305(derive(file_key, body[:16], b"payload")), body[16:], b""
            for n in range(0, len(chunks), 65552):
                last = n + 65552 >= len(chunks)
                text += payload.decrypt((n // 65552).to_bytes(11, "big") + bytes([last]), chunks[n : n + 65552], None)
            return text
    raise Bad("not encrypted to this identity")


def read_identities(path):
    """The keys of an age identity file. Bech32 without its checksum: a slip in it opens nothing."""
    digits = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    found = []
    for line in Path(path).read_text().splitlines():
        if line.startswith("AGE-SECRET-KEY-1"):
            bits = 0
            for digit in line.removeprefix("AGE-SECRET-KEY-1").lower()[:-6]:
                bits = bits << 5 | digits.index(digit)
            found.append((bits >> 4).to_bytes(32, "big"))
    return found


def leb128(data):
    """A number, and what stands behind it."""
    value = shift = 0
    for at, byte in enumerate(data):
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, data[at + 1 :]
        shift += 7
    raise Bad("a number is cut off")


def fill(text, taken):
    """A text with what its marks stand for, and what is left of that."""
    out = bytearray()
    for byte in text:
        if byte == 1:
            out, taken = out + taken[:16].hex().encode(), taken[16:]
        elif byte == 2:
            out, taken = out + taken[:6].hex().encode(), taken[6:]
        elif byte == 3:
            id_, late, taken = taken[:16], int.from_bytes(taken[16:20], "big", signed=True), taken[20:]
            nanos = int.from_bytes(id_[:6], "big") * 1_000_000 + late
            seconds, fraction = divmod(nanos, 1_000_000_000)
            time = datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")
            time += f".{fraction:09}".rstrip("0") if fraction else ""
            out += f'{{"time":"{time}Z","id":"{uuid.UUID(bytes=id_)}"'.encode()
        elif byte == 4:
            value, taken = leb128(taken)
            out += str(value).encode()
        elif byte == 5:
            length, taken = leb128(taken)
            out, taken = out + taken[:length], taken[length:]
        elif byte == 6:
            out, taken = out + ".".join(map(str, taken[:4])).encode(), taken[4:]
        else:
            out.append(byte)
    return bytes(out), taken


def decompress(packed, dictionary):
    """A record's JSON that was packed alone."""
    import zstandard

    length, packed = packed[0], packed[1:]
    if length & 0x80:
        length, packed = (length & 0x7F) << 8 | packed[0], packed[1:]
    taken, frame = packed[:length], b"\x28\xb5\x2f\xfd" + packed[length:]
    try:
        skeleton = zstandard.ZstdDecompressor(dict_data=zstandard.ZstdCompressionDict(dictionary)).decompress(frame)
    except zstandard.ZstdError as error:
        raise Bad("what a record was packed into is broken") from error
    out, left = fill(skeleton, taken)
    if left:
        raise Bad("bytes of a record are left over")
    return out


class Pieces:
    """What stands in a key file behind its keys, or, of a record that is shown, behind its line."""

    def __init__(self, lines):
        self.texts, hashes = [], b""
        for line in lines:
            kind, text = line[:2], line[2:]
            if kind not in (b"= ", b"# "):
                raise Bad("no piece")
            self.texts.append(text if kind == b"= " else None)
            hashes += sha256(text) if kind == b"= " else unbase64(text, 32)
        self.hash = sha256(hashes)

    def join(self, packed):
        """A record's JSON that is made of them."""
        out = b""
        while packed:
            number_, packed = leb128(packed)
            if number_ >= len(self.texts) or self.texts[number_] is None:
                raise Bad("no such piece")
            text, packed = fill(self.texts[number_], packed)
            out += text
        return out


def open_box(line, seq, salt, dictionary, pieces):
    """A record's JSON, from its boxed line."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    box = unbase64(line[len(BOXED) :].partition(b'"')[0])
    bound = seq.to_bytes(8, "big") + (pieces.hash if box[0] == 2 else b"")
    try:
        plain = AESGCM(sha256(salt + b"keygate-box/v1")).decrypt(bytes(12), box[1:], bound)
    except InvalidTag as error:
        raise Bad("the box cannot be opened with this key and these pieces") from error
    if box[0] == 0:
        return plain
    if box[0] == 1:
        return decompress(plain, dictionary)
    if box[0] == 2:
        return pieces.join(plain)
    raise Bad("packed in an unknown way")


# Records.


class Salts:
    def __init__(self, folder, identities=()):
        self.files, self.identities = [], identities
        for path in sorted(folder.glob("*.keys*")):
            match = KEYS.fullmatch(path.name)
            if match:
                self.files.append((int(match[1]), path))
        self.loaded = {}

    def keys(self, path):
        if path not in self.loaded:
            keys, pieces = {}, []
            try:
                data = path.read_bytes()
                if path.suffix == ".age":
                    data = age_open(data, self.identities)
                for line in data.decode().split("\n")[:-1]:
                    if line.startswith("= "):
                        pieces.append(line.encode())
                        continue
                    digits, _, key = line.partition(" ")
                    if not re.fullmatch("-|[0-9a-f]{1,4}", digits):
                        raise Bad("no key file")
                    keys["" if digits == "-" else digits] = unbase64(key, 32)
            except (Bad, OSError, UnicodeDecodeError):
                keys, pieces = {}, []
            self.loaded[path] = keys, Pieces(pieces)
        return self.loaded[path]

    def serving(self, seq):
        serving = [(first, path) for first, path in self.files if first <= seq]
        return serving[-1] if serving and seq - serving[-1][0] < 65536 else None

    def pieces(self, seq):
        """Those of the key file that serves a record."""
        serving = self.serving(seq)
        return self.keys(serving[1])[1] if serving else Pieces([])

    def of(self, seq):
        serving = self.serving(seq)
        if not serving:
            return None
        first, path = serving
        place = f"{seq - first:04x}"
        keys, _ = self.keys(path)
        for depth in range(5):
            key = keys.get(place[:depth])
            if key is not None:
                for digit in place[depth:]:
                    key = sha256(key + bytes([int(digit, 16)]))
                return key
        return None


def segments_of(folder):
    """In their order. Where a sealed one and the one that it was made of are both there, that one counts."""
    found = {}
    for path in sorted((path for path in folder.iterdir() if SEGMENT.fullmatch(path.name)), reverse=True):
        found[SEGMENT.fullmatch(path.name)[1]] = path
    return [found[number] for number in sorted(found)]


def read_segment(path):
    """Its lines, and whether a block behind them is damaged."""
    data = path.read_bytes()
    if path.suffix != ".sealed":
        return data, False
    seq, lines = int(SEGMENT.fullmatch(path.name)[1]), []
    at = 0
    while at < len(data) or not data:
        block = unseal(data, at, seq)
        if block is None:
            return b"".join(lines), True
        length, records = block
        lines += records
        at, seq = at + length, seq + len(records)
    return b"".join(lines), False


def unseal(data, at, seq):
    """The length and the lines of a block of a sealed segment; none when it is damaged."""
    import zstandard

    if data[at : at + 4] != b"kgs1" or len(data) < at + 24:
        return None
    records, texts, frame, boxes, entries = struct.unpack(">5I", data[at + 4 : at + 24])
    length = 24 + frame + boxes + entries + 32
    content, hash_ = data[at : at + length - 32], data[at + length - 32 : at + length]
    if not 1 <= records <= 1024 or sha256(content) != hash_:
        return None
    try:
        plain = zstandard.ZstdDecompressor().decompress(content[24 : 24 + frame], 1 << 30)
    except zstandard.ZstdError:
        return None
    lengths, boxes, entries = plain[texts:], content[24 + frame : 24 + frame + boxes], content[24 + frame + boxes :]
    lines = []
    for text in plain[:texts].split(b"\n")[:-1]:
        if text.startswith(b"{"):
            entry, entries = entries[:32], entries[32:]
            line = text + b',"seq":%d' % seq
        else:
            size, lengths = int.from_bytes(lengths[:4], "big"), lengths[4:]
            line = BOXED + base64.b64encode(boxes[:size]) + b'"' + text + b',"seq":%d' % seq
            entry, boxes = sha256(line), boxes[size:]
        lines.append(line + b',"entry":"' + base64.b64encode(entry) + b'"}\n')
        seq += 1
    if len(lines) != records or lengths or boxes or entries:
        return None
    return length, lines


class Log:
    """A walk over a log. Ends at the first thing that is wrong."""

    def __init__(self, folder, key, checkpoints, receipts):
        self.folder, self.key = folder, key
        self.tree, self.entries, self.torn = Tree(), [], 0
        self.claims, self.receipts = {}, {}
        for path in checkpoints:
            self.claim(Path(path).read_text(errors="replace"))
        for path in receipts:
            for line in Path(path).read_text(errors="replace").splitlines():
                if line.strip():
                    index, leaf = open_receipt(line, key)
                    self.receipts.setdefault(index, []).append(leaf)
        history = folder / "checkpoints"
        if history.exists():
            for note in notes(history.read_text(errors="replace")):
                self.claim(note)
        newest = folder / "checkpoint"
        if not newest.exists():
            raise Bad("no checkpoint")
        self.signed = self.claim(newest.read_text(errors="replace"))
        self.sure = 0
        self.hold()

    def claim(self, note):
        size, root = open_checkpoint(note, self.key)
        self.claims.setdefault(size, []).append(root)
        return size

    def hold(self):
        """Holds the tree to the checkpoints of its size."""
        size = self.tree.size
        if size in self.claims:
            root = self.tree.root()
            if any(claim != root for claim in self.claims[size]):
                raise Bad("the records do not hash to a checkpoint", self.sure if size else None)
            self.sure = size

    def walk(self):
        salts = Salts(self.folder / "salts")
        removed = self.removed()
        segments = [path for path in segments_of(self.folder) if int(SEGMENT.fullmatch(path.name)[1]) >= removed]
        for path in segments:
            if int(SEGMENT.fullmatch(path.name)[1]) != self.tree.size:
                raise Bad("a segment has another number", self.tree.size)
            data, damaged = read_segment(path)
            self.segment(data, salts, path == segments[-1])
            if damaged:
                raise Bad("a block of a sealed segment is damaged", self.tree.size)

    def removed(self):
        """Takes in the entries of records that retention has removed; how many they are."""
        path = self.folder / "removed"
        if not path.exists():
            return 0
        title, name, end = (open_note(path.read_text(errors="replace"), self.key).split("\n") + [""] * 3)[:3]
        if title != "keygate-removed/v1" or name != self.key.name:
            raise Bad("another note stands where the removed records should")
        removed = number(end)
        if removed > self.signed:
            raise Bad("no checkpoint was signed for the removed records", 0)
        while self.tree.size < removed:
            bundle = self.tree.size // WIDTH
            path = self.folder / tile_path("entries", bundle)
            if not path.is_file():
                path = path.with_name(path.name + ".p") / str(self.signed - bundle * WIDTH)
            try:
                data = path.read_bytes()
            except OSError as error:
                raise Bad("entries of removed records are missing", self.tree.size) from error
            for at in range(0, min(WIDTH, removed - bundle * WIDTH) * 34, 34):
                if data[at : at + 2] != b"\0\x20" or len(data) < at + 34:
                    raise Bad("an entry of a removed record is malformed", bundle * WIDTH)
                self.take(data[at + 2 : at + 34])
        return removed

    def take(self, entry):
        """A record's entry, in its order."""
        if any(leaf != leaf_hash(entry) for leaf in self.receipts.get(self.tree.size, [])):
            raise Bad("the record is not that of a receipt", self.tree.size)
        self.entries.append(entry)
        self.tree.push(entry)
        self.hold()

    def segment(self, data, salts, last):
        at = 0
        while at < len(data):
            end = data.find(b"\n", at)
            if data[at] == 0 or end < 0:
                rest = data[at:]
                zeros = rest.find(b"\0")
                zeros = len(rest) if zeros < 0 else zeros
                if rest[zeros:].strip(b"\0") or (zeros and not last):
                    raise Bad("bytes behind the records", self.tree.size)
                self.torn = zeros
                return
            self.record(data[at:end], salts)
            at = end + 1

    def record(self, line, salts):
        seq = self.tree.size
        match = LINE.fullmatch(line)
        if not match or int(match[2]) != seq:
            raise Bad("no record with the number that comes next", seq)
        try:
            entry = unbase64(match[3], 32)
        except Bad as error:
            raise Bad("no entry", seq) from error
        if line.startswith(BOXED):
            hashed = match[1]
        else:
            salt = salts.of(seq)
            if salt is None:
                raise Bad("the record has no salt", seq)
            hashed = salt + match[1]
        if sha256(hashed) != entry:
            raise Bad("the record is not that of its entry", seq)
        self.take(entry)

    def verdict(self):
        """Walks, and says what comes first: a record, a tile, or a checkpoint that does not fit."""
        bad = None
        try:
            self.walk()
        except Bad as error:
            bad = error
        found = check_tiles(self.folder, self.tree, self.entries, self.signed)
        reached = [item for item in found if item[0] <= self.tree.size]
        if reached:
            bad = min(reached, key=lambda item: item[:2])[2]
        if bad:
            raise bad


def verify(arguments):
    report = {"intact": False, "complete": False, "records": 0, "unsigned": 0, "seq": None, "why": None}
    try:
        key = Key(Path(arguments.key).read_text())
        log = Log(Path(arguments.log), key, arguments.checkpoint, arguments.receipts)
        log.verdict()
        records = log.tree.size
        missing = any(size > records for size in log.claims) or any(index >= records for index in log.receipts)
        report.update(intact=True, complete=not missing, records=records, unsigned=max(0, records - log.signed))
    except Bad as error:
        report.update(seq=error.seq, why=str(error))
    print(json.dumps(report))
    if not report["intact"]:
        return 1
    if not report["complete"]:
        return 3
    return 4 if report["unsigned"] else 0


def proof(arguments):
    """Checks a tlog-proof."""
    key = Key(Path(arguments.key).read_text())
    head, _, note = Path(arguments.proof).read_text().partition("\n\n")
    lines = head.split("\n")
    if lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise Bad("no tlog-proof")
    extra = unbase64(lines.pop(0)[6:]) if lines[0].startswith("extra ") else None
    word, _, index = lines.pop(0).partition(" ")
    if word != "index":
        raise Bad("no index")
    index = number(index)
    size, root = open_checkpoint(note, key)
    leaves = []
    if extra is not None:
        # A boxed record's entry has no salt; what stands in its place opens the box.
        boxed = extra[32:].startswith(BOXED)
        text, _, pieces = extra[32:].partition(b"\n")
        leaves.append(leaf_hash(sha256(text if boxed else extra)))
    if arguments.receipt:
        promised, leaf = open_receipt(arguments.receipt, key)
        if promised != index:
            raise Bad("the receipt is another record's")
        leaves.append(leaf)
    if not leaves:
        raise Bad("neither the record nor a receipt says which leaf is proved")
    steps = [unbase64(line, 32) for line in lines]
    for leaf in leaves:
        # RFC 9162, section 2.1.3.2.
        if index >= size:
            raise Bad("the record is not in that tree")
        at, last, hash_ = index, size - 1, leaf
        for step in steps:
            if last == 0:
                raise Bad("the proof is too long")
            if at & 1 or at == last:
                hash_ = node(step, hash_)
                while not at & 1 and at:
                    at, last = at >> 1, last >> 1
            else:
                hash_ = node(hash_, step)
            at, last = at >> 1, last >> 1
        if last or hash_ != root:
            raise Bad("the proof does not lead to the checkpoint")
    print("ok")
    if extra is not None and boxed:
        shown = Pieces(pieces.split(b"\n")[:-1])
        record = open_box(text, index, extra[:32], Path(arguments.dictionary).read_bytes(), shown)
        print(record[:-1].decode() + f',"seq":{index}}}')
    elif extra is not None:
        print(extra[32:].decode() + "}")


def cosigned(arguments):
    """Checks a checkpoint and a witness's signature under it."""
    note = Path(arguments.cosigned).read_text()
    open_checkpoint(note, Key(Path(arguments.key).read_text()))
    open_note(note, Key(Path(arguments.witness).read_text()))
    print("ok")


def open_log(arguments):
    """Prints the records of a log as lines, encrypted or not."""
    folder, dictionary = Path(arguments.open), Path(arguments.dictionary).read_bytes()
    salts = Salts(folder / "salts", read_identities(arguments.identity))
    out = sys.stdout.buffer
    for path in segments_of(folder):
        for line in read_segment(path)[0].split(b"\n"):
            match = LINE.fullmatch(line)
            if match and line.startswith(BOXED):
                end = b',"seq":' + match[2] + b',"entry":"' + match[3] + b'"}'
                salt = salts.of(int(match[2]))
                if salt is None:
                    line = b'{"kind":"forgotten"' + end
                else:
                    number_ = int(match[2])
                    line = open_box(line, number_, salt, dictionary, salts.pieces(number_))[:-1] + end
            if match:
                out.write(line + b"\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, run in (("log", verify), ("proof", proof), ("cosigned", cosigned), ("open", open_log)):
        command = commands.add_parser(name)
        command.set_defaults(run=run)
        command.add_argument(name)
        if name == "open":
            command.add_argument("--identity", required=True)
            command.add_argument("--dictionary", required=True)
            continue
        command.add_argument("--key", required=True)
        if name == "log":
            command.add_argument("--checkpoint", action="append", default=[])
            command.add_argument("--receipts", action="append", default=[])
        if name == "proof":
            command.add_argument("--receipt")
            command.add_argument("--dictionary")
        if name == "cosigned":
            command.add_argument("--witness", required=True)
    arguments = parser.parse_args()
    try:
        return arguments.run(arguments) or 0
    except Bad as error:
        print(f"not ok: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
