# SPDX-License-Identifier: GPL-2.0-or-later
"""The SYSTEM hive of a synthetic guest.

Which keys there are, and the types of their values, follows real SYSTEM hives of Windows 7, 8.1
and 10 (README.md says what was compared).
"""
import struct

import regf
from tables import (BOOT, CLASSES, CLASS_FILTERS, CLASS_NAMES, CONTROLLERS, DEMAND, DRIVERS,
                    GONE, GROUPS, GROUP_TAGS, NICS, PROGRAMS)

PROCESSORS = {"x86": "x86", "amd64": "AMD64", "arm64": "ARM64"}
# The number of an architecture in DriverDatabase.
ARCH_IDS = {"x86": 0, "amd64": 9, "arm64": 12}
JUNE_2006 = 0x01C694C5A38C8000  # the date that Microsoft gives all of its own drivers


def class_key(g, name):
    """A class's key: Windows 8 and later write the GUID in lower case."""
    guid = "{%s}" % CLASSES[name]
    return guid.lower() if g.release.eight else guid


def guid_bytes(text):
    parts = text.strip("{}").split("-")
    return struct.pack("<IHH", *(int(part, 16) for part in parts[:3])) + \
        bytes.fromhex(parts[3] + parts[4])


def _fits(g, first, last):
    return first <= g.release.version <= last


def package(g, inf):
    """The name of an INF's package in the driver store: a hash of its name stands for the real."""
    middle = "_" if g.release.eight else "_neutral_"
    return "%s_%s%s%016x" % (inf, g.arch, middle, g.number("package " + inf, 64))


def drivers(g):
    """The rows of DRIVERS that this release has."""
    return [row for row in DRIVERS if _fits(g, row[7], row[8])
            and not (g.arch == "arm64" and row[0] in ("intelide", "intelppm", "AmdPPM", "LSI_SAS"))]


def _start(g, row):
    """(Start, whether StartOverride holds it back) of a stock driver."""
    name, start = row[0], row[3]
    storage = {"atapi", "intelide", "pciide", "msahci", "storahci", "stornvme", "LSI_SAS",
               "vmbus", "storvsc", "storflt", "symmpi"}
    used = {CONTROLLERS[g.controller][0], {"storahci": "msahci"}.get(g.service, g.service)}
    if g.service == "intelide":
        used.add("atapi")
    if g.service == "storvsc" or g.option("hyperv"):
        used |= {"vmbus", "storvsc", "storflt"}
    if name in ("intelppm", "Processor"):
        return (1 if g.option("intelppm") else start), False
    if name == "agp440" and g.option("intelppm"):
        return BOOT, False
    if name not in storage:
        return start, False
    if name in used:
        return BOOT, False
    # Windows 8 and later mark what did not start at the last boot; before, Start says it.
    if g.release.eight:
        return start, start == BOOT
    return (start if name in ("atapi", "intelide", "pciide") else DEMAND), False


def _storage_parameters(key, name):
    buses = {"storahci": 0x0B, "stornvme": 0x11, "LSI_SAS": 0x0A, "storvsc": 0x0A, "pvscsi": 0x0A,
             "xenvbd": 0x01, "symmpi": 0x01}
    if name in buses:
        key.key("Parameters").dword("BusType", buses[name])
    if name in buses and name != "storvsc":
        key.key("Parameters\\PnpInterface").dword("5", 1)


def _services(g, control_set):
    services = control_set.key("services" if g.release.version == (6, 1) else "Services")
    for row in drivers(g):
        name, file, kind, _, error, group, tag, _, _, inf = row
        start, held = _start(g, row)
        key = services.key(name)
        key.expand("ImagePath", "System32\\drivers\\" + file).dword("Type", kind)
        key.dword("Start", start).dword("ErrorControl", error)
        if group:
            key.sz("Group", group)
        if tag is not None:
            key.dword("Tag", tag)
        if inf and g.release.eight:
            key.multi("Owners", [inf])
        elif inf and g.release.vista:
            key.sz("DriverPackageId", package(g, inf))
        if held:
            key.key("StartOverride").dword("0", 3)
        _storage_parameters(key, name)
    for name, value, first in GONE:
        if g.release.version >= first and services.find(name):
            services.key(name).values.pop(value.upper(), None)
    if g.release.vista:
        services.key("partmgr\\Parameters").dword("SanPolicy", g.san_policy)
    for name, image, dll, kind, start, group, needs, account in PROGRAMS:
        key = services.key(name)
        key.expand("ImagePath", "%SystemRoot%\\System32\\" + image).dword("Type", kind)
        key.dword("Start", start).dword("ErrorControl", 1).sz("ObjectName", account)
        if group:
            key.sz("Group", group)
        if needs:
            key.multi("DependOnService", needs)
        key.key("Parameters").expand("ServiceDll", "%SystemRoot%\\system32\\" + dll)
    _event_sources(services)
    return services


def _event_sources(services):
    for name in ("disk", "ntfs", "Tcpip"):
        key = services.key("EventLog\\System\\" + name)
        key.expand("EventMessageFile", "%SystemRoot%\\System32\\IoLogMsg.dll")
        if name != "ntfs":
            key.dword("TypesSupported", 7)


def _classes(g, control):
    for name in CLASSES:
        key = control.key("Class\\" + class_key(g, name))
        key.sz("Class", name)
        if not g.release.eight:
            key.sz("", CLASS_NAMES[name])
        if g.release.vista:
            key.multi("IconPath", ["%SystemRoot%\\system32\\setupapi.dll,-5"])
    for name, value, services, first, last in CLASS_FILTERS:
        if _fits(g, first, last):
            control.key("Class\\" + class_key(g, name)).multi(value, services)


def _device(g, enum, path, ids, description, kind, service, driver):
    """A key below Enum: PATH is its enumerator, hardware id and instance."""
    key = enum.key(path)
    key.sz("DeviceDesc", description).dword("Capabilities", 6)
    key.multi("HardwareID", ids).multi("CompatibleIDs", [ids[-1]]).dword("ConfigFlags", 0)
    key.sz("ClassGUID", "{%s}" % CLASSES[kind].lower() if g.release.vista
           else "{%s}" % CLASSES[kind])
    if not g.release.at_least(10, 0):
        key.sz("Class", kind)
    key.sz("Driver", "%s\\%s" % (key.get("ClassGUID"), driver)).sz("Mfg", "(Standard)")
    key.sz("Service", service)
    if g.release.at_least(6, 1):
        key.sz("ContainerID", "{00000000-0000-0000-ffff-ffffffffffff}")
    key.key("Device Parameters\\Interrupt Management")
    return key


def ids_of(hardware):
    """The hardware ids that a bus derives from its longest: without the revision, and so on."""
    parts = hardware.split("&")
    return ["&".join(parts[:count]) for count in range(len(parts), 1, -1)] or [hardware]


def _driver_entry(g, control, kind, number, inf, description, matching, provider="Microsoft"):
    key = control.key("Class\\%s\\%04d" % (class_key(g, kind), number))
    key.sz("DriverDesc", description).sz("ProviderName", provider)
    key.binary("DriverDateData", struct.pack("<Q", JUNE_2006)).sz("DriverDate", "6-21-2006")
    key.sz("DriverVersion", g.version).sz("InfPath", inf).sz("InfSection", "inst")
    key.sz("MatchingDeviceId", matching)
    return key


def _controllers(g, control, enum):
    service, hardware, compatible, kind, instance, description, _, _ = CONTROLLERS[g.controller]
    service = g.service
    ids = ids_of(hardware) + [compatible]
    _device(g, enum, hardware + "\\" + instance, ids, description, kind, service, "0000")
    inf = {"HDC": "mshdc.inf"}.get(kind, service.lower() + ".inf")
    _driver_entry(g, control, kind, 0, inf, description, compatible.lower())
    disk = "SCSI\\Disk&Ven_VMware&Prod_Virtual_disk\\5&1ec51bf7&0&000000"
    if kind == "HDC" and not g.release.eight:
        disk = "IDE\\DiskVMware_Virtual_IDE_Hard_Drive___________00000001\\5&2770a7af&0&0.0.0"
    _device(g, enum, disk, ["GenDisk"], "Disk drive", "DiskDrive", "disk", "0000")
    _driver_entry(g, control, "DiskDrive", 0, "disk.inf", "Disk drive", "gendisk")


def _addresses(nic, key):
    """The values of an interface below Tcpip\\Parameters\\Interfaces."""
    key.dword("UseZeroBroadcast", 0).dword("EnableDHCP", 0 if nic.address else 1)
    key.sz("NameServer", ",".join(nic.dns)).sz("Domain", nic.domain)
    key.dword("RegistrationEnabled", 1).dword("RegisterAdapterName", 0)
    if nic.metric:
        key.dword("InterfaceMetric", nic.metric)
    if nic.address:
        key.multi("IPAddress", nic.address).multi("SubnetMask", nic.mask)
        key.multi("DefaultGateway", nic.gateway)
        key.multi("DefaultGatewayMetric", ["0"] * len(nic.gateway))
    else:
        key.sz("DhcpIPAddress", "192.168.122.57").sz("DhcpSubnetMask", "255.255.255.0")
        key.sz("DhcpServer", "192.168.122.1").dword("Lease", 3600)


def _nic(g, control, enum, services, nic):
    service, file, hardware, description, inf, _, _, _ = NICS[nic.model]
    # The six WAN miniports come first, as on every Windows.
    number = 7 + nic.number
    key = _driver_entry(g, control, "Net", number, inf, description, ids_of(hardware)[-1].lower())
    key.sz("NetCfgInstanceId", nic.guid).sz("ComponentId", ids_of(hardware)[-1].lower())
    key.dword("*IfType", 6).dword("*MediaType", 0).dword("*PhysicalMediaType", 14)
    key.dword("Characteristics", 0x84).dword("NetLuidIndex", number)
    key.sz("DeviceInstanceID", nic.instance).sz("BusType", "5")
    if nic.overridden:
        key.sz("NetworkAddress", nic.mac.replace(":", "").upper())
    key.key("Linkage").multi("RootDevice", [nic.guid]).multi("UpperBind", ["Tcpip"]) \
        .multi("Export", ["\\Device\\" + nic.guid])
    key.key("Ndi").sz("Service", service)
    key.key("Ndi\\Interfaces").sz("UpperRange", "ndis5").sz("LowerRange", "ethernet")
    device = _device(g, enum, nic.instance, ids_of(hardware), description, "Net", service,
                     "%04d" % number)
    if nic.ghost:
        device.dword("ConfigFlags", 0x400)
    if g.release.eight:
        # DEVPKEY_Device_LastArrivalDate and _LastRemovalDate.
        dates = device.key("Properties\\{83da6326-97a6-4088-9453-a1923f573b29}")
        dates.key("0066").set("", 0xFFFF0010, struct.pack("<Q", g.time - 7200 * 10 ** 7))
        if nic.ghost:
            dates.key("0067").set("", 0xFFFF0010, struct.pack("<Q", g.time - 3600 * 10 ** 7))
    connection = control.key("Network\\{%s}\\%s\\Connection" % (CLASSES["Net"], nic.guid))
    connection.sz("Name", nic.name)
    connection.sz("PnPInstanceId" if g.release.eight else "PnpInstanceID", nic.instance)
    control.key("Network\\{%s}\\Descriptions" % CLASSES["Net"]).multi(description, ["1"])
    if not services.find(service):
        services.key(service).expand("ImagePath", "\\SystemRoot\\System32\\drivers\\" + file) \
            .dword("Type", 1).dword("Start", DEMAND).dword("ErrorControl", 1).sz("Group", "NDIS")
    tcpip = services.key("Tcpip\\Parameters")
    name = nic.guid.lower() if g.release.at_least(10, 0) else nic.guid
    _addresses(nic, tcpip.key("Interfaces\\" + name))
    tcpip.key("Adapters\\" + nic.guid).sz("LLInterface", "") \
        .multi("IpConfig", ["Tcpip\\Parameters\\Interfaces\\" + nic.guid])
    if g.release.at_least(10, 0):
        kernel = control.key("NetworkSetup2\\Interfaces\\%s\\Kernel" % nic.guid)
        kernel.dword("IfType", 6).sz("IfAlias", nic.name).sz("IfDescr", description)
        kernel.dword("NetLuidIndex", number).binary("CurrentAddress", nic.mac_bytes)
        kernel.binary("PermanentAddress", nic.mac_bytes)


def _network(g, control, enum, services):
    net = control.key("Class\\" + class_key(g, "Net"))
    for number, name in enumerate(("SSTP", "IKEv2", "L2TP", "PPTP", "PPPOE", "IPv6", "IP")):
        key = net.key("%04d" % number)
        key.sz("DriverDesc", "WAN Miniport (%s)" % name).sz("NetCfgInstanceId", g.guid("wan" + name))
        key.sz("ComponentId", "ms_%sminiport" % name.lower()).dword("*IfType", 0x83)
        key.dword("Characteristics", 0x29).sz("InfPath", "netrasa.inf")
    for nic in g.nics:
        _nic(g, control, enum, services, nic)
    tcpip = services.key("Tcpip\\Parameters")
    tcpip.sz("Hostname", g.hostname).sz("NV Hostname", g.hostname)
    tcpip.sz("Domain", g.domain).sz("NV Domain", g.domain).sz("NameServer", "")
    # Members of a domain start it by themselves.
    if g.domain:
        services.key("Netlogon").dword("Start", 2).dword("Type", 0x20)
    tcpip.expand("DataBasePath", "%SystemRoot%\\System32\\drivers\\etc")
    tcpip.dword("IPEnableRouter", 0)
    if g.release.vista and g.nics:
        # A DUID-LLT: it holds the address of the card that was there at installation.
        services.key("TCPIP6\\Parameters").binary(
            "Dhcpv6DUID", struct.pack(">HHI", 1, 1, 0x14CDD123) + g.nics[0].mac_bytes)


def _critical_devices(g, control):
    """Up to Windows 7, what tells which driver a device has before Plug and Play is up."""
    if g.release.eight:
        return
    database = control.key("CriticalDeviceDatabase")
    rows = [("primary_ide_channel", "atapi", "HDC", "mshdc.inf"),
            ("secondary_ide_channel", "atapi", "HDC", "mshdc.inf"),
            ("pci#ven_8086&dev_7111", "intelide", "HDC", "mshdc.inf"),
            ("pci#cc_0101", "pciide", "HDC", "mshdc.inf"),
            ("gendisk", "disk", "DiskDrive", "disk.inf"),
            ("*pnp0a03", "pci", "System", "machine.inf"),
            ("pci#ven_1000&dev_0030", "symmpi", "SCSIAdapter", None)
            if not g.release.vista else
            ("PCI#VEN_1000&DEV_0054", "LSI_SAS", "SCSIAdapter", "lsi_sas.inf")]
    if g.release.vista:
        rows.append(("PCI#CC_010601", "msahci", "HDC", "mshdc.inf"))
    for name, service, kind, inf in rows:
        key = database.key(name).sz("ClassGUID", "{%s}" % CLASSES[kind]).sz("Service", service)
        if inf and g.release.vista:
            key.sz("DriverPackageId", package(g, inf))


def _session_manager(g, control):
    manager = control.key("Session Manager")
    manager.multi("BootExecute", ["autocheck autochk *"]).dword("ProtectionMode", 1)
    manager.multi("ObjectDirectories", ["\\Windows", "\\RPC Control"])
    environment = manager.key("Environment")
    environment.expand("ComSpec", "%SystemRoot%\\system32\\cmd.exe").sz("OS", "Windows_NT")
    environment.expand("Path", "%SystemRoot%\\system32;%SystemRoot%;%SystemRoot%\\System32\\Wbem")
    environment.sz("PROCESSOR_ARCHITECTURE", PROCESSORS[g.arch]).sz("NUMBER_OF_PROCESSORS", "2")
    environment.expand("TEMP", "%SystemRoot%\\TEMP").expand("windir", "%SystemRoot%")
    memory = manager.key("Memory Management")
    memory.multi("PagingFiles", ["?:\\pagefile.sys" if g.release.vista else
                                 "%s:\\pagefile.sys 384 768" % g.letter])
    memory.multi("ExistingPageFiles", ["\\??\\%s:\\pagefile.sys" % g.letter])
    manager.key("SubSystems").multi("Optional", ["Posix"])
    manager.key("KnownDLLs").sz("kernel32", "kernel32.dll")
    if g.release.eight:
        manager.key("Power").dword("HiberbootEnabled", 1 if g.option("fast_startup") else 0)
    if g.option("pending_renames"):
        manager.multi("PendingFileRenameOperations", [])
        manager.set("PendingFileRenameOperations", regf.MULTI_SZ, b"".join(
            regf.sz(text) for text in g.pending_renames()) + b"\0\0")


def _time_zone(g, control):
    key = control.key("TimeZoneInformation")
    key.dword("Bias", -60).dword("DaylightBias", -60).dword("StandardBias", 0)
    key.sz("StandardName", "@tzres.dll,-322" if g.release.vista else "W. Europe Standard Time")
    key.sz("DaylightName", "@tzres.dll,-321" if g.release.vista else "W. Europe Daylight Time")
    key.binary("StandardStart", struct.pack("<8H", 0, 10, 5, 3, 0, 0, 0, 0))
    key.binary("DaylightStart", struct.pack("<8H", 0, 3, 5, 2, 0, 0, 0, 0))
    key.dword("ActiveTimeBias", -60)
    if g.release.vista:
        # A fixed buffer of 128 characters, as tzres leaves it behind, up to Windows 7.
        name = regf.sz("W. Europe Standard Time")
        key.set("TimeZoneKeyName", regf.SZ, name if g.release.eight else name.ljust(256, b"\0"))
        key.dword("DynamicDaylightTimeDisabled", 0)
    if g.option("utc"):
        key.dword("RealTimeIsUniversal", 1)


def _arc(g, role):
    part = g.partition(role)
    return "multi(0)disk(0)rdisk(0)partition(%d)" % part.number


def _control(g, control):
    control.sz("CurrentUser", "USERNAME").dword("BootDriverFlags", 0x1C if g.release.eight else 0)
    control.sz("WaitToKillServiceTimeout", "5000" if g.release.eight else "20000")
    control.sz("SystemStartOptions", " NOEXECUTE=OPT%s" % ("OUT" if g.release.server else "IN"))
    control.sz("SystemBootDevice", _arc(g, "windows"))
    control.sz("FirmwareBootDevice", _arc(g, "system"))
    control.key("ComputerName\\ComputerName").sz("", "mnmsrvc").sz("ComputerName", g.hostname)
    crash = control.key("CrashControl")
    crash.dword("AutoReboot", 1).dword("CrashDumpEnabled", 7 if g.release.eight else 2)
    crash.dword("LogEvent", 1).dword("Overwrite", 1)
    crash.expand("DumpFile", "%SystemRoot%\\MEMORY.DMP")
    crash.expand("MinidumpDir", "%SystemRoot%\\Minidump")
    if g.release.at_least(6, 1):
        crash.multi("DumpFilters", ["dumpfve.sys"])
    options = control.key("ProductOptions").sz("ProductType", g.product_type)
    options.multi("ProductSuite", ["Terminal Server"])
    control.key("ServiceGroupOrder").multi("List", GROUPS)
    for group, tags in GROUP_TAGS.items():
        control.key("GroupOrderList").binary(
            group, struct.pack("<%dI" % (len(tags) + 1), len(tags), *tags))
    windows = control.key("Windows").expand("Directory", "%SystemRoot%")
    windows.expand("SystemDirectory", "%SystemRoot%\\system32").dword("CSDVersion",
                                                                     g.release.packs << 8)
    windows.dword("NoInteractiveServices", 1 if g.release.eight else 0)
    lsa = control.key("Lsa").multi("Authentication Packages", ["msv1_0"])
    lsa.multi("Notification Packages", ["scecli"])
    for name in ("JD", "Skew1", "GBG", "Data"):
        lsa.key(name).class_name = "%08x" % g.number("lsa " + name, 32)
    control.key("SafeBoot").sz("AlternateShell", "cmd.exe")
    for name in ("disk", "volmgr", "SCSIAdapter"):
        control.key("SafeBoot\\Minimal\\" + name).sz("", "Driver")
    if g.release.eight and g.firmware == "uefi":
        control.key("SecureBoot").dword("AvailableUpdates", 0)
        # The key State is volatile: that it is in the file is a hint that hives of this kind have
        # only when they were saved from a running system.
        if g.option("secure_boot"):
            control.key("SecureBoot\\State").dword("UEFISecureBootEnabled", 1)


def _control_set(g, root):
    one = root.key("ControlSet%03d" % g.current)
    control, enum = one.key("Control"), one.key("Enum")
    one.key("Hardware Profiles\\0001")
    one.key("Policies")
    services = _services(g, one)
    _control(g, control)
    _classes(g, control)
    _critical_devices(g, control)
    _session_manager(g, control)
    _time_zone(g, control)
    _controllers(g, control, enum)
    _network(g, control, enum, services)
    if g.option("hal"):
        # What setup detected the computer as; hal.inf has the ids.
        kind = "ACPI_HAL" if g.option("hal").startswith("acpi") else "PCI_HAL"
        enum.key("Root\\%s\\0000" % kind).multi("HardwareID", [g.option("hal")]) \
            .multi("CompatibleIDs", ["DETECTEDInternal\\" + kind, "DETECTED\\" + kind]) \
            .sz("Class", "Computer").dword("ConfigFlags", 0).dword("Capabilities", 0)
    if g.option("tpm"):
        _device(g, enum, "ACPI\\MSFT0101\\1", ["ACPI\\MSFT0101", "*MSFT0101"],
                "Trusted Platform Module 2.0", "System", "TPM", "0001")
        services.key("TPM").expand("ImagePath", "\\SystemRoot\\System32\\drivers\\tpm.sys") \
            .dword("Type", 1).dword("Start", DEMAND).dword("ErrorControl", 1)
    for leftover in g.leftovers:
        _leftover(g, leftover, control, services)


def _leftover(g, leftover, control, services):
    folder = "%s:\\%s" % (g.letter, leftover.folder)
    for name, kind, start, error, group, image, display, first in leftover.services:
        if g.release.version < first:
            continue
        key = services.key(name)
        path = image.replace("%P", folder).replace("C:\\", g.letter + ":\\")
        if "\\" not in path:
            path = "System32\\drivers\\" + path
        key.expand("ImagePath", path).dword("Type", kind).dword("Start", start)
        key.dword("ErrorControl", error).sz("DisplayName", display)
        if group:
            key.sz("Group", group)
        if kind in (0x10, 0x20):
            key.sz("ObjectName", "LocalSystem")
        if kind == 2:
            key.multi("DependOnService", ["FltMgr"] if group and "FSFilter" in group else [])
        # Storage that is not in use is held back, as Windows 8 and later do it.
        if group == "SCSI Miniport" and name != g.service and start == BOOT:
            if g.release.eight:
                key.key("StartOverride").dword("0", 3)
            else:
                key.dword("Start", DEMAND)
        _storage_parameters(key, name)
        if group and "FSFilter" in group:
            key.key("Instances").sz("DefaultInstance", name + " Instance")
            key.key("Instances\\%s Instance" % name).sz("Altitude", "328200").dword("Flags", 0)
    for kind, value, service in leftover.filters:
        if not services.find(service):
            continue
        key = control.key("Class\\" + class_key(g, kind))
        key.multi(value, [service] + (key.get(value) or []))


def _driver_database(g, root):
    if not g.release.eight:
        return
    database = root.key("DriverDatabase")
    database.dword("Version", 0x0A000000 if g.release.at_least(10, 0) else 0x06020000)
    database.dword("Architecture", ARCH_IDS[g.arch])
    numbers = [number for number, _, _, _ in g.oem_packages()]
    bitmap = sum(0x8000 >> number for number in numbers)
    database.binary("OemInfMap", struct.pack(">H", bitmap))
    database.key("DriverFiles")
    stock = [("mshdc.inf", "HDC", "Microsoft", [("msahci_Inst", "storahci", "PCI\\CC_010601"),
                                                ("atapi_Inst", "atapi", "*PNP0600"),
                                                ("intelide_Inst", "intelide",
                                                 "PCI\\VEN_8086&DEV_7111")]),
             ("disk.inf", "DiskDrive", "Microsoft", [("disk_install.NT", "disk", "GenDisk")]),
             ("pci.inf", "System", "Microsoft", [("PCI_DRV", "pci", "*PNP0A08")]),
             ("lsi_sas.inf", "SCSIAdapter", "LSI", [("LSI_SAS_Inst", "LSI_SAS",
                                                    "PCI\\VEN_1000&DEV_0054")]),
             ("stornvme.inf", "SCSIAdapter", "Microsoft", [("Stornvme_Inst", "stornvme",
                                                           "PCI\\CC_010802")])]
    for inf, kind, provider, sections in stock:
        if inf != "stornvme.inf" or g.release.at_least(6, 3):
            _database_package(g, database, inf, inf, kind, provider, sections, 0x0D000003)
    for number, original, provider, kind in g.oem_packages():
        name = original.rpartition(".")[0]
        _database_package(g, database, "oem%d.inf" % number, original, kind, provider,
                          [(name + ".install", name, "%s\\%s" % ("ROOT", name.upper()))],
                          0x0D000005)


def _database_package(g, database, inf, original, kind, provider, sections, score):
    name = package(g, original)
    oem = inf != original
    entry = database.key("DriverInfFiles\\" + inf)
    entry.multi("", [name]).sz("Active", name)
    entry.multi("Configurations", [section for section, _, _ in sections])
    database.key("DeviceIds\\{%s}" % CLASSES[kind].lower()).set(inf, regf.NONE, b"")
    key = database.key("DriverPackages\\" + name)
    key.sz("", inf).sz("Provider", provider)
    version = struct.pack("<4H", *reversed(g.version_numbers))
    key.binary("Version", struct.pack("<BBBBI", 0xFF if not oem else 0, 0xFF, ARCH_IDS[g.arch], 0,
                                      0) +
               guid_bytes(CLASSES[kind]) + struct.pack("<Q", JUNE_2006) + version + bytes(8))
    key.dword("SignerScore", score).dword("StatusFlags", 0x12 if oem else 0x16)
    if oem:
        key.sz("InfName", original).sz("Catalog", original[:-3] + "cat")
        key.qword("FileSize", 4096).binary("ImportDate", struct.pack("<Q", g.time))
    for section, service, hardware in sections:
        config = key.key("Configurations\\" + section)
        config.sz("Service", service).dword("ConfigScope", 7).dword("ConfigFlags", 0)
        descriptor = key.key("Descriptors\\" + hardware)
        descriptor.sz("Configuration", section).sz("Description", "%desc%")
        descriptor.sz("Manufacturer", "%mfg%")
        key.key("Strings").sz("desc", service).sz("mfg", provider)
        bus, _, device = hardware.rpartition("\\")
        database.key("DeviceIds\\" + (bus + "\\" if bus else "") + device) \
            .binary(inf, b"\x01\xff\x00\x00")


def mounted_name(g, part):
    """The value with which MountedDevices knows a partition."""
    if g.layout == "gpt":
        return b"DMIO:ID:" + guid_bytes(part.guid)
    return struct.pack("<IQ", g.disk_signature, part.start * 512)


def _setup(g, root):
    setup = root.key("Setup")
    busy = g.option("setup_in_progress")
    setup.dword("SystemSetupInProgress", 1 if busy else 0).dword("SetupPhase", 4 if busy else 0)
    setup.dword("SetupType", 2 if busy or g.option("sysprep") else 0).dword("RestartSetup", 0)
    setup.sz("CmdLine", "oobe\\windeploy.exe" if busy or g.option("sysprep") else "")
    setup.dword("OOBEInProgress", 1 if g.option("sysprep") else 0)
    setup.sz("OsLoaderPath", "\\")
    setup.sz("SystemPartition", "\\Device\\HarddiskVolume%d" % g.partition("system").number)
    if g.release.vista:
        setup.sz("WorkingDirectory", "%s:\\%s\\Panther" % (g.letter, g.windows))
    setup.multi("CloneTag", ["Fri Sep 29 06:49:45 2017"] if g.option("sysprep") else [])
    for name in ("AFD", "EventLog", "PlugPlay", "SamSs"):
        setup.key("AllowStart\\" + name)


def build(g):
    """The root key of the guest's SYSTEM."""
    root = regf.Key(g.root_name("system"))
    _control_set(g, root)
    if g.old_set:
        root.subkeys["CONTROLSET%03d" % g.old_set] = \
            root.key("ControlSet%03d" % g.current).copy("ControlSet%03d" % g.old_set)
    select = root.key("Select")
    select.dword("Current", g.current).dword("Default", g.current).dword("Failed", 0)
    select.dword("LastKnownGood", g.old_set or g.current)
    _setup(g, root)
    mounted = root.key("MountedDevices")
    mounted.binary("\\DosDevices\\%s:" % g.letter, mounted_name(g, g.partition("windows")))
    for part in g.partitions:
        if part.role not in ("msr",):
            mounted.binary("\\??\\Volume%s" % g.guid("volume %d" % part.number),
                           mounted_name(g, part))
    _driver_database(g, root)
    if g.release.eight:
        config = root.key("HardwareConfig").sz("LastConfig", g.guid("hardware")).dword("LastId", 0)
        config = config.key(g.guid("hardware")).dword("Id", 0).dword("BootDriverFlags", 0x1C)
        config.sz("SystemManufacturer", g.maker[0]).sz("SystemProductName", g.maker[1])
        config.sz("BIOSVendor", g.maker[2])
    root.key("WPA")
    return root
