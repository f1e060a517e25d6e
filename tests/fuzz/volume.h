/* volume.h - any bytes as a volume, for the targets of what lies on one.
 *
 * The input (of those of fs/usage.h: behind a byte of options) is a list of pieces that are laid
 * over a volume of zeros, so that small inputs make whole filesystems: le32 offset, le16 length,
 * bytes. The topmost bit of the offset: one byte instead, with which LENGTH times 256 bytes are
 * filled (MAX_FILL at most).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "fs/usage.h"

#include <stdint.h>
#include <sys/stat.h>

/* A target may have another one. */
#ifndef VOLUME_SIZE
#  define VOLUME_SIZE (256u << 20)
#endif
#define MAX_FILL (256u << 10)
#define MAX_FILLED (64u << 20) /* by one input */

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

typedef struct
{
  guint32 offset; /* on the volume */
  gsize length;
  const guint8 *data; /* LENGTH bytes; or one, when FILL */
  gboolean fill;
} VolumePiece;

/* Take the next piece off DATA; FALSE at the end. */
static inline gboolean
volume_next_piece (const guint8 **data, gsize *size, VolumePiece *piece)
{
  const guint8 *head = *data;
  gsize length, n;

  if (*size <= 6)
    return FALSE;
  piece->fill = head[3] >> 7;
  piece->offset = h2k_le32 (head) % VOLUME_SIZE;
  piece->data = head + 6;
  length = h2k_le16 (head + 4);
  n = piece->fill ? 1 : MIN (length, *size - 6);
  piece->length = MIN (piece->fill ? MIN (length * 256, MAX_FILL) : n, VOLUME_SIZE - piece->offset);
  *data += 6 + n;
  *size -= 6 + n;
  return TRUE;
}

static inline H2kDisk *
volume_unpack (const guint8 *data, gsize size)
{
  H2kDisk *disk = h2k_memory_disk_new (VOLUME_SIZE);
  gsize filled = 0;
  VolumePiece piece;

  while (volume_next_piece (&data, &size, &piece) && filled < MAX_FILLED)
    if (piece.fill && piece.length)
      {
        filled += piece.length;
        g_autofree guint8 *block = g_malloc (piece.length);
        memset (block, piece.data[0], piece.length);
        h2k_disk_pwrite (disk, piece.offset, piece.length, block, NULL);
      }
    else if (piece.length)
      h2k_disk_pwrite (disk, piece.offset, piece.length, piece.data, NULL);
  return disk;
}

/* Ask about the first extents of the volume, and about those at some other places. */
static inline void
volume_ask (H2kDisk *disk, guint8 options)
{
  g_autoptr (H2kUsage) usage = h2k_usage_open (disk, options & 1, NULL);
  guint64 at = 0;

  for (guint n = 0; usage && at < VOLUME_SIZE && n < 500; n++)
    {
      H2kExtent extent;
      if (!usage->ops->used (usage, at, &extent, NULL))
        break;
      g_assert (extent.offset == at && extent.length > 0);
      g_assert (extent.length <= VOLUME_SIZE - at);
      at += extent.length;
      if (n > 400)
        at += options * 65536u;
    }
}

/* Look at the file PATH: at what it is and has, at its start and its end. FALSE: it cannot be. */
static inline gboolean
volume_look_at (H2kFs *fs, const char *path, H2kStat *st)
{
  g_autoptr (GPtrArray) attributes = fs->ops->list_xattr (fs, path, NULL);
  g_autofree char *target = fs->ops->readlink (fs, path, NULL);
  g_autoptr (GBytes) start = NULL;
  g_autoptr (GBytes) end = NULL;

  for (guint i = 0; attributes && i < attributes->len && i < 20; i++)
    {
      GBytes *value = fs->ops->get_xattr (fs, path, attributes->pdata[i], NULL);
      g_clear_pointer (&value, g_bytes_unref);
    }
  g_assert (!target || strlen (target) <= 65536);
  if (!fs->ops->lstat (fs, path, st, NULL))
    return FALSE;
  start = fs->ops->read (fs, path, 0, 100000, NULL);
  end = fs->ops->read (fs, path, st->size - MIN (st->size, 5000), 100000, NULL);
  if (S_ISREG (st->mode) && start)
    g_assert (g_bytes_get_size (start) == MIN (st->size, 100000));
  return TRUE;
}

/* Look at BUDGET of the files in the directory PATH and below. */
static inline void
volume_look (H2kFs *fs, const char *path, guint depth, guint *budget)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, NULL);

  for (guint i = 0; names && i < names->len && *budget; i++)
    {
      g_autofree char *sub
          = g_strconcat (g_str_equal (path, "/") ? "" : path, "/", names->pdata[i], NULL);
      H2kStat st;

      --*budget;
      g_assert (*(const char *)names->pdata[i] && !strchr (names->pdata[i], '/'));
      if (volume_look_at (fs, sub, &st) && depth < 4)
        volume_look (fs, sub, depth + 1, budget);
    }
}
