/* stack-lvm.c - LVM2 groups put together from the physical volumes that were found.
 *
 * As LVM does, the newest description counts, whichever physical volume it is on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/lvm-map.h"
#include "volume/stack-private.h"

typedef struct
{
  H2kNode *node;
  H2kLvmMember *member;
  gboolean done; /* its group was put together */
} Pv;

static void
pv_free (gpointer data)
{
  Pv *pv = data;

  h2k_lvm_member_free (pv->member);
  g_free (pv);
}

void
stack_lvm_init (Builder *builder)
{
  builder->lvm = g_ptr_array_new_with_free_func (pv_free);
  builder->lvm_done = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
}

void
stack_lvm_clear (Builder *builder)
{
  g_ptr_array_unref (builder->lvm);
  g_hash_table_unref (builder->lvm_done);
}

void
stack_lvm_take (Builder *builder, H2kNode *node)
{
  GError *problem = NULL;
  H2kLvmMember *member = h2k_lvm_member_read (node->volume->disk, &problem);
  Pv *pv;

  if (!member)
    {
      stack_set_problem (node, problem);
      return;
    }
  pv = g_new0 (Pv, 1);
  pv->node = node;
  pv->member = member;
  g_ptr_array_add (builder->lvm, pv);
  if (member->doubt)
    stack_warn (builder, "%s, a physical volume of LVM: %s", node->name, member->doubt);
}

char *
h2k_lvm_mapper_name (const char *vg, const char *lv)
{
  GString *text = g_string_new ("/dev/mapper/");

  for (guint i = 0; i < 2; i++)
    {
      for (const char *p = i ? lv : vg; *p; p++)
        {
          g_string_append_c (text, *p);
          if (*p == '-')
            g_string_append_c (text, '-');
        }
      if (i == 0)
        g_string_append_c (text, '-');
    }
  return g_string_free (text, FALSE);
}

/* --- one group ---------------------------------------------------------------------------------
 */

typedef struct
{
  const H2kLvmGroup *group;
  GPtrArray *nodes; /* H2kNode *, of each physical volume; NULL: missing */
  guint n_missing;
} Group;

/* The physical volume of the UUID; *TWICE when there are several. */
static Pv *
find_pv (const Builder *builder, const char *uuid, gboolean *twice)
{
  Pv *found = NULL;

  for (guint i = 0; i < builder->lvm->len; i++)
    {
      Pv *pv = builder->lvm->pdata[i];
      if (strcmp (pv->member->uuid, uuid) != 0)
        continue;
      *twice = found != NULL;
      if (!found)
        found = pv;
    }
  return found;
}

/* Find the volumes that GROUP is made of. */
static void
gather (const Builder *builder, Group *group)
{
  for (guint i = 0; i < group->group->pvs->len; i++)
    {
      const H2kLvmPv *description = group->group->pvs->pdata[i];
      gboolean twice = FALSE;
      Pv *pv = description->is_missing ? NULL : find_pv (builder, description->uuid, &twice);

      group->n_missing += !pv;
      g_ptr_array_add (group->nodes, pv ? pv->node : NULL);
    }
}

/* The newest description of the group of UUID. */
static const H2kLvmGroup *
newest (const Builder *builder, const char *uuid)
{
  const H2kLvmGroup *best = NULL;

  for (guint i = 0; i < builder->lvm->len; i++)
    {
      const H2kLvmGroup *group = ((const Pv *)builder->lvm->pdata[i])->member->group;
      if (group && strcmp (group->uuid, uuid) == 0 && (!best || group->seqno > best->seqno))
        best = group;
    }
  return best;
}

/* The places of the physical volume UUID: "disk 1, partition 5 and on disk 2, partition 5". */
static char *
places_of (const Builder *builder, const char *uuid)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < builder->lvm->len; i++)
    {
      const Pv *pv = builder->lvm->pdata[i];
      if (strcmp (pv->member->uuid, uuid) == 0)
        g_string_append_printf (text, "%s%s", text->len ? " and on " : "", pv->node->name);
    }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

/* Say of all physical volumes of the group why it is left out. */
static void
set_left_out (const Builder *builder, const H2kLvmGroup *group, const char *why)
{
  for (guint i = 0; i < builder->lvm->len; i++)
    {
      const Pv *pv = builder->lvm->pdata[i];
      gboolean belongs = FALSE;

      for (guint k = 0; k < group->pvs->len && !belongs; k++)
        belongs = strcmp (((const H2kLvmPv *)group->pvs->pdata[k])->uuid, pv->member->uuid) == 0;
      if (belongs)
        stack_set_problem (pv->node, g_error_new_literal (H2K_ERROR, H2K_ERROR_SOURCE, why));
    }
}

/* A copy of a disk is there, too: nobody knows which one the group means. */
static gboolean
has_twins (Builder *builder, const Group *group)
{
  for (guint i = 0; i < group->nodes->len; i++)
    {
      const H2kLvmPv *pv = group->group->pvs->pdata[i];
      g_autofree char *places = NULL, *why = NULL, *safe = NULL;
      gboolean twice = FALSE;

      if (!group->nodes->pdata[i] || !find_pv (builder, pv->uuid, &twice) || !twice)
        continue;
      places = places_of (builder, pv->uuid);
      why = g_strdup_printf ("the volume group %s is left out: its physical volume %s is there "
                             "more than once, on %s (is a copy of a disk given, too?)",
                             group->group->name, pv->uuid, places);
      safe = h2k_escape_text (why, -1);
      stack_warn (builder, "%s", why);
      set_left_out (builder, group->group, safe);
      return TRUE;
    }
  return FALSE;
}

/* Tell the volumes of several groups of one NAME apart, by their UUIDs. */
static void
tell_apart (Builder *builder, const char *name)
{
  g_autofree char *prefix = g_strdup_printf ("logical volume %s/", name);
  g_autofree char *safe = h2k_escape_text (prefix, -1);

  for (guint i = 0; i < builder->stack->nodes->len; i++)
    {
      H2kNode *node = builder->stack->nodes->pdata[i];
      g_autofree char *old = NULL, *unique = NULL;

      if (node->kind != H2K_NODE_LV || !g_str_has_prefix (node->name, safe)
          || g_str_has_suffix (node->name, ")"))
        continue;
      old = node->name;
      node->name = g_strdup_printf ("%s (UUID %s)", old, node->uuid);
      unique = g_strdup (node->names->pdata[node->names->len - 1]);
      h2k_node_prefer_name (node, unique);
    }
}

/* Whether another group that was put together has the name of GROUP. */
static gboolean
has_namesake (const Builder *builder, const H2kLvmGroup *group)
{
  for (guint i = 0; i < builder->lvm->len; i++)
    {
      const H2kLvmGroup *other = ((const Pv *)builder->lvm->pdata[i])->member->group;

      if (other && strcmp (other->name, group->name) == 0 && strcmp (other->uuid, group->uuid) != 0
          && g_hash_table_contains (builder->lvm_done, other->uuid))
        return TRUE;
    }
  return FALSE;
}

static void
warn_about (Builder *builder, const Group *group)
{
  if (has_namesake (builder, group->group))
    stack_warn (builder,
                "two volume groups are called %s: their volumes can be told apart by UUID, "
                "/dev/%s/... means neither",
                group->group->name, group->group->name);
  for (guint i = 0; i < group->nodes->len; i++)
    {
      const H2kLvmPv *pv = group->group->pvs->pdata[i];
      if (!group->nodes->pdata[i])
        stack_warn (builder,
                    "the volume group %s lacks its physical volume %s (%s): what lies on it cannot "
                    "be read; give every disk of the VM",
                    group->group->name, pv->uuid,
                    pv->is_missing ? "the group itself says that it was lost"
                    : pv->device   ? pv->device
                                   : "on none of the disks");
    }
}

/* What lvs(8) calls the kinds of LV's segments: one stripe is linear, and flags are not said. */
static char *
segment_types (const H2kLvmLv *lv)
{
  g_autoptr (GPtrArray) types = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; i < lv->segments->len; i++)
    {
      const H2kLvmSegment *segment = lv->segments->pdata[i];
      gboolean linear = strcmp (segment->type, "striped") == 0 && segment->areas->len == 1;
      g_autofree char *type
          = linear ? g_strdup ("linear") : g_strndup (segment->type, strcspn (segment->type, "+"));

      if (!g_ptr_array_find_with_equal_func (types, type, g_str_equal, NULL))
        g_ptr_array_add (types, g_steal_pointer (&type));
    }
  g_ptr_array_add (types, NULL);
  return g_strjoinv (", ", (char **)types->pdata);
}

/* udev's and device-mapper's names of the volume LV. */
static void
name_volume (H2kNode *node, const H2kLvmGroup *group, const H2kLvmLv *lv)
{
  g_autofree char *mapper = h2k_lvm_mapper_name (group->name, h2k_lvm_lv_name (lv));
  g_auto (GStrv) vg_words = g_strsplit (group->uuid, "-", -1);
  g_auto (GStrv) lv_words = g_strsplit (lv->uuid, "-", -1);
  g_autofree char *vg_uuid = g_strjoinv ("", vg_words), *lv_uuid = g_strjoinv ("", lv_words);

  node->uuid = g_strdup (lv->uuid);
  node->identity = h2k_lvm_lv_identity (group, lv);
  node->type = segment_types (lv);
  stack_add_name (node, "/dev/%s/%s", group->name, h2k_lvm_lv_name (lv));
  stack_add_name (node, "%s", mapper);
  stack_add_name (node, "/dev/disk/by-id/dm-name-%s", mapper + strlen ("/dev/mapper/"));
  stack_add_name (node, "/dev/disk/by-id/dm-uuid-LVM-%s%s", vg_uuid, lv_uuid);
}

/* The nodes that the volume NUMBER lies on: those of its segments, and of their parts. */
static void
find_parents (const Group *group, guint number, GPtrArray *parents, GHashTable *seen)
{
  const H2kLvmLv *lv = group->group->lvs->pdata[number];

  if (!g_hash_table_add (seen, GUINT_TO_POINTER (number + 1)))
    return;
  for (guint i = 0; i < lv->segments->len; i++)
    {
      const H2kLvmSegment *segment = lv->segments->pdata[i];
      for (guint k = 0; k < segment->areas->len; k++)
        {
          const H2kLvmArea *area = &g_array_index (segment->areas, H2kLvmArea, k);
          gpointer node = area->pv != H2K_LVM_NO_PV ? group->nodes->pdata[area->pv] : NULL;
          if (node && !g_ptr_array_find (parents, node, NULL))
            g_ptr_array_add (parents, node);
        }
    }
}

static void
add_part_parents (const Group *group, guint number, GPtrArray *parents)
{
  g_autoptr (GHashTable) seen = g_hash_table_new (NULL, NULL);
  g_autoptr (GArray) queue = g_array_new (FALSE, FALSE, sizeof (guint));

  g_array_append_val (queue, number);
  for (guint i = 0; i < queue->len; i++)
    {
      guint n = g_array_index (queue, guint, i);
      const H2kLvmLv *lv = group->group->lvs->pdata[n];

      if (g_hash_table_contains (seen, GUINT_TO_POINTER (n + 1)))
        continue;
      find_parents (group, n, parents, seen);
      for (guint s = 0; s < lv->segments->len; s++)
        {
          const H2kLvmSegment *segment = lv->segments->pdata[s];
          for (guint p = 0; p < segment->parts->len; p++)
            {
              guint part = g_array_index (segment->parts, H2kLvmPart, p).lv;
              if (part != H2K_LVM_NO_LV)
                g_array_append_val (queue, part);
            }
        }
    }
}

static H2kNode *
add_volume (Builder *builder, const Group *group, guint number, H2kLvmDisk *disk)
{
  const H2kLvmLv *lv = group->group->lvs->pdata[number];
  g_autofree char *name
      = g_strdup_printf ("logical volume %s/%s", group->group->name, h2k_lvm_lv_name (lv));
  g_autoptr (GPtrArray) parents = g_ptr_array_new ();
  H2kNode *node;

  add_part_parents (group, number, parents);
  if (parents->len == 0) /* all it lies on is missing */
    for (guint i = 0; i < group->nodes->len && parents->len == 0; i++)
      if (group->nodes->pdata[i])
        g_ptr_array_add (parents, group->nodes->pdata[i]);
  node = stack_add_node (builder, H2K_NODE_LV, name, g_steal_pointer (&disk->disk), parents);
  name_volume (node, group->group, lv);
  if (disk->problem)
    stack_set_problem (node, g_steal_pointer (&disk->problem));
  node->frozen = disk->note != NULL;
  if (disk->note)
    g_ptr_array_add (node->notes, g_strdup (disk->note));
  if (!node->volume->disk)
    node->volume->length = lv->extents * group->group->extent_size;
  return node;
}

/* Which of NODES, one for each of the group's volumes or NULL, are thin snapshots of which. Damaged
 * metadata may say that two are snapshots of each other: then the second one is none. */
static void
find_origins (const H2kLvmGroup *group, H2kNode *const *nodes)
{
  for (guint i = 0; i < group->lvs->len; i++)
    {
      const H2kLvmLv *lv = group->lvs->pdata[i];
      guint origin = lv->segments->len && nodes[i]
                         ? h2k_lvm_segment_part (lv->segments->pdata[0], "origin")
                         : H2K_LVM_NO_LV;

      if (origin != H2K_LVM_NO_LV && origin != i && nodes[origin]
          && strcmp (nodes[i]->type, "thin") == 0
          && !h2k_node_is_snapshot_of (nodes[origin], nodes[i]))
        nodes[i]->origin = nodes[origin];
    }
}

static void
add_volumes (Builder *builder, const Group *group)
{
  guint n = group->nodes->len;
  g_autofree H2kDisk **pvs = g_new0 (H2kDisk *, n + 1);
  g_autofree H2kNode **nodes = g_new0 (H2kNode *, group->group->lvs->len + 1);
  g_autoptr (GArray) disks = NULL;

  for (guint i = 0; i < n; i++)
    if (group->nodes->pdata[i])
      {
        H2kNode *node = group->nodes->pdata[i];
        pvs[i] = node->volume->disk;
        node->is_member = TRUE;
      }
  disks = h2k_lvm_group_disks (group->group, pvs);
  for (guint i = 0; i < disks->len; i++)
    if (h2k_lvm_lv_is_visible (group->group->lvs->pdata[i]))
      nodes[i] = add_volume (builder, group, i, &g_array_index (disks, H2kLvmDisk, i));
  find_origins (group->group, nodes);
}

/* --- the next group ----------------------------------------------------------------------------
 */

static gboolean
assemble (Builder *builder, const char *uuid, gboolean complete)
{
  g_autoptr (GPtrArray) nodes = g_ptr_array_new ();
  Group group = {newest (builder, uuid), nodes, 0};

  gather (builder, &group);
  if (complete && group.n_missing)
    return FALSE;
  g_hash_table_add (builder->lvm_done, g_strdup (uuid));
  if (has_twins (builder, &group))
    return TRUE;
  warn_about (builder, &group);
  if (group.group->is_exported)
    stack_warn (builder, "the volume group %s is exported: a guest does not use it before vgimport",
                group.group->name);
  add_volumes (builder, &group);
  if (has_namesake (builder, group.group))
    tell_apart (builder, group.group->name);
  return TRUE;
}

gboolean
stack_lvm_assemble (Builder *builder, gboolean complete)
{
  for (guint i = 0; i < builder->lvm->len; i++)
    {
      const H2kLvmGroup *group = ((const Pv *)builder->lvm->pdata[i])->member->group;
      if (group && !g_hash_table_contains (builder->lvm_done, group->uuid)
          && assemble (builder, group->uuid, complete))
        return TRUE;
    }
  return FALSE;
}

/* --- what is left ------------------------------------------------------------------------------
 */

/* The group whose newest description says that UUID is one of its own; NULL: none. */
static const H2kLvmGroup *
group_of (const Builder *builder, const char *uuid)
{
  for (guint i = 0; i < builder->lvm->len; i++)
    {
      const H2kLvmGroup *group = ((const Pv *)builder->lvm->pdata[i])->member->group;

      if (group && newest (builder, group->uuid) == group)
        for (guint k = 0; k < group->pvs->len; k++)
          if (strcmp (((const H2kLvmPv *)group->pvs->pdata[k])->uuid, uuid) == 0)
            return group;
    }
  return NULL;
}

/* Why no volume group has PV. */
static GError *
why_alone (const Builder *builder, const Pv *pv)
{
  const H2kLvmMember *member = pv->member;
  const H2kLvmGroup *group = group_of (builder, member->uuid);

  if (group || member->group)
    return g_error_new (H2K_ERROR, H2K_ERROR_SOURCE,
                        "the physical volume of LVM %s is not used: the newest description of "
                        "the volume group %s says that it was %s",
                        member->uuid, group ? group->name : member->group->name,
                        group ? "lost" : "removed");
  if (member->doubt)
    return g_error_new (H2K_ERROR, H2K_ERROR_FILESYSTEM,
                        "the physical volume of LVM %s does not say which volume group it belongs "
                        "to (%s), and no other disk that is given does: give every disk of the VM, "
                        "or restore it with vgcfgrestore",
                        member->uuid, member->doubt);
  return g_error_new (H2K_ERROR, H2K_ERROR_SOURCE,
                      "the physical volume of LVM %s belongs to no volume group that is on the "
                      "disks given: give every disk of the VM",
                      member->uuid);
}

/* Members are marked as soon as a group has them. */
void
stack_lvm_finish (Builder *builder)
{
  for (guint i = 0; i < builder->lvm->len; i++)
    {
      const Pv *pv = builder->lvm->pdata[i];

      if (!pv->node->is_member && !pv->node->problem)
        stack_set_problem (pv->node, why_alone (builder, pv));
    }
}
