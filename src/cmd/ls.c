/* ls.c - hyper2kvm ls: list files of a guest.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <json-glib/json-glib.h>
#include <stdio.h>
#include <sys/stat.h>

typedef struct
{
  H2kFiles *files;
  gboolean details, all, folder, recursive, json;
  gboolean headings; /* a folder's name stands above what it holds */
  gboolean started;  /* something was printed */
  JsonArray *array;
} Listing;

static void
add_json (JsonArray *array, const char *path, const H2kFileInfo *info)
{
  JsonObject *o = json_object_new ();
  g_autofree char *name = g_utf8_make_valid (path, -1);
  g_autofree char *mode = g_strdup_printf ("%04o", info->mode & 07777);
  static const struct
  {
    guint32 type;
    const char *word;
  } types[] = {{S_IFREG, "file"},        {S_IFDIR, "directory"},    {S_IFLNK, "link"},
               {S_IFCHR, "char-device"}, {S_IFBLK, "block-device"}, {S_IFIFO, "fifo"},
               {S_IFSOCK, "socket"}};

  json_object_set_string_member (o, "path", name);
  for (gsize i = 0; i < G_N_ELEMENTS (types); i++)
    if ((info->mode & S_IFMT) == types[i].type)
      json_object_set_string_member (o, "type", types[i].word);
  json_object_set_string_member (o, "mode", mode);
  json_object_set_int_member (o, "uid", info->uid);
  json_object_set_int_member (o, "gid", info->gid);
  json_object_set_int_member (o, "size", (gint64)info->size);
  json_object_set_int_member (o, "mtime", info->mtime);
  if (info->target)
    {
      g_autofree char *target = g_utf8_make_valid (info->target, -1);
      json_object_set_string_member (o, "target", target);
    }
  json_array_add_object_element (array, o);
}

static void
print_entry (Listing *listing, const char *path, const char *name, const H2kFileInfo *info)
{
  g_autofree char *shown = cmd_shown_name (name);

  listing->started = TRUE;
  if (listing->json)
    add_json (listing->array, path, info);
  else if (!listing->details)
    puts (shown);
  else
    {
      g_autofree char *line = cmd_file_line (info);
      g_autofree char *target = info->target ? cmd_shown_name (info->target) : NULL;
      printf ("%s %s%s%s\n", line, shown, target ? " -> " : "", target ? target : "");
    }
}

static gboolean
is_shown (const Listing *listing, const H2kFileInfo *entry)
{
  return listing->all || entry->name[0] != '.';
}

static void
print_heading (Listing *listing, const char *path)
{
  g_autofree char *shown = cmd_shown_name (path);

  if (listing->headings && !listing->json)
    printf ("%s%s:\n", listing->started ? "\n" : "", shown);
  listing->started = TRUE;
}

/* What the folder at PATH holds, then what each of its folders does if that is asked for. */
static gboolean
list_folder (Listing *listing, const char *path, const CmdFolder *folder, GError **error)
{
  g_autoptr (GPtrArray) entries = h2k_files_list (listing->files, path, error);

  if (!entries)
    return FALSE;
  for (guint i = entries->len; i-- > 0;)
    if (!is_shown (listing, entries->pdata[i]))
      g_ptr_array_remove_index (entries, i);
  print_heading (listing, path);
  for (guint i = 0; i < entries->len; i++)
    {
      const H2kFileInfo *entry = entries->pdata[i];
      g_autofree char *whole = g_build_filename (path, entry->name, NULL);
      print_entry (listing, whole, entry->name, entry);
    }
  for (guint i = 0; listing->recursive && i < entries->len && !ferror (stdout); i++)
    {
      const H2kFileInfo *entry = entries->pdata[i];
      const CmdFolder inner = {folder, entry};
      g_autofree char *whole = g_build_filename (path, entry->name, NULL);

      if (S_ISDIR (entry->mode)
          && (!cmd_may_enter (folder, entry, error)
              || !list_folder (listing, whole, &inner, error)))
        return FALSE;
    }
  return TRUE;
}

static void
say (GError *error, int *code)
{
  int own = cmd_fail (error);

  if (*code == EXIT_OK)
    *code = own;
  g_error_free (error);
}

/* The OPERANDS as paths from the guest's root; of those that are none it is told. */
static char **
find_paths (Listing *listing, char **operands, int n, int *code)
{
  char **paths = g_new0 (char *, (gsize)n + 1);
  GError *error = NULL;

  for (int i = 0; i < n; i++)
    {
      paths[i] = h2k_files_path (listing->files, operands[i], &error);
      if (!paths[i])
        say (g_steal_pointer (&error), code);
    }
  return paths;
}

/* Files first, without a heading, then folders, as coreutils have it. What cannot be listed is told
 * of and keeps nothing else from being listed. */
static int
list_all (Listing *listing, char **operands, int n)
{
  g_autoptr (GPtrArray) infos = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_file_info_free);
  GError *error = NULL;
  int code = EXIT_OK;
  char **paths = find_paths (listing, operands, n, &code);

  listing->headings = n > 1 || listing->recursive;
  for (int i = 0; i < n; i++)
    {
      H2kFileInfo *info
          = paths[i] ? h2k_files_stat (listing->files, paths[i], !listing->details, &error) : NULL;

      g_ptr_array_add (infos, info);
      if (!info && !paths[i])
        continue;
      if (!info)
        say (g_steal_pointer (&error), &code);
      else if (listing->folder || !S_ISDIR (info->mode))
        print_entry (listing, paths[i], paths[i], info);
    }
  for (int i = 0; i < n && !listing->folder; i++)
    {
      const H2kFileInfo *info = infos->pdata[i];
      const CmdFolder folder = {NULL, info};

      if (info && S_ISDIR (info->mode) && !list_folder (listing, paths[i], &folder, &error))
        say (g_steal_pointer (&error), &code);
    }
  for (int i = 0; i < n; i++)
    g_free (paths[i]);
  g_free (paths);
  return code;
}

static int
finish (Listing *listing, int code)
{
  g_autoptr (JsonNode) node = NULL;
  g_autofree char *text = NULL;

  if (listing->json)
    {
      node = json_node_new (JSON_NODE_ARRAY);
      json_node_set_array (node, listing->array);
      text = json_to_string (node, TRUE);
      puts (text);
    }
  return cmd_end_output (code);
}

int
cmd_ls (int argc, char **argv)
{
  Listing listing = {0};
  const GOptionEntry entries[] = {
      {"long", 'l', 0, G_OPTION_ARG_NONE, &listing.details, "mode, owner, size and time, too",
       NULL},
      {"all", 'A', 0, G_OPTION_ARG_NONE, &listing.all, "also names that begin with a dot", NULL},
      {"directory", 'd', 0, G_OPTION_ARG_NONE, &listing.folder, "folders themselves", NULL},
      {"recursive", 'R', 0, G_OPTION_ARG_NONE, &listing.recursive, "what folders hold, too", NULL},
      {"json", 0, 0, G_OPTION_ARG_NONE, &listing.json, "print JSON", NULL},
      {NULL},
  };
  int first, code = cmd_parse (&argc, &argv, "DISK [PATH…]",
                               "Lists files of the guest on a VM's disks; without a path its root. "
                               "Nothing is written.",
                               entries, cmd_guest_entries, NULL);
  char *root[] = {(char *)"/"};
  g_autoptr (H2kFiles) files = NULL;
  g_autoptr (JsonArray) array = json_array_new ();

  if (code < 0)
    code = cmd_open_guest (argc, argv, 0, &first, &files);
  if (code >= 0)
    return code;
  listing.array = array;
  listing.files = files;
  code = first < argc ? list_all (&listing, argv + first, argc - first)
                      : list_all (&listing, root, 1);
  return finish (&listing, code);
}
