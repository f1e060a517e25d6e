/* vmdk.c - a VMware disk: one or many extents, flat, sparse or zero, behind one H2kDisk. See
 * vmdk.h.
 *
 * The descriptor is as hostile as the rest: an extent's name must lead to a regular file in the
 * descriptor's own folder (or below), or a disk image could pull files of the host into a guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/check.h"
#include "disk/formats.h"
#include "disk/vmdk.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_CACHE (4 * 1024 * 1024) /* the tables of 128 GiB of disk */
#define MIXED_RUN (32 * 1024)  /* shorter runs of a delta and its parent are read together, ... */
#define MIXED_MAX (512 * 1024) /* ... as many bytes of them */
#define CHECK_REACH 4096       /* grains of a table, which is skipped when it is damaged */
#define GRAIN_CACHE (8 * 1024 * 1024) /* 128 grains */

/* An extent's place on the disk. Neither sparse nor flat: zeros. */
typedef struct
{
  guint64 start, length; /* on the disk, bytes */
  H2kVmdkSparse *sparse;
  H2kDisk *flat;
  guint64 flat_offset; /* bytes */
} Part;

typedef struct
{
  H2kDisk base;
  GArray *parts;
  H2kVmdkDescriptor *descriptor; /* NULL: an extent that has none */
  H2kVmdkCache *tables, *grains;
  gint by_runs; /* atomic: reading a range of delta and parent together has failed */
} Vmdk;

/* --- names of extents ------------------------------------------------------------------------- */

static void
set_outside (const char *descriptor, const char *name, const char *what, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (descriptor), *base = g_path_get_basename (name);
  g_autofree char *safe = h2k_escape_text (name, -1), *safe_base = h2k_escape_text (base, -1);
  g_autofree char *label = h2k_escape_text (descriptor, -1);
  g_autofree char *sibling = g_build_filename (folder, base, NULL);
  gboolean there = g_file_test (sibling, G_FILE_TEST_IS_REGULAR);

  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s names the %s \"%s\", which is not in the descriptor's own folder and is not "
               "read: a disk image must not choose files of this host. If you know that it belongs "
               "to the disk, %s %s and change the descriptor's line to \"%s\"",
               label, what, safe, there ? "see that it is the file in" : "copy it to", folder,
               safe_base);
}

/* PATH, which DESCRIPTOR names as WRITTEN, cannot be opened because of ERR: what to fetch. */
static void
set_missing (const char *descriptor, const char *written, const char *what, const char *path,
             int err, GError **error)
{
  g_autofree char *label = h2k_escape_text (descriptor, -1), *safe = h2k_escape_text (path, -1);
  g_autofree char *name = h2k_escape_text (written, -1);
  const gboolean parent = g_str_equal (what, "parent");

  h2k_set_errno (error, H2K_ERROR_SOURCE, err,
                 "%s names the %s \"%s\", which %s: it was looked for as %s; fetch it%s from the "
                 "folder that %s comes from%s",
                 label, what, name, err == ENOENT ? "is missing" : "cannot be opened", safe,
                 parent ? " (as a rule a small text) and the extents that it lists" : "",
                 parent ? "the parent" : "the disk",
                 parent ? ", a snapshot is complete only with all its parents"
                        : ", a disk is complete only with all its files");
}

/* NAME as DESCRIPTOR's bytes have it. Its encoding is that of the host where it was written; when
 * the files were copied by a program that knows nothing of encodings, their names kept their bytes.
 * NULL: they are the same. */
static char *
original_bytes (const char *name, const char *encoding)
{
  g_autofree char *bytes
      = encoding ? g_convert (name, -1, encoding, "UTF-8", NULL, NULL, NULL) : NULL;

  return bytes && !g_str_equal (bytes, name) ? g_steal_pointer (&bytes) : NULL;
}

/* The file that DESCRIPTOR means by NAME, its WHAT ("extent", "parent"), which is WRITTEN in it.
 * The caller's; NULL and ERROR. */
static char *
resolve_name (const char *descriptor, const char *name, const char *written, const char *encoding,
              const char *what, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (descriptor);
  g_autofree char *original = original_bytes (name, encoding);
  g_autofree char *sibling = original ? h2k_sibling_find (descriptor, original) : NULL;
  g_autofree char *path
      = g_path_is_absolute (name) ? g_strdup (name) : g_build_filename (folder, name, NULL);
  g_autofree char *resolved = realpath (path, NULL);
  int err = errno;
  g_autofree char *safe = h2k_escape_text (path, -1), *label = h2k_escape_text (descriptor, -1);
  struct stat st;

  if (!resolved && sibling)
    return g_steal_pointer (&sibling);
  if (resolved ? !h2k_is_beside (resolved, descriptor) : g_path_is_absolute (name))
    {
      set_outside (descriptor, name, what, error);
      return NULL;
    }
  if (resolved)
    err = stat (resolved, &st) == 0 ? 0 : errno;
  if (err)
    set_missing (descriptor, written, what, path, err, error);
  else if (!S_ISREG (st.st_mode))
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                 "%s names the %s %s, which is not a regular file: devices and folders are not "
                 "read as a part of a disk",
                 label, what, safe);
  else
    return g_steal_pointer (&path);
  return NULL;
}

/* --- the disk --------------------------------------------------------------------------------- */

static void
clear_part (gpointer data)
{
  Part *part = data;

  h2k_vmdk_sparse_free (part->sparse);
  if (part->flat)
    h2k_disk_unref (part->flat);
}

static Part *
find_part (Vmdk *vmdk, guint64 offset)
{
  guint low = 0, high = vmdk->parts->len;

  while (high - low > 1)
    {
      guint middle = low + (high - low) / 2;
      if (g_array_index (vmdk->parts, Part, middle).start <= offset)
        low = middle;
      else
        high = middle;
    }
  return &g_array_index (vmdk->parts, Part, low);
}

/* A sparse extent of a delta: what it does not hold comes from the parent. */
static gboolean
read_delta_by_runs (Vmdk *vmdk, const Part *part, guint64 offset, gsize length, guint8 *out,
                    GError **error)
{
  while (length)
    {
      H2kExtent run;
      gsize n;
      gboolean ok;
      if (!part->sparse->ops->extent (part->sparse, offset, &run, error))
        return FALSE;
      n = (gsize)MIN (run.length, length);
      ok = run.kind == H2K_EXTENT_UNALLOCATED
               ? h2k_disk_pread_or_zero (vmdk->base.backing, part->start + offset, n, out, error)
               : part->sparse->ops->pread (part->sparse, offset, n, out, error);
      if (!ok)
        return FALSE;
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

/* The same for a range where what the delta holds and what it does not are mixed: the parent is
 * read at once, and the delta put over it. FALSE: it could not be done; the parent may be damaged
 * where the delta covers it. That is not tried again, or the work could double with each disk of a
 * chain.
 */
static gboolean
read_delta_mixed (Vmdk *vmdk, const Part *part, guint64 offset, gsize length, guint8 *out)
{
  const H2kVmdkSparseOps *ops = part->sparse->ops;

  if (!ops->pread_over || g_atomic_int_get (&vmdk->by_runs))
    return FALSE;
  if (h2k_disk_pread_or_zero (vmdk->base.backing, part->start + offset, length, out, NULL)
      && ops->pread_over (part->sparse, offset, length, out, NULL))
    return TRUE;
  g_atomic_int_set (&vmdk->by_runs, TRUE);
  return FALSE;
}

/* The grains of ESX's deltas are small, down to a sector: reading run by run would be slow. */
static gboolean
read_delta (Vmdk *vmdk, const Part *part, guint64 offset, gsize length, guint8 *out, GError **error)
{
  while (length)
    {
      H2kExtent run;
      gboolean mixed;
      gsize n;
      if (!part->sparse->ops->extent (part->sparse, offset, &run, error))
        return FALSE;
      mixed = run.length < MIN (length, MIXED_RUN);
      n = (gsize)MIN (mixed ? MIXED_MAX : run.length, length);
      if (!(mixed && read_delta_mixed (vmdk, part, offset, n, out))
          && !read_delta_by_runs (vmdk, part, offset, n, out, error))
        return FALSE;
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

static gboolean
read_part (Vmdk *vmdk, const Part *part, guint64 offset, gsize length, guint8 *out, GError **error)
{
  if (part->flat)
    return h2k_disk_pread (part->flat, part->flat_offset + offset, length, out, error);
  if (part->sparse && vmdk->base.backing)
    return read_delta (vmdk, part, offset, length, out, error);
  if (part->sparse)
    return part->sparse->ops->pread (part->sparse, offset, length, out, error);
  memset (out, 0, length);
  return TRUE;
}

static gboolean
vmdk_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  Vmdk *vmdk = (Vmdk *)disk;
  guint8 *out = buffer;

  while (length)
    {
      const Part *part = find_part (vmdk, offset);
      guint64 within = offset - part->start;
      gsize n = (gsize)MIN (length, part->length - within);
      if (!read_part (vmdk, part, within, n, out, error))
        return FALSE;
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

/* What the parent says about EXTENT, which the child does not hold. */
static gboolean
parent_extent (H2kDisk *parent, H2kExtent *extent, GError **error)
{
  if (extent->offset >= parent->size)
    return TRUE;
  return h2k_disk_extent (parent, extent->offset,
                          MIN (extent->offset + extent->length, parent->size), extent, error);
}

static gboolean
vmdk_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  Vmdk *vmdk = (Vmdk *)disk;
  const Part *part = find_part (vmdk, offset);
  guint64 within = offset - part->start;

  *extent = (H2kExtent){.length = part->length - within, .kind = H2K_EXTENT_ZERO};
  if (part->flat
      && !h2k_disk_extent (part->flat, part->flat_offset + within, part->flat_offset + part->length,
                           extent, error))
    return FALSE;
  if (part->sparse && !part->sparse->ops->extent (part->sparse, within, extent, error))
    return FALSE;
  extent->offset = offset;
  extent->length = MIN (extent->length, part->length - within);
  if (part->sparse && extent->kind == H2K_EXTENT_UNALLOCATED && disk->backing)
    return parent_extent (disk->backing, extent, error);
  return TRUE;
}

static gboolean
vmdk_stored (H2kDisk *disk, guint64 offset, guint64 length, H2kStored *stored)
{
  const Part *part = find_part ((Vmdk *)disk, offset);
  guint64 within = offset - part->start;

  return part->flat
         && h2k_disk_stored (part->flat, part->flat_offset + within,
                             MIN (length, part->length - within), stored);
}

static void
vmdk_finalize (H2kDisk *disk)
{
  Vmdk *vmdk = (Vmdk *)disk;

  g_array_unref (vmdk->parts);
  h2k_vmdk_descriptor_free (vmdk->descriptor);
  h2k_vmdk_cache_free (vmdk->tables);
  h2k_vmdk_cache_free (vmdk->grains);
}

static const H2kDiskOps vmdk_ops = {
    .pread = vmdk_pread,
    .extent = vmdk_extent,
    .stored = vmdk_stored,
    .finalize = vmdk_finalize,
};

const H2kVmdkDescriptor *
h2k_vmdk_descriptor (H2kDisk *disk)
{
  return disk->ops == &vmdk_ops ? ((Vmdk *)disk)->descriptor : NULL;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* What follows "the file is ..." for the kinds of sparse extent that are never a disk by
 * themselves; their descriptor is a file of its own. */
static const struct
{
  guint8 magic[8];
  gsize length;
  H2kVmdkSparseOpen *open;
  const char *what;
} deltas[] = {
    {"COWD", 4, h2k_vmdk_cowd_open, "an ESX Server sparse extent (COWD), as a rule a snapshot's"},
    {"\xbe\xba\xfe\xca", 8, h2k_vmdk_sesparse_open, "an seSparse extent, a snapshot's"},
};

/* The kind of delta that FILE starts like, its index; -1: none. */
static int
find_delta (H2kFile *file)
{
  guint8 head[8];

  if (file->size < sizeof head || !h2k_file_pread (file, 0, sizeof head, head, NULL))
    return -1;
  for (gsize i = 0; i < G_N_ELEMENTS (deltas); i++)
    if (memcmp (head, deltas[i].magic, deltas[i].length) == 0)
      return (int)i;
  return -1;
}

static const char *
refused_type (H2kVmdkExtentType type)
{
  switch (type)
    {
    case H2K_VMDK_VMFSRDM:
    case H2K_VMDK_VMFSRAW:
      return "a raw device mapping, whose data is on a LUN and not in a file";
    default:
      return NULL;
    }
}

/* What a descriptor can say that rules the disk out as a whole. */
static gboolean
check_supported (const H2kVmdkDescriptor *d, const char *path, GError **error)
{
  g_autofree char *filters = d->io_filters ? g_ascii_strdown (d->io_filters, -1) : NULL;

  if (d->encryption_keys || (filters && strstr (filters, "crypt")))
    {
      g_set_error (
          error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
          "%s is encrypted by VMware: remove the encryption there (change the VM's storage "
          "policy, or its access control), and use the result",
          path);
      return FALSE;
    }
  for (guint i = 0; i < d->extents->len; i++)
    {
      const H2kVmdkExtent *extent = &g_array_index (d->extents, H2kVmdkExtent, i);
      const char *what = refused_type (extent->type);
      if (!what && extent->access == H2K_VMDK_NOACCESS && extent->type != H2K_VMDK_ZERO)
        what = "an extent that the guest had no access to (NOACCESS)";
      if (!what)
        continue;
      g_set_error (
          error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
          "%s: line %u of the descriptor is %s, which cannot be read: export the VM as OVF "
          "or OVA, and use that",
          path, extent->line, what);
      return FALSE;
    }
  return TRUE;
}

/* The nominal size that a descriptor gives a sparse extent; the header's may be rounded up to whole
 * grains. */
static gboolean
check_capacity (const H2kVmdkSparse *sparse, const H2kVmdkExtent *extent, const char *path,
                GError **error)
{
  guint64 nominal = extent->sectors * H2K_VMDK_SECTOR, size = sparse->size;

  if (nominal <= size && size - nominal < sparse->grain_size)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: the header says %" G_GUINT64_FORMAT
               " sectors and the descriptor %" G_GUINT64_FORMAT
               ": the files do not belong together, or one is corrupt",
               path, size / H2K_VMDK_SECTOR, extent->sectors);
  return FALSE;
}

/* Flat extents are raw files, of which a part is used. */
static gboolean
open_flat (Part *part, const H2kVmdkExtent *extent, const char *path, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);

  part->flat_offset = extent->offset * H2K_VMDK_SECTOR;
  if (!file)
    return FALSE;
  if (part->flat_offset > file->size || part->length > file->size - part->flat_offset)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s is truncated: it has %" G_GUINT64_FORMAT
                   " bytes, and the descriptor uses %" G_GUINT64_FORMAT "; fetch it again",
                   file->name, file->size, part->flat_offset + part->length);
      return FALSE;
    }
  part->flat = h2k_disk_open (path, "raw", error);
  return part->flat != NULL;
}

static gboolean
is_sparse (H2kVmdkExtentType type)
{
  return type == H2K_VMDK_SPARSE || type == H2K_VMDK_VMFSSPARSE || type == H2K_VMDK_SESPARSE;
}

/* What the descriptor calls the extent does not matter, old ESX servers say SPARSE for COWD: the
 * file says what it is. */
static gboolean
open_sparse (Vmdk *vmdk, Part *part, const H2kVmdkExtent *extent, const char *path, GError **error)
{
  g_autoptr (H2kFile) file = h2k_file_open (path, error);
  int delta;

  if (!file)
    return FALSE;
  delta = find_delta (file);
  part->sparse = (delta < 0 ? h2k_vmdk_sparse_open : deltas[delta].open) (file, vmdk->tables,
                                                                          vmdk->grains, error);
  return part->sparse && check_capacity (part->sparse, extent, file->name, error);
}

/* Open the extents of the descriptor PATH and list their files. */
static gboolean
open_parts (Vmdk *vmdk, const char *path, GPtrArray *files, GError **error)
{
  GArray *extents = vmdk->descriptor->extents;
  guint64 start = 0, tables = 0;

  for (guint i = 0; i < extents->len; i++)
    {
      const H2kVmdkExtent *extent = &g_array_index (extents, H2kVmdkExtent, i);
      g_autofree char *file = NULL;
      Part *part;

      g_array_set_size (vmdk->parts, i + 1);
      part = &g_array_index (vmdk->parts, Part, i);
      part->start = start;
      part->length = extent->sectors * H2K_VMDK_SECTOR;
      start += part->length;
      if (extent->type == H2K_VMDK_ZERO)
        continue;
      file = resolve_name (path, extent->name, extent->name, vmdk->descriptor->encoding, "extent",
                           error);
      if (!file)
        return FALSE;
      if (is_sparse (extent->type) ? !open_sparse (vmdk, part, extent, file, error)
                                   : !open_flat (part, extent, file, error))
        return FALSE;
      tables += part->sparse ? part->sparse->tables : 0;
      if (tables > H2K_VMDK_TABLES_MAX)
        {
          g_autofree char *label = h2k_escape_text (path, -1);
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                       "%s: its sparse extents have more grain tables than any real disk", label);
          return FALSE;
        }
      g_ptr_array_add (files, g_steal_pointer (&file));
    }
  return TRUE;
}

/* HINT, or only its last part when it is an absolute path of the machine that the disk comes from,
 * ESXi or Windows: then a file of that name beside the child is meant. */
static char *
local_name (const char *hint)
{
  const gboolean windows
      = (g_ascii_isalpha (hint[0]) && hint[1] == ':' && (hint[2] == '\\' || hint[2] == '/'))
        || g_str_has_prefix (hint, "\\\\");
  const char *base = strrchr (hint, '/'), *last = windows ? strrchr (hint, '\\') : NULL;

  if (!windows && !g_path_is_absolute (hint))
    return g_strdup (hint);
  return g_strdup ((last && (!base || last > base) ? last : base) + 1);
}

/* The parent that a delta's descriptor names. */
static H2kDisk *
open_parent (const H2kVmdkDescriptor *d, const char *path, GError **error)
{
  const H2kVmdkDescriptor *found;
  g_autofree char *label = h2k_escape_text (path, -1), *parent_label = NULL;
  g_autofree char *hint = NULL, *file = NULL;
  g_autoptr (H2kDisk) parent = NULL;

  if (!d->parent_hint || !*d->parent_hint)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s is a snapshot's delta that does not name its parent (parentFileNameHint), "
                   "which has CID %08x",
                   label, d->parent_cid);
      return NULL;
    }
  hint = local_name (d->parent_hint);
  file = resolve_name (path, hint, d->parent_hint, d->encoding, "parent", error);
  if (file)
    parent = h2k_disk_open (file, "vmdk", error);
  if (!parent)
    return NULL;
  found = h2k_vmdk_descriptor (parent);
  if (found && found->cid == d->parent_cid)
    return g_steal_pointer (&parent);
  parent_label = h2k_escape_text (file, -1);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s is a delta of a parent with CID %08x, but %s has CID %08x: it is another disk, "
               "or was changed after the snapshot; bring the parent that belongs to it",
               label, d->parent_cid, parent_label, found ? found->cid : 0);
  return NULL;
}

static void
vmdk_free (Vmdk *vmdk)
{
  vmdk_finalize (&vmdk->base);
  g_clear_pointer (&vmdk->base.backing, h2k_disk_unref);
  g_free (vmdk);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC (Vmdk, vmdk_free)

static Vmdk *
vmdk_new (void)
{
  Vmdk *vmdk = g_new0 (Vmdk, 1);

  vmdk->parts = g_array_new (FALSE, TRUE, sizeof (Part));
  g_array_set_clear_func (vmdk->parts, clear_part);
  vmdk->tables = h2k_vmdk_cache_new (TABLE_CACHE);
  vmdk->grains = h2k_vmdk_cache_new (GRAIN_CACHE);
  return vmdk;
}

/* The descriptor is a file of its own. */
static gboolean
open_descriptor (Vmdk *vmdk, H2kFile *file, GPtrArray *files, GError **error)
{
  gsize size = (gsize)MIN (file->size, H2K_VMDK_DESCRIPTOR_MAX);
  g_autofree char *text = g_malloc (size);

  if (!h2k_file_pread (file, 0, size, text, error))
    return FALSE;
  if (size < file->size)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s begins like a VMDK descriptor, but is too large for one", file->name);
      return FALSE;
    }
  vmdk->descriptor = h2k_vmdk_descriptor_parse (text, size, file->name, error);
  return vmdk->descriptor && check_supported (vmdk->descriptor, file->name, error)
         && open_parts (vmdk, file->path, files, error);
}

/* One piece of a split disk has no descriptor and is not a disk. */
static gboolean
check_piece (const char *path, const char *label, GError **error)
{
  if (!g_regex_match_simple ("-s[0-9]{3,}\\.vmdk$", path, G_REGEX_CASELESS | G_REGEX_RAW, 0))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s is one extent of a disk that is split into several files: name the disk's "
               "descriptor instead (the small .vmdk file without \"-s...\" in its name)",
               label);
  return FALSE;
}

/* FILE, a delta of KIND, was given instead of the descriptor that lists it. */
static void
set_delta (const H2kFile *file, int kind, GError **error)
{
  g_autoptr (GRegex) suffix
      = g_regex_new ("-(delta|sesparse)(?=\\.vmdk$)", G_REGEX_CASELESS | G_REGEX_RAW, 0, NULL);
  g_autofree char *path = g_regex_replace_literal (suffix, file->path, -1, 0, "", 0, NULL);
  g_autofree char *descriptor = path ? h2k_escape_text (path, -1) : NULL;
  const char *what = deltas[kind].what;

  if (!path || g_str_equal (path, file->path))
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                 "%s is %s: name the descriptor that lists it instead, the small text", file->name,
                 what);
  else if (g_file_test (path, G_FILE_TEST_IS_REGULAR))
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s is %s: name its descriptor instead, %s",
                 file->name, what, descriptor);
  else
    g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                 "%s is %s: its descriptor has to be named instead, the small text %s, which is "
                 "missing; fetch that, its parent and all their extents from the folder that the "
                 "file comes from",
                 file->name, what, descriptor);
}

/* FILE is a sparse extent and the whole disk. */
static gboolean
open_embedded (Vmdk *vmdk, H2kFile *file, GError **error)
{
  g_autofree char *text = NULL;
  const char *label = file->name;
  g_autoptr (GError) local = NULL;
  Part part = {0};
  gsize size = 0;
  H2kVmdkExtent *extent;
  int delta = find_delta (file);

  if (delta >= 0)
    {
      set_delta (file, delta, error);
      return FALSE;
    }
  part.sparse = h2k_vmdk_sparse_open (file, vmdk->tables, vmdk->grains, error);
  if (!part.sparse)
    return FALSE;
  part.length = part.sparse->size;
  g_array_append_val (vmdk->parts, part);
  text = h2k_vmdk_sparse_read_descriptor (part.sparse, &size, &local);
  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (!text)
    return check_piece (file->path, label, error);

  vmdk->descriptor = h2k_vmdk_descriptor_parse (text, size, label, error);
  if (!vmdk->descriptor || !check_supported (vmdk->descriptor, label, error))
    return FALSE;
  extent = &g_array_index (vmdk->descriptor->extents, H2kVmdkExtent, 0);
  if (vmdk->descriptor->extents->len != 1 || extent->type != H2K_VMDK_SPARSE)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: the descriptor inside the extent does not describe this extent alone",
                   label);
      return FALSE;
    }
  g_array_index (vmdk->parts, Part, 0).length = extent->sectors * H2K_VMDK_SECTOR;
  return check_capacity (part.sparse, extent, label, error);
}

static gboolean
starts_like_descriptor (H2kFile *file)
{
  guint8 head[4096];
  gsize n = (gsize)MIN (file->size, sizeof head);

  return h2k_file_pread (file, 0, n, head, NULL) && h2k_vmdk_is_descriptor (head, n);
}

static void
init_disk (Vmdk *vmdk, const char *path, GPtrArray *files)
{
  const Part *last = &g_array_index (vmdk->parts, Part, vmdk->parts->len - 1);
  const H2kVmdkDescriptor *d = vmdk->descriptor;
  gboolean compressed = last->sparse && last->sparse->compressed;
  H2kDisk *disk = &vmdk->base;

  h2k_disk_init (disk, &vmdk_ops, last->start + last->length, "vmdk", path);
  disk->subformat = d && d->create_type
                        ? h2k_escape_text (d->create_type, -1)
                        : g_strdup (compressed ? "streamOptimized" : "monolithicSparse");
  g_ptr_array_add (disk->files, g_strdup (path));
  for (guint i = 0; i < files->len; i++)
    g_ptr_array_add (disk->files, g_strdup (files->pdata[i]));
  if (disk->backing)
    h2k_disk_add_files (disk, disk->backing);
}

/* The disk without its parent. */
static Vmdk *
open_alone (H2kFile *file, GPtrArray *files, GError **error)
{
  g_autoptr (Vmdk) vmdk = vmdk_new ();

  if (starts_like_descriptor (file) ? !open_descriptor (vmdk, file, files, error)
                                    : !open_embedded (vmdk, file, error))
    return NULL;
  return g_steal_pointer (&vmdk);
}

/* By its name FILE is the data of a disk whose descriptor is another file, and not a sparse extent
 * that somebody gave that name. */
static gboolean
is_flat (H2kFile *file)
{
  guint8 magic[4] = {0};

  return g_regex_match_simple ("-flat\\.vmdk$", file->path, G_REGEX_CASELESS | G_REGEX_RAW, 0)
         && file->size >= sizeof magic && h2k_file_pread (file, 0, sizeof magic, magic, NULL)
         && memcmp (magic, "KDMV", sizeof magic) != 0 && find_delta (file) < 0
         && !starts_like_descriptor (file);
}

static H2kDisk *
vmdk_open (H2kFile *file, GError **error)
{
  g_autoptr (GPtrArray) files = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (Vmdk) vmdk = NULL;

  if (is_flat (file))
    {
      g_message (
          "%s: is a VMDK's data without the descriptor, and read as the raw disk that it is; "
          "if the VM has snapshots, name the last one's descriptor instead",
          file->name);
      return h2k_raw_format.open (file, error);
    }
  vmdk = open_alone (file, files, error);
  if (!vmdk)
    return NULL;
  if (vmdk->descriptor && vmdk->descriptor->parent_cid != H2K_VMDK_NO_PARENT)
    {
      vmdk->base.backing = open_parent (vmdk->descriptor, file->path, error);
      if (!vmdk->base.backing)
        return NULL;
    }
  init_disk (vmdk, file->path, files);
  return &g_steal_pointer (&vmdk)->base;
}

/* --- checking --------------------------------------------------------------------------------- */

/* Extents that have no check of their own: each table is looked at to find out what is where. */
static gboolean
check_extents (H2kVmdkSparse *sparse, H2kCheck *check, GError **error)
{
  guint64 reach = (guint64)sparse->grain_size * CHECK_REACH;
  H2kExtent extent;

  check->unit = "grains";
  check->units += (sparse->size - 1) / sparse->grain_size + 1;
  for (guint64 at = 0; at < sparse->size; at += extent.length)
    {
      g_autoptr (GError) failure = NULL;

      if (sparse->ops->extent (sparse, at, &extent, &failure))
        {
          extent.length = MIN (extent.length, sparse->size - at);
          if (extent.kind == H2K_EXTENT_DATA)
            check->allocated += (extent.length - 1) / sparse->grain_size + 1;
          continue;
        }
      if (!h2k_check_failure (check, g_steal_pointer (&failure), error))
        return FALSE;
      extent.length = (at / reach + 1) * reach - at;
    }
  return TRUE;
}

static gboolean
vmdk_check (H2kFile *file, H2kCheck *check, GError **error)
{
  g_autoptr (GPtrArray) files = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (Vmdk) vmdk = NULL;

  if (is_flat (file))
    return h2k_raw_format.check (file, check, error);
  vmdk = open_alone (file, files, error);
  if (!vmdk)
    return FALSE;
  for (guint i = 0; i < vmdk->parts->len; i++)
    {
      H2kVmdkSparse *sparse = g_array_index (vmdk->parts, Part, i).sparse;

      if (sparse
          && !(sparse->ops->check ? sparse->ops->check (sparse, check, error)
                                  : check_extents (sparse, check, error)))
        return FALSE;
    }
  if (vmdk->parts->len > 1)
    check->image_end = 0; /* of several files: none to speak of */
  return TRUE;
}

/* A file called .vmdk that is neither is claimed, too, so that what is damaged is said to be so
 * and not taken for a raw disk; but pieces of flat disks are raw. */
static int
vmdk_probe (const guint8 *head, gsize length, const char *path)
{
  if (length >= 4 && (memcmp (head, "KDMV", 4) == 0 || memcmp (head, "COWD", 4) == 0))
    return 100;
  if (length >= 8 && memcmp (head, "\xbe\xba\xfe\xca\0\0\0\0", 8) == 0)
    return 100;
  if (h2k_vmdk_is_descriptor (head, length))
    return 100;
  if (path
      && g_regex_match_simple ("(?<!-f[0-9]{3})\\.vmdk$", path, G_REGEX_CASELESS | G_REGEX_RAW, 0))
    return 2; /* raw is sure by 1 */
  return 0;
}

const H2kDiskFormat h2k_vmdk_format = {
    .name = "vmdk",
    .probe = vmdk_probe,
    .open = vmdk_open,
    .check = vmdk_check,
};
