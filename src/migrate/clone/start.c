/* start.c - what has to be so before a clone's VM may be started, and what it is made of.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/start.h"
#include "clone/storage.h"
#include "migrate/clone/encrypt.h"
#include "migrate/clone/serve.h"
#include "util/json.h"

#include <unistd.h>

gboolean
h2k_clone_check_originals (const H2kClone *clone, gboolean served, const char *advice,
                           GError **error)
{
  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autoptr (GPtrArray) found = NULL;
      g_autofree char *all = NULL;

      if (!served && h2k_json_string (h2k_clones_original (clone, i), "served"))
        continue;
      if (!h2k_clones_original_differs (clone, i, FALSE, NULL, NULL, &found, error))
        return FALSE;
      if (found->len == 0)
        continue;
      g_ptr_array_add (found, NULL);
      all = g_strjoinv ("; ", (char **)found->pdata);
      g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
                   "the original of the clone %s is not what it was: %s. The clone's disk would be "
                   "corrupt: bring the original back, or %s",
                   clone->name, all, advice);
      return FALSE;
    }
  return TRUE;
}

/* An overlay over an original that has changed is a corrupt disk: it must not be started. Whoever
 * serves one compares it. */
static gboolean
check_originals (const H2kClone *clone, GError **error)
{
  return h2k_clone_check_originals (
      clone, FALSE, "make another clone of it; --force-unsafe starts it all the same", error);
}

static gboolean
check_not_running (const H2kClone *clone, GError **error)
{
  g_autofree char *image = h2k_clone_image (clone, 0, 0);
  g_autofree char *users = NULL;

  if (h2k_clone_use (clone) != H2K_IMAGE_WRITTEN)
    return TRUE;
  users = h2k_file_users (image);
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the clone %s runs already%s%s", clone->name,
               users ? ": " : "", users ? users : "");
  return FALSE;
}

guint64
h2k_clone_max_size (const H2kClone *clone)
{
  return (guint64)MAX (h2k_json_int (clone->root, "max-size", 0), 0);
}

guint64
h2k_clone_stored (const H2kClone *clone)
{
  guint64 bytes = 0;

  for (guint i = 0; i < clone->layers->len; i++)
    bytes += ((const H2kLayer *)clone->layers->pdata[i])->stored;
  return bytes;
}

gboolean
h2k_clone_check_room (const H2kClone *clone, gboolean all, GError **error)
{
  g_autoptr (H2kStorage) storage = h2k_storage_of (clone->dir, error);
  guint64 most = h2k_clone_max_size (clone), stored = h2k_clone_stored (clone);
  g_autofree char *size = h2k_format_size (most);

  if (!storage)
    return FALSE;
  if (most == 0 || stored < most)
    return h2k_storage_check (storage, clone->dir, all && most > 0 ? most - stored : 0, error);
  g_set_error (
      error, H2K_ERROR, H2K_ERROR_NO_SPACE,
      "the clone %s has grown to its --max-size of %s: reset it, drop snapshots, or give it "
      "more by `hyper2kvm clone limit %s SIZE`",
      clone->name, size, clone->name);
  return FALSE;
}

static gboolean
check_room (const H2kClone *clone, GError **error)
{
  return h2k_clone_check_room (clone, TRUE, error);
}

/* QEMU's own message would not say what to do. */
static gboolean
check_key (const H2kClone *clone, GError **error)
{
  g_autoptr (H2kImageKey) key = NULL;

  h2k_clone_set_live (clone);
  return h2k_clone_read_key (clone, &key, error);
}

/* In the order in which they cost time. */
static const struct
{
  gboolean (*check) (const H2kClone *clone, GError **error);
  gboolean yields; /* to --force-unsafe, if it fails with H2K_ERROR_VERIFY */
} checks[] = {
    {check_not_running, FALSE},
    {check_room, FALSE},
    {check_key, FALSE},
    {check_originals, TRUE},
};

gboolean
h2k_clone_prepare_start (const H2kClone *clone, gboolean unsafe, GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (checks); i++)
    {
      g_autoptr (GError) local = NULL;

      if (checks[i].check (clone, &local))
        continue;
      if (!unsafe || !checks[i].yields || !g_error_matches (local, H2K_ERROR, H2K_ERROR_VERIFY))
        {
          g_propagate_error (error, g_steal_pointer (&local));
          return FALSE;
        }
      g_warning ("%s", local->message);
    }
  return h2k_clone_serve (clone, unsafe ? H2K_CLONE_SERVE_UNSAFE : 0, g_cancellable_get_current (),
                          error);
}

/* --- the machine ------------------------------------------------------------------------------ */

H2kDomain *
h2k_clone_machine (const H2kClone *clone)
{
  JsonNode *node = json_object_get_member (clone->root, "machine");
  g_autoptr (JsonObject) empty = json_object_new ();
  JsonObject *o = node && JSON_NODE_HOLDS_OBJECT (node) ? json_node_get_object (node) : empty;
  H2kDomain *domain = h2k_domain_from_json (o);
  g_autofree char *nvram = g_build_filename (clone->dir, "current", "nvram.fd", NULL);
  gboolean uefi = access (nvram, F_OK) == 0;

  g_free (domain->name);
  domain->name = g_strdup (clone->name);
  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *image = h2k_clone_image (clone, 0, i);
      H2kDomainDisk *disk;
      if (i >= domain->disks->len)
        h2k_domain_add_disk (domain, image, "qcow2", H2K_BUS_VIRTIO_BLK);
      disk = g_ptr_array_index (domain->disks, i);
      g_free (disk->path);
      disk->path = g_steal_pointer (&image);
    }
  g_ptr_array_set_size (domain->disks, (gint)clone->n_disks);
  if (domain->nics->len == 0)
    h2k_domain_add_nic (domain, NULL, NULL);
  h2k_clone_set_encryption (clone, domain);
  domain->firmware = uefi ? H2K_FIRMWARE_UEFI : H2K_FIRMWARE_BIOS;
  g_free (domain->nvram);
  domain->nvram = uefi ? g_steal_pointer (&nvram) : NULL;
  return domain;
}
