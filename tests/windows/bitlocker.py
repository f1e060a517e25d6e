# SPDX-License-Identifier: GPL-2.0-or-later
"""Makes a BitLocker volume of a plain one, as Windows Vista or Windows 7 and later leave it.

After: "BitLocker Drive Encryption (BDE) format" of the libbde project, dislocker's structures, and
N. Ferguson's paper on the diffuser. AES is libgcrypt's, through ctypes. Shares no code with the
reader in src/volume; dislocker and libbde read what it makes.
"""
import array
import binascii
import ctypes
import ctypes.util
import hashlib
import os
import struct
import uuid

# name: (number, bits, XTS, diffuser)
METHODS = {
    "cbc-128-diffuser": (0x8000, 128, False, True),
    "cbc-256-diffuser": (0x8001, 256, False, True),
    "cbc-128": (0x8002, 128, False, False),
    "cbc-256": (0x8003, 256, False, False),
    "xts-128": (0x8004, 128, True, False),
    "xts-256": (0x8005, 256, True, False),
}
PROTECTORS = {"clear-key": 0x0000, "tpm": 0x0100, "recovery": 0x0800, "password": 0x2000}
IDENTIFIER = uuid.UUID("4967d63b-2e29-4ad8-8399-f6a339e3d001").bytes_le
# The files that keep NTFS from using the places of the metadata, and that of the first sectors.
FILES = ["FVE2.{e40ad34d-dae9-4bc7-95bd-b16218c10f72}.%d" % n for n in (1, 2, 3)] + \
    ["FVE2.{24e6f0ae-6a00-4f73-984b-75ce9942852d}"]
FILES_VISTA = ["FVE.{c9ca54a3-6983-46b7-8684-a7e5e23499e3}.%d" % n for n in (1, 2, 3)]
FOLDER = "System Volume Information"
RECOVERY = "471207-278498-422125-177177-561902-537405-468006-693451"
PASSWORD = "pass phrase \u00e4\u4e16"
PIECE = 1 << 20


def noise(label, size):
    """SIZE bytes that look like chance, the same for the same LABEL."""
    return hashlib.shake_256(label.encode()).digest(size)


class Cipher:
    """AES of libgcrypt."""
    ECB, CBC, CCM, XTS = 1, 3, 8, 13
    CCM_LENGTHS = 69
    _library = None

    def __init__(self, mode, bits, key):
        if not Cipher._library:
            Cipher._library = ctypes.CDLL(ctypes.util.find_library("gcrypt") or "libgcrypt.so.20")
            Cipher._library.gcry_check_version(None)
        self.lib, self.handle = Cipher._library, ctypes.c_void_p()
        self._check(self.lib.gcry_cipher_open(ctypes.byref(self.handle), 7 if bits == 128 else 9,
                                              mode, 0))
        self._check(self.lib.gcry_cipher_setkey(self.handle, key, ctypes.c_size_t(len(key))))

    @staticmethod
    def _check(error):
        if error:
            raise RuntimeError("libgcrypt: error %d" % (error & 0xFFFF))

    def __del__(self):
        self.lib.gcry_cipher_close(self.handle)

    def iv(self, iv):
        self._check(self.lib.gcry_cipher_setiv(self.handle, iv, ctypes.c_size_t(len(iv))))

    def into(self, buffer, offset, size):
        """Encrypts SIZE bytes of the ctypes BUFFER from OFFSET on, in place."""
        self._check(self.lib.gcry_cipher_encrypt(
            self.handle, ctypes.byref(buffer, offset), ctypes.c_size_t(size), None,
            ctypes.c_size_t(0)))

    def encrypt(self, data):
        buffer = ctypes.create_string_buffer(data, len(data))
        self.into(buffer, 0, len(data))
        return buffer.raw

    def seal(self, nonce, data):
        """CCM: the MAC and what is encrypted."""
        self.iv(nonce)
        lengths = (ctypes.c_uint64 * 3)(len(data), 0, 16)
        self._check(self.lib.gcry_cipher_ctl(self.handle, self.CCM_LENGTHS, lengths,
                                             ctypes.c_size_t(24)))
        sealed, mac = self.encrypt(data), ctypes.create_string_buffer(16)
        self._check(self.lib.gcry_cipher_gettag(self.handle, mac, ctypes.c_size_t(16)))
        return mac.raw + sealed


# --- the diffuser -------------------------------------------------------------------------------

class Lanes:
    """Word i of many sectors at once, as one long number: 64 bits for each sector's 32."""

    def __init__(self, data, sector):
        words = array.array("I", data)
        self.words, self.count = sector // 4, len(data) // sector
        self.mask = int.from_bytes(b"\xff\xff\xff\xff\0\0\0\0" * self.count, "little")
        self.carry = int.from_bytes(b"\0\0\0\0\1\0\0\0" * self.count, "little")
        self.lanes = [int.from_bytes(array.array("Q", words[i::self.words]).tobytes(), "little")
                      for i in range(self.words)]

    def turned(self, number, bits):
        value = self.lanes[number]
        return (value << bits | value >> 32 - bits) & self.mask if bits else value

    def undo(self, rounds, step, turns):
        """The paper's encryption: its decryption, backwards. STEP is -1 for A, 1 for B."""
        n = self.words
        for i in reversed(range(n * rounds)):
            other = self.lanes[(i + 2 * step) % n] ^ self.turned((i + 5 * step) % n, turns[i % 4])
            self.lanes[i % n] = (self.lanes[i % n] + self.carry - other) & self.mask

    def data(self):
        words = array.array("I", bytes(4 * self.words * self.count))
        for i, lane in enumerate(self.lanes):
            wide = array.array("Q", lane.to_bytes(8 * self.count, "little"))
            words[i::self.words] = array.array("I", wide)
        return words.tobytes()


def diffused(data, sector):
    lanes = Lanes(data, sector)
    lanes.undo(5, -1, (9, 0, 13, 0))
    lanes.undo(3, 1, (0, 10, 0, 25))
    return lanes.data()


# --- sectors ------------------------------------------------------------------------------------

class Sectors:
    def __init__(self, method, fvek, sector):
        _, bits, self.xts, self.diffuser = METHODS[method]
        size, self.sector = bits // 8, sector
        self.data = Cipher(Cipher.XTS if self.xts else Cipher.CBC, bits,
                           fvek[:2 * size if self.xts else size])
        self.number = Cipher(Cipher.ECB, bits, fvek[:size])
        self.tweak = Cipher(Cipher.ECB, bits, fvek[32:32 + size]) if self.diffuser else None

    def encrypt(self, data, offset):
        """DATA, whole sectors, for OFFSET of the volume."""
        at = range(offset, offset + len(data), self.sector)
        if self.xts:
            ivs = b"".join(struct.pack("<QQ", place // self.sector, 0) for place in at)
        else:
            ivs = self.number.encrypt(b"".join(struct.pack("<QQ", place, 0) for place in at))
        if self.diffuser:
            keys = self.tweak.encrypt(b"".join(struct.pack("<QQQQ", place, 0, place, 0x80 << 56)
                                               for place in at))
            keys = b"".join(keys[i:i + 32] * (self.sector // 32) for i in range(0, len(keys), 32))
            mixed = int.from_bytes(data, "little") ^ int.from_bytes(keys, "little")
            data = diffused(mixed.to_bytes(len(data), "little"), self.sector)
        buffer = ctypes.create_string_buffer(data, len(data))
        for i, start in enumerate(range(0, len(data), self.sector)):
            self.data.iv(ivs[16 * i:16 * i + 16])
            self.data.into(buffer, start, self.sector)
        return buffer.raw


# --- metadata -----------------------------------------------------------------------------------

def entry(kind, value, data):
    return struct.pack("<HHHH", 8 + len(data), kind, value, 1) + data


def stretched(first, salt):
    """What a password or a recovery password is made into: SHA-256, a million times."""
    last = bytes(32)
    for count in range(0x100000):
        last = hashlib.sha256(last + first + salt + struct.pack("<Q", count)).digest()
    return last


class Keys:
    """A volume's keys and their entries, all of them made of SEED."""

    def __init__(self, seed, method, time):
        self.seed, self.time, self.nonces = seed, time, 1
        self.number = METHODS[method][0]
        self.vmk = noise(seed + " vmk", 32)
        _, bits, xts, diffuser = METHODS[method]
        if diffuser:
            # Each half has room for the longest key.
            parts = [noise(seed + part, bits // 8).ljust(32, b"\0") for part in (" fvek", " tweak")]
            self.fvek = b"".join(parts)
        else:
            self.fvek = noise(seed + " fvek", bits // 8 * (2 if xts else 1))

    def guid(self, label):
        return noise(self.seed + " guid " + label, 16)

    def sealed(self, kind, key, method, secret):
        """An entry with SECRET, a key for METHOD, encrypted with KEY."""
        nonce = struct.pack("<QI", self.time, self.nonces)
        self.nonces += 1
        data = struct.pack("<IHHI", 12 + len(secret), 1, 0, method) + secret
        return entry(kind, 5, nonce + Cipher(Cipher.CCM, 256, key).seal(nonce, data))

    def _stretch(self, name, first):
        salt = noise(self.seed + " salt " + name, 16)
        key = stretched(first, salt)
        return entry(0, 3, struct.pack("<I", 0x1000) + salt +
                     self.sealed(0, self.vmk, 0x2002, key)) + \
            self.sealed(0, key, 0x2003, self.vmk)

    def protector(self, name):
        """An entry with the VMK as the protector NAME has it."""
        head = self.guid(name) + struct.pack("<QHH", self.time, 0, PROTECTORS[name])
        if name == "clear-key":
            key = noise(self.seed + " clear key", 32)
            body = entry(0, 1, struct.pack("<I", 0x2000) + key) + \
                self.sealed(0, key, 0x2003, self.vmk)
        elif name == "recovery":
            parts = b"".join(struct.pack("<H", int(part) // 11) for part in RECOVERY.split("-"))
            body = entry(0, 2, "DiskPassword\0".encode("utf-16-le")) + \
                self._stretch(name, hashlib.sha256(parts).digest())
        elif name == "password":
            first = hashlib.sha256(PASSWORD.encode("utf-16-le")).digest()
            body = self._stretch(name, hashlib.sha256(first).digest())
        else:
            # What a TPM sealed: nobody else reads it.
            body = entry(0, 2, "TPM\0".encode("utf-16-le")) + \
                entry(0, 6, struct.pack("<I", 0x815) + noise(self.seed + " tpm", 340)) + \
                self.sealed(0, noise(self.seed + " sealed", 32), 0x2003, self.vmk)
        return entry(2, 8, head + body)


class Volume:
    """What the metadata of a volume say, to be changed before they are written."""

    def __init__(self, size, places, method="xts-128", protectors=("clear-key",), vista=False,
                 seed="0", sector=512, time=0x01DA166B2E9A8000, label="VOLUME"):
        self.size, self.places, self.vista, self.sector = size, places, vista, sector
        self.states, self.encrypted = (4, 4), size
        self.header_size, self.mft_mirror = 8192, 0
        self.keys = Keys(seed, method, time)
        self.sectors = Sectors(method, self.keys.fvek, sector)
        self.protectors, self.label, self.time = protectors, label, time
        self.metadata_size = 16384 if vista else 65536

    def block(self):
        """A copy of the metadata with its checksums."""
        entries = entry(7, 2, (self.label + " C: 11/14/2023\0").encode("utf-16-le"))
        for name in self.protectors:
            entries += self.keys.protector(name)
        entries += self.keys.sealed(3, self.keys.vmk, self.keys.number, self.keys.fvek)
        if not self.vista:
            entries += entry(15, 15, struct.pack("<QQ", self.places[3], self.header_size))
        data = struct.pack("<IIII16sIHHQ", 48 + len(entries), 1, 48, 48 + len(entries),
                           self.keys.guid("volume"), 64, self.keys.number, 0, self.time) + entries
        length = 64 + len(data) if self.vista else (64 + len(data) + 15) // 16 * 16
        block = struct.pack("<8sHHHH", b"-FVE-FS-", length if self.vista else length // 16,
                            1 if self.vista else 2, *self.states)
        if self.vista:
            block += bytes(16) + struct.pack("<QQQQ", *self.places[:3], self.mft_mirror)
        else:
            block += struct.pack("<QIIQQQQ", self.encrypted, 0, self.header_size // self.sector,
                                 *self.places)
        block = (block + data).ljust(length, b"\0")
        # The digest is for who has the key.
        digest = self.keys.sealed(0, self.keys.vmk, 0x2005, hashlib.sha256(block).digest())
        check = struct.pack("<HHI", 8 + len(digest), 2, binascii.crc32(block)) + digest
        return (block + check).ljust(self.metadata_size, b"\0")

    def boot(self, plain):
        """The first sectors, of which PLAIN are the filesystem's."""
        if self.vista:
            return self.vista_boot(plain)
        boot = bytearray(noise(self.keys.seed + " boot", self.header_size))
        struct.pack_into("<3s8sHB", boot, 0, b"\xeb\x58\x90", b"-FVE-FS-", self.sector, 8)
        boot[14:0xA0] = bytes(0xA0 - 14)
        struct.pack_into("<BHHHI", boot, 21, 0xF8, 0, 63, 255, 2048)
        struct.pack_into("<I", boot, 36, 0x1FE0)
        struct.pack_into("<HH", boot, 48, 1, 6)
        boot[64:90] = b"\x80\0)\0\0\0\0NO NAME    FAT32   "
        boot[0xA0:0xB0] = IDENTIFIER
        struct.pack_into("<QQQ", boot, 0xB0, *self.places[:3])
        boot[510:512] = b"\x55\xaa"
        return bytes(boot)

    def vista_boot(self, plain):
        boot = bytearray(plain)
        cluster = struct.unpack_from("<H", boot, 11)[0] * boot[13]
        boot[3:11] = b"-FVE-FS-"
        struct.pack_into("<Q", boot, 56, self.places[0] // cluster)
        return bytes(boot)

    def hidden(self, data, offset):
        """DATA for OFFSET of the volume, encrypted as far as the volume is."""
        cut = max(0, min(len(data), self.encrypted - offset))
        return self.sectors.encrypt(data[:cut], offset) + data[cut:] if cut else data

    def shown(self, data, offset):
        """What a reader shows of DATA at OFFSET: the places of the metadata are zeros."""
        data = bytearray(data)
        for i, place in enumerate(self.places):
            start = max(place, offset)
            end = min(place + (self.header_size if i == 3 else self.metadata_size),
                      offset + len(data))
            if start < end:
                data[start - offset:end - offset] = bytes(end - start)
        return bytes(data)


def pieces(image, everything):
    """(offset, length) of what IMAGE has, or of all of it."""
    end, at = image.seek(0, os.SEEK_END), 0
    while at < end:
        stop = end
        if not everything:
            try:
                at = os.lseek(image.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            stop = os.lseek(image.fileno(), at, os.SEEK_HOLE)
            at, stop = at // 4096 * 4096, min((stop + 4095) // 4096 * 4096, end)
        while at < stop:
            yield at, min(PIECE, stop - at)
            at += PIECE
        at = stop


def encrypt(source, target, volume, everything=True, shown=None):
    """Writes the plain SOURCE into TARGET, a new file, encrypted as VOLUME says. Without EVERYTHING,
    what nobody wrote stays zeros, as with used space only. SHOWN gets what a reader shows."""
    first = source.read(volume.header_size)
    if volume.vista:
        volume.mft_mirror = struct.unpack_from("<Q", first, 56)[0]
        sectors = struct.unpack_from("<Q", first, 40)[0]
    target.truncate(volume.size)
    for offset, length in pieces(source, everything):
        source.seek(offset)
        data = source.read(length)
        visible = volume.shown(data, offset)
        target.seek(offset)
        target.write(volume.hidden(visible, offset))
        if shown:
            shown.truncate(volume.size)
            shown.seek(offset)
            shown.write(visible)
    if not volume.vista:
        moved = volume.places[3]
        target.seek(moved)
        target.write(volume.hidden(first, moved))
    target.seek(0)
    target.write(volume.boot(first))
    if volume.vista and sectors < volume.size // volume.sector:
        source.seek(sectors * volume.sector)
        target.seek(sectors * volume.sector)
        target.write(volume.vista_boot(source.read(volume.sector)))
    block = volume.block()
    for place in volume.places[:3]:
        target.seek(place)
        target.write(block)


# --- NTFS ---------------------------------------------------------------------------------------

def files(seed, vista=False):
    """{path: content} of the files that keep NTFS away from the metadata; find() needs them."""
    names = FILES_VISTA if vista else FILES
    sizes = [16384] * 3 if vista else [65536] * 3 + [8192]
    return {FOLDER + "\\" + name: noise("%s %s" % (seed, name), size)
            for name, size in zip(names, sizes)}


def find(path, contents):
    """Where the NTFS volume PATH has the files of files(): each of them in one piece."""
    places = {}
    with open(path, "rb") as image:
        for offset, length in pieces(image, False):
            image.seek(offset)
            data = image.read(length)
            for name, content in contents.items():
                at = data.find(content[:512])
                if at >= 0:
                    places[name] = offset + at
        for name, content in contents.items():
            if name not in places:
                raise RuntimeError("%s is not to be found on the volume" % name)
            image.seek(places[name])
            if image.read(len(content)) != content:
                raise RuntimeError("%s lies in pieces" % name)
    return [places[name] for name in contents]
