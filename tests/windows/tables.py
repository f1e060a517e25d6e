# SPDX-License-Identifier: GPL-2.0-or-later
"""What Windows itself brings: services, classes, controllers and network cards, as tables.

Names, types, groups and tags are those seen in real SYSTEM hives of Windows 7, 8.1 and 10.
"""

BOOT, SYSTEM, AUTO, DEMAND, DISABLED = range(5)

CLASSES = {
    "CDROM": "4D36E965-E325-11CE-BFC1-08002BE10318",
    "Computer": "4D36E966-E325-11CE-BFC1-08002BE10318",
    "DiskDrive": "4D36E967-E325-11CE-BFC1-08002BE10318",
    "Display": "4D36E968-E325-11CE-BFC1-08002BE10318",
    "HDC": "4D36E96A-E325-11CE-BFC1-08002BE10318",
    "Keyboard": "4D36E96B-E325-11CE-BFC1-08002BE10318",
    "Mouse": "4D36E96F-E325-11CE-BFC1-08002BE10318",
    "Net": "4D36E972-E325-11CE-BFC1-08002BE10318",
    "SCSIAdapter": "4D36E97B-E325-11CE-BFC1-08002BE10318",
    "System": "4D36E97D-E325-11CE-BFC1-08002BE10318",
    "Processor": "50127DC3-0F36-415E-A6CC-4CB3BE910B65",
    "Volume": "71A27CDD-812A-11D0-BEC7-08002BE2092F",
    "HIDClass": "745A17A0-74D3-11D0-B6FE-00A0C90F57DA",
}

CLASS_NAMES = {
    "CDROM": "DVD/CD-ROM drives", "Computer": "Computer", "DiskDrive": "Disk drives",
    "Display": "Display adapters", "HDC": "IDE ATA/ATAPI controllers", "Keyboard": "Keyboards",
    "Mouse": "Mice and other pointing devices", "Net": "Network adapters",
    "SCSIAdapter": "Storage controllers", "System": "System devices", "Processor": "Processors",
    "Volume": "Storage volumes", "HIDClass": "Human Interface Devices",
}

# Filters of classes that every installation has: class, value, services, from, to (NT versions).
CLASS_FILTERS = [
    ("DiskDrive", "UpperFilters", ["PartMgr"], (5, 0), (6, 1)),
    ("DiskDrive", "UpperFilters", ["partmgr"], (6, 2), (10, 0)),
    ("DiskDrive", "LowerFilters", ["EhStorClass"], (10, 0), (10, 0)),
    ("Volume", "UpperFilters", ["volsnap"], (10, 0), (10, 0)),
    ("Volume", "LowerFilters", ["fvevol", "rdyboost"], (6, 1), (6, 3)),
    ("Volume", "LowerFilters", ["fvevol", "rdyboost", "iorate"], (10, 0), (10, 0)),
    ("Keyboard", "UpperFilters", ["kbdclass"], (5, 0), (10, 0)),
    ("Mouse", "UpperFilters", ["mouclass"], (5, 0), (10, 0)),
]

# name, file, Type, Start, ErrorControl, Group, Tag, from, to, owner (INF)
DRIVERS = [
    ("ACPI", "acpi.sys", 1, BOOT, 3, "Core", 2, (5, 0), (10, 0), "acpi.inf"),
    ("pci", "pci.sys", 1, BOOT, 3, "Boot Bus Extender", 3, (5, 0), (10, 0), "pci.inf"),
    ("isapnp", "isapnp.sys", 1, BOOT, 3, "Boot Bus Extender", 2, (5, 0), (10, 0), "machine.inf"),
    ("vdrvroot", "vdrvroot.sys", 1, BOOT, 3, "Boot Bus Extender", 4, (6, 1), (10, 0),
     "vdrvroot.inf"),
    ("partmgr", "partmgr.sys", 1, BOOT, 3, "Boot Bus Extender", None, (5, 0), (10, 0), None),
    ("volmgr", "volmgr.sys", 1, BOOT, 3, "System Bus Extender", 9, (6, 0), (10, 0), "volmgr.inf"),
    ("volmgrx", "volmgrx.sys", 1, BOOT, 3, "System Bus Extender", None, (6, 0), (10, 0), None),
    ("ftdisk", "ftdisk.sys", 1, BOOT, 3, "System Bus Extender", 2, (5, 0), (5, 2), None),
    ("dmio", "dmio.sys", 1, BOOT, 3, "System Bus Extender", None, (5, 0), (5, 2), None),
    ("mountmgr", "mountmgr.sys", 1, BOOT, 3, "System Bus Extender", None, (5, 0), (10, 0), None),
    ("spaceport", "spaceport.sys", 1, BOOT, 3, "System Bus Extender", 8, (6, 2), (10, 0),
     "spaceport.inf"),
    ("intelide", "intelide.sys", 1, BOOT, 3, "System Bus Extender", 7, (5, 0), (10, 0),
     "mshdc.inf"),
    ("pciide", "pciide.sys", 1, BOOT, 3, "System Bus Extender", 6, (5, 0), (10, 0), "mshdc.inf"),
    ("atapi", "atapi.sys", 1, BOOT, 3, "SCSI Miniport", 27, (5, 0), (10, 0), "mshdc.inf"),
    ("msahci", "msahci.sys", 1, DEMAND, 3, "SCSI Miniport", None, (6, 0), (6, 1), "mshdc.inf"),
    ("storahci", "storahci.sys", 1, BOOT, 3, "SCSI Miniport", 28, (6, 2), (10, 0), "mshdc.inf"),
    ("stornvme", "stornvme.sys", 1, BOOT, 3, "SCSI Miniport", 29, (6, 3), (10, 0),
     "stornvme.inf"),
    ("LSI_SAS", "lsi_sas.sys", 1, BOOT, 1, "SCSI Miniport", 8, (6, 0), (10, 0), "lsi_sas.inf"),
    ("symmpi", "symmpi.sys", 1, DISABLED, 1, "SCSI miniport", 34, (5, 0), (5, 2), None),
    ("vmbus", "vmbus.sys", 1, BOOT, 1, "System Bus Extender", 11, (6, 0), (10, 0), "wvmbus.inf"),
    ("storvsc", "storvsc.sys", 1, BOOT, 1, "Base", 8, (6, 1), (10, 0), "wstorvsc.inf"),
    ("storflt", "vmstorfl.sys", 1, BOOT, 1, "Extended Base", 34, (6, 1), (10, 0),
     "wstorflt.inf"),
    ("netvsc", "netvsc.sys", 1, DEMAND, 1, "Extended Base", 33, (6, 1), (10, 0), "wnetvsc.inf"),
    ("disk", "disk.sys", 1, BOOT, 1, "SCSI Class", 2, (5, 0), (10, 0), "disk.inf"),
    ("cdrom", "cdrom.sys", 1, SYSTEM, 1, "SCSI CDROM Class", 2, (5, 0), (10, 0), "cdrom.inf"),
    ("FltMgr", "fltmgr.sys", 2, BOOT, 3, "FSFilter Infrastructure", 1, (5, 1), (10, 0), None),
    ("fvevol", "fvevol.sys", 1, BOOT, 3, "PnP Filter", 5, (6, 0), (10, 0), None),
    ("rdyboost", "rdyboost.sys", 1, BOOT, 3, "PnP Filter", 6, (6, 1), (10, 0), None),
    ("iorate", "iorate.sys", 1, BOOT, 3, "PnP Filter", 7, (10, 0), (10, 0), None),
    ("volsnap", "volsnap.sys", 1, BOOT, 3, "System Bus Extender", 1, (5, 0), (10, 0),
     "volsnap.inf"),
    ("EhStorClass", "EhStorClass.sys", 1, BOOT, 3, "Base", 9, (10, 0), (10, 0), None),
    ("CLFS", "CLFS.sys", 1, BOOT, 3, "Filter", None, (6, 0), (10, 0), None),
    ("KSecDD", "ksecdd.sys", 1, BOOT, 3, "Base", None, (5, 0), (10, 0), None),
    ("NDIS", "ndis.sys", 1, BOOT, 3, "NDIS Wrapper", None, (5, 0), (10, 0), None),
    ("NTFS", "ntfs.sys", 2, DISABLED, 1, "Boot File System", None, (5, 0), (10, 0), None),
    ("fastfat", "fastfat.sys", 2, DISABLED, 1, "Boot File System", None, (5, 0), (10, 0), None),
    ("Tcpip", "tcpip.sys", 1, BOOT, 3, "PNP_TDI", 3, (5, 0), (10, 0), None),
    ("kbdclass", "kbdclass.sys", 1, SYSTEM, 1, "Keyboard Class", 1, (5, 0), (10, 0), None),
    ("mouclass", "mouclass.sys", 1, SYSTEM, 1, "Pointer Class", 1, (5, 0), (10, 0), None),
    ("i8042prt", "i8042prt.sys", 1, SYSTEM, 1, "Keyboard Port", 5, (5, 0), (10, 0), None),
    ("VgaSave", "vga.sys", 1, SYSTEM, 0, "Video Save", None, (5, 0), (6, 1), None),
    ("BasicDisplay", "BasicDisplay.sys", 1, SYSTEM, 0, "Video", None, (6, 2), (10, 0),
     "basicdisplay.inf"),
    ("agp440", "agp440.sys", 1, DEMAND, 1, "PnP Filter", None, (5, 0), (6, 1), "machine.inf"),
    ("intelppm", "intelppm.sys", 1, DEMAND, 1, "Extended Base", 12, (5, 1), (10, 0), "cpu.inf"),
    ("AmdPPM", "amdppm.sys", 1, DEMAND, 1, "Extended Base", 13, (6, 1), (10, 0), "cpu.inf"),
    ("Processor", "processr.sys", 1, DEMAND, 1, "Extended Base", 14, (5, 1), (10, 0), "cpu.inf"),
    ("crashdmp", "crashdmp.sys", 1, DEMAND, 1, None, None, (6, 0), (6, 1), None),
    ("dumpfve", "dumpfve.sys", 1, DEMAND, 1, None, None, (6, 0), (6, 1), None),
]

# Values that a driver of DRIVERS has no longer: name, value, from.
GONE = [
    ("disk", "Group", (6, 1)), ("disk", "Tag", (6, 1)), ("NTFS", "ImagePath", (6, 1)),
    ("fastfat", "ImagePath", (6, 1)), ("isapnp", "Tag", (6, 1)), ("volsnap", "Tag", (6, 1)),
    ("volsnap", "Group", (10, 0)), ("volsnap", "Owners", (10, 0)), ("kbdclass", "Tag", (6, 2)),
    ("mouclass", "Tag", (6, 2)), ("kbdclass", "Group", (10, 0)), ("mouclass", "Group", (10, 0)),
    ("rdyboost", "Tag", (6, 2)), ("iorate", "Tag", (10, 0)), ("EhStorClass", "Tag", (10, 0)),
]

# name, image below System32, DLL, Type, Start, Group, depends on, account
PROGRAMS = [
    ("EventLog", "svchost.exe -k LocalServiceNetworkRestricted", "wevtsvc.dll", 0x20, AUTO,
     "Event Log", [], "NT AUTHORITY\\LocalService"),
    ("PlugPlay", "svchost.exe -k DcomLaunch", "umpnpmgr.dll", 0x20, AUTO, "PlugPlay", [],
     "LocalSystem"),
    ("RpcSs", "svchost.exe -k rpcss", "rpcss.dll", 0x20, AUTO, "COM Infrastructure", [],
     "NT AUTHORITY\\NetworkService"),
    ("Dhcp", "svchost.exe -k LocalServiceNetworkRestricted", "dhcpcore.dll", 0x20, AUTO, "TDI",
     ["Tcpip", "Afd"], "NT AUTHORITY\\LocalService"),
    ("Dnscache", "svchost.exe -k NetworkService", "dnsrslvr.dll", 0x20, AUTO, "TDI", ["Tdx"],
     "NT AUTHORITY\\NetworkService"),
    ("LanmanServer", "svchost.exe -k netsvcs", "srvsvc.dll", 0x20, AUTO, None, [],
     "LocalSystem"),
    ("LanmanWorkstation", "svchost.exe -k NetworkService", "wkssvc.dll", 0x20, AUTO,
     "NetworkProvider", ["Bowser", "MRxSmb10", "NSI"], "NT AUTHORITY\\NetworkService"),
    ("Schedule", "svchost.exe -k netsvcs", "schedsvc.dll", 0x20, AUTO, "SchedulerGroup",
     ["RPCSS", "EventLog"], "LocalSystem"),
    ("TermService", "svchost.exe -k NetworkService", "termsrv.dll", 0x20, DEMAND, None,
     ["RPCSS"], "NT Authority\\NetworkService"),
    ("W32Time", "svchost.exe -k LocalService", "w32time.dll", 0x20, DEMAND, None, [],
     "NT AUTHORITY\\LocalService"),
    ("wuauserv", "svchost.exe -k netsvcs", "wuaueng.dll", 0x20, DEMAND, None, ["rpcss"],
     "LocalSystem"),
]

GROUPS = [
    "System Reserved", "EMS", "WdfLoadGroup", "Boot Bus Extender", "System Bus Extender",
    "SCSI miniport", "Port", "Primary Disk", "SCSI Class", "SCSI CDROM Class",
    "FSFilter Infrastructure", "FSFilter System", "FSFilter Bottom", "FSFilter Copy Protection",
    "FSFilter Security Enhancer", "FSFilter Open File", "FSFilter Physical Quota Management",
    "FSFilter Virtualization", "FSFilter Encryption", "FSFilter Compression", "FSFilter Imaging",
    "FSFilter HSM", "FSFilter Cluster File System", "FSFilter System Recovery",
    "FSFilter Quota Management", "FSFilter Content Screener", "FSFilter Continuous Backup",
    "FSFilter Replication", "FSFilter Anti-Virus", "FSFilter Undelete",
    "FSFilter Activity Monitor", "FSFilter Top", "Filter", "Boot File System", "Base",
    "Pointer Port", "Keyboard Port", "Pointer Class", "Keyboard Class", "Video Init", "Video",
    "Video Save", "File System", "Streams Drivers", "NDIS Wrapper", "COM Infrastructure",
    "Event Log", "ProfSvc_Group", "AudioGroup", "UIGroup", "MS_WindowsLocalValidation",
    "PlugPlay", "Cryptography", "PNP_TDI", "NDIS", "TDI", "iSCSI", "NetBIOSGroup",
    "ShellSvcGroup", "SchedulerGroup", "SpoolerGroup", "SmartCardGroup", "NetworkProvider",
    "MS_WindowsRemoteValidation", "NetDDEGroup", "Parallel arbitrator", "Extended Base",
    "PCI Configuration", "MS Transactions",
]

# The tags of a group in the order in which they load; "SCSI miniport" has room for 0x21 and more,
# as GroupOrderList has it on real systems.
GROUP_TAGS = {
    "Boot Bus Extender": [7, 1, 2, 3, 4, 5],
    "System Bus Extender": [7, 3, 4, 1, 15, 8, 9, 10, 11, 12, 13, 14, 2, 5],
    "SCSI miniport": [0x100, 0x101, 25] + list(range(1, 24)) + [26, 24] + list(range(27, 33)) +
    list(range(35, 64)),
    "SCSI Class": [1, 2, 3],
    "SCSI CDROM Class": [1, 2],
    "Base": [14] + list(range(1, 14)) + [15, 16],
    "Extended Base": [1, 2, 4, 3] + list(range(5, 12)),
    "PnP Filter": [1, 3, 4, 7, 8, 9],
    "Keyboard Port": [1, 2, 3, 4],
    "Pointer Port": [1, 2, 3, 4],
    "NDIS": list(range(1, 13)) + [14],
    "PNP_TDI": [5, 1, 2, 3, 4, 6, 7, 8],
}

# What the system disk hangs on. service, hardware id, compatible id, class, instance, description,
# from, to
CONTROLLERS = {
    "ide": ("intelide", "PCI\\VEN_8086&DEV_7111&SUBSYS_197615AD&REV_01",
            "PCI\\VEN_8086&DEV_7111", "HDC", "3&18d45aa6&0&39",
            "Intel(R) 82371AB/EB PCI Bus Master IDE Controller", (5, 0), (10, 0)),
    "ahci": ("storahci", "PCI\\VEN_15AD&DEV_07E0&SUBSYS_07E015AD&REV_00", "PCI\\CC_010601", "HDC",
             "4&b70f118&0&2088", "Standard SATA AHCI Controller", (6, 0), (10, 0)),
    "lsisas": ("LSI_SAS", "PCI\\VEN_1000&DEV_0054&SUBSYS_197615AD&REV_01",
               "PCI\\VEN_1000&DEV_0054&REV_01", "SCSIAdapter", "4&3ad87e0a&0&00A8",
               "LSI Adapter, SAS 3000 series, 8-port with 1068", (6, 0), (10, 0)),
    "lsiscsi": ("symmpi", "PCI\\VEN_1000&DEV_0030&SUBSYS_197615AD&REV_01",
                "PCI\\VEN_1000&DEV_0030", "SCSIAdapter", "3&61aaa01&0&80",
                "LSI Logic PCI-X Ultra320 SCSI Host Adapter", (5, 0), (5, 2)),
    "pvscsi": ("pvscsi", "PCI\\VEN_15AD&DEV_07C0&SUBSYS_07C015AD&REV_02",
               "PCI\\VEN_15AD&DEV_07C0", "SCSIAdapter", "4&3ad87e0a&0&00A8",
               "VMware PVSCSI Controller", (5, 1), (10, 0)),
    "nvme": ("stornvme", "PCI\\VEN_15AD&DEV_07F0&SUBSYS_07F015AD&REV_00", "PCI\\CC_010802",
             "SCSIAdapter", "4&b70f118&0&3088", "Standard NVM Express Controller", (6, 3), (10, 0)),
    "storvsc": ("storvsc", "VMBUS\\{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}",
                "VMBUS\\{ba6163d9-04a1-4d29-b605-72e2ffb1dc7f}", "SCSIAdapter",
                "{f8b3781a-1e82-4818-a1c3-63d806ec15bb}", "Microsoft Hyper-V SCSI Controller",
                (6, 1), (10, 0)),
    "xenvbd": ("xenvbd", "XENBUS\\VEN_XS0001&DEV_VBD&REV_08000009",
               "XENBUS\\VEN_XS0001&DEV_VBD", "SCSIAdapter", "_",
               "XenServer PV Storage Host Adapter", (5, 1), (10, 0)),
}

# service, file, hardware id (or its beginning), description, INF, instance, from, to. Where the
# instance is MAC, Windows takes the PCI Express serial number, which these cards make of the MAC:
# it is the only place in the registry that tells a card's own address.
NICS = {
    "pcnet": ("PCnet", "pcntpci5.sys", "PCI\\VEN_1022&DEV_2000&SUBSYS_20001022&REV_10",
              "AMD PCNET Family PCI Ethernet Adapter", "netamd2.inf", "4&b70f118&0&%02X88",
              (5, 0), (5, 2)),
    "e1000": ("E1G60", "E1G6032E.sys", "PCI\\VEN_8086&DEV_100F&SUBSYS_075015AD&REV_01",
              "Intel(R) PRO/1000 MT Network Connection", "nete1g3e.inf", "4&b70f118&0&%02X88",
              (5, 1), (10, 0)),
    "e1000e": ("e1iexpress", "e1i63x64.sys", "PCI\\VEN_8086&DEV_10D3&SUBSYS_07D015AD&REV_00",
               "Intel(R) 82574L Gigabit Network Connection", "net1ic64.inf", "MAC:e1000e",
               (6, 0), (10, 0)),
    "vmxnet3": ("vmxnet3ndis6", "vmxnet3.sys", "PCI\\VEN_15AD&DEV_07B0&SUBSYS_07B015AD&REV_01",
                "vmxnet3 Ethernet Adapter", "oem3.inf", "MAC:vmxnet3", (5, 1), (10, 0)),
    "netvsc": ("netvsc", "netvsc.sys", "VMBUS\\{f8615163-df3e-46c5-913f-f2d2f965ed0e}",
               "Microsoft Hyper-V Network Adapter", "wnetvsc.inf", "GUID", (6, 1), (10, 0)),
    "xennet": ("xennet", "xennet.sys", "XENVIF\\VEN_XS0001&DEV_NET&REV_08000009",
               "XenServer PV Network Device", "oem2.inf", "%d", (5, 1), (10, 0)),
    "rtl8139": ("rtl8139", "RTL8139.SYS", "PCI\\VEN_10EC&DEV_8139&SUBSYS_11001AF4&REV_20",
                "Realtek RTL8139 Family PCI Fast Ethernet NIC", "netrtsnt.inf",
                "3&267a616a&0&%02X", (5, 0), (6, 1)),
}
