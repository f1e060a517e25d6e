/* original.c - disks that clones can lie over.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/original.h"
#include "util/json.h"
#include "clone/fingerprint.h"
#include "disk/file.h"

/* --- where it lies ---------------------------------------------------------------------------- */

static gboolean
check_whole (const H2kAttached *attached, GError **error)
{
  if (!attached->is_partition)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
               "%s is a partition, which no VM can start from: it belongs to the disk %s, clone "
               "that one",
               attached->path, attached->whole_disk);
  return FALSE;
}

/* What lies in the store belongs to a clone, which may throw it away. */
static gboolean
check_outside (const H2kCloneStore *store, const H2kAttached *attached, GError **error)
{
  g_autofree char *prefix = g_strconcat (store->dir, "/", NULL);

  if (!g_str_has_prefix (attached->path, prefix))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
               "%s belongs to a clone, and goes when that is reset: clone the original of that one",
               attached->path);
  return FALSE;
}

H2kAttached *
h2k_original_look (const H2kCloneStore *store, const char *path, GError **error)
{
  g_autoptr (H2kAttached) attached = NULL;

  if (h2k_file_is_uri (path))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s is on a server: a clone needs its original on this host; fetch it with "
                   "`hyper2kvm convert`",
                   path);
      return NULL;
    }
  attached = h2k_attached_of_path ("", path, error);
  if (!attached || !check_whole (attached, error)
      || (store && !check_outside (store, attached, error)))
    return NULL;
  if (attached->is_device && !attached->by_id)
    g_warning ("%s has no name below /dev/disk/by-id that stays the same: after a restart of this "
               "host, another disk may have it, and `hyper2kvm clone verify` tells; `clone rebase` "
               "then names the right one",
               path);
  return g_steal_pointer (&attached);
}

gboolean
h2k_original_check_unused (const H2kAttached *attached, GError **error)
{
  g_autofree char *users = h2k_attached_users_text (attached);

  if (!users)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
               "%s is in use: %s. What is written there would make the clone corrupt: unmount or "
               "stop it, clone a snapshot of it (--snapshot takes one of an image file on btrfs or "
               "XFS), or take it all the same with --force-unsafe",
               attached->path, users);
  return FALSE;
}

const char *
h2k_original_path (const H2kAttached *attached)
{
  return attached->by_id ? attached->by_id : attached->path;
}

/* --- what it is ------------------------------------------------------------------------------- */

const char *
h2k_original_qemu_format (const H2kDisk *disk)
{
  static const struct
  {
    const char *format, *qemu;
    gboolean chains; /* QEMU follows the images below it */
  } known[] = {
      {"raw", "raw", FALSE},   {"qcow2", "qcow2", TRUE}, {"vmdk", "vmdk", TRUE},
      {"vhdx", "vhdx", FALSE}, {"vhd", "vpc", FALSE},    {"vdi", "vdi", FALSE},
  };

  /* What QEMU's own tools read for this program. */
  if (g_str_has_prefix (disk->format, "qemu:"))
    return disk->format + strlen ("qemu:");
  for (guint i = 0; i < G_N_ELEMENTS (known); i++)
    if (g_str_equal (known[i].format, disk->format))
      return (!disk->backing || known[i].chains) && !disk->origin ? known[i].qemu : NULL;
  return NULL;
}

gboolean
h2k_original_check_format (const H2kDisk *disk, GError **error)
{
  if (h2k_original_qemu_format (disk))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s is a %s image%s, which QEMU cannot read below an overlay: make a copy by "
               "`hyper2kvm convert` and clone that",
               disk->name, disk->format, disk->backing ? " with others below it" : "");
  return FALSE;
}

JsonObject *
h2k_original_describe (const H2kAttached *attached, H2kDisk *disk, gboolean full,
                       const H2kCopyOptions *progress, GCancellable *cancellable, GError **error)
{
  JsonObject *fingerprint = h2k_fingerprint_new (disk, full, progress, cancellable, error);
  JsonObject *o;

  if (!fingerprint)
    return NULL;
  o = json_object_new ();
  if (attached)
    json_object_set_string_member (o, "path", h2k_original_path (attached));
  json_object_set_string_member (o, "format",
                                 disk->format
                                     + (g_str_has_prefix (disk->format, "qemu:") ? strlen ("qemu:")
                                                                                 : 0));
  if (disk->subformat)
    json_object_set_string_member (o, "subformat", disk->subformat);
  json_object_set_boolean_member (o, "device", attached && attached->is_device);
  if (attached && attached->serial)
    json_object_set_string_member (o, "serial", attached->serial);
  json_object_set_object_member (o, "fingerprint", fingerprint);
  return o;
}

static void
move_path (JsonObject *o, const char *from, const char *to)
{
  const char *path = h2k_json_string (o, "path");
  gsize length = strlen (from);
  g_autofree char *moved = NULL;

  if (!path || !g_str_has_prefix (path, from) || path[length] != '/')
    return;
  moved = g_strconcat (to, path + length, NULL);
  json_object_set_string_member (o, "path", moved);
}

void
h2k_original_move (JsonObject *original, const char *from, const char *to)
{
  JsonArray *files = h2k_json_array (h2k_json_object (original, "fingerprint"), "file");

  move_path (original, from, to);
  for (guint i = 0; files && i < json_array_get_length (files); i++)
    if (h2k_json_element (files, i))
      move_path (h2k_json_element (files, i), from, to);
}
