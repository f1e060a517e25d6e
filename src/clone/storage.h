/* storage.h - whether a filesystem can hold what VMs write.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef struct
{
  guint64 size, available; /* bytes */
  char *type;              /* "ext4"; "0x..." when it has no known name */
  char *mountpoint;        /* where it is mounted; NULL: unknown */
  gboolean in_memory;      /* tmpfs and the like: gone with the power, and memory while it lasts */
  gboolean can_direct;     /* files can be opened with O_DIRECT */
} H2kStorage;

/* What PATH, a folder that can be written to, lies on. Errors: H2K_ERROR_OUTPUT. */
H2kStorage *h2k_storage_of (const char *path, GError **error);
void h2k_storage_free (H2kStorage *storage);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kStorage, h2k_storage_free)

/* What has to stay free there, bytes: below that it counts as nearly full. */
guint64 h2k_storage_spare (const H2kStorage *storage);

/* Whether overlays can live there: it is not in memory, and has NEEDED bytes and some to spare; the
 * message has the numbers. Errors: H2K_ERROR_OUTPUT, H2K_ERROR_NO_SPACE. */
gboolean h2k_storage_check (const H2kStorage *storage, const char *path, guint64 needed,
                            GError **error);
