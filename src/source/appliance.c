/* appliance.c - the files of an exported VM found and opened. See appliance.h.
 *
 * An OVA is a tar archive of an OVF, which comes first, a manifest and the disks (DMTF DSP0243,
 * 5.3). Its members are read in place.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/appliance.h"

#include "disk/gzip.h"
#include "disk/tar.h"
#include "util/digest.h"

#include <stdlib.h>

#define READ_SIZE (1u << 20)
#define MAX_CHUNKS 4096 /* each is an open file */

/* Where the files of an appliance are: members of an archive, or beside the description. */
typedef struct
{
  const char *path;   /* of the archive or the description */
  H2kFile *archive;   /* NULL: a folder */
  GPtrArray *members; /* H2kTarMember */
} Place;

static void
place_clear (Place *place)
{
  if (place->archive)
    h2k_file_unref (place->archive);
  if (place->members)
    g_ptr_array_unref (place->members);
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Place, place_clear)

/* --- finding files ---------------------------------------------------------------------------- */

static const H2kTarMember *
find_member (const Place *place, const char *name)
{
  for (guint i = 0; i < place->members->len; i++)
    {
      const H2kTarMember *member = place->members->pdata[i];
      const char *plain = g_str_has_prefix (member->name, "./") ? member->name + 2 : member->name;
      if (g_str_equal (plain, name))
        return member;
    }
  return NULL;
}

/* The file NAME of the appliance. It lies in the folder of the description or below, also when a
 * link leads elsewhere: a description must not choose files of this host. */
static char *
path_beside (const char *description, const char *name, GError **error)
{
  g_autofree char *folder = g_path_get_dirname (description);
  g_autofree char *path = g_build_filename (folder, name, NULL);
  g_autofree char *real_folder = realpath (folder, NULL), *real = realpath (path, NULL);
  g_autofree char *safe = h2k_escape_text (name, -1), *label = h2k_escape_text (description, -1);
  gsize n = real_folder ? strlen (real_folder) : 0;

  if (!real || !real_folder
      || (strncmp (real, real_folder, n) == 0
          && (real[n] == '/' || g_str_equal (real_folder, "/"))))
    return g_steal_pointer (&path);
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s names the file \"%s\", which leads out of its folder and is not read; copy the "
               "file there if it belongs to the VM",
               label, safe);
  return NULL;
}

static H2kFile *
open_file (const Place *place, const char *name, GError **error)
{
  g_autofree char *path = NULL;
  const H2kTarMember *member;

  if (!place->archive)
    {
      path = path_beside (place->path, name, error);
      return path ? h2k_file_open (path, error) : NULL;
    }
  member = find_member (place, name);
  if (!member)
    {
      g_autofree char *safe = h2k_escape_text (name, -1);
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "%s: has no member \"%s\", which its description names; fetch the appliance "
                   "again",
                   place->archive->name, safe);
      return NULL;
    }
  return h2k_tar_open (place->archive, member);
}

/* --- texts ------------------------------------------------------------------------------------ */

static char *
read_text (H2kFile *file, gsize *size, GError **error)
{
  g_autofree char *text = NULL;

  if (file->size == 0 || file->size > H2K_DESCRIPTION_MAX)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s has %" G_GUINT64_FORMAT " bytes, which no description of a VM has",
                   file->name, file->size);
      return NULL;
    }
  *size = (gsize)file->size;
  text = g_malloc (*size);
  return h2k_file_pread (file, 0, *size, text, error) ? g_steal_pointer (&text) : NULL;
}

/* NAME with the extension EXTENSION instead of its own. */
static char *
with_extension (const char *name, const char *extension)
{
  const char *dot = strrchr (name, '.');

  return g_strdup_printf ("%.*s%s", dot ? (int)(dot - name) : (int)strlen (name), name, extension);
}

/* The manifest's file, or NULL: it is optional. */
static H2kFile *
find_manifest (const Place *place, const char *description, GError **error)
{
  g_autofree char *name = with_extension (description, ".mf");

  if (!place->archive)
    {
      g_autofree char *folder = g_path_get_dirname (place->path);
      g_autofree char *path = g_build_filename (folder, name, NULL);
      if (!g_file_test (path, G_FILE_TEST_EXISTS))
        return NULL;
    }
  else if (!find_member (place, name))
    return NULL;
  return open_file (place, name, error);
}

/* --- digests ---------------------------------------------------------------------------------- */

static gboolean
verify_file (H2kFile *file, const H2kManifestEntry *entry, GCancellable *cancellable,
             GError **error)
{
  g_autoptr (H2kDigest) digest = h2k_digest_new (entry->algorithm);
  g_autofree guint8 *buffer = g_malloc (READ_SIZE);

  for (guint64 at = 0; at < file->size; at += READ_SIZE)
    {
      gsize n = (gsize)MIN (READ_SIZE, file->size - at);
      if (h2k_is_cancelled (cancellable, error) || !h2k_file_pread (file, at, n, buffer, error))
        return FALSE;
      h2k_digest_update (digest, buffer, n);
    }
  if (g_str_equal (h2k_digest_text (digest), entry->digest))
    return TRUE;
  g_set_error (
      error, H2K_ERROR, H2K_ERROR_FORMAT,
      "%s is not what the manifest says: its digest is %s instead of %s; it was damaged on "
      "its way or changed; fetch the appliance again",
      file->name, h2k_digest_text (digest), entry->digest);
  return FALSE;
}

/* Open what the manifest names. The description, which is used at once, is verified at once. */
static gboolean
load_manifest (H2kAppliance *a, const Place *place, const char *description, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kFile) file = find_manifest (place, description, &local);
  g_autofree char *text = NULL;
  gsize size;

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (!file)
    return TRUE;
  text = read_text (file, &size, error);
  a->manifest = text ? h2k_manifest_parse (text, size, file->name, error) : NULL;
  if (!a->manifest)
    return FALSE;
  for (guint i = 0; i < a->manifest->len; i++)
    {
      const H2kManifestEntry *entry = a->manifest->pdata[i];
      H2kFile *checked = open_file (place, entry->file, error);
      if (!checked)
        return FALSE;
      g_ptr_array_add (a->checked, checked);
      if (g_str_equal (entry->file, description) && !verify_file (checked, entry, NULL, error))
        return FALSE;
    }
  return TRUE;
}

gboolean
h2k_appliance_verify (H2kAppliance *a, GCancellable *cancellable, GError **error)
{
  for (guint i = 0; i < a->checked->len; i++)
    if (!verify_file (a->checked->pdata[i], a->manifest->pdata[i], cancellable, error))
      return FALSE;
  return TRUE;
}

/* --- disks ------------------------------------------------------------------------------------ */

static gboolean
check_disk (const H2kVmDisk *disk, const char *name, GError **error)
{
  g_autofree char *safe = disk->file ? h2k_escape_text (disk->file, -1) : NULL;

  if (!disk->parent)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "%s: the disk %s builds on another disk of the appliance; export the VM without "
               "snapshots",
               name, safe);
  return FALSE;
}

static char *
chunk_name (const char *name, guint i)
{
  return g_strdup_printf ("%s.%09u", name, i);
}

/* Whether the appliance has a file NAME. */
static gboolean
has_file (const Place *place, const char *name)
{
  g_autofree char *path = NULL;

  if (place->archive)
    return find_member (place, name) != NULL;
  path = path_beside (place->path, name, NULL);
  return path && g_file_test (path, G_FILE_TEST_EXISTS);
}

/* DISK's file out of its chunks: all but the last one have the size that the description says. */
static H2kFile *
open_chunks (const Place *place, const H2kVmDisk *disk, const char *name, GError **error)
{
  g_autoptr (GPtrArray) parts = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_file_unref);
  guint64 total = 0;

  for (guint i = 0; i < MAX_CHUNKS; i++)
    {
      g_autofree char *chunk = chunk_name (name, i);
      H2kFile *part;

      if (i > 0 && (disk->file_size ? total >= disk->file_size : !has_file (place, chunk)))
        break;
      part = open_file (place, chunk, error);
      if (!part)
        return NULL;
      g_ptr_array_add (parts, part);
      total += part->size;
      if (part->size != disk->chunk_size
          && (part->size > disk->chunk_size || !part->size
              || (disk->file_size && total < disk->file_size)))
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                       "%s has %" G_GUINT64_FORMAT
                       " bytes, but the chunks of the disk have %" G_GUINT64_FORMAT
                       ": it is truncated or another file; fetch it again",
                       part->name, part->size, disk->chunk_size);
          return NULL;
        }
    }
  for (guint i = 0; i + 1 < parts->len; i++)
    if (((H2kFile *)parts->pdata[i])->size != disk->chunk_size)
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                     "%s is shorter than a chunk, and not the last one; fetch it again",
                     ((H2kFile *)parts->pdata[i])->name);
        return NULL;
      }
  return h2k_file_new_joined (parts, name);
}

/* The bytes of DISK's image: joined from its chunks, unpacked. */
static H2kFile *
open_image (const Place *place, const H2kVmDisk *disk, const char *name, GError **error)
{
  g_autoptr (H2kFile) file
      = disk->chunked ? open_chunks (place, disk, name, error) : open_file (place, name, error);

  if (!file || !disk->gzip)
    return g_steal_pointer (&file);
  g_message ("%s: is compressed with gzip as a whole; it is unpacked once in memory to find out "
             "where what is",
             file->name);
  return h2k_gzip_open (file, error);
}

/* A .vmx names files as its host does: what is absolute there lies beside it here. */
static char *
local_name (const H2kVmDisk *disk, gboolean is_vmx)
{
  if (!is_vmx || !g_path_is_absolute (disk->file))
    return g_strdup (disk->file);
  return g_path_get_basename (disk->file);
}

static H2kDisk *
open_disk (const Place *place, const H2kVmDisk *disk, gboolean is_vmx, const char *name,
           GError **error)
{
  g_autofree char *file_name = NULL;
  g_autoptr (H2kFile) file = NULL;

  if (!check_disk (disk, name, error))
    return NULL;
  if (!disk->file)
    return h2k_memory_disk_new (disk->capacity);
  file_name = local_name (disk, is_vmx);
  file = open_image (place, disk, file_name, error);
  return file ? h2k_disk_open_file (file, NULL, error) : NULL;
}

/* A manifest may leave files out; then nobody can say whether they are whole. */
static void
find_unchecked (H2kAppliance *a)
{
  for (guint i = 0; a->manifest && i < a->vm->disks->len; i++)
    {
      const H2kVmDisk *disk = a->vm->disks->pdata[i];
      g_autofree char *file
          = disk->chunked && disk->file ? chunk_name (disk->file, 0) : g_strdup (disk->file);
      gboolean found = file == NULL;

      for (guint n = 0; n < a->manifest->len && !found; n++)
        found = g_str_equal (((H2kManifestEntry *)a->manifest->pdata[n])->file, file);
      if (!found)
        g_ptr_array_add (a->unchecked, g_strdup (file));
    }
}

static gboolean
open_disks (H2kAppliance *a, const Place *place, gboolean is_vmx, const char *name, GError **error)
{
  for (guint i = 0; i < a->vm->disks->len; i++)
    {
      H2kDisk *disk = open_disk (place, a->vm->disks->pdata[i], is_vmx, name, error);
      if (!disk)
        return FALSE;
      g_ptr_array_add (a->disks, disk);
    }
  find_unchecked (a);
  if (a->disks->len)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s: describes a VM without disks", name);
  return FALSE;
}

/* --- opening ---------------------------------------------------------------------------------- */

/* An OVA's description is its first .ovf; it should be the first member, but not all are. */
static gboolean
open_archive (Place *place, char **description, GError **error)
{
  place->archive = h2k_file_open (place->path, error);
  place->members = place->archive ? h2k_tar_list (place->archive, error) : NULL;
  if (!place->members)
    return FALSE;
  for (guint i = 0; i < place->members->len && !*description; i++)
    {
      const char *name = ((H2kTarMember *)place->members->pdata[i])->name;
      if (g_str_has_prefix (name, "./"))
        name += 2;
      if (strlen (name) > 4 && g_ascii_strcasecmp (name + strlen (name) - 4, ".ovf") == 0
          && !strchr (name, '/'))
        *description = g_strdup (name);
    }
  if (*description)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: is a tar archive without an OVF description (.ovf), so it is no OVA",
               place->archive->name);
  return FALSE;
}

static gboolean
open_parts (H2kAppliance *a, const char *path, const char *kind, GError **error)
{
  g_auto (Place) place = {.path = path};
  gboolean is_vmx = g_str_equal (kind, "vmx");
  g_autofree char *description = NULL, *text = NULL;
  g_autoptr (H2kFile) file = NULL;
  gsize size;

  if (g_str_equal (kind, "ova"))
    {
      if (!open_archive (&place, &description, error))
        return FALSE;
    }
  else
    description = g_path_get_basename (path);
  if (!is_vmx && !load_manifest (a, &place, description, error))
    return FALSE;
  file = place.archive ? open_file (&place, description, error) : h2k_file_open (path, error);
  text = file ? read_text (file, &size, error) : NULL;
  if (!text)
    return FALSE;
  a->vm = is_vmx ? h2k_vmx_parse (text, size, file->name, error)
                 : h2k_ovf_parse (text, size, file->name, error);
  return a->vm && open_disks (a, &place, is_vmx, file->name, error);
}

H2kAppliance *
h2k_appliance_open (const char *path, const char *kind, GError **error)
{
  g_autoptr (H2kAppliance) a = g_new0 (H2kAppliance, 1);

  a->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  a->unchecked = g_ptr_array_new_with_free_func (g_free);
  a->checked = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_file_unref);
  if (!g_str_equal (kind, "ova") && !g_str_equal (kind, "ovf") && !g_str_equal (kind, "vmx"))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                   "a VM's description is an OVA, an OVF or a .vmx, not \"%s\"", kind);
      return NULL;
    }
  return open_parts (a, path, kind, error) ? g_steal_pointer (&a) : NULL;
}

void
h2k_appliance_free (H2kAppliance *a)
{
  if (!a)
    return;
  h2k_vm_free (a->vm);
  g_ptr_array_unref (a->disks);
  g_ptr_array_unref (a->checked);
  g_ptr_array_unref (a->unchecked);
  if (a->manifest)
    g_ptr_array_unref (a->manifest);
  g_free (a);
}
