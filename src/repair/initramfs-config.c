/* initramfs-config.c - adds drivers to the configuration of initramfs-tools, dracut, mkinitcpio and
 * SUSE's old mkinitrd.
 *
 * initramfs.conf(5) and initramfs-tools(7), dracut.conf(5), mkinitcpio.conf(5), and the comments of
 * /etc/sysconfig/kernel.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/initramfs-config.h"

#define TOOLS_MODULES "/etc/initramfs-tools/modules"
#define DRACUT_CONF "/etc/dracut.conf.d/90-hyper2kvm.conf"
#define MKINITCPIO_CONF "/etc/mkinitcpio.conf"
#define SUSE_CONF "/etc/sysconfig/kernel"

static const char reason[] = "an initramfs that the guest makes by itself keeps the virtio drivers";

/* The lines of PATH; NULL without an error when there is no such file. */
static H2kLines *
read_lines (H2kRepairContext *context, const char *path, GError **error)
{
  g_autoptr (GBytes) data = h2k_tree_read_optional (context->guest->tree, path, 0, error);
  return data ? h2k_lines_new (data) : NULL;
}

static gboolean
write_lines (H2kRepairContext *context, const char *path, H2kLines *lines, GError **error)
{
  g_autoptr (GBytes) data = h2k_lines_to_bytes (lines);
  return h2k_repair_write (context, path, data, 0644, reason, error);
}

static GString *
without (GPtrArray *drivers, GHashTable *words, const char *separator)
{
  GString *text = g_string_new (NULL);

  for (guint i = 0; i < drivers->len; i++)
    if (!g_hash_table_contains (words, drivers->pdata[i]))
      g_string_append_printf (text, "%s%s", text->len ? separator : "",
                              (const char *)drivers->pdata[i]);
  return text;
}

/* The words of TEXT as modprobe knows them, added to SET. */
static void
add_words (GHashTable *set, const char *text)
{
  g_auto (GStrv) words = g_strsplit_set (text, " \t\"'()", -1);

  for (char **w = words; *w; w++)
    if (**w)
      g_hash_table_add (set, g_strdelimit (g_strdup (*w), "-", '_'));
}

/* What KEY is set to in the shell assignment LINE ("KEY=x", "KEY+=x"); NULL: it sets another. */
static const char *
assigned (const char *line, const char *key)
{
  line += strspn (line, " \t");
  if (!g_str_has_prefix (line, key))
    return NULL;
  line += strlen (key);
  if (*line == '+')
    line++;
  return *line == '=' ? line + 1 : NULL;
}

/* --- initramfs-tools -------------------------------------------------------------------------- */

/* The last MODULES= of a configuration file, into VALUE, where it is set. */
static void
read_policy (H2kRepairContext *context, const char *path, char **value, GError **error)
{
  g_autoptr (H2kLines) lines = read_lines (context, path, error);

  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *text = assigned (h2k_lines_get (lines, i), "MODULES");
      if (text)
        {
          text += strspn (text, "\"'");
          g_free (*value);
          *value = g_strndup (text, strcspn (text, "\"' \t#"));
        }
    }
}

/* Whether MODULES=most is in force: virtio then is in every initramfs by itself. */
static gboolean
tools_take_most (H2kRepairContext *context, gboolean *most, GError **error)
{
  static const char *const patterns[]
      = {"/usr/share/initramfs-tools/conf.d/*", "/etc/initramfs-tools/conf.d/*"};
  g_autofree char *policy = g_strdup ("most");
  GError *local = NULL;

  read_policy (context, "/etc/initramfs-tools/initramfs.conf", &policy, &local);
  for (guint i = 0; i < G_N_ELEMENTS (patterns) && !local; i++)
    {
      g_autoptr (GPtrArray) files = h2k_tree_glob (context->guest->tree, patterns[i]);
      for (guint k = 0; k < files->len && !local; k++)
        read_policy (context, files->pdata[k], &policy, &local);
    }
  *most = g_str_equal (policy, "most");
  if (local)
    g_propagate_error (error, local);
  return !local;
}

static gboolean
configure_tools (H2kRepairContext *context, GPtrArray *drivers, const H2kModules *modules,
                 GError **error)
{
  g_autoptr (GHashTable) words = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = NULL;
  gboolean most;

  if (!tools_take_most (context, &most, error))
    return FALSE;
  if (most)
    return TRUE;
  lines = read_lines (context, TOOLS_MODULES, &local);
  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (!lines)
    {
      g_autoptr (GBytes) nothing = g_bytes_new (NULL, 0);
      lines = h2k_lines_new (nothing);
    }
  for (guint i = 0; i < h2k_lines_count (lines); i++)
    {
      const char *line = h2k_lines_get (lines, i);
      g_autofree char *word = g_strndup (line, strcspn (line, " \t#"));
      add_words (words, word);
    }
  for (guint i = 0; i < drivers->len; i++)
    if (!g_hash_table_contains (words, drivers->pdata[i]))
      h2k_lines_insert (lines, h2k_lines_count (lines), drivers->pdata[i]);
  return write_lines (context, TOOLS_MODULES, lines, error);
}

/* --- dracut ----------------------------------------------------------------------------------- */

/* Modules that the guest's omit_drivers keeps out although DRIVERS need them. A name in add_drivers
 * wins over the same name in omit_drivers; a pattern is beaten by nothing. */
static void
note_omitted (H2kRepairContext *context, const char *path, GHashTable *needed, GHashTable *names)
{
  g_autoptr (H2kLines) lines = read_lines (context, path, NULL);

  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      const char *text = assigned (h2k_lines_get (lines, i), "omit_drivers");
      g_autoptr (GHashTable) words = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
      GHashTableIter iter;
      const char *word;

      if (!text)
        continue;
      add_words (words, text);
      g_hash_table_iter_init (&iter, words);
      while (g_hash_table_iter_next (&iter, (gpointer *)&word, NULL))
        if (g_hash_table_contains (needed, word))
          g_hash_table_add (names, g_strdup (word));
        else if (strpbrk (word, "*.[|^$?+\\") && (strstr (word, "virtio") || *word == '.'))
          h2k_repair_warn (context,
                           "%s: omit_drivers has the pattern \"%s\", which may keep virtio out of "
                           "the next initramfs that the guest makes; remove it in the guest",
                           path, word);
    }
}

static gboolean
configure_dracut (H2kRepairContext *context, GPtrArray *drivers, const H2kModules *modules,
                  GError **error)
{
  g_autoptr (GPtrArray) files = h2k_tree_glob (context->guest->tree, "/etc/dracut.conf.d/*.conf");
  g_autoptr (GHashTable) needed = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) names = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) none = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GString) text = g_string_new ("add_drivers+=\" ");
  g_autoptr (GString) words = without (drivers, none, " ");
  g_autoptr (GBytes) data = NULL;
  g_autoptr (GPtrArray) omitted = NULL;

  for (guint i = 0; modules && i < drivers->len; i++)
    h2k_modules_closure (modules, drivers->pdata[i], needed);
  note_omitted (context, "/etc/dracut.conf", needed, names);
  for (guint i = 0; i < files->len; i++)
    note_omitted (context, files->pdata[i], needed, names);
  for (guint i = 0; i < drivers->len; i++)
    g_hash_table_remove (names, drivers->pdata[i]);
  g_string_append_printf (text, "%s ", words->str);
  omitted = h2k_modules_sorted (names);
  for (guint i = 0; i < omitted->len; i++)
    g_string_append_printf (text, "%s ", (const char *)omitted->pdata[i]);
  g_string_append (text, "\"\n");
  data = g_bytes_new (text->str, text->len);
  return h2k_repair_write (context, DRACUT_CONF, data, 0644, reason, error);
}

/* --- lists in shell assignments --------------------------------------------------------------- */

/* Line I with the missing DRIVERS before the end of its list, which must be on the line, too. */
static gboolean
extend_line (H2kLines *lines, guint i, const char *key, GPtrArray *drivers)
{
  const char *line = h2k_lines_get (lines, i);
  const char *value = assigned (line, key);
  char end = *value == '(' ? ')' : *value;
  const char *close
      = *value == '(' || *value == '"' || *value == '\'' ? strchr (value + 1, end) : NULL;
  g_autoptr (GHashTable) words = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autofree char *list = close ? g_strndup (value + 1, (gsize)(close - value) - 1) : NULL;
  g_autoptr (GString) more = NULL;
  g_autofree char *text = NULL;

  if (!close || strchr (list, '#'))
    return FALSE;
  add_words (words, list);
  more = without (drivers, words, " ");
  if (more->len == 0)
    return TRUE;
  text = g_strdup_printf ("%.*s%s%s%s", (int)(close - line), line,
                          *list && close[-1] != ' ' ? " " : "", more->str, close);
  h2k_lines_set (lines, i, text);
  return TRUE;
}

/* Put DRIVERS into the last assignment of KEY in PATH; where that cannot be done on its line, an
 * assignment that adds to it follows at the file's end. A file without KEY is left alone unless
 * ALWAYS. */
static gboolean
extend_list (H2kRepairContext *context, const char *path, const char *key, gboolean always,
             GPtrArray *drivers, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = read_lines (context, path, &local);
  g_autoptr (GHashTable) none = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GString) words = without (drivers, none, " ");
  g_autofree char *addition = g_strdup_printf ("%s+=(%s)", key, words->str);
  guint at = G_MAXUINT;

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    if (assigned (h2k_lines_get (lines, i), key))
      at = i;
  if (!lines || (at == G_MAXUINT && !always))
    return TRUE;
  if (at != G_MAXUINT && extend_line (lines, at, key, drivers))
    return write_lines (context, path, lines, error);
  if (always)
    h2k_lines_insert (lines, h2k_lines_count (lines), addition);
  else
    h2k_repair_warn (context, "%s: %s is not a list on one line: add %s to it in the guest", path,
                     key, words->str);
  return write_lines (context, path, lines, error);
}

static gboolean
configure_mkinitcpio (H2kRepairContext *context, GPtrArray *drivers, const H2kModules *modules,
                      GError **error)
{
  return extend_list (context, MKINITCPIO_CONF, "MODULES", TRUE, drivers, error);
}

static gboolean
configure_suse (H2kRepairContext *context, GPtrArray *drivers, const H2kModules *modules,
                GError **error)
{
  return extend_list (context, SUSE_CONF, "INITRD_MODULES", FALSE, drivers, error);
}

/* Each generator that is installed is configured, whichever made the images of today. */
static const struct
{
  const char *sign; /* a path that the guest has then */
  gboolean (*configure) (H2kRepairContext *context, GPtrArray *drivers, const H2kModules *modules,
                         GError **error);
} generators[] = {
    {"/etc/initramfs-tools/initramfs.conf", configure_tools},
    {"/etc/dracut.conf.d", configure_dracut},
    {MKINITCPIO_CONF, configure_mkinitcpio},
    {SUSE_CONF, configure_suse},
};

gboolean
h2k_initramfs_configure (H2kRepairContext *context, GPtrArray *drivers, const H2kModules *modules,
                         GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (generators); i++)
    if (h2k_tree_exists (context->guest->tree, generators[i].sign)
        && !generators[i].configure (context, drivers, modules, error))
      return FALSE;
  return TRUE;
}
