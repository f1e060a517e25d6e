# SPDX-License-Identifier: GPL-2.0-or-later
"""Volumes and disks that hyper2kvm must recognize, and not write: BitLocker, ReFS, Storage Spaces
and dynamic disks. Enough of each to be recognized by its signatures and by its first structures;
there is nothing behind them.

After: Microsoft's ReFS boot sector; "BitLocker Drive Encryption (BDE) format" of the libbde
project; the LDM documentation of the Linux kernel.
"""
import hashlib
import struct

from system_hive import guid_bytes

BITLOCKER_ID = "{4967d63b-2e29-4ad8-8399-f6a339e3d001}"
PROTECTIONS = {"clear-key": 0x0000, "tpm": 0x0100, "recovery": 0x0800, "password": 0x2000}


def noise(label, size):
    """SIZE bytes that look encrypted, the same for the same LABEL."""
    return hashlib.shake_256(label.encode()).digest(size)


def _entry(kind, value, data):
    return struct.pack("<HHHH", 8 + len(data), kind, value, 1) + data


def _metadata(g, offsets, size, protections):
    """A block of metadata: -FVE-FS-, where its copies are, the volume's keys."""
    entries = _entry(7, 2, ("%s %s: 11/14/2023" % (g.hostname, g.letter)).encode("utf-16-le") +
                     b"\0\0")
    for name in protections:
        key = guid_bytes(g.guid("protector " + name)) + struct.pack("<QHH", g.time, 0,
                                                                   PROTECTIONS[name])
        if name == "clear-key":
            key += _entry(0, 1, struct.pack("<I", 0x2000) + noise(g.seed + name, 32))
        key += _entry(0, 5, struct.pack("<QI", g.time, 1) + noise(g.seed + name + "key", 60))
        entries += _entry(2, 8, key)
    entries += _entry(3, 5, struct.pack("<QI", g.time, 2) + noise(g.seed + "volume key", 60))
    header = struct.pack("<IIII16sIHHQ", 48 + len(entries), 1, 48, 48 + len(entries),
                         guid_bytes(g.guid("bitlocker")), 3, 0x8004, 0, g.time)
    block = struct.pack("<8sHHHHQII", b"-FVE-FS-", 4, 2, 4, 4, size, 0, 16)
    block += struct.pack("<QQQQ", *offsets, 0)
    return (block + header + entries).ljust(65536, b"\0")


def bitlocker(g, image, size, how):
    """Makes the open IMAGE of SIZE bytes look as BitLocker of Windows 7 and later leaves it."""
    protections = ["clear-key"] if how == "clear-key" else ["tpm", "recovery"]
    offsets = [0x2100000, 0x4100000, 0x6100000]
    boot = bytearray(512)
    struct.pack_into("<3s8sHB", boot, 0, b"\xeb\x58\x90", b"-FVE-FS-", 512, 8)
    struct.pack_into("<BHHI", boot, 21, 0xF8, 63, 255, g.partition("windows").start)
    boot[0x40:0x4C] = b"\x80\0)\0\0\0\0NO NA"
    boot[0xA0:0xB0] = guid_bytes(BITLOCKER_ID)
    struct.pack_into("<QQQ", boot, 0xB0, *offsets)
    boot[510:512] = b"\x55\xaa"
    image.truncate(size)
    image.seek(0)
    image.write(boot + noise(g.seed + " bitlocker", 1 << 20))
    for offset in offsets:
        image.seek(offset)
        image.write(_metadata(g, offsets, size, protections))


def refs(g, image, size):
    """A ReFS 3.x boot sector: the name, FSRS, and the sizes."""
    boot = bytearray(512)
    boot[3:11] = b"ReFS\0\0\0\0"
    struct.pack_into("<4sHHQIIBB", boot, 16, b"FSRS", 512, 0, size // 512, 512, 8,
                     3, 4 if g.build < 20000 else 7)
    total = 0
    for at in range(3, 512):
        if at not in (22, 23):
            total = ((total >> 1 | total << 15) + boot[at]) & 0xFFFF
    struct.pack_into("<H", boot, 22, total)
    struct.pack_into("<Q", boot, 56, g.number("refs", 64))
    image.truncate(size)
    image.seek(0)
    image.write(boot)
    image.seek(size - 512)
    image.write(boot)
    image.seek(0x1E000)
    image.write(b"SUPB" + bytes(508))


def storage_spaces(g, image, size):
    """The head of a member of a pool: the record SPACEDB, with the pool's and the disk's GUID."""
    image.truncate(size)
    record = b"SPACEDB " + struct.pack("<II", 0x01000000, 0) + guid_bytes(g.guid("pool")) + \
        guid_bytes(g.guid("member"))
    image.seek(4096)
    image.write(record.ljust(512, b"\0"))
    image.seek(8192)
    image.write(b"SDBC    ".ljust(8) + guid_bytes(g.guid("pool")) + bytes(488))


def _private_header(g, size):
    """PRIVHEAD: the disk's and the disk group's identity, and where the database is. Big-endian,
    as all of LDM."""
    sectors = size // 512
    block = bytearray(512)
    block[0:8] = b"PRIVHEAD"
    struct.pack_into(">IHHQQQ", block, 8, 0, 2, 12, g.time, 0, 0)
    block[0x30:0x70] = g.guid("dynamic disk").strip("{}").encode().ljust(64, b"\0")
    block[0x70:0xB0] = g.guid("dynamic host").strip("{}").encode().ljust(64, b"\0")
    block[0xB0:0xF0] = g.guid("dynamic group").strip("{}").encode().ljust(64, b"\0")
    block[0xF0:0x110] = b"%s-Dg0" % g.hostname.encode()[:20] + bytes(26 - len(g.hostname[:20]))
    struct.pack_into(">QQQQ", block, 0x11B, 63, sectors - 2048 - 63, sectors - 2048, 2048)
    return bytes(block)


def _table_of_contents(number):
    block = bytearray(512)
    block[0:8] = b"TOCBLOCK"
    struct.pack_into(">IIQ", block, 8, 0, 0, number)
    block[0x24:0x2C] = b"config\0\0"
    struct.pack_into(">QQ", block, 0x2E, 17, 1481)
    block[0x46:0x4E] = b"log\0\0\0\0\0"
    struct.pack_into(">QQ", block, 0x50, 1498, 224)
    return bytes(block)


def dynamic_disk(g, disk):
    """Writes what makes the open DISK a dynamic one: three headers and the database in the last
    MiB of an MBR disk, or in the LDM metadata partition of a GPT disk."""
    meta = g.partition("ldm")
    base = meta.start if meta else g.size // 512 - 2048
    header = _private_header(g, g.size)
    places = {base + 1856: header, base + 2047: header, base + 1: _table_of_contents(1),
              base + 2: _table_of_contents(2), base + 2045: _table_of_contents(1),
              base + 2046: _table_of_contents(2)}
    if not meta:
        places[6] = header
    database = bytearray(512)
    database[0:4] = b"VMDB"
    struct.pack_into(">IIIHHH", database, 4, 4, 128, 512, 1, 4, 10)
    places[base + 17] = bytes(database)
    block = b"VBLK" + struct.pack(">III", 1, 1, 0x10000)
    places[base + 18] = (block.ljust(128, b"\0")) * 4
    for sector, data in places.items():
        disk.seek(sector * 512)
        disk.write(data)
