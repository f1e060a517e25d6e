/* flatten.c - a state of a clone as images of their own.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/clone/flatten.h"
#include "copy/internal.h"
#include "migrate/clone/start.h"
#include "migrate/keep.h"
#include "migrate/migrate.h"
#include "migrate/state.h"
#include "util/json.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <stdlib.h>
#include <unistd.h>

H2kFlattenOptions *
h2k_flatten_options_new (void)
{
  H2kFlattenOptions *options = g_new0 (H2kFlattenOptions, 1);

  options->output_format = g_strdup ("qcow2");
  return options;
}

void
h2k_flatten_options_free (H2kFlattenOptions *options)
{
  if (!options)
    return;
  g_free (options->name);
  g_free (options->state_dir);
  g_free (options->snapshot);
  g_free (options->output);
  g_free (options->output_format);
  g_free (options);
}

/* --- what is copied --------------------------------------------------------------------------- */

static void
clear_locks (GArray *locks)
{
  for (guint i = 0; i < locks->len; i++)
    close (g_array_index (locks, int, i));
  g_array_unref (locks);
}

void
h2k_flattening_clear (H2kFlattening *f)
{
  g_clear_pointer (&f->outputs, g_ptr_array_unref);
  g_clear_pointer (&f->disks, g_ptr_array_unref);
  g_clear_pointer (&f->states, g_ptr_array_unref);
  g_clear_pointer (&f->files, g_ptr_array_unref);
  g_clear_pointer (&f->locks, clear_locks);
  h2k_opened_clone_clear (&f->opened);
}

/* What a VM writes to is of no state while it does. */
static gboolean
hold_present (H2kFlattening *f, GError **error)
{
  const H2kClone *clone = f->opened.clone;

  for (guint i = 0; i < clone->n_disks; i++)
    {
      g_autofree char *path = h2k_clone_image (clone, clone->current, i);
      g_autoptr (GError) local = NULL;
      int fd = h2k_image_lock (path, &local);

      if (fd < 0)
        {
          g_set_error (error, local->domain, local->code,
                       "the clone %s runs: stop it first, or name a snapshot of it (--snapshot), "
                       "which does not change: %s",
                       clone->name, local->message);
          return FALSE;
        }
      g_array_append_val (f->locks, fd);
    }
  return TRUE;
}

static gboolean
open_disks (H2kFlattening *f, GError **error)
{
  const H2kClone *clone = f->opened.clone;

  for (guint i = 0; i < clone->n_disks; i++)
    {
      H2kDisk *disk = h2k_clone_open_image (clone, f->layer, i, error);

      if (!disk)
        return FALSE;
      g_ptr_array_add (f->disks, disk);
      g_ptr_array_add (f->states, h2k_source_state (disk));
      for (guint n = 0; n < disk->files->len; n++)
        g_ptr_array_add (f->files, g_strdup (disk->files->pdata[n]));
    }
  return TRUE;
}

/* Layers that are not below this state are as little to be written. */
static void
add_files (H2kFlattening *f)
{
  const H2kClone *clone = f->opened.clone;

  for (guint i = 0; i < clone->n_disks; i++)
    {
      const char *original = h2k_json_string (h2k_clones_original (clone, i), "path");

      if (original)
        g_ptr_array_add (f->files, g_strdup (original));
      for (guint n = 0; n < clone->layers->len; n++)
        g_ptr_array_add (f->files,
                         h2k_clone_image (clone, ((H2kLayer *)clone->layers->pdata[n])->number, i));
    }
}

gboolean
h2k_flattening_open (H2kFlattening *f, const H2kFlattenOptions *options, GError **error)
{
  const H2kCloneAccess access = options->snapshot ? H2K_CLONE_LOOK : H2K_CLONE_CHANGE;
  const H2kLayer *snapshot = NULL;

  f->options = options;
  f->locks = g_array_new (FALSE, FALSE, sizeof (int));
  f->disks = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_disk_unref);
  f->states = g_ptr_array_new_with_free_func (g_free);
  f->files = g_ptr_array_new_with_free_func (g_free);
  f->outputs = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_output_free);
  if (!h2k_clones_open (options->state_dir, options->name, access, &f->opened, error)
      || (options->snapshot
          && !(snapshot = h2k_clone_find_snapshot (f->opened.clone, options->snapshot, error)))
      || (!options->snapshot && !hold_present (f, error))
      || !h2k_clone_check_originals (f->opened.clone, TRUE, "make another clone of it", error))
    return FALSE;
  f->layer = snapshot ? snapshot->number : f->opened.clone->current;
  add_files (f);
  return open_disks (f, error);
}

/* --- where it goes ---------------------------------------------------------------------------- */

gboolean
h2k_flattening_check_place (const H2kFlattening *f, const char *path, GError **error)
{
  const char *store = f->opened.store->dir;
  g_autofree char *folder = g_path_get_dirname (path);
  g_autofree char *inside = g_strconcat (store, "/", NULL);
  char *real = realpath (path, NULL);
  gboolean is_inside;

  if (!real)
    real = realpath (folder, NULL);
  if (!real)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno,
                     "cannot use the folder %s (create it, or choose another one)", folder);
      return FALSE;
    }
  is_inside = g_str_equal (real, store) || g_str_has_prefix (real, inside);
  free (real);
  if (is_inside)
    g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                 "%s lies in the store of the clones, %s, and would go with one of them: choose "
                 "another place",
                 path, store);
  return !is_inside;
}

static gboolean
check_file (const H2kFlattening *f, const char *path, GError **error)
{
  struct stat st;

  if (!h2k_flattening_check_place (f, path, error))
    return FALSE;
  if (stat (path, &st) < 0 || !S_ISBLK (st.st_mode))
    return TRUE;
  g_set_error (
      error, H2K_ERROR, H2K_ERROR_USAGE,
      "%s is a device, which cannot be replaced all at once: name a file, and copy that to "
      "the device by `hyper2kvm convert`",
      path);
  return FALSE;
}

static gboolean
start_outputs (H2kFlattening *f, const char *output, GError **error)
{
  const H2kFlattenOptions *o = f->options;
  const H2kOutputOptions options = {.format = o->output_format,
                                    .compression = o->compression,
                                    .force = o->force,
                                    .sync = TRUE,
                                    .files_only = TRUE};

  for (guint i = 0; i < f->disks->len; i++)
    {
      g_autofree char *path = h2k_disk_output_path (output, i);
      const H2kDisk *disk = f->disks->pdata[i];
      H2kOutput *made = NULL;

      /* What is in it may be secret, as are the layers. */
      if (check_file (f, path, error))
        made = h2k_output_create (path, disk->size, &options, f->files, 0600, NULL, NULL, error);
      if (!made)
        return FALSE;
      g_ptr_array_add (f->outputs, made);
    }
  return TRUE;
}

static gboolean
check_space (H2kFlattening *f, GError **error)
{
  guint64 needed = 0;

  for (guint i = 0; i < f->disks->len; i++)
    {
      guint64 bytes;
      if (!h2k_copy_estimate (f->disks->pdata[i], &bytes, error))
        return FALSE;
      if (!h2k_output_shares (f->outputs->pdata[i], f->disks->pdata[i]))
        needed += bytes;
    }
  /* How well the data will compress is not known beforehand: less than a quarter is rare. */
  return h2k_output_check_space (f->outputs->pdata[0],
                                 f->options->compression ? needed / 4 : needed, error);
}

/* --- copying ---------------------------------------------------------------------------------- */

gboolean
h2k_flattening_copy (H2kFlattening *f, const char *output, GCancellable *cancellable,
                     GError **error)
{
  const H2kFlattenOptions *o = f->options;
  const H2kCopyOptions options = {.threads = o->threads,
                                  .no_digests = TRUE,
                                  .progress_phase = "copy",
                                  .progress = o->progress,
                                  .progress_data = o->progress_data};
  H2kCopyStats stats;

  if (!start_outputs (f, output, error) || !check_space (f, error))
    return FALSE;
  for (guint i = 0; i < f->disks->len; i++)
    if (!h2k_copy (f->disks->pdata[i], f->outputs->pdata[i], &options, cancellable, &stats, error))
      return FALSE;
  for (guint i = 0; i < f->disks->len; i++)
    if (!h2k_source_check (f->disks->pdata[i], f->states->pdata[i], error))
      return FALSE;
  return TRUE;
}

gboolean
h2k_flattening_commit (H2kFlattening *f, GError **error)
{
  g_autoptr (H2kKeep) keep = h2k_keep_new ();
  guint n = f->outputs->len, left = n;

  /* One file replaces another at once; of several the old ones stay until all new ones stand. */
  for (guint i = n; f->options->force && n > 1 && i-- > 0;)
    if (!h2k_keep_file (keep, h2k_output_path (f->outputs->pdata[i]), error))
      return FALSE;
  while (left > 0 && h2k_output_commit (f->outputs->pdata[left - 1], error))
    left--;
  if (left == 0)
    {
      h2k_keep_discard (keep);
      return TRUE;
    }
  for (guint i = left; i < n; i++)
    if (!h2k_keep_has (keep, h2k_output_path (f->outputs->pdata[i])))
      g_unlink (h2k_output_path (f->outputs->pdata[i]));
  return FALSE;
}

/* Put right what a run that was killed while it replaced several files left. */
static gboolean
recover (const H2kFlattening *f, GError **error)
{
  g_autoptr (GPtrArray) paths = g_ptr_array_new_with_free_func (g_free);

  for (guint i = f->disks->len; i-- > 0;)
    {
      g_autofree char *path = h2k_disk_output_path (f->options->output, i);
      char *real = realpath (path, NULL);
      g_ptr_array_add (paths, real ? g_strdup (real) : g_strdup (path));
      free (real);
    }
  return paths->len < 2 || h2k_keep_recover (paths, error);
}

gboolean
h2k_clones_flatten (const H2kFlattenOptions *options, GCancellable *cancellable, GError **error)
{
  g_auto (H2kFlattening) f = {0};

  if (!options->name || !options->output)
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE, "name the clone, and the output");
      return FALSE;
    }
  return h2k_flattening_open (&f, options, error)
         && h2k_flattening_check_place (&f, options->output, error) && recover (&f, error)
         && h2k_flattening_copy (&f, options->output, cancellable, error)
         && h2k_flattening_commit (&f, error);
}
