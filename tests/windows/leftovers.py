# SPDX-License-Identifier: GPL-2.0-or-later
"""What the guest tools of other hypervisors leave in a Windows: one Leftover for each."""
from tables import AUTO, BOOT, DEMAND, SYSTEM

DRIVER, FILE_SYSTEM, PROGRAM, SHARED = 1, 2, 0x10, 0x110


class Leftover:
    """The remains of one hypervisor's tools.

    services  (name, Type, Start, ErrorControl, Group, image, display name, from version); an image
              that is a bare name lies in System32\\drivers. %P is the program folder.
    filters   (class, value, service)
    uninstall (key, name, version, publisher, command)
    packages  (original INF, provider, class): drivers in the store, as oemN.inf
    files     besides the services' own
    run       (name, command) in Run
    """

    def __init__(self, option, title, company, folder, services, filters=(), uninstall=(),
                 packages=(), files=(), run=(), version=(1, 0, 0, 1)):
        self.option, self.title, self.company, self.folder = option, title, company, folder
        self.services, self.filters, self.uninstall = services, filters, uninstall
        self.packages, self.files, self.run, self.version = packages, files, run, version


VMWARE = Leftover(
    "vmware-tools", "VMware Tools", "VMware, Inc.", "Program Files\\VMware\\VMware Tools", [
        ("VMTools", PROGRAM, AUTO, 1, None, "\"%P\\vmtoolsd.exe\"", "VMware Tools", (5, 0)),
        ("VGAuthService", PROGRAM, AUTO, 1, None,
         "\"%P\\VMware VGAuth\\VGAuthService.exe\"",
         "VMware Alias Manager and Ticket Service", (6, 0)),
        ("vm3dservice", PROGRAM, AUTO, 1, None, "%SystemRoot%\\system32\\vm3dservice.exe",
         "VMware SVGA Helper Service", (6, 1)),
        ("vmvss", PROGRAM, DEMAND, 1, None,
         "%SystemRoot%\\system32\\dllhost.exe /Processid:{83CB0E2D-0F1A-4C9B-8B59-3C6F0D3A5E11}",
         "VMware Snapshot Provider", (6, 0)),
        ("vm3dmp", DRIVER, DEMAND, 0, "Video", "vm3dmp.sys", "vm3dmp", (5, 1)),
        ("vm3dmp_loader", DRIVER, BOOT, 0, "Video", "vm3dmp_loader.sys", "vm3dmp_loader", (6, 1)),
        ("vmci", DRIVER, BOOT, 1, "System Bus Extender", "vmci.sys", "VMware VMCI Bus Driver",
         (5, 1)),
        ("vsock", DRIVER, BOOT, 1, "PNP_TDI", "vsock.sys", "vSockets Virtual Machine "
         "Communication Interface Sockets driver", (6, 0)),
        ("vmhgfs", FILE_SYSTEM, SYSTEM, 1, "NetworkProvider", "vmhgfs.sys",
         "VMware Host Guest Client Redirector", (5, 0)),
        ("vmmemctl", DRIVER, AUTO, 0, "Extended Base",
         "\\??\\C:\\Program Files\\Common Files\\VMware\\Drivers\\memctl\\vmmemctl.sys",
         "Memory Control Driver", (5, 0)),
        ("vmmouse", DRIVER, DEMAND, 0, "Pointer Port", "vmmouse.sys", "VMware Pointing Device",
         (5, 0)),
        ("vmusbmouse", DRIVER, DEMAND, 0, "Pointer Port", "vmusbmouse.sys",
         "VMware USB Pointing Device", (6, 0)),
        ("vmrawdsk", DRIVER, SYSTEM, 0, "Base", "vmrawdsk.sys",
         "VMware Physical Disk Helper", (5, 0)),
        ("pvscsi", DRIVER, BOOT, 1, "SCSI Miniport", "pvscsi.sys",
         "pvscsi Storage Controller Driver", (5, 1)),
        ("vmxnet3ndis6", DRIVER, DEMAND, 1, "NDIS", "vmxnet3.sys",
         "vmxnet3 NDIS 6 Ethernet Adapter Driver", (5, 1)),
        ("vnetWFP", DRIVER, SYSTEM, 1, "NDIS", "vnetWFP.sys", "Guest Introspection Network Driver",
         (6, 1)),
        ("vsepflt", FILE_SYSTEM, BOOT, 1, "FSFilter Activity Monitor", "vsepflt.sys",
         "VFileFilter", (6, 0)),
        ("giappdef", DRIVER, SYSTEM, 1, None, "giappdef.sys", "Guest Introspection AppDef",
         (6, 2)),
    ],
    filters=[("Mouse", "UpperFilters", "vmmouse")],
    uninstall=[("{8EB4D1FA-4C76-4F0C-9E3D-9D11C5B0A6F2}", "VMware Tools", "12.1.5.20735119",
                "VMware, Inc.", "MsiExec.exe /X{8EB4D1FA-4C76-4F0C-9E3D-9D11C5B0A6F2}")],
    packages=[("vm3d.inf", "VMware, Inc.", "Display"), ("vmci.inf", "VMware, Inc.", "System"),
              ("pvscsi.inf", "VMware, Inc.", "SCSIAdapter"), ("vmxnet3.inf", "VMware, Inc.", "Net"),
              ("vmmouse.inf", "VMware, Inc.", "Mouse")],
    files=["%P\\VMwareToolboxCmd.exe", "%P\\vmtoolsd.exe"],
    run=[("VMware User Process", "\"%P\\vmtoolsd.exe\" -n vmusr")],
    version=(12, 1, 5, 39265))

HYPERV = Leftover(
    "hyperv", "Hyper-V integration", "Microsoft Corporation", "", [
        ("vmicheartbeat", 0x20, DEMAND, 1, None,
         "%SystemRoot%\\system32\\svchost.exe -k ICService", "Hyper-V Heartbeat Service", (6, 0)),
        ("vmickvpexchange", 0x20, DEMAND, 1, None,
         "%SystemRoot%\\system32\\svchost.exe -k LocalSystemNetworkRestricted",
         "Hyper-V Data Exchange Service", (6, 0)),
        ("vmicshutdown", 0x20, DEMAND, 1, None,
         "%SystemRoot%\\system32\\svchost.exe -k LocalSystemNetworkRestricted",
         "Hyper-V Guest Shutdown Service", (6, 0)),
        ("vmictimesync", 0x20, DEMAND, 1, None,
         "%SystemRoot%\\system32\\svchost.exe -k LocalServiceNetworkRestricted",
         "Hyper-V Time Synchronization Service", (6, 0)),
        ("vmicvss", 0x20, DEMAND, 1, None,
         "%SystemRoot%\\system32\\svchost.exe -k LocalSystemNetworkRestricted",
         "Hyper-V Volume Shadow Copy Requestor", (6, 0)),
        ("VMBusHID", DRIVER, DEMAND, 0, "Extended Base", "VMBusHID.sys", "VMBusHID", (6, 0)),
        ("hyperkbd", DRIVER, DEMAND, 0, "Extended Base", "hyperkbd.sys", "hyperkbd", (6, 2)),
        ("HyperVideo", DRIVER, DEMAND, 0, "Video", "HyperVideo.sys", "HyperVideo", (6, 2)),
    ])

XEN = Leftover(
    "xen", "XenServer guest tools", "Citrix Systems, Inc.", "Program Files\\Citrix\\XenTools", [
        ("xenbus", DRIVER, BOOT, 1, "System Bus Extender", "xenbus.sys", "XenServer PV Bus",
         (5, 1)),
        ("xenfilt", DRIVER, BOOT, 1, "Boot Bus Extender", "xenfilt.sys",
         "XenServer Generic Bus Filter", (5, 1)),
        ("xenvbd", DRIVER, BOOT, 1, "SCSI Miniport", "xenvbd.sys",
         "XenServer PV Storage Host Adapter", (5, 1)),
        ("xencrsh", DRIVER, BOOT, 1, None, "xencrsh.sys", "XenServer crash dump", (5, 1)),
        ("xendisk", DRIVER, BOOT, 1, "PnP Filter", "xendisk.sys",
         "XenServer PV Storage Filter", (5, 1)),
        ("xenvif", DRIVER, DEMAND, 1, "NDIS", "xenvif.sys", "XenServer PV Network Class", (5, 1)),
        ("xennet", DRIVER, DEMAND, 1, "NDIS", "xennet.sys", "XenServer PV Network Device", (5, 1)),
        ("xeniface", DRIVER, DEMAND, 1, None, "xeniface.sys", "XenServer Interface", (5, 1)),
        ("xensvc", PROGRAM, AUTO, 1, None, "\"%P\\XenGuestAgent.exe\"", "XenServer Guest Agent",
         (5, 1)),
        ("xenbus_monitor", PROGRAM, AUTO, 1, None,
         "%SystemRoot%\\system32\\xenbus_monitor_8_2_2_37.exe", "XENBUS Monitor", (6, 1)),
    ],
    filters=[("System", "UpperFilters", "XENFILT"), ("HDC", "UpperFilters", "XENFILT"),
             ("DiskDrive", "UpperFilters", "xendisk")],
    uninstall=[("{AC81AD0B-4A5E-4D0F-9B46-1F5C8B0C2B51}", "Citrix Hypervisor PV Tools", "9.3.1.83",
                "Citrix", "MsiExec.exe /X{AC81AD0B-4A5E-4D0F-9B46-1F5C8B0C2B51}")],
    packages=[("xenbus.inf", "Citrix Systems, Inc.", "System"),
              ("xenvbd.inf", "Citrix Systems, Inc.", "SCSIAdapter"),
              ("xennet.inf", "Citrix Systems, Inc.", "Net")],
    version=(8, 2, 2, 37))

PARALLELS = Leftover(
    "parallels", "Parallels Tools", "Parallels International GmbH",
    "Program Files\\Parallels\\Parallels Tools", [
        ("prl_strg", DRIVER, BOOT, 1, "SCSI Class", "prl_strg.sys", "Parallels Storage Filter",
         (5, 0)),
        ("prl_tg", DRIVER, BOOT, 1, "System Bus Extender", "prl_tg.sys", "Parallels Tool Gate",
         (5, 0)),
        ("prl_fs", FILE_SYSTEM, SYSTEM, 1, "NetworkProvider", "prl_fs.sys",
         "Parallels Shared Folders", (5, 0)),
        ("prl_memdev", DRIVER, DEMAND, 1, None, "prl_memdev.sys", "Parallels Memory Device",
         (5, 0)),
        ("prl_mouf", DRIVER, DEMAND, 1, "Pointer Port", "prl_mouf.sys", "Parallels Mouse Filter",
         (5, 0)),
        ("prl_kmdd", DRIVER, DEMAND, 0, "Video", "prl_kmdd.sys", "Parallels Video", (6, 0)),
        ("prl_tools", PROGRAM, AUTO, 1, None, "\"%P\\Services\\prl_tools_service.exe\"",
         "Parallels Tools Service", (5, 0)),
        ("prl_tools_service", PROGRAM, AUTO, 1, None, "\"%P\\Services\\coherence.exe\"",
         "Parallels Coherence Service", (5, 0)),
    ],
    filters=[("DiskDrive", "LowerFilters", "prl_strg"), ("Mouse", "UpperFilters", "prl_mouf")],
    uninstall=[("{5B0E3F0B-79D7-4B2D-8C9E-5A7E6F14D6A3}", "Parallels Tools", "17.1.4.51567",
                "Parallels International GmbH",
                "MsiExec.exe /X{5B0E3F0B-79D7-4B2D-8C9E-5A7E6F14D6A3}")],
    packages=[("prl_strg.inf", "Parallels", "DiskDrive"), ("prl_tg.inf", "Parallels", "System")],
    version=(17, 1, 4, 51567))

VIRTUALBOX = Leftover(
    "virtualbox", "VirtualBox Guest Additions", "Oracle Corporation",
    "Program Files\\Oracle\\VirtualBox Guest Additions", [
        ("VBoxGuest", DRIVER, BOOT, 1, "System Bus Extender", "VBoxGuest.sys",
         "VirtualBox Guest Driver", (5, 0)),
        ("VBoxMouse", DRIVER, DEMAND, 1, "Pointer Port", "VBoxMouse.sys",
         "VirtualBox Guest Mouse Service", (5, 0)),
        ("VBoxSF", FILE_SYSTEM, SYSTEM, 1, "NetworkProvider", "VBoxSF.sys",
         "VirtualBox Shared Folders", (5, 0)),
        ("VBoxWddm", DRIVER, DEMAND, 1, "Video", "VBoxWddm.sys", "VBoxWddm", (6, 0)),
        ("VBoxService", PROGRAM, AUTO, 1, "Base", "%SystemRoot%\\System32\\VBoxService.exe",
         "VirtualBox Guest Additions Service", (5, 0)),
    ],
    filters=[("Mouse", "UpperFilters", "VBoxMouse")],
    uninstall=[("Oracle VM VirtualBox Guest Additions", "Oracle VM VirtualBox Guest Additions "
                "6.1.38", "6.1.38.153438", "Oracle Corporation", "\"%P\\uninst.exe\"")],
    packages=[("VBoxGuest.inf", "Oracle Corporation", "System"),
              ("VBoxWddm.inf", "Oracle Corporation", "Display")],
    files=["%P\\uninst.exe"],
    run=[("VBoxTray", "%SystemRoot%\\system32\\VBoxTray.exe")],
    version=(6, 1, 38, 38198))

ALL = [VMWARE, HYPERV, XEN, PARALLELS, VIRTUALBOX]


def image_file(image, folder, windows):
    """Where the file of a service's IMAGE lies, below the drive; None for one of Windows' own."""
    path = image.replace("%P", folder).replace("%SystemRoot%", windows)
    path = path.replace("\\??\\", "")
    if path.startswith('"'):
        path = path[1:].split('"')[0]
    else:
        path = path.split(" /")[0].split(" -k")[0]
    if path[1:3] == ":\\":
        path = path[3:]
    if "\\" not in path:
        return windows + "\\System32\\drivers\\" + path
    if path.lower().endswith(("\\svchost.exe", "\\dllhost.exe")):
        return None
    return path
