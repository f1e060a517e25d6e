# SPDX-License-Identifier: GPL-2.0-or-later
"""SOFTWARE, SAM, SECURITY, DEFAULT and NTUSER.DAT of a synthetic guest."""
import struct

import regf
import system_hive


def _current_version(g, root):
    release = g.release
    key = root.key("Microsoft\\Windows NT\\CurrentVersion")
    key.sz("ProductName", release.product)
    key.sz("CurrentVersion", "6.3" if release.at_least(10, 0) else "%d.%d" % release.version)
    key.sz("CurrentBuild", str(g.build)).sz("CurrentBuildNumber", str(g.build))
    key.sz("CurrentType", "Multiprocessor Free").sz("SystemRoot", g.letter + ":\\" + g.windows)
    key.sz("PathName", g.letter + ":\\" + g.windows).sz("SourcePath", "")
    key.sz("RegisteredOwner", "Windows User").sz("RegisteredOrganization", "")
    key.sz("SoftwareType", "System").sz("ProductId", "00330-80000-00000-AA%03d" % (g.build % 1000))
    key.binary("DigitalProductId", bytes(164)).dword("InstallDate", g.unix_time)
    key.sz("BuildLab", "%d.%s" % (g.build, release.lab))
    arch = {"x86": "x86fre", "amd64": "amd64fre", "arm64": "arm64fre"}[g.arch]
    if release.vista:
        lab, _, stamp = release.lab.rpartition(".")
        key.sz("BuildLabEx", "%d.%d.%s.%s.%s" % (g.build, g.ubr, arch, lab, stamp))
        key.sz("EditionID", g.edition).sz("InstallationType", g.installation)
    if release.pack:
        key.sz("CSDVersion", release.pack)
        key.sz("CSDBuildNumber", "1130") if release.at_least(6, 1) else None
    if release.at_least(10, 0):
        key.dword("CurrentMajorVersionNumber", 10).dword("CurrentMinorVersionNumber", 0)
        key.dword("UBR", g.ubr).sz("BuildBranch", release.lab.rpartition(".")[0])
        key.qword("InstallTime", g.time)
        if g.build >= 10586:
            key.sz("ReleaseId", g.display if g.display[:1] in "12" and g.build < 19042
                   and g.display.isdigit() else "2009")
        if g.build >= 19042:
            key.sz("DisplayVersion", g.display)
    elif release.at_least(6, 3):
        key.dword("UBR", g.ubr)
    key.key("Winlogon").sz("Shell", "explorer.exe").sz("Userinit", "%s:\\%s\\system32\\userinit.exe,"
                                                       % (g.letter, g.windows))
    profiles = key.key("ProfileList")
    profiles.expand("ProfilesDirectory", "%SystemDrive%\\" + g.users)
    if release.vista:
        profiles.expand("ProgramData", "%SystemDrive%\\ProgramData")
    profiles.key("S-1-5-21-1004336348-1177238915-682003330-1000") \
        .expand("ProfileImagePath", "%s:\\%s\\%s" % (g.letter, g.users, g.user)).dword("Flags", 0)
    cards = key.key("NetworkCards")
    for nic in g.nics:
        cards.key(str(nic.number + 2)).sz("ServiceName", nic.guid).sz("Description",
                                                                      nic.description)


def _packed(guid):
    """A GUID as Windows Installer names its keys: each field's digits turned round."""
    fields = guid.strip("{}").split("-")
    text = "".join(field[::-1] for field in fields[:3])
    rest = fields[3] + fields[4]
    return text + "".join(rest[at + 1] + rest[at] for at in range(0, len(rest), 2))


def _leftover(g, leftover, root, current):
    folder = "%s:\\%s" % (g.letter, leftover.folder)
    for key_name, name, version, publisher, command in leftover.uninstall:
        key = current.key("Uninstall\\" + key_name)
        command = command.replace("%P", folder)
        key.sz("DisplayName", name).sz("DisplayVersion", version).sz("Publisher", publisher)
        key.sz("UninstallString", command)
        if key_name.startswith("{"):
            key.expand("ModifyPath", command.replace("/X", "/I")).dword("WindowsInstaller", 1)
            key.dword("NoModify", 0).sz("InstallLocation", folder + "\\").sz("InstallSource", "D:\\")
            key.dword("VersionMajor", int(version.split(".")[0])).dword("EstimatedSize", 95004)
            product = root.key("Classes\\Installer\\Products\\" + _packed(key_name))
            product.sz("ProductName", name)
    for name, command in leftover.run:
        current.key("Run").sz(name, command.replace("%P", folder))
    if leftover.option == "vmware-tools":
        root.key("VMware, Inc.\\VMware Tools").sz("InstallPath", folder + "\\")
    if leftover.option == "hyperv":
        root.key("Microsoft\\Virtual Machine\\Guest\\Parameters") \
            .sz("VirtualMachineName", g.hostname).sz("HostName", "HV01")


def _windows(g, root):
    current = root.key("Microsoft\\Windows\\CurrentVersion")
    current.expand("DevicePath", "%SystemRoot%\\inf").sz("ProgramFilesDir",
                                                        g.letter + ":\\Program Files")
    current.expand("ProgramFilesPath", "%ProgramFiles%")
    if g.arch != "x86":
        current.sz("ProgramFilesDir (x86)", g.letter + ":\\Program Files (x86)")
    current.key("Run")
    current.key("RunOnce")
    image = "IMAGE_STATE_COMPLETE"
    if g.option("sysprep"):
        image = "IMAGE_STATE_GENERALIZE_RESEAL_TO_OOBE"
    if g.release.vista:
        current.key("Setup\\State").sz("ImageState", image)
        current.key("Setup\\OOBE").dword("LaunchUserOOBE", 1 if g.option("sysprep") else 0)
        current.key("Setup\\PnpLockdownFiles")
        servicing = current.key("Component Based Servicing")
        servicing.key("SessionsPending").dword("Exclusive", 4 if g.option("pending_servicing")
                                               else 0).dword("TotalSessionPhases", 0)
        if g.option("pending_servicing"):
            servicing.key("RebootPending")
            current.key("WindowsUpdate\\Auto Update\\RebootRequired")
        current.key("Policies\\System").dword("EnableLUA", 1)
    for name, title in (("AddressBook", None), ("{90120000-0020-0409-0000-0000000FF1CE}",
                                                "Compatibility Pack for the 2007 Office system")):
        key = current.key("Uninstall\\" + name)
        if title:
            key.sz("DisplayName", title).sz("DisplayVersion", "12.0.6612.1000") \
                .sz("Publisher", "Microsoft Corporation") \
                .expand("UninstallString", "MsiExec.exe /X" + name)
    for leftover in g.leftovers:
        _leftover(g, leftover, root, current)


def software(g):
    root = regf.Key(g.root_name("software"))
    _current_version(g, root)
    _windows(g, root)
    root.key("Classes\\.txt").sz("", "txtfile")
    root.key("Policies\\Microsoft\\Windows")
    root.key("RegisteredApplications").sz("Paint", "SOFTWARE\\Microsoft\\Windows\\CurrentVersion"
                                          "\\Applets\\Paint\\Capabilities")
    if g.release.at_least(6, 1):
        root.key("Microsoft\\PowerShell\\1\\PowerShellEngine").sz(
            "PowerShellVersion", "5.1.%d.%d" % (g.build, g.ubr) if g.release.at_least(10, 0)
            else {(6, 1): "2.0", (6, 2): "3.0", (6, 3): "4.0"}[g.release.version])
    return root


def sam(g):
    root = regf.Key(g.root_name("sam"))
    account = root.key("SAM\\Domains\\Account")
    account.binary("F", bytes(240)).binary("V", bytes(128))
    for name, number in (("Administrator", 500), ("Guest", 501), (g.user, 1000)):
        # The type of the default value is the account's number.
        account.key("Users\\Names\\" + name).set("", number, b"")
        account.key("Users\\%08X" % number).binary("F", struct.pack("<HH", 2, 1) + bytes(76))
    root.key("SAM\\Domains\\Builtin")
    return root


def security(g):
    root = regf.Key(g.root_name("security"))
    root.key("Policy\\PolAcDmN").set("", regf.NONE, regf.sz(g.hostname))
    root.key("Policy\\PolAdtEv").set("", regf.NONE, bytes(24))
    root.key("Policy\\Secrets\\DPAPI_SYSTEM")
    root.key("RXACT")
    return root


def default(g):
    root = regf.Key(g.root_name("default"))
    root.key("Control Panel\\Desktop").sz("ScreenSaveActive", "1")
    root.key("Environment").expand("TEMP", "%USERPROFILE%\\AppData\\Local\\Temp")
    root.key("Software\\Microsoft\\Windows\\CurrentVersion\\Run")
    return root


def components(g):
    root = regf.Key(g.root_name("components"))
    root.key("DerivedData\\Components")
    if g.option("pending_servicing"):
        root.sz("PendingXmlIdentifier", "5a2b41f0dc1fd90105000000000c6c0b")
        root.dword("ExecutionState", 1)
    return root


def hives(g):
    """(file name below System32\\config, name in the header, root key) of each hive."""
    rows = [("SYSTEM", "SYSTEM", system_hive.build(g)),
            ("SOFTWARE", "emRoot\\System32\\Config\\SOFTWARE", software(g)),
            ("SAM", "\\SystemRoot\\System32\\Config\\SAM", sam(g)),
            ("SECURITY", "emRoot\\System32\\Config\\SECURITY", security(g)),
            ("DEFAULT", "emRoot\\System32\\Config\\DEFAULT", default(g))]
    if g.release.vista:
        rows.append(("COMPONENTS", "Root\\System32\\Config\\COMPONENTS", components(g)))
    if not g.release.vista:
        rows = [(name.lower() if name != "SAM" and name != "SECURITY" else name, header, root)
                for name, header, root in rows]
    return rows
