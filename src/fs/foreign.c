/* foreign.c - asks libblkid what is on a volume.
 *
 * libblkid reads file descriptors, and a volume of an image has none: it is given a file in memory
 * of the volume's size that has its two ends, which is where signatures are.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/foreign.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

enum
{
  PIECE = 256 << 10,
  START = 9 * PIECE, /* VMFS is at 2 MiB */
  END = 4 * PIECE,
};

static gboolean
copy_range (H2kDisk *volume, int fd, guint64 from, guint64 to, guint8 *piece, GError **error)
{
  for (guint64 at = from; at < to; at += PIECE)
    {
      gsize n = (gsize)MIN (PIECE, to - at);
      int err;
      if (!h2k_disk_pread (volume, at, n, piece, error))
        return FALSE;
      err = h2k_is_zero (piece, n) ? 0 : h2k_pwrite_full (fd, piece, n, at);
      if (err)
        {
          h2k_set_errno (error, H2K_ERROR_FAILED, err, "%s: cannot be looked at", volume->name);
          return FALSE;
        }
    }
  return TRUE;
}

/* The two ends of VOLUME in a file; -1: they cannot be read. */
static int
copy_ends (H2kDisk *volume, GError **error)
{
  g_autofree guint8 *piece = g_malloc (PIECE);
  guint64 start = MIN (volume->size, START), end = volume->size - MIN (volume->size, END);
  int fd = memfd_create ("volume", MFD_CLOEXEC);

  if (fd < 0 || ftruncate (fd, (off_t)volume->size) != 0)
    h2k_set_errno (error, H2K_ERROR_FAILED, errno, "%s: cannot be looked at", volume->name);
  else if (copy_range (volume, fd, 0, start, piece, error)
           && copy_range (volume, fd, MAX (start, end), volume->size, piece, error))
    return fd;
  if (fd >= 0)
    close (fd);
  return -1;
}

static void
get_value (blkid_probe probe, const char *name, char *text, gsize size)
{
  const char *value;
  g_autofree char *safe = NULL;
  const char *valid_end;

  if (blkid_probe_lookup_value (probe, name, &value, NULL) != 0)
    return;
  safe = h2k_escape_text (value, -1);
  g_strlcpy (text, safe, size);
  /* Cut between characters. */
  if (!g_utf8_validate (text, -1, &valid_end))
    text[valid_end - text] = 0;
}

gboolean
h2k_foreign_identify (H2kDisk *volume, H2kForeign *id, GError **error)
{
  int fd = copy_ends (volume, error);
  blkid_probe probe;
  gboolean found;

  memset (id, 0, sizeof *id);
  if (fd < 0)
    return FALSE;
  probe = blkid_new_probe ();
  found = probe && blkid_probe_set_device (probe, fd, 0, (blkid_loff_t)volume->size) == 0
          && blkid_probe_enable_superblocks (probe, TRUE) == 0
          && blkid_probe_set_superblocks_flags (probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_USAGE
                                                           | BLKID_SUBLKS_UUID | BLKID_SUBLKS_LABEL
                                                           | BLKID_SUBLKS_VERSION)
                 == 0
          && blkid_do_safeprobe (probe) == 0;
  if (found)
    {
      get_value (probe, "TYPE", id->type, sizeof id->type);
      get_value (probe, "USAGE", id->usage, sizeof id->usage);
      get_value (probe, "VERSION", id->version, sizeof id->version);
      get_value (probe, "UUID", id->uuid, sizeof id->uuid);
      get_value (probe, "LABEL", id->label, sizeof id->label);
    }
  blkid_free_probe (probe);
  close (fd);
  return found && id->type[0] != 0;
}
