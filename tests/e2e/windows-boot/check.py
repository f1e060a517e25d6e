#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Whether a synthetic Windows guest would start: follows what the firmware and the boot manager
follow, with other readers than hyper2kvm's (regf.py, mtools, ntfs-3g's tools).

usage: check.py GUEST.img ANSWERS.json [backup|no-backup]
"""
import importlib.machinery
import importlib.util
import json
import os
import struct
import subprocess
import sys
import tempfile
import uuid

sys.dont_write_bytecode = True
WINDOWS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "windows")
sys.path.insert(0, WINDOWS)

import regf  # noqa: E402

loader = importlib.machinery.SourceFileLoader("check_guest", os.path.join(WINDOWS, "check-guest"))
check_guest = importlib.util.module_from_spec(importlib.util.spec_from_loader("check_guest", loader))
loader.exec_module(check_guest)
cut, run = check_guest.cut, check_guest.run

BOOTMGR = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"


def fail(text, *values):
    sys.exit(text % values if values else text)


class Volume:
    def __init__(self, path, fat):
        self.path, self.fat = path, fat

    def read(self, name):
        """The content of NAME, with slashes and without one in front; None: it is missing."""
        argv = ["mtype", "-i", self.path, "::/" + name] if self.fat else \
            ["ntfscat", "-f", self.path, "/" + name]
        env = {**os.environ, "PATH": check_guest.PATH, "MTOOLS_SKIP_CHECK": "1"}
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
        return None if done.returncode else done.stdout

    def need(self, name):
        data = self.read(name)
        if data is None:
            fail("%s is missing", name)
        return data

    def sound(self):
        run(*(["fsck.vfat", "-n", self.path] if self.fat else ["ntfsfix", "-n", self.path]))


def device(a, part):
    """The bytes that name partition PART, without the additional options in front."""
    if a["layout"] == "gpt":
        body = uuid.UUID(part["guid"]).bytes_le + bytes(8) + uuid.UUID(a["disk"]["guid"]).bytes_le
    else:
        body = struct.pack("<QQIII", part["start"], 0, 0, 1, int(a["disk"]["signature"], 16))
    return struct.pack("<IIII", 6, 0, 0x48, 0) + body.ljust(56, b"\0")


def element(store, identifier, kind):
    """What an element has: bytes, or text for the formats that are."""
    rows = store.get(identifier.lower())
    if rows is None:
        fail("the store has no object %s", identifier)
    data = rows.get(kind)
    if data is None:
        fail("%s has no element %s", identifier, kind)
    return data.decode("utf-16-le").rstrip("\0") if kind[1] in "23" else data


def objects(data):
    """{object: {element: bytes}}, all names in lower case"""
    found = {}
    for item in regf.load(data).key("Objects").subkeys.values():
        rows = found[item.name.lower()] = {}
        for row in item.key("Elements").subkeys.values():
            for _, _, value in row.values.values():
                rows[row.name.lower()] = value
    return found


def check_store(a, system, windows, parts):
    store = objects(system.need(a["firmware_boot"]["store"]))
    default = element(store, BOOTMGR, "23000003")
    where = device(a, parts["windows"])
    if element(store, BOOTMGR, "11000001")[16:] != device(a, parts["system"]):
        fail("the boot manager's device is wrong")
    for kind in ("11000001", "21000001"):
        if element(store, default, kind)[16:] != where:
            fail("element %s of the default entry leads elsewhere", kind)
    if element(store, default, "22000002").lower() != "\\" + a["systemroot"].lower():
        fail("the system root is wrong")
    path = element(store, default, "12000002").lower()
    if not path.endswith(".efi" if a["firmware"] == "uefi" else ".exe"):
        fail("the loader %s is one for another firmware", path)
    # ntfscat looks names up with regard to case.
    parts_of = path.strip("\\").split("\\")
    windows.need("/".join([a["systemroot"], "System32"] + parts_of[2:]))
    resume = element(store, default, "23000003")
    if element(store, resume, "21000001")[16:] != where:
        fail("the resume program's device leads elsewhere")


def check_ini(a, system, parts):
    text = system.need("boot.ini").decode("ascii")
    lines = text.split("\r\n")
    path = "multi(0)disk(0)rdisk(0)partition(%d)\\%s" % (parts["windows"]["number"],
                                                         a["systemroot"])
    if not any(line.lower() == "default=" + path.lower() for line in lines):
        fail("the default of boot.ini is wrong:\n%s", text)
    if not any(line.lower().startswith(path.lower() + '="') and "/fastdetect" in line
               for line in lines):
        fail("boot.ini has no entry of its default:\n%s", text)


def check_sector(system, part, old):
    size = os.path.getsize(system.path)
    with open(system.path, "rb") as file:
        for at in (0, size - 512):
            file.seek(at)
            sectors, heads, hidden = struct.unpack_from("<HHI", file.read(512), 24)
            if hidden != part["start"] // 512 or (old and (sectors, heads) != (63, 255)):
                fail("a boot sector says %d sectors, %d heads, start %d", sectors, heads, hidden)


def main():
    image, answers = sys.argv[1:3]
    with open(answers, encoding="utf-8") as file:
        a = json.load(file)
    parts = {part["role"]: part for part in a["partitions"]}
    parts.setdefault("system", parts["windows"])
    with tempfile.TemporaryDirectory() as folder:
        volumes = {}
        for role in ("system", "windows"):
            path = os.path.join(folder, role)
            cut(image, parts[role], path)
            volumes[role] = Volume(path, role == "system" and a["firmware"] == "uefi")
            volumes[role].sound()
        system = volumes["system"]
        name = a["firmware_boot"]["store"]
        if name:
            check_store(a, system, volumes["windows"], parts)
        else:
            check_ini(a, system, parts)
            name = "boot.ini"
        if a["firmware"] == "uefi":
            manager = system.need("EFI/Microsoft/Boot/bootmgfw.efi")
            if system.need("EFI/Boot/" + a["firmware_boot"]["fallback_name"]) != manager:
                fail("the removable-media path has another program")
        else:
            check_sector(system, parts["system"], a["major"] < 6)
            for program in ("bootmgr",) if a["major"] >= 6 else ("ntldr", "NTDETECT.COM"):
                system.need(program)
        if len(sys.argv) > 3:
            has = system.read(name + ".h2k-backup") is not None
            if has != (sys.argv[3] == "backup"):
                fail("the backup is %s", "there" if has else "missing")
    return 0


if __name__ == "__main__":
    sys.exit(main())
