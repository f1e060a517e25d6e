/* files.c - which files of a folder are disks of their own.
 *
 * A disk may be many files: the parts of a split VMDK, the images of a chain. What another image
 * reads is a part of that one's disk.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/file.h"
#include "migrate/discover/discover.h"

#include <sys/stat.h>

enum
{
  MAX_FILES = 20000, /* more are not opened */
  MAX_DEPTH = 32,
};

/* What images are called; nobody wants to hear of other files that they are none. */
static const char *const extensions[]
    = {".qcow2", ".qcow", ".vmdk", ".vhd", ".vhdx", ".vpc", ".vdi",   ".qed",
       ".ova",   ".raw",  ".img",  ".dd",  ".disk", ".hdd", ".vhdset"};

/* What lies beside VMDKs and is no disk. */
static const char *const never[] = {"-ctk.vmdk", ".iso"};

typedef struct
{
  char *path;
  guint64 dev, ino;
  H2kDisk *disk; /* NULL: it could not be opened ... */
  GError *error; /* ... which is why */
} Candidate;

typedef struct
{
  GPtrArray *candidates;
  GHashTable *parts; /* "dev:ino" of files that belong to the disk of another one */
  GCancellable *cancellable;
  gboolean recursive;
  guint files;
} Folder;

static void
candidate_free (Candidate *candidate)
{
  g_free (candidate->path);
  h2k_disk_unref (candidate->disk);
  g_clear_error (&candidate->error);
  g_free (candidate);
}

static gboolean
ends_with_one_of (const char *name, const char *const *ends, gsize count)
{
  g_autofree char *lower = g_ascii_strdown (name, -1);

  for (gsize i = 0; i < count; i++)
    if (g_str_has_suffix (lower, ends[i]))
      return TRUE;
  return FALSE;
}

/* --- what is a disk --------------------------------------------------------------------------- */

/* Every file is a raw image; one that somebody made as a disk starts like one. */
static gboolean
looks_like_disk (H2kDisk *disk)
{
  guint8 sector[512];
  H2kFsId id;
  H2kZfsLabel *label;

  if (disk->size < sizeof sector || !h2k_disk_pread (disk, 0, sizeof sector, sector, NULL))
    return FALSE;
  if (h2k_le16 (sector + 510) == 0xaa55)
    return TRUE;
  if (h2k_fs_identify (disk, &id, NULL) && id.type[0] && !g_str_equal (id.type, "iso9660"))
    return TRUE;
  label = h2k_zfs_label_read (disk, NULL);
  h2k_zfs_label_free (label);
  return label != NULL;
}

static char *
key_of (const struct stat *st)
{
  return g_strdup_printf ("%" G_GUINT64_FORMAT ":%" G_GUINT64_FORMAT, (guint64)st->st_dev,
                          (guint64)st->st_ino);
}

/* Note what else CANDIDATE's disk is made of. */
static void
note_parts (Folder *folder, const Candidate *candidate)
{
  for (const H2kDisk *disk = candidate->disk; disk; disk = disk->backing)
    for (guint i = 0; i < disk->files->len; i++)
      {
        struct stat st;
        if (stat (disk->files->pdata[i], &st) == 0
            && (st.st_dev != candidate->dev || st.st_ino != candidate->ino))
          g_hash_table_add (folder->parts, key_of (&st));
      }
}

static void
add_file (Folder *folder, const char *path, const struct stat *st)
{
  gboolean named = ends_with_one_of (path, extensions, G_N_ELEMENTS (extensions));
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  Candidate *candidate;

  if (ends_with_one_of (path, never, G_N_ELEMENTS (never)) || st->st_size < 512)
    return;
  disk = h2k_disk_open (path, NULL, &error);
  if (!disk && !named)
    return;
  if (disk && g_str_equal (disk->format, "raw") && !g_str_has_suffix (path, ".ova")
      && !looks_like_disk (disk))
    return;
  candidate = g_new0 (Candidate, 1);
  candidate->path = g_strdup (path);
  candidate->dev = st->st_dev;
  candidate->ino = st->st_ino;
  candidate->disk = g_steal_pointer (&disk);
  candidate->error = g_steal_pointer (&error);
  note_parts (folder, candidate);
  g_ptr_array_add (folder->candidates, candidate);
}

/* --- the folder ------------------------------------------------------------------------------- */

static int
by_text (gconstpointer a, gconstpointer b)
{
  return strcmp (*(char *const *)a, *(char *const *)b);
}

static GPtrArray *
list_names (const char *path, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (GDir) dir = g_dir_open (path, 0, &local);
  g_autofree char *safe = h2k_escape_text (path, -1);
  GPtrArray *names;
  const char *name;

  if (!dir)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "%s: the folder cannot be read: %s", safe,
                   local->message);
      return NULL;
    }
  names = g_ptr_array_new_with_free_func (g_free);
  while ((name = g_dir_read_name (dir)))
    g_ptr_array_add (names, g_strdup (name));
  g_ptr_array_sort (names, by_text);
  return names;
}

/* Folders are entered themselves, not links to them: there is no going round in circles. */
static gboolean
walk (Folder *folder, const char *path, guint depth, GError **error)
{
  g_autoptr (GPtrArray) names = list_names (path, error);

  for (guint i = 0; names && i < names->len; i++)
    {
      g_autofree char *entry = g_build_filename (path, names->pdata[i], NULL);
      g_autoptr (GError) below = NULL;
      struct stat st;
      if (h2k_is_cancelled (folder->cancellable, error))
        return FALSE;
      if (lstat (entry, &st) != 0
          || (S_ISLNK (st.st_mode) && stat (entry, &st) == 0 && !S_ISREG (st.st_mode)))
        continue;
      if (S_ISREG (st.st_mode) && folder->files++ < MAX_FILES)
        add_file (folder, entry, &st);
      else if (S_ISDIR (st.st_mode) && folder->recursive && depth < MAX_DEPTH
               && !walk (folder, entry, depth + 1, &below) && below->code == H2K_ERROR_CANCELLED)
        {
          g_propagate_error (error, g_steal_pointer (&below));
          return FALSE;
        }
      else if (below)
        g_message ("%s", below->message);
    }
  return names != NULL;
}

/* A file that could not be opened is told of, unless it is a part of a disk that could. */
static void
add_sources (const Folder *folder, GPtrArray *sources)
{
  for (guint i = 0; i < folder->candidates->len; i++)
    {
      const Candidate *candidate = folder->candidates->pdata[i];
      const struct stat st = {.st_dev = candidate->dev, .st_ino = candidate->ino};
      g_autofree char *key = key_of (&st);
      g_autoptr (GError) error = NULL;
      H2kAttached *attached;
      DiscoverSource *source;
      if (g_hash_table_contains (folder->parts, key))
        continue;
      attached = h2k_attached_of_path ("", candidate->path, &error);
      source = discover_source_new (candidate->path, attached);
      if (candidate->error || error)
        source->problem = g_error_copy (candidate->error ? candidate->error : error);
      g_ptr_array_add (sources, source);
    }
}

gboolean
discover_folder (const char *path, gboolean recursive, GPtrArray *sources,
                 GCancellable *cancellable, GError **error)
{
  Folder folder = {.cancellable = cancellable, .recursive = recursive};
  gboolean ok;

  folder.candidates = g_ptr_array_new_with_free_func ((GDestroyNotify)candidate_free);
  folder.parts = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  ok = walk (&folder, path, 0, error);
  if (ok && folder.files > MAX_FILES)
    g_warning ("%s: of its files only the first %d were looked at; name folders below it", path,
               MAX_FILES);
  if (ok)
    add_sources (&folder, sources);
  g_ptr_array_unref (folder.candidates);
  g_hash_table_unref (folder.parts);
  return ok;
}
