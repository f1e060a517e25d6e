/* fuzz-ntfs-check.c - any bytes as an NTFS volume that is checked. One in which nothing is wrong
 * stays so when something is written.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "ntfs-volume.h"

#include "fs/check.h"

/* What is wrong, or "" (not checked: NULL). */
static char *
check (H2kFs *fs)
{
  g_autoptr (H2kFsCheck) result = h2k_fs_check_new ();
  g_autoptr (GError) error = NULL;
  gboolean ok = h2k_fs_check (fs, result, NULL, &error);

  g_assert (ok == (error == NULL));
  g_assert (result->findings->len == MIN (result->corruptions, H2K_FS_CHECK_FINDINGS));
  for (guint i = 0; i < result->findings->len; i++)
    g_assert (g_utf8_validate (result->findings->pdata[i], -1, NULL));
  return ok && result->checked ? h2k_fs_check_summary (result) : NULL;
}

static void
change (H2kFs *fs, const guint8 *data, gsize size)
{
  if (fs->ops->create (fs, "/a directory", S_IFDIR | 0755, 0, 0, NULL, NULL)
      && fs->ops->create (fs, "/a directory/a new file", S_IFREG | 0644, 0, 0, NULL, NULL)
      && fs->ops->write (fs, "/a directory/a new file", 700, data, size, NULL)
      && fs->ops->create (fs, "/a directory/another", S_IFREG | 0644, 0, 0, NULL, NULL)
      && fs->ops->rename (fs, "/a directory/a new file", "/moved here", NULL))
    fs->ops->remove (fs, "/a directory/another", NULL);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = volume_unpack (data, size);
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, NULL);
  g_autofree char *before = NULL, *after = NULL;

  if (!fs || !h2k_ntfs_state (fs))
    return 0;
  before = check (fs);
  if (!before || *before)
    return 0;
  change (fs, data, size);
  after = check (fs);
  if (after && *after)
    g_error ("it was clean until something was written: %s", after);
  return 0;
}
