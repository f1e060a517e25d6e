/* memory-fs.c - as memory-fs.h says.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "memory-fs.h"

#include <string.h>

typedef struct
{
  H2kFs fs;
  GHashTable *files; /* char *: GByteArray * */
  guint changes, fail_at;
} MemoryFs;

static void
add (H2kFs *fs, const char *path)
{
  g_hash_table_insert (((MemoryFs *)fs)->files, g_strdup (path), g_byte_array_new ());
}

static GByteArray *
find (H2kFs *fs, const char *path, GError **error)
{
  GByteArray *file = g_hash_table_lookup (((MemoryFs *)fs)->files, path);

  if (!file)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "%s: no such file", path);
  return file;
}

/* The next change is made; or it fails. */
static gboolean
change (H2kFs *fs, GError **error)
{
  MemoryFs *memory = (MemoryFs *)fs;

  if (++memory->changes != memory->fail_at)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM, "no space left");
  return FALSE;
}

static gboolean
memory_lstat (H2kFs *fs, const char *path, H2kStat *st, GError **error)
{
  const GByteArray *file = find (fs, path, error);

  *st = (H2kStat){.mode = 0100644, .nlink = 1, .size = file ? file->len : 0};
  return file != NULL;
}

static GPtrArray *
memory_list (H2kFs *fs, const char *path, GError **error)
{
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  GHashTableIter iter;
  gpointer name;

  g_hash_table_iter_init (&iter, ((MemoryFs *)fs)->files);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    g_ptr_array_add (names, g_path_get_basename (name));
  return names;
}

static GBytes *
memory_read (H2kFs *fs, const char *path, guint64 offset, gsize length, GError **error)
{
  const GByteArray *file = find (fs, path, error);
  gsize from = file ? MIN (offset, file->len) : 0;

  return file ? g_bytes_new (file->data + from, MIN (length, file->len - from)) : NULL;
}

static gboolean
memory_write (H2kFs *fs, const char *path, guint64 offset, gconstpointer data, gsize length,
              GError **error)
{
  GByteArray *file = find (fs, path, error);

  if (!file || !change (fs, error))
    return FALSE;
  if (offset + length > file->len)
    g_byte_array_set_size (file, (guint)(offset + length));
  memcpy (file->data + offset, data, length);
  return TRUE;
}

static gboolean
memory_truncate (H2kFs *fs, const char *path, guint64 size, GError **error)
{
  GByteArray *file = find (fs, path, error);

  if (!file || !change (fs, error))
    return FALSE;
  g_byte_array_set_size (file, (guint)size);
  return TRUE;
}

static gboolean
memory_create (H2kFs *fs, const char *path, guint32 mode, guint32 uid, guint32 gid,
               const char *target, GError **error)
{
  if (!change (fs, error))
    return FALSE;
  add (fs, path);
  return TRUE;
}

static gboolean
memory_remove (H2kFs *fs, const char *path, GError **error)
{
  return find (fs, path, error) && change (fs, error)
         && g_hash_table_remove (((MemoryFs *)fs)->files, path);
}

static gboolean
memory_set_stat (H2kFs *fs, const char *path, const H2kStat *st, GError **error)
{
  return find (fs, path, error) && change (fs, error);
}

static gboolean
memory_flush (H2kFs *fs, GError **error)
{
  return change (fs, error);
}

static void
memory_close (H2kFs *fs)
{
  g_hash_table_unref (((MemoryFs *)fs)->files);
  g_free (fs);
}

static const H2kFsOps memory_ops = {
    .name = "memory",
    .lstat = memory_lstat,
    .list = memory_list,
    .read = memory_read,
    .write = memory_write,
    .truncate = memory_truncate,
    .create = memory_create,
    .remove = memory_remove,
    .set_stat = memory_set_stat,
    .flush = memory_flush,
    .close = memory_close,
};

H2kFs *
memory_fs_new (void)
{
  MemoryFs *memory = g_new0 (MemoryFs, 1);
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (512);
  H2kFsId id = {"memory"};

  memory->files
      = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, (GDestroyNotify)g_byte_array_unref);
  h2k_fs_init (&memory->fs, &memory_ops, disk, &id);
  return &memory->fs;
}

GByteArray *
memory_fs_file (H2kFs *fs, const char *path)
{
  if (!find (fs, path, NULL))
    add (fs, path);
  return find (fs, path, NULL);
}

void
memory_fs_fail_at (H2kFs *fs, guint n)
{
  MemoryFs *memory = (MemoryFs *)fs;

  memory->fail_at = n > 0 ? memory->changes + n : 0;
}

guint
memory_fs_changes (H2kFs *fs)
{
  return ((MemoryFs *)fs)->changes;
}
