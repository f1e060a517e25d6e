/* original-reader.c - who reads the originals of clones, and how they are opened again.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/original-reader.h"
#include "clone/server.h"
#include "disk/file.h"
#include "disk/remote.h"
#include "migrate/clone/clones.h"
#include "util/json.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define STATE_MAX ((off_t)16 << 20) /* of a clone.json */

/* --- what the user named ---------------------------------------------------------------------- */

/* Whether all that the query of a web address says is where a vSphere host has the file. */
static gboolean
is_harmless (const char *query)
{
  g_auto (GStrv) parts = g_strsplit (query, "&", -1);

  for (guint i = 0; parts[i]; i++)
    if (!g_str_has_prefix (parts[i], "dcPath=") && !g_str_has_prefix (parts[i], "dsName="))
      return FALSE;
  return TRUE;
}

/* A clone keeps its original's address: what is secret must not be in it. */
static gboolean
check_uri (const char *uri, GError **error)
{
  g_autofree char *shown = h2k_uri_shown (uri), *safe = h2k_escape_text (shown, -1);
  g_autoptr (GUri) parsed = g_uri_parse (uri, G_URI_FLAGS_HAS_PASSWORD | G_URI_FLAGS_ENCODED, NULL);

  if (!parsed)
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "%s: is no URI as RFC 3986 has it", safe);
  else if (g_uri_get_password (parsed))
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "%s: has a password in it, which a clone would have to keep: put user and "
                 "password into ~/.netrc, or for ssh use a key or an agent",
                 safe);
  else if (g_str_has_prefix (g_uri_get_scheme (parsed), "http") && g_uri_get_query (parsed)
           && !is_harmless (g_uri_get_query (parsed)))
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "%s: has a query, which may be a signature: a clone would have to keep it, and it "
                 "would not be valid for long; give an address without one",
                 safe);
  else
    return TRUE;
  return FALSE;
}

H2kOriginal *
h2k_original_new (const H2kCloneStore *store, const char *path, GError **error)
{
  g_autoptr (H2kOriginal) original = g_new0 (H2kOriginal, 1);

  if (h2k_file_is_uri (path))
    {
      if (!check_uri (path, error))
        return NULL;
      original->path = g_strdup (path);
      return g_steal_pointer (&original);
    }
  original->attached = h2k_original_look (store, path, error);
  if (!original->attached)
    return NULL;
  /* The name that a device has at the next start of the host, too. */
  original->path
      = g_strdup (original->attached->by_id ? original->attached->by_id : original->attached->path);
  return g_steal_pointer (&original);
}

H2kOriginal *
h2k_original_new_member (const H2kCloneStore *store, const H2kOriginal *named,
                         const H2kAppliance *appliance, const char *kind, guint number,
                         GError **error)
{
  const H2kVmDisk *member = appliance->vm->disks->pdata[number];
  const H2kDisk *disk = appliance->disks->pdata[number];
  H2kOriginal *original;

  if (!g_str_equal (kind, "ova") && member->file && !member->chunked && !member->gzip
      && disk->files->len)
    return h2k_original_new (store, disk->files->pdata[0], error);
  original = h2k_original_new (store, named->path, error);
  if (original)
    {
      original->appliance = g_strdup (kind);
      original->number = number;
    }
  return original;
}

void
h2k_original_free (H2kOriginal *original)
{
  if (!original)
    return;
  h2k_attached_free (original->attached);
  g_free (original->path);
  g_free (original->appliance);
  g_free (original->socket);
  g_free (original);
}

/* --- who reads it ----------------------------------------------------------------------------- */

void
h2k_original_choose_reader (H2kOriginal *original, const H2kDisk *disk, const char *uuid,
                            guint index)
{
  const char *format = original->appliance ? NULL : h2k_original_qemu_format (disk);

  original->qemu = format ? format : "raw";
  if (!format)
    original->socket = h2k_clone_server_socket (uuid, index);
}

/* --- as clone.json has them ------------------------------------------------------------------- */

void
h2k_original_to_json (const H2kOriginal *original, JsonObject *object)
{
  json_object_set_string_member (object, "path", original->path);
  if (original->appliance)
    {
      json_object_set_string_member (object, "appliance", original->appliance);
      json_object_set_int_member (object, "disk", original->number);
    }
  if (original->socket)
    {
      g_autofree char *uri = h2k_clone_server_uri (original->socket);
      json_object_set_string_member (object, "served", uri);
    }
}

static H2kDisk *
open_member (const char *path, const char *kind, gint64 number, GError **error)
{
  g_autoptr (H2kAppliance) appliance = h2k_appliance_open (path, kind, error);

  if (!appliance)
    return NULL;
  if (number >= 0 && number < appliance->disks->len)
    return h2k_disk_ref (appliance->disks->pdata[number]);
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
               "%s has %u disks now, and the clone is of number %" G_GINT64_FORMAT, path,
               appliance->disks->len, number + 1);
  return NULL;
}

H2kDisk *
h2k_original_open (JsonObject *object, GError **error)
{
  const char *path = h2k_json_string (object, "path");
  const char *appliance = h2k_json_string (object, "appliance");

  if (path && *path)
    return appliance ? open_member (path, appliance, h2k_json_int (object, "disk", 0), error)
                     : h2k_disk_open (path, h2k_json_string (object, "format"), error);
  g_set_error_literal (error, H2K_ERROR, H2K_ERROR_SOURCE,
                       "where the clone's original is was lost with its clone.json");
  return NULL;
}

char *
h2k_original_socket (JsonObject *object)
{
  const char *uri = h2k_json_string (object, "served");

  return uri ? h2k_clone_server_uri_socket (uri) : NULL;
}

gboolean
h2k_clone_is_served (const H2kClone *clone)
{
  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *socket = h2k_original_socket (h2k_clones_original (clone, i));
      if (socket)
        return TRUE;
    }
  return FALSE;
}

/* --- below an image --------------------------------------------------------------------------- */

/* The clone.json of the clone that the image PATH is a layer of, if it can only be this user's own:
 * others must not choose by an image what is opened. The caller's. */
static char *
read_state (const char *path)
{
  g_autofree char *folder = g_path_get_dirname (path);
  /* By the kernel's rules: the folder may be a link to a layer's. */
  g_autofree char *state = g_build_filename (folder, "../../clone.json", NULL);
  int fd = open (state, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
  struct stat st;
  char *text = NULL;

  if (fd < 0)
    return NULL;
  if (fstat (fd, &st) == 0 && S_ISREG (st.st_mode) && st.st_uid == geteuid () && !(st.st_mode & 022)
      && st.st_size <= STATE_MAX)
    {
      text = g_malloc0 ((gsize)st.st_size + 1);
      if (h2k_pread_full (fd, text, (gsize)st.st_size, 0) != 0)
        g_clear_pointer (&text, g_free);
    }
  close (fd);
  return text;
}

/* H2kBackingFinder: what a clone's lowest layer calls its backing file. */
static H2kDisk *
find_original (const char *path, const char *name, GError **error)
{
  g_autofree char *socket = h2k_clone_server_uri_socket (name);
  g_autofree char *text = socket ? read_state (path) : NULL;
  g_autoptr (JsonNode) node = text ? h2k_json_parse (text, strlen (text), NULL) : NULL;
  JsonArray *originals = node && JSON_NODE_HOLDS_OBJECT (node)
                             ? h2k_json_array (json_node_get_object (node), "originals")
                             : NULL;

  for (guint i = 0; originals && i < json_array_get_length (originals); i++)
    {
      JsonObject *original = h2k_json_element (originals, i);
      if (g_strcmp0 (h2k_json_string (original, "served"), name) == 0)
        return h2k_original_open (original, error);
    }
  return NULL;
}

/* Wherever a clone's image is opened by this library, its original is found. */
__attribute__ ((constructor)) static void
know_clones (void)
{
  h2k_disk_set_backing_finder (find_original);
}
