/* ntfs-index.c - looks at an index before libntfs-3g changes it.
 *
 * What only reads an index in libntfs-3g checks each entry; what changes one believes that the
 * entries of a node end where they should, and that nodes are no circle. So the whole tree is
 * checked before it is changed for the first time.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/corrupt.h"
#include "fs/ntfs-attr.h"
#include "fs/ntfs-private.h"

#define MAX_DEPTH 16u
#define MAX_BLOCK 65536u
#define MAX_ROOT 65536

/* The root: le32 0 type of what is indexed, le32 4 how it is sorted, le32 8 bytes of a block, 16 a
 * node. A block: "INDX", le64 16 its number, 24 a node. A node: le32 0 where its entries begin,
 * le32 4 where they end, le32 8 where its place ends, u8 12 whether it has children. */
enum
{
  ROOT_NODE = 16,
  BLOCK_NODE = 24,
  NODE_HEADER = 16,

  /* An entry: le16 8 its length, le16 10 of its key, le16 12 flags, 16 the key; the number of the
   * child in the last 8 bytes. */
  ENTRY_HEADER = 16,
  HAS_CHILD = 1,
  IS_END = 2,
};

typedef struct
{
  ntfs_attr *blocks; /* NULL: there are none */
  guint block_size;
  guint unit; /* bytes that a block's number counts */
  gboolean of_names;
  GHashTable *seen; /* guint64: blocks */
} Index;

static gboolean check_node (Index *index, const guint8 *node, gsize size, guint depth);

static gboolean
check_block (Index *index, guint64 number, guint depth)
{
  g_autofree guint8 *block = NULL;
  guint64 offset;

  if (!index->blocks || depth > MAX_DEPTH || number > G_MAXINT64 / index->unit
      || !g_hash_table_add (index->seen, g_memdup2 (&number, sizeof number)))
    return FALSE;
  offset = number * index->unit;
  if (offset > (guint64)index->blocks->data_size
      || index->block_size > (guint64)index->blocks->data_size - offset)
    return FALSE;
  block = g_malloc (index->block_size);
  return h2k_ntfs_pread (index->blocks, offset, index->block_size, block)
         && h2k_ntfs_fix (block, index->block_size, "INDX") && h2k_le64 (block + 16) == number
         && check_node (index, block + BLOCK_NODE, index->block_size - BLOCK_NODE, depth);
}

/* Whether the entry at P, which has LEFT bytes at most, makes sense; *LENGTH gets its bytes. */
static gboolean
check_entry (const Index *index, const guint8 *p, gsize left, gboolean children, guint *length)
{
  guint key, flags, room;

  if (left < ENTRY_HEADER)
    return FALSE;
  *length = h2k_le16 (p + 8);
  key = h2k_le16 (p + 10);
  flags = h2k_le16 (p + 12);
  room = ENTRY_HEADER + (flags & HAS_CHILD ? 8 : 0);
  if (*length < room || *length % 8 || *length > left || ((flags & HAS_CHILD) != 0) != children)
    return FALSE;
  if (flags & IS_END)
    return TRUE;
  room = *length - room;
  if (key > room)
    return FALSE;
  if (index->of_names)
    return key >= sizeof (FILE_NAME_ATTR)
           && key - sizeof (FILE_NAME_ATTR) >= p[ENTRY_HEADER + 64] * sizeof (ntfschar);
  return h2k_le16 (p) >= ENTRY_HEADER && h2k_le16 (p) <= *length
         && h2k_le16 (p + 2) <= *length - h2k_le16 (p);
}

static gboolean
check_node (Index *index, const guint8 *node, gsize size, guint depth)
{
  gsize at, end;
  gboolean children;

  if (size < NODE_HEADER)
    return FALSE;
  at = h2k_le32 (node);
  end = h2k_le32 (node + 4);
  children = node[12] & 1;
  if (at < NODE_HEADER || at % 8 || end > h2k_le32 (node + 8) || h2k_le32 (node + 8) > size)
    return FALSE;
  for (;;)
    {
      const guint8 *entry = node + at;
      guint length;
      if (at > end || !check_entry (index, entry, end - at, children, &length))
        return FALSE;
      if (children && !check_block (index, h2k_le64 (entry + length - 8), depth + 1))
        return FALSE;
      if (h2k_le16 (entry + 12) & IS_END)
        return at + length == end;
      at += length;
    }
}

/* Names are sorted by rule 1; what is no attribute (type 0) by one of those from 16 to 19. */
static gboolean
check_order (const guint8 *root)
{
  guint32 type = h2k_le32 (root), rule = h2k_le32 (root + 4);

  return type == 0x30 ? rule == 1 : type == 0 && rule >= 16 && rule <= 19;
}

static gboolean
check_index (ntfs_inode *ni, ntfschar *name, guint32 name_length)
{
  g_autoptr (ntfs_attr) root = ntfs_attr_open (ni, AT_INDEX_ROOT, name, name_length);
  g_autoptr (ntfs_attr) blocks = NULL;
  g_autoptr (GHashTable) seen = NULL;
  g_autofree guint8 *value = NULL;
  Index index;
  gsize size;

  if (!root || root->data_size < ROOT_NODE + NODE_HEADER || root->data_size > MAX_ROOT)
    return FALSE;
  size = (gsize)root->data_size;
  value = g_malloc (size);
  if (!h2k_ntfs_pread (root, 0, size, value) || !check_order (value))
    return FALSE;
  blocks = ntfs_attr_open (ni, AT_INDEX_ALLOCATION, name, name_length);
  seen = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  index = (Index){blocks, h2k_le32 (value + 8), 0, h2k_le32 (value) == 0x30, seen};
  if (index.block_size < 512 || index.block_size > MAX_BLOCK
      || (index.block_size & (index.block_size - 1)))
    return FALSE;
  index.unit = MIN (ni->vol->cluster_size, 512);
  if (ni->vol->cluster_size <= index.block_size)
    index.unit = ni->vol->cluster_size;
  return check_node (&index, value + ROOT_NODE, size - ROOT_NODE, 0);
}

/* Whether NI has an index that can be trusted. */
static gboolean
trust_index (NtfsFs *ntfs, ntfs_inode *ni, ntfschar *name, guint32 name_length)
{
  if (check_index (ni, name, name_length))
    return TRUE;
  g_info ("%s: an index of the file %" G_GUINT64_FORMAT " is corrupt", ntfs->base.volume->name,
          ni->mft_no);
  errno = EIO;
  return FALSE;
}

/* --- files that are to be changed ------------------------------------------------------------- */

static gboolean
trust_entries (NtfsFs *ntfs, ntfs_inode *dir)
{
  if (g_hash_table_contains (ntfs->trusted, &dir->mft_no))
    return TRUE;
  errno = EIO;
  if (!h2k_ntfs_is_dir (dir) || !trust_index (ntfs, dir, NTFS_INDEX_I30, 4))
    return FALSE;
  return g_hash_table_add (ntfs->trusted, g_memdup2 (&dir->mft_no, sizeof dir->mft_no));
}

/* The directories that have NI's names, by their numbers. */
static GArray *
list_parents (ntfs_inode *ni)
{
  g_autoptr (ntfs_attr_search_ctx) ctx = ntfs_attr_get_search_ctx (ni, NULL);
  g_autoptr (GArray) parents = g_array_new (FALSE, FALSE, sizeof (guint64));

  while (ctx
         && ntfs_attr_lookup (AT_FILE_NAME, AT_UNNAMED, 0, CASE_SENSITIVE, 0, NULL, 0, ctx) == 0)
    {
      const guint8 *name = (guint8 *)ctx->attr + le16_to_cpu (ctx->attr->value_offset);
      guint64 parent = MREF (h2k_le64 (name));
      g_array_append_val (parents, parent);
    }
  return g_steal_pointer (&parents);
}

/* What leads to an entry of an index must be there as a whole: if not, libntfs-3g writes a block
 * that it has not looked for. */
static gboolean
has_keys (ntfs_inode *ni)
{
  static const struct
  {
    ATTR_TYPES type;
    gsize size;
  } keys[] = {{AT_REPARSE_POINT, 8}, {AT_OBJECT_ID, 16}};
  guint8 key[16];

  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++)
    {
      g_autoptr (ntfs_attr) na = ntfs_attr_open (ni, keys[i].type, AT_UNNAMED, 0);
      if (!na && errno == ENOENT)
        continue;
      if (na && na->data_size < (s64)keys[i].size)
        errno = EIO;
      if (!na || na->data_size < (s64)keys[i].size || !h2k_ntfs_pread (na, 0, keys[i].size, key))
        return FALSE;
    }
  return TRUE;
}

gboolean
h2k_ntfs_trust_parents (NtfsFs *ntfs, ntfs_inode *ni)
{
  g_autoptr (GArray) parents = list_parents (ni);

  if (!has_keys (ni))
    return FALSE;

  for (guint i = 0; i < parents->len; i++)
    {
      guint64 parent = g_array_index (parents, guint64, i);
      g_autoptr (ntfs_inode) dir = NULL;
      if (parent == ni->mft_no || g_hash_table_contains (ntfs->trusted, &parent))
        continue;
      dir = h2k_ntfs_open_record (ntfs, parent);
      if (!dir || !trust_entries (ntfs, dir))
        return FALSE;
    }
  return TRUE;
}

gboolean
h2k_ntfs_trust_dir (NtfsFs *ntfs, ntfs_inode *dir)
{
  return trust_entries (ntfs, dir) && h2k_ntfs_trust_parents (ntfs, dir);
}

/* --- the filesystem's own --------------------------------------------------------------------- */

#define LE16(c) const_cpu_to_le16 (c)

static ntfschar reparse_index[] = {LE16 ('$'), LE16 ('R'), 0};
static ntfschar object_index[] = {LE16 ('$'), LE16 ('O'), 0};

/* The file NAME of $Extend may be missing. */
static gboolean
trust_extended (NtfsFs *ntfs, const char *name, ntfschar *index)
{
  g_autoptr (ntfs_inode) extend = h2k_ntfs_open_record (ntfs, FILE_Extend), ni = NULL;
  NtfsName units;
  guint64 ref;

  units.n = h2k_ntfs_to_utf16 (name, strlen (name), units.units, H2K_NTFS_MAX_UNITS);
  if (!extend)
    return FALSE;
  if (!h2k_ntfs_find_in (extend, &units, &ref))
    return errno == ENOENT;
  ni = h2k_ntfs_open_record (ntfs, ref);
  return ni && trust_index (ntfs, ni, index, 2);
}

gboolean
h2k_ntfs_trust_own (NtfsFs *ntfs)
{
  ntfs_volume *vol = ntfs->vol;

  if (ntfs->trusts_own || vol->major_ver < 3)
    return TRUE;
  errno = EIO;
  ntfs->trusts_own = vol->secure_ni && h2k_ntfs_trust (vol->secure_ni)
                     && trust_index (ntfs, vol->secure_ni, NTFS_INDEX_SII, 4)
                     && trust_index (ntfs, vol->secure_ni, NTFS_INDEX_SDH, 4)
                     && trust_extended (ntfs, "$Reparse", reparse_index)
                     && trust_extended (ntfs, "$ObjId", object_index);
  return ntfs->trusts_own;
}
