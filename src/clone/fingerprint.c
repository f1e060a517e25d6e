/* fingerprint.c - whether the original under a clone is still what it was.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/fingerprint.h"
#include "clone/private.h"
#include "util/digest.h"

#include <sys/stat.h>

#define TABLE_BYTES (34u * 4096u) /* a GPT with sectors of 4096 bytes, its backup as long */
#define VOLUME_BYTES                                                                               \
  (128u << 10) /* btrfs has its superblock at 64 KiB, LVM's text is below that                     \
                */
#define SAMPLES 128u
#define SAMPLE_BYTES 4096u
#define PIECE (1u << 20)

static gboolean
add_range (H2kDigest *digest, H2kDisk *disk, guint64 offset, guint64 length, GError **error)
{
  g_autofree guint8 *buffer = g_malloc (MIN (length, PIECE));

  while (length > 0)
    {
      gsize n = (gsize)MIN (length, PIECE);
      if (!h2k_disk_pread (disk, offset, n, buffer, error))
        return FALSE;
      h2k_digest_update (digest, buffer, n);
      offset += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
set_digest (JsonObject *object, const char *key, H2kDisk *disk, guint64 offset, guint64 length,
            GError **error)
{
  g_autoptr (H2kDigest) digest = h2k_digest_new (G_CHECKSUM_SHA256);

  if (!add_range (digest, disk, offset, length, error))
    return FALSE;
  json_object_set_string_member (object, key, h2k_digest_text (digest));
  return TRUE;
}

/* --- the parts -------------------------------------------------------------------------------- */

static JsonObject *
describe_file (const char *path)
{
  JsonObject *file = json_object_new ();
  struct stat st;

  json_object_set_string_member (file, "path", path);
  /* A device's times are those of its node. */
  if (stat (path, &st) == 0 && S_ISREG (st.st_mode))
    {
      g_autofree char *time = g_strdup_printf ("%" G_GINT64_FORMAT ".%09ld",
                                               (gint64)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
      json_object_set_int_member (file, "size", (gint64)st.st_size);
      json_object_set_string_member (file, "changed", time);
      json_object_set_int_member (file, "inode", (gint64)st.st_ino);
    }
  return file;
}

static void
add_files (JsonObject *root, H2kDisk *disk)
{
  JsonArray *files = json_array_new ();

  for (guint i = 0; disk->files && i < disk->files->len; i++)
    json_array_add_object_element (files, describe_file (disk->files->pdata[i]));
  json_object_set_array_member (root, "file", files);
}

static gboolean
add_table (JsonObject *root, H2kDisk *disk, GError **error)
{
  g_autoptr (H2kDigest) digest = h2k_digest_new (G_CHECKSUM_SHA256);
  guint64 length = MIN (disk->size, TABLE_BYTES);

  if (!add_range (digest, disk, 0, length, error)
      || !add_range (digest, disk, disk->size - length, length, error))
    return FALSE;
  json_object_set_string_member (root, "table", h2k_digest_text (digest));
  return TRUE;
}

static gboolean
add_volumes (JsonObject *root, H2kDisk *disk, GError **error)
{
  g_autoptr (GPtrArray) disks = g_ptr_array_new ();
  g_autoptr (H2kStack) stack = NULL;
  JsonArray *volumes = json_array_new ();

  json_object_set_array_member (root, "volumes", volumes);
  g_ptr_array_add (disks, disk);
  if (!(stack = h2k_stack_new (disks, NULL, error)))
    return FALSE;
  for (guint i = 0; i < stack->nodes->len; i++)
    {
      const H2kNode *node = stack->nodes->pdata[i];
      H2kDisk *volume = node->volume ? node->volume->disk : NULL;
      JsonObject *object;

      if (!volume || volume->size == 0)
        continue;
      object = json_object_new ();
      json_array_add_object_element (volumes, object);
      json_object_set_string_member (object, "name", node->name);
      if (node->id.type[0])
        json_object_set_string_member (object, "type", node->id.type);
      if (node->id.uuid[0])
        json_object_set_string_member (object, "uuid", node->id.uuid);
      if (!set_digest (object, "digest", volume, 0, MIN (volume->size, VOLUME_BYTES), error))
        return FALSE;
    }
  return TRUE;
}

/* Blocks at the same distance from each other, the last one at the end. */
static gboolean
add_samples (JsonObject *root, H2kDisk *disk, GError **error)
{
  g_autoptr (H2kDigest) digest = h2k_digest_new (G_CHECKSUM_SHA256);
  guint64 length = MIN (disk->size, SAMPLE_BYTES);

  for (guint i = 0; i < SAMPLES; i++)
    {
      /* Without overflow for disks of 2^63 bytes. */
      guint64 step = (disk->size - length) / (SAMPLES - 1);
      guint64 offset = i + 1 == SAMPLES ? disk->size - length : step * i;
      if (!add_range (digest, disk, offset, length, error))
        return FALSE;
    }
  json_object_set_string_member (root, "samples", h2k_digest_text (digest));
  return TRUE;
}

/* Pieces of zeros count for nothing, and those that the extents call so are not read. */
static gboolean
add_piece (H2kDigest *digest, H2kDisk *disk, guint64 offset, gsize length, guint8 *buffer,
           GError **error)
{
  guint64 mark = GUINT64_TO_LE (offset);

  if (!h2k_disk_pread (disk, offset, length, buffer, error))
    return FALSE;
  if (h2k_is_zero (buffer, length))
    return TRUE;
  h2k_digest_update (digest, &mark, sizeof mark);
  h2k_digest_update (digest, buffer, length);
  return TRUE;
}

static gboolean
add_content (JsonObject *root, H2kDisk *disk, const H2kCopyOptions *progress,
             GCancellable *cancellable, GError **error)
{
  g_autoptr (H2kDigest) digest = h2k_digest_new (G_CHECKSUM_SHA256);
  g_autofree guint8 *buffer = g_malloc (PIECE);
  guint64 at = 0;

  while (at < disk->size)
    {
      H2kExtent extent;
      guint64 length = MIN (disk->size - at, PIECE);

      if (!h2k_disk_extent (disk, at, disk->size, &extent, error))
        return FALSE;
      if (extent.kind != H2K_EXTENT_DATA && extent.length >= length)
        length = MAX (length, extent.length / PIECE * PIECE);
      else if (!add_piece (digest, disk, at, (gsize)length, buffer, error))
        return FALSE;
      at += length;
      if (progress && progress->progress)
        progress->progress ("digest", at, disk->size, progress->progress_data);
      if (h2k_is_cancelled (cancellable, error))
        return FALSE;
    }
  json_object_set_string_member (root, "content", h2k_digest_text (digest));
  return TRUE;
}

JsonObject *
h2k_fingerprint_new (H2kDisk *disk, gboolean full, const H2kCopyOptions *progress,
                     GCancellable *cancellable, GError **error)
{
  g_autoptr (JsonObject) root = json_object_new ();

  json_object_set_int_member (root, "size", (gint64)disk->size);
  add_files (root, disk);
  if (disk->version)
    json_object_set_string_member (root, "version", disk->version);
  if (disk->size == 0)
    return g_steal_pointer (&root);
  if (!add_table (root, disk, error) || !add_volumes (root, disk, error)
      || !add_samples (root, disk, error)
      || (full && !add_content (root, disk, progress, cancellable, error)))
    return NULL;
  return g_steal_pointer (&root);
}

/* --- comparing -------------------------------------------------------------------------------- */

static void add (GPtrArray *found, const char *format, ...) G_GNUC_PRINTF (2, 3);

static void
add (GPtrArray *found, const char *format, ...)
{
  va_list ap;

  va_start (ap, format);
  g_ptr_array_add (found, g_strdup_vprintf (format, ap));
  va_end (ap);
}

static JsonObject *
object_at (JsonArray *array, guint i)
{
  JsonNode *node = json_array_get_element (array, i);

  return JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : NULL;
}

static JsonObject *
element_with (JsonArray *array, const char *key, const char *value)
{
  for (guint i = 0; array && value && i < json_array_get_length (array); i++)
    {
      JsonObject *object = object_at (array, i);
      if (object && g_strcmp0 (h2k_json_string (object, key), value) == 0)
        return object;
    }
  return NULL;
}

static gboolean
differs (JsonObject *before, JsonObject *now, const char *key)
{
  const char *a = h2k_json_string (before, key), *b = h2k_json_string (now, key);

  return a && b && !g_str_equal (a, b);
}

static void
compare_files (JsonArray *before, JsonArray *now, GPtrArray *found)
{
  for (guint i = 0; before && i < json_array_get_length (before); i++)
    {
      JsonObject *file = object_at (before, i);
      const char *path = h2k_json_string (file, "path");
      JsonObject *other = element_with (now, "path", path);

      if (!path)
        continue;
      if (!other)
        add (found, "it was made of the file %s, which is not a part of it any more", path);
      else if (h2k_json_int (file, "size", -1) != h2k_json_int (other, "size", -1))
        add (found, "%s had %" G_GINT64_FORMAT " bytes and has %" G_GINT64_FORMAT, path,
             h2k_json_int (file, "size", -1), h2k_json_int (other, "size", -1));
      else if (differs (file, other, "changed"))
        add (found, "%s was written to since", path);
    }
}

static void
compare_volumes (JsonArray *before, JsonArray *now, GPtrArray *found)
{
  for (guint i = 0; before && i < json_array_get_length (before); i++)
    {
      JsonObject *volume = object_at (before, i);
      const char *name = h2k_json_string (volume, "name");
      const char *type = h2k_json_string (volume, "type");
      JsonObject *other = element_with (now, "name", name);
      g_autofree char *shown = name ? h2k_escape_text (name, -1) : NULL;

      if (!name)
        continue;
      if (!other)
        add (found, "%s is gone", shown);
      else if (differs (volume, other, "uuid") || differs (volume, other, "type"))
        add (found, "%s holds another filesystem", shown);
      else if (differs (volume, other, "digest"))
        add (found, "%s (%s) was changed", shown, type ? type : "unknown");
    }
}

GPtrArray *
h2k_fingerprint_compare (JsonObject *before, JsonObject *now)
{
  GPtrArray *found = g_ptr_array_new_with_free_func (g_free);

  if (h2k_json_int (before, "size", -1) != h2k_json_int (now, "size", -1))
    add (found, "the disk had %" G_GINT64_FORMAT " bytes and has %" G_GINT64_FORMAT,
         h2k_json_int (before, "size", -1), h2k_json_int (now, "size", -1));
  compare_files (h2k_json_array (before, "file"), h2k_json_array (now, "file"), found);
  if (differs (before, now, "version"))
    add (found, "the server had %s of it and has %s", h2k_json_string (before, "version"),
         h2k_json_string (now, "version"));
  if (differs (before, now, "table"))
    add (found, "the partition table, or what is beside it, was changed");
  compare_volumes (h2k_json_array (before, "volumes"), h2k_json_array (now, "volumes"), found);
  if (differs (before, now, "samples"))
    add (found, "blocks spread over the disk were changed");
  if (differs (before, now, "content"))
    add (found, "the digest of everything is another one");
  return found;
}

gboolean
h2k_fingerprint_files_changed (JsonObject *before)
{
  JsonArray *files = h2k_json_array (before, "file"), *now = json_array_new ();
  g_autoptr (GPtrArray) found = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; files && i < json_array_get_length (files); i++)
    {
      const char *path = h2k_json_string (object_at (files, i), "path");
      if (path)
        json_array_add_object_element (now, describe_file (path));
    }
  compare_files (files, now, found);
  json_array_unref (now);
  return found->len > 0;
}
