/* host-keys.c - SSH servers get keys of their own: of the kinds and sizes that are there, in the
 * same files, since not every distribution makes missing ones at boot (Debian does not).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/edit.h"
#include "repair/hostname.h"
#include "repair/identity.h"
#include "repair/ssh-key.h"

#define MAX_KEY (64u << 10) /* of a file */
#define MAX_KEYS 32u

static const char reason[] = "clients tell hosts by their keys";

static const char *const key_patterns[]
    = {"/etc/ssh/ssh_host_*key", "/etc/dropbear/dropbear_*_key"};
static const char *const config_patterns[]
    = {"/etc/ssh/sshd_config", "/etc/ssh/sshd_config.d/*.conf"};

/* --- which there are -------------------------------------------------------------------------- */

static void
add_path (H2kTree *tree, GPtrArray *paths, const char *path)
{
  char *resolved = *path == '/' ? h2k_tree_resolve (tree, path, FALSE) : NULL;

  if (resolved && paths->len < MAX_KEYS && h2k_tree_is_file (tree, resolved)
      && !g_ptr_array_find_with_equal_func (paths, resolved, g_str_equal, NULL))
    g_ptr_array_add (paths, g_steal_pointer (&resolved));
  g_free (resolved);
}

/* Files that sshd's configuration PATH names. */
static gboolean
add_configured (H2kRepairContext *context, GPtrArray *paths, const char *path, GError **error)
{
  g_autoptr (GError) local = NULL;
  g_autoptr (H2kLines) lines = h2k_repair_read_lines (context, path, &local);

  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  for (guint i = 0; lines && i < h2k_lines_count (lines); i++)
    {
      g_auto (GStrv) words = g_strsplit_set (h2k_lines_get (lines, i), " \t=\"\r", -1);
      const char *found[2] = {NULL, NULL};
      guint n = 0;

      for (guint w = 0; words[w] && n < 2; w++)
        if (*words[w])
          found[n++] = words[w];
      if (n == 2 && g_ascii_strcasecmp (found[0], "HostKey") == 0)
        add_path (context->guest->tree, paths, found[1]);
    }
  return TRUE;
}

/* char *: with every link resolved. */
static GPtrArray *
find_keys (H2kRepairContext *context, GError **error)
{
  H2kTree *tree = context->guest->tree;
  g_autoptr (GPtrArray) paths = g_ptr_array_new_with_free_func (g_free);

  for (guint i = 0; i < G_N_ELEMENTS (key_patterns); i++)
    {
      g_autoptr (GPtrArray) found = h2k_tree_glob (tree, key_patterns[i]);
      for (guint j = 0; j < found->len; j++)
        add_path (tree, paths, found->pdata[j]);
    }
  for (guint i = 0; i < G_N_ELEMENTS (config_patterns); i++)
    {
      g_autoptr (GPtrArray) found = h2k_tree_glob (tree, config_patterns[i]);
      for (guint j = 0; j < found->len; j++)
        if (!add_configured (context, paths, found->pdata[j], error))
          return NULL;
    }
  return g_steal_pointer (&paths);
}

/* --- one key ---------------------------------------------------------------------------------- */

/* "root@new" where OLD_LINE ends in "root@old", each with or without its domain; the caller's. */
static char *
comment_for (const char *old_line, const char *old_host, const char *new_host)
{
  gsize old_short = strcspn (old_host, ".");
  g_auto (GStrv) words = g_strsplit (old_line ? old_line : "", " ", 3);
  char *comment, *at;

  if (g_strv_length (words) < 3)
    return g_strdup ("");
  comment = g_strstrip (g_strdup (words[2]));
  at = strrchr (comment, '@');
  if (at && new_host && strncmp (at + 1, old_host, old_short) == 0
      && (at[1 + old_short] == '\0' || strcmp (at + 1, old_host) == 0))
    {
      gsize length = at[1 + old_short] ? strlen (new_host) : strcspn (new_host, ".");
      char *renamed
          = g_strdup_printf ("%.*s@%.*s", (int)(at - comment), comment, (int)length, new_host);
      g_free (comment);
      comment = renamed;
    }
  return comment;
}

/* The first line of the file beside the key; NULL: there is none, or it is no text. */
static char *
read_public_line (H2kTree *tree, const char *path, GError **error)
{
  g_autoptr (GBytes) data = h2k_tree_read_optional (tree, path, MAX_KEY, error);
  gsize length = 0;
  const char *text = data ? g_bytes_get_data (data, &length) : NULL;
  char *line;

  if (!data)
    return NULL;
  line = g_strndup (text ? text : "", length);
  line[strcspn (line, "\r\n")] = '\0';
  return line;
}

static gboolean
write_pair (H2kRepairContext *context, const char *path, const char *public_path,
            const char *old_line, const H2kSshKeyInfo *old, const char *comment, GError **error)
{
  g_autoptr (H2kSshKey) key = h2k_ssh_key_new (old->kind, old->bits, error);
  g_autoptr (GBytes) private = key ? h2k_ssh_key_private (key, old->form, comment) : NULL;
  g_autofree char *what = NULL, *fingerprint = NULL, *summary = NULL;
  char *line;

  if (!key)
    return FALSE;
  what = h2k_ssh_key_describe (key);
  fingerprint = h2k_ssh_key_fingerprint (key);
  summary = g_strdup_printf ("a private key: %s, %s%s%s", what, fingerprint,
                             old->fingerprint ? "; was " : "",
                             old->fingerprint ? old->fingerprint : "");
  if (!h2k_repair_copy (context, path, private, 0600, summary, reason, error))
    return FALSE;
  if (!old_line)
    return TRUE;
  line = h2k_ssh_key_public (key, comment);
  g_autoptr (GBytes) public = g_bytes_new_take (line, strlen (line));
  return h2k_repair_write (context, public_path, public, 0644, reason, error);
}

/* Keys of protocol 1, which no server of today speaks; old ones make them when they start. */
static gboolean
drop_protocol_1 (H2kRepairContext *context, const char *path, const char *public_path,
                 GError **error)
{
  return h2k_identity_remove_secret (context, path, reason, error)
         && h2k_repair_remove (context, public_path, reason, error);
}

static gboolean
is_protocol_1 (GBytes *data)
{
  static const char head[] = "SSH PRIVATE KEY FILE FORMAT 1.1\n";
  gsize length;
  const char *text = g_bytes_get_data (data, &length);

  return length > strlen (head) && memcmp (text, head, strlen (head)) == 0;
}

static gboolean
renew (H2kRepairContext *context, const char *path, const char *hostname, GError **error)
{
  H2kTree *tree = context->guest->tree;
  g_autoptr (GError) local = NULL;
  g_autoptr (GBytes) data = h2k_tree_read (tree, path, MAX_KEY, error);
  g_autofree char *public_path = g_strconcat (path, ".pub", NULL);
  g_autofree char *certificate = g_strconcat (path, "-cert.pub", NULL);
  g_autofree char *line = NULL, *comment = NULL;
  H2kSshKeyInfo info = {0};
  gboolean ok;

  if (!data)
    return FALSE;
  if (is_protocol_1 (data))
    return drop_protocol_1 (context, path, public_path, error);
  line = read_public_line (tree, public_path, &local);
  if (local)
    {
      g_propagate_error (error, g_steal_pointer (&local));
      return FALSE;
    }
  if (!h2k_ssh_key_identify (data, line, &info))
    {
      h2k_repair_warn (context,
                       "%s is encrypted or no key of a known kind, and stays the same as the "
                       "original's: make a new one with ssh-keygen in the VM",
                       path);
      return TRUE;
    }
  comment = comment_for (line, context->guest->hostname, hostname);
  ok = write_pair (context, path, public_path, line, &info, comment, error);
  if (ok && h2k_tree_is_file (tree, certificate))
    h2k_repair_warn (context, "%s certifies the original's key: have the new one signed",
                     certificate);
  g_free (info.fingerprint);
  return ok;
}

gboolean
h2k_identity_host_keys (H2kRepairContext *context, const char *hostname, GError **error)
{
  g_autoptr (GPtrArray) paths = find_keys (context, error);

  for (guint i = 0; paths && i < paths->len; i++)
    if (!renew (context, paths->pdata[i], hostname, error))
      return FALSE;
  return paths != NULL;
}
