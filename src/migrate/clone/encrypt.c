/* encrypt.c - encrypted clones as their VM's definition and libvirt see them.
 *
 * libvirt finds out by itself what an image builds on, but not how to unlock it: it wants each
 * encrypted layer to be named, and its secret.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/encrypt.h"
#include "migrate/clone/start.h"

void
h2k_clone_secret_clear (H2kCloneSecret *secret)
{
  g_clear_pointer (&secret->uuid, g_free);
  g_clear_pointer (&secret->xml, g_free);
  g_clear_pointer (&secret->value, g_bytes_unref);
}

/* Ephemeral: libvirt keeps it in memory, where the key is anyhow while the VM runs, and never
 * writes it to its own files. */
static char *
secret_xml (const char *name, const char *dir, const char *uuid)
{
  g_autofree char *safe = h2k_escape_text (dir, -1);

  return g_markup_printf_escaped ("<secret ephemeral='yes' private='yes'>\n"
                                  "  <uuid>%s</uuid>\n"
                                  "  <description>the key of the clone %s</description>\n"
                                  "  <usage type='volume'>\n"
                                  "    <volume>%s/current/disk.qcow2</volume>\n"
                                  "  </usage>\n"
                                  "</secret>\n",
                                  uuid, name, safe);
}

static gboolean
write_file (const char *dir, const char *name, const char *text, GError **error)
{
  g_autofree char *path = g_build_filename (dir, name, NULL);
  g_autoptr (GError) local = NULL;

  if (g_file_set_contents_full (path, text, -1, G_FILE_SET_CONTENTS_CONSISTENT, 0600, &local))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the definition cannot be written: %s",
               local->message);
  return FALSE;
}

/* --- of a clone ------------------------------------------------------------------------------- */

gboolean
h2k_clone_secret (const H2kClone *clone, H2kCloneSecret *secret, GError **error)
{
  g_autoptr (H2kImageKey) key = NULL;

  if (!h2k_clone_read_key (clone, &key, error))
    return FALSE;
  if (!key)
    return TRUE;
  secret->uuid = h2k_clone_secret_uuid (clone);
  if (!secret->uuid)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "the clone %s: the LUKS header of its image has no UUID", clone->name);
      return FALSE;
    }
  secret->xml = secret_xml (clone->name, clone->dir, secret->uuid);
  secret->value = g_bytes_ref (h2k_image_key_secret (key));
  return TRUE;
}

/* Takes PATH. */
static void
set_luks (H2kDomainDisk *disk, char *path, const char *key_file, const char *uuid)
{
  g_free (disk->path);
  disk->path = path;
  h2k_domain_luks_free (disk->luks);
  disk->luks = h2k_domain_luks_new (key_file, uuid);
}

void
h2k_clone_set_encryption (const H2kClone *clone, H2kDomain *domain)
{
  g_autofree char *uuid = h2k_clone_secret_uuid (clone);
  g_autofree char *file = uuid ? h2k_clone_key_file (clone) : NULL;

  for (guint i = 0; uuid && i < domain->disks->len; i++)
    {
      H2kDomainDisk *disk = domain->disks->pdata[i];

      set_luks (disk, h2k_clone_live_image (clone, i), file ? file : "", uuid);
      h2k_clone_lower_images (clone, i, disk->luks->below);
    }
}

gboolean
h2k_clone_write_definition (const H2kClone *clone, GError **error)
{
  g_autofree char *uuid = h2k_clone_secret_uuid (clone);
  g_autoptr (H2kDomain) domain = uuid ? h2k_clone_machine (clone) : NULL;
  g_autofree char *secret = uuid ? secret_xml (clone->name, clone->dir, uuid) : NULL;
  g_autofree char *xml = domain ? h2k_domain_to_xml (domain) : NULL;

  return !uuid
         || (write_file (clone->dir, "domain.xml", xml, error)
             && write_file (clone->dir, "secret.xml", secret, error));
}

/* --- of one that is being made ---------------------------------------------------------------- */

gboolean
h2k_clone_draft_define (const H2kCloneDraft *draft, const char *key_file, H2kDomain *domain,
                        GError **error)
{
  g_autofree char *file = g_canonicalize_filename (key_file, NULL);
  g_autofree char *xml = NULL;
  char uuid[37];

  if (!h2k_image_luks_uuid (draft->luks.header, uuid))
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_FAILED,
                           "libcryptsetup made a LUKS header without a UUID");
      return FALSE;
    }
  for (guint i = 0; i < domain->disks->len; i++)
    {
      H2kDomainDisk *disk = domain->disks->pdata[i];

      set_luks (disk, h2k_clone_draft_live_image (draft, i), file, uuid);
      g_ptr_array_add (disk->luks->below, h2k_clone_draft_base_image (draft, i));
    }
  xml = secret_xml (draft->name, draft->final_dir, uuid);
  return write_file (draft->dir, "secret.xml", xml, error);
}
