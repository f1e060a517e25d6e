# SPDX-License-Identifier: GPL-2.0-or-later
"""Volumes and disks that hyper2kvm must recognize, and not write: ReFS, Storage Spaces and dynamic
disks. Enough of each to be recognized by its signatures and by its first structures; there is
nothing behind them.

After: Microsoft's ReFS boot sector; the LDM documentation of the Linux kernel.
"""
import struct

from system_hive import guid_bytes


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
