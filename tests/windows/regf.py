# SPDX-License-Identifier: GPL-2.0-or-later
"""Windows registry hives for tests, written from nothing: a tree of keys in, a regf file out.

It shares no code with hivex, so that either can check the other. Written are format 1.3 (lf
indexes, as in Windows XP's SYSTEM and in every BCD store) and 1.5 (lh indexes, and ri above them
for keys with many subkeys); values of any type up to 16344 bytes; class names. log_dirt() and
log_hvle() make the transaction logs of Windows XP to 8 and of 8.1 and later.

As in the documents of the format: offsets in a hive count from the end of its 4096-byte header;
a cell starts with its size, negative when in use; bins are multiples of 4096 bytes.
"""
import struct

NONE, SZ, EXPAND_SZ, BINARY, DWORD, DWORD_BE, LINK, MULTI_SZ = range(8)
RESOURCE_LIST, FULL_RESOURCE, REQUIREMENTS, QWORD = 8, 9, 10, 11
NIL = 0xFFFFFFFF
PAGE = 4096
# More subkeys than these go into several leaves below an ri index.
LEAF_MAX = 507


def sz(text):
    return text.encode("utf-16-le") + b"\0\0"


def multi(texts):
    return b"".join(sz(text) for text in texts) + b"\0\0"


def _name(text):
    """A key's or value's name as stored, and whether that is one byte a character."""
    try:
        return text.encode("latin-1"), True
    except UnicodeEncodeError:
        return text.encode("utf-16-le"), False


class Key:
    """A key: values in the order they were set, subkeys that differ in more than case."""

    def __init__(self, name=""):
        self.name, self.values, self.subkeys, self.class_name = name, {}, {}, None
        self.time = None

    def key(self, path, make=True):
        """The key at PATH (with backslashes) below this one, made if need be."""
        at = self
        for part in path.split("\\"):
            if part == "":
                continue
            if part.upper() not in at.subkeys:
                if not make:
                    return None
                at.subkeys[part.upper()] = Key(part)
            at = at.subkeys[part.upper()]
        return at

    def find(self, path):
        return self.key(path, make=False)

    def set(self, name, kind, data):
        """Sets value NAME ("" for the default one) to raw DATA of type KIND; returns the key."""
        self.values[name.upper()] = (name, kind, bytes(data))
        return self

    def sz(self, name, text):
        return self.set(name, SZ, sz(text))

    def expand(self, name, text):
        return self.set(name, EXPAND_SZ, sz(text))

    def dword(self, name, number):
        return self.set(name, DWORD, struct.pack("<I", number & 0xFFFFFFFF))

    def qword(self, name, number):
        return self.set(name, QWORD, struct.pack("<Q", number))

    def multi(self, name, texts):
        return self.set(name, MULTI_SZ, multi(texts))

    def binary(self, name, data):
        return self.set(name, BINARY, data)

    def get(self, name):
        """The value NAME as Python has it: text, number, list of texts, or bytes; else None."""
        found = self.values.get(name.upper())
        if found is None:
            return None
        _, kind, data = found
        if kind in (SZ, EXPAND_SZ, LINK):
            return data.decode("utf-16-le", "replace").split("\0")[0]
        if kind == MULTI_SZ:
            return [part for part in data.decode("utf-16-le", "replace").split("\0") if part]
        if kind == DWORD and len(data) == 4:
            return struct.unpack("<I", data)[0]
        if kind == QWORD and len(data) == 8:
            return struct.unpack("<Q", data)[0]
        return data

    def remove(self, path):
        """Takes away the key at PATH and all below it, if it is there."""
        above, _, name = path.rpartition("\\")
        parent = self.find(above)
        if parent:
            parent.subkeys.pop(name.upper(), None)

    def copy(self, name=None):
        twin = Key(self.name if name is None else name)
        twin.values, twin.class_name, twin.time = dict(self.values), self.class_name, self.time
        twin.subkeys = {key: sub.copy() for key, sub in self.subkeys.items()}
        return twin

    def walk(self, path=""):
        """Each (path, key) of the tree, this one first."""
        yield path, self
        for name in sorted(self.subkeys):
            sub = self.subkeys[name]
            yield from sub.walk(path + "\\" + sub.name if path else sub.name)


def _sid(authority, *parts):
    return struct.pack("<BBHI", 1, len(parts), 0, authority << 24) + \
        struct.pack("<%dI" % len(parts), *parts)


def _security():
    """As on most of HKLM: SYSTEM and Administrators all, Users reading; owner Administrators."""
    system, administrators, users = _sid(5, 18), _sid(5, 32, 544), _sid(5, 32, 545)

    def allow(sid, mask):
        return struct.pack("<BBHI", 0, 2, 8 + len(sid), mask) + sid
    entries = [allow(users, 0x20019), allow(administrators, 0xF003F), allow(system, 0xF003F)]
    acl = struct.pack("<BBHHH", 2, 0, 8 + sum(map(len, entries)), len(entries), 0)
    acl += b"".join(entries)
    owner_at = 20 + len(acl)
    return struct.pack("<BBHIIII", 1, 0, 0x8004, owner_at, owner_at + len(administrators), 0, 20) \
        + acl + administrators + system


class _Cells:
    """Bins being filled, one after the other."""

    def __init__(self):
        self.data, self.bin, self.used = bytearray(), None, 0

    def _close(self):
        if self.bin is not None:
            left = self.bin + struct.unpack_from("<I", self.data, self.bin + 8)[0] - self.used
            if left:
                struct.pack_into("<i", self.data, self.used, left)

    def _open(self, needed):
        self._close()
        self.bin = len(self.data)
        size = (needed + 32 + PAGE - 1) // PAGE * PAGE
        self.data += struct.pack("<4sIIIIQI", b"hbin", self.bin, size, 0, 0, 0, 0)
        self.data += bytes(size - 32)
        self.used = self.bin + 32

    def add(self, body):
        """Puts BODY into a cell; returns the cell's offset."""
        size = (len(body) + 4 + 7) // 8 * 8
        if self.bin is None or self.used + size > len(self.data):
            self._open(size)
        at = self.used
        struct.pack_into("<i", self.data, at, -size)
        self.data[at + 4:at + 4 + len(body)] = body
        self.used += size
        return at

    def finish(self):
        self._close()
        return self.data


def _hash(name):
    total = 0
    for letter in name.upper():
        total = (total * 37 + ord(letter)) & 0xFFFFFFFF
    return total


class _Writer:
    def __init__(self, minor, time):
        self.minor, self.time, self.cells, self.security_at = minor, time, _Cells(), 0

    def value(self, name, kind, data):
        stored, latin = _name(name)
        size, at = len(data), 0
        if size > 16344:
            raise ValueError("value %r is too big for this writer" % name)
        if size <= 4:
            size |= 0x80000000
            at = struct.unpack("<I", data.ljust(4, b"\0"))[0]
        else:
            at = self.cells.add(data)
        return self.cells.add(struct.pack("<2sHIIIHH", b"vk", len(stored), size, at, kind,
                                          1 if latin and stored else 0, 0) + stored)

    def values(self, key):
        if not key.values:
            return NIL
        offsets = [self.value(*value) for value in key.values.values()]
        return self.cells.add(struct.pack("<%dI" % len(offsets), *offsets))

    def leaf(self, entries):
        body = struct.pack("<2sH", b"lh" if self.minor >= 5 else b"lf", len(entries))
        for name, at in entries:
            hint = struct.pack("<I", _hash(name)) if self.minor >= 5 else \
                name.encode("latin-1", "replace")[:4].ljust(4, b"\0")
            body += struct.pack("<I", at) + hint
        return self.cells.add(body)

    def index(self, entries):
        if not entries:
            return NIL
        if len(entries) <= LEAF_MAX:
            return self.leaf(entries)
        leaves = [self.leaf(entries[at:at + LEAF_MAX]) for at in range(0, len(entries), LEAF_MAX)]
        return self.cells.add(struct.pack("<2sH%dI" % len(leaves), b"ri", len(leaves), *leaves))

    def key(self, key, parent, flags):
        stored, latin = _name(key.name)
        at = self.cells.add(bytes(76 + len(stored)))
        subkeys = [key.subkeys[name] for name in sorted(key.subkeys)]
        entries = [(sub.name, self.key(sub, at, 0)) for sub in subkeys]
        class_data = key.class_name.encode("utf-16-le") if key.class_name else b""
        class_at = self.cells.add(class_data) if class_data else NIL
        sizes = [len(value[2]) for value in key.values.values()]
        names = [2 * len(value[0]) for value in key.values.values()]
        struct.pack_into(
            "<2sHQIIIIIIIIIIIIIIIHH", self.cells.data, at + 4, b"nk",
            flags | (0x20 if latin else 0), key.time or self.time, 0 if self.minor < 5 else 2,
            parent, len(entries), 0, self.index(entries), NIL, len(key.values), self.values(key),
            NIL, class_at, max([2 * len(sub.name) for sub in subkeys], default=0),
            max([2 * len(sub.class_name or "") for sub in subkeys], default=0),
            max(names, default=0), max(sizes, default=0), 0, len(stored), len(class_data))
        self.cells.data[at + 80:at + 80 + len(stored)] = stored
        self.keys.append(at)
        return at

    def write(self, root):
        self.keys = []
        at = self.key(root, 0, 0x0C)
        descriptor = _security()
        security = self.cells.add(struct.pack("<2sHIIII", b"sk", 0, 0, 0, len(self.keys),
                                              len(descriptor)) + descriptor)
        struct.pack_into("<II", self.cells.data, security + 8, security, security)
        for key in self.keys:
            struct.pack_into("<I", self.cells.data, key + 4 + 44, security)
        data = self.cells.finish()
        struct.pack_into("<Q", data, 20, self.time)
        return at, data


def checksum(header):
    total = 0
    for word in struct.unpack("<127I", header[:508]):
        total ^= word
    return {0: 1, NIL: NIL - 1}.get(total, total)


def seal(header):
    """HEADER (a bytearray of at least 512 bytes) with its checksum made right."""
    struct.pack_into("<I", header, 508, checksum(header))
    return header


def pack(root, minor=5, time=0, file_name="SYSTEM", sequence=(1, 1), identity=None):
    """The hive whose root key is ROOT, as bytes.

    TIME is a FILETIME. FILE_NAME is what the header says, of which the last 31 characters stay.
    IDENTITY, 16 bytes, is the resource manager's GUID that Windows Vista and later put there.
    """
    root_at, data = _Writer(minor, time).write(root)
    header = bytearray(PAGE)
    struct.pack_into("<4sIIQIIIIIII", header, 0, b"regf", sequence[0], sequence[1], time, 1, minor,
                     0, 1, root_at, len(data), 1)
    stored = file_name[-31:].encode("utf-16-le")
    header[48:48 + len(stored)] = stored
    if identity:
        header[112:128] = header[128:144] = identity
        header[148:164] = bytes([identity[0] ^ 1]) + identity[1:]
        header[164:168] = b"rmtm"
    return bytes(seal(header)) + bytes(data)


# Reading, for what checks the hives: of those that are sound.


def load(hive):
    """The root key of the hive in bytes HIVE."""
    if hive[:4] != b"regf" or struct.unpack_from("<I", hive, 508)[0] != checksum(hive):
        raise ValueError("no registry hive, or its checksum is wrong")
    return _load_key(hive, PAGE + struct.unpack_from("<I", hive, 36)[0])


def _children(hive, at):
    magic, count = struct.unpack_from("<2sH", hive, at + 4)
    for index in range(count):
        if magic in (b"lf", b"lh"):
            yield PAGE + struct.unpack_from("<I", hive, at + 8 + 8 * index)[0]
        else:
            below = PAGE + struct.unpack_from("<I", hive, at + 8 + 4 * index)[0]
            if magic == b"ri":
                yield from _children(hive, below)
            else:
                yield below


def _load_value(hive, at):
    length, size, data_at, kind, flags = struct.unpack_from("<HIIIH", hive, at + 6)
    name = hive[at + 24:at + 24 + length].decode("latin-1" if flags & 1 else "utf-16-le")
    if size & 0x80000000:
        return name, kind, hive[at + 12:at + 12 + (size & 0x7FFFFFFF)]
    start = PAGE + data_at + 4
    if size > 16344 and hive[start:start + 2] == b"db":
        parts = b""
        count, below = struct.unpack_from("<HI", hive, start + 2)
        for index in range(count):
            piece = PAGE + struct.unpack_from("<I", hive, PAGE + below + 4 + 4 * index)[0] + 4
            parts += hive[piece:piece + min(16344, size - len(parts))]
        return name, kind, parts
    return name, kind, hive[start:start + size]


def _load_key(hive, at):
    magic, flags, time = struct.unpack_from("<2sHQ", hive, at + 4)
    if magic != b"nk":
        raise ValueError("no key at %#x" % at)
    count, = struct.unpack_from("<I", hive, at + 24)
    subkeys_at, = struct.unpack_from("<I", hive, at + 32)
    value_count, values_at = struct.unpack_from("<II", hive, at + 40)
    class_at, = struct.unpack_from("<I", hive, at + 52)
    length, class_length = struct.unpack_from("<HH", hive, at + 76)
    key = Key(hive[at + 80:at + 80 + length].decode("latin-1" if flags & 0x20 else "utf-16-le"))
    key.time = time
    if class_at != NIL and class_length:
        start = PAGE + class_at + 4
        key.class_name = hive[start:start + class_length].decode("utf-16-le")
    for index in range(value_count if values_at != NIL else 0):
        value = PAGE + struct.unpack_from("<I", hive, PAGE + values_at + 4 + 4 * index)[0]
        key.set(*_load_value(hive, value))
    if count and subkeys_at != NIL:
        for child in _children(hive, PAGE + subkeys_at):
            sub = _load_key(hive, child)
            key.subkeys[sub.name.upper()] = sub
    return key


# Transaction logs.


def _dirty(before, after, grain):
    """Offsets (after the header) of the GRAIN-sized pieces in which two hives differ."""
    before, after = before[PAGE:], after[PAGE:]
    return [at for at in range(0, len(after), grain)
            if before[at:at + grain] != after[at:at + grain]]


def _log_header(hive, kind, sequence):
    header = bytearray(hive[:512])
    struct.pack_into("<II", header, 4, sequence, sequence)
    struct.pack_into("<I", header, 28, kind)
    return bytes(seal(header))


def unclean(hive, first, second):
    """HIVE with the two sequence numbers FIRST and SECOND, which differ in one left dirty."""
    header = bytearray(hive[:PAGE])
    struct.pack_into("<II", header, 4, first, second)
    return bytes(seal(header)) + hive[PAGE:]


def log_dirt(before, after, sequence):
    """The log as Windows XP to 8 write it, with what makes BEFORE into AFTER.

    A bitmap tells which 512-byte sectors of the hive follow; whole pages are logged.
    """
    sectors = (len(after) - PAGE) // 512
    bitmap = bytearray((sectors + 7) // 8)
    data = b""
    for at in _dirty(before, after, PAGE):
        for sector in range(at // 512, (at + PAGE) // 512):
            bitmap[sector // 8] |= 1 << sector % 8
        data += after[PAGE + at:PAGE + at + PAGE]
    head = _log_header(after, 1, sequence) + b"DIRT" + bytes(bitmap)
    return head + bytes(-len(head) % 512) + data


def marvin32(data, seed=0x82EF4D887A4E55C5):
    """Marvin32 of DATA with the seed that the registry's logs use, as a 64-bit number."""
    low, high = seed & NIL, seed >> 32

    def turn(number, by):
        return (number << by | number >> (32 - by)) & NIL
    padded = data + b"\x80"
    padded += bytes(-len(padded) % 4) + bytes(4)
    for word, in struct.iter_unpack("<I", padded):
        low = (low + word) & NIL
        high ^= low
        low = turn(low, 20) + high & NIL
        high = turn(high, 9) ^ low
        low = turn(low, 27) + high & NIL
        high = turn(high, 19)
    return high << 32 | low


def _hvle(before, after, sequence):
    """One entry, with the pages that make BEFORE into AFTER."""
    pages = _dirty(before, after, PAGE)
    references, data = b"", b""
    for at in pages:
        references += struct.pack("<II", at, PAGE)
        data += after[PAGE + at:PAGE + at + PAGE]
    size = (40 + len(references) + len(data) + 511) // 512 * 512
    head = struct.pack("<4sIIIII", b"HvLE", size, struct.unpack_from("<I", after, 144)[0], sequence,
                       len(after) - PAGE, len(pages))
    body = (references + data).ljust(size - 40, b"\0")
    head += struct.pack("<Q", marvin32(body))
    return head + struct.pack("<Q", marvin32(head)) + body


def log_hvle(states, sequence):
    """The log as Windows 8.1 and later write it: an entry for each step from one of STATES (hives
    that follow each other) to the next, numbered from SEQUENCE on."""
    entries = b"".join(_hvle(states[step], states[step + 1], sequence + step)
                       for step in range(len(states) - 1))
    return _log_header(states[-1], 6, sequence) + entries
