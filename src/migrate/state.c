/* state.c - whether a source is still what it was, and digests for those who keep the outputs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/state.h"
#include "util/digest.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE ((gsize)1 << 20)

/* --- sources ---------------------------------------------------------------------------------- */

static void
append_file (GString *text, const char *path)
{
  g_autofree char *name = h2k_escape_text (path, -1);
  struct stat st;

  if (stat (path, &st) < 0)
    g_string_append_printf (text, "source %s: missing\n", name);
  else if (S_ISBLK (st.st_mode))
    g_string_append_printf (text, "source %s: device %u:%u\n", name, (guint)(st.st_rdev >> 8),
                            (guint)(st.st_rdev & 0xff));
  else
    g_string_append_printf (text,
                            "source %s: %" G_GINT64_FORMAT " bytes, changed %" G_GINT64_FORMAT
                            ".%09ld, inode %" G_GUINT64_FORMAT "\n",
                            name, (gint64)st.st_size, (gint64)st.st_mtim.tv_sec,
                            (long)st.st_mtim.tv_nsec, (guint64)st.st_ino);
}

char *
h2k_source_state (H2kDisk *disk)
{
  GString *text = g_string_new (NULL);

  g_string_append_printf (text, "source disk: %s, %" G_GUINT64_FORMAT " bytes\n", disk->format,
                          disk->size);
  if (disk->origin)
    g_string_append_printf (text, "source %s\n", disk->origin);
  for (H2kDisk *d = disk; d; d = d->backing)
    for (guint i = 0; d->files && i < d->files->len; i++)
      append_file (text, d->files->pdata[i]);
  return g_string_free (text, FALSE);
}

gboolean
h2k_source_check (H2kDisk *disk, const char *before, GError **error)
{
  g_autofree char *state = h2k_source_state (disk);
  g_auto (GStrv) then = g_strsplit (before, "\n", -1);
  g_auto (GStrv) now = g_strsplit (state, "\n", -1);

  for (guint i = 0; then[i] && now[i]; i++)
    if (!g_str_equal (then[i], now[i]))
      {
        g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                     "the source changed while it was read (before \"%s\", now \"%s\"), so that "
                     "the copy is of no use; shut the VM down, or copy a snapshot of it",
                     then[i], now[i]);
        return FALSE;
      }
  return TRUE;
}

char *
h2k_copy_identity (H2kDisk *disk, const H2kOutputOptions *o, gboolean sparsify, gboolean drop_swap)
{
  g_autofree char *state = h2k_source_state (disk);

  return g_strdup_printf ("%sversion: %s\n"
                          "output: %s, compression %d, clusters %u, compat %u, type %u, "
                          "preallocation %u, blocks %u, adapter %u, hardware %u, backing %s\n"
                          "left out: %s %s\n",
                          state, h2k_version (), o->format, (int)o->compression, o->cluster_size,
                          o->compat, o->compression_type, o->preallocation, o->block_size,
                          o->adapter, o->hw_version, o->backing ? o->backing : "none",
                          sparsify ? "unused" : "nothing", drop_swap ? "swap" : "");
}

/* --- digests ---------------------------------------------------------------------------------- */

static gboolean
digest_fd (int fd, guint64 size, H2kDigest *digest, const H2kCopyOptions *options,
           GCancellable *cancellable, GError **error)
{
  g_autofree guint8 *buffer = g_malloc (READ_SIZE);

  for (guint64 at = 0; at < size;)
    {
      gsize n = (gsize)MIN (READ_SIZE, size - at);
      int err;

      if (h2k_is_cancelled (cancellable, error))
        return FALSE;
      err = h2k_pread_full (fd, buffer, n, at);
      if (err)
        {
          h2k_set_errno (error, H2K_ERROR_OUTPUT, err, "cannot read the output for its digest");
          return FALSE;
        }
      h2k_digest_update (digest, buffer, n);
      at += n;
      if (options->progress)
        options->progress (options->progress_phase, at, size, options->progress_data);
    }
  return TRUE;
}

/* The line of PATH as sha256sum writes it. */
static gboolean
append_digest (GString *text, const char *path, const H2kCopyOptions *options,
               GCancellable *cancellable, GError **error)
{
  g_autofree char *name = g_path_get_basename (path);
  g_autoptr (H2kDigest) digest = h2k_digest_new (G_CHECKSUM_SHA256);
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  struct stat st;
  gboolean ok;

  if (fd < 0 || fstat (fd, &st) < 0)
    {
      h2k_set_errno (error, H2K_ERROR_OUTPUT, errno, "cannot read %s for its digest", path);
      if (fd >= 0)
        close (fd);
      return FALSE;
    }
  ok = digest_fd (fd, (guint64)st.st_size, digest, options, cancellable, error);
  if (ok)
    {
      /* A name with such characters makes the whole line an escaped one. */
      gboolean escape = strpbrk (name, "\\\n\r") != NULL;

      if (escape)
        g_string_append_c (text, '\\');
      g_string_append_printf (text, "%s  ", h2k_digest_text (digest));
      for (const char *p = name; *p; p++)
        if (*p == '\\' || *p == '\n' || *p == '\r')
          g_string_append_printf (text, "\\%c", *p == '\\' ? '\\' : *p == '\n' ? 'n' : 'r');
        else
          g_string_append_c (text, *p);
      g_string_append_c (text, '\n');
    }
  close (fd);
  return ok;
}

gboolean
h2k_write_checksums (GPtrArray *paths, const char *path, gboolean sync,
                     const H2kCopyOptions *options, GCancellable *cancellable, GError **error)
{
  g_autoptr (GString) text = g_string_new (NULL);
  g_autoptr (GError) local = NULL;

  for (guint i = 0; i < paths->len; i++)
    if (!append_digest (text, paths->pdata[i], options, cancellable, error))
      return FALSE;
  if (g_file_set_contents_full (path, text->str, (gssize)text->len,
                                sync ? G_FILE_SET_CONTENTS_CONSISTENT | G_FILE_SET_CONTENTS_DURABLE
                                     : G_FILE_SET_CONTENTS_CONSISTENT,
                                0644, &local))
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_OUTPUT, "the digests cannot be written: %s",
               local->message);
  return FALSE;
}
