# SPDX-License-Identifier: GPL-2.0-or-later
"""The files of a synthetic guest's volumes."""
import struct

import bcd
import leftovers
import other_hives
import pe
import regf
import system_hive
from tables import CLASSES, CONTROLLERS, NICS
from volumes import HIDDEN, READ_ONLY, SYSTEM_FILE, Junction, Size, Tree

SUPER_HIDDEN = HIDDEN | SYSTEM_FILE
# The size of hiberfil.sys and pagefile.sys; real ones have the order of the memory's size.
PAGEFILE = 16 << 20

# Files of System32: name, kind.
PROGRAMS = [
    ("ntoskrnl.exe", "kernel"), ("hal.dll", "dll"), ("kernel32.dll", "dll"), ("ntdll.dll", "dll"),
    ("cmd.exe", "exe"), ("services.exe", "exe"), ("svchost.exe", "exe"), ("smss.exe", "exe"),
    ("winlogon.exe", "gui"), ("sc.exe", "exe"), ("netsh.exe", "exe"), ("reg.exe", "exe"),
    ("autochk.exe", "kernel"), ("IoLogMsg.dll", "dll"), ("netcfgx.dll", "dll"),
]
VISTA_PROGRAMS = [
    ("winload.exe", "boot"), ("winresume.exe", "boot"), ("pnputil.exe", "exe"),
    ("dism.exe", "exe"), ("bcdedit.exe", "exe"), ("tzres.dll", "dll"),
]
PROCESSOR = {"x86": "x86", "amd64": "amd64", "arm64": "arm64"}
EFI_NAME = {"x86": "bootia32.efi", "amd64": "bootx64.efi", "arm64": "bootaa64.efi"}


def inf_text(g, name, kind, provider, service, file, hardware):
    """An INF as a driver package has it, in UTF-16 with a mark, as most of Windows' own are."""
    arch = {"x86": "x86", "amd64": "amd64", "arm64": "arm64"}[g.arch]
    lines = [
        "[Version]", "Signature=\"$WINDOWS NT$\"", "Class=" + kind,
        "ClassGuid={%s}" % CLASSES[kind], "Provider=%mfg%", "DriverVer=06/21/2006," + g.version,
        "CatalogFile=%s.cat" % name.rpartition(".")[0], "", "[Manufacturer]",
        "%%mfg%%=Models,NT%s" % arch, "", "[Models.NT%s]" % arch,
        "%%desc%%=inst,%s" % hardware, "", "[inst]", "CopyFiles=files", "", "[files]", file, "",
        "[inst.Services]", "AddService=%s,2,service" % service, "", "[service]", "ServiceType=1",
        "StartType=3", "ErrorControl=1", "ServiceBinary=%%12%%\\%s" % file, "",
        "[DestinationDirs]", "DefaultDestDir=12", "", "[Strings]", "mfg=\"%s\"" % provider,
        "desc=\"%s\"" % service, ""]
    return b"\xff\xfe" + "\r\n".join(lines).encode("utf-16-le")


def _hibernation(g, fast):
    """The first page of hiberfil.sys: PO_MEMORY_IMAGE of an image that can be resumed from.

    A hibernation and a Fast Startup both leave the signature HIBR (hibr up to 2003); what was
    saved differs, which the header does not tell: HiberbootEnabled does.
    """
    signature = b"HIBR" if g.release.vista else b"hibr"
    wide = g.arch != "x86"
    if wide:
        head = struct.pack("<4sIIIQIIQQ", signature, 0, 0x5A17C3D1, 0x300, 0, 0x1000, 0, g.time,
                           123456789)
    else:
        head = struct.pack("<4sIIIIIQQ", signature, 0, 0x5A17C3D1, 0xE0, 0, 0x1000, g.time,
                           123456789)
    return head.ljust(4096, b"\0") + bytes([0x68 if fast else 0x48]) * 4096


def _executable(g, name, kind, **texts):
    version = g.version_numbers
    return pe.image(name, g.arch, version, kind, file_version="%s (%s)" % (g.version,
                                                                         g.release.lab), **texts)


def _hives(g, tree, base):
    """The hives; returns what a dirty SYSTEM must turn into."""
    replayed = None
    for name, header, root in other_hives.hives(g):
        minor = 3 if not g.release.vista else 5
        identity = g.number("hive " + name, 128).to_bytes(16, "little") if g.release.vista else None

        def pack(key, sequence, when=g.time, n=header, m=minor, i=identity):
            return regf.pack(key, m, when, n, sequence, i)
        number = 0x100 + g.number("sequence " + name, 8)
        path = base + "\\System32\\config\\" + name
        logs = [".LOG1", ".LOG2"] if g.release.vista else [".LOG"]
        if name.upper() == "SYSTEM" and g.option("dirty_hive"):
            replayed = _dirty_system(g, tree, path, logs, root, pack, number)
            continue
        hive = pack(root, (number, number))
        tree.add(path, hive)
        for log in logs:
            tree.add(path + log, _clean_log(g, hive, number) if log != ".LOG2" else b"",
                     SUPER_HIDDEN)
    return replayed


def _clean_log(g, hive, number):
    """A log that has nothing to replay: its header, of before the last write."""
    kind = 6 if g.release.at_least(6, 3) else 1
    header = bytearray(hive[:512])
    struct.pack_into("<III", header, 4, number - 1, number - 1, 0)
    struct.pack_into("<I", header, 28, kind)
    return bytes(regf.seal(header))


def dirty_changes(g):
    """What the logs of --dirty-hive change, step by step: lists of (key, value, text)."""
    control = "ControlSet%03d\\Control" % g.current
    return [[(control + "\\ComputerName\\ComputerName", "ComputerName", "REPLAYED")],
            [(control + "\\Session Manager\\Environment", "H2K_FIRST", "from the first log")],
            [("Setup", "H2K_SECOND", "from the last entry")]]


def _dirty_system(g, tree, path, logs, root, pack, number):
    states = [pack(root, (number, number))]
    for step in dirty_changes(g):
        for key, value, text in step:
            root.key(key).sz(value, text)
        states.append(pack(root, (number, number)))
    tree.add(path, regf.unclean(states[0], number + 1, number))
    if g.option("dirty_hive") == "dirt":
        tree.add(path + logs[0], regf.log_dirt(states[0], states[-1], number + 1), SUPER_HIDDEN)
        others = [b""] * (len(logs) - 1)
    else:
        # As Windows takes turns: the older entries are in the second log, the newest in the first.
        tree.add(path + logs[0], regf.log_hvle(states[2:], number + 3), SUPER_HIDDEN)
        others = [regf.log_hvle(states[:3], number + 1)]
    for log, content in zip(logs[1:], others):
        tree.add(path + log, content, SUPER_HIDDEN)
    return states[-1]


def _packages(g, tree, base, drivers):
    """\\Windows\\INF, and the driver store from Vista on."""
    rows = []
    if g.release.vista:
        for inf, kind, service, file, hardware in (
                ("mshdc.inf", "HDC", "atapi", "atapi.sys", "PCI\\CC_0101"),
                ("disk.inf", "DiskDrive", "disk", "disk.sys", "GenDisk"),
                ("pci.inf", "System", "pci", "pci.sys", "*PNP0A03"),
                ("netrtsnt.inf", "Net", "rtl8139", "RTL8139.SYS", "PCI\\VEN_10EC&DEV_8139")):
            rows.append((inf, inf, kind, "Microsoft", service, file, hardware))
    for number, original, provider, kind in g.oem_packages():
        name = original.rpartition(".")[0]
        rows.append(("oem%d.inf" % number, original, kind, provider, name, name + ".sys",
                     "ROOT\\" + name.upper()))
    for inf, original, kind, provider, service, file, hardware in rows:
        text = inf_text(g, original, kind, provider, service, file, hardware)
        tree.add(base + "\\INF\\" + inf, text)
        tree.add(base + "\\INF\\" + inf[:-3] + "PNF", b"\x01\x01\x02\x00" + bytes(60))
        if g.release.vista:
            folder = "%s\\System32\\DriverStore\\FileRepository\\%s" % (
                base, system_hive.package(g, original))
            tree.add(folder + "\\" + original, text)
            tree.add(folder + "\\" + original[:-3] + "cat", b"\x30\x82\x00\x00")
            tree.add(folder + "\\" + file, _executable(g, file, "driver"))
    log = "setupapi.dev.log" if g.release.vista else None
    text = "[Device Install Log]\r\n     OS Version = %s\r\n" % g.version
    tree.add(base + ("\\INF\\" + log if log else "\\setupapi.log"), text.encode())


def _system32(g, tree, base):
    system = base + "\\System32"
    for name, kind in PROGRAMS + (VISTA_PROGRAMS if g.release.vista else []):
        tree.add(system + "\\" + name, _executable(g, name, kind))
    if g.release.vista:
        for name in ("winload.efi", "winresume.efi"):
            tree.add(system + "\\" + name, _executable(g, name, "boot"))
    files = [row[1] for row in system_hive.drivers(g)]
    files += [NICS[nic.model][1] for nic in g.nics]
    for name in files:
        tree.add(system + "\\drivers\\" + name, _executable(g, name, "driver"))
    if CONTROLLERS[g.controller][0] in ("pvscsi", "xenvbd"):
        name = CONTROLLERS[g.controller][0] + ".sys"
        tree.add(system + "\\drivers\\" + name, _executable(g, name, "driver"))
    tree.add(system + "\\drivers\\etc\\hosts", b"# localhost name resolution\r\n")
    if g.arch != "x86":
        tree.add(base + "\\SysWOW64\\ntdll.dll", pe.image("ntdll.dll", "x86", g.version_numbers,
                                                         "dll"))
    if g.release.at_least(6, 1):
        tree.add(system + "\\WindowsPowerShell\\v1.0\\powershell.exe",
                 _executable(g, "powershell.exe", "exe"))
    if g.release.vista:
        # From here bcdboot takes what it puts on a system partition.
        tree.add(base + "\\Boot\\PCAT\\bootmgr", b"MZ" + bytes(510))
        tree.add(base + "\\Boot\\PCAT\\memtest.exe", _executable(g, "memtest.exe", "boot"))
        tree.add(base + "\\Boot\\EFI\\bootmgfw.efi", _executable(g, "bootmgfw.efi", "efi"))
        tree.add(base + "\\Boot\\EFI\\memtest.efi", _executable(g, "memtest.efi", "efi"))
        tree.add(system + "\\config\\BCD-Template", regf.pack(regf.Key("NewStoreRoot"), 3, g.time,
                                                             "BCD-Template"))
    tree.add(base + "\\explorer.exe", _executable(g, "explorer.exe", "gui"))
    if g.option("pending_servicing"):
        tree.add(base + "\\WinSxS\\pending.xml", b"\xef\xbb\xbf<?xml version='1.0'?>\r\n"
                 b"<PendingTransaction/>\r\n")
    if g.option("sysprep"):
        tree.add(system + "\\Sysprep\\Sysprep_succeeded.tag", b"")
    for name in ("Temp", "Fonts", "WinSxS\\Manifests"):
        tree.folder(base + "\\" + name)


def _leftover_files(g, tree, base):
    for item in g.leftovers:
        for row in item.services:
            path = leftovers.image_file(row[5], item.folder, base)
            if path and g.release.version >= row[7]:
                name = path.rpartition("\\")[2]
                kind = "driver" if name.endswith(".sys") else "exe"
                tree.add(path, pe.image(name, g.arch, item.version, kind, company=item.company,
                                        product=item.title))
        for path in item.files:
            name = path.rpartition("\\")[2]
            tree.add(path.replace("%P", item.folder), pe.image(
                name, g.arch, item.version, "exe", company=item.company, product=item.title))


def _users(g, tree):
    users, drive = g.users, g.letter + ":\\"
    names = [g.user, "Public" if g.release.vista else "All Users",
             "Default" if g.release.vista else "Default User"]
    for name in names:
        tree.folder(users + "\\" + name + "\\Desktop")
        if name != "Public":
            tree.add(users + "\\" + name + "\\NTUSER.DAT", regf.pack(
                other_hives.default(g), 5 if g.release.vista else 3, g.time,
                "\\??\\%s%s\\%s\\ntuser.dat" % (drive, users, name)), HIDDEN)
    tree.add(users + "\\" + g.user + "\\Desktop\\a file.txt", b"kept\r\n")
    if g.release.vista:
        tree.add("Documents and Settings", Junction(drive + "Users"), SUPER_HIDDEN)
        tree.add("Users\\All Users", Junction(drive + "ProgramData"), SUPER_HIDDEN)
        tree.add("Users\\Default User", Junction(drive + "Users\\Default"), SUPER_HIDDEN)
        tree.folder("ProgramData\\Microsoft\\Windows", HIDDEN)


def windows(g):
    """The Windows volume's files, and SYSTEM as it is once its logs are replayed (or None)."""
    tree, base = Tree(), g.windows
    replayed = _hives(g, tree, base)
    _system32(g, tree, base)
    _packages(g, tree, base, system_hive.drivers(g))
    _users(g, tree)
    tree.folder("Program Files\\Common Files")
    if g.arch != "x86":
        tree.folder("Program Files (x86)\\Common Files")
    tree.folder("$Recycle.Bin" if g.release.vista else "RECYCLER", SUPER_HIDDEN)
    tree.folder("System Volume Information", SUPER_HIDDEN)
    if g.release.vista:
        tree.folder("PerfLogs")
    _leftover_files(g, tree, base)
    tree.add("pagefile.sys", Size(PAGEFILE), SUPER_HIDDEN)
    if g.option("hibernated") or g.option("fast_startup"):
        tree.add("hiberfil.sys", Size(PAGEFILE, _hibernation(g, g.option("fast_startup"))),
                 SUPER_HIDDEN)
    elif g.option("resumed"):
        # After resuming, the header is gone, and the file stays.
        tree.add("hiberfil.sys", Size(PAGEFILE, bytes(4096)), SUPER_HIDDEN)
    if g.firmware == "bios" and g.partition("system").role == "windows":
        _bios_system(g, tree)
    return tree, replayed


def _bios_system(g, tree):
    """What BIOS boots: bootmgr and its store, or ntldr and boot.ini."""
    old = any(not item.release.vista for item in g.systems)
    broken = g.option("bcd_broken")
    if old:
        tree.add("ntldr", b"\xe9\x00\x00" + bytes(509), SUPER_HIDDEN | READ_ONLY)
        tree.add("NTDETECT.COM", b"\xeb\xfe" + bytes(510), SUPER_HIDDEN | READ_ONLY)
        tree.add("boot.ini", bcd.boot_ini(g, broken), SUPER_HIDDEN)
    if g.release.vista:
        tree.add("bootmgr", b"MZ" + bytes(510), SUPER_HIDDEN | READ_ONLY)
        tree.add("Boot\\BCD", bcd.build(g, broken), 0)
        tree.add("Boot\\BCD.LOG", b"", SUPER_HIDDEN)
        tree.add("Boot\\memtest.exe", _executable(g, "memtest.exe", "boot"))
        tree.add("Boot\\en-US\\bootmgr.exe.mui", _executable(g, "bootmgr.exe.mui", "dll"))
        tree.attributes["BOOT"] = SUPER_HIDDEN


def system(g):
    """The files of a system partition of its own."""
    tree = Tree()
    if g.firmware == "bios":
        _bios_system(g, tree)
        tree.folder("System Volume Information", SUPER_HIDDEN)
        return tree
    boot = "EFI\\Microsoft\\Boot"
    manager = _executable(g, "bootmgfw.efi", "efi")
    tree.add(boot + "\\bootmgfw.efi", manager)
    tree.add(boot + "\\bootmgr.efi", _executable(g, "bootmgr.efi", "boot"))
    tree.add(boot + "\\memtest.efi", _executable(g, "memtest.efi", "boot"))
    tree.add(boot + "\\BCD", bcd.build(g, g.option("bcd_broken")))
    tree.add(boot + "\\BCD.LOG", b"")
    tree.add(boot + "\\en-US\\bootmgfw.efi.mui", _executable(g, "bootmgfw.efi.mui", "dll"))
    if not g.option("no_fallback"):
        tree.add("EFI\\Boot\\" + EFI_NAME[g.arch], manager)
    return tree


def recovery(g):
    tree = Tree()
    tree.add("Recovery\\WindowsRE\\Winre.wim", b"MSWIM\0\0\0" + bytes(504), SUPER_HIDDEN)
    tree.add("Recovery\\WindowsRE\\boot.sdi", b"$SDI0001" + bytes(504), SUPER_HIDDEN)
    tree.add("Recovery\\WindowsRE\\ReAgent.xml", b"<?xml version='1.0'?>\r\n", SUPER_HIDDEN)
    return tree
