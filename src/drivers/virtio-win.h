/* virtio-win.h - where virtio drivers come from: the ISO of the virtio-win project, a folder with
 * its files, or the installed package; and which of them serve a guest.
 *
 * Which folder serves which release, the drivers there are, and the facts that INF files are
 * compared with are data: virtio-win.json (h2k_virtio_win_json() is the one that is built in),
 * whose format is described in its own first lines' "about". Names of folders and files are
 * compared without case. Both layouts are known: viostor/w10/amd64/ and amd64/w10/.
 *
 * An ISO is read where it lies, without mounting: opening reads its directories, and a driver's
 * files are read when they are asked for. What a source holds is hostile input.
 *
 * Thread-safety: all of it may be called from any thread.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "drivers/inf.h"

/* A driver's file that is larger is refused. */
#define H2K_DRIVER_FILE_MAX (64u << 20)

typedef struct _H2kDriverSource H2kDriverSource;

/* The configuration that is built in. Static. */
GBytes *h2k_virtio_win_json (void);

/* Open PATH: an ISO (a file or a URI), a folder, or NULL: the package of this host, whose places
 * the configuration lists. CONFIG is a JSON file in the place of the one that is built in, or NULL.
 * Errors: H2K_ERROR_USAGE: CONFIG is wrong, the message says where in it; H2K_ERROR_SOURCE: PATH
 * cannot be read, or nothing is installed; H2K_ERROR_FORMAT: it is no ISO; _UNSUPPORTED: there are
 * no virtio drivers in it. */
H2kDriverSource *h2k_driver_source_open (const char *path, const char *config, GError **error);
H2kDriverSource *h2k_driver_source_ref (H2kDriverSource *source);
void h2k_driver_source_unref (H2kDriverSource *source);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDriverSource, h2k_driver_source_unref)

/* For reports: "virtio-win-0.1.285 (/usr/share/virtio-win/virtio-win.iso)", escaped. The source's.
 */
const char *h2k_driver_source_describe (H2kDriverSource *source);
/* The label of the ISO ("virtio-win-0.1.285"); NULL for folders. The source's. */
const char *h2k_driver_source_label (H2kDriverSource *source);
/* The version ("0.1.285") as the label or the files say it; NULL: unknown. The source's. */
const char *h2k_driver_source_version (H2kDriverSource *source);
/* The ISO, to be attached to the VM; NULL for folders and for an ISO that is not a file of this
 * host. The source's. */
const char *h2k_driver_source_path (H2kDriverSource *source);

/* A file of the source. */
typedef struct
{
  char *name; /* path relative to the driver's folder, as the source writes it; a plain relative one
               */
  guint64 size; /* bytes, at most H2K_DRIVER_FILE_MAX */
  /* private */
  H2kDriverSource *source;
  gpointer node;
} H2kDriverFile;

/* Read FILE. Errors: H2K_ERROR_SOURCE, H2K_ERROR_FORMAT. */
GBytes *h2k_driver_file_read (const H2kDriverFile *file, GError **error);
void h2k_driver_file_free (H2kDriverFile *file);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kDriverFile, h2k_driver_file_free)

typedef enum
{
  H2K_DRIVER_STORAGE,
  H2K_DRIVER_NETWORK,
  H2K_DRIVER_OTHER,
} H2kDriverRole;

/* A driver package that fits the guest. */
typedef struct
{
  char *name; /* the configuration's: "viostor" */
  H2kDriverRole role;
  gboolean boot;    /* without it the guest does not boot from VirtIO: its service starts at boot */
  char *folder;     /* in the source: "viostor/2k19/amd64" */
  char *os;         /* the release's folder, as the configuration has it: "2k19" */
  char *fallback;   /* why it is not the first choice, for the report; NULL: it is */
  char *inf_name;   /* "viostor.inf", as the source writes it */
  H2kInf *inf;      /* for this guest */
  GPtrArray *files; /* H2kDriverFile*: the package, the INF first; no debug symbols */
} H2kDriver;

void h2k_driver_free (H2kDriver *driver);
/* DRIVER's file NAME, compared without case; NULL: it has none. */
const H2kDriverFile *h2k_driver_find_file (const H2kDriver *driver, const char *name);

/* The drivers of SOURCE for RELEASE: H2kDriver*, in the configuration's order; a driver whose
 * package has two INF files is there twice. For each driver the folders that serve the release are
 * tried in turn: the INF has to accept the release, its driver has to be there and be for its
 * processor. NOTES gets a char* for each thing that people should know: a folder that was passed
 * over and why, a fall-back, an INF that differs from the facts (the INF counts). A driver that is
 * not needed at boot may be missing; without one for storage it is H2K_ERROR_UNSUPPORTED, and the
 * message lists what the source has. */
GPtrArray *h2k_driver_source_find (H2kDriverSource *source, const H2kWindowsRelease *release,
                                   GPtrArray *notes, GError **error);

/* The QEMU guest agent's installer for ARCH; NULL when the source has none. The caller's. */
H2kDriverFile *h2k_driver_source_guest_agent (H2kDriverSource *source, H2kWindowsArch arch);
