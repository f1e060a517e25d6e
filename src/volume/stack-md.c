/* stack-md.c - arrays of Linux software RAID put together from the members that were found.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "volume/md.h"
#include "volume/stack-private.h"

typedef struct
{
  H2kNode *node;
  H2kMdMember *member;
} Member;

static void
member_free (gpointer data)
{
  Member *member = data;

  h2k_md_member_free (member->member);
  g_free (member);
}

void
stack_md_init (Builder *builder)
{
  builder->md = g_ptr_array_new_with_free_func (member_free);
  builder->md_done = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
}

void
stack_md_clear (Builder *builder)
{
  g_ptr_array_unref (builder->md);
  g_hash_table_unref (builder->md_done);
}

void
stack_md_take (Builder *builder, H2kNode *node)
{
  GError *problem = NULL;
  H2kMdMember *super = h2k_md_member_read (node->volume->disk, &problem);
  Member *member;

  if (!super)
    {
      stack_set_problem (node, problem);
      return;
    }
  if (g_hash_table_contains (builder->md_done, super->uuid))
    stack_warn (builder, "%s, a member of a RAID array, came up after the array did: left out",
                node->name);
  member = g_new0 (Member, 1);
  member->node = node;
  member->member = super;
  g_ptr_array_add (builder->md, member);
}

/* A superblock at the disk's end may also be that of its last partition. Those of version 1 say
 * where they are; one of version 0.90 is the disk's when the array is about as large. */
gboolean
stack_md_is_whole_disk (H2kDisk *disk, gboolean *whole, GError **error)
{
  g_autoptr (H2kMdMember) member = NULL;
  g_autoptr (GError) failure = NULL;
  H2kFsId id;

  *whole = FALSE;
  if (!h2k_fs_identify (disk, &id, error))
    return FALSE;
  if (strcmp (id.type, "linux_raid_member") != 0)
    return TRUE;
  member = h2k_md_member_read (disk, &failure);
  *whole = member
           && (member->version[0] == '1'
               || (member->size > 0 && disk->size - member->size < (1u << 20)));
  return TRUE;
}

/* --- one array ---------------------------------------------------------------------------------
 */

static const char *
level_name (int level)
{
  static const struct
  {
    int level;
    const char *name;
  } names[] = {{-1, "linear"}, {0, "raid0"}, {1, "raid1"},  {4, "raid4"},
               {5, "raid5"},   {6, "raid6"}, {10, "raid10"}};

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    if (names[i].level == level)
      return names[i].name;
  return "unknown";
}

/* mdadm's and udev's names. A name that is a number is that of the device, too. */
static void
name_array (const Builder *builder, H2kNode *node, const H2kMdMember *member)
{
  const char *colon = member->name ? strrchr (member->name, ':') : NULL;
  const char *name = colon ? colon + 1 : member->name;

  node->uuid = g_strdup (member->uuid);
  node->type = g_strdup (level_name (member->level));
  if (!name)
    stack_add_name (node, "/dev/md%u", member->minor);
  if (name && *name && strspn (name, "0123456789") == strlen (name))
    stack_add_name (node, "/dev/md%s", name);
  if (name && *name)
    stack_add_name (node, "/dev/md/%s", name);
  if (colon)
    {
      stack_add_name (node, "/dev/md/%s", member->name);
      stack_add_name (node, "/dev/disk/by-id/md-name-%s", member->name);
    }
  stack_add_name (node, "/dev/disk/by-id/md-uuid-%s", member->uuid);
  /* Arrays without a number are counted down from here. */
  if (g_hash_table_size (builder->md_done) == 1)
    stack_add_name (node, "/dev/md127");
}

static gboolean
is_complete (const Builder *builder, const H2kMdMember *one)
{
  g_autofree gboolean *there = g_new0 (gboolean, one->raid_disks);
  guint n = 0;

  for (guint i = 0; i < builder->md->len; i++)
    {
      const H2kMdMember *member = ((const Member *)builder->md->pdata[i])->member;
      if (strcmp (member->uuid, one->uuid) == 0 && member->slot < one->raid_disks
          && !there[member->slot])
        {
          there[member->slot] = TRUE;
          n++;
        }
    }
  return n == one->raid_disks;
}

static void
assemble (Builder *builder, const H2kMdMember *one)
{
  g_autoptr (GArray) disks = g_array_new (FALSE, FALSE, sizeof (H2kMdDisk));
  g_autoptr (GPtrArray) parents = g_ptr_array_new (),
                        notes = g_ptr_array_new_with_free_func (g_free);
  g_autofree char *name = NULL;
  GError *problem = NULL;
  gboolean frozen;
  H2kDisk *disk;
  H2kNode *node;

  g_hash_table_add (builder->md_done, g_strdup (one->uuid));
  for (guint i = 0; i < builder->md->len; i++)
    {
      const Member *member = builder->md->pdata[i];
      H2kMdDisk found = {member->member, member->node->volume->disk};

      if (strcmp (member->member->uuid, one->uuid) != 0)
        continue;
      g_array_append_val (disks, found);
      g_ptr_array_add (parents, member->node);
    }
  disk = h2k_md_array_disk ((const H2kMdDisk *)disks->data, disks->len, builder->alone, notes,
                            &frozen, &problem);
  name = g_strdup_printf ("RAID array %s", one->name && *one->name ? one->name : one->uuid);
  node = stack_add_node (builder, H2K_NODE_MD, name, disk, parents);
  node->frozen = frozen;
  name_array (builder, node, one);
  if (problem)
    stack_set_problem (node, problem);
  for (guint i = 0; i < notes->len; i++)
    g_ptr_array_add (node->notes, g_strdup (notes->pdata[i]));
}

gboolean
stack_md_assemble (Builder *builder, gboolean complete)
{
  for (guint i = 0; i < builder->md->len; i++)
    {
      const H2kMdMember *member = ((const Member *)builder->md->pdata[i])->member;
      if (g_hash_table_contains (builder->md_done, member->uuid)
          || (complete && !is_complete (builder, member)))
        continue;
      assemble (builder, member);
      return TRUE;
    }
  return FALSE;
}
