# SPDX-License-Identifier: GPL-2.0-or-later
"""What an inspection of a synthetic guest must find, as a tree for JSON."""
import contents
import leftovers
import regf
import system_hive
from tables import CLASSES, NICS


def _nic(g, nic):
    return {
        "model": nic.model, "service": NICS[nic.model][0], "description": nic.description,
        "mac": nic.mac, "guid": nic.guid, "name": nic.name, "instance": nic.instance,
        "ghost": nic.ghost, "dhcp": not nic.address, "addresses": nic.address,
        "masks": nic.mask, "gateways": nic.gateway, "dns": nic.dns, "domain": nic.domain,
        "metric": nic.metric,
        # Where the registry tells the card's address; nowhere for some cards of old releases.
        "mac_known_by": [how for how, yes in (
            ("NetworkSetup2", g.release.at_least(10, 0)), ("NetworkAddress", nic.overridden),
            ("instance", NICS[nic.model][5].startswith("MAC"))) if yes],
    }


def _leftover(g, item):
    services = {}
    for row in item.services:
        if g.release.version >= row[7]:
            path = leftovers.image_file(row[5], item.folder, g.windows)
            services[row[0]] = {"type": row[1], "start": row[2],
                                "file": path and path.replace("\\", "/")}
    return {
        "title": item.title, "services": services,
        "boot_start": sorted(name for name, row in services.items() if row["start"] == 0),
        "filters": [{"class": "{%s}" % CLASSES[kind].lower(), "value": value, "service": service}
                    for kind, value, service in item.filters if service.lower() in
                    [name.lower() for name in services]],
        "uninstall": [{"key": row[0], "name": row[1], "version": row[2], "command": row[4]
                       .replace("%P", "%s:\\%s" % (g.letter, item.folder))}
                      for row in item.uninstall],
    }


def _registry(root):
    """Each value of a hive, as {key: {value name: [type, value]}}; binary in hexadecimal."""
    found = {}
    for path, key in root.walk():
        if key.values:
            row = found[path] = {}
            for name, kind, data in key.values.values():
                value = key.get(name)
                row[name] = [kind, value.hex() if isinstance(value, bytes) else value]
    return found


def collect(g, replayed):
    release = g.release
    answers = {
        "release": release.name, "arch": g.arch, "firmware": g.firmware, "layout": g.layout,
        "product": release.product, "edition": g.edition, "installation": g.installation,
        "major": release.major, "minor": release.minor, "build": g.build, "ubr": g.ubr,
        "display_version": g.display, "service_pack": release.pack,
        "product_type": g.product_type, "drive": g.letter + ":", "systemroot": g.windows,
        "hostname": g.hostname, "domain": g.domain, "user": g.user,
        "current_control_set": "ControlSet%03d" % g.current,
        "control_sets": ["ControlSet%03d" % number
                         for number in sorted(filter(None, (g.current, g.old_set)))],
        "time_zone": "W. Europe Standard Time", "rtc_utc": bool(g.option("utc")),
        "hypervisor": g.hypervisor, "controller": g.controller, "storage_service": g.service,
        "san_policy": g.san_policy if release.vista else None,
        "secure_boot": bool(g.option("secure_boot")), "tpm": bool(g.option("tpm")),
        "disk": {"size": g.size, "signature": "%08x" % g.disk_signature if g.layout == "mbr"
                 else None, "guid": g.disk_guid.strip("{}") if g.layout == "gpt" else None},
        "partitions": [{
            "number": part.number, "role": part.role, "start": part.start * 512,
            "size": part.sectors * 512, "type": part.kind, "label": part.label,
            "guid": part.guid.strip("{}") if g.layout == "gpt" else None,
        } for part in g.partitions],
        "nics": [_nic(g, nic) for nic in g.nics],
        "leftovers": {item.option: _leftover(g, item) for item in g.leftovers},
        "oem_packages": [{"inf": "oem%d.inf" % row[0], "original": row[1], "provider": row[2],
                          "class": row[3], "package": system_hive.package(g, row[1])}
                         for row in g.oem_packages()],
        "systems": [{"release": item.release.name, "partition": item.part.number,
                     "systemroot": item.windows, "title": item.title,
                     "loader": item.loader if item.release.vista else None,
                     "resume": item.resume if item.release.vista else None}
                    for item in g.systems],
        "firmware_boot": {
            "partition": g.partition("system").number,
            "store": None if not release.vista else "EFI/Microsoft/Boot/BCD"
            if g.firmware == "uefi" else "Boot/BCD",
            "fallback": "EFI/Boot/" + contents.EFI_NAME[g.arch]
            if g.firmware == "uefi" and not g.option("no_fallback") else None,
            "fallback_name": contents.EFI_NAME[g.arch] if g.firmware == "uefi" else None,
            "broken": g.option("bcd_broken"), "ems": bool(g.option("ems")),
            "graphics_disabled": bool(g.option("graphics_disabled")),
        },
        "states": {name: g.option(name) or False for name in (
            "hibernated", "fast_startup", "resumed", "dirty", "dirty_flag", "dirty_hive",
            "bitlocker", "ldm", "refs", "storage_spaces", "pending_renames", "pending_servicing",
            "sysprep", "setup_in_progress", "dc", "intelppm")},
    }
    if replayed:
        answers["replayed"] = {
            "changes": [{"key": key, "value": value, "to": text}
                        for step in contents.dirty_changes(g) for key, value, text in step],
            "system": _registry(regf.load(replayed)),
        }
    return answers
