# SPDX-License-Identifier: GPL-2.0-or-later
"""Small valid PE images with a version resource, for synthetic Windows guests and driver media.

Follows Microsoft's "PE Format" and the documentation of VS_VERSIONINFO. An image has a section of
code that returns, a resource section, a right checksum, and is the same for the same arguments.
"""
import struct

MACHINES = {"x86": 0x014C, "amd64": 0x8664, "arm64": 0xAA64, "arm": 0x01C4}

# kind: (subsystem, DLL characteristic, file type and subtype of VS_FIXEDFILEINFO)
KINDS = {
    "driver": (1, False, 3, 7),  # native; VFT_DRV, VFT2_DRV_SYSTEM
    "kernel": (1, False, 2, 0),
    "dll": (3, True, 2, 0),
    "exe": (3, False, 1, 0),
    "gui": (2, False, 1, 0),
    "efi": (10, False, 1, 0),
    "boot": (16, False, 1, 0),
}

CODE = {
    "x86": b"\x31\xc0\xc3",  # xor eax, eax; ret
    "amd64": b"\x31\xc0\xc3",
    "arm64": b"\x00\x00\x80\xd2\xc0\x03\x5f\xd6",  # mov x0, #0; ret
    "arm": b"\x00\x20\x70\x47",
}

SECTION = 0x1000
FILE = 0x200
TIMESTAMP = 0x4A5BC0C5  # a day in July 2009: any fixed one does


def _up(number, to):
    return (number + to - 1) // to * to


def _utf16(text):
    return text.encode("utf-16-le") + b"\0\0"


def _block(key, value=b"", children=(), text=False):
    """One block of a version resource: its length, its value's length, its type, its key."""
    words = len(value) // 2 if text else len(value)
    body = struct.pack("<HH", words, 1 if text else 0) + _utf16(key)
    body += bytes(-(len(body) + 2) % 4) + value
    for child in children:
        body += bytes(-(len(body) + 2) % 4) + child
    return struct.pack("<H", len(body) + 2) + body


def version_info(version, strings, kind="driver"):
    """The VS_VERSIONINFO for VERSION (four numbers) and STRINGS (a dict), as bytes."""
    high, low = version[0] << 16 | version[1], version[2] << 16 | version[3]
    _, _, file_type, subtype = KINDS[kind]
    fixed = struct.pack("<13I", 0xFEEF04BD, 0x10000, high, low, high, low, 0x3F, 0, 0x40004,
                        file_type, subtype, 0, 0)
    table = _block("040904B0", text=True, children=[
        _block(name, _utf16(text), text=True) for name, text in strings.items()])
    return _block("VS_VERSION_INFO", fixed, [
        _block("StringFileInfo", text=True, children=[table]),
        _block("VarFileInfo", text=True, children=[
            _block("Translation", struct.pack("<HH", 0x0409, 1200))])])


def _resource_section(data, address):
    """A resource tree that holds one version resource (type 16, name 1, US English)."""
    def directory(identity, offset, is_directory):
        return struct.pack("<IIHHHHII", 0, 0, 0, 0, 0, 1, identity,
                           offset | (0x80000000 if is_directory else 0))
    tree = directory(16, 24, True) + directory(1, 48, True) + directory(0x409, 72, False)
    return tree + struct.pack("<IIII", address + 88, len(data), 0, 0) + data


def _checksum(image, at):
    """The checksum of ImageHlp: a folded sum of 16-bit words, and the file's length."""
    total = 0
    padded = image + bytes(len(image) % 2)
    for index, (word,) in enumerate(struct.iter_unpack("<H", padded)):
        if index * 2 not in (at, at + 2):
            total += word
            total = (total & 0xFFFF) + (total >> 16)
    return total + len(image)


def _optional_header(arch, kind, resources, size_of_image, os_version):
    wide = arch in ("amd64", "arm64")
    subsystem, is_dll, _, _ = KINDS[kind]
    base = 0x180000000 if wide and is_dll else 0x140000000 if wide else 0x10000
    if kind == "efi":
        base = 0x10000000
    header = struct.pack("<HBBIIIII", 0x20B if wide else 0x10B, 14, 0, FILE, FILE, 0,
                         SECTION, SECTION)
    if not wide:
        header += struct.pack("<I", 2 * SECTION)  # base of data
    header += struct.pack("<Q" if wide else "<I", base)
    header += struct.pack("<IIHHHHHH", SECTION, FILE, os_version[0], os_version[1],
                          os_version[0], os_version[1], os_version[0], os_version[1])
    header += struct.pack("<IIIIHH", 0, size_of_image, 2 * FILE, 0, subsystem,
                          0x0160 if wide else 0x0140)
    header += struct.pack("<4Q" if wide else "<4I", 0x40000, 0x1000, 0x100000, 0x1000)
    header += struct.pack("<II", 0, 16)
    directories = bytearray(16 * 8)
    struct.pack_into("<II", directories, 2 * 8, *resources)
    return header + bytes(directories)


def image(name, arch, version, kind="driver", company="Microsoft Corporation",
          product="Microsoft\u00ae Windows\u00ae Operating System", description=None,
          file_version=None):
    """A PE file called NAME for ARCH (x86, amd64, arm64, arm), as bytes.

    VERSION is four numbers; FILE_VERSION the text shown for it, where that says more.
    """
    dotted = ".".join(str(part) for part in version)
    strings = {
        "CompanyName": company,
        "FileDescription": description or name,
        "FileVersion": file_version or dotted,
        "InternalName": name,
        "LegalCopyright": "Made by a test, \u00a9 nobody.",
        "OriginalFilename": name,
        "ProductName": product,
        "ProductVersion": dotted,
    }
    info = version_info(version, strings, kind)
    resources = _resource_section(info, 2 * SECTION)
    size_of_image = 2 * SECTION + _up(len(resources), SECTION)
    os_version = (version[0], version[1]) if 4 <= version[0] <= 10 else (6, 1)
    optional = _optional_header(arch, kind, (2 * SECTION, len(resources)), size_of_image,
                                os_version)
    characteristics = 0x0002 | (0x2000 if KINDS[kind][1] else 0)
    characteristics |= 0x0020 if arch in ("amd64", "arm64") else 0x0100
    dos = b"MZ\x90\0" + bytes(56) + struct.pack("<I", 0x80)
    dos += b"\x0e\x1f\xb8\x01\x4c\xcd\x21" + bytes(0x80 - 64 - 7)
    coff = struct.pack("<HHIIIHH", MACHINES[arch], 2, TIMESTAMP, 0, 0, len(optional),
                       characteristics)
    code = CODE[arch]
    sections = struct.pack("<8sIIIIIIHHI", b".text", len(code), SECTION, FILE, 2 * FILE,
                           0, 0, 0, 0, 0x60000020)
    sections += struct.pack("<8sIIIIIIHHI", b".rsrc", len(resources), 2 * SECTION,
                            _up(len(resources), FILE), 3 * FILE, 0, 0, 0, 0, 0x40000040)
    headers = dos + b"PE\0\0" + coff + optional + sections
    assert len(headers) <= 2 * FILE
    whole = bytearray(headers.ljust(2 * FILE, b"\0") + code.ljust(FILE, b"\0") +
                      resources.ljust(_up(len(resources), FILE), b"\0"))
    at = 0x80 + 4 + 20 + 64
    struct.pack_into("<I", whole, at, _checksum(bytes(whole), at))
    return bytes(whole)
