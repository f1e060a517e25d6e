/* hive-commit.c - a hive's edits written into its file.
 *
 * The new content is made and checked completely before the first byte is written: hivex writes its
 * copy into a temporary file, which is brought into order (regf-tidy.c), checked like a hive that
 * was just found, and compared with what was found.
 *
 * Windows ignores the logs of a clean hive, and an empty log is one of a new hive; the new sequence
 * number is higher than any that was in them.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "registry/private.h"

#include <errno.h>

#define CHUNK (1u << 20)
#define SUFFIX ".h2k-backup"

static guint64
now_as_filetime (void)
{
  return (guint64)g_get_real_time () * 10 + G_GUINT64_CONSTANT (116444736000000000);
}

/* --- the new content -------------------------------------------------------------------------- */

/* What hivex has in memory, in a file of its own. */
static H2kRegf *
save_edits (H2kHive *hive, GError **error)
{
  int fd = h2k_regf_temp_file (hive->temp_dir, error);
  char path[64];

  if (fd < 0)
    return NULL;
  g_snprintf (path, sizeof path, "/proc/self/fd/%d", fd);
  if (hivex_commit (hive->hivex, path, 0) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_REPAIR, errno, "hivex cannot write it");
      close (fd);
      return NULL;
    }
  return h2k_regf_map (fd, error);
}

static void
tidy (H2kHive *hive, H2kRegf *after)
{
  H2kRegfBin *first = (H2kRegfBin *)(after->data + H2K_REGF_BASE);
  H2kRegfBase *base = h2k_regf_base (after);
  guint64 now = now_as_filetime ();
  GHashTableIter iter;
  gpointer offset, edit;

  g_hash_table_iter_init (&iter, hive->edits);
  while (g_hash_table_iter_next (&iter, &offset, &edit))
    h2k_regf_tidy_key (after, GPOINTER_TO_UINT (offset), edit, now);
  base->written = GUINT64_TO_LE (now);
  h2k_regf_set_clean (after, hive->highest + 1);
  first->written = base->written;
}

/* Make sure that AFTER is intact, and what it is to be. */
static gboolean
check_result (H2kHive *hive, H2kRegf *after, GError **error)
{
  g_autoptr (H2kDamage) damage = h2k_damage_new ();
  g_autofree char *wrong = h2k_regf_check_bins (after, FALSE);

  if (!wrong)
    {
      h2k_regf_check_tree (after, damage);
      /* Damaged values were there before. */
      wrong = damage->n > damage->n_values || damage->n != hive->damage->n
                  ? g_strdup (damage->n > 0 ? damage->texts->pdata[0] : "something was repaired")
                  : h2k_regf_compare (hive->regf, after, hive->edits);
    }
  if (wrong)
    g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "the edited hive is not as it should be: %s",
                 wrong);
  return !wrong;
}

static H2kRegf *
make_result (H2kHive *hive, GError **error)
{
  g_autoptr (H2kRegf) after = save_edits (hive, error);
  g_autofree char *wrong = NULL;

  if (!after)
    return NULL;
  /* The copy in memory is needed no more. */
  g_clear_pointer (&hive->hivex, hivex_close);
  wrong = h2k_regf_check_bins (after, FALSE);
  if (wrong)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "hivex made a damaged hive: %s", wrong);
      return NULL;
    }
  tidy (hive, after);
  return check_result (hive, after, error) ? g_steal_pointer (&after) : NULL;
}

/* --- files ------------------------------------------------------------------------------------ */

static gboolean
copy_content (H2kFs *fs, const char *from, const char *to, guint64 size, GError **error)
{
  for (guint64 at = 0; at < size; at += CHUNK)
    {
      gsize length;
      g_autoptr (GBytes) bytes = fs->ops->read (fs, from, at, (gsize)MIN (size - at, CHUNK), error);
      gconstpointer data = bytes ? g_bytes_get_data (bytes, &length) : NULL;

      if (!bytes || !fs->ops->write (fs, to, at, data, length, error))
        return FALSE;
    }
  return TRUE;
}

/* Keep PATH beside itself, unless it is empty or was kept before. */
static gboolean
back_up (H2kHive *hive, const char *path, GPtrArray *made, GError **error)
{
  H2kFs *fs = hive->fs;
  g_autofree char *backup = g_strconcat (path, SUFFIX, NULL);
  H2kStat st, old;

  if (!fs->ops->lstat (fs, path, &st, error))
    return FALSE;
  if (st.size == 0 || fs->ops->lstat (fs, backup, &old, NULL))
    return TRUE;
  if (!fs->ops->create (fs, backup, 0100000 | (st.mode & 07777), st.uid, st.gid, NULL, error))
    return FALSE;
  g_ptr_array_add (made, g_strdup (backup));
  return copy_content (fs, path, backup, st.size, error)
         && fs->ops->set_stat (fs, backup, &st, error);
}

static gboolean
back_up_all (H2kHive *hive, GError **error)
{
  g_autoptr (GPtrArray) made = g_ptr_array_new_with_free_func (g_free);
  gboolean ok = back_up (hive, hive->path, made, error);

  for (guint i = 0; ok && i < hive->logs->len; i++)
    ok = back_up (hive, hive->logs->pdata[i], made, error);
  ok = ok && hive->fs->ops->flush (hive->fs, error);
  /* Half a copy is none. */
  for (guint i = 0; !ok && i < made->len; i++)
    hive->fs->ops->remove (hive->fs, made->pdata[i], NULL);
  if (ok)
    g_ptr_array_extend_and_steal (hive->info.backups, g_steal_pointer (&made));
  return ok;
}

/* Write what differs of LENGTH bytes at AT, in whole pages; with CHECK_ONLY nothing may. */
static gboolean
write_chunk (H2kHive *hive, const H2kRegf *after, guint64 at, gsize length, gboolean check_only,
             GError **error)
{
  H2kFs *fs = hive->fs;
  g_autoptr (GBytes) bytes = NULL;
  const guint8 *old = NULL, *new = after->data + at;
  gsize have = 0, from = 0;

  if (at < hive->info.size || check_only)
    {
      bytes = fs->ops->read (fs, hive->path, at, length, error);
      if (!bytes)
        return FALSE;
      old = g_bytes_get_data (bytes, &have);
    }
  if (check_only)
    {
      if (have == length && memcmp (old, new, length) == 0)
        return TRUE;
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "it reads back other than it was written");
      return FALSE;
    }
  while (from < length)
    {
      gsize to = from;

      while (to < length
             && (to + H2K_REGF_PAGE > have
                 || memcmp (old + to, new + to, MIN (H2K_REGF_PAGE, length - to)) != 0))
        to = MIN (to + H2K_REGF_PAGE, length);
      if (to > from && !fs->ops->write (fs, hive->path, at + from, new + from, to - from, error))
        return FALSE;
      from = MAX (to, from) + (to < length ? H2K_REGF_PAGE : 0);
    }
  return TRUE;
}

/* The base block comes last: it is what says that the hive is clean. */
static gboolean
write_result (H2kHive *hive, const H2kRegf *after, guint64 size, GError **error)
{
  H2kFs *fs = hive->fs;

  for (guint64 at = H2K_REGF_BASE; at < size; at += CHUNK)
    if (!write_chunk (hive, after, at, (gsize)MIN (size - at, CHUNK), FALSE, error))
      return FALSE;
  if (!fs->ops->flush (fs, error) || !write_chunk (hive, after, 0, H2K_REGF_BASE, FALSE, error))
    return FALSE;
  for (guint i = 0; i < hive->logs->len; i++)
    {
      H2kStat st;

      if (!fs->ops->lstat (fs, hive->logs->pdata[i], &st, error)
          || (st.size > 0 && !fs->ops->truncate (fs, hive->logs->pdata[i], 0, error)))
        return FALSE;
    }
  return fs->ops->flush (fs, error);
}

static gboolean
read_back (H2kHive *hive, const H2kRegf *after, guint64 size, GError **error)
{
  for (guint64 at = 0; at < size; at += CHUNK)
    if (!write_chunk (hive, after, at, (gsize)MIN (size - at, CHUNK), TRUE, error))
      return FALSE;
  return TRUE;
}

/* --- all of it -------------------------------------------------------------------------------- */

/* What was written is what was found, from now on. */
static gboolean
go_on_with (H2kHive *hive, H2kRegf *after, guint64 size, GError **error)
{
  const H2kRegfBase *base = h2k_regf_base (after);

  h2k_regf_free (hive->regf);
  hive->regf = after;
  hive->info.sequence = hive->highest = GUINT32_FROM_LE (base->sequence1);
  hive->info.written = GUINT64_FROM_LE (base->written);
  hive->info.size = size;
  g_hash_table_remove_all (hive->edits);
  return h2k_hive_open_hivex (hive, FALSE, error);
}

static gboolean
commit (H2kHive *hive, GError **error)
{
  g_autoptr (H2kRegf) after = NULL;
  guint64 size;

  if (hive->broken)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "%s", hive->broken);
      return FALSE;
    }
  if (!h2k_fs_check_writable (hive->fs, error))
    return FALSE;
  after = make_result (hive, error);
  if (!after)
    return FALSE;
  size = MAX (hive->info.size, (guint64)H2K_REGF_BASE + after->length);
  if (!back_up_all (hive, error) || !write_result (hive, after, size, error)
      || !read_back (hive, after, size, error))
    return FALSE;
  return go_on_with (hive, g_steal_pointer (&after), size, error);
}

gboolean
h2k_hive_commit (H2kHive *hive, GError **error)
{
  g_autofree char *path = NULL;
  GError *reason = NULL;

  if (!h2k_hive_is_changed (hive) || commit (hive, &reason))
    return TRUE;
  if (!hive->broken)
    hive->broken = g_strdup ("writing it failed before");
  path = h2k_escape_text (hive->path, -1);
  g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "%s: the hive cannot be written: %s", path,
               reason->message);
  g_error_free (reason);
  return FALSE;
}
