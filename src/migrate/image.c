/* image.c - single images: what they are, converted as they are, compared.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "copy/copy.h"
#include "migrate/migrate.h"

#include <json-glib/json-glib.h>
#include <sys/stat.h>

/* --- what an image is ------------------------------------------------------------------------- */

/* Bytes that the files of this image alone take on their filesystems. */
static guint64
own_bytes (const H2kDisk *disk)
{
  guint64 bytes = 0;
  struct stat st;

  for (guint i = 0; i < disk->files->len; i++)
    if ((!disk->backing
         || !g_ptr_array_find_with_equal_func (disk->backing->files, disk->files->pdata[i],
                                               g_str_equal, NULL))
        && stat (disk->files->pdata[i], &st) == 0)
      bytes += (guint64)st.st_blocks * 512;
  return bytes;
}

static JsonNode *
image_to_json (H2kDisk *disk)
{
  JsonNode *node = json_node_new (JSON_NODE_OBJECT);
  JsonObject *o = json_object_new ();
  JsonArray *files = json_array_new ();

  json_node_take_object (node, o);
  json_object_set_string_member (o, "filename", disk->files->pdata[0]);
  json_object_set_string_member (o, "format", disk->format);
  if (disk->subformat)
    json_object_set_string_member (o, "subformat", disk->subformat);
  json_object_set_int_member (o, "virtual-size", (gint64)disk->size);
  json_object_set_int_member (o, "sector-size", disk->sector_size);
  json_object_set_int_member (o, "actual-size", (gint64)own_bytes (disk));
  for (guint i = 0; i < disk->files->len; i++)
    json_array_add_string_element (files, disk->files->pdata[i]);
  json_object_set_array_member (o, "files", files);
  return node;
}

/* The chain from DISK down as nested objects, built from its end: no recursion for a long chain. */
static char *
chain_to_json (H2kDisk *disk)
{
  g_autoptr (GPtrArray) chain = g_ptr_array_new ();
  JsonNode *below = NULL;
  char *text;

  for (H2kDisk *d = disk; d; d = d->backing)
    g_ptr_array_add (chain, d);
  for (guint i = chain->len; i-- > 0;)
    {
      JsonNode *node = image_to_json (chain->pdata[i]);
      if (below)
        json_object_set_member (json_node_get_object (node), "backing", below);
      below = node;
    }
  text = json_to_string (below, TRUE);
  json_node_unref (below);
  return text;
}

static char *
chain_to_text (H2kDisk *disk)
{
  GString *text = g_string_new (NULL);

  for (H2kDisk *d = disk; d; d = d->backing)
    {
      g_autofree char *name = h2k_escape_text (d->files->pdata[0], -1);
      g_autofree char *size = h2k_format_size (d->size);
      g_autofree char *own = h2k_format_size (own_bytes (d));

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
          g_autofree char *backing = h2k_escape_text (d->backing->files->pdata[0], -1);
          g_string_append_printf (text, "backing file: %s\n", backing);
        }
    }
  return g_string_free (text, FALSE);
}

char *
h2k_image_info (const char *path, const char *format, gboolean json, GError **error)
{
  g_autoptr (H2kDisk) disk = h2k_disk_open (path, format, error);

  if (!disk)
    return NULL;
  return json ? chain_to_json (disk) : chain_to_text (disk);
}

/* --- converting ------------------------------------------------------------------------------- */

H2kConvertOptions *
h2k_convert_options_new (void)
{
  H2kConvertOptions *options = g_new0 (H2kConvertOptions, 1);

  options->output_format = g_strdup ("qcow2");
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
  g_free (options);
}

static H2kCopyOptions
copy_options (const H2kConvertOptions *options, const char *phase)
{
  return (H2kCopyOptions){
      .threads = options->threads,
      .progress_phase = phase,
      .progress = options->progress,
      .progress_data = options->progress_data,
  };
}

static gboolean
check_options (const H2kConvertOptions *o, GError **error)
{
  if (!o->source || !o->output)
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

gboolean
h2k_convert (const H2kConvertOptions *options, GCancellable *cancellable, GError **error)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kOutput) output = NULL;
  H2kCopyOptions copy = copy_options (options, "copy"), verify = copy_options (options, "verify");
  H2kOutputOptions oo = {
      .format = options->output_format,
      .compression = options->compression,
      .force = options->force,
      .sync = !options->fast,
      .cluster_size = options->cluster_size,
  };
  guint64 needed;

  if (!check_options (options, error))
    return FALSE;
  disk = h2k_disk_open (options->source, options->source_format, error);
  if (!disk)
    return FALSE;
  output = h2k_output_new (options->output, disk->size, &oo, disk->files, error);
  if (!output || !h2k_copy_estimate (disk, &needed, error)
      || !h2k_output_check_space (output, options->compression ? needed / 4 : needed, error)
      || !h2k_copy (disk, output, &copy, cancellable, NULL, error))
    return FALSE;
  if (options->verify
      && !h2k_verify (disk, h2k_output_temp_path (output), options->output_format, &verify,
                      cancellable, error))
    return FALSE;
  return h2k_output_commit (output, error);
}

/* --- comparing -------------------------------------------------------------------------------- */

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
  g_autoptr (H2kDisk) a = h2k_disk_open (path_a, format_a, error);
  g_autoptr (H2kDisk) b = a ? h2k_disk_open (path_b, format_b, error) : NULL;

  if (!b || !h2k_compare (a, b, &options, cancellable, &result->offset, error))
    return FALSE;
  result->same_size = a->size == b->size;
  result->same_content = result->offset == G_MAXUINT64;
  return TRUE;
}
