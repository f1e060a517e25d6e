/* modules.c - reads modules.dep, modules.softdep, modules.alias and modules.builtin.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/modules.h"

#define MAX_WORDS 4096 /* bytes of names for one alias or softdep */

char *
h2k_module_name (const char *path)
{
  static const char *const suffixes[] = {".ko", ".ko.xz", ".ko.zst", ".ko.gz"};
  const char *slash = strrchr (path, '/');
  const char *base = slash ? slash + 1 : path;

  for (guint i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (base, suffixes[i]) && strlen (base) > strlen (suffixes[i]))
      return g_strdelimit (g_strndup (base, strlen (base) - strlen (suffixes[i])), "-", '_');
  return NULL;
}

/* PATH relative to the module directory; NULL when it would lead out of it. */
static const char *
relative (const char *path, const char *version)
{
  g_auto (GStrv) parts = NULL;

  if (*path == '/')
    {
      g_autofree char *dir = g_strconcat ("/", version, "/", NULL);
      const char *p = strstr (path, dir);
      if (!p)
        return NULL;
      path = p + strlen (dir);
    }
  parts = g_strsplit (path, "/", -1);
  for (char **p = parts; *p; p++)
    if (**p == '\0' || g_str_equal (*p, ".") || g_str_equal (*p, ".."))
      return NULL;
  return path;
}

/* Call LINE with each line of DATA, NUL-terminated and its own. */
static void
each_line (GBytes *data, void (*line) (H2kModules *, char *, const char *), H2kModules *modules,
           const char *version)
{
  gsize size = 0;
  const char *p = data ? g_bytes_get_data (data, &size) : "";
  const char *end = p + size;

  while (p < end)
    {
      const char *nl = memchr (p, '\n', (gsize)(end - p));
      g_autofree char *text = g_strndup (p, (gsize)((nl ? nl : end) - p));
      p = nl ? nl + 1 : end;
      if (*text != '#')
        line (modules, text, version);
    }
}

/* "kernel/a.ko: kernel/b.ko kernel/c.ko" */
static void
dep_line (H2kModules *modules, char *text, const char *version)
{
  char *colon = strchr (text, ':');
  const char *path;
  char *name;

  if (!colon)
    return;
  *colon = '\0';
  path = relative (text, version);
  name = path ? h2k_module_name (path) : NULL;
  if (!name)
    return;
  g_hash_table_insert (modules->needs, g_strdup (name), g_strdup (g_strstrip (colon + 1)));
  g_hash_table_insert (modules->paths, name, g_strdup (path));
}

/* "kernel/a.ko" */
static void
builtin_line (H2kModules *modules, char *text, const char *version)
{
  char *name = h2k_module_name (g_strstrip (text));

  if (name)
    g_hash_table_add (modules->builtin, name);
}

static void
add_word (GHashTable *table, const char *key, const char *word)
{
  const char *old = g_hash_table_lookup (table, key);

  if (!old || strlen (old) < MAX_WORDS)
    g_hash_table_insert (table, g_strdup (key),
                         old ? g_strconcat (old, " ", word, NULL) : g_strdup (word));
}

static char *
underscores (const char *name)
{
  return g_strdelimit (g_strdup (name), "-", '_');
}

/* "softdep a pre: b c post: d" */
static void
softdep_line (H2kModules *modules, char *text, const char *version)
{
  g_auto (GStrv) words = g_strsplit_set (text, " \t", -1);
  g_autofree char *name = NULL;
  gboolean pre = FALSE;

  if (!words[0] || !words[1] || !g_str_equal (words[0], "softdep"))
    return;
  name = underscores (words[1]);
  for (char **w = words + 2; *w; w++)
    if (g_str_has_suffix (*w, ":"))
      pre = g_str_equal (*w, "pre:");
    else if (pre && **w)
      {
        g_autofree char *needed = underscores (*w);
        add_word (modules->softdeps, name, needed);
      }
}

/* "alias crct10dif crct10dif_generic" */
static void
alias_line (H2kModules *modules, char *text, const char *version)
{
  g_auto (GStrv) words = NULL;

  if (!g_str_has_prefix (text, "alias ") || strpbrk (text, "*?[:"))
    return;
  words = g_strsplit (text, " ", 4);
  if (g_strv_length (words) == 3)
    {
      g_autofree char *alias = underscores (words[1]);
      g_autofree char *name = underscores (words[2]);
      add_word (modules->aliases, alias, name);
    }
}

static GHashTable *
new_table (void)
{
  return g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
}

H2kModules *
h2k_modules_new (const char *version, GBytes *dep, GBytes *softdep, GBytes *alias, GBytes *builtin)
{
  H2kModules *modules = g_new0 (H2kModules, 1);

  modules->paths = new_table ();
  modules->needs = new_table ();
  modules->softdeps = new_table ();
  modules->aliases = new_table ();
  modules->builtin = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  each_line (dep, dep_line, modules, version);
  each_line (softdep, softdep_line, modules, version);
  each_line (alias, alias_line, modules, version);
  each_line (builtin, builtin_line, modules, version);
  return modules;
}

void
h2k_modules_free (H2kModules *modules)
{
  if (!modules)
    return;
  g_hash_table_unref (modules->paths);
  g_hash_table_unref (modules->needs);
  g_hash_table_unref (modules->softdeps);
  g_hash_table_unref (modules->aliases);
  g_hash_table_unref (modules->builtin);
  g_free (modules);
}

static void
push_words (GQueue *todo, const char *words, gboolean paths)
{
  g_auto (GStrv) list = g_strsplit (words ? words : "", " ", -1);

  for (char **w = list; *w; w++)
    {
      char *name = paths ? h2k_module_name (*w) : g_strdup (*w);
      if (name)
        g_queue_push_tail (todo, name);
    }
}

void
h2k_modules_closure (const H2kModules *modules, const char *name, GHashTable *set)
{
  g_autoptr (GHashTable) seen = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GQueue) todo = g_queue_new ();
  char *next;

  g_queue_push_tail (todo, g_strdup (name));
  while ((next = g_queue_pop_head (todo)))
    if (g_hash_table_add (seen, next) && !g_hash_table_contains (set, next))
      {
        if (g_hash_table_contains (modules->paths, next))
          {
            g_hash_table_add (set, g_strdup (next));
            push_words (todo, g_hash_table_lookup (modules->needs, next), TRUE);
            push_words (todo, g_hash_table_lookup (modules->softdeps, next), FALSE);
          }
        else if (!g_hash_table_contains (modules->builtin, next))
          push_words (todo, g_hash_table_lookup (modules->aliases, next), FALSE);
      }
}

static gint
compare_names (gconstpointer a, gconstpointer b)
{
  return strcmp (*(const char *const *)a, *(const char *const *)b);
}

GPtrArray *
h2k_modules_sorted (GHashTable *set)
{
  GPtrArray *names = g_ptr_array_new ();
  GHashTableIter iter;
  gpointer name;

  g_hash_table_iter_init (&iter, set);
  while (g_hash_table_iter_next (&iter, &name, NULL))
    g_ptr_array_add (names, name);
  g_ptr_array_sort (names, compare_names);
  return names;
}
