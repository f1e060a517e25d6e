/* stack-btrfs.c - btrfs filesystems that lie on several of the volumes that were found.
 *
 * Such a filesystem is a volume of its own, so that it is opened, mounted and told once; its
 * devices are what it lies on.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/btrfs-devices.h"
#include "volume/stack-private.h"

typedef struct
{
  H2kNode *node;
  H2kBtrfsDevice device;
  GError *damage; /* why nothing is known of it; NULL: it is */
  gboolean done;  /* its filesystem was put together */
} Member;

static void
member_free (gpointer data)
{
  Member *member = data;

  g_clear_error (&member->damage);
  g_free (member);
}

void
stack_btrfs_init (Builder *builder)
{
  builder->btrfs = g_ptr_array_new_with_free_func (member_free);
}

void
stack_btrfs_clear (Builder *builder)
{
  g_ptr_array_unref (builder->btrfs);
}

void
stack_btrfs_take (Builder *builder, H2kNode *node)
{
  Member *member = g_new0 (Member, 1);

  member->node = node;
  h2k_btrfs_device_read (node->volume->disk, &member->device, &member->damage);
  g_ptr_array_add (builder->btrfs, member);
}

/* The devices of one filesystem. */
typedef struct
{
  GPtrArray *members; /* Member * */
  const Member *newest;
  gboolean is_seed;
} Filesystem;

static void
gather (const Builder *builder, const char *uuid, Filesystem *fs)
{
  for (guint i = 0; i < builder->btrfs->len; i++)
    {
      Member *member = builder->btrfs->pdata[i];

      if (member->done || member->damage || strcmp (member->device.uuid, uuid) != 0)
        continue;
      g_ptr_array_add (fs->members, member);
      fs->is_seed = fs->is_seed || member->device.is_seed;
      if (!fs->newest || member->device.generation > fs->newest->device.generation)
        fs->newest = member;
    }
}

/* Whether it needs to be put together. Copies of one that does not are filesystems of their own. */
static gboolean
has_several (const Filesystem *fs)
{
  for (guint i = 0; i < fs->members->len; i++)
    if (((const Member *)fs->members->pdata[i])->device.n_devices > 1)
      return TRUE;
  return FALSE;
}

static gboolean
is_complete (const Filesystem *fs)
{
  return fs->members->len >= fs->newest->device.n_devices;
}

/* Which device is there more than once, so that nobody knows which one is meant. */
static gboolean
check_twins (const Filesystem *fs, GError **error)
{
  for (guint i = 0; i < fs->members->len; i++)
    for (guint k = 0; k < i; k++)
      {
        const Member *a = fs->members->pdata[k], *b = fs->members->pdata[i];

        if (a->device.devid != b->device.devid)
          continue;
        g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                     "device %" G_GUINT64_FORMAT " of the btrfs filesystem %s is there more than "
                     "once, on %s and on %s (is a copy of a disk given, too?)",
                     a->device.devid, a->device.uuid, a->node->name, b->node->name);
        return FALSE;
      }
  return TRUE;
}

/* What else is of the filesystem UUID, but damaged, is no filesystem by itself. */
static void
set_damaged (const Builder *builder, const char *uuid)
{
  for (guint i = 0; i < builder->btrfs->len; i++)
    {
      Member *member = builder->btrfs->pdata[i];

      if (!member->damage || strcmp (member->node->id.uuid, uuid) != 0)
        continue;
      member->node->is_member = TRUE;
      stack_set_problem (member->node, g_steal_pointer (&member->damage));
    }
}

/* Several devices are written together or not at all. */
static void
assemble (Builder *builder, const Filesystem *fs)
{
  gboolean writable = is_complete (fs) && !fs->is_seed;
  g_autoptr (GPtrArray) parents = g_ptr_array_new (), volumes = g_ptr_array_new ();
  const char *uuid = fs->newest->device.uuid;
  g_autofree char *name = g_strdup_printf ("btrfs filesystem %s", uuid);
  GError *problem = NULL;
  H2kDisk *disk = NULL;
  H2kNode *node;

  for (guint i = 0; i < fs->members->len; i++)
    {
      const Member *member = fs->members->pdata[i];
      g_ptr_array_add (parents, member->node);
      g_ptr_array_add (volumes, member->node->volume->disk);
    }
  if (check_twins (fs, &problem))
    disk = h2k_btrfs_devices_new (volumes, uuid, writable, &problem);
  node = stack_add_node (builder, H2K_NODE_BTRFS, name, disk, parents);
  node->uuid = g_strdup (uuid);
  node->type = g_strdup_printf ("%u of %" G_GUINT64_FORMAT " devices", fs->members->len,
                                fs->newest->device.n_devices);
  if (problem)
    stack_set_problem (node, problem);
  set_damaged (builder, uuid);
}

gboolean
stack_btrfs_assemble (Builder *builder)
{
  for (guint i = 0; i < builder->btrfs->len; i++)
    {
      const Member *one = builder->btrfs->pdata[i];
      g_autoptr (GPtrArray) members = g_ptr_array_new ();
      Filesystem fs = {members, NULL, FALSE};

      if (one->done || one->damage)
        continue;
      gather (builder, one->device.uuid, &fs);
      if (!has_several (&fs))
        continue;
      for (guint k = 0; k < members->len; k++)
        ((Member *)members->pdata[k])->done = TRUE;
      assemble (builder, &fs);
      return TRUE;
    }
  return FALSE;
}
