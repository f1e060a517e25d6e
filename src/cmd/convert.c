/* convert.c - hyper2kvm convert: one image in another format, without a look inside.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <signal.h>
#include <stdio.h>

/* A size in bytes, with K or M behind it for KiB and MiB; 0 for what is none. */
static guint32
parse_size (const char *text)
{
  char *end;
  guint64 n = g_ascii_strtoull (text, &end, 10);
  guint shift = *end == 'k' || *end == 'K' ? 10 : *end == 'M' ? 20 : 0;

  if (!g_ascii_isdigit (*text) || end[shift != 0] || n > G_MAXUINT32 >> shift)
    return 0;
  return (guint32)n << shift;
}

int
cmd_convert (int argc, char **argv)
{
  g_autoptr (H2kConvertOptions) options = h2k_convert_options_new ();
  g_autofree char *cluster_size = NULL;
  g_auto (GStrv) output_options = NULL;
  gboolean zlib = FALSE, no_sparsify = FALSE;
  g_autofree char *format = NULL;
  int threads = 0;
  const GOptionEntry entries[] = {
      {"format", 'f', 0, G_OPTION_ARG_STRING, &options->source_format,
       "the source's format (default: found)", "FMT"},
      {"out-format", 'O', 0, G_OPTION_ARG_STRING, &format,
       "qcow2 (default), raw, vmdk, vhdx or vhd", "FMT"},
      {"options", 'o', 0, G_OPTION_ARG_STRING_ARRAY, &output_options,
       "the output format's, KEY=VALUE,... as qemu-img has them", "OPTIONS"},
      {"backing", 'B', 0, G_OPTION_ARG_FILENAME, &options->backing,
       "write only what differs from this image, and build on it (qcow2)", "FILE"},
      {"backing-format", 'F', 0, G_OPTION_ARG_STRING, &options->backing_format,
       "its format (default: found)", "FMT"},
      {"compressed", 'c', 0, G_OPTION_ARG_NONE, &zlib, "the same as --compress", NULL},
      {"compress", 0, G_OPTION_FLAG_OPTIONAL_ARG, G_OPTION_ARG_CALLBACK, cmd_parse_compress,
       "compress the qcow2 with zlib (default) or zstd", "HOW"},
      {"cluster-size", 0, 0, G_OPTION_ARG_STRING, &cluster_size,
       "of a qcow2: 512 to 2M (default 64K)", "SIZE"},
      {"threads", 0, 0, G_OPTION_ARG_INT, &threads, "1 to 64 (default: one a CPU)", "N"},
      {"verify", 0, 0, G_OPTION_ARG_NONE, &options->verify,
       "read the output back and compare every used block", NULL},
      {"resume", 0, 0, G_OPTION_ARG_NONE, &options->resume,
       "take up an interrupted run; keep what is copied if this one is interrupted", NULL},
      {"checksum", 0, 0, G_OPTION_ARG_NONE, &options->checksum,
       "write SHA-256 digests beside the output (.sha256)", NULL},
      {"bwlimit", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_bwlimit,
       "read at most so many KiB a second (or with K, M, G behind it)", "RATE"},
      {"io-priority", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_io_priority,
       "idle, best-effort or best-effort:0 to 7, as ionice", "CLASS"},
      {"drop-swap", 0, 0, G_OPTION_ARG_NONE, &options->drop_swap,
       "leave out the contents of swap and hibernation files", NULL},
      {"no-sparsify", 0, 0, G_OPTION_ARG_NONE, &no_sparsify,
       "also copy blocks that no filesystem uses", NULL},
      {"fast", 0, 0, G_OPTION_ARG_NONE, &options->fast,
       "do not wait until the output is on stable storage", NULL},
      {"flatten", 0, 0, G_OPTION_ARG_NONE, &options->flatten,
       "merge a chain of images into one, without a note (always done)", NULL},
      {"force", 0, 0, G_OPTION_ARG_NONE, &options->force,
       "replace an existing output, overwrite a device or an NBD export", NULL},
      {NULL},
  };
  int code = cmd_parse (
      &argc, &argv, "SOURCE OUTPUT",
      "Converts one disk image: no repairs, no definition. A chain of images becomes "
      "one, and blocks\nthat no filesystem uses are left out.\nThe source is never written. OUTPUT "
      "is a "
      "file, a block device or an NBD export (nbd://HOST/EXPORT,\nnbd+unix:///EXPORT?socket=PATH), "
      "which are overwritten with --force, or - for standard output.",
      entries, NULL, NULL);
  g_autoptr (GError) error = NULL;
  gboolean ok;

  if (code >= 0)
    return code;
  if (argc != 3)
    return cmd_usage ("convert", "a source and an output are needed");
  if (threads < 0)
    return cmd_usage ("convert", "--threads=%d: choose 1 to 64", threads);
  options->compression = cmd_compression ();
  if (zlib && !options->compression)
    options->compression = H2K_COMPRESS_ZLIB;
  options->cluster_size = cluster_size ? parse_size (cluster_size) : 0;
  if (cluster_size && !options->cluster_size)
    return cmd_usage ("convert", "--cluster-size=%s: choose a power of two from 512 to 2M",
                      cluster_size);
  options->output_options = output_options ? g_strjoinv (",", output_options) : NULL;
  cmd_take_text (&options->output_format, g_steal_pointer (&format));
  options->source = g_strdup (argv[1]);
  options->output = g_strdup (argv[2]);
  /* A reader that goes away is an error like any other. */
  signal (SIGPIPE, SIG_IGN);
  options->threads = (guint)threads;
  options->sparsify = !no_sparsify;
  options->rate_limit = cmd_rate_limit ();
  options->progress = cmd_progress;
  ok = h2k_convert (options, cmd_cancellable (), &error);
  cmd_progress_finish ();
  return ok ? EXIT_OK : cmd_fail (error);
}
