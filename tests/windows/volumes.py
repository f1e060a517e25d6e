# SPDX-License-Identifier: GPL-2.0-or-later
"""Filesystems and partition tables of synthetic guests, in image files and without root.

NTFS is made by mkntfs and filled through libntfs-3g, FAT by mkfs.vfat and mtools, partition tables
by sfdisk. Nothing is mounted. All times are set to one time, so that the same guest is the same
image again.
"""
import ctypes
import ctypes.util
import os
import stat
import struct
import subprocess
import time

DATA = 0x80
HIDDEN, SYSTEM_FILE, READ_ONLY = 2, 4, 1
UNIX_EPOCH = 0x019DB1DED53E8000  # 1970 as a FILETIME


def filetime(unix):
    return unix * 10000000 + UNIX_EPOCH


def run(argv, text=None, env=None):
    """Runs a tool quietly; what it said is the error if it fails."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    done = subprocess.run(argv, input=text, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, env={**os.environ, "PATH": path,
                                                         "LC_ALL": "C", **(env or {})})
    if done.returncode:
        raise RuntimeError("%s: %s" % (" ".join(argv), done.stdout.strip()))
    return done.stdout


class Size:
    """Stands for a file's content: so many bytes, allocated, with START at the beginning."""

    def __init__(self, size, start=b""):
        self.size, self.start = size, start


class Junction:
    def __init__(self, target):
        self.target = target


def junction_data(target):
    """The reparse data of a junction to TARGET, as C:\\Users."""
    substitute, shown = ("\\??\\" + target).encode("utf-16-le"), target.encode("utf-16-le")
    body = struct.pack("<HHHH", 0, len(substitute), len(substitute) + 2, len(shown))
    body += substitute + b"\0\0" + shown + b"\0\0"
    return struct.pack("<IHH", 0xA0000003, len(body), 0) + body


class Tree:
    """Files by path (with backslashes), told apart without regard to case."""

    def __init__(self):
        self.files, self.names, self.attributes = {"": {}}, {"": ""}, {}

    def _folder(self, path):
        key = path.upper()
        if key not in self.files:
            above, _, name = path.rpartition("\\")
            self._folder(above)[name.upper()] = name
            self.files[key], self.names[key] = {}, path
        return self.files[key]

    def folder(self, path, attributes=0):
        self._folder(path)
        self.attributes[path.upper()] = attributes

    def add(self, path, content, attributes=0):
        above, _, name = path.rpartition("\\")
        self._folder(above)[name.upper()] = name
        self.files[path.upper()], self.names[path.upper()] = content, path
        self.attributes[path.upper()] = attributes

    def children(self, path):
        below = self.files[path.upper()]
        for key in sorted(below):
            yield below[key], (path + "\\" if path else "") + below[key]

    def paths(self):
        return sorted(self.names[key] for key in self.files if key)


def short_names(tree):
    """(path, 8.3 name) of everything: Windows gives each name a short one, which is the name
    itself where it fits. Without, names would be of the POSIX kind, as Windows never makes them."""
    for folder in [""] + tree.paths():
        if not isinstance(tree.files[folder.upper()], dict):
            continue
        taken = set()
        for name, path in tree.children(folder):
            stem, _, extension = name.rpartition(".") if "." in name[1:] else (name, "", "")
            allowed = "".join(letter for letter in name.upper()
                              if letter.isalnum() or letter in "$%'-_@~`!(){}^#&.")
            if allowed == name.upper() and name.count(".") <= 1 and len(stem) <= 8 and \
                    len(extension) <= 3:
                yield path, name
                continue
            keep = [letter for letter in stem.upper() if letter.isalnum() or letter in "$-_()"]
            number = 1
            while True:
                tail = "~%d" % number
                short = "".join(keep)[:8 - len(tail)] + tail
                short += "." + extension.upper()[:3] if extension else ""
                if short not in taken:
                    break
                number += 1
            taken.add(short)
            yield path, short


class _Library:
    """The functions of libntfs-3g that are needed; each raises what errno says."""

    def __init__(self):
        name = ctypes.util.find_library("ntfs-3g")
        if not name:
            raise RuntimeError("libntfs-3g is not installed (package libntfs-3g89 or ntfs-3g)")
        self.lib = ctypes.CDLL(name, use_errno=True)
        pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
        for function, result, arguments in (
                ("ntfs_mount", pointer, [text, ctypes.c_ulong]),
                ("ntfs_umount", ctypes.c_int, [pointer, ctypes.c_int]),
                ("ntfs_pathname_to_inode", pointer, [pointer, pointer, text]),
                ("ntfs_create", pointer, [pointer, ctypes.c_uint32, text, ctypes.c_uint8,
                                          ctypes.c_uint32]),
                ("ntfs_inode_close", ctypes.c_int, [pointer]),
                ("ntfs_inode_close_in_dir", ctypes.c_int, [pointer, pointer]),
                ("ntfs_attr_open", pointer, [pointer, ctypes.c_uint32, pointer, ctypes.c_uint32]),
                ("ntfs_attr_close", None, [pointer]),
                ("ntfs_attr_pwrite", ctypes.c_int64, [pointer, ctypes.c_int64, ctypes.c_int64,
                                                      text]),
                ("ntfs_attr_truncate_solid", ctypes.c_int, [pointer, ctypes.c_int64]),
                ("ntfs_set_ntfs_attrib", ctypes.c_int, [pointer, text, size, ctypes.c_int]),
                ("ntfs_set_ntfs_reparse_data", ctypes.c_int, [pointer, text, size, ctypes.c_int]),
                ("ntfs_set_ntfs_dos_name", ctypes.c_int, [pointer, pointer, text, size,
                                                          ctypes.c_int]),
                ("ntfs_volume_write_flags", ctypes.c_int, [pointer, ctypes.c_uint16])):
            found = getattr(self.lib, function)
            found.restype, found.argtypes = result, arguments
        self.unnamed = ctypes.addressof(ctypes.c_char.in_dll(self.lib, "AT_UNNAMED"))

    def call(self, name, *arguments):
        result = getattr(self.lib, name)(*arguments)
        if result is None and name not in ("ntfs_attr_close",) or \
                isinstance(result, int) and result < 0:
            error = ctypes.get_errno()
            raise RuntimeError("%s: %s" % (name, os.strerror(error)))
        return result


class Ntfs:
    """An NTFS volume in the image file PATH, as `with Ntfs(...) as volume`."""

    def __init__(self, path):
        self.path, self.library = path, _Library()

    def __enter__(self):
        self.volume = self.library.call("ntfs_mount", self.path.encode(), 0)
        return self

    def __exit__(self, *error):
        self.library.call("ntfs_umount", self.volume, 1 if error[0] else 0)

    def flags(self, flags):
        """Sets the flags of $Volume: 1 is dirty."""
        self.library.call("ntfs_volume_write_flags", self.volume, flags)

    def _open(self, path):
        return self.library.call("ntfs_pathname_to_inode", self.volume, None,
                                 ("/" + path.replace("\\", "/")).encode())

    def fill(self, tree):
        root = self._open("")
        self._fill(root, tree, "")
        self.library.call("ntfs_inode_close", root)
        for path, short in short_names(tree):
            above = path.rpartition("\\")[0]
            # This closes both, also when it fails.
            self.library.call("ntfs_set_ntfs_dos_name", self._open(path), self._open(above),
                              short.encode(), len(short), 0)

    def _create(self, parent, name, mode):
        stored = name.encode("utf-16-le")
        return self.library.call("ntfs_create", parent, 0, stored, len(stored) // 2, mode)

    def _fill(self, parent, tree, path):
        for name, below in tree.children(path):
            content = tree.files[below.upper()]
            is_folder = isinstance(content, (dict, Junction))
            node = self._create(parent, name, stat.S_IFDIR if is_folder else stat.S_IFREG)
            if isinstance(content, Junction):
                data = junction_data(content.target)
                self.library.call("ntfs_set_ntfs_reparse_data", node, data, len(data), 0)
            elif is_folder:
                self._fill(node, tree, below)
            elif content:
                self._write(node, content)
            attributes = tree.attributes.get(below.upper(), 0)
            if attributes:
                self.library.call("ntfs_set_ntfs_attrib", node, struct.pack("<I", attributes), 4, 0)
            self.library.call("ntfs_inode_close_in_dir", node, parent)

    def _write(self, node, content):
        data = self.library.call("ntfs_attr_open", node, DATA, self.library.unnamed, 0)
        start = content.start if isinstance(content, Size) else content
        if isinstance(content, Size):
            self.library.call("ntfs_attr_truncate_solid", data, content.size)
        if start:
            written = self.library.call("ntfs_attr_pwrite", data, 0, len(start), start)
            if written != len(start):
                raise RuntimeError("the NTFS volume is full")
        self.library.call("ntfs_attr_close", data)


def _records(image):
    """(offset, size) of what may be an MFT record or an index block, where there is data."""
    end = image.seek(0, os.SEEK_END)
    at = 0
    while at < end:
        try:
            start = os.lseek(image.fileno(), at, os.SEEK_DATA)
        except OSError:
            return
        stop = os.lseek(image.fileno(), start, os.SEEK_HOLE)
        for offset in range(start // 1024 * 1024, stop, 1024):
            image.seek(offset)
            magic = image.read(4)
            if magic == b"FILE":
                yield offset, 1024
            elif magic == b"INDX" and offset % 4096 == 0:
                yield offset, 4096
        at = stop


def _one_time(image, first, last, wanted):
    """Replaces each time from FIRST to LAST in the volume's metadata by WANTED."""
    for offset, size in list(_records(image)):
        image.seek(offset)
        record = bytearray(image.read(size))
        array, count = struct.unpack_from("<HH", record, 4)
        if count != size // 512 + 1 or array + 2 * count > size:
            continue
        # The last two bytes of each sector are kept in the update sequence array.
        for sector in range(1, count):
            record[sector * 512 - 2:sector * 512] = record[array + 2 * sector:array + 2 * sector + 2]
        for at in range(array + 2 * count + 7 & ~7, size, 8):
            if first <= struct.unpack_from("<Q", record, at)[0] <= last:
                struct.pack_into("<Q", record, at, wanted)
        for sector in range(1, count):
            record[array + 2 * sector:array + 2 * sector + 2] = record[sector * 512 - 2:sector * 512]
            record[sector * 512 - 2:sector * 512] = record[array:array + 2]
        image.seek(offset)
        image.write(record)


def ntfs(path, size, tree, label, start, serial, when, heads=255, dirty_flag=False):
    """Makes an NTFS volume of SIZE bytes in PATH that begins at sector START of its disk.

    SERIAL is 64 bits; WHEN the unix time that everything has.
    """
    begin = filetime(int(time.time()) - 2)
    with open(path, "wb") as image:
        image.truncate(size)
    run(["mkntfs", "-q", "-F", "-Q", "-s", "512", "-c", "4096", "-p", str(start), "-H", str(heads),
         "-S", "63", "-L", label, path])
    with Ntfs(path) as volume:
        volume.fill(tree)
        if dirty_flag:
            volume.flags(1)
    with open(path, "r+b", buffering=0) as image:
        end = filetime(int(time.time()) + 2)
        _one_time(image, begin, end, filetime(when))
        for sector in (0, size // 512 - 1):
            image.seek(sector * 512)
            if image.read(11)[3:11] == b"NTFS    ":
                image.seek(sector * 512 + 0x48)
                image.write(struct.pack("<Q", serial))


def ntfs_geometry(path):
    """(sectors a track, heads, hidden sectors) that the boot sector of PATH names."""
    with open(path, "rb") as image:
        return struct.unpack_from("<HHI", image.read(512), 0x18)


def dirty_log(path):
    """Leaves the log of the NTFS volume in PATH as Windows leaves it when its power goes.

    $LogFile is found through its MFT record (number 2); its restart page then says that a client
    has the log open, without the flag of a clean volume.
    """
    with open(path, "r+b") as image:
        boot = image.read(512)
        sector, per_cluster = struct.unpack_from("<HB", boot, 11)
        cluster = sector * per_cluster
        image.seek(struct.unpack_from("<Q", boot, 48)[0] * cluster + 2 * 1024)
        record = image.read(1024)
        at = struct.unpack_from("<H", record, 20)[0]
        while struct.unpack_from("<I", record, at)[0] != DATA:
            at += struct.unpack_from("<I", record, at + 4)[0]
        log_size = struct.unpack_from("<Q", record, at + 48)[0]
        runs = at + struct.unpack_from("<H", record, at + 32)[0]
        lengths, offsets = record[runs] & 15, record[runs] >> 4
        first = int.from_bytes(record[runs + 1 + lengths:runs + 1 + lengths + offsets], "little")
        page = _restart_page(log_size)
        for number in range(2):
            image.seek(first * cluster + number * 4096)
            image.write(page)


def _restart_page(log_size):
    """A restart page (RSTR): its area at 0x30, one client, in use, and the volume not clean."""
    page = bytearray(4096)
    struct.pack_into("<4sHHQIIHhH", page, 0, b"RSTR", 30, 9, 0, 4096, 4096, 0x30, 1, 1)
    sequence_bits = 67 - log_size.bit_length()
    area, clients = 0x30, 0x40
    struct.pack_into("<QHHHHIHHQIHH", page, area, 0x100400, 1, 0xFFFF, 0, 0, sequence_bits,
                     clients + 160, clients, log_size, 0, 0x30, 0x40)
    struct.pack_into("<I", page, area + 0x28, 1)
    struct.pack_into("<QQHHHHII", page, area + clients, 0x100400, 0x100400, 0xFFFF, 0xFFFF, 0, 0, 0,
                     8)
    page[area + clients + 32:area + clients + 40] = "NTFS".encode("utf-16-le")
    struct.pack_into("<H", page, 30, 1)
    for number in range(1, 9):
        struct.pack_into("<H", page, 30 + 2 * number, 0)
        struct.pack_into("<H", page, number * 512 - 2, 1)
    return bytes(page)


def fat(path, size, tree, label, start, serial, when, folder):
    """Makes a FAT32 volume of SIZE bytes; FOLDER is an empty one for what goes in."""
    with open(path, "wb") as image:
        image.truncate(size)
    run(["mkfs.vfat", "--invariant", "-F", "32", "-S", "512", "-s", "1", "-h", str(start), "-n",
         label, "-i", "%08x" % serial, path])
    for name in tree.paths():
        content, target = tree.files[name.upper()], os.path.join(folder, name.replace("\\", "/"))
        if isinstance(content, dict):
            os.makedirs(target, exist_ok=True)
            continue
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "wb") as file:
            file.write(content)
        os.utime(target, (when, when))
    env = {"TZ": "UTC", "MTOOLS_SKIP_CHECK": "1", "SOURCE_DATE_EPOCH": str(when)}
    entries = sorted(os.listdir(folder))
    if entries:
        run(["mcopy", "-s", "-m", "-Q", "-i", path] +
            [os.path.join(folder, entry) for entry in entries] + ["::/"], env=env)


def place(disk, path, offset):
    """Copies what the image PATH has into the open DISK at OFFSET; holes stay holes."""
    with open(path, "rb", buffering=0) as image:
        end, at = image.seek(0, os.SEEK_END), 0
        while at < end:
            try:
                start = os.lseek(image.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(image.fileno(), start, os.SEEK_HOLE)
            image.seek(start)
            left = at - start
            while left:
                piece = image.read(min(left, 1 << 20))
                if piece.count(0) != len(piece):
                    disk.seek(offset + start)
                    disk.write(piece)
                start, left = start + len(piece), left - len(piece)
