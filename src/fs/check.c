/* check.c - finds the check of a filesystem, and keeps what it finds.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/check.h"
#include "fs/ext-check.h"
#include "fs/fat-check.h"
#include "fs/fat.h"
#include "fs/guestfs.h"
#include "fs/ntfs.h"
#include "fs/ntfs-check.h"

static const struct
{
  const H2kFsOps *ops;
  gboolean (*check) (H2kFs *fs, H2kFsCheck *check, GCancellable *cancellable, GError **error);
} checks[] = {
    {&h2k_ext_ops, h2k_ext_check},
    {&h2k_fat_ops, h2k_fat_check},
    {&h2k_ntfs_ops, h2k_ntfs_check},
};

H2kFsCheck *
h2k_fs_check_new (void)
{
  H2kFsCheck *check = g_new0 (H2kFsCheck, 1);

  check->findings = g_ptr_array_new_with_free_func (g_free);
  check->remarks = g_ptr_array_new_with_free_func (g_free);
  return check;
}

void
h2k_fs_check_free (H2kFsCheck *check)
{
  if (!check)
    return;
  g_ptr_array_unref (check->findings);
  g_ptr_array_unref (check->remarks);
  g_free (check->reason);
  g_free (check);
}

gboolean
h2k_fs_check (H2kFs *fs, H2kFsCheck *check, GCancellable *cancellable, GError **error)
{
  if (h2k_guestfs_serves (fs))
    return h2k_guestfs_check (fs, check, error);
  for (gsize i = 0; i < G_N_ELEMENTS (checks); i++)
    if (checks[i].ops == fs->ops)
      {
        check->checked = TRUE;
        check->by = "native";
        return (!fs->writable || fs->ops->flush (fs, error))
               && checks[i].check (fs, check, cancellable, error);
      }
  h2k_fs_check_leave (check, "hyper2kvm has no check of its own for filesystems of this type");
  return TRUE;
}

char *
h2k_fs_check_summary (const H2kFsCheck *check)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < check->findings->len; i++)
    g_string_append_printf (text, "%s%s", i ? "; " : "", (char *)check->findings->pdata[i]);
  if (check->corruptions > check->findings->len)
    g_string_append_printf (text, "; and %" G_GUINT64_FORMAT " more",
                            check->corruptions - check->findings->len);
  return g_string_free (text, FALSE);
}

static void
keep (GPtrArray *texts, const char *format, va_list args)
{
  if (texts->len < H2K_FS_CHECK_FINDINGS)
    g_ptr_array_add (texts, g_strdup_vprintf (format, args));
}

void
h2k_fs_check_leave (H2kFsCheck *check, const char *format, ...)
{
  va_list args;

  check->checked = FALSE;
  check->corruptions = check->notes = 0;
  g_ptr_array_set_size (check->findings, 0);
  g_ptr_array_set_size (check->remarks, 0);
  g_free (check->reason);
  va_start (args, format);
  check->reason = g_strdup_vprintf (format, args);
  va_end (args);
}

static void
copy_texts (GPtrArray *to, GPtrArray *from)
{
  g_ptr_array_set_size (to, 0);
  for (guint i = 0; i < from->len; i++)
    g_ptr_array_add (to, g_strdup (from->pdata[i]));
}

void
h2k_fs_check_copy (H2kFsCheck *to, const H2kFsCheck *from)
{
  to->checked = from->checked;
  to->by = from->by;
  g_free (to->reason);
  to->reason = g_strdup (from->reason);
  to->corruptions = from->corruptions;
  to->notes = from->notes;
  copy_texts (to->findings, from->findings);
  copy_texts (to->remarks, from->remarks);
}

void
h2k_fs_check_corrupt (H2kFsCheck *check, const char *format, ...)
{
  va_list args;

  check->corruptions++;
  va_start (args, format);
  keep (check->findings, format, args);
  va_end (args);
}

void
h2k_fs_check_note (H2kFsCheck *check, const char *format, ...)
{
  va_list args;

  check->notes++;
  va_start (args, format);
  keep (check->remarks, format, args);
  va_end (args);
}
