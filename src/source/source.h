/* source.h - what describes an exported VM: an OVF, a VMware configuration (.vmx), a manifest.
 *
 * The parsers read text that was loaded before and open nothing: the files of the disks are the
 * caller's to find, beside the description or in the same archive. All text is hostile; what is
 * returned is valid UTF-8 but may hold control characters: escape it (h2k_escape_text()) before
 * people see it. NAME is the description's own, for error messages.
 *
 * Thread-safety: the functions may be called by any number of threads at once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

/* Longer descriptions are refused before they are parsed. */
#define H2K_DESCRIPTION_MAX (16u * 1024 * 1024)

typedef enum
{
  H2K_VM_FIRMWARE_UNKNOWN, /* not said: what the guest's disk boots with decides */
  H2K_VM_FIRMWARE_BIOS,
  H2K_VM_FIRMWARE_UEFI,
} H2kVmFirmware;

typedef enum
{
  H2K_VM_BUS_UNKNOWN,
  H2K_VM_BUS_IDE,
  H2K_VM_BUS_SATA,
  H2K_VM_BUS_SCSI,
  H2K_VM_BUS_NVME,
  H2K_VM_BUS_VIRTIO, /* virtio-blk, of VMs that ran on KVM before */
} H2kVmBus;

typedef struct _H2kVmDisk H2kVmDisk;

struct _H2kVmDisk
{
  /* The image. From an OVF: relative to the OVF's folder (or its archive), decoded, without ".."
   * and never absolute; it may lie in a subfolder. From a .vmx: exactly as written there, which
   * may be an absolute path on a datastore. NULL: an empty disk of CAPACITY bytes, to be created.
   */
  char *file;
  char *id;          /* OVF: the diskId; .vmx: the device as "scsi0:1" */
  char *format;      /* a hint: "vmdk", "vhd", "vhdx", "qcow2", "raw"; NULL: not said */
  guint64 capacity;  /* bytes that the guest sees; 0: not said */
  guint64 file_size; /* bytes of FILE (all chunks together); 0: not said */
  H2kVmBus bus;
  char *controller_type; /* its subtype as written: "lsilogicsas", "pvscsi"; may be NULL */
  guint controller;      /* number among the controllers of its bus */
  guint unit;            /* the disk's place on the controller */
  gboolean gzip;         /* FILE is compressed with gzip as a whole */
  gboolean chunked;      /* the content is split: FILE.000000000, FILE.000000001, ... */
  guint64 chunk_size;    /* bytes of each chunk but the last; 0 unless CHUNKED */
  char *parent_ref;      /* OVF: the diskId of the disk this one is a delta to; may be NULL */
  H2kVmDisk *parent;     /* that disk (only its file, id, format and sizes are set), owned */
};

typedef struct
{
  char *mac;     /* lower case with colons; NULL: none, or none that is one */
  char *network; /* the network's name as the hypervisor knew it; may be NULL */
  char *model;   /* as written: "E1000", "VmxNet3"; may be NULL */
} H2kVmNic;

typedef struct
{
  char *name;
  guint vcpus;        /* 0: not said */
  guint64 memory_mib; /* 0: not said */
  H2kVmFirmware firmware;
  gboolean secure_boot;
  gboolean has_tpm;
  char *os_hint;    /* what the exporter took the guest for, in its own words; may be NULL */
  GPtrArray *disks; /* H2kVmDisk *: the disk that boots first, then the hardware's order */
  GPtrArray *nics;  /* H2kVmNic * in the hardware's order */
} H2kVm;

void h2k_vm_free (H2kVm *vm);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kVm, h2k_vm_free)

/* An OVF descriptor (DMTF DSP0243 1.x and 2.x, and what VMware, VirtualBox and oVirt make of it).
 * With deployment options, the default one's hardware; of alternative hardware sections, the
 * first. CDs and floppies are left out. The encoding is the one that the XML declares.
 * Errors: H2K_ERROR_FORMAT (not well-formed, contradictory, file names that lead elsewhere),
 * H2K_ERROR_UNSUPPORTED (several VMs, named in the message; files on servers; DTDs). */
H2kVm *h2k_ovf_parse (const char *text, gsize size, const char *name, GError **error);

/* A VMware configuration file. Disks: first those that bios.hddOrder names, then SCSI, SATA, NVMe,
 * IDE, each by controller and unit.
 * Errors: H2K_ERROR_FORMAT; H2K_ERROR_UNSUPPORTED (encrypted, an unknown encoding, host devices
 * instead of disks). */
H2kVm *h2k_vmx_parse (const char *text, gsize size, const char *name, GError **error);

typedef struct
{
  GChecksumType algorithm;
  char *file;   /* relative and plain as H2kVmDisk.file of an OVF */
  char *digest; /* lower-case hexadecimal, of the algorithm's length */
} H2kManifestEntry;

/* An OVF's manifest (.mf): the H2kManifestEntry of each line, in order; free with
 * g_ptr_array_unref(). A file may have digests of several algorithms, but not two of one. Writers
 * leave files out, and an appliance without disks has an empty manifest: whether what is read has
 * a digest is the caller's to check.
 * Errors: H2K_ERROR_FORMAT; H2K_ERROR_UNSUPPORTED (algorithms other than SHA-1, SHA-256, SHA-384
 * and SHA-512). */
GPtrArray *h2k_manifest_parse (const char *text, gsize size, const char *name, GError **error);
