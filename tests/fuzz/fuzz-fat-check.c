/* fuzz-fat-check.c - any bytes as a FAT volume that is checked. Of one in which nothing is wrong
 * every file can be read whole, and it stays so when something is written.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume.h"

#include "fs/check.h"

#define MAX_READ (1u << 20)

/* Whether nothing is wrong with it. */
static gboolean
is_clean (H2kFs *fs)
{
  g_autoptr (H2kFsCheck) result = h2k_fs_check_new ();
  g_autoptr (GError) error = NULL;
  gboolean ok = h2k_fs_check (fs, result, NULL, &error);

  g_assert (ok == (error == NULL));
  g_assert (!ok || result->checked);
  g_assert (result->findings->len == MIN (result->corruptions, H2K_FS_CHECK_FINDINGS));
  for (guint i = 0; i < result->findings->len; i++)
    g_assert (g_utf8_validate (result->findings->pdata[i], -1, NULL));
  return ok && result->corruptions == 0;
}

/* Every file in PATH and below. Two entries of one name are no fault; only one of them is read. */
static void
read_all (H2kFs *fs, const char *path, guint depth, guint *budget)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, NULL);

  if (!names)
    g_error ("the check found nothing, but %s cannot be listed", path);
  for (guint i = 0; i < names->len && *budget; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      g_autoptr (GError) error = NULL;
      H2kStat st;

      --*budget;
      if (!fs->ops->lstat (fs, sub, &st, &error))
        g_error ("the check found nothing, but: %s", error->message);
      if (S_ISDIR (st.mode) && depth < 8)
        read_all (fs, sub, depth + 1, budget);
      else if (S_ISREG (st.mode))
        for (guint64 at = 0; at < MIN (st.size, 4 * MAX_READ); at += MAX_READ)
          {
            g_autoptr (GBytes) bytes = fs->ops->read (fs, sub, at, MAX_READ, &error);
            if (!bytes)
              g_error ("the check found nothing, but: %s", error->message);
          }
    }
}

static void
change (H2kFs *fs, const guint8 *data, gsize size)
{
  if (fs->ops->create (fs, "/a directory", S_IFDIR | 0755, 0, 0, NULL, NULL)
      && fs->ops->create (fs, "/a directory/a new file", 0644, 0, 0, NULL, NULL)
      && fs->ops->write (fs, "/a directory/a new file", 700, data, size, NULL)
      && fs->ops->create (fs, "/a directory/another", 0644, 0, 0, NULL, NULL)
      && fs->ops->rename (fs, "/a directory/a new file", "/moved here", NULL))
    fs->ops->remove (fs, "/a directory/another", NULL);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  g_autoptr (H2kDisk) disk = volume_unpack (data, size);
  g_autoptr (H2kFs) fs = h2k_fs_open (disk, NULL);
  guint budget = 200;

  if (!fs || !g_str_equal (fs->ops->name, "fat") || !is_clean (fs))
    return 0;
  read_all (fs, "/", 0, &budget);
  change (fs, data, size);
  if (!is_clean (fs))
    g_error ("it was clean until something was written");
  return 0;
}
