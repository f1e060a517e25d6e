/* storage.c - whether a filesystem can hold what VMs write.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/storage.h"

#include <errno.h>
#include <fcntl.h>
#include <gio/gunixmounts.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

/* Below both of these a filesystem is nearly full: a VM writes that much before somebody looks. */
#define SPARE_BYTES (G_GUINT64_CONSTANT (1) << 30)
#define SPARE_PART 50 /* 2 % */

#ifndef RAMFS_MAGIC
#  define RAMFS_MAGIC 0x858458f6
#endif

static gboolean
can_direct (const char *dir)
{
  g_autofree char *path = g_build_filename (dir, ".h2k-direct-XXXXXX", NULL);
  int fd = g_mkstemp_full (path, O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

  if (fd < 0)
    return FALSE;
  unlink (path);
  close (fd);
  return TRUE;
}

H2kStorage *
h2k_storage_of (const char *path, GError **error)
{
  g_autoptr (H2kStorage) storage = g_new0 (H2kStorage, 1);
  g_autoptr (GUnixMountEntry) mount = NULL;
  struct statfs st;

  if (statfs (path, &st) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot look at the filesystem of %s", path);
      return NULL;
    }
  mount = g_unix_mount_for (path, NULL);
  storage->size = (guint64)st.f_blocks * (guint64)st.f_frsize;
  storage->available = (guint64)st.f_bavail * (guint64)st.f_frsize;
  storage->in_memory = st.f_type == TMPFS_MAGIC || st.f_type == RAMFS_MAGIC;
  storage->mountpoint = mount ? g_strdup (g_unix_mount_get_mount_path (mount)) : NULL;
  storage->type = mount ? g_strdup (g_unix_mount_get_fs_type (mount))
                        : g_strdup_printf ("0x%lx", (unsigned long)st.f_type);
  storage->can_direct = can_direct (path);
  return g_steal_pointer (&storage);
}

void
h2k_storage_free (H2kStorage *storage)
{
  if (!storage)
    return;
  g_free (storage->type);
  g_free (storage->mountpoint);
  g_free (storage);
}

guint64
h2k_storage_spare (const H2kStorage *storage)
{
  return MIN (SPARE_BYTES, storage->size / SPARE_PART);
}

gboolean
h2k_storage_check (const H2kStorage *storage, const char *path, guint64 needed, GError **error)
{
  g_autofree char *available = h2k_format_size (storage->available);
  g_autofree char *size = h2k_format_size (storage->size);
  g_autofree char *wanted = NULL;
  guint64 spare = h2k_storage_spare (storage);

  if (storage->in_memory)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT,
                   "%s is on %s (%s, %s available): what a VM writes would fill the host's memory, "
                   "and be lost with it; choose a folder on a disk with --state-dir",
                   path, storage->type, size, available);
      return FALSE;
    }
  if (storage->available >= spare && storage->available - spare >= needed)
    return TRUE;
  wanted = h2k_format_size (needed + spare);
  g_set_error (error, H2K_ERROR, H2K_ERROR_NO_SPACE,
               "%s is nearly full: %s of %s available, %s needed%s%s; make room there, or choose "
               "another folder with --state-dir",
               path, available, size, wanted, storage->mountpoint ? " on " : "",
               storage->mountpoint ? storage->mountpoint : "");
  return FALSE;
}
