/* disk.c - the table of formats, opening by content, and the checks in front of every backend.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/check.h"
#include "disk/disk.h"
#include "disk/formats.h"
#include "disk/remote.h"

#include <stdlib.h>
#include <sys/stat.h>

#define HEAD_SIZE 65536
#define END_SIZE 512
#define MAX_CHAIN 128

/* One line a format. Probing takes the surest one; raw is sure of nothing and fits everything. */
static const H2kDiskFormat *const formats[] = {
    &h2k_raw_format, &h2k_qcow2_format, &h2k_vmdk_format,
    &h2k_vhd_format, &h2k_vdi_format,   &h2k_vhdx_format,
};

/* Containers that would otherwise pass for raw disks, and whose guest would then not be found. */
static const struct
{
  gsize offset;
  const char *magic;
  gsize length;
  const char *what;
} foreign[] = {
    {0, "\x1f\x8b\x08", 3, "compressed with gzip"},
    {0, "\3757zXZ\0", 6, "compressed with xz"},
    {0, "\x28\xb5\x2f\xfd", 4, "compressed with zstd"},
    {0, "BZh", 3, "compressed with bzip2"},
    {0, "PK\x03\x04", 4, "a zip archive"},
    {257, "ustar", 5, "a tar archive (an OVA is one)"},
};

/* What QEMU calls formats that have another name here: images record it for their backing files. */
static const struct
{
  const char *qemu, *name;
} aliases[] = {
    {"vpc", "vhd"},
};

/* The openings that are under way in this thread, the innermost one first. */
typedef struct Opening
{
  const struct Opening *outer;
  const H2kFile *file;
  guint64 dev, ino;
  guint depth;
  H2kImageKey *key; /* not owned; may be NULL */
  gboolean guessed; /* named by another image, which does not say its format */
  gboolean probed;  /* nobody said its format */
} Opening;

static _Thread_local const Opening *openings;

static H2kBackingFinder backing_finder;
static _Thread_local gboolean finding;

/* --- opening ---------------------------------------------------------------------------------- */

static const H2kDiskFormat *
find_format (const char *name, GError **error)
{
  g_autofree char *safe = NULL;
  g_autoptr (GString) known = g_string_new (NULL);

  for (gsize i = 0; i < G_N_ELEMENTS (aliases); i++)
    if (g_str_equal (aliases[i].qemu, name))
      name = aliases[i].name;
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    {
      if (g_str_equal (formats[i]->name, name))
        return formats[i];
      g_string_append_printf (known, "%s%s", i ? ", " : "", formats[i]->name);
    }
  safe = h2k_escape_text (name, -1);
  /* Either the user named it or an image did. */
  g_set_error (error, H2K_ERROR, openings ? H2K_ERROR_UNSUPPORTED : H2K_ERROR_USAGE,
               "the disk format \"%s\" is not known; the known ones are %s; QEMU reads %s", safe,
               known->str, h2k_qemu_formats ());
  return NULL;
}

/* The format that the file's last sector tells, for what has no mark at its start; NULL. */
static const H2kDiskFormat *
probe_end (H2kFile *file, GError **error)
{
  guint8 end[END_SIZE];

  if (file->size < sizeof end)
    return &h2k_raw_format;
  if (!h2k_file_pread (file, file->size - sizeof end, sizeof end, end, error))
    return NULL;
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    if (formats[i]->probe_end && formats[i]->probe_end (end, sizeof end))
      return formats[i];
  return &h2k_raw_format;
}

/* The format of FILE: one of the table, or one of QEMU's. */
static gboolean
probe (H2kFile *file, const H2kDiskFormat **ours, const char **qemu, GError **error)
{
  g_autofree guint8 *head = g_malloc0 (HEAD_SIZE);
  gsize length = (gsize)MIN (file->size, HEAD_SIZE);
  const H2kDiskFormat *best = &h2k_raw_format;
  int best_score = 0;

  if (!h2k_file_pread (file, 0, length, head, error))
    return FALSE;
  *qemu = h2k_qemu_probe (file, head, length);
  if (*qemu)
    return TRUE;
  for (gsize i = 0; i < G_N_ELEMENTS (formats); i++)
    {
      int score = formats[i]->probe (head, length, file->path);
      if (score > best_score)
        {
          best = formats[i];
          best_score = score;
        }
    }
  for (gsize i = 0; best == &h2k_raw_format && i < G_N_ELEMENTS (foreign); i++)
    if (length >= foreign[i].offset + foreign[i].length
        && memcmp (head + foreign[i].offset, foreign[i].magic, foreign[i].length) == 0)
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                     "%s: is %s, which cannot be read; unpack or convert it first, or name the "
                     "format \"raw\" if these are a disk's own bytes",
                     file->name, foreign[i].what);
        return FALSE;
      }
  *ours = best == &h2k_raw_format ? probe_end (file, error) : best;
  return *ours != NULL;
}

static gboolean
find (H2kFile *file, const char *format, const H2kDiskFormat **ours, const char **qemu,
      GError **error)
{
  if (!format)
    return probe (file, ours, qemu, error);
  if (h2k_qemu_knows (format))
    *qemu = format;
  else
    *ours = find_format (format, error);
  return *qemu || *ours;
}

/* How the names of images end, and how those of disks' own bytes do. */
static const char *const image_names[] = {".qcow2", ".qcow",  ".qed", ".vmdk", ".vhd", ".vhdx",
                                          ".avhd",  ".avhdx", ".vdi", ".hdd",  ".part"};
static const char *const raw_names[] = {".raw", ".img", ".bin", ".dd", ".disk"};

static gboolean
ends_with_one_of (const char *name, const char *const *ends, guint n)
{
  gsize length = strlen (name);

  for (guint i = 0; i < n; i++)
    {
      gsize end = strlen (ends[i]);
      if (length > end && g_ascii_strcasecmp (name + length - end, ends[i]) == 0)
        return TRUE;
    }
  return FALSE;
}

/* Whoever writes to a raw disk can make it look like an image that is over PATH, and would be given
 * what is in there. */
static gboolean
is_doubtful (const Opening *opening, const char *path)
{
  const char *own = opening->file->path;
  g_autofree char *full = NULL, *other = NULL, *dir = NULL, *other_dir = NULL;
  struct stat st;

  if (opening->outer || !opening->probed || !own || h2k_file_is_uri (own))
    return FALSE;
  if (stat (own, &st) == 0 && S_ISBLK (st.st_mode))
    return TRUE;
  if (ends_with_one_of (own, image_names, G_N_ELEMENTS (image_names)))
    return FALSE;
  if (ends_with_one_of (own, raw_names, G_N_ELEMENTS (raw_names)))
    return TRUE;
  full = g_canonicalize_filename (own, NULL);
  other = g_canonicalize_filename (path, NULL);
  dir = g_path_get_dirname (full);
  other_dir = g_path_get_dirname (other);
  return !g_str_equal (dir, other_dir);
}

gboolean
h2k_may_name_files (const char *path, GError **error)
{
  g_autofree char *shown = h2k_file_is_uri (path) ? h2k_uri_shown (path) : g_strdup (path);
  g_autofree char *safe = h2k_escape_text (shown, -1);

  if (openings && is_doubtful (openings, path))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: looks like an image that names the further file %s, which is not followed, "
                   "since a guest can write that to the start of a raw disk: if it is an image, "
                   "say so by its format (--format), or by the end of its name",
                   openings->file->name, safe);
      return FALSE;
    }
  if (!openings || (!openings->file->server && !h2k_file_is_uri (path)))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: names the further file %s; such names are not followed to or from a server: "
               "download all files of the image into one folder first",
               openings->file->name, safe);
  return FALSE;
}

static gboolean
check_chain (const Opening *opening, const char *name, GError **error)
{
  if (opening->depth > MAX_CHAIN)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: the chain of images is longer than %d; merge some of its snapshots first",
                   name, MAX_CHAIN);
      return FALSE;
    }
  if (opening->outer && opening->outer->guessed)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: is named by a backing file whose own format is not recorded in the image "
                   "above it, so a guest could have written that name; if you trust the chain, "
                   "record the format with \"qemu-img rebase -u -b BACKING -F FORMAT IMAGE\"",
                   name);
      return FALSE;
    }
  for (const Opening *o = opening->outer; o; o = o->outer)
    if (o->dev == opening->dev && o->ino == opening->ino)
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                     "%s: the chain of images comes back to this file; one of them names a wrong "
                     "parent",
                     name);
        return FALSE;
      }
  return TRUE;
}

static void
make_absolute (GPtrArray *files)
{
  for (guint i = 0; i < files->len; i++)
    {
      char *resolved = realpath (files->pdata[i], NULL);
      char *absolute
          = resolved ? g_strdup (resolved) : g_canonicalize_filename (files->pdata[i], NULL);
      free (resolved);
      g_free (files->pdata[i]);
      files->pdata[i] = absolute;
    }
}

static void
set_origin (H2kDisk *disk, const H2kFile *file)
{
  g_autofree char *once = g_uuid_string_random ();

  g_ptr_array_set_size (disk->files, 0);
  g_free (disk->origin);
  g_free (disk->version);
  disk->version = g_strdup_printf ("%" G_GUINT64_FORMAT " bytes%s%s", file->size,
                                   file->version ? ", " : "", file->version ? file->version : "");
  disk->origin = file->version ? g_strdup_printf ("%s: %s", file->name, file->version)
                               : g_strdup_printf ("%s: may have changed since, opened as %s",
                                                  file->name, once);
}

H2kImageKey *
h2k_opening_key (void)
{
  return openings ? openings->key : NULL;
}

static H2kDisk *
open_with (H2kFile *file, const char *format, H2kImageKey *key, GError **error)
{
  Opening opening = {.outer = openings, .file = file, .key = key};
  const H2kDiskFormat *ours = NULL;
  const char *qemu = NULL;
  H2kDisk *disk = NULL;

  opening.dev = file->dev;
  opening.ino = file->ino;
  opening.depth = openings ? openings->depth + 1 : 1;
  opening.guessed = openings && !format;
  opening.probed = !format;
  if (!h2k_may_name_files (file->path, error) || !check_chain (&opening, file->name, error)
      || !find (file, format, &ours, &qemu, error))
    return NULL;

  openings = &opening;
  disk = qemu ? h2k_qemu_open (file, qemu, error) : ours->open (file, error);
  openings = opening.outer;
  if (disk && file->server)
    set_origin (disk, file);
  else if (disk)
    make_absolute (disk->files);
  return disk;
}

H2kDisk *
h2k_disk_open_file (H2kFile *file, const char *format, GError **error)
{
  return open_with (file, format, h2k_opening_key (), error);
}

H2kDisk *
h2k_disk_open_with (const char *path, const char *format, H2kImageKey *key, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);

  return file ? open_with (file, format, key, error) : NULL;
}

H2kDisk *
h2k_disk_open (const char *path, const char *format, GError **error)
{
  return h2k_disk_open_with (path, format, h2k_opening_key (), error);
}

void
h2k_disk_set_backing_finder (H2kBackingFinder finder)
{
  backing_finder = finder;
}

H2kDisk *
h2k_disk_find_backing (const char *path, const char *name, GError **error)
{
  const Opening *outer = openings;
  H2kDisk *disk;

  /* What it opens names nothing of that kind in turn: this ends. */
  if (!backing_finder || finding)
    return NULL;
  finding = TRUE;
  openings = NULL;
  disk = backing_finder (path, name, error);
  openings = outer;
  finding = FALSE;
  return disk;
}

gboolean
h2k_disk_check (const char *path, const char *format, H2kCheck *check, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);
  const H2kDiskFormat *ours = NULL;
  const char *qemu = NULL;
  Opening opening = {.file = file};
  gboolean ok;

  if (!file || !find (file, format, &ours, &qemu, error))
    return FALSE;
  check->format = g_strdup (qemu ? qemu : ours->name);
  if (!qemu && ours->check)
    {
      /* An image on a server names no further files here, either. */
      openings = file->server ? &opening : NULL;
      ok = ours->check (file, check, error);
      openings = NULL;
      return ok;
    }
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: there is no check for images of the format %s", file->name, check->format);
  return FALSE;
}

/* --- life ------------------------------------------------------------------------------------- */

void
h2k_disk_init (H2kDisk *disk, const H2kDiskOps *ops, guint64 size, const char *format,
               const char *name)
{
  g_assert (size <= G_MAXINT64);
  disk->ops = ops;
  g_atomic_ref_count_init (&disk->ref_count);
  disk->size = size;
  disk->sector_size = 512;
  disk->format = g_strdup (format);
  disk->name = h2k_escape_text (name, -1);
  disk->files = g_ptr_array_new_with_free_func (g_free);
}

H2kDisk *
h2k_disk_ref (H2kDisk *disk)
{
  g_atomic_ref_count_inc (&disk->ref_count);
  return disk;
}

/* A long chain is freed here one by one, not by recursion. */
void
h2k_disk_unref (H2kDisk *disk)
{
  while (disk && g_atomic_ref_count_dec (&disk->ref_count))
    {
      H2kDisk *backing = disk->backing;

      if (disk->ops->finalize)
        disk->ops->finalize (disk);
      g_free (disk->format);
      g_free (disk->subformat);
      g_free (disk->name);
      g_free (disk->origin);
      g_free (disk->version);
      g_ptr_array_unref (disk->files);
      g_free (disk);
      disk = backing;
    }
}

void
h2k_disk_add_files (H2kDisk *disk, H2kDisk *other)
{
  for (guint i = 0; i < other->files->len; i++)
    if (!g_ptr_array_find_with_equal_func (disk->files, other->files->pdata[i], g_str_equal, NULL))
      g_ptr_array_add (disk->files, g_strdup (other->files->pdata[i]));
  disk->paths = MIN (disk->paths + MAX (other->paths, 1), G_MAXUINT32);
}

/* --- access ----------------------------------------------------------------------------------- */

static gboolean
check_range (H2kDisk *disk, guint64 offset, guint64 length, const char *what, GError **error)
{
  if (offset <= disk->size && length <= disk->size - offset)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: cannot %s %" G_GUINT64_FORMAT " bytes at offset %" G_GUINT64_FORMAT
               ": the disk ends at %" G_GUINT64_FORMAT,
               disk->name, what, length, offset, disk->size);
  return FALSE;
}

static gboolean
check_writable (H2kDisk *disk, GError **error)
{
  if (h2k_disk_is_writable (disk))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "%s: is open for reading only", disk->name);
  return FALSE;
}

gboolean
h2k_disk_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  return check_range (disk, offset, length, "read", error)
         && (length == 0 || disk->ops->pread (disk, offset, length, buffer, error));
}

gboolean
h2k_disk_pread_or_zero (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  gsize inside = disk && offset < disk->size ? (gsize)MIN (length, disk->size - offset) : 0;

  memset ((guint8 *)buffer + inside, 0, length - inside);
  return inside == 0 || h2k_disk_pread (disk, offset, inside, buffer, error);
}

gboolean
h2k_disk_pwrite (H2kDisk *disk, guint64 offset, gsize length, const void *buffer, GError **error)
{
  return check_writable (disk, error) && check_range (disk, offset, length, "write", error)
         && (length == 0 || disk->ops->pwrite (disk, offset, length, buffer, error));
}

static gboolean
write_zeros (H2kDisk *disk, guint64 offset, guint64 length, GError **error)
{
  gsize chunk = (gsize)MIN (length, 1 << 20);
  g_autofree guint8 *zeros = g_malloc0 (chunk);

  while (length)
    {
      gsize n = (gsize)MIN (length, chunk);
      if (!disk->ops->pwrite (disk, offset, n, zeros, error))
        return FALSE;
      offset += n;
      length -= n;
    }
  return TRUE;
}

gboolean
h2k_disk_zero (H2kDisk *disk, guint64 offset, guint64 length, GError **error)
{
  if (!check_writable (disk, error) || !check_range (disk, offset, length, "write", error))
    return FALSE;
  if (length == 0)
    return TRUE;
  return disk->ops->zero ? disk->ops->zero (disk, offset, length, error)
                         : write_zeros (disk, offset, length, error);
}

gboolean
h2k_disk_flush (H2kDisk *disk, GError **error)
{
  return !disk->ops->flush || disk->ops->flush (disk, error);
}

typedef gboolean (*ExtentOp) (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error);

/* OP may be NULL: all of it is data. */
static gboolean
find_extent (H2kDisk *disk, ExtentOp op, guint64 offset, guint64 limit, H2kExtent *extent,
             GError **error)
{
  limit = MIN (limit, disk->size);
  if (offset >= limit)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: there is no extent at offset %" G_GUINT64_FORMAT
                   ": the disk or range ends at %" G_GUINT64_FORMAT,
                   disk->name, offset, limit);
      return FALSE;
    }
  *extent = (H2kExtent){.offset = offset, .length = limit - offset, .kind = H2K_EXTENT_DATA};
  if (op && !op (disk, offset, extent, error))
    return FALSE;
  g_assert (extent->offset == offset && extent->length > 0);
  extent->length = MIN (extent->length, limit - offset);
  return TRUE;
}

gboolean
h2k_disk_extent (H2kDisk *disk, guint64 offset, guint64 limit, H2kExtent *extent, GError **error)
{
  return find_extent (disk, disk->ops->extent, offset, limit, extent, error);
}

gboolean
h2k_disk_own_extent (H2kDisk *disk, guint64 offset, guint64 limit, H2kExtent *extent,
                     GError **error)
{
  if (!disk->ops->own_extent)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: which blocks a %s image has itself is not known", disk->name, disk->format);
      return FALSE;
    }
  return find_extent (disk, disk->ops->own_extent, offset, limit, extent, error);
}

GPtrArray *
h2k_disk_snapshots (H2kDisk *disk, GError **error)
{
  return disk->ops->snapshots ? disk->ops->snapshots (disk, error) : g_ptr_array_new ();
}

gboolean
h2k_disk_stored (H2kDisk *disk, guint64 offset, guint64 length, H2kStored *stored)
{
  g_return_val_if_fail (length && offset <= disk->size && length <= disk->size - offset, FALSE);
  return disk->ops->stored && disk->ops->stored (disk, offset, length, stored);
}

gboolean
h2k_disk_is_writable (H2kDisk *disk)
{
  return disk->ops->pwrite != NULL;
}
