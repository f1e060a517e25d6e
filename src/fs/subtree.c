/* subtree.c - a folder of a filesystem as if it were one: a subvolume, or what a bind mount shows.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/fs.h"

typedef struct
{
  H2kFs base;
  H2kFs *whole; /* not owned */
  char *root;   /* "/@", without a slash at the end */
} Subtree;

/* PATH on the whole filesystem. The caller's. */
static char *
on_whole (const Subtree *sub, const char *path)
{
  return g_strconcat (sub->root, strcmp (path, "/") == 0 ? "" : path, NULL);
}

#define WHOLE(fs) (((Subtree *)(fs))->whole)

static gboolean
subtree_lstat (H2kFs *fs, const char *path, H2kStat *st, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->lstat (WHOLE (fs), p, st, error);
}

static GPtrArray *
subtree_list (H2kFs *fs, const char *path, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->list (WHOLE (fs), p, error);
}

static char *
subtree_readlink (H2kFs *fs, const char *path, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->readlink (WHOLE (fs), p, error);
}

static GBytes *
subtree_read (H2kFs *fs, const char *path, guint64 offset, gsize length, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->read (WHOLE (fs), p, offset, length, error);
}

static gboolean
subtree_places (H2kFs *fs, const char *path, guint64 start, guint64 end, GArray *places)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->places (WHOLE (fs), p, start, end, places);
}

static gboolean
subtree_write (H2kFs *fs, const char *path, guint64 offset, gconstpointer data, gsize length,
               GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->write (WHOLE (fs), p, offset, data, length, error);
}

static gboolean
subtree_truncate (H2kFs *fs, const char *path, guint64 size, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->truncate (WHOLE (fs), p, size, error);
}

static gboolean
subtree_create (H2kFs *fs, const char *path, guint32 mode, guint32 uid, guint32 gid,
                const char *target, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->create (WHOLE (fs), p, mode, uid, gid, target, error);
}

static gboolean
subtree_remove (H2kFs *fs, const char *path, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->remove (WHOLE (fs), p, error);
}

static gboolean
subtree_rename (H2kFs *fs, const char *from, const char *to, GError **error)
{
  g_autofree char *a = on_whole ((Subtree *)fs, from);
  g_autofree char *b = on_whole ((Subtree *)fs, to);

  return WHOLE (fs)->ops->rename (WHOLE (fs), a, b, error);
}

static gboolean
subtree_set_stat (H2kFs *fs, const char *path, const H2kStat *st, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->set_stat (WHOLE (fs), p, st, error);
}

static GPtrArray *
subtree_list_xattr (H2kFs *fs, const char *path, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->list_xattr (WHOLE (fs), p, error);
}

static GBytes *
subtree_get_xattr (H2kFs *fs, const char *path, const char *name, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->get_xattr (WHOLE (fs), p, name, error);
}

static gboolean
subtree_set_xattr (H2kFs *fs, const char *path, const char *name, GBytes *value, GError **error)
{
  g_autofree char *p = on_whole ((Subtree *)fs, path);

  return WHOLE (fs)->ops->set_xattr (WHOLE (fs), p, name, value, error);
}

static guint64
subtree_free_space (H2kFs *fs)
{
  return WHOLE (fs)->ops->free_space (WHOLE (fs));
}

static gboolean
subtree_flush (H2kFs *fs, GError **error)
{
  return WHOLE (fs)->ops->flush (WHOLE (fs), error);
}

static void
subtree_close (H2kFs *fs)
{
  Subtree *sub = (Subtree *)fs;

  g_free (sub->root);
  g_free ((gpointer)sub->base.ops);
  g_free (sub);
}

/* What the whole one's driver leaves out, a part of it cannot do either. */
static H2kFsOps *
make_ops (const H2kFsOps *whole)
{
  H2kFsOps *ops = g_new0 (H2kFsOps, 1);

  *ops = (H2kFsOps){
      .name = whole->name,
      .lstat = subtree_lstat,
      .list = subtree_list,
      .readlink = subtree_readlink,
      .read = subtree_read,
      .places = whole->places ? subtree_places : NULL,
      .write = whole->write ? subtree_write : NULL,
      .truncate = whole->truncate ? subtree_truncate : NULL,
      .create = whole->create ? subtree_create : NULL,
      .remove = whole->remove ? subtree_remove : NULL,
      .rename = whole->rename ? subtree_rename : NULL,
      .set_stat = whole->set_stat ? subtree_set_stat : NULL,
      .list_xattr = whole->list_xattr ? subtree_list_xattr : NULL,
      .get_xattr = whole->get_xattr ? subtree_get_xattr : NULL,
      .set_xattr = whole->set_xattr ? subtree_set_xattr : NULL,
      .free_space = whole->free_space ? subtree_free_space : NULL,
      .flush = whole->flush ? subtree_flush : NULL,
      .close = subtree_close,
  };
  return ops;
}

H2kFs *
h2k_fs_whole (H2kFs *fs, const char **root)
{
  gboolean is_part = fs->ops->close == subtree_close;

  *root = is_part ? ((Subtree *)fs)->root : "";
  return is_part ? WHOLE (fs) : fs;
}

H2kFs *
h2k_fs_subtree_new (H2kFs *whole, const char *root)
{
  const char *above;
  H2kFs *top = h2k_fs_whole (whole, &above);
  Subtree *sub = g_new0 (Subtree, 1);
  g_autofree char *below = g_canonicalize_filename (root, "/");
  g_autofree char *path = g_strconcat (above, strcmp (below, "/") == 0 ? "" : below, NULL);

  h2k_fs_init (&sub->base, make_ops (whole->ops), whole->volume, &whole->id);
  sub->base.writable = whole->writable;
  sub->base.frozen = g_strdup (whole->frozen);
  sub->whole = top;
  sub->root = g_steal_pointer (&path);
  return &sub->base;
}
