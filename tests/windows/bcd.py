# SPDX-License-Identifier: GPL-2.0-or-later
"""The boot configuration data store of a synthetic guest, and boot.ini for XP and 2003.

Objects, elements and the layout of device elements are those of a real store of Windows 10; the
MBR form of a device element is documented in Microsoft's BCD reference and in BcdEdit's output.
"""
import struct

import regf
from system_hive import guid_bytes

BOOTMGR = "{9dea862c-5cdd-4e70-acc1-f32b344d4795}"
MEMDIAG = "{b2721d73-1db4-4c62-bf78-c548a880142d}"
GLOBAL = "{7ea2e1ac-2e61-4728-aaa3-896d9d0a9f0e}"
LOADER_SETTINGS = "{6efb52bf-1766-41db-a6b3-0ee5eff72bd7}"
RESUME_SETTINGS = "{1afa9c49-16ab-4a5c-901b-212802da9460}"
HYPERVISOR = "{7ff607e0-4395-11db-b0de-0800200c9a66}"
EMS = "{0ce4991b-e6b3-4b16-b23c-5e0d9250e5d9}"
DEBUGGER = "{4636856e-540f-4170-a130-a84776f4c654}"
BAD_MEMORY = "{5189b25c-5558-4bf2-bca4-289b11bd29e2}"


def device(g, part, broken=False):
    """The element that names partition PART of the guest's disk: a qualified partition.

    16 bytes of additional options (none), then the device: type 6, flags, length; for GPT the
    partition's and the disk's GUID, for MBR its offset in bytes and the disk's signature.
    """
    if g.layout == "gpt":
        disk = guid_bytes(g.guid("another disk") if broken else g.disk_guid)
        body = guid_bytes(part.guid) + struct.pack("<II", 0, 0) + disk
    else:
        signature = g.number("another disk", 32) if broken else g.disk_signature
        body = struct.pack("<Q", part.start * 512) + bytes(8) + struct.pack("<II", 0, 1) + \
            struct.pack("<I", signature) + bytes(12)
    return bytes(16) + struct.pack("<IIII", 6, 0, 0x48, 0) + body.ljust(56, b"\0")


class Store:
    def __init__(self, system):
        self.root = regf.Key("NewStoreRoot")
        self.root.key("Description").sz("KeyName", "BCD00000000").dword("System", 1) \
            .dword("TreatAsSystem", 1)
        self.system = system

    def object(self, identifier, kind, **elements):
        """Adds an object; element names are e_ and the type in hexadecimal."""
        key = self.root.key("Objects\\" + identifier)
        key.key("Description").dword("Type", kind)
        below = key.key("Elements")
        for name, value in elements.items():
            if value is not None:
                self.element(below.key(name[2:]), name[2:], value)

    @staticmethod
    def element(key, name, value):
        form = name[1]
        if form in "23":  # a string, an object
            key.sz("Element", value)
        elif form == "4":  # objects
            key.multi("Element", value)
        elif form == "5":  # a number
            key.binary("Element", struct.pack("<Q", value))
        elif form == "6":  # yes or no
            key.binary("Element", b"\1" if value else b"\0")
        else:
            key.binary("Element", value)


def _loader(g, store, system, broken):
    """One Windows: its loader and its resume object."""
    extension = "efi" if g.firmware == "uefi" else "exe"
    folder = "\\" + system.windows
    where = device(g, system.part, broken == "wrong-disk")
    path = folder + "\\system32\\winload." + extension
    if broken == "missing-winload":
        path = folder + "\\system32\\boot\\winload-gone." + extension
    eight = system.release.eight
    store.object(
        system.loader, 0x10200003, e_11000001=where, e_12000002=path,
        e_12000004=system.title, e_12000005="en-US", e_14000006=[LOADER_SETTINGS],
        e_15000066=3 if system.release.at_least(10, 0) else None,
        e_16000009=1 if system.release.at_least(6, 1) else None,
        e_16000046=g.option("graphics_disabled") or None,
        e_16000060=1 if eight and g.firmware == "uefi" else None,
        e_17000077=struct.pack("<Q", 0x15000075) if eight else None, e_21000001=where,
        e_22000002=folder, e_23000003=system.resume,
        e_25000020=1 if system.release.server else 0,
        e_250000c2=1 if eight and not system.release.server else None,
        e_260000b0=g.option("ems") or None)
    resume = "winresume." + extension
    store.object(
        system.resume, 0x10200004, e_11000001=where, e_12000002=folder + "\\system32\\" + resume,
        e_12000004="Windows Resume Application", e_12000005="en-US",
        e_14000006=[RESUME_SETTINGS], e_16000060=1 if eight and g.firmware == "uefi" else None,
        e_21000001=where, e_22000002="\\hiberfil.sys", e_25000008=1 if eight else None,
        e_26000006=0)


def build(g, broken=None):
    """The store of the guest's Windows installations, as bytes; None stands for XP and 2003."""
    store = Store(g)
    uefi = g.firmware == "uefi"
    system = g.partition("system")
    where = device(g, system, broken == "wrong-disk")
    systems = g.systems
    store.object(
        BOOTMGR, 0x10100002, e_11000001=where,
        e_12000002="\\EFI\\Microsoft\\Boot\\bootmgfw.efi" if uefi else None,
        e_12000004="Windows Boot Manager", e_12000005="en-US", e_14000006=[GLOBAL],
        e_16000020=g.option("ems") or None,
        e_23000003=None if broken == "no-default" else systems[0].loader,
        e_23000006=systems[0].resume,
        e_24000001=[item.loader for item in systems], e_24000010=[MEMDIAG],
        e_25000004=30 if len(systems) > 1 or not g.release.server else 30)
    for item in systems:
        if item.release.vista:
            _loader(g, store, item, broken)
    store.object(MEMDIAG, 0x10200005, e_11000001=where,
                 e_12000002="\\EFI\\Microsoft\\Boot\\memtest.efi" if uefi
                 else "\\boot\\memtest.exe",
                 e_12000004="Windows Memory Diagnostic", e_12000005="en-US",
                 e_14000006=[GLOBAL], e_1600000b=1)
    store.object(GLOBAL, 0x20100000, e_14000006=[DEBUGGER, EMS, BAD_MEMORY])
    store.object(LOADER_SETTINGS, 0x20200003, e_14000006=[GLOBAL, HYPERVISOR])
    store.object(RESUME_SETTINGS, 0x20200004, e_14000006=[GLOBAL])
    store.object(EMS, 0x20100000, e_16000020=1 if g.option("ems") else 0,
                 e_15000022=1 if g.option("ems") else None)
    store.object(DEBUGGER, 0x20100000, e_15000011=4)
    store.object(BAD_MEMORY, 0x20100000)
    store.object(HYPERVISOR, 0x20200003, e_250000f3=0, e_250000f4=1, e_250000f5=115200)
    name = "kVolume1\\EFI\\Microsoft\\Boot\\BCD" if uefi else "\\Device\\HarddiskVolume1\\Boot\\BCD"
    data = regf.pack(store.root, 3, g.time, name)
    if broken == "corrupt":
        # The root key's cell is gone: no reader can begin.
        data = data[:regf.PAGE + 32] + b"\xff" * 512 + data[regf.PAGE + 544:]
    return data


def boot_ini(g, broken=None):
    """boot.ini of Windows XP and Server 2003."""
    rows = []
    for item in g.systems:
        if not item.release.vista:
            number = item.part.number + (1 if broken == "wrong-disk" else 0)
            where = "multi(0)disk(0)rdisk(0)partition(%d)\\%s" % (number, item.windows)
            rows.append((where, item.title))
    lines = ["[boot loader]", "timeout=30"]
    if broken != "no-default":
        lines.append("default=" + rows[0][0])
    lines.append("[operating systems]")
    for where, title in rows:
        lines.append('%s="%s" /noexecute=%s /fastdetect' % (
            where, title, "optout" if g.release.server else "optin"))
    if broken == "corrupt":
        return b"\x00\xff" * 40
    return "\r\n".join(lines + [""]).encode("ascii")
