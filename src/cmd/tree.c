/* tree.c - hyper2kvm tree: draw the folders of a guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <stdio.h>
#include <sys/stat.h>

#define MAX_DEPTH 256

typedef struct
{
  H2kFiles *files;
  int depth;
  gboolean folders_only;
  guint64 n_folders, n_files;
} Drawing;

static GPtrArray *
children (Drawing *d, const char *path, GError **error)
{
  GPtrArray *entries = h2k_files_list (d->files, path, error);

  for (guint i = entries ? entries->len : 0; i-- > 0;)
    if (d->folders_only && !S_ISDIR (((H2kFileInfo *)entries->pdata[i])->mode))
      g_ptr_array_remove_index (entries, i);
  return entries;
}

static gboolean draw (Drawing *d, const char *path, const CmdFolder *folder, const char *indent,
                      int depth, GError **error);

static gboolean
draw_entry (Drawing *d, const char *path, const CmdFolder *folder, const H2kFileInfo *info,
            const char *indent, gboolean last, int depth, GError **error)
{
  gboolean is_dir = S_ISDIR (info->mode);
  g_autofree char *name = cmd_shown_name (info->name);
  g_autofree char *target = info->target ? cmd_shown_name (info->target) : NULL;
  g_autofree char *whole = g_build_filename (path, info->name, NULL);
  g_autofree char *deeper = g_strconcat (indent, last ? "    " : "│   ", NULL);
  const CmdFolder inner = {folder, info};

  printf ("%s%s%s%s%s\n", indent, last ? "└── " : "├── ", name, target ? " -> " : "",
          target ? target : "");
  *(is_dir ? &d->n_folders : &d->n_files) += 1;
  return !is_dir || depth >= d->depth
         || (cmd_may_enter (folder, info, error)
             && draw (d, whole, &inner, deeper, depth + 1, error));
}

static gboolean
draw (Drawing *d, const char *path, const CmdFolder *folder, const char *indent, int depth,
      GError **error)
{
  g_autoptr (GPtrArray) entries = children (d, path, error);

  for (guint i = 0; entries && i < entries->len; i++)
    if (!draw_entry (d, path, folder, entries->pdata[i], indent, i + 1 == entries->len, depth,
                     error))
      return FALSE;
  return entries != NULL;
}

int
cmd_tree (int argc, char **argv)
{
  Drawing d = {.depth = MAX_DEPTH};
  const GOptionEntry entries[] = {
      {"level", 'L', 0, G_OPTION_ARG_INT, &d.depth, "no deeper than so many folders", "N"},
      {"directories", 'd', 0, G_OPTION_ARG_NONE, &d.folders_only, "folders only", NULL},
      {NULL},
  };
  int first, code = cmd_parse (&argc, &argv, "DISK [PATH]",
                               "Draws what the guest on a VM's disks has below a path; without one "
                               "below its root. Nothing is written.",
                               entries, cmd_guest_entries, NULL);
  g_autoptr (H2kFiles) files = NULL;
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kFileInfo) top = NULL;
  g_autofree char *path = NULL, *shown = NULL;
  CmdFolder folder = {NULL, NULL};

  if (code < 0 && (d.depth < 1 || d.depth > MAX_DEPTH))
    return cmd_usage ("tree", "--level is a number from 1 to %d", MAX_DEPTH);
  if (code < 0)
    code = cmd_open_guest (argc, argv, 0, &first, &files);
  if (code >= 0)
    return code;
  if (argc - first > 1)
    return cmd_usage ("tree", "one path is drawn at a time");
  d.files = files;
  path = h2k_files_path (files, first < argc ? argv[first] : "/", &error);
  folder.info = top = path ? h2k_files_stat (files, path, TRUE, &error) : NULL;
  if (!top)
    return cmd_fail (error);
  shown = cmd_shown_name (path);
  puts (shown);
  if (!draw (&d, path, &folder, "", 1, &error))
    {
      fflush (stdout);
      return cmd_fail (error);
    }
  printf ("\n%" G_GUINT64_FORMAT " folders, %" G_GUINT64_FORMAT " files\n", d.n_folders, d.n_files);
  return cmd_end_output (EXIT_OK);
}
