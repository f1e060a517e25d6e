/* parts.c - the partitions of a disk, the volumes that are made of them, and what each is
 * for.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/foreign.h"
#include "migrate/discover/discover.h"

#define BLANK_SIZE (64u << 10) /* a partition with nothing there is empty */

/* --- roles ------------------------------------------------------------------------------------ */

/* What the table says, when that is enough. */
static const struct
{
  const char *table_role, *role;
} sure_roles[] = {
    {"esp", "esp"},          {"bios-boot", "bios-boot"},           {"prep", "prep"},
    {"msr", "msr"},          {"recovery", "windows-recovery"},     {"extended", "extended"},
    {"ldm", "dynamic-disk"}, {"storage-spaces", "storage-spaces"},
};

/* What is there, by the type of its superblock. */
static const struct
{
  const char *type, *role;
} type_roles[] = {
    {"LVM2_member", "lvm"}, {"linux_raid_member", "md"}, {"crypto_LUKS", "luks"},
    {"swap", "swap"},       {"swsuspend", "swap"},       {"BitLocker", "bitlocker"},
};

/* What libblkid knows and has no files for us. */
static const struct
{
  const char *type, *role;
} foreign_roles[] = {
    {"bcachefs", "bcachefs"}, {"VMFS_volume_member", "vmfs"},
    {"VMFS", "vmfs"},         {"ReFS", "refs"},
    {"drbd", "drbd"},         {"ceph_bluestore", "ceph"},
    {"stratis", "stratis"},   {"bcache", "bcache"},
    {"vdo", "vdo"},           {"zfs_member", "zfs"},
};

static const H2kGuestVolume *
guest_volume (const H2kGuest *guest, const H2kNode *node)
{
  for (guint i = 0; guest && i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *volume = guest->volumes->pdata[i];
      if (volume->node == node)
        return volume;
    }
  return NULL;
}

/* By where the system mounts it; an EFI system partition may be mounted anywhere. */
static const char *
role_by_mount (const H2kGuest *guest, const H2kGuestVolume *volume)
{
  if (!volume || !volume->mountpoint || g_str_equal (h2k_volume_role (volume->volume), "esp"))
    return NULL;
  if (g_str_equal (volume->mountpoint, "/"))
    return guest->windows ? "windows" : "root";
  if (g_str_equal (volume->mountpoint, "/boot"))
    return "boot";
  return g_str_equal (volume->mountpoint, H2K_WINDOWS_BOOT) ? "windows-boot" : NULL;
}

static const char *
role_by_table (const H2kVolume *volume)
{
  const char *role = h2k_volume_role (volume);

  for (gsize i = 0; i < G_N_ELEMENTS (sure_roles); i++)
    if (g_str_equal (sure_roles[i].table_role, role))
      return sure_roles[i].role;
  return NULL;
}

static const char *
role_by_type (const H2kNode *node)
{
  for (gsize i = 0; i < G_N_ELEMENTS (type_roles); i++)
    if (g_str_equal (type_roles[i].type, node->id.type))
      return type_roles[i].role;
  /* One of several devices of a filesystem. */
  if (node->is_member && g_str_equal (node->id.type, "btrfs"))
    return "btrfs";
  return node->id.type[0] ? "data" : NULL;
}

/* --- what no driver knows --------------------------------------------------------------------- */

static void
set_label (JsonObject *part, const H2kZfsLabel *label)
{
  discover_set_text (part, "role",
                     label->state == H2K_ZFS_CACHE   ? "zfs-cache"
                     : label->state == H2K_ZFS_SPARE ? "zfs-spare"
                                                     : "zfs");
  discover_set_text (part, "type", "zfs_member");
  discover_set_text (part, "pool", label->pool);
}

/* Returns whether it is known. */
static gboolean
set_foreign (JsonObject *part, const H2kForeign *id)
{
  discover_set_text (part, "type", id->type);
  discover_set_text (part, "uuid", id->uuid[0] ? id->uuid : NULL);
  discover_set_text (part, "label", id->label[0] ? id->label : NULL);
  if (id->version[0])
    discover_set_text (part, "version", id->version);
  for (gsize i = 0; i < G_N_ELEMENTS (foreign_roles); i++)
    if (g_str_equal (foreign_roles[i].type, id->type))
      {
        discover_set_text (part, "role", foreign_roles[i].role);
        return TRUE;
      }
  discover_set_text (part, "role", g_str_equal (id->usage, "raid") ? "raid" : "data");
  return TRUE;
}

/* Whether a volume without a known filesystem is something else. */
static gboolean
look_closer (JsonObject *part, const H2kVolume *volume, GPtrArray *labels)
{
  H2kZfsLabel *label = h2k_zfs_label_read (volume->disk, NULL);
  H2kForeign foreign;

  if (label)
    {
      set_label (part, label);
      g_ptr_array_add (labels, label);
      return TRUE;
    }
  return h2k_foreign_identify (volume->disk, &foreign, NULL) && set_foreign (part, &foreign);
}

static gboolean
is_empty (H2kDisk *disk)
{
  gsize length = (gsize)MIN (disk->size, BLANK_SIZE);
  g_autofree guint8 *bytes = g_malloc (length + 1);

  return h2k_disk_pread (disk, 0, length, bytes, NULL) && h2k_is_zero (bytes, length);
}

/* --- one volume ------------------------------------------------------------------------------- */

static void
set_role (JsonObject *part, const H2kNode *node, const H2kGuest *guest, GPtrArray *labels)
{
  const H2kVolume *volume = node->volume;
  const char *role = role_by_mount (guest, guest_volume (guest, node));

  if (!role)
    role = role_by_table (volume);
  if (!role)
    role = role_by_type (node);
  if (role)
    discover_set_text (part, "role", role);
  else if (!volume->disk)
    discover_set_text (part, "role", "unreadable");
  else if (!look_closer (part, volume, labels))
    discover_set_text (part, "role",
                       g_str_equal (h2k_volume_role (volume), "swap") ? "swap"
                       : is_empty (volume->disk)                      ? "empty"
                                                                      : "unknown");
}

static JsonObject *
part_of (const H2kNode *node, const H2kGuest *guest, GPtrArray *labels)
{
  const H2kVolume *volume = node->volume;
  const H2kGuestVolume *mounted = guest_volume (guest, node);
  JsonObject *part = json_object_new ();

  discover_set_number (part, "size", volume->disk ? volume->disk->size : volume->length);
  discover_set_text (part, "role", NULL);
  discover_set_text (part, "type", node->id.type[0] ? node->id.type : NULL);
  discover_set_text (part, "label", node->id.label[0] ? node->id.label : NULL);
  discover_set_text (part, "uuid", node->id.uuid[0] ? node->id.uuid : NULL);
  discover_set_text (part, "mountpoint", mounted ? mounted->mountpoint : NULL);
  set_role (part, node, guest, labels);
  if (node->problem)
    discover_set_text (part, "problem", node->problem->message);
  return part;
}

static void
add_partition (JsonObject *disk, const H2kNode *node, const H2kGuest *guest, GPtrArray *labels)
{
  const H2kVolume *volume = node->volume;
  JsonObject *part = part_of (node, guest, labels);

  discover_set_number (part, "disk", node->disk + 1);
  discover_set_number (part, "number", volume->number);
  discover_set_number (part, "offset", volume->offset);
  discover_set_text (part, "name", volume->part_label);
  discover_set_text (part, "partuuid", volume->part_uuid);
  json_array_add_object_element (discover_array (disk, "partitions"), part);
}

static void
add_volume (JsonObject *disk, const H2kNode *node, const H2kGuest *guest, GPtrArray *labels)
{
  JsonObject *part = part_of (node, guest, labels);

  discover_set_text (part, "kind", h2k_node_kind_name (node->kind));
  discover_set_text (part, "name", node->names->len ? node->names->pdata[0] : node->name);
  discover_set_text (part, "layout", node->type);
  json_array_add_object_element (discover_array (disk, "volumes"), part);
}

void
discover_parts (JsonObject *disk, const H2kStack *stack, const H2kGuest *guest, GPtrArray *labels)
{
  static const char *const tables[] = {"none", "mbr", "gpt"};
  const H2kTable *table = stack->tables->pdata[0];

  discover_set_text (disk, "table", tables[table->type]);
  discover_set_text (disk, "table_id", table->disk_id);
  discover_array (disk, "partitions");
  discover_array (disk, "volumes");
  for (guint i = 0; i < stack->nodes->len; i++)
    {
      const H2kNode *node = stack->nodes->pdata[i];
      if (node->depth == 0 && node->volume)
        add_partition (disk, node, guest, labels);
      else if (node->volume)
        add_volume (disk, node, guest, labels);
    }
}
