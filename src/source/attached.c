/* attached.c - what a block device or an image file of this host is.
 *
 * Names and numbers as Documentation/ABI/{stable,testing}/sysfs-block has them. Model and serial
 * number are where each kind of driver puts them; udev's database is asked where sysfs has none.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/attached.h"
#include "source/block.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define SECTOR 512u /* what sysfs counts sizes in, whatever the disk's sectors are */

void
h2k_attached_free (H2kAttached *attached)
{
  if (!attached)
    return;
  g_free (attached->path);
  g_free (attached->name);
  g_free (attached->by_id);
  g_free (attached->whole_disk);
  g_free (attached->transport);
  g_free (attached->model);
  g_free (attached->serial);
  g_free (attached->backing_file);
  g_clear_pointer (&attached->partitions, g_ptr_array_unref);
  g_clear_pointer (&attached->users, g_ptr_array_unref);
  g_free (attached);
}

static H2kAttached *
attached_new (void)
{
  H2kAttached *attached = g_new0 (H2kAttached, 1);

  attached->partitions = g_ptr_array_new_with_free_func (g_free);
  attached->users = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_attached_user_free);
  attached->logical_sector = attached->physical_sector = SECTOR;
  return attached;
}

static void
add_user (H2kAttached *attached, H2kAttachedUser *user)
{
  if (user)
    g_ptr_array_add (attached->users, user);
}

/* --- how it is attached ----------------------------------------------------------------------- */

/* By the beginning of its name. */
static const struct
{
  const char *prefix, *transport;
} named_transports[] = {
    {"nvme", "nvme"},   {"mmcblk", "mmc"}, {"loop", "loop"},      {"md", "md"},
    {"nbd", "nbd"},     {"rbd", "rbd"},    {"zd", "zvol"},        {"xvd", "xen"},
    {"drbd", "drbd"},   {"vd", "virtio"},  {"bcache", "bcache"},  {"pmem", "pmem"},
    {"dasd", "dasd"},   {"ubd", "uml"},    {"sr", "cdrom"},       {"fd", "floppy"},
    {"zram", "memory"}, {"ram", "memory"}, {"mtdblock", "flash"},
};

/* By what is on the way to it among the devices of the host; the one that is closer comes first. */
static const struct
{
  const char *part, *transport;
} placed_transports[] = {
    {"/usb", "usb"},         {"/ata", "sata"},          {"/session", "iscsi"}, {"/rport-", "fc"},
    {"/end_device-", "sas"}, {"/firewire", "firewire"}, {"/vmbus", "hyperv"},  {"/VMBUS", "hyperv"},
    {"/vio", "vscsi"},       {"/virtio", "virtio"},     {"/ufs", "ufs"},
};

static const char *
transport_of_dm (const BlockNode *node)
{
  const char *uuid = node->dm_uuid ? node->dm_uuid : "";

  return g_str_has_prefix (uuid, "mpath-")   ? "multipath"
         : g_str_has_prefix (uuid, "LVM-")   ? "lvm"
         : g_str_has_prefix (uuid, "CRYPT-") ? "crypt"
                                             : "dm";
}

static const char *
transport_of (const BlockNode *node)
{
  g_autofree char *place = realpath (node->dir, NULL);

  if (node->dm_name)
    return transport_of_dm (node);
  for (gsize i = 0; i < G_N_ELEMENTS (named_transports); i++)
    if (g_str_has_prefix (node->name, named_transports[i].prefix))
      return named_transports[i].transport;
  for (gsize i = 0; place && i < G_N_ELEMENTS (placed_transports); i++)
    if (strstr (place, placed_transports[i].part))
      return placed_transports[i].transport;
  return g_str_has_prefix (node->name, "sd") ? "scsi" : "other";
}

/* --- model and serial number ------------------------------------------------------------------ */

/* Words of ATA's IDENTIFY DEVICE, whose letters are swapped in pairs, in the page of vital product
 * data that libata makes (SAT-5, 12.4.2): 60 bytes before them. */
static char *
ata_text (const char *dir, guint word, guint words)
{
  g_autofree char *path = g_build_filename (dir, "device", "vpd_pg89", NULL), *page = NULL;
  g_autofree char *text = g_malloc0 (words * 2 + 1);
  gsize length, at = 60 + word * 2;

  if (!g_file_get_contents (path, &page, &length, NULL) || length < at + words * 2)
    return NULL;
  for (guint i = 0; i < words * 2; i++)
    text[i] = page[at + (i ^ 1)];
  g_strstrip (text);
  return *text ? g_steal_pointer (&text) : NULL;
}

/* The unit serial number page (SPC-5, 7.7.19): four bytes, of which the last two are its length. */
static char *
scsi_serial (const char *dir)
{
  g_autofree char *path = g_build_filename (dir, "device", "vpd_pg80", NULL), *page = NULL;
  g_autofree char *text = NULL;
  gsize length;

  if (!g_file_get_contents (path, &page, &length, NULL) || length < 5
      || h2k_be16 (page + 2) > length - 4)
    return NULL;
  text = g_strndup (page + 4, h2k_be16 (page + 2));
  g_strstrip (text);
  return *text ? g_steal_pointer (&text) : NULL;
}

/* A property in udev's database. */
static char *
udev_property (const char *root, dev_t dev, const char *name)
{
  g_autofree char *path
      = g_strdup_printf ("%s/run/udev/data/b%u:%u", root, major (dev), minor (dev));
  g_autofree char *text = NULL, *prefix = g_strdup_printf ("E:%s=", name);
  g_auto (GStrv) lines = NULL;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return NULL;
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++)
    if (g_str_has_prefix (*line, prefix))
      return g_strdup (*line + strlen (prefix));
  return NULL;
}

/* SCSI splits vendor and model; the vendor of all ATA disks is "ATA". */
static char *
scsi_model (const char *dir)
{
  g_autofree char *vendor = h2k_block_attribute (dir, "device/vendor");
  g_autofree char *model = h2k_block_attribute (dir, "device/model");

  /* The vendor of virtio is a number. */
  if (model && vendor && !g_str_equal (vendor, "ATA") && !g_str_has_prefix (vendor, "0x"))
    return g_strconcat (vendor, " ", model, NULL);
  return g_steal_pointer (&model);
}

static char *
escaped (char *text)
{
  char *safe = text ? h2k_escape_text (text, -1) : NULL;

  /* One line, whatever the device says of itself. */
  if (safe)
    g_strdelimit (safe, "\n\t", ' ');
  g_free (text);
  return safe;
}

static void
find_model (const char *root, const BlockNode *node, H2kAttached *attached)
{
  char *model = ata_text (node->dir, 27, 20), *serial = ata_text (node->dir, 10, 10);

  if (!model)
    model = scsi_model (node->dir);
  if (!model)
    model = h2k_block_attribute (node->dir, "device/name"); /* of SD cards */
  if (!model)
    model = udev_property (root, node->dev, "ID_MODEL");
  if (!serial)
    serial = scsi_serial (node->dir);
  if (!serial)
    serial = h2k_block_attribute (node->dir, "device/serial"); /* NVMe, SD cards */
  if (!serial)
    serial = h2k_block_attribute (node->dir, "serial"); /* virtio */
  if (!serial)
    serial = udev_property (root, node->dev, "ID_SERIAL_SHORT");
  attached->model = escaped (model);
  attached->serial = escaped (serial);
}

/* --- the stable name -------------------------------------------------------------------------- */

/* Which link is shown, the first kind first: those with model and serial number can be recognised
 * by people. */
static const char *const link_kinds[]
    = {"nvme-",          "ata-", "usb-",     "virtio-", "mmc-", "scsi-",
       "dm-uuid-mpath-", "md-",  "dm-name-", "wwn-",    ""};

static guint
rank (const char *link)
{
  guint i = 0;

  /* "nvme-eui.0025..." is a number again. */
  if (g_str_has_prefix (link, "nvme-eui.") || g_str_has_prefix (link, "nvme-uuid."))
    return G_N_ELEMENTS (link_kinds);
  while (!g_str_has_prefix (link, link_kinds[i]))
    i++;
  return i;
}

/* Of two links the better one; between equals the shorter, then the first by name. */
static gboolean
is_better (const char *link, const char *best)
{
  if (!best)
    return TRUE;
  if (rank (link) != rank (best))
    return rank (link) < rank (best);
  if (strlen (link) != strlen (best))
    return strlen (link) < strlen (best);
  return strcmp (link, best) < 0;
}

static char *
find_by_id (const char *root, const BlockNode *node)
{
  g_autofree char *folder = g_strconcat (root, "/dev/disk/by-id", NULL), *best = NULL;
  g_autofree char *path = h2k_block_path (node), *base = g_path_get_basename (path);
  g_autoptr (GDir) dir = g_dir_open (folder, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    {
      g_autofree char *link = g_build_filename (folder, name, NULL);
      g_autofree char *target = g_file_read_link (link, NULL);
      g_autofree char *target_base = target ? g_path_get_basename (target) : NULL;
      if (!target || !g_str_equal (target_base, base) || !is_better (name, best))
        continue;
      g_free (best);
      best = g_strdup (name);
    }
  return best ? g_strconcat ("/dev/disk/by-id/", best, NULL) : NULL;
}

/* --- one device ------------------------------------------------------------------------------- */

/* The disk that NODE is a partition of: also one that the device mapper made (kpartx). */
static const BlockNode *
whole_of (const BlockNode *node, guint *number)
{
  const char *uuid = node->dm_uuid ? node->dm_uuid : "";

  *number = node->partition;
  if (node->whole)
    return node->whole;
  if (g_str_has_prefix (uuid, "part") && node->slaves->len == 1)
    *number = (guint)g_ascii_strtoull (uuid + strlen ("part"), NULL, 10);
  return *number ? node->slaves->pdata[0] : node;
}

static void
find_users (H2kAttached *attached, const BlockNode *node, const BlockNode *whole)
{
  add_user (attached, h2k_block_user (node));
  if (whole != node)
    add_user (attached, node->whole ? h2k_block_user (whole) : NULL);
  for (guint i = 0; i < node->parts->len; i++)
    add_user (attached, h2k_block_user (node->parts->pdata[i]));
}

static H2kAttached *
describe_node (const BlockHost *host, const BlockNode *node)
{
  H2kAttached *attached = attached_new ();
  const BlockNode *whole = whole_of (node, &attached->partition);
  g_autofree char *file = NULL;

  attached->path = h2k_block_path (node);
  attached->name = g_strdup (node->name);
  attached->by_id = find_by_id (host->root, node);
  attached->dev = node->dev;
  attached->is_device = TRUE;
  attached->is_partition = attached->partition != 0;
  attached->whole_disk = h2k_block_path (whole);
  attached->transport = g_strdup (transport_of (whole));
  find_model (host->root, whole, attached);
  file = h2k_block_attribute (whole->dir, "loop/backing_file");
  attached->backing_file = escaped (g_steal_pointer (&file));
  attached->size = MIN (h2k_block_number (node->dir, "size", 0), G_MAXINT64 / SECTOR) * SECTOR;
  attached->logical_sector
      = (guint32)h2k_block_number (whole->dir, "queue/logical_block_size", SECTOR);
  attached->physical_sector = (guint32)h2k_block_number (whole->dir, "queue/physical_block_size",
                                                         attached->logical_sector);
  attached->removable = h2k_block_number (whole->dir, "removable", 0) != 0;
  attached->rotational = h2k_block_number (whole->dir, "queue/rotational", 0) != 0;
  attached->read_only = h2k_block_number (node->dir, "ro", 0) != 0;
  for (guint i = 0; i < node->parts->len; i++)
    g_ptr_array_add (attached->partitions, h2k_block_path (node->parts->pdata[i]));
  find_users (attached, node, whole);
  return attached;
}

static H2kAttached *
of_dev (const BlockHost *host, dev_t dev, const char *name, GError **error)
{
  const BlockNode *node = h2k_block_find_dev (host, dev);

  if (node)
    return describe_node (host, node);
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
               "%s: the kernel knows no block device with the number %u:%u; its disk may have been "
               "taken away",
               name, major (dev), minor (dev));
  return NULL;
}

H2kAttached *
h2k_attached_of_dev (const char *root, dev_t dev, GError **error)
{
  g_autoptr (BlockHost) host = h2k_block_host_new (root, error);

  return host ? of_dev (host, dev, "sysfs", error) : NULL;
}

/* --- all disks -------------------------------------------------------------------------------- */

/* What is made of other disks counts when firmware shows it as a disk. */
static gboolean
is_made_disk (const BlockNode *node)
{
  g_autofree char *metadata = h2k_block_attribute (node->dir, "md/metadata_version");
  const char *uuid = node->dm_uuid ? node->dm_uuid : "";

  if (node->dm_name)
    return g_str_has_prefix (uuid, "mpath-") || g_str_has_prefix (uuid, "DMRAID-");
  return metadata && g_str_has_prefix (metadata, "external:");
}

/* Whether all of NODE is a path of a multipath device, or of a firmware's array. */
static gboolean
is_part_of_disk (const BlockNode *node)
{
  for (guint i = 0; i < node->holders->len; i++)
    if (is_made_disk (node->holders->pdata[i]))
      return TRUE;
  return FALSE;
}

static gboolean
is_disk (const BlockNode *node)
{
  static const char *const never[] = {"sr", "fd", "ram", "zram", "mtdblock", "zd", "bcache"};

  if (node->whole || h2k_block_number (node->dir, "size", 0) == 0
      || h2k_block_number (node->dir, "hidden", 0) != 0 || is_part_of_disk (node))
    return FALSE;
  for (gsize i = 0; i < G_N_ELEMENTS (never); i++)
    if (g_str_has_prefix (node->name, never[i]) && g_ascii_isdigit (node->name[strlen (never[i])]))
      return FALSE;
  return (!node->dm_name && !g_str_has_prefix (node->name, "md")) || is_made_disk (node);
}

/* sda before sdaa, loop2 before loop10. */
static int
by_name (gconstpointer a, gconstpointer b)
{
  const char *left = (*(H2kAttached *const *)a)->name, *right = (*(H2kAttached *const *)b)->name;
  gsize letters = strcspn (left, "0123456789"), others = strcspn (right, "0123456789");

  if (letters == others && strncmp (left, right, letters) == 0)
    {
      guint64 x = g_ascii_strtoull (left + letters, NULL, 10);
      guint64 y = g_ascii_strtoull (right + others, NULL, 10);
      if (x != y)
        return x < y ? -1 : 1;
    }
  else if (letters != others && strncmp (left, right, 2) == 0)
    return letters < others ? -1 : 1;
  return strcmp (left, right);
}

GPtrArray *
h2k_attached_list (const char *root, GError **error)
{
  g_autoptr (BlockHost) host = h2k_block_host_new (root, error);
  GPtrArray *disks;

  if (!host)
    return NULL;
  disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_attached_free);
  for (guint i = 0; i < host->nodes->len; i++)
    if (is_disk (host->nodes->pdata[i]))
      g_ptr_array_add (disks, describe_node (host, host->nodes->pdata[i]));
  g_ptr_array_sort (disks, by_name);
  return disks;
}

/* --- one path --------------------------------------------------------------------------------- */

static H2kAttached *
describe_file (const BlockHost *host, const char *path, const struct stat *st)
{
  H2kAttached *attached = attached_new ();
  char *real = realpath (path, NULL);

  attached->path = g_strdup (real ? real : path);
  attached->whole_disk = g_strdup (attached->path);
  attached->transport = g_strdup ("file");
  attached->size = (guint64)st->st_size;
  attached->read_only = access (path, W_OK) != 0;
  if (host)
    add_user (attached, h2k_block_file_user (host, attached->path, st->st_dev, st->st_ino));
  free (real);
  return attached;
}

H2kAttached *
h2k_attached_of_path (const char *root, const char *path, GError **error)
{
  g_autofree char *name = h2k_escape_text (path, -1), *full = g_strconcat (root, path, NULL);
  g_autoptr (BlockHost) host = NULL;
  g_autoptr (H2kAttached) attached = NULL;
  g_autoptr (GError) local = NULL;
  struct stat st;

  if (stat (full, &st) != 0)
    {
      h2k_set_errno (error, H2K_ERROR_SOURCE, errno, "%s: cannot look at the disk", name);
      return NULL;
    }
  if (!S_ISBLK (st.st_mode) && !S_ISREG (st.st_mode))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "%s: is no disk; a disk is a block device or a file", name);
      return NULL;
    }
  host = h2k_block_host_new (root, &local);
  if (S_ISREG (st.st_mode))
    attached = describe_file (host, full, &st);
  else if (host)
    attached = of_dev (host, st.st_rdev, name, error);
  else
    g_propagate_error (error, g_steal_pointer (&local));
  if (attached)
    h2k_attached_try_open (root, attached);
  return g_steal_pointer (&attached);
}

char *
h2k_attached_users_text (const H2kAttached *attached)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (guint i = 0; i < attached->users->len; i++)
    {
      const H2kAttachedUser *user = attached->users->pdata[i];
      g_string_append_printf (text, "%s%s: %s", i ? "; " : "", user->device, user->text);
    }
  return text->len ? g_string_free (g_steal_pointer (&text), FALSE) : NULL;
}
