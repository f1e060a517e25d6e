/* ext-check.c - whether an ext2, ext3 or ext4 filesystem is consistent: what `e2fsck -fn` finds.
 *
 * Documentation/filesystems/ext4 of the Linux kernel; what counts as a fault is what e2fsck 1.47
 * takes for one, so that a filesystem which it calls clean is clean here, too. Not looked at are
 * the usage that quotas have recorded, large attributes in inodes of their own, the policies of
 * encrypted files, and whether names in different blocks of one directory are the same.
 *
 * This file has the groups, the bitmaps and the number of links; ext-check.h says where the rest
 * is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ext-check.h"
#include "fs/bits.h"

/* Clusters of a window: 64 MiB of bits. */
#define WINDOW (G_GUINT64_CONSTANT (1) << 29)
/* Filesystems whose tables have more inodes than these in use are not checked. */
#define MAX_INODES (G_GUINT64_CONSTANT (1) << 28)

/* --- what the files share --------------------------------------------------------------------- */

gboolean
h2k_ext_check_failure (ExtCheck *c, errcode_t err, GError **error, const char *format, ...)
{
  g_autoptr (GError) cause = h2k_ext_io_take_error (c->fs);
  g_autofree char *what = NULL;
  va_list args;

  va_start (args, format);
  what = g_strdup_vprintf (format, args);
  va_end (args);
  if (cause)
    {
      g_propagate_prefixed_error (error, g_steal_pointer (&cause),
                                  "%s: %s: ", c->ext->base.volume->name, what);
      return FALSE;
    }
  h2k_fs_check_corrupt (c->result, "%s: %s", what, error_message (err));
  return TRUE;
}

gboolean
h2k_ext_check_read (ExtCheck *c, guint64 block, guint8 *data, gboolean *ok, GError **error)
{
  errcode_t err = io_channel_read_blk64 (c->fs->io, block, 1, data);

  *ok = !err;
  return !err
         || h2k_ext_check_failure (c, err, error, "block %" G_GUINT64_FORMAT " cannot be read",
                                   block);
}

guint8 *
h2k_ext_check_inode (ExtCheck *c, guint32 ino)
{
  guint32 per_group = c->fs->super->s_inodes_per_group;

  if (ino == 0 || ino > c->fs->super->s_inodes_count || !c->inodes[(ino - 1) / per_group])
    return NULL;
  return &c->inodes[(ino - 1) / per_group][(ino - 1) % per_group];
}

void
h2k_ext_check_link (ExtCheck *c, guint32 ino)
{
  guint8 *state = h2k_ext_check_inode (c, ino);
  guint links = state ? *state >> EXT_CHECK_LINKS_SHIFT : EXT_CHECK_UNCOUNTED;
  gpointer key = GUINT_TO_POINTER (ino);

  if (links == EXT_CHECK_UNCOUNTED)
    return;
  if (links > 0 && links < EXT_CHECK_UNCOUNTED)
    {
      *state = (guint8)(*state - (1 << EXT_CHECK_LINKS_SHIFT));
      return;
    }
  /* No more are expected: what is too much goes to where there is room for it. */
  *state |= EXT_CHECK_LINKS;
  g_hash_table_insert (c->links, key,
                       GINT_TO_POINTER (GPOINTER_TO_INT (g_hash_table_lookup (c->links, key)) - 1));
}

/* --- the filesystem's own blocks -------------------------------------------------------------- */

typedef void (*OwnFunc) (ExtCheck *c, guint64 first, guint64 count, gpointer data);

/* The superblock, the descriptors and the tables of a group. */
static void
own_blocks_of (ExtCheck *c, dgrp_t group, OwnFunc func, gpointer data)
{
  ext2_filsys fs = c->fs;
  blk64_t super = 0, old_desc = 0, new_desc = 0;
  blk_t used = 0;

  if (ext2fs_super_and_bgd_loc2 (fs, group, &super, &old_desc, &new_desc, &used) == 0)
    {
      if (super || group == 0)
        func (c, super, 1, data);
      if (group == 0 && super && c->bits)
        func (c, 0, 1, data);
      if (old_desc)
        func (c, old_desc,
              ext2fs_has_feature_meta_bg (fs->super)
                  ? MIN (fs->super->s_first_meta_bg, (guint64)fs->desc_blocks)
                  : fs->desc_blocks + (guint64)fs->super->s_reserved_gdt_blocks,
              data);
      if (new_desc)
        func (c, new_desc, 1, data);
    }
  func (c, ext2fs_block_bitmap_loc (fs, group), 1, data);
  func (c, ext2fs_inode_bitmap_loc (fs, group), 1, data);
  func (c, ext2fs_inode_table_loc (fs, group), fs->inode_blocks_per_group, data);
}

static void
own_blocks (ExtCheck *c, OwnFunc func, gpointer data)
{
  const struct ext2_super_block *super = c->fs->super;

  for (dgrp_t g = 0; g < c->fs->group_desc_count; g++)
    own_blocks_of (c, g, func, data);
  if ((super->s_feature_incompat & EXT4_FEATURE_INCOMPAT_MMP)
      && h2k_ext_check_is_inside (c, super->s_mmp_block))
    func (c, super->s_mmp_block, 1, data);
}

typedef struct
{
  guint64 first, count;
  gboolean found;
} Search;

static void
compare_own (ExtCheck *c, guint64 first, guint64 count, gpointer data)
{
  Search *search = data;

  if (first < search->first + search->count && search->first < first + count)
    search->found = TRUE;
}

static void
report_double (ExtCheck *c, guint64 cluster, guint64 count, guint32 ino)
{
  Search search = {MAX (cluster << c->bits, c->first), count << c->bits, FALSE};

  /* The search is long: only for what is printed. */
  if (c->result->findings->len < H2K_FS_CHECK_FINDINGS)
    own_blocks (c, compare_own, &search);
  h2k_fs_check_corrupt (c->result,
                        "inode %u: %" G_GUINT64_FORMAT " block%s from %" G_GUINT64_FORMAT
                        " on %s taken already, by %s",
                        ino, search.count, search.count == 1 ? "" : "s", search.first,
                        search.count == 1 ? "is" : "are",
                        search.found ? "the filesystem itself"
                                     : "another file or twice by this one");
}

gboolean
h2k_ext_check_take (ExtCheck *c, guint64 first, guint64 count, guint32 ino)
{
  guint64 from = MAX (first, c->from), to = MIN (first + count, c->to);
  guint64 doubles = 0, where = 0;

  c->claimed += count << c->bits;
  if (c->claimed > 2 * c->end + 65536)
    c->stop = TRUE;
  for (guint64 i = from; i < to; i++)
    {
      guint8 *byte = &c->taken[(i - c->from) / 8];
      guint bit = (guint)((i - c->from) % 8);

      if (bit == 0 && to - i >= 8 && *byte == 0)
        {
          *byte = 0xff;
          i += 7;
          continue;
        }
      if (*byte >> bit & 1 && doubles++ == 0)
        where = i;
      *byte |= (guint8)(1 << bit);
    }
  if (doubles && ino)
    report_double (c, where, doubles, ino);
  return doubles == 0;
}

/* In clusters of several blocks the tables of different groups may meet. */
static void
take_own (ExtCheck *c, guint64 first, guint64 count, gpointer data)
{
  guint64 from = first >> c->bits;

  if (count == 0)
    return;
  if (!h2k_ext_check_take (c, from, ((first + count - 1) >> c->bits) - from + 1, 0) && !c->bits)
    h2k_fs_check_corrupt (c->result,
                          "the tables of the block groups overlap at block %" G_GUINT64_FORMAT,
                          first);
}

/* --- groups ----------------------------------------------------------------------------------- */

/* What must hold before libext2fs is let loose on the tables of inodes. */
static void
check_descriptors (ExtCheck *c)
{
  ext2_filsys fs = c->fs;
  guint64 inodes = 0, bits = (guint64)fs->blocksize * 8;

  if (fs->super->s_clusters_per_group % 8 || fs->super->s_clusters_per_group > bits
      || fs->super->s_inodes_per_group % 8 || fs->super->s_inodes_per_group > bits)
    {
      h2k_fs_check_corrupt (c->result, "block groups of %u blocks and %u inodes are impossible",
                            fs->super->s_blocks_per_group, fs->super->s_inodes_per_group);
      c->stop = TRUE;
      return;
    }
  for (dgrp_t g = 0; g < fs->group_desc_count; g++)
    {
      guint32 unused = ext2fs_bg_itable_unused (fs, g), per_group = fs->super->s_inodes_per_group;

      if (!ext2fs_group_desc_csum_verify (fs, g))
        h2k_fs_check_corrupt (c->result, "the descriptor of block group %u has a wrong checksum",
                              g);
      if (!ext2fs_has_group_desc_csum (fs))
        unused = 0;
      else if (ext2fs_bg_flags_test (fs, g, EXT2_BG_INODE_UNINIT))
        continue;
      if (unused > per_group)
        {
          h2k_fs_check_corrupt (c->result, "block group %u: %u of %u inodes are said to be unused",
                                g, unused, per_group);
          c->stop = TRUE;
          continue;
        }
      inodes += per_group;
      if (inodes <= MAX_INODES)
        c->inodes[g] = g_malloc0 (per_group);
    }
  if (inodes <= MAX_INODES || c->stop)
    return;
  c->stop = TRUE;
  c->result->checked = FALSE;
}

/* Whether all bits from FIRST to END are set. */
static gboolean
is_padded (const guint8 *bits, guint64 first, guint64 end)
{
  return h2k_bit_run (bits, first, end, TRUE) == end - first;
}

static guint64
count_bits (const guint8 *bits, guint64 n)
{
  guint64 count = 0, i = 0;

  for (; i + 8 <= n; i += 8)
    count += (guint)__builtin_popcount (bits[i / 8]);
  for (; i < n; i++)
    count += h2k_bit_get (bits, i);
  return count;
}

typedef struct
{
  const char *what;       /* "block" */
  guint64 first;          /* its number of the bit 0 */
  guint64 n;              /* bits */
  guint bits;             /* log2 of how many of WHAT a bit stands for */
  const guint8 *found;    /* bits: what is in use */
  const guint8 *recorded; /* a block: what the bitmap says */
} Comparison;

/* One finding a run of bits in which the bitmap of GROUP is wrong. */
static void
compare_bitmaps (ExtCheck *c, dgrp_t group, const Comparison *m)
{
  guint64 i = 0;

  while (i < m->n)
    {
      guint64 start = i;
      gboolean used;

      if (i % 8 == 0 && m->n - i >= 8 && m->found[i / 8] == m->recorded[i / 8])
        {
          i += 8;
          continue;
        }
      used = h2k_bit_get (m->found, i);
      while (i < m->n && h2k_bit_get (m->found, i) != h2k_bit_get (m->recorded, i)
             && (gboolean)h2k_bit_get (m->found, i) == used)
        i++;
      if (i == start)
        i++;
      else if (used)
        h2k_fs_check_corrupt (c->result,
                              "%" G_GUINT64_FORMAT " %s%s from %" G_GUINT64_FORMAT
                              " on %s in use, but free in "
                              "the bitmap of group %u",
                              (i - start) << m->bits, m->what,
                              (i - start) << m->bits == 1 ? "" : "s", m->first + (start << m->bits),
                              (i - start) << m->bits == 1 ? "is" : "are", group);
      else
        h2k_fs_check_note (c->result,
                           "%" G_GUINT64_FORMAT " %s%s from %" G_GUINT64_FORMAT
                           " on: marked in the bitmap of group %u, but used by nothing",
                           (i - start) << m->bits, m->what, (i - start) << m->bits == 1 ? "" : "s",
                           m->first + (start << m->bits), group);
    }
  if (!is_padded (m->recorded, m->n, (guint64)c->fs->blocksize * 8))
    h2k_fs_check_note (c->result, "the %s bitmap of group %u: what lies behind its end is not set",
                       m->what, group);
}

/* A sum in a descriptor. After a replay it is only untidy. */
static void
compare_sum (ExtCheck *c, dgrp_t group, const char *what, guint64 recorded, guint64 counted)
{
  void (*say) (H2kFsCheck *, const char *, ...)
      = c->replayed ? h2k_fs_check_note : h2k_fs_check_corrupt;

  if (recorded != counted)
    say (c->result,
         "block group %u has %" G_GUINT64_FORMAT " %s, its descriptor says %" G_GUINT64_FORMAT,
         group, counted, what, recorded);
}

/* A group without a bitmap has nothing in use but the filesystem's own: the sum tells. */
static gboolean
check_block_bitmap (ExtCheck *c, dgrp_t group, guint64 *free_clusters, GError **error)
{
  ext2_filsys fs = c->fs;
  guint64 start = ext2fs_group_first_block2 (fs, group);
  Comparison m = {.what = "block",
                  .first = start,
                  .n = EXT2FS_NUM_B2C (fs, (guint64)ext2fs_group_blocks_count (fs, group)),
                  .bits = c->bits,
                  .found = c->taken + ((start >> c->bits) - c->from) / 8,
                  .recorded = c->block};
  gboolean ok;

  *free_clusters = m.n - count_bits (m.found, m.n);
  compare_sum (c, group, "free blocks", ext2fs_bg_free_blocks_count (fs, group), *free_clusters);
  if (ext2fs_has_group_desc_csum (fs) && ext2fs_bg_flags_test (fs, group, EXT2_BG_BLOCK_UNINIT))
    return TRUE;
  if (!h2k_ext_check_read (c, ext2fs_block_bitmap_loc (fs, group), c->block, &ok, error))
    return FALSE;
  if (!ok)
    return TRUE;
  if (!ext2fs_block_bitmap_csum_verify (fs, group, (char *)c->block,
                                        (int)(fs->super->s_clusters_per_group / 8)))
    h2k_fs_check_corrupt (c->result, "the block bitmap of group %u has a wrong checksum", group);
  compare_bitmaps (c, group, &m);
  return TRUE;
}

/* Groups are whole numbers of bytes in the window: libext2fs demands it of clusters a group. */
static gboolean
check_block_bitmaps (ExtCheck *c, guint64 *sum, GError **error)
{
  dgrp_t group = (dgrp_t)((c->from << c->bits) / c->fs->super->s_blocks_per_group);

  for (; group < c->fs->group_desc_count; group++)
    {
      guint64 free_clusters;
      if ((ext2fs_group_first_block2 (c->fs, group) >> c->bits) >= c->to)
        break;
      if (!check_block_bitmap (c, group, &free_clusters, error))
        return FALSE;
      *sum += free_clusters;
    }
  return !h2k_is_cancelled (c->cancellable, error);
}

/* Bits for the inodes of GROUP that are in use. */
static guint8 *
inode_bits (ExtCheck *c, dgrp_t group, guint64 *n_dirs)
{
  guint32 n = c->fs->super->s_inodes_per_group;
  guint8 *bits = g_malloc0 (n / 8 + 1);

  *n_dirs = 0;
  for (guint32 i = 0; c->inodes[group] && i < n; i++)
    if (c->inodes[group][i] & EXT_CHECK_USED)
      {
        bits[i / 8] |= (guint8)(1 << (i % 8));
        *n_dirs += (c->inodes[group][i] & EXT_CHECK_TYPE) == EXT2_FT_DIR;
      }
  return bits;
}

static gboolean
check_inode_bitmap (ExtCheck *c, dgrp_t group, guint64 *free_inodes, GError **error)
{
  ext2_filsys fs = c->fs;
  guint32 n = fs->super->s_inodes_per_group;
  guint64 n_dirs;
  g_autofree guint8 *found = inode_bits (c, group, &n_dirs);
  Comparison m = {.what = "inode",
                  .first = (guint64)group * n + 1,
                  .n = n,
                  .found = found,
                  .recorded = c->block};
  gboolean ok;

  *free_inodes = n - count_bits (found, n);
  compare_sum (c, group, "free inodes", ext2fs_bg_free_inodes_count (fs, group), *free_inodes);
  compare_sum (c, group, "directories", ext2fs_bg_used_dirs_count (fs, group), n_dirs);
  if (ext2fs_has_group_desc_csum (fs) && ext2fs_bg_flags_test (fs, group, EXT2_BG_INODE_UNINIT))
    return TRUE;
  if (!h2k_ext_check_read (c, ext2fs_inode_bitmap_loc (fs, group), c->block, &ok, error))
    return FALSE;
  if (!ok)
    return TRUE;
  if (!ext2fs_inode_bitmap_csum_verify (fs, group, (char *)c->block, (int)(n / 8)))
    h2k_fs_check_corrupt (c->result, "the inode bitmap of group %u has a wrong checksum", group);
  compare_bitmaps (c, group, &m);
  return TRUE;
}

/* The superblock's own sums: the kernel adds up the groups' when it mounts. */
static gboolean
check_inode_bitmaps (ExtCheck *c, guint64 free_clusters, GError **error)
{
  struct ext2_super_block *super = c->fs->super;
  guint64 free_inodes = 0;

  for (dgrp_t g = 0; g < c->fs->group_desc_count; g++)
    {
      guint64 n;
      if (!check_inode_bitmap (c, g, &n, error))
        return FALSE;
      free_inodes += n;
    }
  if (ext2fs_free_blocks_count (super) != free_clusters << c->bits)
    h2k_fs_check_note (c->result,
                       "the superblock counts %" G_GUINT64_FORMAT
                       " free blocks, there are %" G_GUINT64_FORMAT,
                       (guint64)ext2fs_free_blocks_count (super), free_clusters << c->bits);
  if (super->s_free_inodes_count != free_inodes)
    h2k_fs_check_note (c->result,
                       "the superblock counts %u free inodes, there are %" G_GUINT64_FORMAT,
                       super->s_free_inodes_count, free_inodes);
  return TRUE;
}

/* --- links ------------------------------------------------------------------------------------ */

static void
check_links_of (ExtCheck *c, guint32 ino, guint8 state)
{
  guint links = state >> EXT_CHECK_LINKS_SHIFT;
  int left = (int)links;

  if (!(state & EXT_CHECK_USED) || links == EXT_CHECK_UNCOUNTED)
    return;
  if (links == EXT_CHECK_MANY)
    left = GPOINTER_TO_INT (g_hash_table_lookup (c->links, GUINT_TO_POINTER (ino)));
  if (left > 0)
    h2k_fs_check_corrupt (c->result, "inode %u counts %d link%s more than lead to it", ino, left,
                          left == 1 ? "" : "s");
  else if (left < 0)
    h2k_fs_check_corrupt (c->result, "inode %u counts %d link%s less than lead to it", ino, -left,
                          left == -1 ? "" : "s");
}

static void
check_links (ExtCheck *c)
{
  guint32 per_group = c->fs->super->s_inodes_per_group;

  for (dgrp_t g = 0; g < c->fs->group_desc_count; g++)
    for (guint32 i = 0; c->inodes[g] && i < per_group; i++)
      if (c->inodes[g][i])
        check_links_of (c, g * per_group + i + 1, c->inodes[g][i]);
}

/* --- all -------------------------------------------------------------------------------------- */

/* An attribute's block may have many owners: it is taken once they are all known. */
static void
take_attribute_blocks (ExtCheck *c)
{
  GHashTableIter iter;
  gpointer key, value;

  g_hash_table_iter_init (&iter, c->attribute_blocks);
  while (g_hash_table_iter_next (&iter, &key, &value))
    {
      const ExtCheckShared *shared = value;
      guint64 block = GPOINTER_TO_SIZE (key);

      h2k_ext_check_take (c, block >> c->bits, 1, shared->ino);
      if (c->report && shared->owners != shared->recorded && shared->recorded)
        h2k_fs_check_corrupt (c->result,
                              "block %" G_GUINT64_FORMAT " of extended attributes has %u owners, "
                              "but counts %u",
                              block, shared->owners, shared->recorded);
    }
}

/* The clusters of a window are those of whole groups. */
static gboolean
check_windows (ExtCheck *c, GError **error)
{
  guint64 per_group = c->fs->super->s_clusters_per_group;
  guint64 start = c->first >> c->bits, end = ((c->end - 1) >> c->bits) + 1;
  guint64 window = MIN (MAX (WINDOW / per_group, 1) * per_group, end - start);
  guint64 sum = 0;

  c->taken = g_try_malloc (window / 8 + 1);
  if (!c->taken)
    {
      c->result->checked = FALSE;
      c->stop = TRUE;
    }
  c->report = TRUE;
  for (c->from = start; c->from < end && !c->stop; c->from += window, c->report = FALSE)
    {
      c->to = MIN (c->from + window, end);
      c->claimed = c->tree_blocks = 0;
      memset (c->taken, 0, window / 8 + 1);
      own_blocks (c, take_own, NULL);
      if (!h2k_ext_check_inodes (c, error))
        return FALSE;
      take_attribute_blocks (c);
      if (!c->stop && !check_block_bitmaps (c, &sum, error))
        return FALSE;
    }
  if (c->stop)
    return TRUE;
  return check_inode_bitmaps (c, sum, error);
}

static gboolean
check_all (ExtCheck *c, GError **error)
{
  check_descriptors (c);
  if (!c->stop && !check_windows (c, error))
    return FALSE;
  if (c->stop && c->result->checked)
    h2k_fs_check_corrupt (c->result, "the damage is such that nothing more could be looked at");
  if (c->stop)
    return TRUE;
  if (!h2k_ext_check_dirs (c, error))
    return FALSE;
  if (!c->stop)
    check_links (c);
  return TRUE;
}

static void
check_begin (ExtCheck *c)
{
  ext2_filsys fs = c->fs;

  c->first = fs->super->s_first_data_block;
  c->end = ext2fs_blocks_count (fs->super);
  c->bits = (guint)fs->cluster_ratio_bits;
  c->inodes = g_new0 (guint8 *, fs->group_desc_count);
  c->links = g_hash_table_new (NULL, NULL);
  c->attribute_blocks = g_hash_table_new_full (NULL, NULL, NULL, g_free);
  c->dirs = g_array_new (FALSE, TRUE, sizeof (ExtCheckDir));
  c->block = g_malloc (fs->blocksize);
  for (guint i = 0; i < EXT_CHECK_DEPTH; i++)
    c->levels[i] = g_malloc (fs->blocksize);
}

static void
check_end (ExtCheck *c)
{
  for (dgrp_t g = 0; g < c->fs->group_desc_count; g++)
    g_free (c->inodes[g]);
  for (guint i = 0; i < EXT_CHECK_DEPTH; i++)
    g_free (c->levels[i]);
  g_free (c->inodes);
  g_free (c->taken);
  g_free (c->block);
  g_hash_table_unref (c->links);
  g_hash_table_unref (c->attribute_blocks);
  g_array_unref (c->dirs);
}

gboolean
h2k_ext_check (H2kFs *fs, H2kFsCheck *check, GCancellable *cancellable, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kFs) view = h2k_ext_open_read_only (fs->volume, &fs->id, &local);
  ExtCheck c = {.ext = (ExtFs *)view, .result = check, .cancellable = cancellable};
  gboolean ok;

  if (!view && g_error_matches (local, H2K_ERROR, H2K_ERROR_FILESYSTEM))
    {
      h2k_fs_check_corrupt (check, "%s", local->message);
      return TRUE;
    }
  if (!view)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  c.fs = c.ext->fs;
  c.replayed = fs->journal_replayed || view->journal_replayed;
  h2k_ext_io_begin (c.fs, G_MAXUINT64);
  check_begin (&c);
  ok = check_all (&c, error);
  check_end (&c);
  return ok;
}
