# SPDX-License-Identifier: GPL-2.0-or-later
"""The releases of Windows that make-guest knows, and what tells them apart."""


class Release:
    """One release. `builds` maps what --build takes to (build, display version, UBR)."""

    def __init__(self, name, version, product, edition, kind, lab, builds, archs, firmwares,
                 pack="", packs=0):
        self.name, self.product, self.edition, self.kind = name, product, edition, kind
        self.version, self.lab, self.pack, self.packs = version, lab, pack, packs
        self.builds, self.archs, self.firmwares = builds, archs.split(), firmwares.split()
        self.major, self.minor = version
        self.server = kind != "Client"

    def at_least(self, major, minor):
        return self.version >= (major, minor)

    @property
    def vista(self):
        return self.at_least(6, 0)

    @property
    def eight(self):
        return self.at_least(6, 2)

    def build(self, wanted=None):
        """(build, display version, UBR) of WANTED, by default the last."""
        if wanted is None:
            return list(self.builds.values())[-1]
        for name, row in self.builds.items():
            if wanted in (name, str(row[0])):
                return row
        raise ValueError("%s has no build %s, but %s" % (self.name, wanted,
                                                         ", ".join(self.builds)))

    def firmwares_of(self, arch):
        """UEFI started Windows of 32 bits only from 8 on, and is all that arm64 has."""
        if arch == "arm64":
            return ["uefi"]
        if arch == "x86" and not self.eight:
            return ["bios"]
        return self.firmwares


def _one(build, ubr, display=""):
    return {str(build): (build, display, ubr)}


WINDOWS_10 = {
    "1507": (10240, "1507", 17443), "1511": (10586, "1511", 1176), "1607": (14393, "1607", 2214),
    "1703": (15063, "1703", 1418), "1709": (16299, "1709", 1087), "1803": (17134, "1803", 1130),
    "1809": (17763, "1809", 1339), "1903": (18362, "1903", 1256), "1909": (18363, "1909", 1556),
    "2004": (19041, "2004", 1415), "20H2": (19042, "20H2", 1706), "21H1": (19043, "21H1", 2364),
    "21H2": (19044, "21H2", 4529), "22H2": (19045, "22H2", 4651),
}
WINDOWS_11 = {
    "21H2": (22000, "21H2", 3079), "22H2": (22621, "22H2", 3880), "23H2": (22631, "23H2", 3880),
    "24H2": (26100, "24H2", 1742),
}

RELEASES = [
    Release("xp", (5, 1), "Microsoft Windows XP", "", "Client", "xpsp.080413-2111",
            _one(2600, 0), "x86", "bios", "Service Pack 3", 3),
    Release("2k3", (5, 2), "Microsoft Windows Server 2003 R2", "", "Server",
            "srv03_sp2_rtm.070216-1710", _one(3790, 0), "x86 amd64", "bios", "Service Pack 2", 2),
    Release("vista", (6, 0), "Windows Vista (TM) Business", "Business", "Client",
            "vistasp2_gdr.101014-0432", _one(6002, 18327), "x86 amd64", "bios uefi",
            "Service Pack 2", 2),
    Release("2k8", (6, 0), "Windows Server (R) 2008 Standard", "ServerStandard", "Server",
            "vistasp2_gdr.101014-0432", _one(6002, 18327), "x86 amd64", "bios uefi",
            "Service Pack 2", 2),
    Release("w7", (6, 1), "Windows 7 Professional", "Professional", "Client",
            "win7sp1_gdr.110408-1631", _one(7601, 17592), "x86 amd64", "bios uefi",
            "Service Pack 1", 1),
    Release("2k8r2", (6, 1), "Windows Server 2008 R2 Standard", "ServerStandard", "Server",
            "win7sp1_gdr.110408-1631", _one(7601, 17592), "amd64", "bios uefi",
            "Service Pack 1", 1),
    Release("w8", (6, 2), "Windows 8 Pro", "Professional", "Client", "win8_gdr.130410-1505",
            _one(9200, 16581), "x86 amd64", "bios uefi"),
    Release("2k12", (6, 2), "Windows Server 2012 Standard", "ServerStandard", "Server",
            "win8_gdr.130410-1505", _one(9200, 16581), "amd64", "bios uefi"),
    Release("w8.1", (6, 3), "Windows 8.1 Pro", "Professional", "Client",
            "winblue_r3.140827-1500", _one(9600, 17328), "x86 amd64", "bios uefi"),
    Release("2k12r2", (6, 3), "Windows Server 2012 R2 Standard", "ServerStandard", "Server",
            "winblue_r3.140827-1500", _one(9600, 17328), "amd64", "bios uefi"),
    Release("w10", (10, 0), "Windows 10 Pro", "Professional", "Client", "vb_release.191206-1406",
            WINDOWS_10, "x86 amd64 arm64", "bios uefi"),
    Release("2k16", (10, 0), "Windows Server 2016 Standard", "ServerStandard", "Server",
            "rs1_release.190201-1727", _one(14393, 2791, "1607"), "amd64", "bios uefi"),
    Release("2k19", (10, 0), "Windows Server 2019 Standard", "ServerStandard", "Server",
            "rs5_release.180914-1434", _one(17763, 3650, "1809"), "amd64", "bios uefi"),
    Release("2k22", (10, 0), "Windows Server 2022 Standard", "ServerStandard", "Server",
            "fe_release.210507-1500", _one(20348, 1607, "21H2"), "amd64", "bios uefi"),
    # The registry of Windows 11 still says 10.
    Release("w11", (10, 0), "Windows 10 Pro", "Professional", "Client", "ni_release.220506-1250",
            WINDOWS_11, "amd64 arm64", "uefi"),
    Release("2k25", (10, 0), "Windows Server 2025 Standard", "ServerStandard", "Server",
            "ge_release.240331-1435", _one(26100, 2033, "24H2"), "amd64", "bios uefi"),
]

BY_NAME = {release.name: release for release in RELEASES}


def matrix():
    """Each (release, arch, firmware) that there is."""
    for release in RELEASES:
        for arch in release.archs:
            for firmware in release.firmwares_of(arch):
                yield release.name, arch, firmware
