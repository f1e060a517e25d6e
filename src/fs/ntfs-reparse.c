/* ntfs-reparse.c - reparse points: links, and files that are not what they seem.
 *
 * The structures are those of [MS-FSCC] 2.1.2.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-private.h"

#define MAX_REPARSE 16384u /* bytes, with the header */
#define HEADER 8u          /* le32 tag, le16 length of what follows, le16 reserved */

/* Offsets in what follows: le16 each, in bytes, counted from where the names begin. */
enum
{
  NAME_OFFSET = 0, /* the substitute name, which counts; the print name is for people */
  NAME_LENGTH = 2,
  PRINT_OFFSET = 4,
  PRINT_LENGTH = 6,
  JUNCTION_NAMES = 8,
  SYMLINK_FLAGS = 8, /* le32 */
  SYMLINK_NAMES = 12,
  SYMLINK_RELATIVE = 1,
};

static const struct
{
  guint32 tag;
  NtfsReparse kind;
} tags[] = {
    {0xa0000003, NTFS_REPARSE_LINK}, /* junctions and mount points */
    {0xa000000c, NTFS_REPARSE_LINK}, /* symbolic links */
    {0xa000001d, NTFS_REPARSE_LINK}, /* those of Linux on Windows */
    {0x80000017, NTFS_REPARSE_WOF},
};

GBytes *
h2k_ntfs_read_reparse (ntfs_inode *ni)
{
  g_autoptr (ntfs_attr) na = ntfs_attr_open (ni, AT_REPARSE_POINT, AT_UNNAMED, 0);
  g_autofree guint8 *data = NULL;
  gsize size;

  if (!na || na->data_size < HEADER || na->data_size > MAX_REPARSE)
    return NULL;
  size = (gsize)na->data_size;
  data = g_malloc (size);
  return h2k_ntfs_pread (na, 0, size, data) ? g_bytes_new_take (g_steal_pointer (&data), size)
                                            : NULL;
}

/* The same: its content, LENGTH bytes without the header, and its tag. */
static guint8 *
read_point (ntfs_inode *ni, guint32 *tag, gsize *length)
{
  g_autoptr (GBytes) point = h2k_ntfs_read_reparse (ni);
  gsize size;
  const guint8 *data = point ? g_bytes_get_data (point, &size) : NULL;

  if (!data)
    return NULL;
  *tag = h2k_le32 (data);
  *length = MIN (size - HEADER, h2k_le16 (data + 4));
  return *length ? g_memdup2 (data + HEADER, *length) : g_malloc0 (1);
}

NtfsReparse
h2k_ntfs_reparse_kind (ntfs_inode *ni)
{
  g_autofree guint8 *data = NULL;
  guint32 tag;
  gsize length;

  if (!(ni->flags & FILE_ATTR_REPARSE_POINT))
    return NTFS_REPARSE_NONE;
  data = read_point (ni, &tag, &length);
  for (gsize i = 0; data && i < G_N_ELEMENTS (tags); i++)
    if (tags[i].tag == tag)
      return tags[i].kind;
  /* Directories that a cloud's client watches, and the like, have their names where they seem. */
  return h2k_ntfs_is_dir (ni) ? NTFS_REPARSE_NONE : NTFS_REPARSE_OTHER;
}

/* --- links ------------------------------------------------------------------------------------ */

/* TARGET as a path: of another place in the kernel's name space only drives are known, and which
 * one is which only Windows knows: it is taken for this volume. */
static char *
to_path (const char *target, gboolean relative)
{
  const char *p = target;
  char *path;

  if (!relative)
    {
      if (!g_str_has_prefix (p, "\\??\\") || !g_ascii_isalpha (p[4]) || p[5] != ':'
          || (p[6] && p[6] != '\\'))
        return g_strdup (target);
      p += 6;
    }
  path = g_strdelimit (g_strdup (*p ? p : "\\"), "\\", '/');
  return path;
}

char *
h2k_ntfs_link_target (ntfs_inode *ni)
{
  g_autofree guint8 *data = NULL;
  g_autofree char *target = NULL;
  gsize length, names, offset, size;
  gboolean relative;
  guint32 tag;

  data = read_point (ni, &tag, &length);
  if (data && tag == 0xa000001d && length > 4)
    return g_strndup ((const char *)data + 4, length - 4);
  names = tag == 0xa000000c ? SYMLINK_NAMES : JUNCTION_NAMES;
  if (!data || length < names)
    return NULL;
  relative = tag == 0xa000000c && (h2k_le32 (data + SYMLINK_FLAGS) & SYMLINK_RELATIVE);
  offset = names + h2k_le16 (data + NAME_OFFSET);
  size = h2k_le16 (data + NAME_LENGTH);
  if (offset > length || size > length - offset || size < 2)
    return NULL;
  target = g_malloc (size / 2 * 3 + 1);
  {
    /* The names may lie at an odd offset. */
    g_autofree ntfschar *units = g_malloc (size);
    memcpy (units, data + offset, size);
    h2k_ntfs_to_utf8 (units, size / 2, target);
  }
  return *target ? to_path (target, relative) : NULL;
}

static void
put16 (guint8 *p, gsize value)
{
  guint16 le = GUINT16_TO_LE ((guint16)value);

  memcpy (p, &le, sizeof le);
}

GBytes *
h2k_ntfs_make_link (const char *target)
{
  ntfschar units[2048];
  int n = h2k_ntfs_to_utf16 (target, strlen (target), units, G_N_ELEMENTS (units));
  gsize size = (gsize)MAX (n, 0) * sizeof *units, total = HEADER + SYMLINK_NAMES + 2 * size;
  guint8 *data;
  guint32 tag = GUINT32_TO_LE (0xa000000c);

  if (n <= 0)
    return NULL;
  for (int i = 0; i < n; i++)
    if (h2k_le16 (units + i) == '/')
      units[i] = GUINT16_TO_LE ('\\');
  data = g_malloc0 (total);
  memcpy (data, &tag, sizeof tag);
  put16 (data + 4, total - HEADER);
  put16 (data + HEADER + NAME_LENGTH, size);
  put16 (data + HEADER + PRINT_OFFSET, size);
  put16 (data + HEADER + PRINT_LENGTH, size);
  /* A path that begins with a backslash starts at the volume's root, and is called relative, too.
   */
  data[HEADER + SYMLINK_FLAGS] = SYMLINK_RELATIVE;
  memcpy (data + HEADER + SYMLINK_NAMES, units, size);
  memcpy (data + HEADER + SYMLINK_NAMES + size, units, size);
  return g_bytes_new_take (data, total);
}
