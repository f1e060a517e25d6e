/* key.c - encrypted clones: where their key is, and their images opened with it.
 *
 * All layers of a clone have one LUKS header: a layer without data is made without the key, and a
 * chain is unlocked once.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/private.h"

#include <errno.h>
#include <unistd.h>

G_LOCK_DEFINE_STATIC (other_file);
static char *other_file; /* instead of the one that clone.json names */

void
h2k_clone_use_key_file (const char *path)
{
  G_LOCK (other_file);
  g_free (other_file);
  other_file = path ? g_canonicalize_filename (path, NULL) : NULL;
  G_UNLOCK (other_file);
}

char *
h2k_clone_key_file (const H2kClone *clone)
{
  JsonObject *encryption = h2k_json_object (clone->root, "encryption");
  char *path;

  G_LOCK (other_file);
  path = g_strdup (other_file);
  G_UNLOCK (other_file);
  if (!path && encryption)
    path = g_strdup (h2k_json_string (encryption, "key-file"));
  return path;
}

static GBytes *
current_header (const H2kClone *clone, GError **error)
{
  g_autofree char *path = h2k_clone_image (clone, clone->current, 0);
  H2kImageLuks luks = {0};

  return h2k_image_luks_read (path, NULL, &luks, error) ? luks.header : NULL;
}

char *
h2k_clone_secret_uuid (const H2kClone *clone)
{
  g_autoptr (GBytes) header = current_header (clone, NULL);
  char uuid[37];

  return header && h2k_image_luks_uuid (header, uuid) ? g_strdup (uuid) : NULL;
}

gboolean
h2k_clone_is_encrypted (const H2kClone *clone)
{
  g_autoptr (GBytes) header = current_header (clone, NULL);

  return header != NULL;
}

gboolean
h2k_clone_read_key (const H2kClone *clone, H2kImageKey **key, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (GBytes) header = current_header (clone, &local);
  g_autofree char *image = h2k_clone_image (clone, clone->current, 0);
  g_autofree char *path = NULL;
  g_autoptr (H2kImageKey) found = NULL;
  g_autoptr (H2kLuksCipher) cipher = NULL;

  *key = NULL;
  if (!header && !local)
    return TRUE;
  path = header ? h2k_clone_key_file (clone) : NULL;
  if (path)
    found = h2k_image_key_read (path, &local);
  else if (!local)
    g_set_error_literal (&local, H2K_ERROR, H2K_ERROR_SOURCE, "where its key is was lost");
  cipher = found ? h2k_image_key_unlock (found, image, header, &local) : NULL;
  if (cipher)
    {
      *key = g_steal_pointer (&found);
      return TRUE;
    }
  g_propagate_prefixed_error (error, g_steal_pointer (&local),
                              "the clone %s is encrypted (--key-file names another file with its "
                              "key): ",
                              clone->name);
  return FALSE;
}

H2kDisk *
h2k_clone_open_image (const H2kClone *clone, guint number, guint disk, GError **error)
{
  g_autofree char *path = h2k_clone_image (clone, number, disk);

  if (!*clone->key && !h2k_clone_read_key (clone, clone->key, error))
    return NULL;
  return h2k_disk_open_with (path, "qcow2", *clone->key, error);
}

/* --- the name for definitions ----------------------------------------------------------------- */

char *
h2k_clone_live_image (const H2kClone *clone, guint disk)
{
  g_autofree char *name = h2k_clone_disk_name (disk);

  return g_strdup_printf ("%s/layers/%u/" H2K_CLONE_LIVE "/%s", clone->dir, clone->current, name);
}

static char *
live_link (const H2kClone *clone, guint number)
{
  return g_strdup_printf ("%s/layers/%u/" H2K_CLONE_LIVE, clone->dir, number);
}

gboolean
h2k_clone_remove_live (const H2kClone *clone, guint number, GError **error)
{
  g_autofree char *link = live_link (clone, number);

  if (unlink (link) == 0 || errno == ENOENT)
    return TRUE;
  h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot remove %s", link);
  return FALSE;
}

void
h2k_clone_set_live (const H2kClone *clone)
{
  int lock = clone->lock_fd < 0 ? h2k_clone_lock (clone->dir) : -1;
  g_autofree char *current = live_link (clone, clone->current);

  if (clone->lock_fd < 0 && lock < 0)
    return; /* who changes the clone sees to it */
  for (guint i = 0; i < clone->layers->len; i++)
    {
      const H2kLayer *layer = clone->layers->pdata[i];
      if (layer->number != clone->current)
        h2k_clone_remove_live (clone, layer->number, NULL);
    }
  if (h2k_clone_is_encrypted (clone) && symlink (".", current) != 0 && errno != EEXIST)
    g_warning ("cannot make %s: %s", current, g_strerror (errno));
  if (lock >= 0)
    close (lock);
}

void
h2k_clone_lower_images (const H2kClone *clone, guint disk, GPtrArray *images)
{
  const H2kLayer *layer = h2k_clone_layer (clone, clone->current);

  /* A parent's number is smaller than its child's: this ends. */
  while (layer && (layer = h2k_clone_layer (clone, layer->parent)))
    g_ptr_array_add (images, h2k_clone_image (clone, layer->number, disk));
}
