/* qcow2-snapshots.c - the table of internal snapshots of a qcow2 image.
 *
 * Follows docs/interop/qcow2.txt of QEMU, "Snapshots", and its limits on their number and size.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/qcow2.h"

#define set_corrupt(error, ...) h2k_set_corrupt (error, "qcow2", __VA_ARGS__)

#define MAX_SNAPSHOTS 65536
#define MAX_TABLE_BYTES ((guint64)64 << 20)
#define MAX_EXTRA 1024

/* All numbers are big-endian. Followed by the extra data, the id and the name, without NULs, and by
 * padding to a multiple of 8. */
typedef struct __attribute__ ((packed))
{
  guint8 l1_table_offset[8]; /* 0 */
  guint8 l1_size[4];         /* 8: entries */
  guint8 id_size[2];         /* 12 */
  guint8 name_size[2];       /* 14 */
  guint8 date_sec[4];        /* 16 */
  guint8 date_nsec[4];       /* 20 */
  guint8 vm_clock_nsec[8];   /* 24 */
  guint8 vm_state_size[4];   /* 32 */
  guint8 extra_size[4];      /* 36 */
} SnapshotHeader;
G_STATIC_ASSERT (sizeof (SnapshotHeader) == 40);

/* How much of it there is depends on who wrote it. */
typedef struct __attribute__ ((packed))
{
  guint8 vm_state_size[8]; /* 0 */
  guint8 disk_size[8];     /* 8 */
  guint8 icount[8];        /* 16: -1 when not recorded */
} SnapshotExtra;
G_STATIC_ASSERT (sizeof (SnapshotExtra) == 24);

static void
free_snapshot (gpointer data)
{
  H2kQcow2Snapshot *snapshot = data;

  g_free (snapshot->info.id);
  g_free (snapshot->info.name);
  g_free (snapshot);
}

static H2kQcow2Snapshot *
parse_entry (const H2kQcow2Header *header, const SnapshotHeader *raw, const guint8 *rest,
             guint32 extra_size)
{
  H2kQcow2Snapshot *s = g_new0 (H2kQcow2Snapshot, 1);
  guint16 id_size = h2k_be16 (raw->id_size), name_size = h2k_be16 (raw->name_size);
  SnapshotExtra extra = {0};

  memcpy (&extra, rest, MIN (extra_size, sizeof extra));
  s->l1_offset = h2k_be64 (raw->l1_table_offset);
  s->l1_entries = h2k_be32 (raw->l1_size);
  s->info.id = g_strndup ((const char *)rest + extra_size, id_size);
  s->info.name = g_strndup ((const char *)rest + extra_size + id_size, name_size);
  s->info.date_sec = h2k_be32 (raw->date_sec);
  s->info.date_nsec = h2k_be32 (raw->date_nsec);
  s->info.vm_clock_nsec = h2k_be64 (raw->vm_clock_nsec);
  s->info.vm_state_size
      = extra_size >= 8 ? h2k_be64 (extra.vm_state_size) : h2k_be32 (raw->vm_state_size);
  s->info.disk_size = extra_size >= 16 ? h2k_be64 (extra.disk_size) : header->size;
  s->info.icount = extra_size >= 24 ? (gint64)h2k_be64 (extra.icount) : -1;
  return s;
}

/* The entry at *OFFSET, which moves behind it. */
static H2kQcow2Snapshot *
read_entry (H2kFile *file, const H2kQcow2Header *header, guint64 *offset, GError **error)
{
  g_autofree guint8 *rest = NULL;
  SnapshotHeader raw;
  guint32 extra_size;
  gsize bytes;

  if (!h2k_file_pread (file, *offset, sizeof raw, &raw, error))
    return NULL;
  extra_size = h2k_be32 (raw.extra_size);
  if (extra_size > MAX_EXTRA)
    {
      set_corrupt (error, file->name, "a snapshot has %u bytes of extra data", extra_size);
      return NULL;
    }
  bytes = extra_size + h2k_be16 (raw.id_size) + h2k_be16 (raw.name_size);
  rest = g_malloc (bytes + 1);
  if (!h2k_file_pread (file, *offset + sizeof raw, bytes, rest, error))
    return NULL;
  *offset += (sizeof raw + bytes + 7) / 8 * 8;
  return parse_entry (header, &raw, rest, extra_size);
}

GPtrArray *
h2k_qcow2_snapshots (H2kFile *file, const H2kQcow2Header *header, guint64 *end, GError **error)
{
  g_autoptr (GPtrArray) snapshots = g_ptr_array_new_with_free_func (free_snapshot);
  guint64 start = header->snapshots_offset, at = start;

  if (header->snapshots > MAX_SNAPSHOTS
      || (header->snapshots && (start == 0 || start % ((guint64)1 << header->cluster_bits))))
    {
      set_corrupt (error, file->name,
                   "the table of %u snapshots at %" G_GUINT64_FORMAT " is impossible",
                   header->snapshots, start);
      return NULL;
    }
  for (guint32 i = 0; i < header->snapshots; i++)
    {
      H2kQcow2Snapshot *snapshot = read_entry (file, header, &at, error);

      if (!snapshot)
        {
          g_prefix_error (error, "the table of snapshots cannot be read: ");
          return NULL;
        }
      g_ptr_array_add (snapshots, snapshot);
      if (at - start > MAX_TABLE_BYTES)
        {
          set_corrupt (error, file->name, "the table of snapshots is too long");
          return NULL;
        }
    }
  if (end)
    *end = at;
  return g_steal_pointer (&snapshots);
}
