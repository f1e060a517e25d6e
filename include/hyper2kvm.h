/* hyper2kvm.h - the public interface of libhyper2kvm.
 *
 * Migrates a virtual machine's disks to KVM: the guest is repaired offline in a copy-on-write
 * overlay, the result is written in one pass, defined as a libvirt domain and boot-tested.
 * The source disks are only ever opened read-only.
 *
 * Thread-safety: the functions may be called from any thread; one options or report object must
 * not be used by two threads at once. GCancellable objects may be cancelled from any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include <gio/gio.h>

G_BEGIN_DECLS

#define H2K_PUBLIC __attribute__ ((visibility ("default")))

/* Errors. Every function that takes a GError sets it exactly when it returns FALSE or NULL. The
 * message names what failed, on which file of which disk, why, and what to do next. */
#define H2K_ERROR (h2k_error_quark ())
H2K_PUBLIC GQuark h2k_error_quark (void);

typedef enum
{
  H2K_ERROR_FAILED,        /* anything without a code of its own */
  H2K_ERROR_USAGE,         /* options that contradict each other or have impossible values */
  H2K_ERROR_SOURCE,        /* a source cannot be opened or read (missing, permission, I/O) */
  H2K_ERROR_FORMAT,        /* a source is not what it claims: corrupt, truncated, other format */
  H2K_ERROR_UNSUPPORTED,   /* a valid format or guest that cannot be handled */
  H2K_ERROR_NO_OS,         /* no operating system on the disks */
  H2K_ERROR_FILESYSTEM,    /* a guest filesystem is corrupt or cannot be read or written */
  H2K_ERROR_REPAIR,        /* a repair that the guest needs to boot could not be made */
  H2K_ERROR_OUTPUT_EXISTS, /* an output exists and force was not given */
  H2K_ERROR_OUTPUT,        /* an output cannot be created or written */
  H2K_ERROR_NO_SPACE,      /* not enough space for the output or the temporary files */
  H2K_ERROR_VERIFY,        /* the output read back differs from what was written */
  H2K_ERROR_BOOT,          /* the boot test did not see the guest come up */
  H2K_ERROR_TOOL,          /* a program that is needed (QEMU) is missing or broken */
  H2K_ERROR_CANCELLED,     /* the GCancellable was cancelled */
} H2kError;

/* Progress of a long operation. PHASE is a short untranslated word ("repair", "copy", "verify",
 * "boot"). DONE and TOTAL are bytes, or seconds in phase "boot"; TOTAL is 0 when unknown. Called
 * often, from one thread at a time, never after the operation has returned. */
typedef void (*H2kProgressFunc) (const char *phase, guint64 done, guint64 total, gpointer data);

typedef enum
{
  H2K_COMPRESS_NONE,
  H2K_COMPRESS_ZLIB,
  H2K_COMPRESS_ZSTD,
} H2kCompression;

/* Which repairs are made. With H2K_REPAIR_AUTO every one that the guest needs. */
typedef enum
{
  H2K_REPAIR_FSTAB = 1 << 0,      /* fstab and crypttab name filesystems by UUID */
  H2K_REPAIR_BOOTLOADER = 1 << 1, /* GRUB's configuration names filesystems by UUID */
  H2K_REPAIR_INITRAMFS = 1 << 2,  /* every kernel's initramfs holds the virtio drivers */
  H2K_REPAIR_NETWORK = 1 << 3,    /* interface names are tied to the MACs the domain carries */
  H2K_REPAIR_UDEV = 1 << 4,       /* stale persistent-net rules go */
  H2K_REPAIR_TOOLS = 1 << 5,      /* the old hypervisor's tools and services are disabled */
  /* Of Windows, where BOOTLOADER, NETWORK and TOOLS mean the boot configuration, static addresses
   * and the old hypervisor's drivers and filters. */
  H2K_REPAIR_VIRTIO = 1 << 6,    /* VirtIO drivers are installed, storage's started at boot */
  H2K_REPAIR_FIRSTBOOT = 1 << 7, /* a service ends at the first boot what needs a running system */
  H2K_REPAIR_AUTO = 0xff,
  /* Not made by itself: see new_identity and hostname of H2kMigrateOptions, which select it. */
  H2K_REPAIR_IDENTITY = 1 << 8, /* ids, keys and name are other than those of the original */
} H2kRepairSet;

/* What reads and changes the guest's files. */
typedef enum
{
  H2K_BACKEND_AUTO,    /* drivers in this process where there is one, else libguestfs */
  H2K_BACKEND_NATIVE,  /* never libguestfs */
  H2K_BACKEND_GUESTFS, /* libguestfs for whatever it can mount */
} H2kBackend;

typedef enum
{
  H2K_BOOT_TEST_NONE,
  H2K_BOOT_TEST_QEMU,
} H2kBootTest;

typedef enum
{
  H2K_EVIDENCE_AUTO,      /* the marker unit where the guest has systemd, else the login prompt;
                           * H2K_EVIDENCE_FIRSTBOOT for Windows */
  H2K_EVIDENCE_LOGIN,     /* the login prompt on the serial console */
  H2K_EVIDENCE_MARKER,    /* a unit written into the throw-away overlay; also reports the network */
  H2K_EVIDENCE_FIRSTBOOT, /* Windows: the first-boot service, on the serial console, that all of its
                           * scripts have succeeded; the machine may restart in between */
} H2kEvidence;

typedef enum
{
  H2K_BUS_VIRTIO_BLK,
  H2K_BUS_VIRTIO_SCSI,
  H2K_BUS_SATA,
  H2K_BUS_IDE, /* four disks at most; the machine is an i440fx then */
} H2kBus;

/* What to migrate and how. Obtain with h2k_migrate_options_new(), which sets the defaults; strings
 * and arrays are owned by the structure. */
typedef struct
{
  GPtrArray *sources;         /* char *: disk images, block devices or URIs, first disk first */
  char *source_format;        /* NULL: found by content; else a word of "info" as "raw" */
  char *appliance;            /* instead of sources: an exported VM's description, with its disks */
  char *appliance_kind;       /* of it: "ova", "ovf" or "vmx" */
  char *output;               /* path of the first disk's output; further disks get "-diskN" */
  char *output_format;        /* "qcow2" (default) or "raw" */
  char *name;                 /* the domain's name; NULL: from the output's file name */
  char *temp_dir;             /* for what does not fit in memory; NULL: $TMPDIR or /var/tmp */
  char *report;               /* .md, .json or .html; NULL: none */
  H2kCompression compression; /* default H2K_COMPRESS_NONE */
  guint threads;              /* 0 (default): one a core; at most 64 */
  H2kRepairSet repairs;       /* default H2K_REPAIR_AUTO; 0: copy only */
  gboolean inspect;           /* default TRUE; FALSE: the disks are copied without a look inside */
  gboolean force;             /* default FALSE; TRUE: existing outputs are replaced */
  gboolean verify;            /* default FALSE; TRUE: read the output back and compare */
  gboolean fast;              /* default FALSE; TRUE: no fsync of the output before the rename */
  gboolean sparsify;          /* default TRUE: blocks no filesystem uses are not copied */
  gboolean resume;            /* default FALSE; TRUE: what an interrupted run with the same output
                               * copied is taken up, and kept if this one is interrupted, too */
  gboolean checksum;          /* default FALSE; TRUE: SHA-256 digests are written beside the output,
                               * as sha256sum writes them, into a file named .sha256 */
  guint64 rate_limit;         /* most bytes a second read from the source; 0 (default): no limit */
  gboolean drop_swap;         /* default FALSE; TRUE: swap and hibernation files are left out */
  gboolean check_filesystems; /* default TRUE: those that are mounted are checked before and after
                               * the repairs, and corrupt ones end the migration */
  char *virtio_win;           /* Windows: drivers, an ISO or a folder; NULL: those installed here */
  char *virtio_config;        /* Windows: which folder is for which release, instead of what comes
                               * with this library (data/virtio-win.json); NULL: that */
  char *guest_agent;          /* Windows: MSI of the QEMU guest agent; NULL: the drivers' */
  GPtrArray *first_boot;      /* Windows: char *, programs and scripts that run at the first boot */
  gboolean two_phase_boot;    /* default TRUE; Windows: a second definition, which boots once from a
                               * known controller, with VirtIO devices beside it */
  gboolean force_dirty;       /* default FALSE; TRUE: NTFS that was not unmounted is changed, too */
  gboolean require_windows;   /* default FALSE; TRUE: another system is an error */
  gboolean dry_run;           /* default FALSE; TRUE: plan only, nothing is written */
  gboolean flatten;           /* default FALSE; TRUE: that a chain becomes one disk is no news */
  gboolean new_identity;      /* default FALSE; TRUE: the guest's ids and host keys are new ones */
  char *hostname;             /* the guest's name; NULL: it stays, or with new_identity a clone has
                               * one that is made from the clone's name */
  GPtrArray *macs;            /* char *: MACs of the NICs in order; empty: found or made */
  GPtrArray *keys;            /* char *: of LUKS containers, "DEVICE:file:PATH" or
                               * "DEVICE:env:NAME"; DEVICE is the guest's (/dev/sda2,
                               * UUID=...), or "all". Read when needed, wiped after use */
  H2kBackend backend;         /* default H2K_BACKEND_AUTO */
  guint memory_mib;           /* domain memory; 0 (default): as described, else 2048 */
  guint vcpus;                /* domain CPUs; 0 (default): as described, else 2 */
  H2kBus bus;                 /* disks' bus in the domain; default H2K_BUS_VIRTIO_BLK */
  H2kBootTest boot_test;      /* default H2K_BOOT_TEST_NONE */
  guint boot_timeout;         /* seconds; 0 (default): 300 under KVM, 900 under emulation */
  gboolean headless;          /* default TRUE: no display window in the boot test */
  H2kProgressFunc progress;   /* may be NULL */
  gpointer progress_data;
} H2kMigrateOptions;

H2K_PUBLIC H2kMigrateOptions *h2k_migrate_options_new (void);
H2K_PUBLIC void h2k_migrate_options_free (H2kMigrateOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kMigrateOptions, h2k_migrate_options_free)

/* What was found, changed, written and seen: one JSON document, rendered on demand. */
typedef struct _H2kReport H2kReport;

H2K_PUBLIC void h2k_report_free (H2kReport *report);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kReport, h2k_report_free)

/* Render the report; FORMAT is "md", "json" or "html" (g_return NULL for another). The result is
 * the caller's, UTF-8, with control characters of the guest's texts escaped. */
H2K_PUBLIC char *h2k_report_render (const H2kReport *report, const char *format);

/* Write the report to PATH, whose extension chooses the format; replaces atomically.
 * Errors: H2K_ERROR_USAGE (extension), H2K_ERROR_OUTPUT, H2K_ERROR_NO_SPACE. */
H2K_PUBLIC gboolean h2k_report_save (const H2kReport *report, const char *path, GError **error);

/* Migrate one VM. On success the outputs stand under their final names with the domain's XML
 * beside the first disk. On failure nothing new stands there, except that a disk whose boot test
 * failed (H2K_ERROR_BOOT) is kept for a look. REPORT (may be NULL) is set in both cases when the
 * sources could be opened; free it with h2k_report_free(). CANCELLABLE may be NULL.
 * Errors: every H2kError. */
H2K_PUBLIC gboolean h2k_migrate_vm (const H2kMigrateOptions *options, GCancellable *cancellable,
                                    H2kReport **report, GError **error);

/* Look inside the disks of one VM (char * paths) without changing or writing anything. FORMAT as
 * source_format, KEYS as keys (both may be NULL) and BACKEND as backend above. Returns the
 * inspection: a JSON text, or aligned text for people, as JSON says; the caller's. Errors:
 * H2K_ERROR_SOURCE, _FORMAT, _UNSUPPORTED, _NO_OS, _FILESYSTEM, _USAGE (a malformed key). */
H2K_PUBLIC char *h2k_inspect (GPtrArray *paths, const char *format, GPtrArray *keys,
                              H2kBackend backend, gboolean json, GError **error);

/* --- files of a guest ------------------------------------------------------------------------- */

/* The mounted tree of the system on a VM's disks. Paths are the guest's own, absolute; links are
 * resolved inside the tree, except where the last component of a path is said to be meant itself.
 * Changes are kept apart from the disks, which are not written. One thread at a time. */
typedef struct _H2kFiles H2kFiles;

/* Open the disks of one VM. PATHS, FORMAT, KEYS, BACKEND and errors: as of h2k_inspect().
 */
H2K_PUBLIC H2kFiles *h2k_files_open (GPtrArray *paths, const char *format, GPtrArray *keys,
                                     H2kBackend backend, GError **error);
H2K_PUBLIC void h2k_files_free (H2kFiles *files);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kFiles, h2k_files_free)

typedef struct
{
  char *name;   /* the last component, as it is in the guest: any bytes but '/' */
  char *target; /* of a symbolic link; else NULL */
  guint32 mode; /* type and permissions as in struct stat */
  guint32 uid, gid, nlink;
  guint64 size; /* bytes */
  guint64 rdev; /* device nodes: as makedev(3) makes it */
  guint64 inode;
  guint mount;  /* with INODE, what tells one file from another: which filesystem it is on */
  gint64 mtime; /* seconds since 1970 */
} H2kFileInfo;

H2K_PUBLIC void h2k_file_info_free (H2kFileInfo *info);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kFileInfo, h2k_file_info_free)

/* The absolute path that PATH stands for: itself when it begins with a slash. Of a Windows, paths
 * may also be written as there, with backslashes, and begin with a drive: C:\Windows is /Windows,
 * if C: is the system's drive, else /C:/Windows. The functions below take both; names that were
 * listed are added to what this returns. The caller's. Errors: H2K_ERROR_USAGE (it is not
 * absolute), _FAILED (there is no such drive; the message lists those that there are). */
H2K_PUBLIC char *h2k_files_path (H2kFiles *files, const char *path, GError **error);

/* What PATH is; a link in its last component is followed if FOLLOW. Errors: H2K_ERROR_FAILED (there
 * is none), _FILESYSTEM, _SOURCE, _FORMAT. */
H2K_PUBLIC H2kFileInfo *h2k_files_stat (H2kFiles *files, const char *path, gboolean follow,
                                        GError **error);
/* What the directory PATH holds, sorted by name: H2kFileInfo *, the caller's. Errors: as above;
 * H2K_ERROR_FAILED, too, when it is no directory. */
H2K_PUBLIC GPtrArray *h2k_files_list (H2kFiles *files, const char *path, GError **error);
/* At most LENGTH bytes at OFFSET of a regular file; fewer at its end. Errors: as above. */
H2K_PUBLIC GBytes *h2k_files_read (H2kFiles *files, const char *path, guint64 offset, gsize length,
                                   GError **error);
/* Replace or create the regular file PATH with what FD gives up to its end: a regular file from its
 * start, with its holes, anything else as it comes. An existing file keeps owner, mode and labels,
 * a new one is root's with MODE (permissions), in a folder that is there. After an error the file's
 * content is undefined. Errors: as above; H2K_ERROR_FAILED, too, when there is no such folder or
 * PATH is no regular file, H2K_ERROR_NO_SPACE, _SOURCE (FD cannot be read), _CANCELLED. */
H2K_PUBLIC gboolean h2k_files_put (H2kFiles *files, const char *path, int fd, guint32 mode,
                                   GCancellable *cancellable, GError **error);
/* Whether h2k_files_save() can write there for the disks PATHS: nothing is there, and the folder
 * takes files. For before h2k_files_open(), which may take its time. Errors:
 * H2K_ERROR_OUTPUT_EXISTS, _OUTPUT. */
H2K_PUBLIC gboolean h2k_files_check_output (GPtrArray *paths, const char *output, GError **error);
/* Write the changes as qcow2 images that build on the disks, which must be files of this host: one
 * for each disk that was changed, the first disk's at OUTPUT, further ones with "-diskN" before the
 * extension. PATHS (may be NULL) gets their names, char *. Errors: H2K_ERROR_OUTPUT_EXISTS,
 * _OUTPUT, _NO_SPACE, _UNSUPPORTED, _CANCELLED, _USAGE (nothing was changed). */
H2K_PUBLIC gboolean h2k_files_save (H2kFiles *files, const char *output, GPtrArray *paths,
                                    GCancellable *cancellable, GError **error);

/* What the image PATH is, and every image of its chain: a JSON text (as "qemu-img info" names
 * things, the chain as nested "backing" objects), or text for people, as JSON says; the caller's.
 * FORMAT as source_format above. Errors: H2K_ERROR_SOURCE, _FORMAT, _UNSUPPORTED. */
H2K_PUBLIC char *h2k_image_info (const char *path, const char *format, gboolean json,
                                 GError **error);

typedef enum
{
  H2K_CHECK_CLEAN,
  H2K_CHECK_LEAKS,   /* space of the file is wasted; no data are in danger */
  H2K_CHECK_CORRUPT, /* structures contradict each other */
} H2kCheckVerdict;

/* Look at every structure of the image PATH, not at the images below it; nothing is written.
 * Returns what was found: a JSON text (as "qemu-img check" names things), or text for people, as
 * JSON says; the caller's. FORMAT as source_format above. Errors: H2K_ERROR_SOURCE, _UNSUPPORTED,
 * and _FORMAT when the image is so damaged that no more than the message can be said. */
H2K_PUBLIC char *h2k_image_check (const char *path, const char *format, gboolean json,
                                  H2kCheckVerdict *verdict, GError **error);

/* One image converted, without a look at the system in it: no repairs. Obtain with
 * h2k_convert_options_new(). */
typedef struct
{
  char *source;
  char *source_format;  /* as above */
  char *output;         /* a file; where the format allows it also a block device, an NBD export
                         * ("nbd://..."), or "-" */
  char *output_format;  /* "qcow2" (default), "raw", "vmdk", "vhdx" or "vhd" */
  char *output_options; /* "key=value,..." of the format, as `qemu-img convert -o`; or NULL */
  char *backing;        /* of a qcow2: only what differs from this image is written; NULL: none */
  char *backing_format; /* NULL: found by content */
  H2kCompression compression; /* default H2K_COMPRESS_NONE */
  guint32 cluster_size;       /* bytes, of a qcow2; 0: as in output_options, else 65536 */
  guint threads;              /* 0 (default): one a core; at most 64 */
  gboolean force;             /* default FALSE; TRUE: an existing output is replaced, a device or
                               * NBD export overwritten */
  gboolean verify;            /* default FALSE; TRUE: read the output back and compare */
  gboolean fast;              /* default FALSE; TRUE: no fsync of the output before the rename */
  gboolean sparsify;          /* default TRUE: blocks no filesystem uses are not copied */
  gboolean resume;            /* default FALSE; TRUE: what an interrupted run with the same output
                               * copied is taken up, and kept if this one is interrupted, too */
  gboolean checksum;          /* default FALSE; TRUE: SHA-256 digests are written beside the output,
                               * as sha256sum writes them, into a file named .sha256 */
  guint64 rate_limit;         /* most bytes a second read from the source; 0 (default): no limit */
  gboolean drop_swap;         /* default FALSE; TRUE: swap and hibernation files are left out */
  gboolean flatten;           /* default FALSE; TRUE: that a chain becomes one image is no news */
  H2kProgressFunc progress;   /* may be NULL; phases "copy" and "verify" */
  gpointer progress_data;
} H2kConvertOptions;

H2K_PUBLIC H2kConvertOptions *h2k_convert_options_new (void);
H2K_PUBLIC void h2k_convert_options_free (H2kConvertOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kConvertOptions, h2k_convert_options_free)

/* Convert one image; a chain becomes one. On failure nothing stands under the output's name that
 * did not before. CANCELLABLE may be NULL. Errors: H2K_ERROR_USAGE, _SOURCE, _FORMAT, _UNSUPPORTED,
 * _OUTPUT_EXISTS, _OUTPUT, _NO_SPACE, _VERIFY, _CANCELLED. */
H2K_PUBLIC gboolean h2k_convert (const H2kConvertOptions *options, GCancellable *cancellable,
                                 GError **error);

typedef struct
{
  gboolean same_content; /* the shorter one counts as zeros behind its end */
  gboolean same_size;
  guint64 offset; /* the first byte that differs; G_MAXUINT64 when none does */
} H2kComparison;

/* Compare what guests see of two images. THREADS, PROGRESS and CANCELLABLE as above. TRUE: RESULT
 * says whether they are the same. Errors: H2K_ERROR_SOURCE, _FORMAT, _UNSUPPORTED, _CANCELLED. */
H2K_PUBLIC gboolean h2k_images_compare (const char *path_a, const char *format_a,
                                        const char *path_b, const char *format_b, guint threads,
                                        H2kProgressFunc progress, gpointer progress_data,
                                        GCancellable *cancellable, H2kComparison *result,
                                        GError **error);

/* What to boot and what counts as proof. */
typedef struct
{
  GPtrArray *disks;     /* char *: paths, first disk first */
  char *format;         /* NULL: found by content */
  H2kBus bus;           /* default H2K_BUS_VIRTIO_BLK */
  H2kEvidence evidence; /* default H2K_EVIDENCE_AUTO */
  guint timeout;        /* seconds; 0: 300 under KVM, 900 under emulation; Windows: 1200, 3600 */
  guint memory_mib;     /* default 2048 */
  guint vcpus;          /* default 2 */
  gboolean headless;    /* default TRUE */
  gboolean uefi;        /* default FALSE; found by itself when the disk can be inspected */
  char *accel;          /* "kvm", "tcg" or NULL: KVM where it works, else emulation */
  char *temp_dir;       /* NULL: $TMPDIR or /var/tmp */
  char *screen;         /* a file that gets a picture of the screen, as PNG, when there is no proof;
                         * replaced if it is there. NULL (default): none */
  GPtrArray *macs;      /* char *: may be empty */
  GPtrArray *keys;      /* char *: of LUKS containers, as for a migration; for the marker unit only:
                         * the guest opens its volumes itself */
  gboolean reboot;      /* default FALSE; TRUE: reboot inside the guest, wait for proof again */
  H2kProgressFunc progress;
  gpointer progress_data;
} H2kBootOptions;

H2K_PUBLIC H2kBootOptions *h2k_boot_options_new (void);
H2K_PUBLIC void h2k_boot_options_free (H2kBootOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kBootOptions, h2k_boot_options_free)

/* Boot a throw-away overlay of the disks, which are not written, and wait for proof from inside
 * the guest. EVIDENCE (may be NULL) is set to a JSON text, the caller's, in both cases when QEMU
 * was started: accelerator, what was seen, after how many seconds, the console's tail.
 * Errors: H2K_ERROR_BOOT (the console's last lines are in the message), _SOURCE, _TOOL,
 * _CANCELLED. */
H2K_PUBLIC gboolean h2k_boot_test (const H2kBootOptions *options, GCancellable *cancellable,
                                   char **evidence, GError **error);

/* One disk image offered over NBD to other programs of this host, without any change to it: what is
 * repaired or written lies in an overlay, which is dropped at the end. Obtain with
 * h2k_nbd_options_new(). */
typedef struct
{
  char *source;
  char *source_format; /* as above */
  gboolean repair;     /* default FALSE; TRUE: the guest is repaired in the overlay first */
  GPtrArray *keys;     /* char *: of LUKS containers, as for a migration; for the repair */
  char *virtio_win;    /* Windows: these five for the repair, too, as for a migration */
  char *virtio_config;
  char *guest_agent;
  GPtrArray *first_boot; /* char * */
  gboolean force_dirty;
  H2kBus bus;         /* that the VM will have its disks on; default H2K_BUS_VIRTIO_BLK */
  gboolean writable;  /* default FALSE; TRUE: clients may write into the overlay */
  char *export_name;  /* NULL: the default export, "" */
  char *socket;       /* a unix socket to be made; NULL: one in a new folder, mode 0700 */
  int port;           /* default -1: none; else on 127.0.0.1 instead; 0: a free one */
  int listen_fd;      /* default -1: none; else a socket that listens, which is taken over */
  guint connections;  /* most at once; 0 (default): 16 */
  gboolean exit_last; /* default FALSE; TRUE: end when the last client has left */
  char *temp_dir;     /* for what does not fit in memory; NULL: $TMPDIR or /var/tmp */
  /* Called once, when clients can connect; may be NULL. URI is "nbd+unix:///NAME?socket=PATH" or
   * "nbd://127.0.0.1:PORT/NAME", SIZE the disk's. FALSE, with the error set: end. */
  gboolean (*ready) (const char *uri, guint64 size, gpointer data, GError **error);
  gpointer ready_data;
} H2kNbdOptions;

H2K_PUBLIC H2kNbdOptions *h2k_nbd_options_new (void);
H2K_PUBLIC void h2k_nbd_options_free (H2kNbdOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kNbdOptions, h2k_nbd_options_free)

/* Serve until CANCELLABLE is cancelled, or as exit_last says: TRUE in both cases, and no socket,
 * thread or changed byte is left. Errors before that: H2K_ERROR_USAGE, _SOURCE, _FORMAT,
 * _UNSUPPORTED, _OUTPUT_EXISTS (the socket), _OUTPUT, _CANCELLED; with repair also _NO_OS,
 * _FILESYSTEM, _REPAIR and _NO_SPACE. */
H2K_PUBLIC gboolean h2k_nbd_serve (const H2kNbdOptions *options, GCancellable *cancellable,
                                   GError **error);

/* --- disks that hold a system ------------------------------------------------------------------
 */

/* What to look at. Obtain with h2k_discover_options_new(). */
typedef struct
{
  GPtrArray *paths; /* char *: block devices, images, URIs, and folders, of which every image counts
                     * (a chain, and a split image, once). Empty: the disks that are attached */
  GPtrArray *keys;  /* char *: of LUKS containers, as for a migration */
  gboolean recursive; /* default FALSE; TRUE: also what is in the folders of a folder */
} H2kDiscoverOptions;

H2K_PUBLIC H2kDiscoverOptions *h2k_discover_options_new (void);
H2K_PUBLIC void h2k_discover_options_free (H2kDiscoverOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDiscoverOptions, h2k_discover_options_free)

/* What was found; it does not change. May be used by any number of threads at once. */
typedef struct _H2kDiscovery H2kDiscovery;

H2K_PUBLIC void h2k_discovery_free (H2kDiscovery *discovery);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDiscovery, h2k_discovery_free)

/* Look at the disks, side by side: what they are, what is installed on them, whether that boots,
 * and with which firmware, who uses them, and what a VM of each would need. All are opened for
 * reading only, nothing is mounted, no appliance is started. What keeps a disk from being read
 * (permission, damage, one that does not answer within 10 seconds; images have a minute) is said in
 * its place and is no error. A thread that hangs in the kernel is left alone.
 * CANCELLABLE may be NULL. Errors: H2K_ERROR_SOURCE (no PATHS, and sysfs is not there),
 * H2K_ERROR_USAGE (a malformed key), H2K_ERROR_CANCELLED. */
H2K_PUBLIC H2kDiscovery *h2k_discover (const H2kDiscoverOptions *options, GCancellable *cancellable,
                                       GError **error);
/* How many of the disks could not be read. */
H2K_PUBLIC guint h2k_discovery_unread (const H2kDiscovery *discovery);
/* As JSON (docs/discover.md has its members). The caller's. */
H2K_PUBLIC char *h2k_discovery_to_json (const H2kDiscovery *discovery);
/* A table for people, of at most 80 columns; DETAILS: with the partitions, and what is known of the
 * hardware. Control characters of names are escaped. The caller's. */
H2K_PUBLIC char *h2k_discovery_to_text (const H2kDiscovery *discovery, gboolean details);

/* --- immutable VMs ----------------------------------------------------------------------------
 *
 * A clone is a VM on a disk that is never written: what the guest needs to boot, and what it writes
 * later, lies in overlays in a store. STATE_DIR is the store's folder; NULL: the user's own,
 * $XDG_DATA_HOME/hyper2kvm, or /var/lib/hyper2kvm for root. Names of clones and snapshots are 1 to
 * 64 letters, digits, '.', '_' and '-', the first one a letter or digit. Whatever ends a function,
 * the clone is in the state before or after it. Functions that change a clone fail with
 * H2K_ERROR_OUTPUT while a VM runs on it, with H2K_ERROR_SOURCE while another process changes it,
 * and where there is none of that name. Texts are JSON or for people, as the argument JSON says,
 * and the caller's.
 */

typedef struct
{
  char *name;
  char *state_dir;
  /* The disks, repairs and hardware, as for a migration; its output is not used. Repairs are made
   * when inspect is on. Without MACs in it the VM gets new ones. */
  H2kMigrateOptions *vm;
  gboolean full;   /* default FALSE; TRUE: a digest of the whole disks goes into the fingerprint, by
                    * which h2k_clones_verify() can prove that nothing was changed */
  gboolean unsafe; /* default FALSE; TRUE: disks that this host or a VM uses are taken all the same:
                    * when they change, the clone is corrupt */
  gboolean snapshot; /* default FALSE; TRUE: of an image file that is in use a snapshot is taken,
                      * which shares its blocks, and the clone is of that */
  char *encrypt;     /* a file with a passphrase, by which all that the repairs and the VM write is
                      * encrypted (LUKS, by QEMU); NULL: nothing is. Only the file's name is kept */
  guint64 max_size;  /* default 0: no limit; the most bytes that what the clone writes may take on
                      * the host's disk, where there must be room for it; see h2k_clones_watch() */
  gboolean tpm;      /* default FALSE: as the exported VM had one; TRUE: the VM has a TPM, an empty
                      * one in any case */
} H2kCloneOptions;

H2K_PUBLIC H2kCloneOptions *h2k_clone_options_new (void);
H2K_PUBLIC void h2k_clone_options_free (H2kCloneOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kCloneOptions, h2k_clone_options_free)

/* Make a clone. The disks are whole disks or images in any format and place that this library
 * reads, or those of an exported VM (the options' appliance). REPORT as of h2k_migrate_vm().
 * Errors: every H2kError. */
H2K_PUBLIC gboolean h2k_clones_create (const H2kCloneOptions *options, GCancellable *cancellable,
                                       H2kReport **report, GError **error);
/* The file with the key of encrypted clones from now on, instead of those that they were made with;
 * NULL: those again. Of the whole process, for all functions below. The file's bytes are the
 * passphrase, a line's end at its end too; nobody but its owner may read it. Functions that read or
 * write a clone's data fail with H2K_ERROR_SOURCE where it is missing or wrong. */
H2K_PUBLIC void h2k_clones_use_key_file (const char *path);
/* All clones of the store. Errors: H2K_ERROR_OUTPUT (the store cannot be used), _SOURCE. */
H2K_PUBLIC char *h2k_clones_list (const char *state_dir, gboolean json, GError **error);
/* One of them: layers, snapshots, sizes, its original, who uses it. */
H2K_PUBLIC char *h2k_clones_show (const char *state_dir, const char *name, gboolean json,
                                  GError **error);
/* What lies on what, drawn, from the original up; of all clones with NAME NULL. */
H2K_PUBLIC char *h2k_clones_tree (const char *state_dir, const char *name, gboolean json,
                                  GError **error);
/* Compare the originals with what they were when the clone was made; FULL: everything, which takes
 * as long as reading them does. CHANGED is set to whether there is a difference. Errors:
 * H2K_ERROR_SOURCE (an original is missing), _CANCELLED; _USAGE (FULL, and the clone was made
 * without). */
H2K_PUBLIC char *h2k_clones_verify (const char *state_dir, const char *name, gboolean full,
                                    gboolean json, H2kProgressFunc progress, gpointer progress_data,
                                    GCancellable *cancellable, gboolean *changed, GError **error);
/* Keep the present state as SNAPSHOT. DESCRIPTION may be NULL. Errors: H2K_ERROR_OUTPUT_EXISTS,
 * too, when there is one of this name. */
H2K_PUBLIC gboolean h2k_clones_snapshot (const char *state_dir, const char *name,
                                         const char *snapshot, const char *description,
                                         GError **error);
/* Forget SNAPSHOT, whose state others that build on it keep. */
H2K_PUBLIC gboolean h2k_clones_drop_snapshot (const char *state_dir, const char *name,
                                              const char *snapshot, GError **error);
/* Go back to SNAPSHOT, or (NULL) to what the clone was when it was made or last committed. */
H2K_PUBLIC gboolean h2k_clones_reset (const char *state_dir, const char *name, const char *snapshot,
                                      GError **error);
/* Make the present state what resets go back to. */
H2K_PUBLIC gboolean h2k_clones_commit (const char *state_dir, const char *name, GError **error);
/* Make one of layers between which no state lies that has a name. MERGED (may be NULL) is set to
 * how many are gone. Errors: H2K_ERROR_NO_SPACE, _CANCELLED, too. */
H2K_PUBLIC gboolean h2k_clones_merge (const char *state_dir, const char *name,
                                      GCancellable *cancellable, guint *merged, GError **error);

typedef struct
{
  const char *name, *state_dir;
  const char *from;  /* a snapshot; NULL: what a reset goes back to */
  const char *to;    /* a snapshot; NULL: the present state */
  gboolean original; /* from the original, below what the repair changed; FROM is NULL then */
  gboolean blocks;   /* where blocks differ; no file is looked at */
  gboolean json;
  GPtrArray *keys; /* char *, for the guest's containers, as for h2k_files_open(); may be NULL */
  H2kBackend backend;
} H2kCloneDiffOptions;

/* Gets an answer piece by piece. */
typedef void (*H2kTextFunc) (const char *text, gpointer data);

/* What differs between two states of a clone, which is not changed: the blocks, and the files that
 * were added, changed and removed. WRITE gets the answer, which is complete only when TRUE is
 * returned. DIFFER (may be NULL) is set to whether a byte of the disks does. Two snapshots can be
 * compared while a VM runs on the clone. Errors: H2K_ERROR_OUTPUT (the present state is being
 * written to), H2K_ERROR_SOURCE (no such snapshot), _USAGE, _CANCELLED, those of the disks. */
H2K_PUBLIC gboolean h2k_clones_diff (const H2kCloneDiffOptions *options, H2kTextFunc write,
                                     gpointer data, H2kProgressFunc progress,
                                     gpointer progress_data, GCancellable *cancellable,
                                     gboolean *differ, GError **error);

/* The command line, program first, that starts the clone's VM with QEMU, its console on standard
 * input and output: for hosts without libvirt. SCREEN: its screen is on VNC, for this host alone.
 * The caller's; g_strfreev(). Errors: H2K_ERROR_VERIFY (an original is not what it was; with UNSAFE
 * that is a warning), _OUTPUT (it runs already), _NO_SPACE (there is no room to write), _TOOL (QEMU
 * or its firmware is missing). */
H2K_PUBLIC char **h2k_clones_run_args (const char *state_dir, const char *name, gboolean screen,
                                       gboolean unsafe, GError **error);
/* The command line, program first, of the emulator of the VM's TPM, which has to listen before that
 * one is run; NULL without an error: it has none. The caller's; g_strfreev(). Errors:
 * H2K_ERROR_TOOL (swtpm is not installed), _UNSUPPORTED (a name has a comma). */
H2K_PUBLIC char **h2k_clones_tpm_args (const char *state_dir, const char *name, GError **error);
/* Start it; it ends with QEMU, and with the calling thread, unless that becomes QEMU by execv().
 * Errors: H2K_ERROR_TOOL. */
H2K_PUBLIC gboolean h2k_clones_start_tpm (char *const *args, GError **error);
/* A state of a clone as images that need neither the clone nor its original. */
typedef struct
{
  char *name;
  char *state_dir;
  char *snapshot;             /* NULL (default): the present state, on which no VM may run */
  char *output;               /* the image, or the folder of an export; further disks have "-disk2"
                               * and so on before the extension */
  char *output_format;        /* default "qcow2"; as of h2k_convert() */
  H2kCompression compression; /* default none; qcow2 only */
  gboolean force;             /* default FALSE; TRUE: existing images are replaced */
  guint threads;              /* 0 (default): one a core; at most 64 */
  H2kProgressFunc progress;   /* may be NULL; phases "copy" and "checksum" */
  gpointer progress_data;
} H2kFlattenOptions;

H2K_PUBLIC H2kFlattenOptions *h2k_flatten_options_new (void);
H2K_PUBLIC void h2k_flatten_options_free (H2kFlattenOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kFlattenOptions, h2k_flatten_options_free)

/* Copy each disk into one image, mode 0600: all of them, or none. Nothing of the clone, and nothing
 * in the store, is written. Errors: H2K_ERROR_VERIFY (an original is not what it was), _SOURCE (one
 * is missing, no such snapshot), _OUTPUT (a VM runs on the clone, and no snapshot is named),
 * _OUTPUT_EXISTS, _USAGE, _NO_SPACE (the message has both numbers), _CANCELLED. */
H2K_PUBLIC gboolean h2k_clones_flatten (const H2kFlattenOptions *options, GCancellable *cancellable,
                                        GError **error);
/* Make the folder OUTPUT, which must not be there or be empty: the disks (qcow2 or raw),
 * definitions that name them where they are there, UEFI's variables, SHA256SUMS. UUID and MACs are
 * the clone's. Errors: as above. */
H2K_PUBLIC gboolean h2k_clones_export (const H2kFlattenOptions *options, GCancellable *cancellable,
                                       GError **error);
/* Originals that QEMU does not read itself (disks of an OVA, images on servers, differencing VHDs)
 * are read by this program and offered to QEMU over NBD by a process of its own, which has to be
 * there before a VM is started on such a clone, and ends some seconds after its last client. */
typedef enum
{
  H2K_CLONE_SERVE_UNSAFE = 1 << 0,     /* also originals that are not what they were */
  H2K_CLONE_SERVE_PERSISTENT = 1 << 1, /* until it is stopped */
} H2kCloneServeFlags;

/* Start that process unless it is there, and wait until it answers; of a clone whose originals QEMU
 * reads there is none, and nothing to do. It is the program hyper2kvm. Errors: those of the disks,
 * H2K_ERROR_VERIFY (an original is not what it was), _OUTPUT, _TOOL, _CANCELLED. */
H2K_PUBLIC gboolean h2k_clones_serve (const char *state_dir, const char *name,
                                      H2kCloneServeFlags flags, GCancellable *cancellable,
                                      GError **error);
/* What is called when clients can connect, at URIS (a NULL at the end); FALSE with an error ends
 * it. */
typedef gboolean (*H2kCloneServedFunc) (const char *const *uris, gpointer data, GError **error);
/* Be that process, until nobody needs it any more or CANCELLABLE is cancelled. Errors: as above. */
H2K_PUBLIC gboolean h2k_clones_serve_here (const char *state_dir, const char *name,
                                           H2kCloneServeFlags flags, H2kCloneServedFunc ready,
                                           gpointer data, GCancellable *cancellable,
                                           GError **error);
/* End that process. FORCE: also while somebody is connected, who then gets I/O errors. Errors:
 * H2K_ERROR_OUTPUT. */
H2K_PUBLIC gboolean h2k_clones_serve_stop (const char *state_dir, const char *name, gboolean force,
                                           GError **error);
/* Other originals for a clone. */
typedef struct
{
  char *name;
  char *state_dir;
  GPtrArray *disks;      /* char *: one for each disk of the clone; the same one again is none the
                          * worse for it */
  char *format;          /* theirs; NULL (default): found by content */
  gboolean full;         /* default FALSE; TRUE: every byte is compared */
  gboolean keep_content; /* default FALSE; TRUE: they may have another content: what differs from
                          * the old original goes into the clone's lowest layer */
  gboolean unsafe;       /* as of H2kCloneOptions */
  H2kProgressFunc progress; /* may be NULL; phases "compare" and "digest" */
  gpointer progress_data;
} H2kRebaseOptions;

H2K_PUBLIC H2kRebaseOptions *h2k_rebase_options_new (void);
H2K_PUBLIC void h2k_rebase_options_free (H2kRebaseOptions *options);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kRebaseOptions, h2k_rebase_options_free)

/* Put a clone over originals that lie elsewhere, or are of another format. They must not be
 * smaller; of a larger one the clone sees as much as before. Errors: H2K_ERROR_VERIFY (the content
 * is another one; nothing is changed), _USAGE (there is nothing to compare every byte with; not one
 * for each disk), those of h2k_clones_create() for originals. */
H2K_PUBLIC gboolean h2k_clones_rebase (const H2kRebaseOptions *options, GCancellable *cancellable,
                                       GError **error);
/* Define the clone's VM in libvirt, or define it anew. CONNECT is a URI of libvirt's on this host;
 * NULL: the one where it is defined, or qemu:///system for root and qemu:///session for others.
 * Errors: H2K_ERROR_TOOL (libvirt does not run), _SOURCE (an original cannot be read by the user as
 * whom libvirt runs QEMU), _OUTPUT. */
H2K_PUBLIC gboolean h2k_clones_define (const char *state_dir, const char *name, const char *connect,
                                       GError **error);
/* Take it out of libvirt; the clone stays. Errors: H2K_ERROR_TOOL, _OUTPUT (it runs). */
H2K_PUBLIC gboolean h2k_clones_undefine (const char *state_dir, const char *name, GError **error);
/* Start it with libvirt, in which it is defined when it is not. Errors: those of
 * h2k_clones_run_args() and of h2k_clones_define(). */
H2K_PUBLIC gboolean h2k_clones_start (const char *state_dir, const char *name, const char *connect,
                                      gboolean unsafe, GError **error);
/* The command line, program first, that puts the serial console of a VM of libvirt's on the
 * terminal. The caller's; g_strfreev(). Errors: H2K_ERROR_TOOL, _OUTPUT (it does not run). */
H2K_PUBLIC char **h2k_clones_console_args (const char *state_dir, const char *name, GError **error);
/* Shut the VM down, whether libvirt runs it or the command line of h2k_clones_run_args(), and wait
 * for its end TIMEOUT seconds; one that runs still is ended with FORCE, and an error
 * (H2K_ERROR_OUTPUT) without. One that does not run is as it should be. Errors: H2K_ERROR_TOOL,
 * _CANCELLED, too. */
H2K_PUBLIC gboolean h2k_clones_stop (const char *state_dir, const char *name, guint timeout,
                                     gboolean force, GCancellable *cancellable, GError **error);
/* Let a paused VM go on. Errors: H2K_ERROR_NO_SPACE (there is no room for what it writes), _OUTPUT
 * (it does not run), _TOOL. */
H2K_PUBLIC gboolean h2k_clones_resume (const char *state_dir, const char *name, GError **error);
/* Set the most bytes that the clone's layers may take on the host's disk; 0: no limit. */
H2K_PUBLIC gboolean h2k_clones_limit (const char *state_dir, const char *name, guint64 max_size,
                                      GError **error);

/* Told what h2k_clones_watch() finds: a line, without its end. */
typedef void (*H2kCloneWatchFunc) (const char *line, gpointer data);

typedef struct
{
  const char *state_dir;
  const char *const *names; /* ended by NULL; NULL: all clones that run */
  double interval;          /* seconds between two looks, beside those that events cause */
  guint warn_percent;       /* of the filesystem, or of what the clone may take; 0: 10 */
  guint64 warn_bytes;       /* instead of that; 0: unset */
  guint64 reserve;        /* bytes that stay free on the filesystem; 0: 2 % of it, at most 1 GiB */
  gboolean once;          /* look once, and say how it is */
  gboolean until_stopped; /* end when none runs any more, instead of waiting for the next */
  gboolean json;          /* lines are JSON objects */
  H2kCloneWatchFunc say;
  gpointer say_data;
} H2kCloneWatchOptions;

/* Watch how running clones grow: say so when there is little left for one, and pause it before its
 * filesystem is full, or when it has come to its limit. Returns when OPTIONS say so or CANCELLABLE
 * is cancelled. Errors: H2K_ERROR_SOURCE (there is no clone of a name), _OUTPUT, _CANCELLED. */
H2K_PUBLIC gboolean h2k_clones_watch (const H2kCloneWatchOptions *options,
                                      GCancellable *cancellable, GError **error);
/* The clone's folder. The caller's. */
H2K_PUBLIC char *h2k_clones_folder (const char *state_dir, const char *name, GError **error);

/* Remove the clone and all of its states; its original stays as it is. */
H2K_PUBLIC gboolean h2k_clones_delete (const char *state_dir, const char *name, GError **error);

/* The library's version, "MAJOR.MINOR.PATCH". */
H2K_PUBLIC const char *h2k_version (void);

G_END_DECLS
