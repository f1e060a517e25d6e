/* rebase.c - a clone over another original.
 *
 * The images that lie directly over an original, in most clones one, name it by a link in the
 * clone's folder. What becomes of a disk is decided by one rename:
 *
 *   same content, same format   of the link, "original", which then leads to the other original
 *   another format              of an image that is the same but for its backing file: another
 *                               link, "original.b", that leads to the other original
 *   other content               of such an image that has, too, what differs
 *
 * An original of several files is named by its path, since QEMU looks for the others beside the
 * name that it has for the first one: to and from it, images are replaced as for another format.
 *
 * clone.json has what it will say of the new original beside what it says of the old one before
 * that, under "rebased", and who opens the clone sees by the link which of them holds.
 *
 * Follows docs/interop/qcow2.txt of QEMU.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/private.h"
#include "copy/internal.h"
#include "disk/file.h"
#include "disk/qcow2.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define UNIT (64u << 10) /* what is written as a whole: the clusters of layers */
#define RUN (2u << 20)   /* bytes that are compared at once */
#define PIECE (1u << 20)
#define BACKING_FORMAT 0xe2792acau /* a header extension */
#define REBASED "rebased"

/* --- who lies over the original --------------------------------------------------------------- */

/* Whether NAME, of a backing file, is a layer's. */
static gboolean
is_layer (const char *name)
{
  return g_str_has_prefix (name, "../") && g_ascii_isdigit (name[3]);
}

/* guint: the layers whose images of disk DISK lie over the original; NAME and FORMAT, the caller's,
 * are what they call it: NULL when they are not of one mind, or there are none. */
static GArray *
find_lowest (const H2kClone *clone, guint disk, char **name, char **format)
{
  GArray *found = g_array_new (FALSE, FALSE, sizeof (guint));

  *name = *format = NULL;
  for (guint i = 0; i < clone->layers->len; i++)
    {
      guint number = ((const H2kLayer *)clone->layers->pdata[i])->number;
      g_autofree char *path = h2k_clone_image (clone, number, disk);
      g_autofree char *over = NULL, *kind = NULL;

      if (!h2k_clone_image_backing (path, &over, &kind, NULL) || is_layer (over))
        continue;
      if (found->len == 0)
        {
          *name = g_strdup (over);
          *format = g_strdup (kind);
        }
      else if (g_strcmp0 (*name, over) != 0 || g_strcmp0 (*format, kind) != 0)
        {
          g_clear_pointer (name, g_free);
          g_clear_pointer (format, g_free);
        }
      g_array_append_val (found, number);
    }
  return found;
}

/* One of the two names that the link of disk DISK may have: "original-2", "original-2.b". */
static char *
link_name (guint disk, gboolean second)
{
  g_autofree char *from_layer = h2k_clone_original_name (disk);

  return g_strconcat (from_layer + strlen ("../../"), second ? ".b" : NULL, NULL);
}

/* Whether NAME, of a backing file, is the link LINK. */
static gboolean
is_link (const char *name, const char *link)
{
  return name && g_str_has_prefix (name, "../../") && g_str_equal (name + strlen ("../../"), link);
}

char *
h2k_clone_original_target (const H2kClone *clone, guint disk)
{
  g_autofree char *name = NULL, *format = NULL;

  g_array_unref (find_lowest (clone, disk, &name, &format));
  for (guint second = 0; second < 2; second++)
    {
      g_autofree char *link = link_name (disk, second);
      g_autofree char *path = g_build_filename (clone->dir, link, NULL);
      if (is_link (name, link))
        return g_file_read_link (path, NULL);
    }
  return g_strdup (name);
}

H2kDisk *
h2k_clone_open_original (const H2kClone *clone, guint disk, GError **error)
{
  g_autofree char *name = NULL, *format = NULL;
  g_autoptr (GArray) lowest = find_lowest (clone, disk, &name, &format);
  g_autoptr (H2kDisk) image = NULL;

  if (lowest->len == 0)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "the clone %s is damaged: no layer lies over the original of its disk %u",
                   clone->name, disk + 1);
      return NULL;
    }
  image = h2k_clone_open_image (clone, g_array_index (lowest, guint, 0), disk, error);
  return image && image->backing ? h2k_disk_ref (image->backing) : NULL;
}

/* --- which original holds --------------------------------------------------------------------- */

/* Whether disk DISK lies over what NEXT, of clone.json, says. */
static gboolean
is_done (const H2kClone *clone, guint disk, JsonObject *next)
{
  const char *link = h2k_json_string (next, "link"), *path = h2k_json_string (next, "path");
  g_autofree char *first = link_name (disk, FALSE), *second = link_name (disk, TRUE);
  g_autofree char *name = NULL, *format = NULL, *at = NULL, *target = NULL;
  g_autoptr (GArray) lowest = NULL;

  if (!link || !path)
    return FALSE;
  lowest = find_lowest (clone, disk, &name, &format);
  if (g_path_is_absolute (link))
    return g_str_equal (link, path) && g_strcmp0 (name, path) == 0;
  if (!g_str_equal (link, first) && !g_str_equal (link, second))
    return FALSE;
  at = g_build_filename (clone->dir, link, NULL);
  target = g_file_read_link (at, NULL);
  return is_link (name, link) && g_strcmp0 (target, path) == 0;
}

/* Remove the link that no image names any more. BUT, the other one, or the path of an original that
 * has a link for people only, stays. */
static void
clean_links (const H2kClone *clone, guint disk, const char *but)
{
  for (guint second = 0; second < 2; second++)
    {
      g_autofree char *link = link_name (disk, second);
      g_autofree char *path = g_build_filename (clone->dir, link, NULL);
      if (g_path_is_absolute (but) && !second)
        h2k_clone_set_link (path, but, NULL);
      else if (!g_str_equal (link, but))
        unlink (path);
    }
}

/* Where an image is that will replace the one of layer NUMBER. */
static char *
temp_name (const H2kClone *clone, guint number, guint disk)
{
  g_autofree char *image = h2k_clone_image (clone, number, disk);

  return g_strconcat (image, ".new", NULL);
}

/* What clone.json says of disk DISK, from ORIGINAL, its own words. */
static JsonObject *
settle (const H2kClone *clone, guint disk, JsonObject *original)
{
  JsonObject *next = h2k_json_object (original, REBASED);

  for (guint i = 0; i < clone->layers->len && clone->lock_fd >= 0; i++)
    {
      g_autofree char *temp
          = temp_name (clone, ((H2kLayer *)clone->layers->pdata[i])->number, disk);
      unlink (temp);
    }
  if (!is_done (clone, disk, next))
    {
      json_object_remove_member (original, REBASED);
      return json_object_ref (original);
    }
  if (clone->lock_fd >= 0)
    clean_links (clone, disk, h2k_json_string (next, "link"));
  json_object_remove_member (next, "link");
  return json_object_ref (next);
}

gboolean
h2k_clone_settle_originals (H2kClone *clone, GError **error)
{
  JsonArray *before = h2k_json_array (clone->root, "originals"), *after;
  gboolean changed = FALSE;
  JsonObject *original;

  for (guint i = 0; (original = h2k_json_element (before, i)); i++)
    changed |= h2k_json_object (original, REBASED) != NULL;
  if (!changed)
    return TRUE;
  after = json_array_new ();
  for (guint i = 0; (original = h2k_json_element (before, i)); i++)
    json_array_add_object_element (after, h2k_json_object (original, REBASED)
                                              ? settle (clone, i, original)
                                              : json_object_ref (original));
  json_object_set_array_member (clone->root, "originals", after);
  return clone->lock_fd < 0 || h2k_clone_save (clone, error);
}

/* --- an image with another backing file ------------------------------------------------------- */

static gboolean
write_error (const char *path, int err, GError **error)
{
  h2k_set_errno (error, err == ENOSPC || err == EDQUOT ? H2K_ERROR_NO_SPACE : H2K_ERROR_OUTPUT, err,
                 "cannot write %s", path);
  return FALSE;
}

/* Copy what is data from one file to the other. Returns an errno value. */
static int
copy_data (int from, int to, GCancellable *cancellable)
{
  g_autofree guint8 *buffer = g_malloc (PIECE);
  off_t size = lseek (from, 0, SEEK_END), at = 0;

  if (ioctl (to, FICLONE, from) == 0)
    return 0;
  if (size < 0 || ftruncate (to, size) < 0)
    return errno;
  while (at < size && (at = lseek (from, at, SEEK_DATA)) >= 0)
    {
      off_t end = lseek (from, at, SEEK_HOLE);
      if (end <= at)
        return EIO;
      for (; at < end; at += (off_t)MIN (PIECE, (guint64)(end - at)))
        {
          gsize n = (gsize)MIN (PIECE, (guint64)(end - at));
          int err = h2k_pread_full (from, buffer, n, (guint64)at);
          if (!err)
            err = h2k_pwrite_full (to, buffer, n, (guint64)at);
          if (err || g_cancellable_is_cancelled (cancellable))
            return err ? err : ECANCELED;
        }
    }
  return at < 0 && errno != ENXIO ? errno : 0;
}

/* CLUSTER, the first one of an image, with its extensions but the one for the backing file's
 * format, then that, then the name. FALSE: that does not fit, or is none. */
static gboolean
change_header (guint8 *cluster, gsize size, const char *name, const char *format)
{
  const gsize fixed = h2k_be32 (cluster + 4) == 2 ? 72 : h2k_be32 (cluster + 100);
  g_autoptr (GByteArray) out = g_byte_array_new ();
  static const guint8 zeros[8];
  guint32 word[2] = {GUINT32_TO_BE (BACKING_FORMAT), GUINT32_TO_BE ((guint32)strlen (format))};
  guint64 offset;
  guint32 length = GUINT32_TO_BE ((guint32)strlen (name));

  if (fixed < 72 || fixed > size)
    return FALSE;
  g_byte_array_append (out, cluster, (guint)fixed);
  for (gsize at = fixed; at + 8 <= size && h2k_be32 (cluster + at) != 0;)
    {
      gsize n = 8 + (((gsize)h2k_be32 (cluster + at + 4) + 7) & ~(gsize)7);
      if (n > size - at)
        return FALSE;
      if (h2k_be32 (cluster + at) != BACKING_FORMAT)
        g_byte_array_append (out, cluster + at, (guint)n);
      at += n;
    }
  g_byte_array_append (out, (const guint8 *)word, sizeof word);
  g_byte_array_append (out, (const guint8 *)format, (guint)strlen (format));
  g_byte_array_append (out, zeros, (8 - strlen (format) % 8) % 8);
  g_byte_array_append (out, zeros, 8); /* the end of the extensions */
  offset = GUINT64_TO_BE ((guint64)out->len);
  g_byte_array_append (out, (const guint8 *)name, (guint)strlen (name));
  if (out->len > size)
    return FALSE;
  memcpy (out->data + 8, &offset, sizeof offset);
  memcpy (out->data + 16, &length, sizeof length);
  memset (cluster, 0, size);
  memcpy (cluster, out->data, out->len);
  return TRUE;
}

static gboolean
rewrite_header (int fd, const char *path, const char *name, const char *format, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);
  g_auto (H2kQcow2Header) header = {0};
  g_autofree guint8 *cluster = NULL;
  gsize size;
  int err;

  if (!file || !h2k_qcow2_header_read (file, FALSE, &header, error))
    return FALSE;
  size = (gsize)1 << header.cluster_bits;
  cluster = g_malloc0 (size);
  err = h2k_pread_full (fd, cluster, size, 0);
  if (!err && !change_header (cluster, size, name, format))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "the header of %s has no room for another backing file", path);
      return FALSE;
    }
  if (!err)
    err = h2k_pwrite_full (fd, cluster, size, 0);
  if (!err && fsync (fd) < 0)
    err = errno;
  return !err || write_error (path, err, error);
}

/* Replace the image PATH by one that is the same, over NAME. */
static gboolean
replace_backing (const char *path, const char *name, const char *format, GCancellable *cancellable,
                 GError **error)
{
  g_autofree char *temp = g_strconcat (path, ".new", NULL), *dir = g_path_get_dirname (path);
  int from = open (path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  int to = open (temp, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
  int err = from < 0 || to < 0 ? errno : copy_data (from, to, cancellable);
  gboolean ok = !h2k_is_cancelled (cancellable, error) && (!err || write_error (temp, err, error))
                && rewrite_header (to, temp, name, format, error);

  if (from >= 0)
    close (from);
  if (to >= 0)
    close (to);
  if (ok && rename (temp, path) < 0)
    ok = write_error (path, errno, error);
  if (!ok)
    unlink (temp);
  return ok && h2k_clone_sync_dir (dir, error);
}

/* --- an image that has what differs, too ------------------------------------------------------ */

/* Reads as the image does; its extents are what the image has itself, and where the two originals
 * differ. */
typedef struct
{
  H2kDisk disk;
  H2kDisk *image, *before, *after; /* not owned */
} Mixed;

/* Whether both have nothing from AT on: up to END, which becomes less when one has less. */
static gboolean
have_nothing (const Mixed *m, guint64 at, guint64 *end, gboolean *nothing, GError **error)
{
  H2kDisk *const originals[] = {m->before, m->after};

  *nothing = TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (originals) && *nothing; i++)
    {
      H2kExtent e;
      if (!h2k_disk_extent (originals[i], at, *end, &e, error))
        return FALSE;
      *nothing = e.kind != H2K_EXTENT_DATA;
      *end = MIN (*end, e.offset + e.length);
    }
  return TRUE;
}

static gboolean
differ (const Mixed *m, guint64 at, gsize length, gboolean *data, GError **error)
{
  g_autofree guint8 *a = g_malloc (length), *b = g_malloc (length);

  if (!h2k_disk_pread (m->before, at, length, a, error)
      || !h2k_disk_pread (m->after, at, length, b, error))
    return FALSE;
  *data = memcmp (a, b, length) != 0;
  return TRUE;
}

/* Whether the unit at AT is to be in the image (DATA), and up to where that is known (END). */
static gboolean
look_at_unit (const Mixed *m, guint64 at, guint64 *end, gboolean *data, GError **error)
{
  const guint64 size = m->disk.size, unit_end = MIN (at + UNIT, size);
  gboolean nothing;
  H2kExtent own = {.offset = at};

  for (guint64 p = at; p < unit_end; p = own.offset + own.length)
    {
      if (!h2k_disk_own_extent (m->image, p, size, &own, error))
        return FALSE;
      if (own.kind == H2K_EXTENT_UNALLOCATED)
        continue;
      *data = TRUE;
      *end = unit_end;
      return TRUE;
    }
  *end = own.offset + own.length;
  if (!have_nothing (m, at, end, &nothing, error))
    return FALSE;
  *data = FALSE;
  if (*end < size)
    *end -= *end % UNIT;
  if (nothing && *end >= unit_end)
    return TRUE;
  *end = unit_end;
  return differ (m, at, (gsize)(unit_end - at), data, error);
}

static gboolean
mixed_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  const Mixed *m = (const Mixed *)disk;
  guint64 at = offset - offset % UNIT, end = at;
  gboolean first = FALSE, data = FALSE;

  do
    {
      at = end;
      if (!look_at_unit (m, at, &end, &data, error))
        return FALSE;
      if (at <= offset)
        first = data;
    }
  while (data == first && end < disk->size && end - offset < RUN);
  *extent = (H2kExtent){.offset = offset,
                        .length = (data == first ? end : at) - offset,
                        .kind = first ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED};
  return TRUE;
}

static gboolean
mixed_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  return h2k_disk_pread (((Mixed *)disk)->image, offset, length, buffer, error);
}

static void
mixed_finalize (H2kDisk *disk)
{
}

static const H2kDiskOps mixed_ops
    = {.pread = mixed_pread, .extent = mixed_extent, .finalize = mixed_finalize};

static gboolean
add_differences (const H2kClone *clone, guint number, guint n, const H2kCloneOriginal *to,
                 const char *name, GCancellable *cancellable, GError **error)
{
  H2kOutputOptions options = {.format = "qcow2", .sync = TRUE, .force = TRUE};
  const H2kCopyOptions copy = {.threads = 1};
  g_autofree char *path = h2k_clone_image (clone, number, n);
  g_autoptr (H2kDisk) image = h2k_clone_open_image (clone, number, n, error);
  g_auto (H2kImageLuks) luks = {0};
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kOutput) output = NULL;
  Mixed *m;

  if (!image || !h2k_image_luks_read (path, *clone->key, &luks, error))
    return FALSE;
  options.luks = luks.header ? &luks : NULL;
  if (to->before->size < image->size || to->after->size < image->size)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY, "%s is larger than its original", path);
      return FALSE;
    }
  m = g_new0 (Mixed, 1);
  disk = &m->disk;
  h2k_disk_init (disk, &mixed_ops, image->size, "mixed", path);
  m->image = image;
  m->before = to->before;
  m->after = to->after;
  output = h2k_output_create (path, image->size, &options, NULL, 0600, name, to->format, error);
  return output && h2k_copy_extents (disk, h2k_disk_extent, output, &copy, cancellable, NULL, error)
         && h2k_output_commit (output, error);
}

/* --- the operation ---------------------------------------------------------------------------- */

/* Note in clone.json what will be, as soon as the images or the link say so. */
static gboolean
announce (H2kClone *clone, guint disk, const char *link, JsonObject *original, GError **error)
{
  JsonObject *known = h2k_json_element (h2k_json_array (clone->root, "originals"), disk);

  if (!known)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "%s/clone.json does not say what disk %u is of", clone->dir, disk + 1);
      return FALSE;
    }
  json_object_set_string_member (original, "link", link);
  json_object_set_object_member (known, REBASED, json_object_ref (original));
  return h2k_clone_save (clone, error);
}

static gboolean
rebase (H2kClone *clone, guint disk, const H2kCloneOriginal *to, GCancellable *cancellable,
        GError **error)
{
  g_autofree char *name = NULL, *format = NULL, *target = NULL, *backing = NULL, *path = NULL;
  g_autofree char *first = link_name (disk, FALSE), *second = link_name (disk, TRUE);
  g_autoptr (GArray) lowest = find_lowest (clone, disk, &name, &format);
  const char *now = is_link (name, first) ? first : is_link (name, second) ? second : NULL;
  const gboolean only_link
      = now && !to->before && !to->several && g_strcmp0 (format, to->format) == 0;
  const char *link = only_link ? now : now == first ? second : first;

  target = g_strdup (h2k_json_string (to->original, "path"));
  path = g_build_filename (clone->dir, link, NULL);
  backing = to->several ? g_strdup (target) : g_strconcat ("../../", link, NULL);
  if (!announce (clone, disk, to->several ? target : link, to->original, error)
      || (!to->several && !h2k_clone_set_link (path, target, error)))
    return FALSE;
  for (guint i = 0; i < lowest->len && !only_link; i++)
    {
      guint number = g_array_index (lowest, guint, i);
      g_autofree char *image = h2k_clone_image (clone, number, disk);
      if (!(to->before ? add_differences (clone, number, disk, to, backing, cancellable, error)
                       : replace_backing (image, backing, to->format, cancellable, error)))
        return FALSE;
    }
  return TRUE;
}

gboolean
h2k_clone_rebase (H2kClone *clone, guint disk, const H2kCloneOriginal *to,
                  GCancellable *cancellable, GError **error)
{
  g_autoptr (ImageLocks) locks = NULL;
  gboolean ok;

  if (clone->damaged)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "the clone %s has a layer that cannot be read, and may lie over the original: "
                   "put it right first (see %s/layers)",
                   clone->name, clone->dir);
      return FALSE;
    }
  if (!(locks = h2k_clone_lock_images (clone, error)))
    return FALSE;
  ok = rebase (clone, disk, to, cancellable, error);
  ok = h2k_clone_settle_originals (clone, ok ? error : NULL) && ok;
  return h2k_clone_settle (clone, ok, error);
}
