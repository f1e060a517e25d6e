/* files.c - the files of a guest, for those who look at them or put some in.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/migrate.h"

#include <glib/gstdio.h>
#include <sys/stat.h>

#define OVERLAY_MEMORY ((guint64)64 << 20)

struct _H2kFiles
{
  GPtrArray *paths; /* char *: of the disks, as given */
  GPtrArray *disks; /* H2kDisk *: overlays */
  H2kGuest *guest;
};

H2kFiles *
h2k_files_open (GPtrArray *paths, const char *format, GPtrArray *keys, H2kBackend backend,
                GError **error)
{
  g_autoptr (H2kFiles) files = g_new0 (H2kFiles, 1);
  g_autoptr (H2kKeys) parsed = NULL;
  H2kGuestOptions options = {.backend = backend, .kvm_works = h2k_kvm_works};

  files->paths = g_ptr_array_new_with_free_func (g_free);
  files->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  parsed = h2k_keys_parse (keys, error);
  if (!parsed)
    return NULL;
  for (guint i = 0; i < paths->len; i++)
    {
      g_autoptr (H2kDisk) disk = h2k_disk_open (paths->pdata[i], format, error);
      if (!disk)
        return NULL;
      g_ptr_array_add (files->paths, g_strdup (paths->pdata[i]));
      g_ptr_array_add (files->disks, h2k_overlay_new (disk, NULL, OVERLAY_MEMORY));
    }
  options.keys = parsed;
  files->guest = h2k_guest_open (files->disks, &options, error);
  return files->guest ? g_steal_pointer (&files) : NULL;
}

void
h2k_files_free (H2kFiles *files)
{
  if (!files)
    return;
  if (files->guest)
    h2k_guest_free (files->guest);
  g_ptr_array_unref (files->disks);
  g_ptr_array_unref (files->paths);
  g_free (files);
}

void
h2k_file_info_free (H2kFileInfo *info)
{
  if (!info)
    return;
  g_free (info->name);
  g_free (info->target);
  g_free (info);
}

static gboolean
check_path (const char *path, GError **error)
{
  if (path[0] == '/')
    return TRUE;
  g_autofree char *safe = h2k_escape_text (path, -1);
  g_set_error (
      error, H2K_ERROR, H2K_ERROR_USAGE,
      "\"%s\" is no absolute path: files of a guest are named from its root, as /etc/fstab", safe);
  return FALSE;
}

H2kFileInfo *
h2k_files_stat (H2kFiles *files, const char *path, gboolean follow, GError **error)
{
  H2kTree *tree = files->guest->tree;
  g_autoptr (H2kFileInfo) info = g_new0 (H2kFileInfo, 1);
  H2kStat st;

  if (!check_path (path, error)
      || !(follow ? h2k_tree_stat (tree, path, &st, error)
                  : h2k_tree_lstat (tree, path, &st, error)))
    return NULL;
  *info = (H2kFileInfo){.name = g_path_get_basename (path),
                        .mode = st.mode,
                        .uid = st.uid,
                        .gid = st.gid,
                        .nlink = st.nlink,
                        .size = st.size,
                        .rdev = st.rdev,
                        .inode = st.inode,
                        .mtime = st.mtime};
  if (!h2k_tree_find_mount (tree, path, !follow, &info->mount, error))
    return NULL;
  if (S_ISLNK (st.mode))
    info->target = h2k_tree_readlink (tree, path, error);
  return S_ISLNK (st.mode) && !info->target ? NULL : g_steal_pointer (&info);
}

GPtrArray *
h2k_files_list (H2kFiles *files, const char *path, GError **error)
{
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (GPtrArray) entries
      = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_file_info_free);

  if (!check_path (path, error))
    return NULL;
  names = h2k_tree_read_dir (files->guest->tree, path, error);
  for (guint i = 0; names && i < names->len; i++)
    {
      g_autofree char *entry = g_build_filename (path, names->pdata[i], NULL);
      H2kFileInfo *info = h2k_files_stat (files, entry, FALSE, error);
      if (!info)
        return NULL;
      g_ptr_array_add (entries, info);
    }
  return names ? g_steal_pointer (&entries) : NULL;
}

GBytes *
h2k_files_read (H2kFiles *files, const char *path, guint64 offset, gsize length, GError **error)
{
  return check_path (path, error)
             ? h2k_tree_read_range (files->guest->tree, path, offset, length, error)
             : NULL;
}

gboolean
h2k_files_write (H2kFiles *files, const char *path, GBytes *data, guint32 mode, GError **error)
{
  return check_path (path, error)
         && h2k_tree_write (files->guest->tree, path, data, mode & 07777, error);
}

/* --- saving ----------------------------------------------------------------------------------- */

/* What QEMU calls the format of DISK, which an image can build on; NULL if it cannot. */
static const char *
backing_format (const H2kDisk *disk, GError **error)
{
  if (disk->files->len && !disk->origin && !strchr (disk->format, ':'))
    return g_str_equal (disk->format, "vhd") ? "vpc" : disk->format;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: no image can build on it, since it is no file of this host; convert it first",
               disk->name);
  return NULL;
}

static gboolean
save_disk (H2kFiles *files, guint i, const char *output, GPtrArray *paths, GError **error)
{
  H2kDisk *overlay = files->disks->pdata[i];
  const char *format = backing_format (overlay->backing, error);
  g_autofree char *path = h2k_disk_output_path (output, i);
  g_autofree char *backing = g_canonicalize_filename (files->paths->pdata[i], NULL);

  if (!format || !h2k_qcow2_save_overlay (overlay, path, backing, format, error))
    return FALSE;
  g_ptr_array_add (paths, g_steal_pointer (&path));
  return TRUE;
}

/* All of them or none. */
static gboolean
save_all (H2kFiles *files, const char *output, GPtrArray *paths, GError **error)
{
  gboolean ok = TRUE;
  H2kExtent change;

  for (guint i = 0; ok && i < files->disks->len; i++)
    if (h2k_overlay_next_change (files->disks->pdata[i], 0, &change))
      ok = save_disk (files, i, output, paths, error);
  for (guint i = 0; !ok && i < paths->len; i++)
    g_unlink (paths->pdata[i]);
  return ok;
}

gboolean
h2k_files_save (H2kFiles *files, const char *output, GPtrArray *paths, GError **error)
{
  g_autoptr (GPtrArray) saved = g_ptr_array_new_with_free_func (g_free);

  if (!h2k_guest_flush (files->guest, error) || !save_all (files, output, saved, error))
    return FALSE;
  if (!saved->len)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE, "nothing was changed");
  for (guint i = 0; paths && i < saved->len; i++)
    g_ptr_array_add (paths, g_strdup (saved->pdata[i]));
  return saved->len > 0;
}
