/* bitlocker-disk.c - what is in a BitLocker volume, as a disk.
 *
 * The volume is cut into a dozen pieces, in each of which all sectors are of one kind.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/bitlocker.h"

#include "disk/formats.h"

/* How much is decrypted or encrypted in one go. */
#define BUFFER 65536u
#define MAX_PIECES 24u

/* NTFS' boot sector, which Vista changes in two places. */
#define BOOT_SIGNATURE 3u
#define BOOT_MFT_MIRROR 56u

typedef enum
{
  PIECE_ENCRYPTED,
  PIECE_PLAIN,
  PIECE_ZERO, /* the metadata's or the header's own place */
  PIECE_BOOT, /* a boot sector of Vista */
} PieceKind;

typedef struct
{
  guint64 offset, end; /* of the content */
  guint64 place;       /* on the volume, where OFFSET is */
  PieceKind kind;
} Piece;

typedef struct
{
  H2kDisk base;
  H2kDisk *disk;
  const H2kBitlockerCipher *cipher;
  guint32 sector;
  guint64 metadata_cluster, mft_mirror; /* of Vista */
  GBytes *fvek;
  Piece pieces[MAX_PIECES]; /* without gaps */
  guint n_pieces;
  GMutex lock;
  GPtrArray *idle; /* H2kBitlockerCrypt *: each is used by one thread at a time */
} BitlockerDisk;

/* --- ciphers -----------------------------------------------------------------------------------
 */

static void
crypt_free (gpointer data)
{
  h2k_bitlocker_crypt_free (data);
}

static H2kBitlockerCrypt *
crypt_new (const BitlockerDisk *disk)
{
  return h2k_bitlocker_crypt_new (disk->cipher, g_bytes_get_data (disk->fvek, NULL), disk->sector);
}

/* LENGTH bytes of whole sectors that lie at PLACE of the volume, in place. */
static gboolean
crypt_sectors (BitlockerDisk *disk, guint64 place, guint8 *data, gsize length, gboolean encrypt,
               GError **error)
{
  H2kBitlockerCrypt *crypt = NULL;
  gboolean ok;

  g_mutex_lock (&disk->lock);
  if (disk->idle->len)
    crypt = g_ptr_array_steal_index_fast (disk->idle, disk->idle->len - 1);
  g_mutex_unlock (&disk->lock);
  if (!crypt)
    crypt = crypt_new (disk);
  ok = crypt && h2k_bitlocker_crypt_do (crypt, place, data, length, encrypt);
  if (crypt)
    {
      g_mutex_lock (&disk->lock);
      g_ptr_array_add (disk->idle, crypt);
      g_mutex_unlock (&disk->lock);
    }
  if (!ok)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "%s: libgcrypt failed", disk->base.name);
  return ok;
}

/* --- sectors of one piece ----------------------------------------------------------------------
 */

static const Piece *
find_piece (const BitlockerDisk *disk, guint64 offset)
{
  guint i = 0;

  while (offset >= disk->pieces[i].end)
    i++;
  return &disk->pieces[i];
}

/* As NTFS has it: its name, and where the copy of the MFT is. */
static void
show_boot_sector (const BitlockerDisk *disk, guint8 *data)
{
  guint64 cluster = GUINT64_TO_LE (disk->mft_mirror);

  memcpy (data + BOOT_SIGNATURE, "NTFS    ", 8);
  memcpy (data + BOOT_MFT_MIRROR, &cluster, sizeof cluster);
}

/* The other way round. What the metadata have instead cannot be changed. */
static gboolean
hide_boot_sector (const BitlockerDisk *disk, guint8 *data, GError **error)
{
  guint64 cluster = GUINT64_TO_LE (disk->metadata_cluster);

  if (memcmp (data + BOOT_SIGNATURE, "NTFS    ", 8) != 0
      || h2k_le64 (data + BOOT_MFT_MIRROR) != disk->mft_mirror)
    {
      g_set_error (
          error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
          "%s: BitLocker of Vista keeps a part of the boot sector, which cannot be changed",
          disk->base.name);
      return FALSE;
    }
  memcpy (data + BOOT_SIGNATURE, "-FVE-FS-", 8);
  memcpy (data + BOOT_MFT_MIRROR, &cluster, sizeof cluster);
  return TRUE;
}

/* LENGTH bytes of whole sectors from OFFSET on, all in PIECE. */
static gboolean
read_sectors (BitlockerDisk *disk, const Piece *piece, guint64 offset, gsize length, guint8 *data,
              GError **error)
{
  guint64 place = piece->place + (offset - piece->offset);

  if (piece->kind == PIECE_ZERO)
    {
      memset (data, 0, length);
      return TRUE;
    }
  if (!h2k_disk_pread (disk->disk, place, length, data, error))
    return FALSE;
  if (piece->kind == PIECE_BOOT)
    show_boot_sector (disk, data);
  return piece->kind != PIECE_ENCRYPTED || crypt_sectors (disk, place, data, length, FALSE, error);
}

/* The same; DATA is changed. */
static gboolean
write_sectors (BitlockerDisk *disk, const Piece *piece, guint64 offset, gsize length, guint8 *data,
               GError **error)
{
  guint64 place = piece->place + (offset - piece->offset);

  if (piece->kind == PIECE_ZERO)
    {
      if (h2k_is_zero (data, length))
        return TRUE;
      g_set_error (error, H2K_ERROR, H2K_ERROR_FILESYSTEM,
                   "%s: the filesystem would write over BitLocker's metadata at %" G_GUINT64_FORMAT
                   ": it is damaged. Let chkdsk look at it in Windows",
                   disk->base.name, offset);
      return FALSE;
    }
  if (piece->kind == PIECE_BOOT && !hide_boot_sector (disk, data, error))
    return FALSE;
  if (piece->kind == PIECE_ENCRYPTED && !crypt_sectors (disk, place, data, length, TRUE, error))
    return FALSE;
  return h2k_disk_pwrite (disk->disk, place, length, data, error);
}

/* --- reading and writing -----------------------------------------------------------------------
 */

/* What of a request can be done next: whole sectors of one piece, BUFFER bytes at most. */
typedef struct
{
  const Piece *piece;
  guint64 first; /* where the first sector begins */
  gsize skip;    /* bytes of it that are not meant */
  gsize wanted;  /* bytes that are */
  gsize whole;   /* bytes of all sectors */
} Run;

static Run
next_run (const BitlockerDisk *disk, guint64 offset, gsize length)
{
  Run run = {.piece = find_piece (disk, offset), .skip = (gsize)(offset % disk->sector)};

  run.first = offset - run.skip;
  run.wanted = (gsize)MIN (MIN (length, BUFFER - run.skip), run.piece->end - offset);
  run.whole = (run.skip + run.wanted + disk->sector - 1) / disk->sector * disk->sector;
  return run;
}

static gboolean
bitlocker_pread (H2kDisk *base, guint64 offset, gsize length, void *buffer, GError **error)
{
  BitlockerDisk *disk = (BitlockerDisk *)base;
  g_autofree guint8 *own = NULL;

  for (guint8 *p = buffer; length;)
    {
      Run run = next_run (disk, offset, length);
      gboolean direct = run.whole == run.wanted;

      /* Whole sectors are decrypted where they are wanted. */
      if (!direct && !own)
        own = g_malloc (BUFFER);
      if (!read_sectors (disk, run.piece, run.first, run.whole, direct ? p : own, error))
        return FALSE;
      if (!direct)
        memcpy (p, own + run.skip, run.wanted);
      p += run.wanted;
      offset += run.wanted;
      length -= run.wanted;
    }
  return TRUE;
}

static gboolean
bitlocker_pwrite (H2kDisk *base, guint64 offset, gsize length, const void *buffer, GError **error)
{
  BitlockerDisk *disk = (BitlockerDisk *)base;
  g_autofree guint8 *own = g_malloc (BUFFER);

  for (const guint8 *p = buffer; length;)
    {
      Run run = next_run (disk, offset, length);
      guint64 last = run.first + run.whole - disk->sector;
      gboolean cut = run.skip + run.wanted < run.whole;

      /* The rest of the first and the last sector stays. */
      if ((run.skip && !read_sectors (disk, run.piece, run.first, disk->sector, own, error))
          || (cut && !(run.skip && run.whole == disk->sector)
              && !read_sectors (disk, run.piece, last, disk->sector, own + (last - run.first),
                                error)))
        return FALSE;
      memcpy (own + run.skip, p, run.wanted);
      if (!write_sectors (disk, run.piece, run.first, run.whole, own, error))
        return FALSE;
      p += run.wanted;
      offset += run.wanted;
      length -= run.wanted;
    }
  return TRUE;
}

static gboolean
bitlocker_flush (H2kDisk *base, GError **error)
{
  return h2k_disk_flush (((BitlockerDisk *)base)->disk, error);
}

static void
bitlocker_finalize (H2kDisk *base)
{
  BitlockerDisk *disk = (BitlockerDisk *)base;

  g_ptr_array_unref (disk->idle);
  g_mutex_clear (&disk->lock);
  g_bytes_unref (disk->fvek);
  h2k_disk_unref (disk->disk);
}

/* What was never written reads as noise: there are no extents but data. */
static const H2kDiskOps read_ops = {
    .pread = bitlocker_pread,
    .finalize = bitlocker_finalize,
};

static const H2kDiskOps write_ops = {
    .pread = bitlocker_pread,
    .pwrite = bitlocker_pwrite,
    .flush = bitlocker_flush,
    .finalize = bitlocker_finalize,
};

/* --- pieces ------------------------------------------------------------------------------------
 */

static void
add_edge (GArray *edges, const BitlockerDisk *disk, guint64 at)
{
  if (at > 0 && at < disk->base.size)
    g_array_append_val (edges, at);
}

static int
compare_edges (gconstpointer a, gconstpointer b)
{
  guint64 p = *(const guint64 *)a, q = *(const guint64 *)b;

  return p < q ? -1 : p > q;
}

/* Where a piece may begin or end, sorted. The places that the metadata name are whole sectors. */
static GArray *
list_edges (const BitlockerDisk *disk, const H2kBitlocker *volume, guint64 encrypted)
{
  GArray *edges = g_array_new (FALSE, FALSE, sizeof (guint64));

  for (guint i = 0; i < H2K_BITLOCKER_COPIES; i++)
    {
      add_edge (edges, disk, volume->metadata[i]);
      add_edge (edges, disk, volume->metadata[i] + volume->metadata_size);
    }
  add_edge (edges, disk, volume->header_size);
  add_edge (edges, disk, volume->header);
  add_edge (edges, disk, volume->header + volume->header_size);
  add_edge (edges, disk, encrypted);
  /* Of what lies elsewhere, the end of the encrypted size is somewhere else, too. */
  if (volume->header && encrypted > volume->header
      && encrypted < volume->header + volume->header_size)
    add_edge (edges, disk, encrypted - volume->header);
  if (volume->version == 1)
    {
      add_edge (edges, disk, volume->sector_size);
      add_edge (edges, disk, volume->boot_copy);
      add_edge (edges, disk, volume->boot_copy + volume->sector_size);
    }
  g_array_sort (edges, compare_edges);
  return edges;
}

/* What the sectors at OFFSET are. */
static Piece
describe (const H2kBitlocker *volume, guint64 offset, guint64 encrypted)
{
  Piece piece = {.offset = offset, .place = offset, .kind = PIECE_ENCRYPTED};
  guint64 end;

  if (offset < volume->header_size)
    {
      piece.place += volume->header;
      if (volume->version == 1)
        piece.kind = offset < volume->sector_size ? PIECE_BOOT : PIECE_PLAIN;
    }
  else if (h2k_bitlocker_is_own (volume, offset, &end))
    piece.kind = PIECE_ZERO;
  else if (volume->boot_copy && offset == volume->boot_copy)
    piece.kind = PIECE_BOOT;
  if (piece.kind == PIECE_ENCRYPTED && piece.place >= encrypted)
    piece.kind = PIECE_PLAIN;
  return piece;
}

static void
cut_pieces (BitlockerDisk *disk, const H2kBitlocker *volume)
{
  /* A sector is encrypted as a whole. */
  guint64 encrypted = (volume->encrypted_size + disk->sector - 1) / disk->sector * disk->sector;
  g_autoptr (GArray) edges = list_edges (disk, volume, encrypted);
  guint64 at = 0;

  for (guint i = 0; i <= edges->len; i++)
    {
      guint64 end = i < edges->len ? g_array_index (edges, guint64, i) : disk->base.size;

      if (end == at || end % disk->sector)
        continue;
      g_assert (disk->n_pieces < MAX_PIECES);
      disk->pieces[disk->n_pieces] = describe (volume, at, encrypted);
      disk->pieces[disk->n_pieces++].end = end;
      at = end;
    }
}

H2kDisk *
h2k_bitlocker_disk_new (H2kDisk *disk, const H2kBitlocker *volume, GBytes *fvek, const char *name,
                        GError **error)
{
  BitlockerDisk *own = g_new0 (BitlockerDisk, 1);
  guint64 size = disk->size / volume->sector_size * volume->sector_size;
  H2kBitlockerCrypt *crypt = NULL;

  h2k_disk_init (&own->base, h2k_disk_is_writable (disk) ? &write_ops : &read_ops, size,
                 "bitlocker", name);
  own->base.sector_size = MAX (volume->sector_size, disk->sector_size);
  h2k_disk_add_files (&own->base, disk);
  own->disk = h2k_disk_ref (disk);
  own->cipher = volume->cipher;
  own->sector = volume->sector_size;
  own->mft_mirror = volume->mft_mirror;
  own->metadata_cluster = volume->metadata_cluster;
  own->fvek = g_bytes_ref (fvek);
  own->idle = g_ptr_array_new_with_free_func (crypt_free);
  g_mutex_init (&own->lock);
  cut_pieces (own, volume);
  if (g_bytes_get_size (fvek) >= volume->cipher->fvek_size)
    crypt = crypt_new (own);
  if (crypt)
    {
      g_ptr_array_add (own->idle, crypt);
      return &own->base;
    }
  h2k_disk_unref (&own->base);
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "%s: the cipher %s cannot be used",
               disk->name, volume->cipher->name);
  return NULL;
}
