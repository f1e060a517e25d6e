/* diff-guest.c - which files differ between two states of a guest's disks.
 *
 * Volumes are compared with those of the same name, mounted or not, so that nothing that differs is
 * passed over; files are named by where the guest mounts their volume.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/diff.h"

#define OVERLAY_MEMORY ((guint64)64 << 20)
#define LVM_HEADER ((guint64)1 << 20) /* LVM2 notes each change of the group in there */

/* One of the states. */
typedef struct
{
  GPtrArray *disks;  /* H2kDisk *: overlays, into which journals are replayed */
  H2kGuest *guest;   /* NULL: there is none that could be opened */
  H2kStack *stack;   /* the guest's, or... */
  H2kStack *own;     /* ... this one */
  GPtrArray *opened; /* H2kFs * without a guest */
  GPtrArray *fs;     /* H2kFs *, one for each of the stack's nodes; NULL: none */
} Side;

typedef struct
{
  Side sides[2];
  GPtrArray *marks;
  const H2kGuestDifferences *funcs;
  GCancellable *cancellable;
} Comparison;

static void
side_clear (Side *side)
{
  g_clear_pointer (&side->opened, g_ptr_array_unref);
  g_clear_pointer (&side->guest, h2k_guest_free);
  g_clear_pointer (&side->own, h2k_stack_free);
  g_clear_pointer (&side->fs, g_ptr_array_unref);
  g_clear_pointer (&side->disks, g_ptr_array_unref);
}

/* --- opening ---------------------------------------------------------------------------------- */

static gboolean
open_volumes (Side *side, const H2kGuestOptions *options, GError **error)
{
  side->own = side->stack = h2k_stack_new (side->disks, options->keys, error);
  for (guint i = 0; side->stack && i < side->stack->nodes->len; i++)
    {
      const H2kNode *node = side->stack->nodes->pdata[i];
      H2kDisk *disk = node->volume ? node->volume->disk : NULL;
      H2kFs *fs = disk && *node->id.type && !node->is_member ? h2k_fs_open (disk, NULL) : NULL;

      g_ptr_array_add (side->fs, fs);
      if (fs)
        g_ptr_array_add (side->opened, fs);
    }
  return side->stack != NULL;
}

/* A state without a system, as after an accident in the VM, is compared, too. */
static gboolean
open_side (Comparison *c, guint i, GPtrArray *disks, const H2kGuestOptions *options, GError **error)
{
  Side *side = &c->sides[i];
  g_autoptr (GError) why = NULL;
  g_autofree char *note = NULL;

  side->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  side->opened = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_fs_free);
  side->fs = g_ptr_array_new ();
  for (guint d = 0; d < disks->len; d++)
    {
      g_autoptr (H2kDisk) marked = h2k_marked_disk_new (disks->pdata[d], c->marks->pdata[d]);
      g_ptr_array_add (side->disks, h2k_overlay_new (marked, options->temp_dir, OVERLAY_MEMORY));
    }
  side->guest = h2k_guest_open (side->disks, options, &why);
  if (!side->guest)
    {
      note = g_strdup_printf ("the %s state has no system that could be opened: %s",
                              i ? "second" : "first", why->message);
      c->funcs->note (note, c->funcs->data);
      return open_volumes (side, options, error);
    }
  side->stack = side->guest->stack;
  for (guint v = 0; v < side->guest->volumes->len; v++)
    g_ptr_array_add (side->fs, ((const H2kGuestVolume *)side->guest->volumes->pdata[v])->fs);
  return TRUE;
}

/* --- which volume is which -------------------------------------------------------------------- */

static gboolean
find_node (const Side *side, const H2kNode *like, guint *number)
{
  for (guint i = 0; i < side->stack->nodes->len; i++)
    {
      const H2kNode *node = side->stack->nodes->pdata[i];
      if (node->kind == like->kind && strcmp (node->name, like->name) == 0)
        {
          *number = i;
          return TRUE;
        }
    }
  return FALSE;
}

static H2kDisk *
disk_of (const H2kNode *node)
{
  return node->volume ? node->volume->disk : NULL;
}

/* Bytes of DISK, up to LIMIT, that lie on something that differs. */
static guint64
marked_bytes (H2kDisk *disk, guint64 limit)
{
  guint64 bytes = 0;
  H2kExtent extent;

  limit = MIN (limit, disk->size);
  for (guint64 at = 0; at < limit; at += extent.length)
    {
      if (!h2k_disk_extent (disk, at, limit, &extent, NULL))
        return limit;
      if (extent.kind != H2K_EXTENT_UNALLOCATED)
        bytes += extent.length;
    }
  return bytes;
}

/* Whether NODE's extents do not tell what those below do: of what is encrypted every byte has to be
 * read, and thin volumes have a map of their own. */
static gboolean
is_opaque (const H2kNode *node)
{
  if (!disk_of (node) || node->kind == H2K_NODE_LUKS || node->kind == H2K_NODE_BITLOCKER
      || (node->type && strstr (node->type, "thin")))
    return TRUE;
  for (guint i = 0; i < node->parents->len; i++)
    if (is_opaque (node->parents->pdata[i]))
      return TRUE;
  return FALSE;
}

/* Bytes that differ on NODE, or (BELOW) on what it lies on. */
static guint64
node_bytes (const H2kNode *node, gboolean *below)
{
  guint64 bytes = 0;
  gboolean ignored;

  *below = is_opaque (node);
  if (!*below)
    return marked_bytes (disk_of (node), G_MAXUINT64);
  for (guint i = 0; i < node->parents->len; i++)
    bytes += node_bytes (node->parents->pdata[i], &ignored);
  if (!node->parents->len && disk_of (node))
    bytes = marked_bytes (disk_of (node), G_MAXUINT64);
  return bytes;
}

/* Whether a physical volume of STACK says something else now about where its group's volumes are.
 */
static gboolean
lvm_has_changed (const H2kStack *stack)
{
  for (guint i = 0; i < stack->nodes->len; i++)
    {
      const H2kNode *node = stack->nodes->pdata[i];
      if (strcmp (node->id.type, "LVM2_member") == 0
          && (!disk_of (node) || marked_bytes (disk_of (node), LVM_HEADER)))
        return TRUE;
    }
  return FALSE;
}

/* Whether A and B, of the same name, are made of the same blocks. */
static gboolean
is_at_same_place (const Comparison *c, const H2kNode *a, const H2kNode *b)
{
  if (is_opaque (a) || is_opaque (b) || disk_of (a)->size != disk_of (b)->size
      || a->parents->len != b->parents->len || g_strcmp0 (a->uuid, b->uuid) != 0)
    return FALSE;
  if (!a->parents->len && (a->disk != b->disk || a->volume->offset != b->volume->offset))
    return FALSE;
  if (a->kind == H2K_NODE_LV
      && (lvm_has_changed (c->sides[0].stack) || lvm_has_changed (c->sides[1].stack)))
    return FALSE;
  if (a->kind == H2K_NODE_PARTITION && a->volume->offset != b->volume->offset)
    return FALSE;
  for (guint i = 0; i < a->parents->len; i++)
    if (strcmp (((const H2kNode *)a->parents->pdata[i])->name,
                ((const H2kNode *)b->parents->pdata[i])->name)
            != 0
        || !is_at_same_place (c, a->parents->pdata[i], b->parents->pdata[i]))
      return FALSE;
  return TRUE;
}

/* --- what of a volume is mounted where -------------------------------------------------------- */

typedef struct
{
  char *root;   /* in the filesystem, "" for all of it */
  char *prefix; /* of the paths */
} Part;

static void
part_free (gpointer data)
{
  Part *part = data;

  g_free (part->root);
  g_free (part->prefix);
  g_free (part);
}

static gboolean
has_root (const GPtrArray *parts, const char *root)
{
  for (guint i = 0; i < parts->len; i++)
    if (strcmp (((const Part *)parts->pdata[i])->root, root) == 0)
      return TRUE;
  return FALSE;
}

static void
add_part (GPtrArray *parts, const char *root, const char *prefix)
{
  Part *part;

  if (has_root (parts, root))
    return;
  part = g_new0 (Part, 1);
  part->root = g_strdup (root);
  part->prefix = g_strdup (prefix);
  g_ptr_array_add (parts, part);
}

static gboolean
is_subvolume (H2kFs *fs, const char *root)
{
  g_autoptr (GPtrArray) all = fs->ops->subvolumes && *root ? fs->ops->subvolumes (fs, NULL) : NULL;

  for (guint i = 0; all && i < all->len; i++)
    if (strcmp (((const H2kSubvolume *)all->pdata[i])->path, root) == 0)
      return TRUE;
  return FALSE;
}

/* What SIDE mounts of FS. Folders that are bound elsewhere have their names already. */
static void
add_mounts (const Side *side, H2kFs *fs, GPtrArray *parts)
{
  const char *path, *root;
  H2kFs *mounted;

  for (guint i = 0; side->guest && (mounted = h2k_tree_get_mount (side->guest->tree, i, &path));
       i++)
    if (h2k_fs_whole (mounted, &root) == fs && (!*root || is_subvolume (fs, root)))
      add_part (parts, root, strcmp (path, "/") == 0 ? "" : path);
}

/* The rest has no path but that on its volume. */
static GPtrArray *
parts_of (Comparison *c, H2kFs *const *fs, const char *name)
{
  GPtrArray *parts = g_ptr_array_new_with_free_func (part_free);
  g_autofree char *prefix = g_strconcat (name, ":", NULL);

  for (guint i = 2; i-- > 0;)
    if (fs[i])
      add_mounts (&c->sides[i], fs[i], parts);
  add_part (parts, "", prefix);
  return parts;
}

/* --- comparing -------------------------------------------------------------------------------- */

/* ROOT of FS, NULL where it has none. */
static H2kFs *
open_root (H2kFs *fs, const char *root)
{
  H2kStat st;

  if (!fs || (*root && !fs->ops->lstat (fs, root, &st, NULL)))
    return NULL;
  return h2k_fs_subtree_new (fs, *root ? root : "/");
}

/* The other parts' roots, from ROOT. */
static GHashTable *
roots_below (const GPtrArray *parts, const char *root)
{
  GHashTable *below = g_hash_table_new (g_str_hash, g_str_equal);
  gsize n = strlen (root);

  for (guint i = 0; i < parts->len; i++)
    {
      const char *other = ((const Part *)parts->pdata[i])->root;
      if (strncmp (other, root, n) == 0 && other[n] == '/')
        g_hash_table_add (below, (gpointer)(other + n));
    }
  return below;
}

static gboolean
compare_files (Comparison *c, H2kFs *const *fs, gboolean marked, const char *name, GError **error)
{
  g_autoptr (GPtrArray) parts = parts_of (c, fs, name);
  gboolean ok = TRUE;

  c->funcs->set_volume (name, c->funcs->data);
  for (guint i = 0; i < parts->len && ok; i++)
    {
      const Part *part = parts->pdata[i];
      g_autoptr (GHashTable) skip = roots_below (parts, part->root);
      g_autoptr (H2kFs) before = open_root (fs[0], part->root);
      g_autoptr (H2kFs) after = open_root (fs[1], part->root);
      const H2kTreePair pair
          = {.fs = {before, after}, .prefix = part->prefix, .skip = skip, .marked = marked};

      if (before || after)
        ok = h2k_trees_compare (&pair, c->funcs->file, c->funcs->data, c->cancellable, error);
    }
  return ok;
}

static char *
why_not_opened (const H2kNode *node)
{
  g_autoptr (GError) why = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (node->problem)
    return g_strdup (node->problem->message);
  if (!disk_of (node))
    return g_strdup ("it cannot be read");
  fs = h2k_fs_open (disk_of (node), &why);
  return g_strdup (why ? why->message : "it was not opened");
}

static gboolean
tell_volume (Comparison *c, const H2kNode *node, GError **error)
{
  g_autofree char *why = *node->id.type || node->problem ? why_not_opened (node) : NULL;
  H2kVolumeDifference difference = {.name = node->name, .type = node->id.type, .why = why};

  difference.bytes = node_bytes (node, &difference.is_below);
  if (!difference.bytes || c->funcs->volume (&difference, c->funcs->data))
    return TRUE;
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_CANCELLED, "interrupted");
  return FALSE;
}

/* What lies on NODE is compared instead. */
static gboolean
has_others_on_it (const H2kStack *stack, const H2kNode *node)
{
  for (guint i = 0; i < stack->nodes->len; i++)
    {
      const H2kNode *other = stack->nodes->pdata[i];
      if (other != node && h2k_node_lies_on (other, node))
        return TRUE;
    }
  return FALSE;
}

/* A and B are one volume, in both states; NULL: it is in one of them alone. */
static gboolean
compare_volume (Comparison *c, const H2kNode *a, H2kFs *before, const H2kNode *b, H2kFs *after,
                GError **error)
{
  H2kFs *const fs[2] = {before, after};
  const H2kNode *node = b ? b : a;
  gboolean marked = a && b && is_at_same_place (c, a, b), below;

  if (!before && !after)
    return tell_volume (c, node, error);
  /* There are files, and they cannot be read. */
  if (a && !before && *a->id.type)
    return tell_volume (c, a, error);
  if (b && !after && *b->id.type)
    return tell_volume (c, b, error);
  if (a && b && (marked || is_opaque (b)) && !node_bytes (a, &below) && !node_bytes (b, &below))
    return TRUE;
  return compare_files (c, fs, marked, node->name, error);
}

/* Blocks outside of all partitions: their table, a boot loader. */
static gboolean
compare_gaps (Comparison *c, guint disk, GError **error)
{
  const Side *side = &c->sides[1];
  H2kDisk *whole = side->disks->pdata[disk];
  const GArray *ranges = ((const H2kMarks *)c->marks->pdata[disk])->ranges;
  g_autofree char *name = g_strdup_printf ("disk %u, outside of the partitions", disk + 1);
  H2kVolumeDifference difference = {.name = name, .type = ""};

  for (guint i = 0; i < ranges->len; i++)
    difference.bytes += g_array_index (ranges, H2kExtent, i).length;
  for (guint i = 0; i < side->stack->nodes->len; i++)
    {
      const H2kNode *node = side->stack->nodes->pdata[i];
      guint64 start = node->volume ? node->volume->offset : 0;
      guint64 length = disk_of (node) ? disk_of (node)->size : 0;

      if (node->parents->len || node->disk != disk || !length || start > whole->size)
        continue;
      for (guint r = 0; r < ranges->len; r++)
        {
          const H2kExtent *range = &g_array_index (ranges, H2kExtent, r);
          guint64 from = MAX (range->offset, start);
          guint64 to = MIN (range->offset + range->length, start + length);
          difference.bytes -= to > from ? MIN (to - from, difference.bytes) : 0;
        }
    }
  if (!difference.bytes || c->funcs->volume (&difference, c->funcs->data))
    return TRUE;
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_CANCELLED, "interrupted");
  return FALSE;
}

static gboolean
compare_all (Comparison *c, GError **error)
{
  const Side *before = &c->sides[0], *after = &c->sides[1];
  guint other;

  for (guint i = 0; i < after->stack->nodes->len; i++)
    {
      const H2kNode *node = after->stack->nodes->pdata[i];
      gboolean both = find_node (before, node, &other);

      if ((after->fs->pdata[i] || !has_others_on_it (after->stack, node))
          && !compare_volume (c, both ? before->stack->nodes->pdata[other] : NULL,
                              both ? before->fs->pdata[other] : NULL, node, after->fs->pdata[i],
                              error))
        return FALSE;
    }
  for (guint i = 0; i < before->stack->nodes->len; i++)
    {
      const H2kNode *node = before->stack->nodes->pdata[i];
      if (!find_node (after, node, &other)
          && (before->fs->pdata[i] || !has_others_on_it (before->stack, node))
          && !compare_volume (c, node, before->fs->pdata[i], NULL, NULL, error))
        return FALSE;
    }
  for (guint d = 0; d < c->marks->len; d++)
    if (!compare_gaps (c, d, error))
      return FALSE;
  return TRUE;
}

gboolean
h2k_guests_compare (GPtrArray *before, GPtrArray *after, GPtrArray *marks,
                    const H2kGuestOptions *options, const H2kGuestDifferences *funcs,
                    GCancellable *cancellable, GError **error)
{
  Comparison c = {.marks = marks, .funcs = funcs, .cancellable = cancellable};
  gboolean ok = open_side (&c, 0, before, options, error)
                && open_side (&c, 1, after, options, error) && compare_all (&c, error);

  for (guint i = 0; i < 2; i++)
    side_clear (&c.sides[i]);
  return ok;
}
