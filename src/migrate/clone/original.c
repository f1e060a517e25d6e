/* original.c - disks that clones can lie over.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/original.h"
#include "util/json.h"
#include "clone/fingerprint.h"
#include "disk/file.h"

#include <stdlib.h>

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

/* What QEMU calls the format of this one image; NULL: it does not read it. */
static const char *
qemu_name (const H2kDisk *disk)
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

/* Whether the data of IMAGE, of qemu-img's list, lie where those of DISK do. A name that is not
 * absolute QEMU looks for in the folder that it was started in. */
static gboolean
has_same_data (JsonObject *image, const H2kDisk *disk)
{
  JsonObject *more = h2k_json_object (h2k_json_object (image, "format-specific"), "data");
  const char *file = h2k_json_string (more, "data-file");
  char *real = file && g_path_is_absolute (file) ? realpath (file, NULL) : NULL;
  gboolean same
      = !file || (real && g_ptr_array_find_with_equal_func (disk->files, real, g_str_equal, NULL));

  free (real);
  return same;
}

/* Whether IMAGE is DISK for QEMU, too. */
static gboolean
is_same_image (JsonObject *image, const H2kDisk *disk)
{
  const char *format = qemu_name (disk), *path = h2k_json_string (image, "filename");
  char *real = path ? realpath (path, NULL) : NULL;
  gboolean same
      = format && real && disk->files->len
        && g_strcmp0 (h2k_json_string (image, "format"), format) == 0
        && g_str_equal (real, disk->files->pdata[0])
        && h2k_json_int (image, "virtual-size", -1) == (gint64)((disk->size + 511) / 512 * 512);

  free (real);
  return same && has_same_data (image, disk);
}

/* Whether QEMU finds the same images below each other: of VMDK it knows some kinds only, of VHD it
 * may believe another size, and it looks for a parent by its full name alone. Without its tools
 * here, there is no knowing. */
static gboolean
qemu_agrees (const H2kDisk *disk, const char *format)
{
  g_autofree char *tool = g_find_program_in_path ("qemu-img"), *out = NULL;
  const char *argv[] = {tool, "info", "-U", "--backing-chain",     "--output=json",
                        "-f", format, "--", disk->files->pdata[0], NULL};
  g_autoptr (JsonNode) node = NULL;
  JsonArray *chain;
  guint n = 0;
  int status = 0;

  if (!tool || g_str_equal (format, "raw"))
    return TRUE;
  if (!g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &out, NULL,
                     &status, NULL)
      || !g_spawn_check_wait_status (status, NULL))
    return FALSE;
  node = json_from_string (out, NULL);
  chain = node && JSON_NODE_HOLDS_ARRAY (node) ? json_node_get_array (node) : NULL;
  for (; disk; disk = disk->backing, n++)
    {
      JsonObject *image = h2k_json_element (chain, n);
      if (!image || !is_same_image (image, disk))
        return FALSE;
    }
  return n == json_array_get_length (chain);
}

const char *
h2k_original_qemu_format (const H2kDisk *disk)
{
  const char *format = qemu_name (disk);

  return format && disk->files->len && qemu_agrees (disk, format) ? format : NULL;
}

const char *
h2k_original_check_format (const H2kDisk *disk, GError **error)
{
  const char *format = h2k_original_qemu_format (disk);

  if (format)
    return format;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s is a %s image%s, which QEMU cannot read below an overlay: make a copy by "
               "`hyper2kvm convert` and clone that",
               disk->name, disk->format, disk->backing ? " with others below it" : "");
  return NULL;
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
