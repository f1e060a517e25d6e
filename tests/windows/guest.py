# SPDX-License-Identifier: GPL-2.0-or-later
"""What a synthetic guest is: its options made into names, numbers, partitions and cards."""
import hashlib

import leftovers
from releases import BY_NAME
from tables import CONTROLLERS, NICS
from volumes import filetime

MIB = 1 << 20
ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
MSR = "e3c9e316-0b5c-4db8-817d-f92df00215ae"
BASIC = "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7"
RECOVERY = "de94bba4-06d1-4d40-a16a-bfd50179d6ac"
LDM_META = "5808c8aa-7e8f-42e0-85d2-e1e90434cfb3"
LDM_DATA = "af9b60a0-1431-4f62-bc68-3311714a69ad"
SPACES = "e75caf8f-f680-4cee-afa3-b001e56efc2d"

# What makes the card's address and the machine's makers, by hypervisor.
MAKERS = {
    "vmware-tools": ("00:50:56:8e:1a", ("VMware, Inc.", "VMware7,1", "Phoenix Technologies LTD")),
    "hyperv": ("00:15:5d:0a:1b", ("Microsoft Corporation", "Virtual Machine",
                                  "Microsoft Corporation")),
    "xen": ("00:16:3e:5f:1a", ("Xen", "HVM domU", "Xen")),
    "parallels": ("00:1c:42:3d:4e", ("Parallels International GmbH.", "Parallels Virtual Platform",
                                     "Parallels International GmbH.")),
    "virtualbox": ("08:00:27:c1:d2", ("innotek GmbH", "VirtualBox", "innotek GmbH")),
    None: ("00:0c:29:7e:7e", ("VMware, Inc.", "VMware Virtual Platform",
                              "Phoenix Technologies LTD")),
}

# The controller of the system disk and the card, by hypervisor; else by what the release has.
HARDWARE = {
    "vmware-tools": (("lsisas", "lsiscsi"), ("vmxnet3", "e1000")),
    "hyperv": (("storvsc", "ide"), ("netvsc", "e1000")),
    "xen": (("xenvbd", "ide"), ("xennet", "rtl8139")),
    "parallels": (("ahci", "ide"), ("e1000e", "e1000")),
    "virtualbox": (("ahci", "ide"), ("e1000", "pcnet")),
    None: (("ahci", "ide"), ("e1000e", "e1000", "pcnet")),
}


class Partition:
    def __init__(self, role, size, kind, label=""):
        self.role, self.size, self.kind, self.label = role, size, kind, label
        self.number = self.start = self.sectors = 0
        self.guid = None


class System:
    """One Windows of the guest as the boot menu has it."""

    def __init__(self, release, part, windows, title, loader, resume):
        self.release, self.part, self.windows, self.title = release, part, windows, title
        self.loader, self.resume = loader, resume


class Nic:
    def __init__(self, g, number, text):
        words = text.split(",")
        options = dict(word.split("=", 1) if "=" in word else (word, "1") for word in words[1:])
        self.number, self.model = number, words[0] or g.nic_model
        if self.model not in NICS:
            raise ValueError("no network card %s, but %s" % (self.model, ", ".join(NICS)))
        self.mac = options.pop("mac", "%s:%02x" % (g.mac_start, 0xBB + number)).lower()
        self.mac_bytes = bytes.fromhex(self.mac.replace(":", ""))
        static = options.pop("static", "")
        self.address, self.mask = [], []
        for item in filter(None, static.split("+")):
            address, _, prefix = item.partition("/")
            bits = 0xFFFFFFFF << 32 - int(prefix or 24) & 0xFFFFFFFF
            self.address.append(address)
            self.mask.append(".".join(str(bits >> shift & 255) for shift in (24, 16, 8, 0)))
        self.gateway = list(filter(None, options.pop("gw", "").split("+")))
        self.dns = list(filter(None, options.pop("dns", "").split("+")))
        self.domain, self.metric = options.pop("domain", ""), int(options.pop("metric", 0))
        self.ghost, self.overridden = "ghost" in options, "override" in options
        default = "Ethernet" if g.release.eight else "Local Area Connection"
        self.name = options.pop("name", default + (" %d" % (number + 1) if number else ""))
        options.pop("ghost", None)
        options.pop("override", None)
        if options:
            raise ValueError("--nic does not know " + ", ".join(options))
        self.guid = g.guid("nic %d" % number).upper()
        self.description = NICS[self.model][3] + (" #%d" % (number + 1) if number else "")
        self.instance = NICS[self.model][2] + "\\" + self._instance(g)

    def _instance(self, g):
        """The last part of the device's instance id."""
        how, mac = NICS[self.model][5], self.mac_bytes
        if how == "GUID":
            return "{%s}" % g.guid("vmbus %d" % self.number).strip("{}")
        if how == "MAC:e1000e":
            return (mac[:3] + b"\xff\xff" + mac[3:]).hex().upper() + "00"
        if how == "MAC:vmxnet3":
            order = bytes([0xFF, mac[2], mac[1], mac[0], mac[5], mac[4], mac[3], 0xFE])
            return order.hex().upper() + "00"
        return how % (self.number * 16 if "X" in how else self.number)


class Guest:
    def __init__(self, options):
        self.options = options
        self.release = BY_NAME[options.release]
        self.arch = options.arch or ("amd64" if "amd64" in self.release.archs
                                     else self.release.archs[0])
        if self.arch not in self.release.archs:
            raise ValueError("%s is not made for %s, but for %s" % (
                self.release.name, self.arch, ", ".join(self.release.archs)))
        firmwares = self.release.firmwares_of(self.arch)
        self.firmware = options.firmware or firmwares[-1]
        if self.firmware not in firmwares:
            raise ValueError("%s for %s does not start with %s" % (
                self.release.name, self.arch, self.firmware))
        self.layout = "gpt" if self.firmware == "uefi" else "mbr"
        self.seed = "%s %s %s %s" % (options.seed, self.release.name, self.arch, self.firmware)
        self._names(options)
        self._hardware(options)
        self._partitions(options)
        self._systems(options)

    def option(self, name):
        return getattr(self.options, name, None)

    def number(self, label, bits):
        """A number of so many bits that depends on the guest's seed and LABEL alone."""
        digest = hashlib.sha256(("%s|%s" % (self.seed, label)).encode()).digest()
        return int.from_bytes(digest[:bits // 8], "little")

    def guid(self, label):
        raw = "%032x" % self.number("guid " + label, 128)
        return "{%s-%s-4%s-a%s-%s}" % (raw[:8], raw[8:12], raw[13:16], raw[17:20], raw[20:])

    def root_name(self, hive):
        """What the root key of a hive is called: it tells the release that made it."""
        if self.release.at_least(10, 0):
            return "ROOT"
        if self.release.eight:
            return "CsiTool-CreateHive-{00000000-0000-0000-0000-000000000000}"
        if self.release.vista:
            return "CMI-CreateHive" + self.guid("hive " + hive).upper()
        return "$$$PROTO.HIV"

    def _names(self, options):
        release = self.release
        self.build, self.display, self.ubr = release.build(options.build)
        self.version_numbers = (release.major, release.minor, self.build, self.ubr)
        self.version = ".".join(str(part) for part in self.version_numbers)
        self.unix_time = 1700000000
        self.time = filetime(self.unix_time)
        self.windows = options.windows_dir or "Windows"
        if not release.vista and not options.windows_dir:
            self.windows = "WINDOWS"
        self.letter = options.drive.upper()[:1]
        self.hostname = options.hostname or ("WIN-" + self.guid("host").strip("{}")[:8]).upper()
        self.domain = options.domain or ""
        self.user = "Alice"
        self.users = "Users" if release.vista else "Documents and Settings"
        self.edition, self.installation = release.edition, release.kind
        if options.core and release.server:
            self.installation = "Server Core"
            if not release.at_least(6, 2):
                self.edition += "Core"
        self.product_type = "LanmanNT" if options.dc else \
            "ServerNT" if release.server else "WinNT"
        self.current = options.control_set
        # Up to Windows 8, the last known good configuration has a set of its own.
        self.old_set = None
        if not release.at_least(6, 2) and not options.one_control_set:
            self.old_set = 2 if self.current == 1 else 1
        self.san_policy = options.san_policy or (
            2 if release.server else 1)
        self.disk_signature = self.number("disk", 32) | 0x01000000
        self.disk_guid = self.guid("disk")

    def _fits(self, row):
        return row[-2] <= self.release.version <= row[-1]

    def _hardware(self, options):
        chosen = [item for item in leftovers.ALL
                  if self.option(item.option.replace("-", "_"))]
        self.leftovers = chosen
        hypervisor = chosen[0].option if chosen else None
        self.hypervisor = hypervisor
        self.mac_start, self.maker = MAKERS[hypervisor]
        controllers, models = HARDWARE[hypervisor]
        self.controller = options.controller or next(
            (name for name in controllers if self._fits(CONTROLLERS[name])), "ide")
        if not self._fits(CONTROLLERS[self.controller]):
            raise ValueError("%s has no driver for %s" % (self.release.name, self.controller))
        self.service = CONTROLLERS[self.controller][0]
        if self.service == "storahci" and not self.release.eight:
            self.service = "msahci"
        if self.arch == "arm64" and self.controller in ("lsisas", "ide"):
            self.controller, self.service = "nvme", "stornvme"
        self.nic_model = next((name for name in models if self._fits(NICS[name])), "rtl8139")
        wanted = options.nic or [""]
        if options.static:
            wanted[0] += ",static=192.0.2.10/24,gw=192.0.2.1,dns=192.0.2.53+198.51.100.53," \
                         "domain=example.org,metric=10"
        self.nics = [Nic(self, number, text) for number, text in enumerate(wanted)]

    def _partitions(self, options):
        """Lays the partitions out, in 512-byte sectors."""
        self.size = options.size * MIB
        parts = []
        if self.firmware == "uefi":
            parts += [Partition("system", 100 * MIB, ESP, "SYSTEM"),
                      Partition("msr", (16 if self.release.at_least(10, 0) else 128) * MIB, MSR)]
        elif self.release.at_least(6, 1) and not options.single_partition:
            parts.append(Partition("system", 100 * MIB, "7", "System Reserved"))
        if options.ldm and self.layout == "gpt":
            parts.append(Partition("ldm", MIB, LDM_META))
        basic = LDM_DATA if options.ldm and self.layout == "gpt" else \
            BASIC if self.layout == "gpt" else "42" if options.ldm else "7"
        parts.append(Partition("windows", 0, basic))
        self.second = BY_NAME[options.two_systems] if options.two_systems else None
        if self.second:
            parts.append(Partition("windows2", 700 * MIB, basic))
        for role, wanted, size in (("refs", options.refs, 64), ("spaces", options.storage_spaces,
                                                               64)):
            if wanted == "data":
                kind = SPACES if role == "spaces" and self.layout == "gpt" else \
                    "e7" if role == "spaces" else basic
                parts.append(Partition(role, size * MIB, kind))
        if options.recovery:
            parts.append(Partition("recovery", 300 * MIB,
                                   RECOVERY if self.layout == "gpt" else "27", "Recovery"))
        first = 63 if not self.release.vista else 2048
        tail = 2048  # for the backup GPT, or the database of dynamic disks
        fixed = sum(part.size for part in parts) // 512
        for number, part in enumerate(parts, 1):
            part.number, part.start = number, first
            part.sectors = part.size // 512 or self.size // 512 - fixed - 2048 - tail
            part.guid = self.guid("partition %d" % number)
            first += part.sectors
        if parts[-1].sectors < 0 or any(part.sectors < 2048 for part in parts):
            raise ValueError("the disk is too small: give more with --size")
        self.partitions = parts

    def partition(self, role):
        """The partition of ROLE; the system's is Windows' own where there is no other."""
        found = [part for part in self.partitions if part.role == role]
        if not found and role == "system":
            return self.partition("windows")
        return found[0] if found else None

    def _systems(self, options):
        def title(release):
            if not release.vista:
                return release.product
            return "Windows 11" if release.name == "w11" else \
                "Windows Server" if release.server and release.at_least(10, 0) else \
                release.product.rpartition(" ")[0]
        rows = [(self.release, "windows", self.windows)]
        if self.second:
            rows.append((self.second, "windows2",
                         "Windows" if self.second.vista else "WINDOWS"))
        self.systems = [System(release, self.partition(role), windows, title(release),
                               self.guid("loader " + role), self.guid("resume " + role))
                        for release, role, windows in rows]

    def oem_packages(self):
        """(n of oemN.inf, original INF, provider, class) of each package that was added."""
        rows, number = [], 0
        for item in self.leftovers:
            for original, provider, kind in item.packages:
                rows.append((number, original, provider, kind))
                number += 1
        return rows

    def pending_renames(self):
        """Pairs: what is moved, and where to; nothing for deletion."""
        drive = "\\??\\%s:\\" % self.letter
        return [drive + "Config.Msi\\4c2f1.rbf", "",
                drive + self.windows + "\\System32\\new.dll",
                "!" + drive + self.windows + "\\System32\\old.dll"]
