/* image.c - single images: what they are, converted as they are, compared.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/copy.h"
#include "fs/usage.h"
#include "disk/remote.h"
#include "disk/check.h"
#include "migrate/migrate.h"
#include "migrate/state.h"

#include <json-glib/json-glib.h>
#include <sys/stat.h>

/* --- what an image is ------------------------------------------------------------------------- */

#define NSEC_PER_SEC 1000000000u

/* Whether the disk's file I is its own, not one of the images below it. */
static gboolean
is_own (const H2kDisk *disk, guint i)
{
  return !disk->backing
         || !g_ptr_array_find_with_equal_func (disk->backing->files, disk->files->pdata[i],
                                               g_str_equal, NULL);
}

/* The image's file; of one on a server what may be shown of its URI. */
static const char *
image_name (const H2kDisk *disk)
{
  return disk->files->len ? disk->files->pdata[0] : disk->name;
}

/* Bytes that the files of this image alone take on their filesystems. */
static guint64
own_bytes (const H2kDisk *disk)
{
  guint64 bytes = 0;
  struct stat st;

  for (guint i = 0; i < disk->files->len; i++)
    if (is_own (disk, i) && stat (disk->files->pdata[i], &st) == 0)
      bytes += (guint64)st.st_blocks * 512;
  return bytes;
}

/* As "qemu-img info" names things. */
static JsonArray *
snapshots_to_json (GPtrArray *snapshots)
{
  JsonArray *array = json_array_new ();

  for (guint i = 0; i < snapshots->len; i++)
    {
      const H2kSnapshot *s = snapshots->pdata[i];
      g_autofree char *id = g_utf8_make_valid (s->id, -1);
      g_autofree char *name = g_utf8_make_valid (s->name, -1);
      JsonObject *o = json_object_new ();

      json_object_set_string_member (o, "id", id);
      json_object_set_string_member (o, "name", name);
      json_object_set_int_member (o, "vm-state-size", (gint64)s->vm_state_size);
      json_object_set_int_member (o, "virtual-size", (gint64)s->disk_size);
      json_object_set_int_member (o, "date-sec", s->date_sec);
      json_object_set_int_member (o, "date-nsec", s->date_nsec);
      json_object_set_int_member (o, "vm-clock-sec", (gint64)(s->vm_clock_nsec / NSEC_PER_SEC));
      json_object_set_int_member (o, "vm-clock-nsec", (gint64)(s->vm_clock_nsec % NSEC_PER_SEC));
      if (s->icount != -1)
        json_object_set_int_member (o, "icount", s->icount);
      json_array_add_object_element (array, o);
    }
  return array;
}

static JsonNode *
image_to_json (H2kDisk *disk, GPtrArray *snapshots)
{
  JsonNode *node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *o = json_object_new ();
  JsonArray *files = json_array_new ();

  json_node_take_object (node, o);
  json_object_set_string_member (o, "filename", image_name (disk));
  json_object_set_string_member (o, "format", disk->format);
  if (disk->subformat)
    json_object_set_string_member (o, "subformat", disk->subformat);
  json_object_set_int_member (o, "virtual-size", (gint64)disk->size);
  json_object_set_int_member (o, "sector-size", disk->sector_size);
  if (disk->files->len)
    json_object_set_int_member (o, "actual-size", (gint64)own_bytes (disk));
  for (guint i = 0; i < disk->files->len; i++)
    json_array_add_string_element (files, disk->files->pdata[i]);
  json_object_set_array_member (o, "files", files);
  if (snapshots->len)
    json_object_set_array_member (o, "snapshots", snapshots_to_json (snapshots));
  return node;
}

/* The chain from DISK down as nested objects, built from its end: no recursion for a long chain. */
static char *
chain_to_json (H2kDisk *disk, GError **error)
{
  g_autoptr (GPtrArray) chain = g_ptr_array_new ();
  g_autoptr (JsonNode) below = NULL;

  for (H2kDisk *d = disk; d; d = d->backing)
    g_ptr_array_add (chain, d);
  for (guint i = chain->len; i-- > 0;)
    {
      g_autoptr (GPtrArray) snapshots = h2k_disk_snapshots (chain->pdata[i], error);
      JsonNode *node;

      if (!snapshots)
        return NULL;
      node = image_to_json (chain->pdata[i], snapshots);
      if (below)
        json_object_set_member (json_node_get_object (node), "backing", g_steal_pointer (&below));
      below = node;
    }
  return json_to_string (below, TRUE);
}

/* A table as "qemu-img info" has it. */
static void
snapshots_to_text (GPtrArray *snapshots, GString *text)
{
  if (snapshots->len)
    g_string_append_printf (text, "Snapshot list:\n%-10s%-17s%8s%20s%13s%11s\n", "ID", "TAG",
                            "VM SIZE", "DATE", "VM CLOCK", "ICOUNT");
  for (guint i = 0; i < snapshots->len; i++)
    {
      const H2kSnapshot *s = snapshots->pdata[i];
      guint64 seconds = s->vm_clock_nsec / NSEC_PER_SEC;
      g_autoptr (GDateTime) date = g_date_time_new_from_unix_local (s->date_sec);
      g_autofree char *when = date ? g_date_time_format (date, "%Y-%m-%d %H:%M:%S") : NULL;
      g_autofree char *id = h2k_escape_text (s->id, -1), *name = h2k_escape_text (s->name, -1);
      g_autofree char *size = h2k_format_size (s->vm_state_size);
      g_autofree char *clock
          = g_strdup_printf ("%02" G_GUINT64_FORMAT ":%02u:%02u.%03u", seconds / 3600,
                             (guint)(seconds / 60 % 60), (guint)(seconds % 60),
                             (guint)(s->vm_clock_nsec / 1000000 % 1000));
      g_autofree char *icount
          = s->icount == -1 ? g_strdup ("") : g_strdup_printf ("%" G_GINT64_FORMAT, s->icount);

      g_string_append_printf (text, "%-9s %-16s %8s%20s%13s%11s\n", id, name, size,
                              when ? when : "", clock, icount);
    }
}

static char *
chain_to_text (H2kDisk *disk, GError **error)
{
  g_autoptr (GString) text = g_string_new (NULL);

  for (H2kDisk *d = disk; d; d = d->backing)
    {
      g_autofree char *name = h2k_escape_text (image_name (d), -1);
      g_autofree char *size = h2k_format_size (d->size);
      g_autofree char *own
          = d->files->len ? h2k_format_size (own_bytes (d)) : g_strdup ("unavailable");
      g_autoptr (GPtrArray) snapshots = h2k_disk_snapshots (d, error);

      if (!snapshots)
        return NULL;
      g_string_append_printf (text, "%simage: %s\n", d == disk ? "" : "\n", name);
      g_string_append_printf (text, "file format: %s%s%s%s\n", d->format, d->subformat ? " (" : "",
                              d->subformat ? d->subformat : "", d->subformat ? ")" : "");
      g_string_append_printf (text, "virtual size: %s (%" G_GUINT64_FORMAT " bytes)\n", size,
                              d->size);
      if (d->sector_size != 512)
        g_string_append_printf (text, "sector size: %u\n", d->sector_size);
      g_string_append_printf (text, "disk size: %s\n", own);
      if (d->backing)
        {
          g_autofree char *backing = h2k_escape_text (image_name (d->backing), -1);
          g_string_append_printf (text, "backing file: %s\n", backing);
        }
      for (guint i = 1; i < d->files->len && is_own (d, i); i++)
        {
          g_autofree char *file = h2k_escape_text (d->files->pdata[i], -1);
          g_string_append_printf (text, "data file: %s\n", file);
        }
      snapshots_to_text (snapshots, text);
    }
  return g_string_free (g_steal_pointer (&text), FALSE);
}

char *
h2k_image_info (const char *path, const char *format, gboolean json, GError **error)
{
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, format, error);

  if (!disk)
    return NULL;
  return json ? chain_to_json (disk, error) : chain_to_text (disk, error);
}

/* --- checking --------------------------------------------------------------------------------- */

static char *
check_to_json (const char *path, const H2kCheck *check)
{
  g_autoptr (JsonNode) node = json_node_new (JSON_NODE_OBJECT);
  g_autofree char *shown = h2k_file_is_uri (path) ? h2k_uri_shown (path) : g_strdup (path);
  g_autofree char *name = g_utf8_make_valid (shown, -1);
  JsonArray *findings = json_array_new ();
  JsonObject *o = json_object_new ();

  json_node_take_object (node, o);
  json_object_set_string_member (o, "filename", name);
  json_object_set_string_member (o, "format", check->format);
  json_object_set_int_member (o, "check-errors", 0);
  json_object_set_int_member (o, "corruptions", (gint64)check->corruptions);
  json_object_set_int_member (o, "leaks", (gint64)check->leaks);
  json_object_set_string_member (o, "unit", check->unit);
  json_object_set_int_member (o, "total-units", (gint64)check->units);
  json_object_set_int_member (o, "allocated-units", (gint64)check->allocated);
  json_object_set_int_member (o, "compressed-units", (gint64)check->compressed);
  if (check->image_end)
    json_object_set_int_member (o, "image-end-offset", (gint64)check->image_end);
  for (guint i = 0; i < check->findings->len; i++)
    json_array_add_string_element (findings, check->findings->pdata[i]);
  json_object_set_array_member (o, "findings", findings);
  return json_to_string (node, TRUE);
}

static char *
check_to_text (const H2kCheck *check)
{
  GString *text = g_string_new (NULL);
  guint64 all = check->corruptions + check->leaks;

  for (guint i = 0; i < check->findings->len; i++)
    g_string_append_printf (text, "%s\n", (char *)check->findings->pdata[i]);
  if (all + check->notes > check->findings->len)
    g_string_append_printf (text, "... and %" G_GUINT64_FORMAT " more\n",
                            all + check->notes - check->findings->len);
  if (check->corruptions)
    g_string_append_printf (text,
                            "%" G_GUINT64_FORMAT " errors were found on the image (%s): data may "
                            "be lost, or will be when it is written to.\n",
                            check->corruptions, check->format);
  if (check->leaks)
    g_string_append_printf (text,
                            "%" G_GUINT64_FORMAT " leaked %s were found on the image (%s): they "
                            "waste space, but do no harm.\n",
                            check->leaks, check->unit, check->format);
  if (all == 0)
    g_string_append_printf (text, "No errors were found on the image (%s).\n", check->format);
  if (check->units)
    g_string_append_printf (text,
                            "%" G_GUINT64_FORMAT "/%" G_GUINT64_FORMAT
                            " %s are allocated (%.2f%%), %" G_GUINT64_FORMAT
                            " of them compressed\n",
                            check->allocated, check->units, check->unit,
                            (double)check->allocated * 100 / (double)check->units,
                            check->compressed);
  if (check->image_end)
    g_string_append_printf (text, "Image end offset: %" G_GUINT64_FORMAT "\n", check->image_end);
  return g_string_free (text, FALSE);
}

char *
h2k_image_check (const char *path, const char *format, gboolean json, H2kCheckVerdict *verdict,
                 GError **error)
{
  g_autoptr (H2kCheck) check = h2k_check_new ();

  if (!h2k_disk_check (path, format, check, error))
    return NULL;
  *verdict = check->corruptions ? H2K_CHECK_CORRUPT
             : check->leaks     ? H2K_CHECK_LEAKS
                                : H2K_CHECK_CLEAN;
  return json ? check_to_json (path, check) : check_to_text (check);
}

/* --- converting ------------------------------------------------------------------------------- */

H2kConvertOptions *
h2k_convert_options_new (void)
{
  H2kConvertOptions *options = g_new0 (H2kConvertOptions, 1);

  options->output_format = g_strdup ("qcow2");
  options->sparsify = TRUE;
  return options;
}

void
h2k_convert_options_free (H2kConvertOptions *options)
{
  if (!options)
    return;
  g_free (options->source);
  g_free (options->source_format);
  g_free (options->output);
  g_free (options->output_format);
  g_free (options->output_options);
  g_free (options->backing);
  g_free (options->backing_format);
  g_free (options);
}

void
h2k_note_chain (const H2kDisk *disk)
{
  guint images = 1;

  for (const H2kDisk *d = disk->backing; d; d = d->backing)
    images++;
  if (images > 1)
    g_message ("%s: is a chain of %u images, which are merged into one", disk->name, images);
}

static H2kCopyOptions
copy_options (const H2kConvertOptions *options, const char *phase)
{
  return (H2kCopyOptions){
      .threads = options->threads,
      .rate = options->rate_limit,
      .progress_phase = phase,
      .progress = options->progress,
      .progress_data = options->progress_data,
  };
}

static gboolean
check_options (const H2kConvertOptions *o, GError **error)
{
  if (o->flatten && o->backing)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "to flatten a chain and to build on a backing file contradict each other");
  else if (!o->source || !o->output)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE, "a source and an output are needed");
  else if (o->threads > 64)
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE, "there can be 1 to 64 threads");
  else if (o->cluster_size
           && (o->cluster_size < 512 || o->cluster_size > 2 << 20
               || (o->cluster_size & (o->cluster_size - 1))))
    g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                         "a cluster size is a power of two from 512 to 2097152");
  else
    return TRUE;
  return FALSE;
}

static gboolean
output_options (const H2kConvertOptions *options, H2kOutputOptions *oo, GError **error)
{
  *oo = (H2kOutputOptions){
      .format = options->output_format,
      .compression = options->compression,
      .force = options->force,
      .sync = !options->fast,
      .backing = options->backing,
      .backing_format = options->backing_format,
  };
  if (!h2k_output_options_parse (options->output_options, oo, error))
    return FALSE;
  if (options->cluster_size)
    oo->cluster_size = options->cluster_size;
  return TRUE;
}

/* DISK without what its filesystems do not use. */
static H2kDisk *
source_view (const H2kConvertOptions *options, H2kDisk *disk, GError **error)
{
  g_autoptr (GPtrArray) notes = g_ptr_array_new_with_free_func (g_free);
  H2kDisk *view;

  /* What differs from a backing file is asked for byte by byte. */
  if (!options->sparsify || options->backing)
    return h2k_disk_ref (disk);
  view = h2k_used_view_new (disk, options->drop_swap, notes, error);
  for (guint i = 0; i < notes->len; i++)
    g_message ("%s", (char *)notes->pdata[i]);
  return view;
}

static gboolean
is_special (const char *path)
{
  struct stat st;

  return stat (path, &st) == 0 && !S_ISREG (st.st_mode);
}

static gboolean
check_checksum (const H2kConvertOptions *options, GError **error)
{
  g_autofree char *path = g_strconcat (options->output, ".sha256", NULL);

  if (options->checksum
      && (g_str_equal (options->output, "-") || is_special (options->output)
          || h2k_file_is_uri (options->output)))
    {
      g_set_error_literal (error, H2K_ERROR, H2K_ERROR_USAGE,
                           "digests are written beside files only: leave out --checksum");
      return FALSE;
    }
  if (!options->checksum || options->force || !g_file_test (path, G_FILE_TEST_EXISTS))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT_EXISTS,
               "%s exists: move it away, or give --force to replace it", path);
  return FALSE;
}

static gboolean
write_checksum (const H2kConvertOptions *options, H2kOutput *output, GCancellable *cancellable,
                GError **error)
{
  H2kCopyOptions progress = copy_options (options, "checksum");
  g_autoptr (GPtrArray) paths = g_ptr_array_new ();
  g_autofree char *path = g_strconcat (h2k_output_path (output), ".sha256", NULL);

  if (!options->checksum)
    return TRUE;
  g_ptr_array_add (paths, (char *)h2k_output_path (output));
  if (h2k_write_checksums (paths, path, !options->fast, &progress, cancellable, error))
    return TRUE;
  g_prefix_error (error, "%s is complete, but its digests are not written: ", options->output);
  return FALSE;
}

static gboolean
verify_output (const H2kConvertOptions *options, H2kOutput *output, GCancellable *cancellable,
               GError **error)
{
  H2kCopyOptions verify = copy_options (options, "verify");

  if (!options->verify && !h2k_output_is_doubtful (output))
    return TRUE;
  if (!options->verify)
    g_message ("the output's server was lost for a while: what it has is read back and verified");
  return h2k_verify (output, &verify, cancellable, error);
}

static gboolean
copy_disk (const H2kConvertOptions *options, H2kDisk *disk, const char *state, H2kOutput *output,
           GCancellable *cancellable, GError **error)
{
  H2kCopyOptions copy = copy_options (options, "copy");
  g_autoptr (H2kDisk) view = source_view (options, disk, error);
  H2kCopyStats stats;
  guint64 needed;

  copy.no_digests = !options->verify;
  if (!view || !h2k_copy_estimate (view, &needed, error)
      || (!h2k_output_shares (output, view)
          && !h2k_output_check_space (output, options->compression ? needed / 4 : needed, error))
      || !h2k_copy (view, output, &copy, cancellable, &stats, error)
      || !verify_output (options, output, cancellable, error)
      || !h2k_source_check (disk, state, error))
    return FALSE;
  if (stats.bytes_shared)
    {
      g_autofree char *shared = h2k_format_size (stats.bytes_shared);
      g_message ("%s are shared with the source (reflinks) and take no space", shared);
    }
  if (stats.bytes_resumed)
    {
      g_autofree char *resumed = h2k_format_size (stats.bytes_resumed);
      g_message ("%s were there already", resumed);
    }
  return TRUE;
}

static gboolean
convert (const H2kConvertOptions *options, GCancellable *cancellable, GError **error)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kOutput) output = NULL;
  g_autofree char *identity = NULL, *state = NULL;
  g_autoptr (GPtrArray) sources = g_ptr_array_new ();
  H2kOutputOptions oo;

  if (!check_options (options, error) || !output_options (options, &oo, error)
      || !check_checksum (options, error))
    return FALSE;
  disk = h2k_disk_open (options->source, options->source_format, error);
  if (!disk)
    return FALSE;
  if (!options->flatten && !options->backing)
    h2k_note_chain (disk);
  state = h2k_source_state (disk);
  identity = h2k_copy_identity (disk, &oo, options->sparsify, options->drop_swap);
  oo.identity = identity;
  oo.resume = options->resume;
  g_ptr_array_extend (sources, disk->files, NULL, NULL);
  g_ptr_array_add (sources, options->source);
  output = h2k_output_new (options->output, disk->size, &oo, sources, error);
  return output && copy_disk (options, disk, state, output, cancellable, error)
         && h2k_output_commit (output, error)
         && write_checksum (options, output, cancellable, error);
}

gboolean
h2k_convert (const H2kConvertOptions *options, GCancellable *cancellable, GError **error)
{
  gboolean ok;

  /* For what has no argument for it: reads from servers. */
  if (cancellable)
    g_cancellable_push_current (cancellable);
  ok = convert (options, cancellable, error);
  if (cancellable)
    g_cancellable_pop_current (cancellable);
  return ok;
}

/* --- comparing -------------------------------------------------------------------------------- */

static gboolean
compare (const char *path_a, const char *format_a, const char *path_b, const char *format_b,
         const H2kCopyOptions *options, GCancellable *cancellable, H2kComparison *result,
         GError **error)
{
  g_autoptr (H2kDisk) a = h2k_disk_open (path_a, format_a, error);
  g_autoptr (H2kDisk) b = a ? h2k_disk_open (path_b, format_b, error) : NULL;

  if (!b || !h2k_compare (a, b, options, cancellable, &result->offset, error))
    return FALSE;
  result->same_size = a->size == b->size;
  result->same_content = result->offset == G_MAXUINT64;
  return TRUE;
}

gboolean
h2k_images_compare (const char *path_a, const char *format_a, const char *path_b,
                    const char *format_b, guint threads, H2kProgressFunc progress,
                    gpointer progress_data, GCancellable *cancellable, H2kComparison *result,
                    GError **error)
{
  H2kCopyOptions options = {.threads = threads,
                            .progress_phase = "compare",
                            .progress = progress,
                            .progress_data = progress_data};
  gboolean ok;

  if (cancellable)
    g_cancellable_push_current (cancellable);
  ok = compare (path_a, format_a, path_b, format_b, &options, cancellable, result, error);
  if (cancellable)
    g_cancellable_pop_current (cancellable);
  return ok;
}
