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
#include "fs/ntfs-node.h"
#include "fs/ntfs-private.h"

#define MAX_ROOT 65536

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

  if (!index->blocks || depth > H2K_NTFS_MAX_DEPTH || number > G_MAXINT64 / index->unit
      || !g_hash_table_add (index->seen, g_memdup2 (&number, sizeof number)))
    return FALSE;
  offset = number * index->unit;
  if (offset > (guint64)index->blocks->data_size
      || index->block_size > (guint64)index->blocks->data_size - offset)
    return FALSE;
  block = g_malloc (index->block_size);
  return h2k_ntfs_pread (index->blocks, offset, index->block_size, block)
         && h2k_ntfs_fix (block, index->block_size, "INDX") && h2k_le64 (block + 16) == number
         && check_node (index, block + H2K_NTFS_BLOCK_NODE, index->block_size - H2K_NTFS_BLOCK_NODE,
                        depth);
}

static gboolean
check_node (Index *index, const guint8 *data, gsize size, guint depth)
{
  NtfsNode node;
  const guint8 *entry;
  guint length;

  if (!h2k_ntfs_node_open (&node, data, size, index->of_names))
    return FALSE;
  do
    if (!h2k_ntfs_node_next (&node, &entry, &length)
        || (node.children && !check_block (index, h2k_le64 (entry + length - 8), depth + 1)))
      return FALSE;
  while (!(h2k_le16 (entry + 12) & H2K_NTFS_ENTRY_IS_END));
  return TRUE;
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

  if (!root || root->data_size < H2K_NTFS_ROOT_NODE + H2K_NTFS_NODE_HEADER
      || root->data_size > MAX_ROOT)
    return FALSE;
  size = (gsize)root->data_size;
  value = g_malloc (size);
  if (!h2k_ntfs_pread (root, 0, size, value) || !check_order (value))
    return FALSE;
  blocks = ntfs_attr_open (ni, AT_INDEX_ALLOCATION, name, name_length);
  seen = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  index = (Index){blocks, h2k_le32 (value + 8), 0, h2k_le32 (value) == 0x30, seen};
  if (index.block_size < 512 || index.block_size > H2K_NTFS_MAX_BLOCK
      || (index.block_size & (index.block_size - 1)))
    return FALSE;
  index.unit = h2k_ntfs_block_unit (index.block_size, ni->vol->cluster_size);
  return check_node (&index, value + H2K_NTFS_ROOT_NODE, size - H2K_NTFS_ROOT_NODE, 0);
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
