/* stack.c - finds every volume on a guest's disks, layer by layer.
 *
 * Members of groups and arrays are gathered while nodes are looked at; when no node is left, one
 * group or array is put together, the surest first, and its volumes are looked at in turn.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/luks.h"
#include "volume/stack-private.h"

#include <gio/gio.h>

#define MAX_DEPTH 16u
#define MAX_NODES 4096u

/* --- nodes -------------------------------------------------------------------------------------
 */

static void
volume_free (H2kVolume *volume)
{
  if (!volume)
    return;
  h2k_disk_unref (volume->disk);
  g_free (volume);
}

static void
node_free (gpointer data)
{
  H2kNode *node = data;

  if (node->kind != H2K_NODE_PARTITION && node->kind != H2K_NODE_DISK)
    volume_free (node->volume);
  g_free (node->name);
  g_free (node->uuid);
  g_free (node->type);
  g_free (node->identity);
  g_ptr_array_unref (node->names);
  g_ptr_array_unref (node->parents);
  g_ptr_array_unref (node->notes);
  g_clear_error (&node->problem);
  g_free (node);
}

static void
table_free (gpointer data)
{
  h2k_table_free (data);
}

void
stack_warn (Builder *builder, const char *format, ...)
{
  g_autofree char *text = NULL;
  va_list args;

  va_start (args, format);
  text = g_strdup_vprintf (format, args);
  va_end (args);
  g_ptr_array_add (builder->stack->warnings, h2k_escape_text (text, -1));
}

static H2kNode *
node_new (H2kNodeKind kind, H2kVolume *volume)
{
  H2kNode *node = g_new0 (H2kNode, 1);

  node->kind = kind;
  node->volume = volume;
  node->names = g_ptr_array_new_with_free_func (g_free);
  node->parents = g_ptr_array_new ();
  node->notes = g_ptr_array_new_with_free_func (g_free);
  return node;
}

H2kNode *
stack_add_node (Builder *builder, H2kNodeKind kind, const char *name, H2kDisk *disk,
                GPtrArray *parents)
{
  H2kVolume *volume = g_new0 (H2kVolume, 1);
  H2kNode *node = node_new (kind, volume);

  volume->disk = disk;
  volume->length = disk ? disk->size : 0;
  node->name = h2k_escape_text (name, -1);
  node->disk = G_MAXUINT;
  for (guint i = 0; i < parents->len; i++)
    {
      H2kNode *parent = parents->pdata[i];
      g_ptr_array_add (node->parents, parent);
      parent->is_member = TRUE;
      node->disk = MIN (node->disk, parent->disk);
      node->depth = MAX (node->depth, parent->depth + 1);
    }
  g_ptr_array_add (builder->stack->nodes, node);
  return node;
}

void
stack_add_name (H2kNode *node, const char *format, ...)
{
  char *name;
  va_list args;

  va_start (args, format);
  name = g_strdup_vprintf (format, args);
  va_end (args);
  if (g_ptr_array_find_with_equal_func (node->names, name, g_str_equal, NULL))
    g_free (name);
  else
    g_ptr_array_add (node->names, name);
}

void
h2k_node_prefer_name (const H2kNode *node, const char *name)
{
  char *first = g_strdup (name);
  guint index;

  if (g_ptr_array_find_with_equal_func (node->names, name, g_str_equal, &index))
    g_ptr_array_remove_index (node->names, index);
  g_ptr_array_insert (node->names, 0, first);
}

void
stack_set_problem (H2kNode *node, GError *problem)
{
  if (node->problem)
    g_error_free (problem);
  else
    node->problem = problem;
}

const char *
h2k_node_kind_name (H2kNodeKind kind)
{
  static const char *const names[] = {
      [H2K_NODE_DISK] = "disk",           [H2K_NODE_PARTITION] = "partition",
      [H2K_NODE_LV] = "lvm-lv",           [H2K_NODE_MD] = "md",
      [H2K_NODE_LUKS] = "luks",           [H2K_NODE_BTRFS] = "btrfs",
      [H2K_NODE_BITLOCKER] = "bitlocker",
  };

  return names[kind];
}

/* A node is deeper than its parents, so that this ends. */
gboolean
h2k_node_lies_on (const H2kNode *node, const H2kNode *other)
{
  if (node == other)
    return TRUE;
  for (guint i = 0; node->depth > other->depth && i < node->parents->len; i++)
    if (h2k_node_lies_on (node->parents->pdata[i], other))
      return TRUE;
  return FALSE;
}

gboolean
h2k_node_is_snapshot_of (const H2kNode *node, const H2kNode *other)
{
  for (node = node->origin; node && node != other; node = node->origin)
    ;
  return node != NULL;
}

/* The lowest layer that has something to say about it counts. */
char *
h2k_node_why_read_only (const H2kNode *node)
{
  g_autoptr (GPtrArray) seen = g_ptr_array_new ();
  g_autoptr (GHashTable) known = g_hash_table_new (NULL, NULL);
  g_autoptr (GString) text = g_string_new (NULL);
  const H2kNode *lowest = NULL;

  g_ptr_array_add (seen, (gpointer)node);
  for (guint i = 0; i < seen->len; i++)
    {
      const H2kNode *n = seen->pdata[i];

      if (n->frozen && n->notes->len && (!lowest || n->depth < lowest->depth))
        lowest = n;
      for (guint p = 0; p < n->parents->len; p++)
        if (g_hash_table_add (known, n->parents->pdata[p]))
          g_ptr_array_add (seen, n->parents->pdata[p]);
    }
  if (!lowest)
    return NULL;
  for (guint i = 0; i < lowest->notes->len; i++)
    g_string_append_printf (text, "%s%s", i ? "; " : "", (const char *)lowest->notes->pdata[i]);
  return lowest == node ? g_strdup (text->str)
                        : g_strdup_printf ("it lies on %s: %s", lowest->name, text->str);
}

H2kNode *
h2k_stack_find (const H2kStack *stack, const char *name)
{
  H2kNode *found = NULL;

  for (guint i = 0; i < stack->nodes->len; i++)
    {
      H2kNode *node = stack->nodes->pdata[i];
      if (!g_ptr_array_find_with_equal_func (node->names, name, g_str_equal, NULL))
        continue;
      if (found)
        return NULL;
      found = node;
    }
  return found;
}

/* --- partitions --------------------------------------------------------------------------------
 */

/* What the kernel calls partition NUMBER of disk I, on the buses there are. */
static void
add_disk_names (H2kNode *node, guint disk, guint number)
{
  static const char *const prefixes[] = {"sd", "vd", "hd", "xvd"};
  char letters[3] = {(char)('a' + disk % 26), '\0', '\0'};
  g_autofree char *part = number ? g_strdup_printf ("%u", number) : g_strdup ("");

  if (disk >= 26)
    {
      letters[1] = letters[0];
      letters[0] = (char)('a' + (disk / 26 - 1) % 26);
    }
  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++)
    stack_add_name (node, "/dev/%s%s%s", prefixes[i], letters, part);
  stack_add_name (node, "/dev/nvme%un1%s%s", disk, number ? "p" : "", part);
}

static void
add_partition (Builder *builder, H2kVolume *volume, guint disk, const H2kNode *parent)
{
  H2kNode *node = node_new (volume->number ? H2K_NODE_PARTITION : H2K_NODE_DISK, volume);

  node->disk = disk;
  if (parent)
    {
      node->name = g_strdup_printf ("%s, partition %u", parent->name, volume->number);
      node->depth = parent->depth + 1;
      g_ptr_array_add (node->parents, (gpointer)parent);
      for (guint i = 0; i < parent->names->len; i++)
        {
          const char *name = parent->names->pdata[i];
          stack_add_name (node, g_ascii_isdigit (name[strlen (name) - 1]) ? "%sp%u" : "%s%u", name,
                          volume->number);
        }
    }
  else
    {
      node->name = volume->number
                       ? g_strdup_printf ("disk %u, partition %u", disk + 1, volume->number)
                       : g_strdup_printf ("disk %u", disk + 1);
      add_disk_names (node, disk, volume->number);
    }
  g_ptr_array_add (builder->stack->nodes, node);
}

static void
add_partitions (Builder *builder, const H2kTable *table, guint disk, const H2kNode *parent)
{
  for (guint i = 0; i < table->warnings->len; i++)
    {
      g_autofree char *where
          = parent ? g_strdup (parent->name) : g_strdup_printf ("disk %u", disk + 1);
      stack_warn (builder, "%s: %s", where, (const char *)table->warnings->pdata[i]);
    }
  for (guint i = 0; i < table->volumes->len; i++)
    add_partition (builder, table->volumes->pdata[i], disk, parent);
}

/* A disk that is a member of an array as a whole shows the array's partition table, too. */
static gboolean
read_disk (Builder *builder, H2kDisk *disk, guint number, GError **error)
{
  gboolean whole = FALSE;
  H2kTable *table;

  if (!stack_md_is_whole_disk (disk, &whole, error))
    return FALSE;
  table = whole ? h2k_table_whole (disk) : h2k_table_read (disk, error);
  if (!table)
    return FALSE;
  g_ptr_array_add (builder->stack->tables, table);
  add_partitions (builder, table, number, NULL);
  return TRUE;
}

/* --- looking at a node -------------------------------------------------------------------------
 */

/* What takes part in something else, by its type. */
static const struct
{
  const char *type;
  void (*take) (Builder *builder, H2kNode *node);
} takers[] = {
    {"LVM2_member", stack_lvm_take},  {"linux_raid_member", stack_md_take},
    {"crypto_LUKS", stack_luks_take}, {"BitLocker", stack_bitlocker_take},
    {"btrfs", stack_btrfs_take},
};

/* An array can have a partition table. */
static gboolean
look_for_partitions (Builder *builder, H2kNode *node, GError **error)
{
  H2kTable *table;

  if (node->kind != H2K_NODE_MD || node->volume->disk->size == 0)
    return TRUE;
  table = h2k_table_read (node->volume->disk, error);
  if (!table)
    return FALSE;
  if (table->type == H2K_TABLE_NONE)
    {
      h2k_table_free (table);
      return TRUE;
    }
  g_ptr_array_add (builder->stack->inner, table);
  add_partitions (builder, table, node->disk, node);
  node->is_member = table->volumes->len > 0;
  return TRUE;
}

static gboolean
is_extended (const H2kNode *node)
{
  return strcmp (h2k_volume_role (node->volume), "extended") == 0;
}

/* Errors: those of the guest's own disks, for partitions alone; H2K_ERROR_CANCELLED. */
static gboolean
look_at (Builder *builder, H2kNode *node, GError **error)
{
  GError *problem = NULL;

  if (!node->volume->disk || is_extended (node))
    return TRUE;
  if (!h2k_fs_identify (node->volume->disk, &node->id, &problem)
      || (!node->id.type[0] && !look_for_partitions (builder, node, &problem)))
    {
      if (node->depth == 0)
        {
          g_propagate_error (error, problem);
          return FALSE;
        }
      stack_set_problem (node, problem);
      return TRUE;
    }
  for (guint i = 0; node->kind != H2K_NODE_BTRFS && i < G_N_ELEMENTS (takers); i++)
    if (strcmp (takers[i].type, node->id.type) == 0)
      {
        if (node->depth < MAX_DEPTH)
          takers[i].take (builder, node);
        else
          stack_warn (builder, "%s is left out: more than %u volumes lie on each other", node->name,
                      MAX_DEPTH);
      }
  return !h2k_is_cancelled (g_cancellable_get_current (), error);
}

/* --- all ---------------------------------------------------------------------------------------
 */

/* Put the next one together: first what is complete, arrays before groups. Nothing lies on
 * filesystems, so that these wait until nothing else brings up more of their devices. */
static gboolean
assemble_next (Builder *builder)
{
  return stack_md_assemble (builder, TRUE) || stack_lvm_assemble (builder, TRUE)
         || stack_md_assemble (builder, FALSE) || stack_lvm_assemble (builder, FALSE)
         || stack_btrfs_assemble (builder);
}

static gboolean
find_all (Builder *builder, GError **error)
{
  GPtrArray *nodes = builder->stack->nodes;
  guint next = 0;

  do
    for (; next < nodes->len; next++)
      {
        if (next >= MAX_NODES)
          {
            stack_warn (builder, "there are more than %u volumes: the others are left out",
                        MAX_NODES);
            return TRUE;
          }
        if (!look_at (builder, nodes->pdata[next], error))
          return FALSE;
      }
  while (assemble_next (builder));
  return TRUE;
}

H2kStack *
h2k_stack_new (GPtrArray *disks, const H2kKeys *keys, GError **error)
{
  return h2k_stack_new_alone (disks, keys, FALSE, error);
}

H2kStack *
h2k_stack_new_alone (GPtrArray *disks, const H2kKeys *keys, gboolean alone, GError **error)
{
  g_autoptr (H2kStack) stack = g_new0 (H2kStack, 1);
  Builder builder = {.stack = stack, .keys = keys, .alone = alone, .unlock_time = H2K_LUKS_TIME};
  gboolean ok = TRUE;

  stack->tables = g_ptr_array_new_with_free_func (table_free);
  stack->inner = g_ptr_array_new_with_free_func (table_free);
  stack->nodes = g_ptr_array_new_with_free_func (node_free);
  stack->warnings = g_ptr_array_new_with_free_func (g_free);
  stack_lvm_init (&builder);
  stack_md_init (&builder);
  stack_btrfs_init (&builder);
  for (guint i = 0; ok && i < disks->len; i++)
    ok = read_disk (&builder, disks->pdata[i], i, error);
  ok = ok && find_all (&builder, error);
  if (ok)
    {
      stack_lvm_finish (&builder);
      stack_luks_finish (&builder);
    }
  stack_lvm_clear (&builder);
  stack_md_clear (&builder);
  stack_btrfs_clear (&builder);
  return ok ? g_steal_pointer (&stack) : NULL;
}

void
h2k_stack_free (H2kStack *stack)
{
  if (!stack)
    return;
  g_ptr_array_unref (stack->nodes);
  g_ptr_array_unref (stack->inner);
  g_ptr_array_unref (stack->tables);
  g_ptr_array_unref (stack->warnings);
  g_free (stack);
}
