/* vhd.c - Virtual PC's and Hyper-V's disk images (QEMU's "vpc"): fixed, dynamic and differencing.
 *
 * Follows Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0. Where that
 * leaves room, or programs do otherwise:
 *
 * - The size of the disk is the footer's current size. Only Virtual PC and QEMU's older images go
 * by the geometry, as in QEMU; but when something is stored between the geometry's end and the
 *   current size (Hyper-V worked on with the disk), or more than a cylinder lies between them, the
 *   geometry does not describe the disk, and the current size counts. Nothing is ever cut off.
 * - The footer at the end counts; a dynamic disk's copy at the start only where that is damaged. A
 *   guest can write what it wants at the start of a fixed disk.
 * - A sector whose bit is clear in its block's bitmap was never written: it reads from the parent
 * or as zeros, as in VirtualBox and XenServer, whose files may hold old data there. QEMU reads what
 * is in the file. A block of a dynamic disk without any bit is read like that too: a block that
 *   exists was written to, so whoever wrote it keeps no bitmaps.
 * - The parent of a differencing disk must have the identifier that the child records. The time
 *   that is recorded too is the one of the parent file's last change, which every copy of the file
 *   alters, so it proves nothing and is not compared.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/cache.h"
#include "disk/check.h"
#include "disk/formats.h"
#include "disk/blockmap.h"

#define SECTOR 512
#define UNUSED 0xffffffffu /* BAT entry: the block is not in this file */

#define TYPE_FIXED 2
#define TYPE_DYNAMIC 3
#define TYPE_DIFFERENCING 4

#define MAX_GEOMETRY ((guint64)65535 * 16 * 255) /* sectors; what larger disks have, too */
#define MAX_NAME 65536                           /* bytes of a parent's name */
#define BITMAP_CACHE ((gsize)1 << 20)            /* bytes; 4 GiB of a disk with blocks of 2 MiB */
#define MAX_PIECES 16                            /* of an extent, merged */
#define TAIL_PIECE 65536                         /* of what lies behind the geometry */

/* All numbers are big-endian. */
typedef struct __attribute__ ((packed))
{
  guint8 cookie[8];              /* 0: "conectix" */
  guint8 features[4];            /* 8 */
  guint8 version[4];             /* 12 */
  guint8 data_offset[8];         /* 16: of the dynamic disk header */
  guint8 time_stamp[4];          /* 24: seconds since 2000 */
  guint8 creator_application[4]; /* 28 */
  guint8 creator_version[4];     /* 32 */
  guint8 creator_host_os[4];     /* 36 */
  guint8 original_size[8];       /* 40 */
  guint8 current_size[8];        /* 48 */
  guint8 cylinders[2];           /* 56 */
  guint8 heads;                  /* 58 */
  guint8 sectors;                /* 59 */
  guint8 disk_type[4];           /* 60 */
  guint8 checksum[4];            /* 64 */
  guint8 unique_id[16];          /* 68 */
  guint8 saved_state;            /* 84 */
  guint8 reserved[427];          /* 85: one less in Virtual PC's first images */
} VhdFooter;
G_STATIC_ASSERT (sizeof (VhdFooter) == 512);

typedef struct __attribute__ ((packed))
{
  guint8 platform_code[4];        /* 0 */
  guint8 platform_data_space[4];  /* 4: bytes in practice, whatever the specification says */
  guint8 platform_data_length[4]; /* 8: bytes */
  guint8 reserved[4];             /* 12 */
  guint8 platform_data_offset[8]; /* 16 */
} ParentLocator;

typedef struct __attribute__ ((packed))
{
  guint8 cookie[8];                /* 0: "cxsparse" */
  guint8 data_offset[8];           /* 8 */
  guint8 table_offset[8];          /* 16: of the BAT */
  guint8 header_version[4];        /* 24 */
  guint8 max_table_entries[4];     /* 28 */
  guint8 block_size[4];            /* 32: bytes, without the bitmap */
  guint8 checksum[4];              /* 36 */
  guint8 parent_unique_id[16];     /* 40 */
  guint8 parent_time_stamp[4];     /* 56 */
  guint8 reserved[4];              /* 60 */
  guint8 parent_unicode_name[512]; /* 64: UTF-16, big-endian */
  ParentLocator locators[8];       /* 576 */
  guint8 reserved2[256];           /* 768 */
} DynamicHeader;
G_STATIC_ASSERT (sizeof (DynamicHeader) == 1024);
G_STATIC_ASSERT (G_STRUCT_OFFSET (DynamicHeader, locators) == 576);

typedef struct
{
  H2kDisk disk;
  H2kFile *file;
  guint8 unique_id[16];
  gboolean differencing;
  guint64 room;         /* of the file, in front of the footer */
  guint64 capacity;     /* of the disk by its table or, when it is fixed, its file */
  DynamicHeader header; /* not of a fixed disk */
  guint block_bits;
  guint64 bitmap_bytes;          /* in front of each block, whole sectors */
  guint64 bat_offset, bat_bytes; /* of the entries that the disk needs */
  H2kBlockMap *bat;              /* NULL: a fixed disk */
  H2kCache *bitmaps;             /* by number of the block */
} Vhd;

/* A part of the disk that is either in this file or not. */
typedef struct
{
  gboolean own;
  guint64 host; /* own: offset in the file */
  guint64 end;  /* offset on the disk */
} Piece;

#define set_corrupt(error, ...) h2k_set_corrupt (error, "VHD", __VA_ARGS__)

/* --- the mapping ------------------------------------------------------------------------------ */

static guint64
block_size (const Vhd *v)
{
  return (guint64)1 << v->block_bits;
}

static guint32
bat_entry (GBytes *slice, guint64 block)
{
  return h2k_be32 ((const guint8 *)g_bytes_get_data (slice, NULL)
                   + block % H2K_BLOCK_MAP_SLICE * 4);
}

/* BITMAP has a bit for each sector of a block, the first one is the highest of its byte. Returns
 * the sector at which the run of equal bits that holds SECTOR ends, COUNT at the most. */
static guint64
end_of_run (const guint8 *bitmap, guint64 sector, guint64 count)
{
  gboolean set = bitmap[sector / 8] >> (7 - sector % 8) & 1;
  guint8 whole = set ? 0xff : 0;

  while (sector < count)
    if (sector % 8 == 0 && bitmap[sector / 8] == whole)
      sector += 8;
    else if ((bitmap[sector / 8] >> (7 - sector % 8) & 1) == set)
      sector++;
    else
      break;
  return MIN (sector, count);
}

/* The bitmap of BLOCK, which is at offset AT of the file. The caller's reference. */
static GBytes *
get_bitmap (Vhd *v, guint64 block, guint64 at, GError **error)
{
  GBytes *bitmap = h2k_cache_get (v->bitmaps, block);
  guint64 sectors = block_size (v) / SECTOR;
  g_autofree guint8 *data = NULL;

  if (bitmap)
    return bitmap;
  data = g_malloc (v->bitmap_bytes);
  if (!h2k_file_pread (v->file, at, v->bitmap_bytes, data, error))
    return NULL;
  if (!v->differencing && data[0] >> 7 == 0 && end_of_run (data, 0, sectors) == sectors)
    memset (data, 0xff, v->bitmap_bytes);
  bitmap = g_bytes_new_take (g_steal_pointer (&data), v->bitmap_bytes);
  h2k_cache_put (v->bitmaps, block, bitmap);
  return bitmap;
}

/* Whether a block can be at AT. That it is there in full is seen when it is read. */
static gboolean
check_place (const Vhd *v, guint64 block, guint64 at, GError **error)
{
  guint64 length = v->bitmap_bytes + block_size (v);

  if (at >= v->file->size)
    return set_corrupt (error, v->disk.name,
                        "the block at disk offset %" G_GUINT64_FORMAT " is at %" G_GUINT64_FORMAT
                        ", behind the end of the file at %" G_GUINT64_FORMAT " (truncated?)",
                        block << v->block_bits, at, v->file->size);
  if (at < sizeof (VhdFooter) || (at < v->bat_offset + v->bat_bytes && v->bat_offset < at + length))
    return set_corrupt (error, v->disk.name,
                        "the block at disk offset %" G_GUINT64_FORMAT
                        " overlaps the header or the block allocation table",
                        block << v->block_bits);
  return TRUE;
}

/* The piece that begins at OFFSET and ends at LIMIT or before. */
static gboolean
find_piece (Vhd *v, guint64 offset, guint64 limit, Piece *piece, GError **error)
{
  guint64 block = offset >> v->block_bits, start = block << v->block_bits;
  guint64 stop = MIN ((limit - 1) >> v->block_bits, block | (H2K_BLOCK_MAP_SLICE - 1));
  guint64 sector = (offset - start) / SECTOR, at;
  g_autoptr (GBytes) slice = h2k_block_map_slice (v->bat, block, error), bitmap = NULL;
  const guint8 *bits;

  if (!slice)
    return FALSE;
  if (bat_entry (slice, block) == UNUSED)
    {
      for (block++; block <= stop && bat_entry (slice, block) == UNUSED;)
        block++;
      *piece = (Piece){.end = MIN (limit, block << v->block_bits)};
      return TRUE;
    }
  at = (guint64)bat_entry (slice, block) * SECTOR;
  if (!check_place (v, block, at, error))
    return FALSE;
  bitmap = get_bitmap (v, block, at, error);
  if (!bitmap)
    return FALSE;
  bits = g_bytes_get_data (bitmap, NULL);
  piece->own = bits[sector / 8] >> (7 - sector % 8) & 1;
  piece->host = at + v->bitmap_bytes + (offset - start);
  piece->end = MIN (limit, start + end_of_run (bits, sector, block_size (v) / SECTOR) * SECTOR);
  return TRUE;
}

/* --- reading ---------------------------------------------------------------------------------- */

static gboolean
sparse_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  Vhd *v = (Vhd *)disk;
  guint64 limit = offset + length;
  guint8 *out = buffer;

  while (offset < limit)
    {
      Piece piece = {0};
      gsize n;

      if (!find_piece (v, offset, limit, &piece, error))
        return FALSE;
      n = (gsize)(piece.end - offset);
      if (piece.own ? !h2k_file_pread (v->file, piece.host, n, out, error)
                    : !h2k_disk_pread_or_zero (disk->backing, offset, n, out, error))
        return FALSE;
      out += n;
      offset = piece.end;
    }
  return TRUE;
}

/* What the parent has is asked for once and not merged with more: each level of a long chain would
 * ask several times, and all below it as often again. */
static gboolean
sparse_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  Vhd *v = (Vhd *)disk;
  Piece piece = {0}, next = {0};

  if (!find_piece (v, offset, disk->size, &piece, error))
    return FALSE;
  if (!piece.own && disk->backing && offset < disk->backing->size)
    return h2k_disk_extent (disk->backing, offset, piece.end, extent, error);
  for (guint i = 1; i < MAX_PIECES && piece.end < disk->size; i++, piece.end = next.end)
    if (!find_piece (v, piece.end, disk->size, &next, NULL) || next.own != piece.own
        || (!next.own && disk->backing && piece.end < disk->backing->size))
      break; /* trouble there is told to those who ask about it */
  *extent = (H2kExtent){offset, piece.end - offset,
                        piece.own ? H2K_EXTENT_DATA : H2K_EXTENT_UNALLOCATED};
  return TRUE;
}

static gboolean
fixed_pread (H2kDisk *disk, guint64 offset, gsize length, void *buffer, GError **error)
{
  return h2k_file_pread (((Vhd *)disk)->file, offset, length, buffer, error);
}

static gboolean
fixed_extent (H2kDisk *disk, guint64 offset, H2kExtent *extent, GError **error)
{
  if (!h2k_file_extent (((Vhd *)disk)->file, offset, extent, error))
    return FALSE;
  extent->length = MIN (extent->length, disk->size - offset);
  return TRUE;
}

static void
vhd_finalize (H2kDisk *disk)
{
  Vhd *v = (Vhd *)disk;

  h2k_block_map_free (v->bat);
  h2k_cache_free (v->bitmaps);
  h2k_file_unref (v->file);
}

static const H2kDiskOps fixed_ops = {
    .pread = fixed_pread,
    .extent = fixed_extent,
    .finalize = vhd_finalize,
};

static const H2kDiskOps sparse_ops = {
    .pread = sparse_pread,
    .extent = sparse_extent,
    .finalize = vhd_finalize,
};

/* --- the parent ------------------------------------------------------------------------------- */

/* NAME's last part. The caller's; NULL when there is none. */
static char *
base_name (const char *name)
{
  const char *slash = strrchr (name, '/'), *base = slash ? slash + 1 : name;

  return *base && !g_str_equal (base, ".") && !g_str_equal (base, "..") ? g_strdup (base) : NULL;
}

/* Add a file NAME, which is taken, that could be the parent. */
static void
add_name (GPtrArray *names, char *name)
{
  if (name && *name && !g_ptr_array_find_with_equal_func (names, name, g_str_equal, NULL))
    g_ptr_array_add (names, name);
  else
    g_free (name);
}

/* UTF-16 text of a Windows path, with slashes; NULL when it is none. The caller's. */
static char *
decode_path (const guint8 *data, gsize bytes, gboolean big_endian)
{
  g_autofree gunichar2 *text = g_new0 (gunichar2, bytes / 2 + 1);
  char *path;

  for (gsize i = 0; i < bytes / 2; i++)
    text[i] = big_endian ? h2k_be16 (data + 2 * i) : h2k_le16 (data + 2 * i);
  path = g_utf16_to_utf8 (text, -1, NULL, NULL, NULL);
  return path ? g_strdelimit (path, "\\", '/') : NULL;
}

/* What a locator of the platform CODE says: a path with slashes, or NULL. The caller's. */
static char *
read_locator (const Vhd *v, const DynamicHeader *h, const char *code)
{
  for (gsize i = 0; i < G_N_ELEMENTS (h->locators); i++)
    {
      const ParentLocator *locator = &h->locators[i];
      gsize length = h2k_be32 (locator->platform_data_length);
      g_autofree guint8 *data = NULL;

      if (memcmp (locator->platform_code, code, 4) != 0 || length == 0 || length > MAX_NAME)
        continue;
      data = g_malloc (length);
      if (!h2k_file_pread (v->file, h2k_be64 (locator->platform_data_offset), length, data, NULL))
        continue;
      if (!g_str_equal (code, "MacX"))
        return decode_path (data, length, FALSE);
      /* A URL, file://host/path. */
      return g_uri_unescape_segment ((char *)data, (char *)data + length, "/");
    }
  return NULL;
}

/* The names under which the parent may lie beside the image, the best first. Paths of another
 * machine count by their last part. */
static GPtrArray *
parent_names (const Vhd *v, const DynamicHeader *h)
{
  static const char *const codes[] = {"W2ru", "W2ku", "MacX"};
  GPtrArray *names = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *own = decode_path (h->parent_unicode_name, sizeof h->parent_unicode_name, TRUE);

  for (gsize i = 0; i < G_N_ELEMENTS (codes); i++)
    {
      g_autofree char *path = read_locator (v, h, codes[i]);
      if (!path)
        continue;
      if (i == 0)
        add_name (names, g_strdup (g_str_has_prefix (path, "./") ? path + 2 : path));
      add_name (names, base_name (path));
    }
  if (own)
    add_name (names, base_name (own));
  return names;
}

static char *
format_id (const guint8 *id)
{
  return g_strdup_printf ("%08x-%04x-%04x-%04x-%04x%08x", h2k_be32 (id), h2k_be16 (id + 4),
                          h2k_be16 (id + 6), h2k_be16 (id + 8), h2k_be16 (id + 10),
                          h2k_be32 (id + 12));
}

/* The parent's path, beside the image. The caller's; NULL and ERROR. */
static char *
find_parent (const Vhd *v, const DynamicHeader *h, GError **error)
{
  g_autoptr (GPtrArray) names = parent_names (v, h);
  g_autofree char *folder = g_path_get_dirname (v->file->path), *id = NULL;
  g_autofree char *list = NULL, *place = NULL;

  for (guint i = 0; i < names->len; i++)
    {
      char *path = h2k_sibling_find (v->file->path, names->pdata[i]);
      if (path)
        return path;
    }
  id = format_id (h->parent_unique_id);
  g_ptr_array_add (names, NULL);
  list = g_strjoinv (", ", (char **)names->pdata);
  place = g_strdup_printf ("in the folder %s as %s", folder,
                           *list ? list : "nothing, since its name is not recorded");
  h2k_set_missing (error, v->disk.name, "parent", id, place);
  return NULL;
}

static gboolean
open_parent (Vhd *v, const DynamicHeader *h, GError **error)
{
  g_autofree char *path = find_parent (v, h, error), *wanted = NULL, *found = NULL;
  const Vhd *parent;

  if (!path)
    return FALSE;
  v->disk.backing = h2k_disk_open (path, "vhd", error);
  if (!v->disk.backing)
    {
      g_prefix_error (error, "%s: cannot open its parent: ", v->disk.name);
      return FALSE;
    }
  h2k_disk_add_files (&v->disk, v->disk.backing);
  parent = (const Vhd *)v->disk.backing;
  if (memcmp (parent->unique_id, h->parent_unique_id, 16) == 0)
    return TRUE;
  wanted = format_id (h->parent_unique_id);
  found = format_id (parent->unique_id);
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s is a differencing disk whose parent has the identifier %s, but %s has %s: it is "
               "another disk; bring the parent that belongs to it",
               v->disk.name, wanted, parent->disk.name, found);
  return FALSE;
}

/* --- the size --------------------------------------------------------------------------------- */

/* Whether the disk reads as zeros from OFFSET on. What cannot be read counts as something. */
static gboolean
is_empty_behind (H2kDisk *disk, guint64 offset)
{
  g_autofree guint8 *buffer = g_malloc (TAIL_PIECE);
  H2kExtent extent;

  for (; offset < disk->size; offset += extent.length)
    {
      if (!h2k_disk_extent (disk, offset, MIN (disk->size, offset + TAIL_PIECE), &extent, NULL))
        return FALSE;
      if (extent.kind == H2K_EXTENT_DATA
          && (!h2k_disk_pread (disk, offset, (gsize)extent.length, buffer, NULL)
              || !h2k_is_zero (buffer, (gsize)extent.length)))
        return FALSE;
    }
  return TRUE;
}

/* Find out the size of the disk, which is otherwise ready; ROOM is what the file has room for. */
static gboolean
choose_size (Vhd *v, const VhdFooter *f, guint64 room, GError **error)
{
  guint64 current = h2k_be64 (f->current_size) / SECTOR * SECTOR;
  guint64 cylinder = (guint64)f->heads * f->sectors * SECTOR;
  guint64 geometry = h2k_be16 (f->cylinders) * cylinder;
  gboolean by_geometry = memcmp (f->creator_application, "vpc ", 4) == 0
                         || memcmp (f->creator_application, "qemu", 4) == 0;

  if (current == 0 && geometry == 0)
    return set_corrupt (error, v->disk.name, "the disk has no size");
  if (geometry == 0 || geometry == MAX_GEOMETRY * SECTOR
      || (current > geometry && current - geometry >= cylinder))
    by_geometry = FALSE;
  v->disk.size = current == 0 || (by_geometry && geometry <= room) ? geometry : current;
  if (v->disk.size > room)
    return set_corrupt (error, v->disk.name,
                        "the disk has %" G_GUINT64_FORMAT
                        " bytes, but there is only room for %" G_GUINT64_FORMAT " (truncated?)",
                        v->disk.size, room);
  if (by_geometry && geometry < current && current <= room)
    {
      v->disk.size = current;
      if (is_empty_behind (&v->disk, geometry))
        v->disk.size = geometry;
    }
  return TRUE;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* The ones' complement of the sum of LENGTH bytes, the CHECKSUM among them left out. */
static gboolean
is_sum_right (const void *data, gsize length, const guint8 *checksum)
{
  guint32 sum = 0;

  for (gsize i = 0; i < length; i++)
    sum += ((const guint8 *)data)[i];
  for (gsize i = 0; i < 4; i++)
    sum -= checksum[i];
  return ~sum == h2k_be32 (checksum);
}

static gboolean
is_good_footer (const VhdFooter *f)
{
  guint32 type = h2k_be32 (f->disk_type);

  return is_sum_right (f, sizeof *f, f->checksum) && type >= TYPE_FIXED
         && type <= TYPE_DIFFERENCING;
}

/* Find the footer; *AREA is what lies in front of it. */
static gboolean
read_footer (H2kFile *file, VhdFooter *f, guint64 *area, GError **error)
{
  static const struct
  {
    gboolean at_end;
    gsize length;
  } places[] = {{TRUE, 512}, {TRUE, 511}, {FALSE, 512}};
  gboolean seen = FALSE;

  for (gsize i = 0; i < G_N_ELEMENTS (places); i++)
    {
      gsize length = places[i].length;

      if (length > file->size)
        continue;
      memset (f, 0, sizeof *f);
      *area = file->size - length;
      if (!h2k_file_pread (file, places[i].at_end ? *area : 0, length, f, error))
        return FALSE;
      if (memcmp (f->cookie, "conectix", 8) != 0)
        continue;
      seen = TRUE;
      if (!is_good_footer (f) || (!places[i].at_end && h2k_be32 (f->disk_type) == TYPE_FIXED))
        continue;
      if (!places[i].at_end)
        g_message ("%s: the footer is missing or damaged; its copy at the start is used",
                   file->name);
      return TRUE;
    }
  if (seen)
    return set_corrupt (error, file->name,
                        "the footer is damaged, and there is no good copy of it");
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: is not a VHD image: there is no footer at its end, and no copy of one at its "
               "start; if it was cut short, fetch it again; if these are a disk's own bytes, name "
               "the format \"raw\"",
               file->name);
  return FALSE;
}

static gboolean
read_header (Vhd *v, const VhdFooter *f, DynamicHeader *h, GError **error)
{
  guint64 at = h2k_be64 (f->data_offset);
  guint32 size;

  if (!h2k_file_pread (v->file, at, sizeof *h, h, error))
    return FALSE;
  size = h2k_be32 (h->block_size);
  if (memcmp (h->cookie, "cxsparse", 8) != 0)
    return set_corrupt (error, v->disk.name,
                        "there is no dynamic disk header at %" G_GUINT64_FORMAT, at);
  if (!is_sum_right (h, sizeof *h, h->checksum))
    return set_corrupt (error, v->disk.name, "the checksum of the dynamic disk header is wrong");
  if (size < SECTOR || size & (size - 1))
    return set_corrupt (error, v->disk.name, "blocks of %u bytes are impossible", size);
  return TRUE;
}

/* Set up the mapping. */
static gboolean
open_table (Vhd *v, const VhdFooter *f, GError **error)
{
  guint64 entries;

  if (!read_header (v, f, &v->header, error))
    return FALSE;
  entries = h2k_be32 (v->header.max_table_entries);
  v->bat_offset = h2k_be64 (v->header.table_offset);
  v->bat_bytes = entries * 4;
  if (v->bat_offset < sizeof (VhdFooter) || v->bat_offset > v->file->size
      || v->bat_bytes > v->file->size - v->bat_offset)
    return set_corrupt (error, v->disk.name,
                        "the table of %" G_GUINT64_FORMAT " blocks at %" G_GUINT64_FORMAT
                        " is not within the file of %" G_GUINT64_FORMAT " bytes (truncated?)",
                        entries, v->bat_offset, v->file->size);
  v->block_bits = (guint)g_bit_nth_msf (h2k_be32 (v->header.block_size), -1);
  v->bitmap_bytes = (block_size (v) + SECTOR * 8 * SECTOR - 1) / (SECTOR * 8 * SECTOR) * SECTOR;
  v->bat = h2k_block_map_new (v->file, v->bat_offset, entries);
  v->bitmaps = h2k_cache_new (BITMAP_CACHE);
  v->capacity = entries << v->block_bits;
  return TRUE;
}

/* The image without its parent, if it has one; FOOTER is set. */
static H2kDisk *
open_alone (H2kFile *file, VhdFooter *footer, GError **error)
{
  static const char *const kinds[]
      = {[TYPE_FIXED] = "fixed", [TYPE_DYNAMIC] = "dynamic", [TYPE_DIFFERENCING] = "differencing"};
  g_autoptr (H2kDisk) disk = NULL;
  guint64 area;
  guint32 type;
  Vhd *v;

  if (!read_footer (file, footer, &area, error))
    return NULL;
  type = h2k_be32 (footer->disk_type);
  v = g_new0 (Vhd, 1);
  disk = &v->disk;
  h2k_disk_init (disk, type == TYPE_FIXED ? &fixed_ops : &sparse_ops, 0, "vhd", file->path);
  disk->subformat = g_strdup (kinds[type]);
  g_ptr_array_add (disk->files, g_strdup (file->path));
  v->file = h2k_file_ref (file);
  v->differencing = type == TYPE_DIFFERENCING;
  memcpy (v->unique_id, footer->unique_id, sizeof v->unique_id);
  v->room = v->capacity = area / SECTOR * SECTOR;
  return type == TYPE_FIXED || open_table (v, footer, error) ? g_steal_pointer (&disk) : NULL;
}

static H2kDisk *
vhd_open (H2kFile *file, GError **error)
{
  VhdFooter footer;
  g_autoptr (H2kDisk) disk = open_alone (file, &footer, error);
  Vhd *v = (Vhd *)disk;

  if (!disk || (v->differencing && !open_parent (v, &v->header, error))
      || !choose_size (v, &footer, v->capacity, error))
    return NULL;
  return g_steal_pointer (&disk);
}

/* --- checking --------------------------------------------------------------------------------- */

/* Both footers of a disk that has two have to be there, and to be the same. */
static gboolean
check_footers (H2kFile *file, const VhdFooter *footer, H2kCheck *check, GError **error)
{
  VhdFooter end, copy;

  if (file->size < sizeof end
      || !h2k_file_pread (file, file->size - sizeof end, sizeof end, &end, error)
      || !h2k_file_pread (file, 0, sizeof copy, &copy, error))
    return FALSE;
  if (h2k_be32 (footer->disk_type) == TYPE_FIXED)
    return TRUE;
  if (!is_good_footer (&end))
    h2k_check_corrupt (check, "the footer is missing or damaged; its copy at the start is used");
  else if (!is_good_footer (&copy))
    h2k_check_corrupt (check, "the footer's copy at the start is damaged");
  else if (memcmp (&end, &copy, sizeof end) != 0)
    h2k_check_corrupt (check, "the footer and its copy at the start differ");
  return TRUE;
}

/* The block whose entry is AT: the last one may be cut off behind the disk's end. */
static void
check_block (const Vhd *v, guint64 block, guint32 at, H2kClaims *claims, H2kCheck *check)
{
  guint64 host = (guint64)at * SECTOR, used = v->bitmap_bytes + block_size (v);

  if (h2k_claims_first (claims))
    check->allocated++;
  if (host >= v->room || used > v->room - host)
    {
      if (h2k_claims_first (claims))
        h2k_check_corrupt (check,
                           "block %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT
                           " is not within the file's data, which end at %" G_GUINT64_FORMAT,
                           block, host, v->room);
      return;
    }
  check->image_end = MAX (check->image_end, host + used);
  if (!h2k_claims_take (claims, at, used / SECTOR))
    h2k_check_corrupt (check,
                       "block %" G_GUINT64_FORMAT " at %" G_GUINT64_FORMAT
                       " overlaps another block, a header or the table of the blocks",
                       block, host);
}

static gboolean
check_blocks (Vhd *v, H2kClaims *claims, H2kCheck *check, GError **error)
{
  guint64 entries = v->bat_bytes / 4;

  for (guint64 slice = 0; slice < entries; slice += H2K_BLOCK_MAP_SLICE)
    {
      g_autoptr (GBytes) bytes = h2k_block_map_slice (v->bat, slice, error);

      if (!bytes)
        return FALSE;
      for (guint64 i = slice; i < MIN (entries, slice + H2K_BLOCK_MAP_SLICE); i++)
        if (bat_entry (bytes, i) != UNUSED)
          check_block (v, i, bat_entry (bytes, i), claims, check);
    }
  return TRUE;
}

/* What else lies in the file. */
static void
claim_headers (const Vhd *v, const VhdFooter *footer, H2kClaims *claims, H2kCheck *check)
{
  guint64 header = h2k_be64 (footer->data_offset);
  gboolean ok
      = h2k_claims_take (claims, 0, 1)
        & h2k_claims_take (claims, header / SECTOR, sizeof (DynamicHeader) / SECTOR)
        & h2k_claims_take (claims, v->bat_offset / SECTOR, (v->bat_bytes + SECTOR - 1) / SECTOR);

  if (!ok)
    h2k_check_corrupt (check, "the table of the blocks overlaps a header");
}

static gboolean
vhd_check (H2kFile *file, H2kCheck *check, GError **error)
{
  VhdFooter footer;
  g_autoptr (H2kDisk) disk = open_alone (file, &footer, error);
  Vhd *v = (Vhd *)disk;
  g_autoptr (H2kClaims) claims = NULL;

  if (!disk || !check_footers (file, &footer, check, error))
    return FALSE;
  if (!v->bat)
    return choose_size (v, &footer, v->capacity, error);
  check->units = v->bat_bytes / 4;
  claims = h2k_claims_new (v->room / SECTOR);
  do
    {
      claim_headers (v, &footer, claims, check);
      if (!check_blocks (v, claims, check, error))
        return FALSE;
    }
  while (h2k_claims_next (claims));
  return TRUE;
}

/* A fixed disk is known by its end alone; its name tells that it was one, when that is damaged. */
static int
vhd_probe (const guint8 *head, gsize length, const char *path)
{
  static const char *const suffixes[] = {".vhd", ".avhd", ".vhdfixed"};
  gsize n = strlen (path);

  if (length >= 8 && memcmp (head, "conectix", 8) == 0)
    return 100;
  for (gsize i = 0; i < G_N_ELEMENTS (suffixes); i++)
    {
      gsize m = strlen (suffixes[i]);
      if (n > m && g_ascii_strcasecmp (path + n - m, suffixes[i]) == 0)
        return 10;
    }
  return 0;
}

/* A fixed disk, whatever it is called. What a guest could write there of another kind of disk does
 * not count: those begin with a copy of their footer. */
static gboolean
vhd_probe_end (const guint8 *end, gsize length)
{
  VhdFooter f = {0};

  for (gsize cut = 0; cut <= 1; cut++) /* Virtual PC's first images have one byte less */
    {
      memset (&f, 0, sizeof f);
      memcpy (&f, end + cut, sizeof f - cut);
      if (memcmp (f.cookie, "conectix", 8) == 0 && is_good_footer (&f)
          && h2k_be32 (f.disk_type) == TYPE_FIXED)
        return TRUE;
    }
  return FALSE;
}

const H2kDiskFormat h2k_vhd_format
    = {"vhd", vhd_probe, vhd_open, vhd_check, .probe_end = vhd_probe_end};
