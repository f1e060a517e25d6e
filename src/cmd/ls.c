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
  gboolean details, all, folder, json;
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
print_entry (const Listing *listing, const char *path, const char *name, const H2kFileInfo *info)
{
  g_autofree char *shown = cmd_shown_name (name);

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
list (const Listing *listing, H2kFiles *files, const char *path, GError **error)
{
  g_autoptr (H2kFileInfo) info = h2k_files_stat (files, path, !listing->details, error);
  g_autoptr (GPtrArray) entries = NULL;

  if (!info)
    return FALSE;
  if (listing->folder || !S_ISDIR (info->mode))
    {
      print_entry (listing, path, path, info);
      return TRUE;
    }
  entries = h2k_files_list (files, path, error);
  for (guint i = 0; entries && i < entries->len; i++)
    {
      const H2kFileInfo *entry = entries->pdata[i];
      g_autofree char *whole = g_build_filename (path, entry->name, NULL);

      if (listing->all || entry->name[0] != '.')
        print_entry (listing, whole, entry->name, entry);
    }
  return entries != NULL;
}

static int
finish (Listing *listing)
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
  return fflush (stdout) == 0 ? EXIT_OK : EXIT_OUTPUT;
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
      {"json", 0, 0, G_OPTION_ARG_NONE, &listing.json, "print JSON", NULL},
      {NULL},
  };
  int first, code = cmd_parse (&argc, &argv, "DISK [PATH…]",
                               "Lists files of the guest on a VM's disks; without a path its root. "
                               "Nothing is written.",
                               entries, cmd_guest_entries, NULL);
  g_autoptr (H2kFiles) files = NULL;
  g_autoptr (JsonArray) array = json_array_new ();
  g_autoptr (GError) error = NULL;

  if (code < 0)
    code = cmd_open_guest (argc, argv, 0, &first, &files);
  if (code >= 0)
    return code;
  listing.array = array;
  for (int i = first; i < MAX (argc, first + 1); i++)
    {
      const char *path = i < argc ? argv[i] : "/";
      if (argc - first > 1 && !listing.json)
        {
          g_autofree char *shown = cmd_shown_name (path);
          printf ("%s%s:\n", i > first ? "\n" : "", shown);
        }
      if (!list (&listing, files, path, &error))
        {
          fflush (stdout);
          return cmd_fail (error);
        }
    }
  return finish (&listing);
}
