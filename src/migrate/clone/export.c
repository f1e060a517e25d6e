/* export.c - a clone as a VM for another host: its disks, each as one image, and definitions
 * that name them.
 *
 * Everything is made in a folder beside the final one, .NAME.h2k-XXXXXX.part, which the writing
 * process holds a flock() on, and which gets its name when it is complete.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/private.h"
#include "migrate/clone/first-boot.h"
#include "migrate/clone/flatten.h"
#include "migrate/clone/start.h"
#include "migrate/migrate.h"
#include "migrate/state.h"

#include <errno.h>
#include <fcntl.h>
#include <glib/gstdio.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEMP_MARK ".h2k-"
#define TEMP_SUFFIX ".part"

typedef struct
{
  H2kFlattening flattening;
  char *final_dir; /* absolute, without links */
  char *parent;    /* the folder that it is in */
  char *dir;       /* where everything is meanwhile; NULL: nowhere yet */
  int lock_fd;
  GPtrArray *paths; /* char *: the files in DIR, for their digests */
} Export;

static void
export_clear (Export *e)
{
  h2k_flattening_clear (&e->flattening);
  if (e->dir)
    h2k_clone_remove_tree (e->dir);
  if (e->lock_fd >= 0)
    close (e->lock_fd);
  g_clear_pointer (&e->paths, g_ptr_array_unref);
  g_free (e->final_dir);
  g_free (e->parent);
  g_free (e->dir);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Export, export_clear)

/* --- the folder ------------------------------------------------------------------------------- */

static gboolean
find_place (Export *e, const char *given, GError **error)
{
  g_autofree char *absolute = g_canonicalize_filename (given, NULL);
  g_autofree char *name = NULL, *folder = NULL;
  char *real = realpath (absolute, NULL);
  char *parent;

  if (real)
    {
      g_free (absolute);
      absolute = g_strdup (real);
      free (real);
    }
  name = g_path_get_basename (absolute);
  folder = g_path_get_dirname (absolute);
  if (strlen (name) > NAME_MAX - strlen (TEMP_MARK "XXXXXX" TEMP_SUFFIX) - 1)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE, "the name of the folder %s is too long",
                   given);
      return FALSE;
    }
  if (!(parent = realpath (folder, NULL)))
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                     "cannot use the folder %s (create it, or choose another one)", folder);
      return FALSE;
    }
  e->parent = g_strdup (parent);
  free (parent);
  e->final_dir = g_build_filename (e->parent, name, NULL);
  return h2k_flattening_check_place (&e->flattening, e->final_dir, error);
}

/* There is nothing there, or an empty folder. */
static gboolean
check_free (const char *path, GError **error)
{
  g_autoptr (GDir) dir = NULL;
  struct stat st;

  if (lstat (path, &st) < 0 && errno == ENOENT)
    return TRUE;
  dir = g_dir_open (path, 0, NULL);
  if (dir && !g_dir_read_name (dir))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
               "%s exists and is no empty folder: choose another one, or move it away", path);
  return FALSE;
}

/* What killed runs left: a living one holds its lock. */
static void
remove_stale (const char *parent, const char *prefix)
{
  g_autoptr (GDir) dir = g_dir_open (parent, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    {
      g_autofree char *path = g_build_filename (parent, name, NULL);
      struct stat st;
      int fd;

      if (!g_str_has_prefix (name, prefix) || !g_str_has_suffix (name, TEMP_SUFFIX)
          || strlen (name) != strlen (prefix) + 6 + strlen (TEMP_SUFFIX))
        continue;
      fd = open (path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
      if (fd >= 0 && fstat (fd, &st) == 0 && st.st_uid == geteuid ()
          && flock (fd, LOCK_EX | LOCK_NB) == 0)
        h2k_clone_remove_tree (path);
      if (fd >= 0)
        close (fd);
    }
}

/* As root others may go through it, since the VMs of a system's libvirt run as another user. */
static gboolean
make_folder (Export *e, GError **error)
{
  g_autofree char *name = g_path_get_basename (e->final_dir);
  g_autofree char *prefix = g_strdup_printf (".%s" TEMP_MARK, name);
  g_autofree char *temp = NULL;

  remove_stale (e->parent, prefix);
  temp = g_strdup_printf ("%s/%s%06x" TEMP_SUFFIX, e->parent, prefix, g_random_int () & 0xffffff);
  if (mkdir (temp, geteuid () == 0 ? 0711 : 0700) < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot make a folder in %s", e->parent);
      return FALSE;
    }
  e->dir = g_steal_pointer (&temp);
  e->lock_fd = open (e->dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
  if (e->lock_fd >= 0 && flock (e->lock_fd, LOCK_EX | LOCK_NB) == 0)
    return TRUE;
  h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot lock %s", e->dir);
  return FALSE;
}

/* --- files beside the disks ------------------------------------------------------------------- */

/* Where NAME is meanwhile; a file of which there will be a digest. */
static const char *
add_path (Export *e, const char *name)
{
  char *path = g_build_filename (e->dir, name, NULL);

  g_ptr_array_add (e->paths, path);
  return path;
}

static gboolean
write_file (Export *e, const char *name, const char *data, gssize length, GError **error)
{
  const char *path = add_path (e, name);
  g_autoptr (GError) local = NULL;

  if (g_file_set_contents_full (path, data, length,
                                G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE, 0600,
                                &local))
    return TRUE;
  g_set_error (error, H2K_ERROR,
               g_error_matches (local, G_FILE_ERROR, G_FILE_ERROR_NOSPC) ? H2K_ERROR_NO_SPACE
                                                                         : H2K_ERROR_OUTPUT,
               "cannot write %s: %s", path, local->message);
  return FALSE;
}

/* UEFI's variables as they are in the state that is copied. */
static gboolean
copy_nvram (Export *e, H2kDomain *domain, GError **error)
{
  const H2kFlattening *f = &e->flattening;
  g_autofree char *from = g_strdup_printf ("%s/layers/%u/nvram.fd", f->opened.clone->dir, f->layer);
  g_autofree char *data = NULL;
  g_autoptr (GError) local = NULL;
  gsize length;

  if (domain->firmware != H2K_FIRMWARE_UEFI)
    return TRUE;
  g_free (domain->nvram);
  domain->nvram = g_build_filename (e->final_dir, "nvram.fd", NULL);
  if (g_file_get_contents (from, &data, &length, &local))
    return write_file (e, "nvram.fd", data, (gssize)length, error);
  g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE, "cannot read the UEFI variables: %s",
               local->message);
  return FALSE;
}

static gboolean
write_domain (Export *e, const char *name, const H2kDomain *domain, GError **error)
{
  g_autofree char *xml = h2k_domain_to_xml (domain);

  return write_file (e, name, xml, -1, error);
}

/* --- a Windows' first boot -------------------------------------------------------------------- */

/* The small disk is as large as the clone's, and empty: it is there to be met. */
static gboolean
make_small_disk (Export *e, const char *name, const char *like, GError **error)
{
  const char *path = add_path (e, name);
  struct stat st;
  int fd = stat (like, &st) == 0 ? open (path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600) : -1;
  gboolean ok = fd >= 0 && ftruncate (fd, st.st_size) == 0 && fsync (fd) == 0;

  if (!ok)
    h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot make %s like %s", path, like);
  if (fd >= 0)
    close (fd);
  return ok;
}

static gboolean
write_first_boot (Export *e, const H2kDomain *domain, GError **error)
{
  const H2kClone *clone = e->flattening.opened.clone;
  g_autofree char *old_disk = h2k_clone_first_boot_disk (clone);
  g_autofree char *disk = g_build_filename (e->final_dir, "domain-bootstrap.img", NULL);
  g_autoptr (H2kDomain) bootstrap = NULL;

  if (!h2k_clone_first_boot_is_ahead (clone, e->flattening.disks))
    return TRUE;
  bootstrap = h2k_clone_first_boot_machine (clone, domain, disk);
  if (bootstrap->cdroms->len)
    g_message ("the definition for the first boot names %s, which is not copied",
               (const char *)bootstrap->cdroms->pdata[0]);
  return make_small_disk (e, "domain-bootstrap.img", old_disk, error)
         && write_domain (e, "domain-bootstrap.xml", bootstrap, error);
}

/* --- all of it -------------------------------------------------------------------------------- */

static gboolean
write_disks (Export *e, const char *output, GCancellable *cancellable, GError **error)
{
  H2kFlattening *f = &e->flattening;

  if (!h2k_flattening_copy (f, output, cancellable, error) || !h2k_flattening_commit (f, error))
    return FALSE;
  for (guint i = 0; i < f->outputs->len; i++)
    g_ptr_array_add (e->paths, g_strdup (h2k_output_path (f->outputs->pdata[i])));
  return TRUE;
}

static gboolean
write_definitions (Export *e, GError **error)
{
  H2kFlattening *f = &e->flattening;
  g_autoptr (H2kDomain) domain = h2k_clone_machine (f->opened.clone);

  if (h2k_json_flag (f->opened.clone->root, "rebuilt"))
    g_warning ("the clone's hardware is not known any more, since its clone.json was lost: the "
               "definition has the usual one");
  for (guint i = 0; i < domain->disks->len; i++)
    {
      H2kDomainDisk *disk = domain->disks->pdata[i];
      g_autofree char *name = g_path_get_basename (h2k_output_path (f->outputs->pdata[i]));

      g_free (disk->path);
      g_clear_pointer (&disk->luks, h2k_domain_luks_free); /* the copy is not encrypted */
      g_free (disk->format);
      disk->path = g_build_filename (e->final_dir, name, NULL);
      disk->format = g_strdup (f->options->output_format);
      /* Not every filesystem that it may be taken to can. */
      disk->direct = FALSE;
    }
  h2k_domain_fix_macs (domain);
  return copy_nvram (e, domain, error) && write_domain (e, "domain.xml", domain, error)
         && write_first_boot (e, domain, error);
}

static gboolean
give_name (Export *e, GError **error)
{
  if (!h2k_clone_sync_dir (e->dir, error))
    return FALSE;
  /* An empty folder of this name is replaced, nothing else is. */
  if (rename (e->dir, e->final_dir) < 0)
    {
      h2k_set_errno (error,
                     errno == ENOTEMPTY || errno == EEXIST ? H2K_ERROR_OUTPUT_EXISTS
                                                           : H2K_ERROR_OUTPUT,
                     errno, "cannot give the folder its name %s", e->final_dir);
      return FALSE;
    }
  g_clear_pointer (&e->dir, g_free);
  return h2k_clone_sync_dir (e->parent, error);
}

static gboolean
check_options (const H2kFlattenOptions *o, GError **error)
{
  const char *wrong = NULL;

  if (!o->name || !o->output)
    wrong = "name the clone, and the folder";
  else if (!g_str_equal (o->output_format, "qcow2") && !g_str_equal (o->output_format, "raw"))
    wrong
        = "a VM's disks are qcow2 or raw, which is what its definition for KVM can use; `hyper2kvm "
          "clone flatten` makes other formats";
  if (wrong)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE, wrong);
  return !wrong;
}

gboolean
h2k_clones_export (const H2kFlattenOptions *options, GCancellable *cancellable, GError **error)
{
  g_auto (Export) e = {.lock_fd = -1, .paths = g_ptr_array_new_with_free_func (g_free)};
  const H2kCopyOptions progress = {.progress_phase = "checksum",
                                   .progress = options->progress,
                                   .progress_data = options->progress_data};
  g_autofree char *file = NULL, *output = NULL, *sums = NULL;

  if (!check_options (options, error) || !h2k_flattening_open (&e.flattening, options, error)
      || !find_place (&e, options->output, error) || !check_free (e.final_dir, error)
      || !make_folder (&e, error))
    return FALSE;
  file = g_strdup_printf ("%s.%s", options->name, options->output_format);
  output = g_build_filename (e.dir, file, NULL);
  sums = g_build_filename (e.dir, "SHA256SUMS", NULL);
  return write_disks (&e, output, cancellable, error) && write_definitions (&e, error)
         && h2k_write_checksums (e.paths, sums, TRUE, &progress, cancellable, error)
         && give_name (&e, error);
}
