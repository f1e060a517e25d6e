/* xfs-attr.c - extended attributes of XFS: inside the inode, or in leaves of a tree of hashes, with
 * large values in blocks of their own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/xfs.h"

/* The most that Linux takes. */
#define MAX_VALUE 65536u
/* Of one inode; leaves can be linked to a ring. */
#define MAX_LEAVES 16384u
#define MAX_ATTRIBUTES (1u << 18)
#define MAX_LEVELS 5u

enum
{
  ATTR_LOCAL = 0x01, /* the value is in the leaf */
  ATTR_ROOT = 0x02,
  ATTR_SECURE = 0x04,
  ATTR_PARENT = 0x08, /* says where the file is: not the user's */
  ATTR_INCOMPLETE = 0x80,

  /* struct xfs_da_blkinfo, and what version 5 has behind it */
  DA_FORW = 0,
  DA_MAGIC = 8,
  DA_CRC = 12,
  DA_UUID = 32,

  REMOTE_HEADER = 56, /* of version 5, in each block of a value */
  REMOTE_BYTES = 8,
  REMOTE_CRC = 12,
  REMOTE_UUID = 16,
};

/* What is looked for, or listed. */
typedef struct
{
  XfsFs *xfs;
  const XfsInode *inode;
  XfsFork fork;
  GPtrArray *names; /* char *; NULL: NAME is looked for */
  const char *name;
  GBytes *value; /* found */
  guint seen;
} Search;

/* An attribute as it lies there. */
typedef struct
{
  guint flags;
  const guint8 *name;
  gsize name_length;
  const guint8 *value; /* NULL: in the block VALUE_BLOCK and behind it */
  gsize value_length;
  guint32 value_block;
} Attribute;

static const char *
prefix_of (guint flags)
{
  return flags & ATTR_SECURE ? "security." : flags & ATTR_ROOT ? "trusted." : "user.";
}

/* --- values in blocks of their own ------------------------------------------------------------ */

static gboolean
read_remote_block (Search *search, guint64 at, gsize length, guint8 *block, const guint8 **data,
                   gsize *n, GError **error)
{
  const XfsFs *xfs = search->xfs;
  gsize size = (gsize)1 << xfs->layout.block_log, header = xfs->layout.crc ? REMOTE_HEADER : 0;

  if (!h2k_xfs_read_fork (search->xfs, search->inode, &search->fork, TRUE, at, size, block, error))
    return FALSE;
  *n = MIN (length, size - header);
  *data = block + header;
  return !xfs->layout.crc
         || (memcmp (block, "XARM", 4) == 0 && h2k_be32 (block + REMOTE_BYTES) == *n
             && h2k_xfs_block_is_good (xfs, search->inode, block, size, REMOTE_CRC, REMOTE_UUID))
         || h2k_xfs_corrupt (xfs, error, "an attribute's value is damaged");
}

static gboolean
read_remote (Search *search, const Attribute *attribute, GError **error)
{
  guint log = search->xfs->layout.block_log;
  g_autofree guint8 *block = g_malloc ((gsize)1 << log);
  g_autofree guint8 *value = g_malloc (MAX (attribute->value_length, 1));
  guint64 at = attribute->value_block;

  for (gsize done = 0, n; done < attribute->value_length; done += n, at++)
    {
      const guint8 *data;
      if (!read_remote_block (search, at << log, attribute->value_length - done, block, &data, &n,
                              error))
        return FALSE;
      memcpy (value + done, data, n);
    }
  search->value = g_bytes_new_take (g_steal_pointer (&value), attribute->value_length);
  return TRUE;
}

/* --- one attribute ---------------------------------------------------------------------------- */

static gboolean
take (Search *search, const Attribute *attribute, GError **error)
{
  g_autofree char *name = NULL;

  if (search->seen++ >= MAX_ATTRIBUTES)
    return h2k_xfs_corrupt (search->xfs, error, "an inode has too many attributes");
  if ((attribute->flags & (ATTR_PARENT | ATTR_INCOMPLETE)) || attribute->name_length == 0
      || memchr (attribute->name, 0, attribute->name_length))
    return TRUE;
  name = g_strdup_printf ("%s%.*s", prefix_of (attribute->flags), (int)attribute->name_length,
                          (const char *)attribute->name);
  if (search->names)
    {
      g_ptr_array_add (search->names, g_steal_pointer (&name));
      return TRUE;
    }
  if (search->value || strcmp (name, search->name) != 0)
    return TRUE;
  if (attribute->value_length > MAX_VALUE)
    return h2k_xfs_corrupt (search->xfs, error, "an attribute is too large");
  if (!attribute->value)
    return read_remote (search, attribute, error);
  search->value = g_bytes_new (attribute->value, attribute->value_length);
  return TRUE;
}

/* Inside the inode: the size of it all (2 bytes), how many, nothing; for each the lengths of name
 * and value, flags, the name, the value. */
static gboolean
search_short (Search *search, GError **error)
{
  const guint8 *p = search->fork.bytes, *end = p + search->fork.size;
  guint n = search->fork.size >= 4 ? p[2] : 0;

  if (search->fork.size < 4 || h2k_be16 (p) > search->fork.size)
    return h2k_xfs_corrupt (search->xfs, error, "an inode's attributes are cut off");
  end = p + MAX (h2k_be16 (p), 4);
  p += 4;
  for (guint i = 0; i < n; i++)
    {
      Attribute attribute;
      if (end - p < 3 || end - p < 3 + p[0] + p[1])
        return h2k_xfs_corrupt (search->xfs, error, "an inode's attributes are cut off");
      attribute = (Attribute){p[2], p + 3, p[0], p + 3 + p[0], p[1], 0};
      if (!take (search, &attribute, error))
        return FALSE;
      p += 3 + p[0] + p[1];
    }
  return TRUE;
}

/* --- leaves ----------------------------------------------------------------------------------- */

/* Parse the name at AT of a leaf. */
static gboolean
parse_leaf_name (const guint8 *leaf, gsize size, gsize at, guint flags, Attribute *attribute)
{
  gboolean local = flags & ATTR_LOCAL;
  gsize header = local ? 3 : 9;

  if (at > size || size - at < header)
    return FALSE;
  *attribute = (Attribute){.flags = flags, .name = leaf + at + header};
  attribute->name_length = leaf[at + header - 1];
  if (local)
    {
      attribute->value_length = h2k_be16 (leaf + at);
      attribute->value = attribute->name + attribute->name_length;
    }
  else
    {
      attribute->value_block = h2k_be32 (leaf + at);
      attribute->value_length = h2k_be32 (leaf + at + 4);
    }
  return attribute->name_length + (local ? attribute->value_length : 0) <= size - at - header;
}

/* The entries of a leaf: a hash of 4 bytes, where the name is, flags. */
static gboolean
search_leaf (Search *search, const guint8 *leaf, gsize size, GError **error)
{
  gsize header = search->xfs->layout.crc ? 80 : 32;
  guint count = h2k_be16 (leaf + (search->xfs->layout.crc ? 56 : 12));

  if (count > (size - header) / 8)
    return h2k_xfs_corrupt (search->xfs, error, "an inode's attributes are damaged");
  for (guint i = 0; i < count; i++)
    {
      const guint8 *entry = leaf + header + (gsize)i * 8;
      Attribute attribute;
      if (!parse_leaf_name (leaf, size, h2k_be16 (entry + 4), entry[6], &attribute))
        return h2k_xfs_corrupt (search->xfs, error, "an inode's attributes are damaged");
      if (!take (search, &attribute, error))
        return FALSE;
    }
  return TRUE;
}

/* Read a block of the tree; MAGIC gets its kind. */
static gboolean
read_block (Search *search, guint32 number, guint8 *block, guint *magic, GError **error)
{
  guint log = search->xfs->layout.block_log;
  gsize size = (gsize)1 << log;

  if (!h2k_xfs_read_fork (search->xfs, search->inode, &search->fork, TRUE, (guint64)number << log,
                          size, block, error))
    return FALSE;
  *magic = h2k_be16 (block + DA_MAGIC);
  return h2k_xfs_block_is_good (search->xfs, search->inode, block, size, DA_CRC, DA_UUID)
         || h2k_xfs_corrupt (search->xfs, error, "an inode's attributes are damaged");
}

/* Go to the first leaf, and from there to the next ones. */
static gboolean
search_leaves (Search *search, GError **error)
{
  gboolean crc = search->xfs->layout.crc;
  guint leaf_magic = crc ? 0x3bee : 0xfbee, node_magic = crc ? 0x3ebe : 0xfebe, magic;
  gsize size = (gsize)1 << search->xfs->layout.block_log;
  g_autofree guint8 *block = g_malloc (size);

  if (!read_block (search, 0, block, &magic, error))
    return FALSE;
  for (guint level = 0; magic == node_magic && level < MAX_LEVELS; level++)
    if (!read_block (search, h2k_be32 (block + (crc ? 64 : 16) + 4), block, &magic, error))
      return FALSE;
  for (guint n = 0; n < MAX_LEAVES && magic == leaf_magic; n++)
    {
      guint32 next = h2k_be32 (block + DA_FORW);
      if (!search_leaf (search, block, size, error))
        return FALSE;
      if (next == 0 || search->value)
        return TRUE;
      if (!read_block (search, next, block, &magic, error))
        return FALSE;
    }
  return h2k_xfs_corrupt (search->xfs, error, "an inode's attributes are damaged");
}

static gboolean
search_all (Search *search, GError **error)
{
  if (!h2k_xfs_fork (search->xfs, search->inode, XFS_ATTRIBUTES, &search->fork))
    return TRUE;
  if (search->fork.format == XFS_LOCAL)
    return search_short (search, error);
  /* An inode that had some once. */
  return (search->fork.format == XFS_EXTENTS && search->fork.n_extents == 0)
         || search_leaves (search, error);
}

GPtrArray *
h2k_xfs_list_attributes (XfsFs *xfs, const XfsInode *inode, GError **error)
{
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  Search search = {.xfs = xfs, .inode = inode, .names = names};

  return search_all (&search, error) ? g_steal_pointer (&names) : NULL;
}

GBytes *
h2k_xfs_get_attribute (XfsFs *xfs, const XfsInode *inode, const char *name, GError **error)
{
  Search search = {.xfs = xfs, .inode = inode, .name = name};

  if (search_all (&search, error))
    return search.value;
  g_clear_pointer (&search.value, g_bytes_unref);
  return NULL;
}
