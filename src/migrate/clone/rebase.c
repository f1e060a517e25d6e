/* rebase.c - whether a clone can lie over another original, and that it does.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "clone/fingerprint.h"
#include "clone/private.h"
#include "migrate/clone/clones.h"
#include "migrate/clone/original.h"

#include <sys/stat.h>

/* One disk of the clone, and what it will lie over. */
typedef struct
{
  H2kAttached *attached;
  H2kDisk *disk;
  const char *format; /* of DISK, as QEMU calls it */
  H2kDisk *before;    /* the old original, which is as it was; NULL: it is not, or not there */
  H2kDisk *seen;      /* as much of DISK as the old original had */
  gboolean differs;   /* and what does is to be kept */
} Target;

static void
target_free (Target *t)
{
  g_clear_pointer (&t->attached, h2k_attached_free);
  g_clear_pointer (&t->disk, h2k_disk_unref);
  g_clear_pointer (&t->before, h2k_disk_unref);
  g_clear_pointer (&t->seen, h2k_disk_unref);
  g_free (t);
}

G_DEFINE_AUTOPTR_CLEANUP_FUNC (Target, target_free)

typedef struct
{
  const H2kRebaseOptions *options;
  const H2kClone *clone;
  H2kCopyOptions progress;
  GCancellable *cancellable;
} Rebase;

H2kRebaseOptions *
h2k_rebase_options_new (void)
{
  H2kRebaseOptions *options = g_new0 (H2kRebaseOptions, 1);

  options->disks = g_ptr_array_new_with_free_func (g_free);
  return options;
}

void
h2k_rebase_options_free (H2kRebaseOptions *options)
{
  if (!options)
    return;
  g_ptr_array_unref (options->disks);
  g_free (options->name);
  g_free (options->state_dir);
  g_free (options->format);
  g_free (options);
}

/* --- what it may be --------------------------------------------------------------------------- */

/* By a second name an image of the clone could become its own backing file. */
static gboolean
check_not_own (const H2kClone *clone, const H2kDisk *disk, GError **error)
{
  for (guint i = 0; i < disk->files->len; i++)
    for (guint n = 0; n < clone->layers->len * clone->n_disks; n++)
      {
        const H2kLayer *layer = clone->layers->pdata[n / clone->n_disks];
        g_autofree char *image = h2k_clone_image (clone, layer->number, n % clone->n_disks);
        struct stat a, b;

        if (stat (disk->files->pdata[i], &a) != 0 || stat (image, &b) != 0 || a.st_dev != b.st_dev
            || a.st_ino != b.st_ino)
          continue;
        g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
                     "%s lies over %s, which is a layer of the clone itself", disk->name, image);
        return FALSE;
      }
  return TRUE;
}

static gboolean
check_unused (const Rebase *r, const H2kAttached *attached, GError **error)
{
  g_autoptr (GError) local = NULL;

  if (h2k_original_check_unused (attached, &local))
    return TRUE;
  if (!r->options->unsafe)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  g_warning ("%s", local->message);
  return TRUE;
}

static Target *
open_target (const Rebase *r, guint i, GError **error)
{
  const char *path = r->options->disks->pdata[i];
  g_autoptr (Target) t = g_new0 (Target, 1);

  t->attached = h2k_original_look (r->clone->store, path, error);
  if (!t->attached || !check_unused (r, t->attached, error))
    return NULL;
  t->disk = h2k_disk_open (path, r->options->format, error);
  if (!t->disk || !(t->format = h2k_original_check_format (t->disk, error))
      || !check_not_own (r->clone, t->disk, error))
    return NULL;
  return g_steal_pointer (&t);
}

/* --- whether it is the same ------------------------------------------------------------------- */

/* The old original of disk I, if it is there and as it was. */
static H2kDisk *
open_before (const Rebase *r, guint i)
{
  g_autoptr (GPtrArray) found = NULL;
  g_autoptr (GError) local = NULL;
  JsonObject *known = h2k_clones_original (r->clone, i);
  H2kDisk *before = NULL;

  /* When there is no fingerprint, nothing but the old original tells what it was. */
  if (!h2k_json_object (known, "fingerprint")
      || (h2k_clones_original_differs (r->clone, i, FALSE, NULL, r->cancellable, &found, &local)
          && found->len == 0))
    before = h2k_clone_open_original (r->clone, i, &local);
  if (!before)
    g_message ("the old original of disk %u cannot be compared with: %s", i + 1,
               local   ? local->message
               : found ? (const char *)found->pdata[0]
                       : "it is not there");
  return before;
}

/* Cut off what the clone does not see. */
static gboolean
take_size (const Rebase *r, guint i, Target *t, GError **error)
{
  JsonObject *fingerprint = h2k_json_object (h2k_clones_original (r->clone, i), "fingerprint");
  gint64 known = h2k_json_int (fingerprint, "size", 0);
  guint64 size = t->before ? t->before->size : (guint64)MAX (known, 0);
  g_autofree char *new_size = h2k_format_size (t->disk->size);
  g_autofree char *old_size = h2k_format_size (size);

  if (t->disk->size < size)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
                   "%s is smaller (%s, %" G_GUINT64_FORMAT
                   " bytes) than the original of the clone %s (%s, %" G_GUINT64_FORMAT
                   " bytes): nothing was changed",
                   t->attached->path, new_size, t->disk->size, r->clone->name, old_size, size);
      return FALSE;
    }
  t->seen = t->disk->size > size && size > 0
                ? h2k_slice_new (t->disk, 0, size, t->disk->name, error)
                : h2k_disk_ref (t->disk);
  return t->seen != NULL;
}

static gboolean
is_another (const Rebase *r, const Target *t, const char *what, GError **error)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_VERIFY,
               "%s is not what the clone %s lies over: %s. Nothing was changed%s",
               t->attached->path, r->clone->name, what,
               t->before
                   ? "; --keep-content keeps what the clone has, and writes what differs into "
                     "its lowest layer"
                   : "");
  return FALSE;
}

static gboolean
compare_bytes (const Rebase *r, Target *t, GError **error)
{
  H2kCopyOptions progress = r->progress;
  g_autofree char *where = NULL;
  guint64 offset;

  progress.progress_phase = "compare";
  if (!h2k_compare (t->before, t->seen, &progress, r->cancellable, &offset, error))
    return FALSE;
  t->differs = offset != G_MAXUINT64;
  if (!t->differs || r->options->keep_content)
    return TRUE;
  where = g_strdup_printf ("the first difference is at byte %" G_GUINT64_FORMAT, offset);
  return is_another (r, t, where, error);
}

/* Where the bytes lie is not what they are. */
static JsonObject *
without_files (JsonObject *fingerprint)
{
  JsonObject *o = json_object_new ();
  g_autoptr (GList) keys = json_object_get_members (fingerprint);

  for (GList *key = keys; key; key = key->next)
    if (!g_str_equal (key->data, "file"))
      json_object_set_member (o, key->data, json_object_dup_member (fingerprint, key->data));
  return o;
}

static gboolean
compare_fingerprints (const Rebase *r, Target *t, JsonObject *fingerprint, GError **error)
{
  g_autoptr (JsonObject) before = without_files (fingerprint);
  g_autoptr (JsonObject) now
      = h2k_fingerprint_new (t->seen, r->options->full, &r->progress, r->cancellable, error);
  g_autoptr (GPtrArray) found = now ? h2k_fingerprint_compare (before, now) : NULL;
  g_autofree char *all = NULL;

  if (!found)
    return FALSE;
  if (found->len == 0)
    return TRUE;
  g_ptr_array_add (found, NULL);
  all = g_strjoinv ("; ", (char **)found->pdata);
  return is_another (r, t, all, error);
}

static gboolean
compare (const Rebase *r, guint i, Target *t, GError **error)
{
  JsonObject *fingerprint = h2k_json_object (h2k_clones_original (r->clone, i), "fingerprint");
  const gboolean bytes = r->options->full || r->options->keep_content || !fingerprint;

  t->before = open_before (r, i);
  if (h2k_is_cancelled (r->cancellable, error))
    return FALSE;
  if (!t->before && !fingerprint)
    g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                 "the clone %s does not know what its original was like, since its clone.json was "
                 "lost, and the original is not there to be compared with",
                 r->clone->name);
  else if (!t->before && r->options->full && !h2k_json_string (fingerprint, "content"))
    g_set_error (
        error, H2K_ERROR, H2K_ERROR_USAGE,
        "the clone %s was made without --full, and its old original is not there as it "
        "was: every byte cannot be compared; without --full, rebase compares what there is",
        r->clone->name);
  else
    return take_size (r, i, t, error)
           && (t->before && bytes ? compare_bytes (r, t, error)
                                  : compare_fingerprints (r, t, fingerprint, error));
  return FALSE;
}

/* --- all disks -------------------------------------------------------------------------------- */

/* What clone.json will say of it. A digest of everything stays when the content does. */
static JsonObject *
describe (const Rebase *r, guint i, const Target *t, GError **error)
{
  JsonObject *before = h2k_json_object (h2k_clones_original (r->clone, i), "fingerprint");
  const char *content = h2k_json_string (before, "content");
  const gboolean stays = content && !t->differs && t->seen->size == t->disk->size;
  JsonObject *o = h2k_original_describe (t->attached, t->disk, r->options->full && !stays,
                                         &r->progress, r->cancellable, error);

  if (o && stays)
    json_object_set_string_member (h2k_json_object (o, "fingerprint"), "content", content);
  return o;
}

static gboolean
apply (const Rebase *r, H2kClone *clone, GPtrArray *targets, GError **error)
{
  for (guint i = 0; i < targets->len; i++)
    {
      Target *t = targets->pdata[i];
      g_autoptr (JsonObject) original = describe (r, i, t, error);
      H2kCloneOriginal to = {.original = original,
                             .format = t->format,
                             .several = t->disk->files->len > 1,
                             .before = t->differs ? t->before : NULL,
                             .after = t->differs ? t->seen : NULL};

      if (!original || !h2k_clone_rebase (clone, i, &to, r->cancellable, error))
        return FALSE;
    }
  return TRUE;
}

static gboolean
check_count (const H2kRebaseOptions *options, const H2kClone *clone, GError **error)
{
  if (options->disks->len == clone->n_disks)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_USAGE,
               "the clone %s has %u disk%s, and %u %s named: name the original of each, the first "
               "one as DISK, others with --disk",
               clone->name, clone->n_disks, clone->n_disks == 1 ? "" : "s", options->disks->len,
               options->disks->len == 1 ? "is" : "are");
  return FALSE;
}

gboolean
h2k_clones_rebase (const H2kRebaseOptions *options, GCancellable *cancellable, GError **error)
{
  g_auto (H2kOpenedClone) o = {0};
  g_autoptr (GPtrArray) targets = g_ptr_array_new_with_free_func ((GDestroyNotify)target_free);
  g_autoptr (ImageLocks) locks = NULL;
  Rebase r = {.options = options,
              .progress = {.progress = options->progress, .progress_data = options->progress_data},
              .cancellable = cancellable};

  if (!h2k_clones_open (options->state_dir, options->name, H2K_CLONE_CHANGE, &o, error)
      || !check_count (options, o.clone, error)
      || !(locks = h2k_clone_lock_images (o.clone, error)))
    return FALSE;
  r.clone = o.clone;
  for (guint i = 0; i < o.clone->n_disks; i++)
    {
      Target *t = open_target (&r, i, error);
      if (!t)
        return FALSE;
      g_ptr_array_add (targets, t);
      if (!compare (&r, i, t, error))
        return FALSE;
    }
  /* Each disk takes them itself; they are of this process, but not of this file description. */
  g_clear_pointer (&locks, h2k_clone_unlock_images);
  return apply (&r, o.clone, targets, error);
}
